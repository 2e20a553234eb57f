"""A position without the stop that it is to have: a person is told, loudly and until it has one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bar_exchange import Market
from live_run import PATIENCE_S, play
from test_hold_on import BLIP, ENTRY, known, trade, wanting
from test_hold_on_tws import BAR, blip, holds, watched
from test_hold_on_tws import BLIP as BLIP_AT

import quant as q
from quant.core.orders import Kind
from quant.live.run.courier import Courier
from quant.live.run.guards import LOOKS, Guards
from quant.live.run.messages import Message
from quant.live.run.runner import Notify
from quant.live.signals import LivePlans

TOLD = (
    "MMM: +7 are held without a stop for all of it, which they are to have. Place one in TWS, or close them: "
)


@pytest.fixture(scope="session")
def minutes() -> q.Bars:
    return known("MMM", 11, 4)


def looks(market: Market, guards: Guards, found: list[tuple[int, str]]) -> None:
    """Look before each bar so often that what is found is told."""

    def look(step: int) -> None:
        strategies = market.broker.cerebro.runningstrats
        for _ in range(LOOKS):
            found.extend((step, text) for text in guards.look(strategies, market.desk))

    market.before_bar.append(look)


def cancelled(market: Market, at: int) -> None:
    """Let a person cancel the stops in TWS."""

    def cancel(step: int) -> None:
        for order in market.exchange.orders.values():
            if step == at and order.ticket.kind is Kind.STOP and order.is_open:
                market.exchange.end(order, "Cancelled")
                market.broker.poll()

    market.before_bar.append(cancel)


@pytest.mark.parametrize(("stop", "percent", "at"), [(0.1, None, [7]), (0.0, 20.0, [7]), (0.0, None, [])])
def test_a_stop_that_was_cancelled_in_tws_is_missed_once(
    minutes: q.Bars, tmp_path: Path, stop: float, percent: float | None, at: list[int]
) -> None:
    market, guards, found = Market(minutes).start(tmp_path), Guards("m"), []
    cancelled(market, 7)
    looks(market, guards, found)
    trade(market, wanting(minutes, (ENTRY, 1.0), (12, 0.0), stop=stop), percent=percent)
    assert found == [(step, f"{TOLD}quant flatten m") for step in at]
    assert guards.why == []  # nothing is held any more


def test_nothing_is_told_of_entries_ends_reversals_and_followed_stops(
    minutes: q.Bars, tmp_path: Path
) -> None:
    market, guards, found = Market(minutes).start(tmp_path), Guards("m"), []
    market.exchange.share = 0.5  # fills come in two parts
    looks(market, guards, found)
    cls = wanting(minutes, (2, 1.0), (5, -1.0), (8, 1.0), (11, 0.0), limit=0.3)
    cls.follow = True  # type: ignore[attr-defined]
    trade(market, cls, "shares:10")
    assert len(market.exchange.executions) > 8
    assert found == []


def test_an_instant_is_not_told(minutes: q.Bars, tmp_path: Path) -> None:
    market, guards = Market(minutes).start(tmp_path), Guards("m")
    market.stop_after = 9
    cancelled(market, 7)
    ran = trade(market, wanting(minutes, (ENTRY, 1.0)))
    assert [guards.look([ran], market.desk) for _ in range(LOOKS - 1)] == [[]] * (LOOKS - 1)
    assert guards.look([ran], market.desk) == guards.why == [f"{TOLD}quant flatten m"]
    assert guards.look([ran], market.desk) == []
    assert guards.why != []


def test_the_defect_that_it_is_for_would_be_told(
    minutes: q.Bars, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LivePlans, "_hold_on", lambda *args: None)
    market, guards, found = Market(minutes).start(tmp_path), Guards("m"), []
    market.delays[8] = minutes.bar.ns
    looks(market, guards, found)
    trade(market, wanting(minutes, *BLIP))
    assert [step for step, _ in found] == [10]


def test_a_person_hears_of_it(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LivePlans, "_hold_on", lambda *args: None)
    sent: list[Message] = []
    courier = Courier(lambda message: sent.append(message) is None)
    with watched() as tws:

        def told_why(picture: dict[str, Any]) -> bool:
            if holds(picture) and tws.clock.now() < BLIP_AT:
                tws.wait(BLIP_AT + BAR)
            return "are held without a stop" in picture["why"][0] if picture["why"] else False

        ended, told = play(blip(data, "shares:7"), tws.port, data, told_why, notify=Notify(courier))
        courier.close(PATIENCE_S)
    assert ended.code == 0, told
    lines = [line for line in told if "without a stop" in line]
    assert len(lines) == 1
    assert "  STOP: SPY: +7 are held" in lines[0]
    (message,) = [one for one in sent if one.title == "blip: HELD WITHOUT A STOP"]
    assert message.body.endswith("or close them: quant flatten blip")
