"""The pages of a sweep and of a walk-forward: what the search proves, charts of all combinations, tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quant.metrics import NAMES, drawdown
from quant.report.content import Floats, Ints, Table
from quant.report.document import STYLES, _inlined, document, policy
from quant.report.levels import Column, block, line, squeeze, table
from quant.report.page import ACCOUNT_DIGITS, DRAWDOWN_DECIMALS, HOLD_DIGITS, wide
from quant.report.sweep_content import Fact, SweepContent, WalkForwardContent
from quant.report.words import NONE, number, percent, settings

ROWS: Final = 50  # of the table of the best
WORST: Final = 5
MESSAGES: Final = 20  # distinct errors that are shown
FULL: Final = 10_000  # combinations up to which the page keeps all bits of a figure; above it seven digits
DAY_S: Final = 86_400
CHARTS: Final = ("vendor/uPlot.iife.min.js", "templates/data.js", "templates/charts.js", "templates/plots.js")


@dataclass(frozen=True, slots=True)
class Metric:
    """How a figure is written. kind: number, whole, percent (signed) or share.

    best: the word for the end of the scale that a map marks: best, lowest (less is better) or highest (neither is).
    """

    label: str
    kind: str = "number"
    best: str = "best"


METRICS: Final = {
    "total_return": Metric("Total return", "percent"), "cagr": Metric("Growth a year", "percent"),
    "volatility": Metric("Volatility a year", "share", "lowest"), "sharpe": Metric("Sharpe ratio"),
    "sortino": Metric("Sortino ratio"), "calmar": Metric("Calmar ratio"),
    "max_drawdown": Metric("Deepest drawdown", "percent"),
    "max_drawdown_days": Metric("Longest drawdown, days", "whole", "lowest"),
    "exposure": Metric("Exposure", "share", "highest"),
    "turnover": Metric("Turnover a year", best="highest"), "trades": Metric("Trades", "whole", "highest"),
    "win_rate": Metric("Won", "share"), "profit_factor": Metric("Profit factor"),
    "avg_trade": Metric("Average trade"), "best_trade": Metric("Best trade"), "worst_trade": Metric("Worst trade"),
    "sqn": Metric("SQN"), "commission": Metric("Commission", best="lowest"),
    "slippage": Metric("Slippage", best="lowest"),
    "rejected": Metric("Rejected orders", "whole", "lowest"),
    "buy_hold_return": Metric("Buy and hold", "percent", "highest"),
    "final_value": Metric("Final value"), "final_cash": Metric("Final cash"),
}  # fmt: skip
# Columns of the table that follow the metric; the others come after them.
FIRST: Final = ("total_return", "cagr", "sharpe", "max_drawdown", "trades", "win_rate")


def sweep_page(content: SweepContent) -> str:
    """Return the page of a sweep as HTML. Of more than FULL combinations figures keep seven digits."""
    blobs: list[str] = []
    shown = _shown(content)
    dims = [_dimension(name, content.table[name]) for name in _named(content)]
    order = ranked(content.table[content.metric], _metric(content.metric).best == "lowest")
    values = {
        **_common(content, f"Sweep: {content.name}"), "rows": content.rows, "ranked": len(order),
        "head": _sweep_head(content, dims), "facts": content.facts, "verified": content.verified,
        "dims": [name for name, _, _ in dims], "metrics": [(n, METRICS[n].label) for n in shown],
        "metric": content.metric, "metric_label": _metric(content.metric).label, "full": content.rows <= FULL,
        "best": _table(content, dims, shown, order[:ROWS]),
        "worst": _table(content, dims, shown, order[ROWS:][-WORST:][::-1]),
        "errors": _errors(content, dims),
        "halves": content.halves is not None, "correlation": _halves(content),
    }  # fmt: skip
    return _document("sweep.html", "sweep.js", values, _sweep_data(content, dims, shown, blobs), blobs)


def ranked(values: Floats, lower: bool = False) -> Ints:
    """Return the rows from best to worst, those of equal value in their order; undefined values are left out."""
    known = np.flatnonzero(np.isfinite(values))
    return known[np.argsort(values[known] if lower else -values[known], kind="stable")]


def rank_correlation(x: Floats, y: Floats) -> float:
    """Return Spearman's rank correlation of the pairs that are both defined; NaN for fewer than three of them.

    Equal values share their mean rank. Source: C. Spearman, American Journal of Psychology 15, 1904.
    """
    known = np.isfinite(x) & np.isfinite(y)
    a, b = _ranks(x[known]), _ranks(y[known])
    if len(a) < 3 or np.ptp(a) == 0.0 or np.ptp(b) == 0.0:
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: Floats) -> Floats:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    mean: Floats = np.cumsum(count) - (count - 1) / 2.0
    return mean[place]


# ---------------------------------------------------------------- what both pages have
def _common(content: SweepContent | WalkForwardContent, title: str) -> dict[str, Any]:
    return {
        "title": title, "zone": "session dates", "verdict": content.verdict, "text": content.text,
        "notes": content.notes, "findings": content.findings, "settings": list(settings(content.settings)),
    }  # fmt: skip


def _document(
    template: str, script: str, values: Mapping[str, Any], data: Mapping[str, Any], blobs: Sequence[str]
) -> str:
    # The templates of these pages set the scripts, and with them the policy, to these.
    styles = tuple(_inlined(f) for f in STYLES)
    scripts = tuple(_inlined(f) for f in (*CHARTS, f"templates/{script}"))
    own = {"page_scripts": scripts, "page_policy": policy(styles, scripts)}
    return document(template, {**values, **own}, data, blobs)


def _metric(name: str) -> Metric:
    return METRICS.get(name, Metric(name))


def _text(name: str, value: float) -> str:
    """Return a figure as the page's scripts write it too."""
    kind = _metric(name).kind
    if kind in ("percent", "share"):
        return percent(value, "+,.2%" if kind == "percent" else ",.2%")
    return number(value, ",.0f" if kind == "whole" else ",.2f")


# ---------------------------------------------------------------- sweep
Dimension = tuple[str, list[str], Ints]  # name, labels of its values in their order, (k,) which of them


def _named(content: SweepContent) -> list[str]:
    return [*content.parameters, *(["symbol"] if "symbol" in content.table else [])]


def _dimension(name: str, values: NDArray[Any]) -> Dimension:
    plain = values.tolist()
    kinds = {type(v) for v in plain}
    # Numbers are on an axis, words keep the order in which they come. repr tells 1 from "1" and from True.
    numbers = kinds <= {int, float} or kinds == {bool}
    distinct = {repr(v): v for v in plain}
    keys = sorted(distinct, key=lambda k: distinct[k]) if numbers else list(distinct)
    place = {k: n for n, k in enumerate(keys)}
    labels = [_value(distinct[k]) for k in keys]
    if len(set(labels)) < len(labels):
        labels = keys
    return name, labels, np.array([place[repr(v)] for v in plain], dtype=np.int64)


def _value(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _shown(content: SweepContent) -> list[str]:
    """Return the figures of the table that the page has, the most telling first."""
    wanted = (content.metric, *FIRST, *NAMES)
    return [n for n in dict.fromkeys(wanted) if n in content.table and n in METRICS]


def _sweep_head(content: SweepContent, dims: Sequence[Dimension]) -> list[tuple[str, str]]:
    def ends(name: str, labels: Sequence[str]) -> str:
        if len(labels) > 4:
            return f"{name}: {labels[0]} to {labels[-1]} ({len(labels):,} values)"
        return f"{name}: {', '.join(labels)}"

    return [
        ("Combinations", f"{content.rows:,}"),
        ("Refused by the strategy's valid", f"{content.dropped:,}"),
        ("Failed", f"{content.failed:,}"),
        ("Searched for", _metric(content.metric).label),
        *(("Symbols" if name == "symbol" else "Parameter", ends(name, labels)) for name, labels, _ in dims),
    ]


def _table(
    content: SweepContent, dims: Sequence[Dimension], shown: Sequence[str], rows: Ints
) -> list[list[str]]:
    def cells(i: int) -> list[str]:
        figures = (_text(n, float(content.table[n][i])) for n in shown)
        return [*(labels[code[i]] for _, labels, code in dims), *figures]

    return [cells(i) for i in rows]


def _failures(content: SweepContent) -> tuple[list[str], Ints]:
    """Return the distinct messages, most frequent first, and which of them each row has, -1 for none."""
    told = content.table.get("error", np.full(content.rows, None)).tolist()
    counts: dict[str, int] = {}
    for message in told:
        if message is not None:
            counts[str(message)] = counts.get(str(message), 0) + 1
    names = sorted(counts, key=lambda m: -counts[m])
    place = {m: n for n, m in enumerate(names)}
    return names, np.array([-1 if m is None else place[str(m)] for m in told], dtype=np.int64)


def _errors(content: SweepContent, dims: Sequence[Dimension]) -> dict[str, Any]:
    names, which = _failures(content)
    rows = []
    for n, message in enumerate(names[:MESSAGES]):
        at = np.flatnonzero(which == n)
        first = ", ".join(f"{name} = {labels[code[at[0]]]}" for name, labels, code in dims)
        rows.append((f"{len(at):,}", message, first))
    return {"rows": rows, "total": len(names)}


def _halves(content: SweepContent) -> str:
    return NONE if content.halves is None else number(rank_correlation(*content.halves.T))


def _sweep_data(
    content: SweepContent, dims: Sequence[Dimension], shown: Sequence[str], blobs: list[str]
) -> dict[str, Any]:
    messages, which = _failures(content)
    figures = {n: content.table[n].astype(np.float64) for n in shown}
    if content.halves is not None:
        figures |= {"first half": content.halves[:, 0], "second half": content.halves[:, 1]}
    data: dict[str, Any] = {
        "rows": content.rows, "metric": content.metric, "luck": content.luck, "errors": messages[:MESSAGES],
        "dims": [{"name": name, "labels": labels} for name, labels, _ in dims],
        "metrics": [{"name": n, **_drawn(n)} for n in shown], "columns": list(figures),
        "halves": content.halves is not None, "full": content.rows <= FULL,
    }  # fmt: skip
    blobs.append(squeeze([c.astype(np.int32) for c in (*(code for _, _, code in dims), which)]))
    if content.rows <= FULL:
        table(list(figures.values()), blobs)
    else:
        with np.errstate(over="ignore"):  # beyond 3e38 a figure is as good as infinite
            blobs.append(squeeze([c.astype(np.float32).view(np.int32) for c in figures.values()]))
    return data


def _drawn(name: str) -> dict[str, Any]:
    m = _metric(name)
    return {"label": m.label, "kind": m.kind, "best": m.best}


# ---------------------------------------------------------------- walk-forward
def walk_forward_page(content: WalkForwardContent) -> str:
    """Return the page of a walk-forward as HTML."""
    blobs: list[str] = []
    w, label = content.windows, _metric(content.metric).label
    efficiency: Fact = (
        "Efficiency", number(content.efficiency),
        f"The {label} out of sample over that in sample: 1 would mean that nothing was lost on data not seen before.",
    )  # fmt: skip
    dims = [_dimension(name, w[name]) for name in content.parameters]
    values = {
        **_common(content, f"Walk-forward: {content.name}"), "facts": [efficiency, *content.facts],
        "head": _windows_head(content), "metric_label": label, "parameters": content.parameters,
        "windows": _windows(content, dims), "correlation": number(rank_correlation(w["in_sample"], w["out_of_sample"])),
        "steps": [_step_words(d) for d in dims], "hold": bool(np.isfinite(content.hold).any()),
    }  # fmt: skip
    return _document("walkforward.html", "walkforward.js", values, _windows_data(content, dims, blobs), blobs)


def _windows_head(content: WalkForwardContent) -> list[tuple[str, str]]:
    days = content.sessions.astype("datetime64[D]")
    return [
        ("Windows", f"{len(content.windows['in_sample']):,}"),
        ("Out of sample", f"{days[0]} to {days[-1]}, {len(days):,} sessions"),
        ("Chosen by", f"the best {_metric(content.metric).label} in sample"),
        ("Return out of sample", percent(float(content.equity[-1]) / content.cash - 1.0)),
    ]


def _windows(content: WalkForwardContent, dims: Sequence[Dimension]) -> list[list[str]]:
    w = content.windows
    dates = {
        n: w[n].astype("datetime64[D]") for n in ("train_first", "train_last", "test_first", "test_last")
    }
    return [
        [
            str(i + 1), f"{dates['train_first'][i]} to {dates['train_last'][i]}",
            f"{dates['test_first'][i]} to {dates['test_last'][i]}", *(labels[code[i]] for _, labels, code in dims),
            _text(content.metric, float(w["in_sample"][i])), _text(content.metric, float(w["out_of_sample"][i])),
            percent(float(w["return"][i])),
        ]
        for i in range(len(w["in_sample"]))
    ]  # fmt: skip


def _step_words(dim: Dimension) -> tuple[str, str]:
    name, labels, code = dim
    changes, chances = int(np.count_nonzero(np.diff(code))), max(len(code) - 1, 0)
    values = f"{len(labels)} values" if len(labels) > 1 else "always the same"
    return name, f"changed {changes} of {chances} times, {values}"


def _windows_data(content: WalkForwardContent, dims: Sequence[Dimension], blobs: list[str]) -> dict[str, Any]:
    w: Table = content.windows
    days = content.sessions.astype("datetime64[D]")
    clock = days.astype(np.int64) * DAY_S
    fall = drawdown(content.equity, content.cash)
    account = [
        Column("clock", (clock - clock[0]).astype(np.float64), "first", 0),
        *line("equity", content.equity, ACCOUNT_DIGITS), *line("hold", content.hold, HOLD_DIGITS),
        *line("drawdown", np.round(fall, DRAWDOWN_DECIMALS)),
    ]  # fmt: skip
    first = np.searchsorted(days, w["test_first"].astype("datetime64[D]"))
    last = np.searchsorted(days, w["test_last"].astype("datetime64[D]"), side="right") - 1
    return {
        "steps": len(days), "origin": int(clock[0]), "cash": content.cash, "log": wide(content.equity, content.hold),
        "account": block(np.arange(len(days)), account, blobs), "metric": _drawn(content.metric),
        "held": bool(np.isfinite(content.hold).any()),
        "windows": {
            "first": first, "last": last, "in": w["in_sample"], "out": w["out_of_sample"], "gain": w["return"],
            "trained": [f"{a} to {b}" for a, b in zip(w["train_first"], w["train_last"], strict=True)],
            "tested": [f"{a} to {b}" for a, b in zip(w["test_first"], w["test_last"], strict=True)],
        },
        "dims": [{"name": name, "labels": labels, "codes": code} for name, labels, code in dims],
    }  # fmt: skip
