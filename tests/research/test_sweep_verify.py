"""Verification: a row that backtrader does not give is an error that names the first order; a sound one is reported."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import quant as q
from quant.backtest import compiled
from quant.errors import ParityError
from quant.kernel import layout
from quant.metrics import NAMES
from quant.research import chunks, verify
from quant.research.task import Row

SWEEP = importlib.import_module("quant.research.sweep")  # its package has a function of that name

ROOT = Path(__file__).parents[2]
GRID = dict(fast=range(4, 12), slow=[20, 26])


@pytest.fixture(scope="module")
def msft() -> q.Bars:
    return q.bars("MSFT", data=ROOT / "data")[4000:4300]


def swept(bars: q.Bars, **settings: Any) -> q.Sweep:
    return q.sweep("macd", bars, GRID, **{"save": False, "workers": 1, **settings})


# ---------------------------------------------------------------- a sound sweep
def test_what_was_run_again_is_told_apart(msft: q.Bars) -> None:
    sweep = swept(msft, verify=5)
    runs = {k: q.backtest("macd", msft, params=c, save=False) for k, c in enumerate(sweep.combos)}
    assert (sweep.verified.fast, sweep.verified.plain, sweep.verified.plain_bars) == (5, 1, 300)
    assert sweep.verified.orders >= 5 * min(len(r.orders) for r in runs.values())
    assert sweep.verified.orders <= 5 * max(len(r.orders) for r in runs.values())
    assert sweep.verified.seconds > 0.0
    assert "5 combinations run again by backtrader (fast engine), equal in" in repr(sweep)


def test_the_best_is_always_among_them(msft: q.Bars, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []
    decide = verify.decide

    def told(job: Any, combo: Any, **how: Any) -> Any:
        seen.append(dict(combo))
        return decide(job, combo, **how)

    monkeypatch.setattr(verify, "decide", told)
    sweep = swept(msft, verify=1)
    assert seen == [sweep.best("sharpe")] * 2  # fast, and plain


def test_zero_runs_nothing_again(msft: q.Bars) -> None:
    sweep = swept(msft, verify=0)
    assert sweep.verified == verify.Verification()
    assert "nothing was run again" in repr(sweep)


def test_more_than_there_are_is_all(msft: q.Bars) -> None:
    assert swept(msft, verify=1000).verified.fast == 16


def test_auto_keeps_to_its_budget(msft: q.Bars, monkeypatch: pytest.MonkeyPatch) -> None:
    assert swept(msft).verified.fast == verify.MOST
    for step, taken in (
        (verify.BUDGET_S / 5, 2),
        (2 * verify.BUDGET_S, 1),
    ):  # from one look at the clock to the next
        ticks = itertools.count(step=step)
        monkeypatch.setattr(verify, "clock", SimpleNamespace(monotonic=lambda ticks=ticks: next(ticks)))
        assert swept(msft).verified.fast == taken


def test_signals_that_refuse_a_beginning_are_not_run_in_plain(
    msft: q.Bars, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain gets the first bars of a long series, which the strategy need not take."""

    class Wants(q.Strategy):
        params = dict(n=3)

        @staticmethod
        def signals(bars: q.Bars, p: Any) -> Any:
            if len(bars) < 300:
                raise ValueError("too few")
            return np.where(np.arange(300) // p.n % 2 == 0, 1.0, 0.0)

    monkeypatch.setattr(verify, "PLAIN_S", verify.BUDGET_S / 200)
    sweep = q.sweep(Wants, msft, dict(n=[3, 4]), save=False, workers=1)
    assert (sweep.verified.fast, sweep.verified.plain) == (2, 0)


def test_it_is_kept_with_the_sweep(msft: q.Bars, tmp_path: Path) -> None:
    sweep = q.sweep("macd", msft, GRID, data=tmp_path, workers=1, verify=2)
    assert sweep.folder is not None
    told = chunks.load_sweep_facts(sweep.folder)
    assert told["done"] is True
    assert told["verified"] == dataclasses.asdict(sweep.verified)


# ---------------------------------------------------------------- planted bugs
def plant(monkeypatch: pytest.MonkeyPatch, wrong: Callable[[Row], Row]) -> None:
    """Make every row of a sweep another one."""
    right = SWEEP.evaluate
    monkeypatch.setattr(
        SWEEP, "evaluator", lambda: lambda task, combos: [wrong(r) for r in right(task, combos)]
    )


@pytest.mark.parametrize(
    "name", ["final_value", "sharpe", "trades", "commission", "win_rate", "max_drawdown"]
)
def test_one_figure_that_is_off_is_an_error_that_names_it(
    name: str, msft: q.Bars, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Money by one bit, ratios by 1e-11, counts by one."""

    def off(row: Row) -> Row:
        figures, k = np.array(row.figures), NAMES.index(name)
        if name in verify.MONEY:
            figures[k] = np.nextafter(figures[k], np.inf)
        else:
            figures[k] += 1.0 if name == "trades" else 1e-11 * abs(figures[k])
        return Row(figures, row.returns)

    plant(monkeypatch, off)
    with pytest.raises(ParityError, match=f"{name} is .* in the sweep and .* in backtrader") as caught:
        swept(msft, verify=1)
    assert "fast=" in caught.value.combination
    assert "Nothing of this sweep can be trusted" in str(caught.value)


class Short(q.Strategy):
    """Short from bar `n` on."""

    params = dict(n=1)

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        return np.where(np.arange(len(bars)) < p.n, 0.0, -1.0)


@pytest.mark.parametrize("cash", [100_000.0, 10_000.0])
def test_turnover_of_an_account_that_has_owed_money_is_not_compared(
    cash: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its mean value is a difference of large numbers, as the fuzz found."""
    close = np.linspace(100.0, 300.0, 60)
    days = pd.date_range("2020-01-02", periods=60, freq="B")
    frame = pd.DataFrame(dict(open=close, high=close, low=close, close=close, volume=1e6), index=days)
    bars, at = q.Bars.from_frame(frame, "UP"), NAMES.index("turnover")

    def off(row: Row) -> Row:
        figures = np.array(row.figures)
        figures[at] *= 1.0 + 1e-8
        return Row(figures, row.returns)

    plant(monkeypatch, off)
    owed = cash < 20_000.0
    with nullcontext() if owed else pytest.raises(ParityError, match="turnover is"):
        made = q.sweep(
            Short, bars, dict(n=[1, 2]), cash=cash, costs="none", sizing="shares:100", save=False, verify=2
        )
        assert (made.table["max_drawdown"] < -1.0).all()
        assert made.verified.fast == 2


def test_a_return_that_is_off_is_an_error(msft: q.Bars, monkeypatch: pytest.MonkeyPatch) -> None:
    def off(row: Row) -> Row:
        assert row.returns is not None
        return Row(row.figures, np.append(row.returns[:-1], np.nextafter(row.returns[-1], 1.0)))

    plant(monkeypatch, off)
    with pytest.raises(ParityError, match="a session's return differs"):
        swept(msft, verify=1)


def _later(traced: Any) -> None:
    traced.fills["bar"][2] += 1


def _dearer(traced: Any) -> None:
    traced.fills["price"][2] = np.nextafter(traced.fills["price"][2], np.inf)


def _fewer(traced: Any) -> None:
    traced.orders["quantity"][2] -= 1.0


def _refused(traced: Any) -> None:
    traced.orders["status"][2] = layout.STATUSES.index("rejected")


def _poorer(traced: Any) -> None:
    traced.value[-1] = np.nextafter(traced.value[-1], 0.0)


@pytest.mark.parametrize(
    ("planted", "named"),
    [
        (_later, "fill 3 is"),
        (_dearer, "fill 3 is"),
        (_fewer, "order 3 is market"),
        (_refused, r"order 3 is market .* and .*rejected\) there"),
        (_poorer, "value at .* UTC is"),
    ],
)
def test_a_planted_bug_names_the_first_thing_that_differs(
    planted: Callable[[Any], None], named: str, msft: q.Bars, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = compiled.trace

    def wrong(*args: Any) -> Any:
        traced = right(*args)
        planted(traced)
        return traced

    monkeypatch.setattr(compiled, "trace", wrong)
    with pytest.raises(ParityError, match=named) as caught:
        swept(msft, verify=1)
    assert "in fast and" in caught.value.difference


def test_a_strategy_that_is_not_the_same_twice_is_an_error(msft: q.Bars) -> None:
    rng = np.random.default_rng(0)

    class Dice(q.Strategy):
        params = dict(n=1)

        @staticmethod
        def signals(bars: q.Bars, p: Any) -> Any:
            return rng.choice([0.0, 1.0], len(bars))

    with pytest.raises(ParityError, match="whether the signals are the same twice"):
        q.sweep(Dice, msft, dict(n=[1, 2]), save=False, workers=1)


def test_rows_are_kept_and_not_called_done_where_they_differ(
    msft: q.Bars, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises(*_: Any) -> None:
        raise ParityError("MacdCross", "fast=4", "so")

    with monkeypatch.context() as patch:
        patch.setattr(SWEEP, "verified", raises)
        with pytest.raises(ParityError):
            q.sweep("macd", msft, GRID, data=tmp_path, workers=1)
    (facts,) = (tmp_path / "sweeps").glob("*/sweep.json")
    assert chunks.load_sweep_facts(facts.parent)["done"] is False


# ---------------------------------------------------------------- look-ahead
class Cheats(q.Strategy):
    """Long where the next close is higher."""

    params = dict(ahead=1)

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        rises = bars.close[p.ahead :] > bars.close[: -p.ahead]
        return np.append(rises, np.zeros(p.ahead)).astype(float)


def test_a_sweep_of_a_cheat_is_not_judged(msft: q.Bars) -> None:
    sweep = q.sweep(Cheats, msft, {"ahead": [1, 2, 3]}, save=False)
    (finding,) = (f for f in sweep.findings if f.code == "look-ahead")
    assert "Cheats looks ahead" in finding.message
    found = sweep.verdict()
    assert found.word == "unclear"
    assert "Cheats looks ahead" in found.text
    assert "Not judged" in repr(sweep)
