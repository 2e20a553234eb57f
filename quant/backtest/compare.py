"""Two runs side by side: what differs in settings, code, data and results, first order and fill that differ."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from quant.backtest.folder import load_run
from quant.backtest.result import Run

Pair = tuple[int, dict[str, Any] | None, dict[str, Any] | None]


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Differences of run `a` and run `b`: by name, the value in a and in b. Empty = equal.

    first_order, first_fill: the first that differs, as (number, row of a or None, row of b or None), else None.
    """

    settings: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    code: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    data: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    metrics: dict[str, tuple[float, float]] = field(default_factory=dict)
    first_order: Pair | None = None
    first_fill: Pair | None = None

    @property
    def same(self) -> bool:
        """True where fills and metrics agree to the last bit; orders that never filled may differ."""
        return not self.metrics and self.first_fill is None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        parts = {name: {k: list(v) for k, v in getattr(self, name).items()} for name in PARTS}
        first = {name: _plain(getattr(self, name)) for name in ("first_order", "first_fill")}
        return {"same": self.same, **parts, **first}

    def __repr__(self) -> str:
        lines = ["results are equal to the last bit" if self.same else "results differ"]
        for name in PARTS:
            for key, (a, b) in getattr(self, name).items():
                lines.append(f"  {name:<9} {key}: {a} | {b}")
        for kind, found, words in (("order", self.first_order, _order), ("fill", self.first_fill, _fill)):
            if found is not None:
                number, a_row, b_row = found
                lines += [f"  first {kind} that differs: number {number}"]
                lines += [f"    a {words(a_row)}", f"    b {words(b_row)}"]
        return "\n".join(lines)


PARTS = ("settings", "code", "data", "metrics")


def compare(a: Run | str | Path, b: Run | str | Path, data: str | Path | None = None) -> Comparison:
    """Return what differs between two runs, given as Run, run folder or run name."""
    first, second = (r if isinstance(r, Run) else load_run(r, data) for r in (a, b))
    old, new = dict(first.settings), dict(second.settings)
    code = _differ(
        {**old.pop("strategy")["sources"], **_flat("version ", old.pop("versions"))},
        {**new.pop("strategy")["sources"], **_flat("version ", new.pop("versions"))},
    )
    bars = _differ(_bars(old.pop("bars")), _bars(new.pop("bars")))
    old["strategy"], new["strategy"] = (r.settings["strategy"]["class"] for r in (first, second))
    params = _differ(_flat("params.", old.pop("params")), _flat("params.", new.pop("params")))
    return Comparison(
        settings={**_differ(old, new), **params},
        code=code,
        data=bars,
        metrics=_differ(first.metrics, second.metrics),
        first_order=_first(first.orders, second.orders),
        first_fill=_first(first.fills, second.fills),
    )


def _flat(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    return {prefix + k: v for k, v in values.items()}


def _bars(feeds: list[dict[str, Any]]) -> dict[str, Any]:
    return {f"{b['name']}.{k}": v for b in feeds for k, v in b.items() if k != "name"}


def _differ(a: dict[str, Any], b: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = [*a, *(k for k in b if k not in a)]
    return {k: (a.get(k), b.get(k)) for k in names if not _equal(a.get(k), b.get(k))}


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b):
        return True
    # Saved settings are JSON: a tuple comes back as a list.
    return bool(a == b) or (
        isinstance(a, list | tuple) and isinstance(b, list | tuple) and list(a) == list(b)
    )


def _first(a: pd.DataFrame, b: pd.DataFrame) -> Pair | None:
    """Return the first row in which two tables differ."""
    # Not by the order's number: one more order that never filled would shift all that follow.
    old, new = (
        [{str(k): v for k, v in row.items() if k != "order"} for row in f.to_dict("records")] for f in (a, b)
    )
    for i in range(max(len(old), len(new))):
        one, two = (rows[i] if i < len(rows) else None for rows in (old, new))
        if one is None or two is None or _differ(one, two):
            return i + 1, one, two
    return None


def _plain(found: Pair | None) -> list[Any] | None:
    """Return a pair as JSON can hold it: times as ISO text, what is missing as None."""
    if found is None:
        return None
    number, *rows = found
    return [number, *(None if r is None else {k: _value(v) for k, v in r.items()} for r in rows)]


def _value(value: Any) -> Any:
    if pd.isna(value):
        return None
    return value.isoformat() if isinstance(value, pd.Timestamp) else value


def _order(row: dict[str, Any] | None) -> str:
    if row is None:
        return "no such order"
    price, limit = row["price"], row["limit_price"]
    words = [f"{row['time']} {row['symbol']} {row['quantity']:+g} {row['kind']}"]
    if not math.isnan(price):
        words.append(f"at {price!r}")
    if not math.isnan(limit) and limit != price:
        words.append(f"limit {limit!r}")
    return ", ".join(text for text in (" ".join(words), row["reason"], row["status"]) if text)


def _fill(row: dict[str, Any] | None) -> str:
    if row is None:
        return "no such fill"
    return f"{row['time']} {row['symbol']} {row['quantity']:+g} at {row['price']!r}, {row['reason']}"
