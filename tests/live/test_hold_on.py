"""A position whose end came too late, and which is wanted again: it stays, and a stop covers all of it throughout."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bar_exchange import Market

import quant as q
from quant.core.orders import Kind
from quant.live.signals import live_decisions
from quant.strategy import parameters

ENTRY, LATE = 3, 8


def known(name: str, con_id: int, seed: int) -> q.Bars:
    bars = q.synthetic(name, "5m", "2020-01-02", "2020-01-02", seed=seed, volatility=0.3)
    return replace(bars[:16], instrument=replace(bars.instrument, con_id=con_id, tick=0.01))


@pytest.fixture(scope="session")
def minutes() -> q.Bars:
    """Sixteen made-up bars of five minutes."""
    return known("MMM", 11, 4)


@pytest.fixture(scope="session")
def others() -> q.Bars:
    """The same session, another symbol."""
    return known("OOO", 12, 5)


def wanting(
    bars: q.Bars, *wishes: tuple[int, float], stop: float = 0.1, limit: float = 0.0
) -> type[q.Strategy]:
    """A strategy whose target changes at rows of time; stop and limit that far from each close, 0 = none."""
    moments = [(int(bars.end[row]), target) for row, target in wishes]

    class Wanting(q.Strategy):
        follow = False

        @classmethod
        def signals(cls, bars: q.Bars, p: Any) -> q.Signals:  # type: ignore[override]
            wants = np.zeros(len(bars))
            for end, target in moments:
                wants[bars.end >= end] = target
            side = np.where(wants < 0, -1.0, 1.0)
            return q.Signals(
                wants,
                np.round(bars.close * (1 - side * stop), 2) if stop else None,
                np.round(bars.close * (1 + side * limit), 2) if limit else None,
                cls.follow,
            )

    return Wanting


def trade(
    market: Market,
    cls: type[q.Strategy],
    sizing: str = "shares:7",
    percent: float | None = None,
    began: int = 0,
) -> Any:
    found = parameters(cls, {})
    decisions = live_decisions(
        cls, found, market.feeds, began=began, now=lambda: market.now, start_rule="first-target", sizing=sizing,
        disaster_stop=percent,
    )  # fmt: skip
    return market.run(cls, decisions=decisions, **found)


def late(market: Market, rows: int = 1) -> Market:
    """Let bars from LATE on come only with the one that follows them."""
    for n in range(rows):
        market.delays[LATE + n] = (rows - n) * market.bars[0].bar.ns
    return market


def works(market: Market, con_id: int = 11) -> list[Any]:
    """Return the stops of an instrument that work at the exchange."""
    return [
        order.ticket
        for order in market.exchange.orders.values()
        if order.ticket.con_id == con_id and order.ticket.kind is Kind.STOP
        and order.status in ("PreSubmitted", "Submitted")
    ]  # fmt: skip


def watch(market: Market, con_id: int = 11) -> list[tuple[Decimal, Decimal]]:
    """Return what will be held and guarded whenever the exchange says something, while something is held."""
    seen: list[tuple[Decimal, Decimal]] = []
    say = market.exchange.say

    def said(report: Any) -> None:
        say(report)
        held = market.exchange.held.get(con_id, Decimal(0))
        if held:
            seen.append((held, -sum((t.quantity for t in works(market, con_id)), Decimal(0))))

    market.exchange.say = said  # type: ignore[method-assign]
    return seen


def guarded(seen: list[tuple[Decimal, Decimal]], swaps: int) -> None:
    """Check that all was covered, and twice only in the moments in which one stop takes the place of another."""
    assert seen
    assert all(covered in (held, 2 * held) for held, covered in seen), seen
    twice = [covered == 2 * held for held, covered in seen]
    assert sum(b and not a for a, b in pairwise(twice)) == swaps
    assert not twice[-1]


def entries(market: Market) -> list[Any]:
    return [t for _, t in market.exchange.placed if t.kind is Kind.MARKET]


def level(cls: type[q.Strategy], bars: q.Bars, row: int) -> float:
    signals: Any = cls.signals(bars, None)
    return float(signals.stop[row])


BLIP = ((ENTRY, 1.0), (LATE, 0.0), (LATE + 1, 1.0))


@pytest.mark.parametrize("sizing", ["shares:7", "percent:95", "percent:40", "cash:30000", "risk:1"])
@pytest.mark.parametrize("seed", [4, 9])
def test_it_stays_and_gets_the_newest_stop(tmp_path: Path, sizing: str, seed: int) -> None:
    bars = known("MMM", 11, seed)
    market = late(Market(bars).start(tmp_path))
    seen = watch(market)
    cls = wanting(bars, *BLIP)
    ran = trade(market, cls, sizing)
    assert [one.target for one in ran._decisions.refresh.late] == [0.0]
    (entry,) = entries(market)
    (stop,) = works(market)
    assert (stop.quantity, stop.stop) == (-entry.quantity, level(cls, bars, LATE + 1))
    guarded(seen, 1)


@pytest.mark.parametrize("first", [1.0, -1.0])
@pytest.mark.parametrize("between", [0.0, -1.0])
def test_either_side_and_a_flip_that_came_late(
    minutes: q.Bars, tmp_path: Path, first: float, between: float
) -> None:
    market = late(Market(minutes).start(tmp_path))
    seen = watch(market)
    cls = wanting(minutes, (ENTRY, first), (LATE, first * between), (LATE + 1, first))
    trade(market, cls)
    (entry,) = entries(market)
    (stop,) = works(market)
    assert (entry.quantity, stop.quantity) == (7 * int(first), -7 * int(first))
    assert stop.stop == level(cls, minutes, LATE + 1)
    guarded(seen, 1)


def test_the_other_side_after_a_late_end_is_a_reversal_with_its_own_stop(
    minutes: q.Bars, tmp_path: Path
) -> None:
    market = late(Market(minutes).start(tmp_path))
    cls = wanting(minutes, (ENTRY, 1.0), (LATE, 0.0), (LATE + 1, -1.0))
    trade(market, cls)
    assert [int(t.quantity) for t in entries(market)] == [7, -7, -7]
    (stop,) = works(market)
    assert (stop.quantity, stop.stop) == (7, level(cls, minutes, LATE + 1))


def test_a_disaster_stop_too(minutes: q.Bars, tmp_path: Path) -> None:
    market = late(Market(minutes).start(tmp_path))
    seen = watch(market)
    trade(market, wanting(minutes, *BLIP, stop=0.0), "percent:95", 20.0)
    assert len(entries(market)) == 1
    (stop,) = works(market)
    assert stop.stop == pytest.approx(minutes.close[LATE + 1] * 0.8, abs=0.01)
    guarded(seen, 1)


def test_stop_and_limit_are_a_pair_again(minutes: q.Bars, tmp_path: Path) -> None:
    market = late(Market(minutes).start(tmp_path))
    seen = watch(market)
    trade(market, wanting(minutes, *BLIP, limit=0.2))
    left = [o.ticket for o in market.exchange.orders.values() if o.is_open]
    assert sorted(t.kind for t in left) == [Kind.LIMIT, Kind.STOP]
    assert len({t.oca for t in left}) == 1
    assert all((t.quantity, bool(t.oca)) == (-7, True) for t in left)
    guarded(seen, 1)


def test_a_followed_stop_is_the_newest_one(minutes: q.Bars, tmp_path: Path) -> None:
    market = late(Market(minutes).start(tmp_path))
    cls = wanting(minutes, *BLIP)
    cls.follow = True  # type: ignore[attr-defined]
    at: list[tuple[int, float]] = []

    def look(step: int) -> None:
        at.extend((step, t.stop) for t in works(market))

    market.before_bar.append(look)
    trade(market, cls)
    assert len(entries(market)) == 1
    assert at == [
        (n, level(cls, minutes, LATE - 1 if n - 1 == LATE else n - 1)) for n in range(ENTRY + 1, 16)
    ]


def test_a_re_entry_that_came_late_too_has_the_stop_of_its_own_bar(minutes: q.Bars, tmp_path: Path) -> None:
    market = late(Market(minutes).start(tmp_path), 2)
    seen = watch(market)
    cls = wanting(minutes, *BLIP)
    ran = trade(market, cls)
    assert [one.target for one in ran._decisions.refresh.late] == [0.0, 1.0]
    (stop,) = works(market)
    assert (stop.quantity, stop.stop) == (-7, level(cls, minutes, LATE + 1))
    guarded(seen, 1)


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_over_a_restart(minutes: q.Bars, tmp_path: Path, rows: int) -> None:
    """The process is down while the end comes, and for so many bars after the new beginning."""
    market = Market(minutes).start(tmp_path)
    seen = watch(market)
    market.stop_after = LATE - 1
    cls = wanting(minutes, *BLIP)
    trade(market, cls)
    for _ in range(2):  # the second one finds all as it is to be
        market.step = max(market.step, LATE + rows)
        market.now = max(market.now, int(minutes.end[market.step]))
        market.again(tmp_path)
        market.stop_after = LATE + rows + 2
        trade(market, cls)
    (entry,) = entries(market)
    (stop,) = works(market)
    assert (stop.quantity, stop.stop) == (-entry.quantity, level(cls, minutes, LATE + 1))
    guarded(seen, 1)


def test_a_restart_alone_moves_nothing(minutes: q.Bars, tmp_path: Path) -> None:
    market = Market(minutes).start(tmp_path)
    seen = watch(market)
    cls = wanting(minutes, (ENTRY, 1.0))
    for stop in (LATE, LATE + 2, None):
        market.stop_after = stop
        trade(market, cls)
        if stop is not None:
            market.again(tmp_path)
    assert len(market.exchange.placed) == 2
    guarded(seen, 0)


@pytest.mark.parametrize("ends", [False, True])
def test_the_old_stop_stays_where_the_new_one_is_turned_down(
    minutes: q.Bars, tmp_path: Path, ends: bool
) -> None:
    market = late(Market(minutes).start(tmp_path))
    seen = watch(market)
    market.exchange.reject = lambda t: (201, "no") if t.kind is Kind.STOP and not t.parent else None  # type: ignore[method-assign]
    cls = wanting(minutes, *BLIP, *([(13, 0.0)] if ends else []))
    trade(market, cls)
    told = [alarm.text for alarm in market.broker.alarms()]
    assert "MMM: new exits were turned down, and those before stay" in told, told
    if ends:
        assert market.exchange.held[11] == 0
        assert not works(market)
    else:
        guarded(seen, 0)


def test_killed_between_the_two_the_next_process_ends_the_old_one(minutes: q.Bars, tmp_path: Path) -> None:
    market = late(Market(minutes).start(tmp_path))
    seen = watch(market)
    market.broker._dispatch._swap = lambda now: None  # type: ignore[method-assign]
    market.stop_after = LATE + 1
    cls = wanting(minutes, *BLIP)
    trade(market, cls)
    assert len(works(market)) == 2
    market.again(tmp_path)
    trade(market, cls)
    (stop,) = works(market)
    assert stop.stop == level(cls, minutes, LATE + 1)
    guarded(seen, 1)


def test_an_end_in_between_takes_both_away(minutes: q.Bars, tmp_path: Path) -> None:
    market = late(Market(minutes).start(tmp_path))
    market.broker._dispatch._swap = lambda now: None  # type: ignore[method-assign]  # no answer yet
    trade(market, wanting(minutes, *BLIP, (LATE + 2, 0.0)))
    assert [int(t.quantity) for t in entries(market)] == [7, -7]
    assert works(market) == []


def test_several_instruments_each_by_itself(minutes: q.Bars, others: q.Bars, tmp_path: Path) -> None:
    market = late(Market(minutes, others).start(tmp_path))
    seen, seen_too = watch(market), watch(market, 12)
    both = wanting(minutes, *BLIP)
    later = wanting(minutes, (LATE + 1, 1.0))

    class Both(q.Strategy):
        @staticmethod
        def signals(bars: q.Bars, p: Any) -> Any:
            return (both if bars.symbol == "MMM" else later).signals(bars, p)

    trade(market, Both)
    assert [(t.con_id, int(t.quantity)) for t in entries(market)] == [(11, 7), (12, 7)]
    assert [t.stop for t in works(market)] == [level(both, minutes, LATE + 1)]
    assert [t.stop for t in works(market, 12)] == [level(later, others, LATE + 1)]
    guarded(seen, 1)
    guarded(seen_too, 0)


def test_without_exits_the_size_follows_as_ever(minutes: q.Bars, tmp_path: Path) -> None:
    market = late(Market(minutes).start(tmp_path))
    trade(market, wanting(minutes, *BLIP, stop=0.0), "percent:95")
    assert 1 <= len(entries(market)) <= 2
    assert works(market) == []


@pytest.mark.parametrize("after", [0.0, -1.0])
def test_a_followed_stop_is_not_sent_anew_beside_the_order_that_closes(
    minutes: q.Bars, tmp_path: Path, after: float
) -> None:
    market = late(Market(minutes).start(tmp_path))
    cls = wanting(minutes, (ENTRY, 1.0), (LATE, after))
    cls.follow = True  # type: ignore[attr-defined]
    at: list[tuple[int, Kind]] = []
    place = market.exchange.place

    def placed(number: int, ticket: Any, parent: int | None = None) -> None:
        at.append((market.step, ticket.kind))
        place(number, ticket, parent)

    market.exchange.place = placed  # type: ignore[method-assign]
    trade(market, cls)
    assert [kind for step, kind in at if step > LATE] == [Kind.MARKET]
    assert works(market) == []


def test_whatever_comes_late_all_that_is_held_is_covered_once(tmp_path: Path, full: bool) -> None:
    """Random targets, late bars and restarts; before each bar a stop for all that is held works, or its end does."""
    times = {"late": 0, "restarts": 0, "covered": 0}
    for seed in range(200 if full else 12):
        _play_at_random(np.random.default_rng(seed), tmp_path / str(seed), times)
    assert all(count > 10 for count in times.values()), times


def _play_at_random(random: Any, folder: Path, times: dict[str, int]) -> None:
    bars = known("MMM", 11, int(random.integers(1, 9)))
    cls = wanting(
        bars, *((row, float(random.choice([0.0, 1.0, 1.0, -1.0]))) for row in range(1, len(bars))), stop=0.02,
        limit=float(random.choice([0.0, 0.02])),
    )  # fmt: skip
    cls.follow = bool(random.integers(2))  # type: ignore[attr-defined]
    sizing = str(random.choice(["shares:7", "percent:95", "risk:1", "cash:30000"]))
    folder.mkdir()
    market = Market(bars).start(folder)
    market.exchange.wakes_children = True
    for row in range(1, len(bars)):
        if random.random() < 0.3:
            market.delays[row] = bars.bar.ns
            times["late"] += 1

    def look(step: int) -> None:
        held = market.exchange.held.get(11, Decimal(0))
        alive = [o for o in market.exchange.orders.values() if o.status in ("PreSubmitted", "Submitted")]
        ends = [o for o in alive if o.ticket.kind is Kind.MARKET and o.ticket.quantity * held < 0]
        if not held or ends:
            return
        times["covered"] += 1
        stops = [o.left for o in alive if o.ticket.kind is Kind.STOP and not _waits(market, o)]
        assert stops == [-held], (step, held, alive)

    market.before_bar.append(look)
    while market.step < len(bars) - 1:
        market.stop_after = int(random.integers(market.step + 1, len(bars) + 8))
        trade(market, cls, sizing)
        if market.step < len(bars) - 1:
            market.again(folder)
            times["restarts"] += 1
    market.journal.close()


def _waits(market: Market, order: Any) -> bool:
    """Return whether an exit's entry has not filled yet."""
    parent = market.exchange.orders.get((order.client_id, order.parent_id))
    return parent is not None and parent.status != "Filled"
