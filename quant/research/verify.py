"""Rows of a sweep against backtrader: the best and random combinations run again, every order and figure compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from quant.backtest import engine
from quant.backtest.job import Job, decide
from quant.backtest.records import difference
from quant.backtest.result import measured
from quant.core import clock
from quant.core.sessions import Floats
from quant.errors import ParityError, QuantError
from quant.metrics import NAMES
from quant.research.proof.columns import Columns
from quant.research.task import Row, Task

BUDGET_S: Final = 1.0  # of "auto", for what runs again in `fast`, and as much in stock backtrader
MOST: Final = 8  # combinations that "auto" runs again
PLAIN_S: Final = 80e-6  # a bar, stock backtrader; see docs/fast.md
RATIO: Final = 1e-12  # how far a ratio may be off; money must be equal to the last bit
# And turnover: its mean value is summed in another order, and with positions of many times the account it is a small
# difference of large numbers (19,000 times: 1.2e-11, found by the fuzz).
TURNOVER: Final = 1e-9
MONEY: Final = frozenset(
    {"commission", "slippage", "avg_trade", "best_trade", "worst_trade", "final_value", "final_cash"}
)
SHARPE: Final = NAMES.index("sharpe")


@dataclass(frozen=True, slots=True)
class Verification:
    """What was run again and found equal. fast, plain: combinations. plain_bars: of each plain run. seconds: taken."""

    fast: int = 0
    plain: int = 0
    plain_bars: int = 0
    orders: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        if not self.fast:
            return "nothing was run again in backtrader"
        ones = "combination" if self.fast == 1 else "combinations"
        told = f"{self.fast} {ones} run again by backtrader (fast engine), equal in {self.orders:,} orders"
        if self.plain:
            told += f"; {self.plain} by stock backtrader over {self.plain_bars:,} bars, equal"
        return f"{told} ({self.seconds:.1f} s)"


def verified(
    task: Task,
    combos: Sequence[Mapping[str, Any]],
    rows: Sequence[Row],
    wanted: str | int,
    returns: Columns,
) -> Verification:
    """Run the best and random combinations again and return what was compared.

    returns: of the rows, which tell only how many they have. wanted: how many, or "auto" = as many as BUDGET_S allows,
    at least the best. Raises ParityError at a difference.
    """
    whole = [k for k, row in enumerate(rows) if row.figures is not None]
    if not whole:
        return Verification()
    started = clock.monotonic()
    order = _order(rows, whole)
    most = min(MOST if wanted == "auto" else int(wanted), len(order))
    fast = orders = 0
    longest = 0.0
    for k in order[:most]:
        spent = clock.monotonic() - started
        if wanted == "auto" and fast and spent + longest > BUDGET_S:
            break
        job = decide(task.job, combos[k])
        orders += _compare_row(task, job, _with_returns(rows[k], returns, k), combos[k])
        longest = max(longest, clock.monotonic() - started - spent)
        fast += 1
    plain, bars = _plain(task, combos[order[0]])
    return Verification(fast, plain, bars, orders, clock.monotonic() - started)


def _order(rows: Sequence[Row], whole: Sequence[int]) -> list[int]:
    """Return the rows to look at: the best by Sharpe ratio, then random ones (always the same)."""
    best = best_of(rows, whole)
    shuffled = np.random.default_rng(0).permutation(whole).tolist()
    return [best, *(k for k in shuffled if k != best)]


def best_of(rows: Sequence[Row], whole: Sequence[int]) -> int:
    """Return which of the rows `whole` has the highest Sharpe ratio, the first where none has one."""
    sharpe = np.array([_sharpe(rows[k]) for k in whole])
    return whole[int(np.nanargmax(sharpe))] if np.isfinite(sharpe).any() else whole[0]


def _sharpe(row: Row) -> float:
    return float("nan") if row.figures is None else float(row.figures[SHARPE])


def _with_returns(row: Row, returns: Columns, number: int) -> Row:
    assert row.returns is not None  # noqa: S101  # `whole` rows only
    return replace(row, returns=returns.column(number)[: len(row.returns)])


def _compare_row(task: Task, job: Job, row: Row, combo: Mapping[str, Any]) -> int:
    """Compare one row with the fast engine; return how many orders there were."""
    wanted = engine.run(job, "fast")
    if task.engine == "compiled":
        found = difference(job, wanted, engine.run(job, "compiled"), "fast")
        if found is not None:
            raise ParityError(job.strategy.__name__, _text(combo), found)
    figures, returns = measured(job, wanted)
    assert row.figures is not None and row.returns is not None  # noqa: PT018, S101  # `whole` rows only
    compare_figures(job, combo, row.figures, [figures[name] for name in NAMES], "the sweep")
    if not np.array_equal(row.returns, returns, equal_nan=True):
        raise ParityError(job.strategy.__name__, _text(combo), "a session's return differs")
    return len(wanted.orders)


def compare_figures(
    job: Job, combo: Mapping[str, Any], found: Floats, wanted: Sequence[float] | Floats, where: str
) -> None:
    """Raise ParityError where figures, in the order of NAMES, are not those that backtrader gives. where: found in."""
    owed = wanted[NAMES.index("max_drawdown")] <= -1.0
    for name, a, b in zip(NAMES, map(float, found), map(float, wanted), strict=True):
        if name == "turnover" and owed:
            continue  # the mean of values of both signs, of which rounding may leave nothing
        if not _same(name, a, b):
            told = f"{name} is {a!r} in {where} and {b!r} in backtrader"
            raise ParityError(job.strategy.__name__, _text(combo), told)


def _same(name: str, a: float, b: float) -> bool:
    if a == b or (a != a and b != b):
        return True
    return name not in MONEY and abs(a - b) <= (TURNOVER if name == "turnover" else RATIO) * abs(b)


def _plain(task: Task, combo: Mapping[str, Any]) -> tuple[int, int]:
    """Run one combination in stock backtrader, on no more bars than the budget allows; return runs and bars."""
    most = int(BUDGET_S / PLAIN_S)
    if task.engine == "plain" or (len(task.job.bars) > 1 and sum(map(len, task.job.bars)) > most):
        return 0, 0
    try:
        job = decide(replace(task.job, bars=tuple(b[:most] for b in task.job.bars)), combo)
    except QuantError:  # signals may refuse fewer bars than they were given
        return 0, 0
    found = difference(job, engine.run(job, "plain"), engine.run(job, task.engine))
    if found is not None:
        raise ParityError(job.strategy.__name__, _text(combo), found)
    return 1, sum(map(len, job.bars))


def _text(combo: Mapping[str, Any]) -> str:
    return ", ".join(f"{k}={v!r}" for k, v in combo.items())
