"""When the broker's books are read, and which snapshots may be compared. No clock: times come in."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

from quant.core.orders import Snapshot
from quant.oms.desk.setup import Broker, Setup
from quant.oms.limits import SECOND

STRAY_NS: Final = 2 * SECOND  # a fill of ours and its position come in either order, and close together


class Watch:
    """The reading of the broker's books. settled: two snapshots agreed since the last doubt.

    before: the first of the pair that is wanted while nothing is settled. unsettled: since when; heard: when a snapshot
    last came, or the connection; unheard: since when one that does not come is asked for, None = none is; read: when
    the last that counted was asked for.
    """

    def __init__(self, broker: Broker, setup: Setup) -> None:
        self._broker = broker
        self._setup = setup
        self.settled = False
        self.before: Snapshot | None = None
        self.unsettled = 0
        self.heard = 0
        self.unheard: int | None = None
        self.read = 0
        self._since = 0  # a snapshot asked for before that proves nothing about what came after
        self._asked: int | None = None
        self._next = 0
        self._wanted = 0  # when one was last wanted soon
        # Positions that have changed since the last snapshot began, and since when they are not the expected ones.
        self._told: dict[int, tuple[Decimal, int]] = {}

    def doubt(self, now: int) -> None:
        """Begin anew: two snapshots asked for from now on are needed."""
        if self.settled:
            self.unsettled = now
        self.settled = False
        self.before = None
        self._since = now
        self._asked = None
        self._next = now

    def linked(self, now: int) -> None:
        """Begin anew on another connection. One that breaks again and again is no excuse for a stall."""
        if self.settled or now - self.heard >= self._setup.patience_s * SECOND:
            self.unsettled = now
        self.heard, self.unheard = now, None
        self.doubt(now)

    def settle(self, now: int) -> None:
        """Take the books as agreed; the next look is the regular one, unless one is wanted for after this one began."""
        self.settled = True
        self.before = None
        regular = now + round(self._setup.check_s * SECOND)
        self._next = min(max(now, self._wanted), regular) if self._wanted > self.read else regular

    def look_at(self, moment: int) -> None:
        """Ask for the next snapshot then."""
        self._next = moment

    def soon(self, moment: int) -> None:
        """Have one asked for at that moment or later, whatever was planned; behind one that is under way."""
        self._next = min(self._next, moment)
        self._wanted = max(self._wanted, moment)

    def tell(self, con_id: int, quantity: Decimal, now: int) -> None:
        """Take what the broker has of an instrument after a change, whoever traded."""
        self._told[con_id] = quantity, self._told.get(con_id, (quantity, now))[1]

    def compare(self, expected: Callable[[int], Decimal], now: int) -> None:
        """Look soon where a position has been another one for a while. expected: by our books, by contract id."""
        for con_id, (quantity, since) in tuple(self._told.items()):
            if quantity == expected(con_id):
                del self._told[con_id]
            elif self.settled and now - since >= STRAY_NS:
                self.soon(now)

    def poll(self, now: int) -> Snapshot | None:
        """Return a snapshot that has come, or ask for one that is due. Raises BrokerError."""
        snapshot = self._broker.snapshot()
        if snapshot is not None:
            self._asked = self.unheard = None
            self.heard = now
            if snapshot.asked_at >= self._since:
                self.read = snapshot.asked_at
                return snapshot
        late = self._asked is not None and now - self._asked >= self._setup.retry_s * SECOND
        if now >= self._next and (self._asked is None or late):
            self.unheard = now if self.unheard is None else self.unheard
            self._broker.begin_snapshot()
            self._asked = now
            self._told.clear()
        return None
