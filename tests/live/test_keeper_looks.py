"""What a runner looks at each second does not grow with the orders of a deployment that has run for long."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from live_run import ACCOUNT, START, again, draft, filled, play, tws

from quant.core.orders import Ticket
from quant.live.run import control
from quant.live.run.deployment import live_folder
from quant.live.run.job import Job
from quant.live.run.keeper import Keeper
from quant.live.run.view import LAST_ORDERS
from quant.oms.desk.standings import Standings
from quant.oms.journal.journal import Journal
from quant.oms.ledger import What
from quant.oms.state import OrderStanding

ENDED = 300
CLIENT = 15  # of the runs below


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many orders were passed at each look of a keeper."""
    seen: list[int] = []
    look, under_way = Keeper.look, False

    def counted(self: Keeper) -> None:
        nonlocal under_way
        seen.append(0)
        under_way = True
        look(self)
        under_way = False

    def count(name: str) -> Any:
        each = getattr(Standings, name)

        def walk(self: Standings) -> Iterator[OrderStanding]:
            for standing in each(self):
                if under_way:
                    seen[-1] += 1
                yield standing

        return walk

    for name in ("__iter__", "__reversed__"):
        monkeypatch.setattr(Standings, name, count(name))
    monkeypatch.setattr(Keeper, "look", counted)
    return seen


def has_traded(data: Path, job: Job, at: int) -> None:
    """Let it have had many orders, which are all over."""
    named, con_id = job.deployment, job.deployment.contracts[0].con_id
    with Journal.open(
        live_folder(data, named.name) / control.JOURNAL, deployment=named.name, account=ACCOUNT,
        strategy_hash=named.digest,
    ) as journal:  # fmt: skip
        journal.begin_run({}, at, client_id=CLIENT)
        for _ in range(ENDED):
            ticket = Ticket(journal.next_ref(), ACCOUNT, con_id, "SPY", Decimal(1))
            journal.add_intents([(ticket, journal.next_order_id(1))], at, "")
            journal.mark(ticket.ref, What.NOT_SENT, at, "a test")


@pytest.mark.parametrize("once", [False, True])
def test_a_look_passes_no_more_orders_after_many(data: Path, looks: list[int], once: bool) -> None:
    job = draft(data, disaster_stop=20.0)  # so that guards are looked for
    with tws() as port:
        first, told = play(job, port, data, filled(2))
        assert first.code == 0, told
        job = replace(again(data, job), once=once)
        has_traded(data, job, START)
        looks.clear()
        ended, told = play(job, port, data, filled(2))
    assert ended.code == 0, told
    assert len(looks) >= 2
    assert max(looks) <= LAST_ORDERS + 4  # those that are shown, and what works
