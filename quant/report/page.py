"""The page of one run: figures, charts and tables, in one file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from quant.metrics import drawdown
from quant.report import sections
from quant.report.content import Content, Floats, Symbol, Table
from quant.report.document import document
from quant.report.levels import Column, block, candles, line, table
from quant.report.words import price, settings

# Digits of the largest value that a line keeps; a screen shows three. Lines over the bars have as many as prices.
ACCOUNT_DIGITS = 6
HOLD_DIGITS = 5
PANE_DIGITS = 5
PRICE_DIGITS = 7
DRAWDOWN_DECIMALS = 4
WIDE = 10.0


def run_page(content: Content) -> str:
    """Return the page of a run as HTML."""
    blobs: list[str] = []
    data = _data(content, blobs)
    boot, spreads = sections.chance(content)
    best, worst = sections.extremes(content)
    values = {
        "title": sections.title(content), "name": content.name, "head": sections.head(content),
        "figures": sections.figures(content.metrics), "notes": content.notes, "findings": content.findings,
        "symbols": [s.name for s in content.symbols], "zone": content.zone,
        "months": sections.months(content.returns, content.sessions), "month_names": sections.MONTHS,
        "boot": boot, "spreads": spreads, "too_few": sections.too_few(content) if boot is None else "",
        "sessions": len(content.returns), "trades": len(content.trades["symbol"]), "best": best, "worst": worst,
        "excursions": bool(np.isfinite(content.trades["mfe"]).any()),
        "costs": sections.costs(content), "rejected": sections.rejected(content),
        "ambiguous": sections.ambiguous(content), "settings": list(settings(content.settings)),
        "cash": price(content.cash),
    }  # fmt: skip
    return document("run.html", values, data, blobs)


def _data(content: Content, blobs: list[str]) -> dict[str, Any]:
    steps = np.arange(len(content.clock), dtype=np.int64)
    clock = (content.clock - content.clock[0]).astype(np.float64)
    fall = drawdown(content.equity, content.cash)
    account = [
        Column("clock", clock, "first", 0),
        *line("equity", content.equity, ACCOUNT_DIGITS),
        *line("hold", content.hold, HOLD_DIGITS),
        *line("drawdown", np.round(fall, DRAWDOWN_DECIMALS)),
    ]
    return {
        "steps": len(steps),
        "origin": int(content.clock[0]),
        "cash": content.cash,
        "log": wide(content.equity, content.hold),
        "account": block(steps, account, blobs),
        "symbols": [_symbol(s, blobs) for s in content.symbols],
        "fills": _rows(content.fills, blobs, content.orders),
        "trades": _rows(content.trades, blobs),
    }


def wide(*lines: Floats) -> bool:
    """Return whether values above 0 span more than a linear axis can show: a factor of 10."""
    known = np.concatenate([v[np.isfinite(v)] for v in lines])
    return bool(len(known) and known.min() > 0.0 and known.max() > WIDE * known.min())


def _symbol(symbol: Symbol, blobs: list[str]) -> dict[str, Any]:
    columns = candles(symbol.open, symbol.high, symbol.low, symbol.close, symbol.volume)
    panes = []
    for name, lines in symbol.panes.items():
        drawn = []
        for told, values in lines.items():
            column = f"line{len(columns)}"
            columns += line(column, values, PRICE_DIGITS if name == "price" else PANE_DIGITS)
            drawn.append({"name": told, "column": column})
        panes.append({"name": name, "lines": drawn})
    stride = int(np.median(np.diff(symbol.step))) if len(symbol.step) > 1 else 1
    return {
        "name": symbol.name, "stride": max(stride, 1), "panes": panes,
        "block": block(symbol.step, columns, blobs),
    }  # fmt: skip


def _rows(rows: Table, blobs: list[str], orders: Table | None = None) -> dict[str, Any]:
    """Return a table for the scripts: words as numbers of a list. orders: adds when and how each was decided."""
    columns = dict(rows)
    if orders is not None:
        at = np.searchsorted(orders["order"], rows["order"])
        columns["decided"] = orders["decided"][at]
        columns["kind"] = orders["kind"][at]
    names: list[str] = []
    words: dict[str, Sequence[str]] = {}
    numbers: list[Floats] = []
    for name, values in columns.items():
        if values.dtype.kind in "OUT":
            found, codes = np.unique(values.astype(str), return_inverse=True)
            words[name], values = [str(w) for w in found], codes
        names.append(name)
        numbers.append(values.astype(np.float64))
    return {
        "rows": len(numbers[0]), "columns": names, "words": words, "blob": table(numbers, blobs),
    }  # fmt: skip
