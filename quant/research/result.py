"""Sweep: what a sweep gives back: a row for each combination, and what the whole of them proves."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from quant.backtest.runner import backtest
from quant.core.costs import Costs
from quant.core.finding import Finding
from quant.core.sessions import Floats
from quant.errors import ParameterError, StrategyError
from quant.metrics import NAMES
from quant.research.grid import Combinations
from quant.research.task import Row, Task
from quant.research.verdict import Verdict, verdict
from quant.research.verify import Verification

if TYPE_CHECKING:
    from quant.backtest.result import Run

# Of these the lowest is the best; of all others the highest.
LOW_IS_GOOD: Final = frozenset(
    {"volatility", "max_drawdown_days", "commission", "slippage", "rejected", "turnover", "exposure"}
)
SHOWN: Final = 5  # rows of the best in the text
WHOLE: Final = ("trades", "rejected")


@dataclass(eq=False, repr=False)
class Sweep:
    """A finished sweep.

    parameters: names that vary. table: a row a combination: these parameters, the metrics of q.backtest, `error` (None
    where nothing failed) and, of a dict of bars, `symbol`. returns: (sessions, rows) float64, the simple return of each
    session, NaN where one failed. settings: all that made it. dropped: combinations that `valid` refused. verified:
    what was run again in backtrader. seconds: of computing, without what was run again. folder: where it is kept.
    data: the data folder that runs are saved in. sweeps: of a dict of bars, each symbol's own.
    """

    settings: dict[str, Any]
    parameters: tuple[str, ...]
    table: pd.DataFrame
    returns: Floats
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
        task: Task,
        combos: Combinations,
        rows: Sequence[Row],
        facts: Mapping[str, Any],
        findings: tuple[Finding, ...],
        verified: Verification,
        seconds: float,
        folder: Path | None,
        data: Path | None,
    ) -> Sweep:
        """Return the sweep that rows, in the order of the combinations, make."""
        failed = sum(row.error is not None for row in rows)
        if failed:
            first = next(row.error for row in rows if row.error is not None)
            findings = (*findings, Finding("failed-combinations", f"failed; the first: {first}", failed))
        figures = np.full((len(rows), len(NAMES)), math.nan)
        longest = max((len(row.returns) for row in rows if row.returns is not None), default=0)
        returns = np.full((longest, len(rows)), math.nan)
        for k, row in enumerate(rows):
            if row.figures is not None and row.returns is not None:
                figures[k] = row.figures
                returns[: len(row.returns), k] = row.returns
        columns: dict[str, Any] = {n: [c[n] for c in combos.rows] for n in combos.names}
        columns |= {n: figures[:, k] for k, n in enumerate(NAMES) if n not in columns}
        columns["error"] = pd.Series([row.error for row in rows], dtype=object)
        table = pd.DataFrame(columns)
        if not failed:
            table = table.astype({n: np.int64 for n in WHOLE if n not in combos.names})
        return cls(
            dict(facts), combos.names, table, returns, combos.rows, combos.dropped, findings, verified, seconds,
            folder, data, task,
        )  # fmt: skip

    @classmethod
    def joined(cls, sweeps: dict[str, Sweep]) -> Sweep:
        """Return the sweeps of several symbols as one, with the column `symbol`."""
        tables = [s.table.assign(symbol=name) for name, s in sweeps.items()]
        table = pd.concat(tables, ignore_index=True)
        table.insert(0, "symbol", table.pop("symbol"))
        every = list(sweeps.values())
        rows = max(s.returns.shape[0] for s in every)
        returns = [
            np.pad(s.returns, ((0, rows - len(s.returns)), (0, 0)), constant_values=math.nan) for s in every
        ]
        checked = Verification(
            sum(s.verified.fast for s in every), sum(s.verified.plain for s in every),
            max(s.verified.plain_bars for s in every), sum(s.verified.orders for s in every),
            sum(s.verified.seconds for s in every),
        )  # fmt: skip
        return cls(
            every[0].settings, every[0].parameters, table, np.hstack(returns), [c for s in every for c in s.combos],
            every[0].dropped, tuple(f for s in every for f in s.findings), checked, sum(s.seconds for s in every),
            every[0].folder, every[0].data, None, sweeps,
        )  # fmt: skip

    # ------------------------------------------------------------ asking
    def best(self, metric: str = "sharpe", symbol: str | None = None) -> dict[str, Any]:
        """Return the parameters of the best row by a metric, all of them, ready for q.backtest(params=).

        symbol: of a dict of bars, whose. Raises ParameterError where no row has that metric.
        """
        row = self.best_row(metric, symbol)
        return dict(self.combos[row])

    def best_row(self, metric: str = "sharpe", symbol: str | None = None) -> int:
        """Return the number of the best row of the table by a metric; the first of equals."""
        values = self._column(metric)
        if self.sweeps:
            if symbol not in self.sweeps:
                raise ParameterError("symbol", symbol, f"name one of {', '.join(self.sweeps)}")
            values = np.where(self.table["symbol"] == symbol, values, math.nan)
        if not np.isfinite(values).any():
            raise ParameterError("metric", metric, "no combination has it: none traded, or all failed")
        usable = np.where(np.isfinite(values), values, math.nan)
        return int(np.nanargmin(usable) if metric in LOW_IS_GOOD else np.nanargmax(usable))

    def heatmap(self, x: str, y: str, metric: str = "sharpe") -> pd.DataFrame:
        """Return the metric by two parameters, the best over all others: rows y, columns x."""
        for name, value in (("x", x), ("y", y)):
            if value not in self.parameters and not (value == "symbol" and self.sweeps):
                raise ParameterError(
                    name, value, f"is no parameter of the sweep; it has {', '.join(self.parameters)}"
                )
        frame = self.table[[x, y]].assign(value=self._column(metric))
        best = "min" if metric in LOW_IS_GOOD else "max"
        found: pd.DataFrame = frame.pivot_table(
            index=y, columns=x, values="value", aggfunc=best, dropna=False
        )
        return found

    def _column(self, metric: str) -> Floats:
        if metric not in NAMES:
            raise ParameterError("metric", metric, f"there is {', '.join(NAMES)}")
        return self.table[metric].to_numpy(dtype=np.float64)

    def verdict(self, metric: str = "sharpe") -> Verdict:
        """Return what the search proves about its best row. Counts every trial that the ledger knows."""
        if self.sweeps:
            raise ParameterError(
                "sweep", ", ".join(self.sweeps), "ask each symbol's own: sweep.sweeps[symbol].verdict()"
            )
        return self._verdicts(metric)

    def _verdicts(self, metric: str) -> Verdict:
        known = self.__dict__.setdefault("_told", {})
        if metric not in known:
            periods = self._periods_per_year
            values = self._column(metric)
            known[metric] = verdict(
                self.returns, periods_per_year=periods,
                parameters={n: self.table[n].to_numpy() for n in self.parameters}, metric=metric,
                values=None if metric == "sharpe" else -values if metric in LOW_IS_GOOD else values,
                trials=self.trials,
            )  # fmt: skip
        found: Verdict = known[metric]
        return found

    @cached_property
    def _periods_per_year(self) -> float:
        if self.task is not None:
            return min(self.task.job.bars, key=lambda b: b.bar.ns).periods_per_year
        return float(self.settings["periods_per_year"])

    @property
    def trials(self) -> int:
        """Return how many combinations were ever tried of this strategy on this instrument and bar."""
        return max(int(self.settings.get("trials", 0)), len(self.table))

    # ------------------------------------------------------------ going on
    def run(
        self, row: int | Mapping[str, Any] | str = "best", *, metric: str = "sharpe", save: bool = True
    ) -> Run:
        """Run one combination as q.backtest does, and save it: a row's number, its parameters, or "best"."""
        if self.task is None:
            raise StrategyError(
                "of the sweep", "is not loaded; give q.backtest the parameters of sweep.best()"
            )
        if isinstance(row, str):
            if row != "best":
                raise ParameterError("row", row, 'is a number of the table, parameters, or "best"')
            row = self.best_row(metric)
        if isinstance(row, Mapping):
            chosen: Mapping[str, Any] = row
        elif not 0 <= row < len(self.combos):
            raise ParameterError("row", row, f"the table has rows 0 to {len(self.combos) - 1}")
        else:
            chosen = self.combos[row]
        job = self.task.job
        return backtest(
            job.strategy, job.bars, params=chosen, cash=job.cash,
            costs=job.costs.name if isinstance(job.costs, Costs) else job.costs,
            sizing=None if job.sizing is None else str(job.sizing),
            slippage=None if job.slippage is None else job.slippage.name, borrow=job.borrow, start_rule=job.start_rule,
            save=save, data=self.data,
        )  # fmt: skip

    def report(self, path: str | Path | None = None, *, metric: str = "sharpe") -> Path:
        """Write the sweep as one HTML page and return where: `path`, by default report.html in its folder.

        Raises WriteFailed.
        """
        from quant.research.reporting import write_sweep_report

        return write_sweep_report(self, path, metric)

    # ------------------------------------------------------------ as text
    def __repr__(self) -> str:
        return "\n".join([*self._head(), self._shown().to_string(index=False), *self._tail()])

    def _repr_html_(self) -> str:
        head, tail = (
            "<br>".join(html.escape(line) for line in part) for part in (self._head(), self._tail())
        )
        return f"<p>{head}</p>{self._shown().to_html(index=False)}<p>{tail}</p>"

    def _head(self) -> list[str]:
        known = self.settings
        bars = ", ".join(f"{b['name']} {b['bar']} {b['first']} … {b['last']}" for b in known["bars"])
        if self.sweeps:
            bars = ", ".join(self.sweeps)
        count = f"{len(self.table):,} combinations of {', '.join(self.parameters)}"
        dropped = f", {self.dropped:,} refused by valid" if self.dropped else ""
        return [
            f"{known['strategy']['class']} · {bars}",
            f"{count}{dropped} · {known['engine']} · {self.seconds:.1f} s",
        ]

    def _shown(self) -> pd.DataFrame:
        """Return the best rows by Sharpe ratio, with the figures that most people look at first."""
        names = [*(["symbol"] if self.sweeps else []), *self.parameters]
        metrics = ["total_return", "sharpe", "max_drawdown", "trades", "win_rate", "profit_factor"]
        table = self.table[[*names, *(m for m in metrics if m not in names)]]
        best: pd.DataFrame = table.nlargest(SHOWN, "sharpe").round(4)
        return best

    def _tail(self) -> list[str]:
        lines = [f"verified: {self.verified}"]
        lines += [
            f"{f.level}: {f.message}" + (f" ({f.count:,})" if f.count != 1 else "") for f in self.findings
        ]
        if not self.sweeps and self.returns.size:
            found = self._verdicts("sharpe")
            lines += [f"verdict: {found.word}. {found.text}"]
        if self.folder is not None:
            lines += [f"saved: {self.folder}"]
        return lines
