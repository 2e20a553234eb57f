"""A person closes by hand what a deployment holds: it sells nothing that is not there any more, nor does its stop."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from live_run import ACCOUNT, START, again, books, draft, ledger, play, standings, tws

from quant.core.barsize import SECOND
from quant.core.orders import Kind
from quant.live.run.job import Address
from quant.live.run.takeover import clear, take_over
from quant.oms.ledger import Stop
from quant.tws.order_faults import FILL, OrderDo, OrderFault


def refused(picture: dict[str, Any]) -> bool:
    return any("would open a position there" in str(order) for order in picture["orders"])


def test_what_was_closed_by_hand_is_neither_sold_by_the_strategy_nor_by_its_stop_nor_by_flatten(
    data: Path,
) -> None:
    job = draft(data, bar="5m", disaster_stop=20.0)
    closed = OrderFault(OrderDo.HAND_CLOSE, on=FILL, symbol="SPY")  # five minutes before it is to be sold
    with tws(faults=(closed,)) as port:
        ended, told = play(job, port, data, refused)
        after = books(port)
        job = again(data, job)
        reach = Address("127.0.0.1", port, 9)
        done = take_over("flatten", job.deployment, data, reach, "tester", "", tell=told.append)
        there = books(port)
        clear(job.deployment, data, "tester", "I closed it")
        held = ledger(data, job)
        job = replace(job, deployment=replace(job.deployment, positions="adopt"))
        mended, lines = play(job, port, data, lambda p: p["gate"] == "open" and p["settled"])
    assert ended.code == 0, told
    assert [p.quantity for p in after.positions if p.quantity] == [], told
    assert [e for e in after.echoes if e.account == ACCOUNT] == [], "the stop is cancelled"
    assert (done.code, there.positions, there.echoes) == (6, after.positions, after.echoes)
    assert "by our books SPY +10" in done.text
    assert "positions = adopt" in done.text
    kinds = {intent.ref: intent.ticket.kind for intent in held.intents}
    ends = {standing.ref: standing for standing in standings(held)}
    stops = [ends[ref].state for ref, kind in kinds.items() if kind is Kind.STOP]
    assert stops == ["cancelled"], told
    assert sum((s.filled for s in ends.values()), Decimal(0)) == 10
    assert mended.code == 0, lines
    assert not mended.picture["feeds"][0]["position"]
    assert not ledger(data, job).by_instrument(Stop.INSTRUMENT)


def test_what_was_closed_by_hand_yesterday_is_adopted_at_the_price_that_a_person_says(data: Path) -> None:
    """IB tells the executions of the day only; without a price all that was paid would count as lost."""
    job = draft(data, bar="5m")
    with tws() as port:
        first, told = play(job, port, data, lambda p: p["settled"] and p["feeds"][0]["position"] == 10)
    assert first.code == 0, told
    (bought,) = (fill.price for standing in standings(ledger(data, job)) for fill in standing.fills)
    job = again(data, job)
    job = replace(job, deployment=replace(job.deployment, positions="adopt"))
    with tws(start=START + 86_400 * SECOND) as port:  # another TWS, whose account holds nothing
        halted, told = play(job, port, data, lambda p: bool(p["halted"]))
        assert "IB does not tell at what price -10 were traded" in halted.picture["halted"], told
        assert "--adopt-price SPY=PRICE" in halted.picture["why"][0]
        assert ledger(data, job).holdings == ()
        clear(job.deployment, data, "tester", "I sold it two dollars higher")
        said = ((job.deployment.contracts[0].con_id, bought + 2.0),)
        mended, told = play(
            replace(job, adopt_prices=said), port, data, lambda p: p["gate"] == "open" and p["settled"]
        )
    assert mended.code == 0, told
    assert mended.picture["feeds"][0]["position"] == 0
    assert 10_015.0 < mended.picture["equity"] < 10_020.0  # 20 earned, less commissions
