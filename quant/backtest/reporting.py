"""From a Run to its page: gathers what quant/report draws, and writes the file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from quant.backtest import source
from quant.core.bars import Bars
from quant.core.barsize import SECOND
from quant.core.zones import to_local
from quant.errors import ParameterError, QuantError, WriteFailed
from quant.metrics.excursions import excursions
from quant.report import Content, Symbol, compare_page, framed, run_page
from quant.report.content import Floats, Ints, Panes
from quant.store import atomic
from quant.store import bars as bars_of_store
from quant.store.query import named
from quant.strategy import Strategy, strategy

if TYPE_CHECKING:
    from quant.backtest.result import Run

NAME: Final = "report.html"
FRAME: Final = 900  # px of a page inside a notebook


def write_report(run: Run, path: str | Path | None) -> Path:
    """Write the run's page and return its path. Raises WriteFailed; the run is as it was."""
    if path is None and run.folder is None:
        raise ParameterError("path", None, "the run was not saved, so name a file: run.report('report.html')")
    target = _target(Path(NAME) if path is None else Path(path), run.folder if path is None else None)
    return _put(target, run_page(content(run)))


def compare_report(runs: Sequence[Run], path: str | Path) -> Path:
    """Write a page that shows several runs side by side, and return its path. Raises WriteFailed."""
    if len(runs) < 2:
        raise ParameterError("runs", len(runs), "a comparison needs two runs or more")
    return _put(_target(Path(path), None), compare_page([content(r, drawn=False) for r in runs]))


def _target(path: Path, folder: Path | None) -> Path:
    full = path if folder is None else folder / path
    return full / NAME if full.is_dir() else full


def _put(path: Path, page: str) -> Path:
    try:
        atomic.put(path, page.encode())
    except OSError as e:
        raise WriteFailed(str(path), e.strerror or str(e)) from e
    return path


def write_csv(run: Run, folder: Path) -> list[Path]:
    """Write the run's tables as CSV into `folder` and return the files. Raises WriteFailed."""
    account = pd.DataFrame({"equity": run.equity, "cash": run.cash}).reset_index()
    tables = {
        "trades": run.trades, "orders": run.orders, "fills": run.fills, "equity": account,
        "returns": run.returns.reset_index(),
    }  # fmt: skip
    written = []
    for name, rows in tables.items():
        path = folder / f"{name}.csv"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            atomic.put(path, rows.to_csv(index=False, lineterminator="\n").encode())
        except OSError as e:
            raise WriteFailed(str(path), e.strerror or str(e)) from e
        written.append(path)
    return written


@dataclass(frozen=True, slots=True, eq=False)
class Plot:
    """A run's page as a notebook shows it; elsewhere its repr says what to call."""

    page: str

    def _repr_html_(self) -> str:
        return framed(self.page, FRAME)

    def __repr__(self) -> str:
        return f"Plot({len(self.page) / 1e6:.1f} MB; shown in notebooks, run.report() writes it to a file)"


# ---------------------------------------------------------------- what a page needs
def content(run: Run, *, drawn: bool = True) -> Content:
    """Return the run as plain values. drawn: with its bars and indicators."""
    notes: list[str] = []
    bars = _bars(run, notes) if drawn else ()
    end = run.equity.index.as_unit("ns").asi8  # type: ignore[attr-defined]  # the stubs say Index
    facts = run.settings["bars"]
    zones = {f["instrument"]["timezone"] for f in facts}
    zone = zones.pop() if len(zones) == 1 else "UTC"
    names = [f["name"] for f in facts]
    steps = [np.searchsorted(end, b.end) for b in bars]
    kept = [at < len(end) for at in steps]  # a strategy may have stopped the run
    panes = _panes(run, bars, notes)
    symbols = [
        Symbol(n, at[k], b.open[k], b.high[k], b.low[k], b.close[k], b.volume[k], _cut(p, k))
        for n, b, at, k, p in zip(names, bars, steps, kept, panes, strict=bool(bars))
    ]  # fmt: skip
    clock = _clock(end, bars, zone)
    returns = run.returns
    return Content(
        name=run.folder.name if run.folder is not None else "not saved", settings=run.settings, metrics=run.metrics,
        findings=run.findings, clock=clock, zone=zone, equity=np.asarray(run.equity, dtype=np.float64),
        hold=_hold(run, bars, end), returns=np.asarray(returns, dtype=np.float64),
        sessions=returns.index.to_numpy().astype("datetime64[D]"), periods_per_year=_periods(run, bars),
        symbols=symbols, fills=_fills(run, bars, end, zone), orders=_orders(run, zone),
        trades=_trades(run, bars, end, zone), notes=notes,
    )  # fmt: skip


def _bars(run: Run, notes: list[str]) -> tuple[Bars, ...]:
    """Return the run's bars: its own, else those of the store if they are still the same."""
    if run.bars is not None:
        return run.bars
    found = []
    for fact in run.settings["bars"]:
        data = None if run.folder is None else run.folder.resolve().parents[1]
        try:
            bars = bars_of_store(
                named(fact["instrument"]), fact["bar"], fact["first"], fact["last"], what=fact["what"],
                rth=fact["rth"], source=fact["source"], data=data,
            )  # fmt: skip
        except QuantError as e:
            notes.append(
                f"Without prices, indicators, and buying and holding, for the bars are not in the store: {e}"
            )
            return ()
        if bars.fingerprint != fact["fingerprint"]:
            notes.append(
                f"Without prices, indicators, and buying and holding, for the bars of {fact['name']} in the store are "
                f"no longer those of the run (fingerprint {bars.fingerprint[:12]}, not {fact['fingerprint'][:12]})."
            )
            return ()
        found.append(bars)
    return tuple(found)


def _panes(run: Run, bars: Sequence[Bars], notes: list[str]) -> list[Panes]:
    """Return what the strategy wants drawn, for each feed; what goes wrong there is a note, not an error."""
    cls = _class(run, notes) if bars else None
    if cls is None or not issubclass(cls, Strategy):
        return [{} for _ in bars]
    try:
        p = SimpleNamespace(**run.settings["params"])
        return [_checked(cls.plots(b, p), b) for b in bars]
    except Exception as e:  # noqa: BLE001  # the strategy is the user's code; a page without its lines is still one
        notes.append(f"Without indicators: {cls.__name__}.plots raised {type(e).__name__}: {e}")
        return [{} for _ in bars]


def _class(run: Run, notes: list[str]) -> type | None:
    """Return the run's strategy: its own, else the one of that name if its source is still the same."""
    if run.strategy is not None:
        return run.strategy
    known = run.settings["strategy"]
    try:
        found = strategy(f"{known['module']}:{known['class']}")
    except QuantError as e:
        notes.append(f"Without indicators: {e}")
        return None
    if source.hashes(found) != known["sources"]:
        notes.append(f"Without indicators: the source of {known['class']} has changed since the run.")
        return None
    return found


def _checked(found: Any, bars: Bars) -> Panes:
    panes = {}
    for pane, lines in found.items():
        drawn = {str(name): np.asarray(values, dtype=np.float64) for name, values in lines.items()}
        for name, values in drawn.items():
            if values.shape != bars.close.shape:
                raise ValueError(f"{pane}, {name} has shape {values.shape}, the bars have {bars.close.shape}")
        panes[str(pane)] = drawn
    return panes


def _cut(panes: Panes, kept: np.ndarray[Any, Any]) -> Panes:
    return {pane: {n: v[kept] for n, v in lines.items()} for pane, lines in panes.items()}


# ---------------------------------------------------------------- times
def _clock(end: Ints, bars: Sequence[Bars], zone: str) -> Ints:
    """Return the wall clock at the start of each step's finest bar; of daily and longer bars the session."""
    wall = to_local(end, zone) // SECOND
    for b in sorted(bars, key=lambda b: -b.bar.ns):
        at = np.searchsorted(end, b.end)
        mine = at < len(end)
        wall[at[mine]] = _starts(b.start, b.bar.intraday, zone)[mine]
    return np.maximum.accumulate(wall)


def _starts(start: Ints, intraday: bool, zone: str) -> Ints:
    return (to_local(start, zone) if intraday else start) // SECOND


def _filled(run: Run, times: pd.Series[Any], symbols: pd.Series[str], zone: str) -> Floats:
    """Return the clock at the start of the bars in which fills happened; NaN for none."""
    ns = times.array.as_unit("ns").asi8
    size = {f["name"]: f["bar"] for f in run.settings["bars"]}
    intraday = np.array([size[s][-1] in "smh" for s in symbols], dtype=bool)
    missing = times.isna().to_numpy()
    ns = np.where(missing, 0, ns)
    wall = np.where(intraday, to_local(ns, zone), ns) // SECOND
    return np.where(missing, math.nan, wall.astype(np.float64))


def _steps(
    times: Ints, symbols: np.ndarray[Any, Any], run: Run, bars: Sequence[Bars], end: Ints
) -> tuple[Ints, Ints]:
    """Return the bar of each fill and the step at which it ended. Without bars the first step after its start."""
    names = [f["name"] for f in run.settings["bars"]]
    row = np.zeros(len(times), dtype=np.int64)
    step = np.minimum(np.searchsorted(end, times, side="right"), len(end) - 1)
    for name, b in zip(names, bars, strict=False):
        mine = symbols == name
        row[mine] = np.searchsorted(b.start, times[mine])
        step[mine] = np.searchsorted(end, b.end[np.minimum(row[mine], len(b) - 1)])
    return row, np.minimum(step, len(end) - 1)


# ---------------------------------------------------------------- tables
def _fills(run: Run, bars: Sequence[Bars], end: Ints, zone: str) -> dict[str, np.ndarray[Any, Any]]:
    f = run.fills
    symbol = f["symbol"].to_numpy(dtype=object)
    times = f["time"].array.as_unit("ns").asi8
    units = {b["name"]: b["instrument"] for b in run.settings["bars"]}
    by = np.array([units[s]["multiplier"] / units[s]["price_magnifier"] for s in symbol], dtype=np.float64)
    columns = ("quantity", "price", "commission", "slippage", "order", "ambiguous")
    return {
        "step": _steps(times, symbol, run, bars, end)[1], "symbol": symbol, **{c: f[c].to_numpy() for c in columns},
        "reason": f["reason"].to_numpy(dtype=object), "filled": _filled(run, f["time"], f["symbol"], zone),
        "value": np.abs(f["quantity"].to_numpy() * f["price"].to_numpy()) * by,
    }  # fmt: skip


def _orders(run: Run, zone: str) -> dict[str, np.ndarray[Any, Any]]:
    o = run.orders
    words = ("symbol", "kind", "status", "reason")
    numbers = ("order", "quantity", "price", "limit_price")
    decided = to_local(o["time"].array.as_unit("ns").asi8, zone) // SECOND
    return {
        **{c: o[c].to_numpy(dtype=object) for c in words}, **{c: o[c].to_numpy() for c in numbers}, "decided": decided,
    }  # fmt: skip


def _trades(run: Run, bars: Sequence[Bars], end: Ints, zone: str) -> dict[str, np.ndarray[Any, Any]]:
    t = run.trades
    symbol = t["symbol"].to_numpy(dtype=object)
    entered = t["entry_time"].array.as_unit("ns").asi8
    left = t["exit_time"].array.as_unit("ns").asi8
    held = t["open"].to_numpy()
    entry, entry_step = _steps(entered, symbol, run, bars, end)
    exit_, exit_step = _steps(left, symbol, run, bars, end)
    mfe, mae = np.full(len(t), math.nan), np.full(len(t), math.nan)
    names = [f["name"] for f in run.settings["bars"]]
    for name, b in zip(names, bars, strict=False):
        mine = symbol == name
        seen = int(np.searchsorted(b.end, end[-1], side="right"))
        mfe[mine], mae[mine] = excursions(
            entry[mine], np.where(held, seen, exit_)[mine], t["quantity"].to_numpy()[mine],
            t["entry_price"].to_numpy()[mine], t["exit_price"].to_numpy()[mine], b.high, b.low,
        )  # fmt: skip
    columns = ("quantity", "entry_price", "exit_price", "pnl", "return", "commission", "borrow", "open")
    return {
        "symbol": symbol, **{c: t[c].to_numpy() for c in columns}, "reason": t["reason"].to_numpy(dtype=object),
        "entered": _filled(run, t["entry_time"], t["symbol"], zone),
        "left": _filled(run, t["exit_time"], t["symbol"], zone),
        "entry_step": entry_step, "exit_step": np.where(held, len(end) - 1, exit_step), "mfe": mfe, "mae": mae,
    }  # fmt: skip


# ---------------------------------------------------------------- figures
def _hold(run: Run, bars: Sequence[Bars], end: Ints) -> Floats:
    """Return the value of buying and holding with the starting cash: as metric buy_hold_return, at each step."""
    if not bars:
        return np.full(len(end), math.nan)
    grown = np.zeros(len(end))
    for b in bars:
        row = np.maximum(np.searchsorted(b.end, end, side="right") - 1, 0)
        first = float(b.close[0])
        grown += b.close[row] / first if first > 0.0 else math.nan
    return grown / len(bars) * float(run.settings["cash"])


def _periods(run: Run, bars: Sequence[Bars]) -> float:
    if bars:
        return min(bars, key=lambda b: b.bar.ns).periods_per_year
    # Of a run without its bars: what its own volatility was made with.
    spread = float(run.returns.std(ddof=1)) if len(run.returns) > 1 else math.nan
    volatility = run.metrics["volatility"]
    return (volatility / spread) ** 2 if spread > 0.0 and math.isfinite(volatility) else 252.0
