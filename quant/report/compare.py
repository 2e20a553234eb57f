"""The page of several runs: their courses on one axis, figures side by side, and the settings that differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from quant.metrics import drawdown
from quant.report import sections
from quant.report.content import Content, Days, Floats
from quant.report.document import document
from quant.report.levels import Column, block, line
from quant.report.page import DRAWDOWN_DECIMALS, wide
from quant.report.words import settings

DAY_S: Final = 86_400


def compare_page(runs: Sequence[Content]) -> str:
    """Return a page that shows runs side by side, from two on. Lines are the growth of each one's starting cash."""
    blobs: list[str] = []
    names = labels(runs)
    dates = np.unique(np.concatenate([r.sessions for r in runs]))
    clock = dates.astype("datetime64[D]").astype(np.int64) * DAY_S
    columns = [Column("clock", (clock - clock[0]).astype(np.float64), "first", 0)]
    lines, courses = [], []
    for n, (name, run) in enumerate(zip(names, runs, strict=True)):
        grown, fall = _course(run, dates)
        columns += [*line(f"run{n}", grown), *line(f"run{n}fall", np.round(fall, DRAWDOWN_DECIMALS))]
        courses.append(grown)
        lines.append({"name": name, "column": f"run{n}"})
    data = {
        "steps": len(dates), "origin": int(clock[0]), "cash": 1.0, "log": wide(*courses),
        "account": block(np.arange(len(dates)), columns, blobs), "lines": lines, "symbols": [],
    }  # fmt: skip
    values: dict[str, Any] = {
        "title": f"{len(runs)} runs compared", "zone": "session dates", "runs": list(zip(names, runs, strict=True)),
        "titles": [sections.title(r) for r in runs], "figures": side_by_side(runs), "differing": differing(runs),
        "findings": [[f.message for f in r.findings] for r in runs],
    }  # fmt: skip
    return document("compare.html", values, data, blobs)


def labels(runs: Sequence[Content]) -> list[str]:
    """Return a short and distinct name for each run: A, B, ... in their order."""
    return [chr(ord("A") + n) if n < 26 else f"R{n + 1}" for n in range(len(runs))]


def _course(run: Content, dates: Days) -> tuple[Floats, Floats]:
    """Return growth and drawdown by date; NaN before a run's first session and after its last."""
    grown: Floats = np.cumprod(1.0 + run.returns, dtype=np.float64)
    row = np.searchsorted(run.sessions, dates, side="right") - 1
    known = (row >= 0) & (dates <= run.sessions[-1])
    fall = drawdown(grown, 1.0)
    at = np.maximum(row, 0)
    return np.where(known, grown[at], np.nan), np.where(known, fall[at], np.nan)


def side_by_side(runs: Sequence[Content]) -> list[tuple[str, list[tuple[str, list[str]]]]]:
    """Return the key figures in their groups, a column for each run."""
    found = [sections.figures(r.metrics) for r in runs]
    return [
        (group, [(name, [f[g][1][k][1] for f in found]) for k, (name, _) in enumerate(rows)])
        for g, (group, rows) in enumerate(found[0])
    ]


def differing(runs: Sequence[Content]) -> list[tuple[str, list[str]]]:
    """Return the settings in which not all runs agree; a setting that a run lacks is empty."""
    flat = [dict(settings(r.settings)) for r in runs]
    names = list(dict.fromkeys(name for f in flat for name in f))
    rows = [(name, [f.get(name, "") for f in flat]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]
