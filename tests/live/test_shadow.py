"""Shadow mode: live bars, the same decisions on the tape, and not one order on the wire."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from live_run import again, books, draft, filled, ledger, play, tws

from quant.core.barsize import SECOND
from quant.core.orders import Ticket
from quant.errors import ParameterError
from quant.live.run import tape
from quant.live.run.deployment import live_folder
from quant.live.run.shadow import WITHHELD, Silent
from quant.tws.session import Session

SENDS = {"PlaceOrderRequest", "CancelOrderRequest", "GlobalCancelRequest"}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the simulated TWS was asked for, by the names of its messages."""
    seen: list[str] = []
    receive = Session.receive

    def keep(self: Session, request: Any, *args: Any, **kwargs: Any) -> None:
        seen.append(type(request).__name__)
        receive(self, request, *args, **kwargs)

    monkeypatch.setattr(Session, "receive", keep)
    return seen


def taped(folder: Path, kind: type) -> list[Any]:
    return [line for day in tape.days(folder) for line in tape.read(folder, day) if isinstance(line, kind)]


def test_a_shadow_decides_as_live_and_no_order_leaves(data: Path, asked: list[str]) -> None:
    job = replace(draft(data), shadow=True)
    folder = live_folder(data, "flip-spy.shadow")

    def enough(picture: dict[str, Any]) -> bool:
        return len(taped(folder, tape.RefusedLine)) >= 3 and picture["settled"]

    with tws() as port:
        ended, told = play(job, port, data, enough)
        there = books(port)
    assert (ended.code, ended.picture["mode"]) == (0, "shadow"), told
    assert not SENDS & set(asked)
    assert "RealTimeBarsRequest" in asked  # what the list holds is what came
    assert (there.positions, there.echoes, there.executions) == ((), (), ())
    decided = [d for d in taped(folder, tape.DecisionLine) if d.how == tape.DECIDED]
    assert len(decided) >= 3
    for one in decided:  # as its rule has it, by hand: 1 and 0 in turn
        assert one.target == (one.end // (30 * SECOND) - 1) % 2
    withheld = taped(folder, tape.RefusedLine)
    assert {one.why for one in withheld} == {WITHHELD}
    assert {one.quantity for one in withheld} == {10.0}
    assert not (live_folder(data, "flip-spy") / "journal.sqlite").exists()


def test_a_deployment_that_trades_does_send(data: Path, asked: list[str]) -> None:
    """The proof above sees orders where there are some."""
    with tws() as port:
        play(draft(data), port, data, filled(1))
    assert SENDS & set(asked)


def test_a_shadow_runs_beside_its_deployment(data: Path) -> None:
    job = draft(data)

    def second(picture: dict[str, Any]) -> bool:
        ended, told = play(replace(again(data, job), shadow=True), port, data, lambda p: p["settled"])
        assert ended.code == 0, told
        return True

    with tws() as port:
        ended, told = play(job, port, data, second)
    assert ended.code == 0, told
    assert ledger(data, job).halts == ()


def test_a_live_account_may_be_watched_without_a_promotion(data: Path, asked: list[str]) -> None:
    job = draft(data)
    with tws() as port:
        play(job, port, data, lambda p: p["settled"])
    watched = replace(again(data, job), shadow=True, real=True, account="U7654321")
    asked.clear()
    with tws(account="U7654321") as port:
        ended, told = play(watched, port, data, lambda p: p["settled"])
        there = books(port)
    assert (ended.code, ended.picture["account"]) == (0, "U7654321"), told
    assert not SENDS & set(asked)
    assert sum((p.quantity for p in there.positions), Decimal(0)) == 0


def test_the_way_to_tws_of_a_shadow_cannot_send() -> None:
    silent = Silent(None, lambda: 0)  # type: ignore[arg-type]  # nothing of it is touched
    for send in (lambda: silent.place(1, Ticket("a", "b", 1, "SPY", Decimal(1))), lambda: silent.cancel(1)):
        with pytest.raises(ParameterError, match="no order leaves"):
            send()
