"""A simulated TWS on loopback with a clock that the test moves, and IB's own client to talk to it."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from ibapi.client import EClient
from ibapi.contract import Contract
from ibapi.order import Order
from ibapi.wrapper import EWrapper

from quant.core.barsize import SECOND
from quant.tws.codec import HIGHEST_VERSION
from quant.tws.exchange.clock import Clock
from quant.tws.faults import Fault, Faults
from quant.tws.program import Tws, simulated
from quant.tws.server import Server, running

NOON = int(datetime(2024, 5, 15, 16, 0, tzinfo=UTC).timestamp()) * SECOND  # in New York; a Wednesday
PATIENCE_S = 8.0  # for an answer over loopback; only a failing test waits that long


@contextmanager
def served(
    highest: int = HIGHEST_VERSION, tws: Tws | None = None, faults: Iterable[Fault] = (), seed: int = 0
) -> Iterator[tuple[Server, int]]:
    """Give a server whose clock stands at NOON, and its port."""
    clock = Clock(lambda: 0, speed=0.0, start=NOON)
    server = Server(
        simulated(rate_limited=False) if tws is None else tws, clock, highest, Faults(faults, seed)
    )
    with running(server) as port:
        yield server, port


class App(EWrapper, EClient):  # type: ignore[misc]
    """Unmodified ibapi that keeps its callbacks."""

    def __init__(self) -> None:
        EClient.__init__(self, self)
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.news = threading.Condition()

    def run(self) -> None:
        """Run ibapi's message loop. What is still queued when another thread disconnects is dropped."""
        try:
            super().run()
        except (
            TypeError
        ):  # ibapi 10.50 goes on through its queue after disconnect(), which forgets the version
            if self.isConnected():
                raise

    def wait(
        self, name: str, choose: Callable[..., bool] = lambda *_: True, since: int = 0
    ) -> tuple[Any, ...]:
        """Return the arguments of the first callback of that name that is chosen; wait for it."""

        def found() -> tuple[Any, ...] | None:
            return next((a for n, a in self.calls[since:] if n == name and choose(*a)), None)

        with self.news:
            if not self.news.wait_for(lambda: found() is not None, PATIENCE_S):
                raise AssertionError(f"no {name} in {PATIENCE_S} s; there were {self.calls[since:][-20:]}")
            arguments = found()
        assert arguments is not None
        return arguments

    def all(self, name: str) -> list[tuple[Any, ...]]:
        """Return the arguments of every callback of that name so far."""
        with self.news:
            return [a for n, a in self.calls if n == name]


def _keeping(name: str) -> Any:
    def keep(self: App, *args: Any) -> None:
        with self.news:
            self.calls.append((name, args))
            self.news.notify_all()

    return keep


for _name, _ in inspect.getmembers(EWrapper, inspect.isfunction):
    if not _name.startswith("_") and not _name.endswith("ProtoBuf"):
        setattr(App, _name, _keeping(_name))


@contextmanager
def connected(port: int, client: int = 1) -> Iterator[App]:
    """Give ibapi, connected and past its start."""
    app = App()
    app.connect("127.0.0.1", port, client)
    thread = threading.Thread(target=app.run, daemon=True)
    thread.start()
    try:
        app.wait("nextValidId")
        yield app
    finally:
        app.disconnect()
        thread.join(PATIENCE_S)


def stock(symbol: str = "SPY", **more: Any) -> Contract:
    c = Contract()
    c.symbol, c.secType, c.exchange, c.currency = symbol, "STK", "SMART", "USD"
    for name, value in more.items():
        setattr(c, name, value)
    return c


def order(quantity: int, limit: float | None = None) -> Order:
    o = Order()
    o.action, o.totalQuantity = ("BUY" if quantity > 0 else "SELL"), abs(quantity)
    o.orderType = "MKT" if limit is None else "LMT"
    if limit is not None:
        o.lmtPrice = limit
    return o
