"""Sweep: what a sweep gives back: a row for each combination, and what the whole of them proves."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd

from quant.backtest.runner import backtest
from quant.core.costs import Costs
from quant.core.finding import Finding
from quant.core.sessions import Floats
from quant.errors import ParameterError
from quant.metrics import NAMES
from quant.research.grid import Combinations
from quant.research.proof.columns import Columns, Whole, in_memory
from quant.research.proof.verdict import Verdict, Word, verdict
from quant.research.returns import Beside, stacked
from quant.research.task import Row, Task
from quant.research.verify import Verification

if TYPE_CHECKING:
    from quant.backtest.result import Run

# Of these the lowest is the best; of all others the highest. The page says the same (report/sweep.py).
LOW_IS_GOOD: Final = frozenset({"volatility", "max_drawdown_days", "commission", "slippage", "rejected"})
SHOWN: Final = 5  # rows of the best in the text
WHOLE: Final = ("trades", "rejected")
FAILED: Final = "failed-combinations"  # code of that finding
UNCOUNTED: Final = "trials-unknown"  # code of the finding that the ledger of trials cannot be read
WIDTH: Final = 100  # columns of a paragraph
MOST_BARS: Final = 3  # feeds or symbols that the text names
FIGURES: Final = (
    "total_return",
    "sharpe",
    "max_drawdown",
    "trades",
    "win_rate",
    "profit_factor",
)  # in the text


@dataclass(eq=False, repr=False)
class Sweep:
    """A finished sweep.

    parameters: names that vary. table: a row a combination: these parameters, the metrics of q.backtest, `error` (None
    where nothing failed) and, of a dict of bars, `symbol`. held: the session returns, a part at a time; of many rows
    they are left in the chunk files. settings: all that made it. dropped: combinations that `valid` refused. verified:
    what was run again in backtrader. seconds: of computing, without what was run again. folder: where it is kept,
    of a dict of bars None: each symbol has its own. data: the data folder that runs are saved in. task: what ran,
    None of a loaded one. sweeps: of a dict of bars, each symbol's own.
    """

    settings: dict[str, Any]
    parameters: tuple[str, ...]
    table: pd.DataFrame
    held: Columns
    combos: Sequence[Mapping[str, Any]] = field(default_factory=list)
    dropped: int = 0
    findings: tuple[Finding, ...] = ()
    verified: Verification = field(default_factory=Verification)
    seconds: float = 0.0
    folder: Path | None = None
    data: Path | None = None
    task: Task | None = None
    sweeps: dict[str, Sweep] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        task: Task | None,
        combos: Combinations,
        rows: Sequence[Row],
        facts: Mapping[str, Any],
        findings: tuple[Finding, ...],
        verified: Verification,
        seconds: float,
        folder: Path | None,
        data: Path | None,
        held: Columns,
    ) -> Sweep:
        """Return the sweep that rows, in the order of the combinations, make. held: the returns of all."""
        failed = sum(row.error is not None for row in rows)
        if failed:
            first = next(row.error for row in rows if row.error is not None)
            findings = (*findings, Finding(FAILED, f"failed; the first: {first}", failed))
        figures = np.full((len(rows), len(NAMES)), math.nan)
        for k, row in enumerate(rows):
            if row.figures is not None:
                figures[k] = row.figures
        columns: dict[str, Any] = {n: [c[n] for c in combos.rows] for n in combos.names}
        for k, name in enumerate(NAMES):
            if name not in columns:
                whole = name in WHOLE and not failed
                columns[name] = figures[:, k].astype(np.int64) if whole else figures[:, k]
        columns["error"] = pd.Series([row.error for row in rows], dtype=object)
        table = pd.DataFrame(columns)
        return cls(
            dict(facts), combos.names, table, stacked(rows) if failed == len(rows) else held, combos.rows,
            combos.dropped, findings, verified, seconds, folder, data, task,
        )  # fmt: skip

    @classmethod
    def joined(cls, sweeps: dict[str, Sweep]) -> Sweep:
        """Return the sweeps of several symbols as one, with the column `symbol`."""
        tables = [s.table.assign(symbol=name) for name, s in sweeps.items()]
        table = pd.concat(tables, ignore_index=True)
        table.insert(0, "symbol", table.pop("symbol"))
        every = list(sweeps.values())
        checked = Verification(
            sum(s.verified.fast for s in every), sum(s.verified.plain for s in every),
            max(s.verified.plain_bars for s in every), sum(s.verified.orders for s in every),
            sum(s.verified.seconds for s in every),
        )  # fmt: skip
        dropped = sum(s.dropped for s in every)
        settings = every[0].settings | {
            "bars": [b for s in every for b in s.settings["bars"]], "combinations": len(table), "dropped": dropped,
            "trials": sum(s.trials for s in every),
        }  # fmt: skip
        return cls(
            settings, every[0].parameters, table, Beside(tuple(s.held for s in every)),
            [c for s in every for c in s.combos], dropped, _together(sweeps), checked,
            sum(s.seconds for s in every), None, every[0].data, None, sweeps,
        )  # fmt: skip

    # ------------------------------------------------------------ asking
    @cached_property
    def returns(self) -> Floats:
        """Return the simple return of each session, (sessions, rows) float64, NaN where a combination failed.

        Of many rows it is read from the chunk files when it is first asked for, and held from then on.
        Raises DamagedData where one of them is gone or damaged by then.
        """
        return in_memory(self.held)

    def best(self, metric: str = "sharpe", symbol: str | None = None) -> dict[str, Any]:
        """Return the parameters of the best row by a metric, all of them, ready for q.backtest(params=).

        symbol: of a dict of bars, whose. Raises ParameterError where no row has that metric.
        """
        if self.sweeps and symbol is None:
            raise ParameterError(
                "symbol", None, f"parameters are one symbol's; name {', '.join(self.sweeps)}"
            )
        return dict(self.combos[self.best_row(metric, symbol)])

    def best_row(self, metric: str = "sharpe", symbol: str | None = None) -> int:
        """Return the number of the best row of the table by a metric; the first of equals.

        symbol: of a dict of bars, whose; None = of all. Raises ParameterError where no row has that metric.
        """
        values = self._column(metric)
        if symbol is not None:
            if symbol not in self.sweeps:
                has = f"name one of {', '.join(self.sweeps)}" if self.sweeps else "the sweep is of one symbol"
                raise ParameterError("symbol", symbol, has)
            values = np.where(self.table["symbol"] == symbol, values, math.nan)
        usable = np.where(np.isfinite(values), values, math.nan)
        if np.isnan(usable).all():
            raise ParameterError("metric", metric, "no combination has it: none traded, or all failed")
        return int(np.nanargmin(usable) if metric in LOW_IS_GOOD else np.nanargmax(usable))

    def top(self, metric: str = "sharpe", rows: int = SHOWN) -> pd.DataFrame:
        """Return the best rows of the table by a metric, the best first; those without it are left out."""
        values = self._column(metric)
        known = np.flatnonzero(np.isfinite(values))
        ordered = known[np.argsort(values[known] if metric in LOW_IS_GOOD else -values[known], kind="stable")]
        return self.table.iloc[ordered[:rows]]

    def heatmap(self, x: str, y: str, metric: str = "sharpe") -> pd.DataFrame:
        """Return the metric by two parameters, the best over all others: rows y, columns x."""
        has = [*self.parameters, *(["symbol"] if self.sweeps else [])]
        for name, value in (("x", x), ("y", y)):
            if value not in has:
                raise ParameterError(name, value, f"is no parameter of the sweep; it has {', '.join(has)}")
        if x == y:
            raise ParameterError("y", y, "is x already; a map needs two parameters")
        frame = pd.DataFrame({"x": self.table[x], "y": self.table[y], "value": self._column(metric)})
        best: Literal["min", "max"] = "min" if metric in LOW_IS_GOOD else "max"
        found = frame.pivot_table(index="y", columns="x", values="value", aggfunc=best, dropna=False)
        return found.rename_axis(index=y, columns=x)

    def _column(self, metric: str) -> Floats:
        if metric not in NAMES:
            raise ParameterError("metric", metric, f"there is {', '.join(NAMES)}")
        return self.table[metric].to_numpy(dtype=np.float64)

    def verdict(self, metric: str = "sharpe") -> Verdict:
        """Return what the search proves about its best row. Counts every trial that the ledger knows.

        Of a dict of bars: about the best row of all symbols, with the trials of all of them.
        """
        own = self.sweeps[self.best_symbol(metric)] if self.sweeps else self
        return own._judged(metric, self.trials)

    def best_symbol(self, metric: str = "sharpe") -> str:
        """Return, of a dict of bars, the symbol of the best row; the first where no row has the metric."""
        if not np.isfinite(self._column(metric)).any():
            return next(iter(self.sweeps))
        return str(self.table["symbol"].iloc[self.best_row(metric)])

    def _judged(self, metric: str, trials: int) -> Verdict:
        known = self.__dict__.setdefault("_told", {})
        if (metric, trials) not in known:
            values = self._column(metric)
            # All failed, or one session: nothing can be judged, and the verdict says that of NaN.
            long_enough = self.held.shape[0] > 1
            returns = self.held if long_enough else Whole(np.full((2, len(self.table)), math.nan))
            known[metric, trials] = verdict(
                returns, periods_per_year=self.periods_per_year,
                parameters={n: self.table[n].to_numpy() for n in self.parameters}, metric=metric,
                values=None if metric == "sharpe" else -values if metric in LOW_IS_GOOD else values, trials=trials,
            )  # fmt: skip
        found: Verdict = known[metric, trials]
        uncounted = next((f for f in self.findings if f.code == UNCOUNTED), None)
        if uncounted is not None and found.row >= 0:
            found = _uncounted(found, uncounted.message)
        peek = next((f for f in self.findings if f.code == "look-ahead"), None)
        if peek is None:
            return found
        told = f"Not judged: {peek.message}. What looks ahead shows figures that nobody can have; see `quant check`."
        return replace(found, word="unclear", text=told, reasons=(peek.message,))

    @cached_property
    def periods_per_year(self) -> float:
        """Return how many returns a year has: as Bars.periods_per_year, of the finest feed."""
        if self.task is not None:
            return min(self.task.job.bars, key=lambda b: b.bar.ns).periods_per_year
        from quant.research.saved import periods_per_year

        return periods_per_year(self.settings["bars"])

    @property
    def trials(self) -> int:
        """Return how many combinations were ever tried of this strategy on this instrument and bar."""
        return max(int(self.settings.get("trials", 0)), len(self.table))

    # ------------------------------------------------------------ going on
    def run(
        self, row: int | Mapping[str, Any] | str = "best", *, metric: str = "sharpe", save: bool = True
    ) -> Run:
        """Run one combination as q.backtest does, and save it: a row's number, its parameters, or "best".

        Of a loaded sweep, strategy and bars are looked up by name. Raises ParameterError; StrategyError and
        DataError where they are gone or have changed.
        """
        if isinstance(row, str):
            if row != "best":
                raise ParameterError("row", row, 'is a number of the table, parameters, or "best"')
            row = self.best_row(metric)
        if isinstance(row, Mapping):
            if self.sweeps:
                reason = "parameters are run on one symbol: sweep.sweeps[symbol].run(...)"
                raise ParameterError("row", dict(row), reason)
            return self._run(row, save)
        if isinstance(row, bool) or not isinstance(row, int | np.integer) or not 0 <= row < len(self.combos):
            raise ParameterError("row", row, f"the table has rows 0 to {len(self.combos) - 1}")
        own = self.sweeps[str(self.table["symbol"].iloc[row])] if self.sweeps else self
        return own._run(self.combos[row], save)

    def _run(self, params: Mapping[str, Any], save: bool) -> Run:
        if self.task is None:
            from quant.research.saved import found_again

            strategy, bars, settings = found_again(self.settings, self.data)
        else:
            job = self.task.job
            strategy, bars = job.strategy, job.bars
            settings = {
                "cash": job.cash, "costs": job.costs.name if isinstance(job.costs, Costs) else job.costs,
                "sizing": None if job.sizing is None else str(job.sizing),
                "slippage": None if job.slippage is None else job.slippage.name, "borrow": job.borrow,
                "start_rule": job.start_rule,
            }  # fmt: skip
        return backtest(strategy, bars, params=params, **settings, save=save, data=self.data)

    def report(self, path: str | Path | None = None, *, metric: str = "sharpe") -> Path:
        """Write the sweep as one HTML page and return where: `path`, by default report.html in its folder.

        metric: the one that the page ranks and judges by; its reader may look at the others. The page needs no
        network. It is derived, so it may be written again. Raises WriteFailed.
        """
        from quant.research.reporting import write_sweep_report

        return write_sweep_report(self, path, metric)

    # ------------------------------------------------------------ as text
    def __repr__(self) -> str:
        return self.text()

    def text(self, metric: str = "sharpe", rows: int = SHOWN) -> str:
        """Return the sweep as text: what it was, the best rows by a metric, and what they prove."""
        shown = self._shown(metric, rows)
        table = f"no combination has a {metric}" if shown.empty else shown.to_string(index=False)
        return "\n".join([*self._head(), table, *self._tail(metric)])

    def _repr_html_(self) -> str:
        head, tail = (
            "<br>".join(html.escape(line) for line in part) for part in (self._head(), self._tail("sharpe"))
        )
        return f"<p>{head}</p>{self._shown('sharpe', SHOWN).to_html(index=False)}<p>{tail}</p>"

    def _head(self) -> list[str]:
        known = self.settings
        bars = ", ".join(f"{_bars_text(b)} {b['first']} … {b['last']}" for b in known["bars"][:MOST_BARS])
        more = len(known["bars"]) - MOST_BARS
        sources = ", ".join(sorted({b["source"] for b in known["bars"]}))
        count = f"{len(self.table):,} combinations of {', '.join(self.parameters)}"
        dropped = f", {self.dropped:,} refused by valid" if self.dropped else ""
        return [
            f"{known['strategy']['class']} · {bars}{f' and {more:,} more' if more > 0 else ''} · {sources}",
            f"{count}{dropped} · {known['engine']} · {self.seconds:.1f} s",
        ]

    def _shown(self, metric: str, rows: int) -> pd.DataFrame:
        """Return the best rows with the figures that most people look at first."""
        names = [*(["symbol"] if self.sweeps else []), *self.parameters]
        figures = [m for m in dict.fromkeys((metric, *FIGURES)) if m not in names]
        return self.top(metric, rows)[[*names, *figures]].round(4).reset_index(names="row")

    def _tail(self, metric: str) -> list[str]:
        lines = [f"verified: {self.verified}"]
        lines += [
            f"{f.level}: {f.message}" + (f" ({f.count:,})" if f.count != 1 else "") for f in self.findings
        ]
        whose = f" of {self.best_symbol(metric)}, the best of {len(self.sweeps)}" if self.sweeps else ""
        lines += [
            textwrap.fill(f"verdict{whose}: {self.verdict(metric).text}", WIDTH, subsequent_indent="  ")
        ]
        kept = [s.folder for s in (self.sweeps.values() if self.sweeps else (self,)) if s.folder is not None]
        return [*lines, *(f"saved: {folder}" for folder in kept)]


def _bars_text(fact: Mapping[str, Any]) -> str:
    return str(fact["name"]) if fact["bar"] in fact["name"] else f"{fact['name']} {fact['bar']}"


def _uncounted(v: Verdict, why: str) -> Verdict:
    """Return the verdict of a search after others that cannot be counted: luck stays luck, nothing else is proved."""
    word: Word = "luck" if v.word == "luck" else "unclear"
    reasons = (*(v.reasons if word == "luck" else ()), why)
    text = (
        f"{word.capitalize()}: {'; '.join(reasons)}. Of the {v.combinations:,} tried here the best by {v.metric} has a "
        f"Sharpe ratio of {v.sharpe:.2f} a year over {v.years:.1f} years (t-statistic {v.t_statistic:.1f})."
    )
    unknown = math.nan
    return replace(
        v, word=word, text=text, reasons=reasons, expected=unknown, deflated=unknown, years_needed=unknown
    )


def _together(sweeps: Mapping[str, Sweep]) -> tuple[Finding, ...]:
    """Return the findings of all symbols; one that several have is told once, with its count of all."""
    found: dict[tuple[str, str], Finding] = {}
    for name, sweep in sweeps.items():
        for f in sweep.findings:
            message = f"{name}: {f.message}" if f.code == FAILED else f.message
            before = found.get((f.code, message))
            found[f.code, message] = replace(
                f, message=message, count=f.count + (before.count if before else 0)
            )
    return tuple(found.values())
