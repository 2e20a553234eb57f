"""What a broker of backtrader is told of the link to IB, and what the store asks of it."""

from __future__ import annotations

from typing import Protocol

from quant.ib.codec import Event
from quant.ib.codes import Kind
from quant.ib.states import State
from quant.oms.desk.setup import Alarm, Link


class Broker(Protocol):
    """What the store tells a broker."""

    def flush(self) -> None:
        """Send what the strategy decided."""

    def on_link(self, event: Link) -> None:
        """Take what became of the connection."""

    def on_clock(self, offset_s: float) -> None:
        """Take how far this machine's clock is from IB's."""

    def alarms(self) -> list[Alarm]:
        """Return what a person should see."""


def link_of(event: Event) -> Link | None:
    """Return what an event "state" or "notice" of a session means for the link, None for nothing."""
    if event.name == "notice":
        back = event.args[0].verdict.kind in (Kind.BACK_DATA_LOST, Kind.BACK_DATA_KEPT)
        return Link.BACK if back else None
    old, new, _ = event.args
    if new is State.CUT:
        return Link.CUT
    if new is State.READY:
        return None if old is State.CUT else Link.UP  # with the notice that brought it back
    return Link.LOST if new in (State.WAITING, State.IDLE, State.CLOSED) else None
