"""The process is killed while a new exit waits for the end of the one before: a person is told of what lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_exit_after_exit import ANSWERED, HELD, MOVED, Slow, rest
from test_live_broker import doing, keep, known
from test_live_signals import Given, trade

import quant as q
from quant.core.orders import Kind
from quant.oms.desk.setup import Alarm

WORDS = "was cancelled for another one"


@pytest.fixture(scope="session")
def minutes() -> q.Bars:
    return known(q.synthetic("MMM", "5m", "2020-01-02", "2020-01-02", seed=4, volatility=0.3)[:20])


def killed(minutes: q.Bars, folder: Path) -> Slow:
    """Let nothing run behind the bar of the new stop, as cerebro would have it."""
    market = Slow(minutes)
    market.start(folder)
    market.stop_after = MOVED
    market.before_bar.append(lambda step: market.seconds(5))
    market.broker.stop = lambda: None  # type: ignore[method-assign]  # the fault
    return market


def answered(market: Slow, folder: Path) -> None:
    """Let the cancel be answered while nobody listens, and begin the next process."""
    market.exchange.cancel = market.answer  # type: ignore[method-assign]  # the fault
    for order_id in market.late:
        market.answer(order_id)
    market.late = []
    market.again(folder)


def alarms(market: Slow) -> list[Alarm]:
    return [alarm for alarm in market.broker.alarms() if WORDS in alarm.text]


def working(market: Slow) -> list[str]:
    return [o.ticket.ref for o in market.exchange.orders.values() if o.is_open]


def test_a_person_is_told_that_a_plain_strategys_stop_is_gone(minutes: q.Bars, tmp_path: Path) -> None:
    market = killed(minutes, tmp_path)
    market.run(doing({HELD: keep("buy", size=10), HELD + 2: rest(0.5), MOVED: rest(0.51)}))
    assert working(market) == ["q1:t:2"]
    answered(market, tmp_path)
    market.run(doing({}))
    (alarm,) = alarms(market)
    assert alarm.bare
    assert alarm.text.startswith("MMM: +10 are held, and their exit q1:t:2 was cancelled for another one")
    assert working(market) == []


def test_the_old_one_guards_until_its_end_comes_after_the_restart(minutes: q.Bars, tmp_path: Path) -> None:
    market = killed(minutes, tmp_path)
    market.run(doing({HELD: keep("buy", size=10), HELD + 2: rest(0.5), MOVED: rest(0.51)}))
    market.again(tmp_path)
    seen: list[tuple[list[str], int]] = []
    market.before_bar.append(lambda step: seen.append((working(market), len(alarms(market)))))
    market.run(doing({}))
    assert seen[0] == (["q1:t:2"], 0)
    gone = next(n for n, (works, _) in enumerate(seen) if not works)
    assert gone > 0
    assert [told for _, told in seen] == [int(n == gone) for n in range(len(seen))]


def test_a_strategy_that_sends_one_after_the_restart_is_not_told_of(minutes: q.Bars, tmp_path: Path) -> None:
    market = killed(minutes, tmp_path)
    market.run(doing({HELD: keep("buy", size=10), HELD + 2: rest(0.5), MOVED: rest(0.51)}))
    answered(market, tmp_path)
    market.stop_after = MOVED + 3
    market.run(doing({MOVED + 2: rest(0.52)}))
    alarms(market)
    market.again(tmp_path)
    market.run(doing({}))
    assert alarms(market) == []
    assert len(working(market)) == 1


def test_nothing_is_told_where_nobody_was_killed(minutes: q.Bars, tmp_path: Path) -> None:
    market = Slow(minutes)
    market.start(tmp_path)
    market.stop_after = ANSWERED + 2
    market.run(doing({HELD: keep("buy", size=10), HELD + 2: rest(0.5), MOVED: rest(0.51)}))
    assert working(market) == ["q1:t:3"]
    market.again(tmp_path)
    market.run(doing({}))
    assert alarms(market) == []


def test_a_followed_stop_is_sent_at_the_next_bar(minutes: q.Bars, tmp_path: Path) -> None:
    n = np.arange(len(minutes))
    stop = np.where(n < MOVED, 0.5, 0.5 + 0.001 * n) * np.round(minutes.close[0], 2)
    # A limit appears beside the stop, so that this is not modified.
    limit = np.where(n < MOVED, np.nan, 2.0 * np.round(minutes.close[0], 2))
    cls = type("Kept", (Given,), {
        "wishes": {"MMM": (n >= HELD).astype(float)}, "stops": {"MMM": np.round(stop, 2)}, "limits": {"MMM": limit},
        "follow": True,
    })  # fmt: skip
    market = killed(minutes, tmp_path)
    began: Any = {"began": 0}
    trade(market, cls, **began)
    assert len(working(market)) == 1
    answered(market, tmp_path)
    market.stop_after = MOVED + 2
    trade(market, cls, **began)
    (alarm,) = alarms(market)
    assert alarm.bare
    tickets = [market.desk.intent(ref).ticket for ref in working(market)]
    held = market.exchange.held[11]
    assert [(t.kind, t.quantity) for t in tickets] == [(Kind.STOP, -held), (Kind.LIMIT, -held)]
