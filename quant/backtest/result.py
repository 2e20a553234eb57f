"""Run: what a backtest gives back, and how it prints."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from quant.backtest import source
from quant.backtest.engine import names_of
from quant.backtest.job import AnyCosts, Job
from quant.backtest.recorder import Record
from quant.backtest.seal import EDITED
from quant.core.bars import Bars
from quant.core.calendar import Ints
from quant.core.costs import Costs
from quant.core.finding import Finding
from quant.core.sessions import Floats
from quant.core.version import versions_here
from quant.metrics import Fill, figures, session_returns, trades, trades_frame
from quant.strategy import Strategy

if TYPE_CHECKING:
    from quant.backtest.compare import Comparison


@dataclass(eq=False, repr=False)
class Run:
    """A finished backtest. Times are UTC unless they are session dates.

    equity: account value by END. returns: per session, by naive session date, the first against the starting
    cash. position: units at the end, a dict by feed for several. metrics: see docs/metrics.md.
    orders, fills, trades: tables, a row each. settings: all that made the run. folder: where it was saved.
    bars, strategy: of the run itself, None for one that was loaded; a folder does not hold them.
    """

    settings: dict[str, Any]
    metrics: dict[str, float]
    equity: pd.Series[float]
    cash: pd.Series[float]
    returns: pd.Series[float]
    orders: pd.DataFrame
    fills: pd.DataFrame
    trades: pd.DataFrame
    positions: dict[str, float]
    findings: list[Finding] = field(default_factory=list)
    source: str | None = None
    folder: Path | None = None
    bars: tuple[Bars, ...] | None = None
    strategy: type | None = None

    @property
    def final_value(self) -> float:
        """Account value at the last END."""
        return self.metrics["final_value"]

    @property
    def final_cash(self) -> float:
        """Cash at the last END."""
        return self.metrics["final_cash"]

    @property
    def position(self) -> float | dict[str, float]:
        """Units held at the end; a dict by feed where there are several."""
        return dict(self.positions) if len(self.positions) > 1 else next(iter(self.positions.values()))

    def report(self, path: str | Path | None = None) -> Path:
        """Write the run as one HTML page and return where: `path`, by default report.html in the run's folder.

        The page needs no network. It is derived from the run, so it may be written again. Raises WriteFailed.
        """
        from quant.backtest.reporting import write_report

        return write_report(self, path)

    def plot(self) -> Any:
        """Return the page as a value that a notebook draws."""
        from quant.backtest.reporting import Plot, content
        from quant.report import run_page

        return Plot(run_page(content(self)))

    def to_csv(self, folder: str | Path) -> list[Path]:
        """Write trades, orders, fills, equity and returns as CSV files into a folder, and return them.

        The folder is made. Times are UTC. Raises WriteFailed.
        """
        from quant.backtest.reporting import write_csv

        return write_csv(self, Path(folder))

    def again(self, data: str | Path | None = None, *, costs: AnyCosts | None = None) -> Comparison:
        """Run this run again, and return what differs: this one as a, the new one as b. Nothing is saved.

        A run from a folder takes its bars from the store as they were known when it was saved, whatever was
        revised since, and its own copy of the strategy. data: data folder; by default the one it was saved in.
        costs: needed where the run had a scheme or function of your own. Raises DataError, StrategyError,
        ParameterError.
        """
        from quant.backtest.again import again

        return again(self, data, costs=costs)

    def __repr__(self) -> str:
        return text(self)

    def _repr_html_(self) -> str:
        rows = "".join(
            "<tr>"
            + "".join(f"<td>{html.escape(n)}</td><td style='text-align:right'>{v}</td>" for n, v in row)
            for row in _table(self)
        )
        head = "<br>".join(html.escape(line) for line in _head(self))
        notes = "".join(f"<li>{html.escape(_line(f))}</li>" for f in self.findings if f.code != EDITED)
        edited = "".join(f"<p><b>{html.escape(_line(f))}</b></p>" for f in self.findings if f.code == EDITED)
        return f"{edited}<p>{head}</p><table>{rows}</table><ul>{notes}</ul>"


# ---------------------------------------------------------------- from a record
def make_run(
    job: Job, record: Record, findings: Sequence[Finding], *, engine: str, look_ahead_ok: bool | None
) -> Run:
    """Return the Run that `record` makes of `job`."""
    names = names_of(job.bars)
    positions = record.positions()
    fills = _booked(job, record, names)
    table = _trades(record, names, fills)
    end = record.end
    returns, dates = session_returns(np.array(record.value), record.session, job.cash)
    return Run(
        settings=_settings(job, engine, record.fell_back, look_ahead_ok),
        metrics=_figures(job, record, positions, table),
        equity=pd.Series(record.value, index=_utc(end), name="equity"),
        cash=pd.Series(record.cash, index=_utc(end), name="cash"),
        returns=pd.Series(
            returns, index=pd.DatetimeIndex(dates.astype("datetime64[ns]"), name="session"), name="return"
        ),
        orders=_orders(record, names),
        fills=_fills(record, fills),
        trades=table,
        positions={n: float(p[-1]) for n, p in zip(names, positions, strict=True)},
        findings=list(findings),
        source=source.source_of(job.strategy),
        bars=job.bars,
        strategy=job.strategy,
    )


def measured(job: Job, record: Record) -> tuple[dict[str, float], Floats]:
    """Return the metrics of a run and the return of each session, without its tables."""
    names = names_of(job.bars)
    table = _trades(record, names, _booked(job, record, names))
    returns, _ = session_returns(np.array(record.value), record.session, job.cash)
    return _figures(job, record, record.positions(), table), returns


def _booked(job: Job, record: Record, names: Sequence[str]) -> list[Fill]:
    return [
        Fill(
            int(job.bars[f.feed].start[f.bar]), names[f.feed], f.quantity, f.price, f.commission, f.reason, f.bar,
            multiplier_of(job, f.feed),
        )
        for f in record.fills
    ]  # fmt: skip


def _trades(record: Record, names: Sequence[str], fills: Sequence[Fill]) -> pd.DataFrame:
    closes = dict(zip(names, _last_closes(record), strict=True))
    return _with_borrow(trades_frame(trades(fills, closes)), record, names)


def _last_closes(record: Record) -> list[float]:
    """Each feed's last close that the run has seen: a strategy may stop it early. Before its first bar, its first."""
    last = record.end[-1]
    rows = [int(np.searchsorted(b.end, last, side="right")) - 1 for b in record.bars]
    return [float(b.close[max(row, 0)]) for b, row in zip(record.bars, rows, strict=True)]


def multiplier_of(job: Job, feed: int) -> float:
    """Currency units per price unit: of the user's own commission scheme, else the instrument's (1; pence: 0.01)."""
    own = getattr(getattr(job.costs, "p", None), "mult", None)
    instrument = job.bars[feed].instrument
    return float(own) if own is not None else instrument.multiplier / instrument.price_magnifier


def _figures(
    job: Job, record: Record, positions: Sequence[np.ndarray[Any, Any]], trades: pd.DataFrame
) -> dict[str, float]:
    held = np.zeros(len(record.value), dtype=bool)
    for bars, units in zip(job.bars, positions, strict=True):
        row = np.searchsorted(bars.end, record.end, side="right") - 1
        held |= (row >= 0) & (units[np.maximum(row, 0)] != 0)
    closed = trades[~trades["open"]]
    hold = [
        last / b.close[0] - 1.0 if b.close[0] > 0 else math.nan
        for b, last in zip(job.bars, _last_closes(record), strict=True)
    ]
    return figures(
        equity=np.array(record.value), end_ns=record.end, session=record.session, held=held,
        start_cash=job.cash, final_cash=record.cash[-1], periods_per_year=_periods(job.bars),
        quantity=[f.quantity for f in record.fills], price=[f.price for f in record.fills],
        commission=[f.commission for f in record.fills], slippage=[f.slippage for f in record.fills],
        multiplier=[multiplier_of(job, f.feed) for f in record.fills], pnl=closed["pnl"].to_numpy(),
        rejected=sum(o.status == "rejected" for o in record.orders), buy_hold_return=float(np.mean(hold)),
    )  # fmt: skip


def _periods(bars: Sequence[Bars]) -> float:
    """Periods a year of the finest feed, for its sessions set the steps."""
    return min(bars, key=lambda b: b.bar.ns).periods_per_year


def _utc(ns: Ints) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(ns.view("datetime64[ns]"), name="end").tz_localize("UTC")


def _times(values: Sequence[int]) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(np.array(values, dtype=np.int64).view("datetime64[ns]")).tz_localize("UTC")


def _orders(record: Record, names: Sequence[str]) -> pd.DataFrame:
    rows = record.orders
    return pd.DataFrame(
        {
            "order": pd.array([o.order for o in rows], dtype="int64"),
            "time": _times([o.time for o in rows]),
            "symbol": pd.array([names[o.feed] for o in rows], dtype="str"),
            "kind": pd.array([o.kind for o in rows], dtype="str"),
            "quantity": np.array([o.quantity for o in rows], dtype=np.float64),
            "price": np.array([o.price for o in rows], dtype=np.float64),
            "limit_price": np.array([o.limit_price for o in rows], dtype=np.float64),
            "status": pd.array([o.status for o in rows], dtype="str"),
            "reason": pd.array([o.reason for o in rows], dtype="str"),
        }
    )


def _fills(record: Record, fills: Sequence[Fill]) -> pd.DataFrame:
    rows = record.fills
    return pd.DataFrame(
        {
            "time": _times([f.time for f in fills]),
            "symbol": pd.array([f.symbol for f in fills], dtype="str"),
            "quantity": np.array([f.quantity for f in rows], dtype=np.float64),
            "price": np.array([f.price for f in rows], dtype=np.float64),
            "commission": np.array([f.commission for f in rows], dtype=np.float64),
            "order": pd.array([f.order for f in rows], dtype="int64"),
            "reason": pd.array([f.reason for f in rows], dtype="str"),
            "slippage": np.array([f.slippage for f in rows], dtype=np.float64),
            "ambiguous": np.array([f.ambiguous for f in rows], dtype=bool),
        }
    )


def _with_borrow(trades: pd.DataFrame, record: Record, names: Sequence[str]) -> pd.DataFrame:
    """Add column `borrow` and take it off each trade's pnl: charged for bars after entry, up to the exit."""
    trades["borrow"] = 0.0
    for feed, bar, amount in record.borrowed:
        start = int(record.bars[feed].start[bar])
        entered = (trades["symbol"] == names[feed]) & (trades["entry_time"].astype("int64") < start)
        # The last one that was entered: backtrader books the exit of a Close order a bar late, and charges for it.
        row = trades.index[entered][-1:]
        trades.loc[row, "borrow"] += amount
        trades.loc[row, "pnl"] -= amount
    return trades


def _settings(job: Job, engine: str, fell_back: str | None, look_ahead_ok: bool | None) -> dict[str, Any]:
    cls = job.strategy
    return {
        "strategy": {"class": cls.__name__, "module": cls.__module__, "sources": source.hashes(cls)},
        "params": dict(job.params),
        "cash": job.cash,
        "costs": costs_text(job),
        "sizing": None if job.sizing is None else str(job.sizing),
        "slippage": None if job.slippage is None else job.slippage.name,
        "borrow": job.borrow,
        "engine": engine,
        "fell_back": fell_back,
        "start_rule": job.start_rule,
        "session": dict(cls.session) if issubclass(cls, Strategy) else {},
        "look_ahead_ok": look_ahead_ok,
        "bars": bars_facts(job.bars),
        "versions": dict(versions_here()),
    }


def costs_text(job: Job) -> str:
    """Return the job's costs as a run keeps them: a table's name, or where the scheme is defined."""
    if isinstance(job.costs, Costs):
        return job.costs.name
    kind = type(job.costs).__name__
    return f"{getattr(job.costs, '__module__', '')}.{getattr(job.costs, '__qualname__', kind)}"


def bars_facts(bars: Sequence[Bars]) -> list[dict[str, Any]]:
    """Return what says which bars these were: instrument, size, span and fingerprint of each feed."""
    return [_facts_of(b, n) for b, n in zip(bars, names_of(bars), strict=True)]


def _facts_of(bars: Bars, name: str) -> dict[str, Any]:
    return {
        "name": name, "instrument": bars.instrument.to_dict(), "bar": bars.bar.name, "what": bars.what,
        "rth": bars.rth, "source": bars.source, "adjusted": bars.adjusted, "rows": len(bars),
        "first": str(bars.session[0]), "last": str(bars.session[-1]), "fingerprint": bars.fingerprint,
    }  # fmt: skip


# ---------------------------------------------------------------- as text
def text(run: Run) -> str:
    """Return the run as a compact table."""
    table = _table(run)
    names = [max(len(row[i][0]) for row in table) for i in range(len(table[0]))]
    values = [max(len(row[i][1]) for row in table) for i in range(len(table[0]))]
    lines = [
        "   ".join(f"{n:<{a}} {v:>{b}}" for (n, v), a, b in zip(row, names, values, strict=True))
        for row in table
    ]
    # Figures of files that somebody edited: that is to be read before them.
    edited = [_line(f) for f in run.findings if f.code == EDITED]
    out = [*edited, *_head(run), *("  " + line.rstrip() for line in lines)]
    if run.settings.get("fell_back") is not None:
        out.append(f"  engine      plain, stock backtrader: {run.settings['fell_back']}")
    if run.settings["look_ahead_ok"] is not None:
        seen = (
            "none seen (signals recomputed on a few prefixes)"
            if run.settings["look_ahead_ok"]
            else "FOUND, see below"
        )
        out.append(f"  look-ahead  {seen}")
    out += [f"  {_line(f)}" for f in run.findings if f.code != EDITED]
    if run.folder is not None:
        out.append(f"  saved       {run.folder}")
    return "\n".join(out)


def _line(finding: Finding) -> str:
    times = f" ({finding.count}x)" if finding.count > 1 else ""
    return f"{finding.level:<11} {finding.message}{times}"


def _head(run: Run) -> list[str]:
    s = run.settings
    params = " ".join(f"{k}={v}" for k, v in s["params"].items())
    bars = ", ".join(f"{b['name']} {b['bar']}" if b["bar"] not in b["name"] else b["name"] for b in s["bars"])
    first, last = min(b["first"] for b in s["bars"]), max(b["last"] for b in s["bars"])
    rows = sum(b["rows"] for b in s["bars"])
    sources = ", ".join(sorted({b["source"] for b in s["bars"]}))
    facts = [f"{first} … {last}", f"{rows:,} bars", sources]
    money = [
        s["costs"],
        s["sizing"] or "own sizes",
        f"slippage {s['slippage'] or 'none'}",
        f"cash {s['cash']:,.0f}",
    ]
    return [f"{s['strategy']['class']} {params}".rstrip(), f"{bars} · {' · '.join(facts)}", " · ".join(money)]


def _table(run: Run) -> list[list[tuple[str, str]]]:
    m = run.metrics
    open_row = int(run.trades["open"].sum())
    still = f" (+{open_row} open)" if open_row else ""

    def percent(key: str) -> str:
        return "-" if math.isnan(m[key]) else f"{m[key]:+.2%}"

    def number(key: str, form: str = ".2f") -> str:
        return "-" if math.isnan(m[key]) else f"{m[key]:{form}}"

    return [
        [
            ("return", percent("total_return")),
            ("CAGR", percent("cagr")),
            ("buy & hold", percent("buy_hold_return")),
        ],
        [
            ("Sharpe", number("sharpe")),
            ("Sortino", number("sortino")),
            ("volatility", percent("volatility").lstrip("+")),
        ],
        [
            ("max drawdown", percent("max_drawdown")),
            ("longest", number("max_drawdown_days", ",.0f") + " d"),
            ("Calmar", number("calmar")),
        ],
        [
            ("trades", f"{m['trades']}{still}"),
            ("won", percent("win_rate").lstrip("+")),
            ("profit factor", number("profit_factor")),
        ],
        [
            ("avg trade", number("avg_trade", ",.2f")),
            ("best", number("best_trade", ",.2f")),
            ("worst", number("worst_trade", ",.2f")),
        ],
        [
            ("exposure", percent("exposure").lstrip("+")),
            ("turnover", number("turnover", ",.1f") + "x/y"),
            ("rejected", f"{m['rejected']}"),
        ],
        [
            ("commission", number("commission", ",.2f")),
            ("slippage", number("slippage", ",.2f")),
            ("final value", number("final_value", ",.2f")),
        ],
    ]
