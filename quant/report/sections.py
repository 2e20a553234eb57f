"""The tables of a run's page, from its content."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from quant.metrics.bootstrap import FEWEST, Bootstrap, stationary_bootstrap
from quant.report.content import Content, Days, Floats, Table
from quant.report.words import NONE, moment, number, percent, price

MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
ROWS: Final = 50  # of a table on the page; the files hold all
SHADES: Final = 5  # of colour on either side of 0
BINS: Final = 40
PALE: Final = 0.02


def title(content: Content) -> str:
    """Return what ran on what: "MacdCross on SPY"."""
    names = [b["name"] for b in content.settings["bars"]]
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{content.settings['strategy']['class']} on {shown}"


def head(content: Content) -> list[tuple[str, str]]:
    """Return the facts under the title."""
    s = content.settings
    borrow = "none" if s["borrow"] is None else s["borrow"]
    bars: list[dict[str, Any]] = s["bars"]
    first, last = min(b["first"] for b in bars), max(b["last"] for b in bars)
    sources = ", ".join(sorted({b["source"] for b in bars}))
    sizes = ", ".join(dict.fromkeys(b["bar"] for b in bars))
    code = next(iter(s["strategy"]["sources"].values()), None)
    return [
        ("Parameters", ", ".join(f"{k} = {v}" for k, v in s["params"].items()) or "none"),
        ("Bars", f"{sum(b['rows'] for b in bars):,} of {sizes}, from {sources}"),
        ("Span", f"{first} to {last}"),
        ("Costs", f"{s['costs']}, slippage {s['slippage'] or 'none'}, borrow {borrow}"),
        ("Sizing", s["sizing"] or "the strategy's own"),
        ("Engine", f"{s['engine']}, quant-ib {s['versions'].get('quant-ib', NONE)}"),
        ("Data", ", ".join(b["fingerprint"][:12] for b in bars[:3]) + (" …" if len(bars) > 3 else "")),
        ("Code", code[:12] if code else "unknown"),
    ]  # fmt: skip


def figures(m: Mapping[str, float]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the key figures in four groups."""
    return [
        ("Growth", [
            ("Total return", percent(m["total_return"])), ("Growth a year", percent(m["cagr"])),
            ("Buy and hold", percent(m["buy_hold_return"])), ("Final value", number(m["final_value"])),
            ("Final cash", number(m["final_cash"])),
        ]),
        ("Risk", [
            ("Sharpe ratio", number(m["sharpe"])), ("Sortino ratio", number(m["sortino"])),
            ("Volatility a year", percent(m["volatility"], ".2%")), ("Deepest drawdown", percent(m["max_drawdown"])),
            ("Longest drawdown", f"{number(m['max_drawdown_days'], ',.0f')} days"),
            ("Calmar ratio", number(m["calmar"])),
        ]),
        ("Trades", [
            ("Closed", number(m["trades"], ",.0f")), ("Won", percent(m["win_rate"], ".2%")),
            ("Profit factor", number(m["profit_factor"])), ("Average", number(m["avg_trade"])),
            ("Best", number(m["best_trade"])), ("Worst", number(m["worst_trade"])), ("SQN", number(m["sqn"])),
        ]),
        ("Activity", [
            ("Exposure", percent(m["exposure"], ".2%")), ("Turnover a year", number(m["turnover"], ",.1f")),
            ("Commission", number(m["commission"])), ("Slippage", number(m["slippage"])),
            ("Rejected orders", number(m["rejected"], ",.0f")),
        ]),
    ]  # fmt: skip


# ---------------------------------------------------------------- months
@dataclass(frozen=True, slots=True)
class Cell:
    """A percentage and the shade of its background: +1..+5 gain, -1..-5 loss, 0 none."""

    text: str
    shade: int = 0


def months(returns: Floats, sessions: Days) -> list[tuple[str, list[Cell]]]:
    """Return a row for each year, newest last: twelve months and the year, compounded."""
    if not len(returns):
        return []
    month = sessions.astype("datetime64[M]").astype(np.int64)
    grown = {
        int(m): float(np.prod(1.0 + returns[month == m]) - 1.0) for m in np.unique(month)
    }  # fmt: skip
    largest = max((abs(v) for v in grown.values() if math.isfinite(v)), default=0.0)
    rows = []
    for year in range(int(month[0]) // 12, int(month[-1]) // 12 + 1):
        found = [grown.get(12 * year + k) for k in range(12)]
        total = math.prod(1.0 + v for v in found if v is not None) - 1.0
        cells = [Cell("") if v is None else Cell(percent(v, "+.1%"), _shade(v, largest)) for v in found]
        rows.append((str(1970 + year), [*cells, Cell(percent(total, "+.1%"))]))
    return rows


def _shade(value: float, largest: float) -> int:
    if not math.isfinite(value) or value == 0.0:
        return 0
    # The root keeps small ones apart; a month of a tenth of a percent is pale even where none moved more.
    depth = min(int(SHADES * math.sqrt(abs(value) / max(largest, PALE))) + 1, SHADES)
    return depth if value > 0 else -depth


# ---------------------------------------------------------------- chance
@dataclass(frozen=True, slots=True)
class Spread:
    """How a figure came out over the resampled series. bars: heights 0..1, and whether inside the band."""

    name: str
    value: str
    low: str
    high: str
    bars: list[tuple[float, bool]]
    at: float  # where the run's own figure lies, 0..1; NaN outside
    ends: tuple[str, str]


def seed(settings: Mapping[str, Any]) -> int:
    """Return a number that the run's settings, code and data decide; engines agree to the last bit, so not they."""
    kept = {k: v for k, v in settings.items() if k not in ("engine", "versions", "look_ahead_ok")}
    facts = json.dumps(kept, sort_keys=True, default=str).encode()
    return int.from_bytes(hashlib.sha256(facts).digest()[:8], "big")


def chance(content: Content) -> tuple[Bootstrap | None, list[Spread]]:
    """Return the bootstrap, None if there are too few returns, and what it says of Sharpe and drawdown."""
    found = stationary_bootstrap(content.returns, content.periods_per_year, seed=seed(content.settings))
    if found is None:
        return None, []
    m = content.metrics
    return found, [
        _spread(found, "sharpe", "Sharpe ratio", m["sharpe"], number),
        _spread(found, "drawdown", "Deepest drawdown", m["max_drawdown"], lambda v: percent(v, ".1%")),
    ]


def _spread(found: Bootstrap, name: str, told: str, value: float, text: Any) -> Spread:
    low, high = found.band(name)
    values: Floats = getattr(found, name)
    known = values[~np.isnan(values)]
    if not len(known) or not np.max(known) > np.min(known):
        return Spread(told, text(value), text(low), text(high), [], math.nan, (NONE, NONE))
    begin, end = np.quantile(known, [0.002, 0.998])  # a few far ones would squeeze the rest
    counts, edges = np.histogram(known, BINS, (begin, end))
    middle = (edges[1:] + edges[:-1]) / 2.0
    tallest = int(np.max(counts))
    heights = [(int(c) / tallest, bool(low <= x <= high)) for c, x in zip(counts, middle, strict=True)]
    at = (value - begin) / (end - begin)
    return Spread(
        told, text(value), text(low), text(high), heights, float(at) if 0.0 <= at <= 1.0 else math.nan,
        (text(float(begin)), text(float(end))),
    )  # fmt: skip


def too_few(content: Content) -> str:
    """Return why there are no bands."""
    n = len(content.returns)
    if n < FEWEST:
        return f"Too few returns: {n}, and below {FEWEST} resampling repeats the same few values."
    return "Some returns are undefined (the account fell to zero or below), so there is nothing to resample."


# ---------------------------------------------------------------- orders and costs
@dataclass(frozen=True, slots=True)
class Listing:
    """A table: names of columns, rows of text, which columns are numbers, and how many rows there are."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[bool]
    total: int


def costs(content: Content) -> Listing:
    """Return what trading cost, together and by symbol; of many symbols those that cost most."""
    f, t = content.fills, content.trades
    names = [b["name"] for b in content.settings["bars"]]
    rows, sums = [], []
    for name in names if len(names) == 1 else [None, *names]:
        mine = np.ones(len(f["symbol"]), dtype=bool) if name is None else f["symbol"] == name
        held = np.ones(len(t["symbol"]), dtype=bool) if name is None else t["symbol"] == name
        commission = float(f["commission"][mine].sum())
        slipped = float(
            (f["slippage"] * f["value"] / np.where(f["price"] == 0, np.nan, f["price"]))[mine].sum()
        )
        borrow = float(t["borrow"][held].sum())
        traded = float(f["value"][mine].sum())
        total = commission + slipped + borrow
        sums.append(total)
        rows.append(
            (
                "All" if name is None else name,
                f"{int(mine.sum()):,}", number(traded, ",.0f"), number(commission), number(slipped),
                number(borrow), number(total), number(total / traded * 1e4 if traded > 0 else math.nan, ".2f"),
                percent(total / content.cash, ".2%"),
            )
        )  # fmt: skip
    columns = (
        "Symbol", "Fills", "Value traded", "Commission", "Slippage", "Borrow", "Together", "bp of value", "of cash",
    )  # fmt: skip
    if len(rows) > ROWS:
        rows = [rows[k] for k in np.argsort(-np.array(sums), kind="stable")[:ROWS]]
    return Listing(columns, rows, [False] + [True] * 8, len(sums))


def rejected(content: Content) -> Listing:
    """Return the rejected orders, the first of them."""
    return _listing(content.orders, content.orders["status"] == "rejected", {
        "Decided": ("decided", moment), "Symbol": ("symbol", str), "Order": ("order", _whole), "Kind": ("kind", str),
        "Quantity": ("quantity", _signed), "Reason": ("reason", str),
    })  # fmt: skip


def ambiguous(content: Content) -> Listing:
    """Return the fills of bars that touched stop and limit, the first of them."""
    return _listing(content.fills, content.fills["ambiguous"].astype(bool), {
        "Filled": ("filled", moment), "Symbol": ("symbol", str), "Order": ("order", _whole),
        "Quantity": ("quantity", _signed), "Price": ("price", price), "Reason": ("reason", str),
    })  # fmt: skip


def extremes(content: Content, count: int = 5) -> tuple[Listing, Listing]:
    """Return the best and the worst closed trades."""
    t = content.trades
    closed = np.flatnonzero(~t["open"].astype(bool))
    order = closed[np.argsort(t["pnl"][closed], kind="stable")]
    columns = {
        "Entered": ("entered", moment), "Left": ("left", moment), "Symbol": ("symbol", str),
        "Quantity": ("quantity", _signed), "Entry": ("entry_price", price), "Exit": ("exit_price", price),
        "Result": ("pnl", _signed_money), "Return": ("return", percent),
        "MFE": ("mfe", percent), "MAE": ("mae", percent),
        "Left by": ("reason", str),
    }  # fmt: skip
    return (
        _listing(t, order[::-1][: min(count, (len(order) + 1) // 2)], columns),
        _listing(t, order[: min(count, len(order) // 2)], columns),
    )


def _listing(table: Table, rows: Any, columns: Mapping[str, tuple[str, Any]]) -> Listing:
    chosen = np.flatnonzero(rows) if rows.dtype == bool else rows
    cells = [[text(table[key][i]) for key, text in columns.values()] for i in chosen[:ROWS]]
    numbers = [text not in (str, moment) for _, text in columns.values()]
    return Listing(list(columns), cells, numbers, len(chosen))


def _whole(value: float) -> str:
    return f"{int(value)}"


def _signed(value: float) -> str:
    return number(value, "+,.10g")


def _signed_money(value: float) -> str:
    return number(value, "+,.2f")
