"""Look-ahead: every cheat is caught, on other bars and seeds too, and no honest strategy is accused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cheats import (
    CHEATS,
    HONEST,
    KeepsAverage,
    KeepsScore,
    KeepsTomorrow,
    Rule,
    always,
    close,
    convolved,
    expanding_score,
    nothing,
    ruled,
    sign,
    tomorrow,
)

import quant as q
from quant.core.finding import Finding
from quant.research.check.engines import job_of
from quant.research.check.look_ahead import POISONS, look_ahead, poisoned
from quant.research.check.result import Part
from quant.research.check.subject import Subject
from quant.strategy import strategy

SAMPLE = Path(__file__).parents[3] / "data"
OURS = ["macd", "rsi", "renko", "renko_macd", "macd_stochastic", "opening_range"]


@pytest.fixture(scope="module")
def quarters() -> q.Bars:
    """Two months of quarters of an hour, with the half days of Thanksgiving and Christmas 2020."""
    return q.synthetic("AAA", "15m", "2020-11-02", "2020-12-31", seed=3)


def subject(cls: Any, *bars: q.Bars, **params: Any) -> Subject:
    job = job_of(cls, bars, params)
    assert job.plans is not None
    return Subject(job.strategy, job.params, job.bars, job.plans)


def seen(cls: Any, *bars: q.Bars, seed: int = 0, **params: Any) -> tuple[Part, list[Finding]]:
    return look_ahead(subject(cls, *bars, **params), np.random.Generator(np.random.PCG64(seed)))


@pytest.mark.parametrize("rule", CHEATS, ids=lambda r: r.__name__)
def test_cheat_is_caught(rule: Rule, quarters: q.Bars, full: bool) -> None:
    for seed in range(5 if full else 1):
        part, found = seen(ruled(rule), quarters, seed=seed)
        assert part.verdict == "failed"
        assert [f.code for f in found] == ["look-ahead"]
        assert "Ruled looks ahead: its " in found[0].message
        assert found[0].level == "warning"


@pytest.mark.parametrize("rule", HONEST, ids=lambda r: r.__name__)
def test_honest_rule_is_not_accused(rule: Rule, quarters: q.Bars, full: bool) -> None:
    for seed in range(5 if full else 1):
        assert seen(ruled(rule), quarters, seed=seed)[1] == []


@pytest.mark.parametrize("length", [1, 2, 3, 7, 50, 259])
@pytest.mark.parametrize("rule", [expanding_score, convolved, nothing, always], ids=lambda r: r.__name__)
def test_honest_rule_is_not_accused_on_few_bars(rule: Rule, length: int, quarters: q.Bars) -> None:
    part, found = seen(ruled(rule), quarters[:length])
    assert found == []
    assert part.verdict == ("ok" if length > 1 else "not applicable")


@pytest.mark.parametrize("name", OURS)
def test_our_strategies_are_not_accused(name: str, quarters: q.Bars, full: bool) -> None:
    cls = strategy(name)
    minutes = q.bars("SPY", "1m", source="sample", data=SAMPLE)
    assert seen(cls, minutes.resample("5m"))[1] == []
    if full:
        assert seen(cls, quarters)[1] == []
        assert seen(cls, minutes)[1] == []
    if name != "opening_range":  # it trades within sessions
        for symbol in ("SPY", "MSFT")[: 2 if full else 1]:
            assert seen(cls, q.bars(symbol, "1d", source="sample", data=SAMPLE))[1] == []


@pytest.mark.parametrize("rule", [HONEST[0], HONEST[3], HONEST[11], HONEST[15]], ids=lambda r: r.__name__)
def test_flat_prices_are_no_look_ahead(rule: Rule, quarters: q.Bars) -> None:
    one = np.full(len(quarters), 100.0)
    assert seen(ruled(rule), replace(quarters, open=one, high=one, low=one, close=one))[1] == []


def test_tie_that_rounding_decides_is_a_note(quarters: q.Bars) -> None:
    """A mean by Fourier's transform, whose rounding hangs on all values; some closes equal their mean of ten."""

    def transformed(b: q.Bars) -> Any:
        size = len(b) + 9
        mean = np.fft.irfft(np.fft.rfft(b.close, size) * np.fft.rfft(np.full(10, 0.1), size), size)[: len(b)]
        return (b.close > mean) & (np.arange(len(b)) >= 9)

    narrow = q.synthetic("AAA", "15m", "2020-11-02", "2020-12-31", seed=3, price=20.0, volatility=0.05)
    part, found = seen(ruled(transformed), narrow)
    assert part.verdict == "note"
    assert [(f.code, f.level) for f in found] == [("decided-by-rounding", "note")]


def test_ties_are_no_excuse_for_a_cheat(quarters: q.Bars) -> None:
    narrow = q.synthetic("AAA", "15m", "2020-11-02", "2020-12-31", seed=3, price=20.0, volatility=0.05)
    one = np.full(len(quarters), 100.0)
    flat = replace(quarters, open=one, high=one, low=one, close=one)
    for bars in (narrow, flat):
        part, _ = seen(ruled(tomorrow), bars)
        assert part.verdict == "failed"


# ---------------------------------------------------------------- what only one of the two sees
def test_poison_sees_what_refuses_every_shorter_history(quarters: q.Bars) -> None:
    def whole(b: q.Bars) -> Any:
        if len(b) != len(quarters):
            raise ValueError("made for another length")
        return sign(close(b) - close(b).mean())

    _, found = seen(ruled(whole), quarters)
    assert "looks ahead" in found[0].message
    assert "Seen in 0 of 0 shorter histories" in found[0].message


def test_poison_sees_what_looks_ahead_on_the_whole_history_only(quarters: q.Bars) -> None:
    def whole(b: q.Bars) -> Any:
        """On a shorter history it looks the closes to come up: no prefix differs."""
        if len(b) == len(quarters):
            return tomorrow(b)
        return np.sign(quarters.close[1 : len(b) + 1] - b.close)

    _, found = seen(ruled(whole), quarters)
    assert "Seen in 0 of " in found[0].message
    assert "Seen in 0 of 0 " not in found[0].message
    assert "where prices after bar " in found[0].message


def test_shorter_histories_see_what_hangs_on_the_number_of_bars(quarters: q.Bars) -> None:
    _, found = seen(ruled(lambda b: np.where(np.arange(len(b)) == len(b) - 1, 1.0, 0.0)), quarters)
    assert re.search(
        r"Seen in (\d+) of \1 shorter histories and in 0 of \d+ poisoned futures", found[0].message
    )


def test_signals_that_take_the_whole_history_only_cannot_be_checked(quarters: q.Bars) -> None:
    def whole(b: q.Bars) -> Any:
        if len(b) != len(quarters):
            raise ValueError("made for another length")
        return sign(b.close - b.close[0])

    part, found = seen(ruled(whole), quarters)
    assert part.verdict == "failed"
    assert f"signals fail on the first {len(quarters) - 1} of {len(quarters)} bars alone" in found[0].message
    assert "made for another length" in found[0].message


def test_longer_history_that_fails_where_a_shorter_one_did_not_is_told(quarters: q.Bars) -> None:
    def odd(b: q.Bars) -> Any:
        if len(quarters) // 2 < len(b) < len(quarters):
            raise ValueError("only short or whole")
        return sign(b.close - b.close[0])

    assert "only short or whole" in seen(ruled(odd), quarters)[1][0].message


def test_series_that_signals_know_by_name_is_told(quarters: q.Bars) -> None:
    days = quarters.resample("1d")
    outside = np.tile(days.close, 5)

    def reads(b: q.Bars) -> Any:
        return sign(b.close - outside[0])

    part, found = seen(ruled(reads), quarters)
    assert [(f.code, f.level) for f in found] == [("data-from-elsewhere", "note")]
    assert f"reads outside, a ndarray of {len(outside)} rows" in found[0].message
    assert part.verdict == "note"


def test_table_of_constants_and_data_within_a_class_are_told_apart(quarters: q.Bars) -> None:
    class Holds(q.Strategy):
        WEIGHTS = np.array([0.5, 0.3, 0.2])
        KNOWN = np.arange(200.0)

        @staticmethod
        def signals(bars: q.Bars, p: Any) -> Any:
            return bars.close > np.sum(Holds.WEIGHTS) * Holds.KNOWN[100]

    (found,) = seen(Holds, quarters)[1]
    assert "reads KNOWN, a ndarray of 200 rows" in found.message


# ---------------------------------------------------------------- several feeds
def test_cheat_on_the_shorter_feed_is_caught(quarters: q.Bars) -> None:
    days = q.synthetic("BBB", "1d", "2020-11-02", "2020-12-31", seed=4)
    cls = ruled(lambda b: tomorrow(b) if b.symbol == "BBB" else sign(b.close))
    _, found = seen(cls, quarters, days)
    assert " of BBB (" in found[0].message


def test_daily_feed_merged_on_the_session_is_caught_and_asof_is_not(quarters: q.Bars) -> None:
    days = replace(quarters.resample("1d"), instrument=replace(quarters.instrument, symbol="DAYS"))

    class Merged(q.Strategy):
        @staticmethod
        def signals_all(panel: q.Panel, p: Any) -> Any:
            fine, coarse = panel["AAA"], panel["DAYS"]
            row = np.searchsorted(coarse.session, fine.session)
            known = np.append(coarse.close, np.nan)[row]
            return np.column_stack([sign(known - fine.close), np.zeros(len(panel))])

    class AsOf(q.Strategy):
        @staticmethod
        def signals_all(panel: q.Panel, p: Any) -> Any:
            line = panel["AAA"].asof(panel["DAYS"], panel["DAYS"].close)
            return np.column_stack([sign(line - panel["AAA"].close), np.zeros(len(panel))])

    assert seen(Merged, quarters, days)[0].verdict == "failed"
    assert seen(AsOf, quarters, days)[1] == []


# ---------------------------------------------------------------- the poisons
def test_poisons_change_what_comes_later_and_only_that(quarters: q.Bars) -> None:
    given: list[q.Bars] = []
    whole = subject(ruled(lambda b: given.append(b) or np.ones(len(b))), quarters)
    given.clear()
    attempts = list(poisoned(whole, np.random.Generator(np.random.PCG64(0))))
    assert len(attempts) == len(given) >= 4 * len(POISONS)
    for attempt, bars in zip(attempts, given, strict=True):
        n = attempt.last + 1
        for name in ("start", "open", "high", "low", "close", "volume"):
            assert getattr(bars, name)[:n].tobytes() == getattr(quarters, name)[:n].tobytes()
        assert np.array_equal(bars.start, quarters.start)
        assert not np.array_equal(bars.close[n:], quarters.close[n:])


@pytest.mark.parametrize("cls", [KeepsScore, KeepsTomorrow])
@pytest.mark.parametrize("seed", range(3))
def test_cheat_behind_what_it_keeps_of_the_whole_history_is_caught(
    cls: type[q.Strategy], seed: int, quarters: q.Bars
) -> None:
    found = q.check(cls, quarters, seed=seed)
    (told,) = [f for f in found.findings if f.code == "look-ahead"]
    assert told.message.startswith(
        f"{cls.__name__} looks ahead, and what it keeps between calls hides it: its target"
    )
    assert "in a fresh process" in told.message
    assert not found.ok


def test_honest_strategy_that_keeps_what_it_computed_is_not_accused(quarters: q.Bars) -> None:
    found = q.check(KeepsAverage, quarters)
    assert [f for f in found.findings if f.level == "warning"] == []
    assert found.ok


def test_message_names_the_first_row_and_both_values(quarters: q.Bars) -> None:
    def once(b: q.Bars) -> Any:
        target = np.zeros(len(b))
        target[300:] = 1.0 if len(b) > 600 else 0.0
        return target

    message = seen(ruled(once), quarters)[1][0].message
    moment = quarters.frame("end").index[300]
    assert (
        f"its target for bar 300 of AAA ({moment:%Y-%m-%d %H:%M}) is 1 with all bars and 0 where" in message
    )
