"""A TWS that is just starting: who finds nothing on this machine tries again for a while."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from quant.errors import CannotConnect
from quant.ib import starting
from quant.ib.download import connect
from quant.tws.exchange.clock import Clock
from quant.tws.program import simulated
from quant.tws.server import Server, outside_ns, running


def attempts(*ends: CannotConnect | str) -> Callable[[], str]:
    left = iter(ends)

    def attempt() -> str:
        end = next(left)
        if isinstance(end, CannotConnect):
            raise end
        return end

    return attempt


def refused(host: str = "127.0.0.1") -> CannotConnect:
    return CannotConnect(host, 7497, "nothing listens there", "Start it", refused=True)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits are written down and take no time; there is a minute for them."""
    waits: list[float] = []
    monkeypatch.setattr(starting, "WAIT_S", 60.0)
    monkeypatch.setattr(starting.time, "sleep", waits.append)
    return waits


def test_it_tries_until_something_listens_and_says_once_that_it_waits(
    slept: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    assert (
        starting.while_starting(attempts(refused(), refused("localhost"), refused("::1"), "open")) == "open"
    )
    assert len(slept) == 3
    assert [r.getMessage() for r in caplog.records] == [
        "127.0.0.1:7497: nothing listens there; waiting up to 60 s, as it may just be starting"
    ]


def test_it_gives_up_in_the_end(slept: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 1.0, 59.0, 60.0])
    monkeypatch.setattr(starting.clock, "monotonic", lambda: next(times))
    with pytest.raises(CannotConnect, match="nothing listens there"):
        starting.while_starting(attempts(*[refused()] * 3, "too late"))
    assert len(slept) == 2


@pytest.mark.parametrize(
    "at_once",
    [refused("192.0.2.1"), refused("tws.example"), CannotConnect("127.0.0.1", 7497, "is silent", "")],
)
def test_another_machine_and_another_trouble_are_told_at_once(
    slept: list[float], caplog: pytest.LogCaptureFixture, at_once: CannotConnect
) -> None:
    with pytest.raises(CannotConnect):
        starting.while_starting(attempts(at_once, "open"))
    assert (slept, caplog.records) == ([], [])


def test_a_session_opens_with_a_simulator_that_was_still_starting(
    slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with ExitStack() as stack:

        def listens_now(_: float) -> None:
            stack.enter_context(running(Server(simulated(), Clock(outside_ns)), port))

        monkeypatch.setattr(starting.time, "sleep", listens_now)
        with connect("127.0.0.1", port, 11) as session:
            assert session.accounts == ("DU1234567",)
