"""What the simulator keeps of one client: what it is to be sent, and what it listens to. Knows no wire and no rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ibapi.protobuf.ErrorMessage_pb2 import ErrorMessage

from quant.tws.exchange.refusal import Refusal

NO_REQUEST: Final = -1  # the id of an error that answers no request
_MILLISECOND: Final = 1_000_000


class Client:
    """id: None until its START_API. closing: the connection ends once the outbox is sent."""

    def __init__(self) -> None:
        self.id: int | None = None
        self.closing = False
        self.positions = False  # reqPositions
        self.account_updates = False  # reqAccountUpdates
        self.positions_multi: dict[int, str] = {}  # reqPositionsMulti: request -> model code
        self.updates_multi: dict[int, str] = {}  # reqAccountUpdatesMulti: request -> model code
        self.summaries: dict[int, tuple[str, ...]] = {}  # reqAccountSummary: request -> tags
        self.timers: dict[tuple[str, int], int] = {}  # (kind, request) -> number of its timer
        self.on_fill: dict[
            tuple[str, int], Callable[[int], None]
        ] = {}  # profit and loss: told after each fill
        self.auto_bind = False  # reqAutoOpenOrders of client 0
        self._outbox: list[Any] = []

    @property
    def own_id(self) -> int:
        """The id of a client that has started; RuntimeError before."""
        if self.id is None:
            raise RuntimeError("a request came through before START_API")
        return self.id

    def say(self, *messages: Any) -> None:
        """Put answers into the outbox, in order."""
        self._outbox += messages

    def error(self, number: int, refusal: Refusal, now: int) -> None:
        """Say an error about a request or an order; NO_REQUEST where it is about neither."""
        self.say(
            ErrorMessage(
                id=number, errorTime=now // _MILLISECOND, errorCode=refusal.code, errorMsg=refusal.text,
                advancedOrderRejectJson="",
            )
        )  # fmt: skip

    def take(self) -> list[Any]:
        """Return and empty the outbox."""
        taken, self._outbox = self._outbox, []
        return taken
