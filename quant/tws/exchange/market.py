"""The exchange: takes orders, moves them on as time passes, books their fills. Same calls, same events, in one order.

Every method takes the present as UTC ns and returns what happened up to it, oldest first. Nothing here reads a clock,
and time must not go back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Final

from quant.tws.exchange import checks
from quant.tws.exchange.account import Account
from quant.tws.exchange.books import Books, Working, told
from quant.tws.exchange.orders import (
    AT_CLOSE,
    STOPS,
    Charged,
    Event,
    Executed,
    Key,
    OrderRequest,
    OrderView,
    Status,
    Told,
)
from quant.tws.exchange.steps import Elected, Fill, Look, Model, Step

FIRST_PERM_ID: Final = 900_000_001
NEVER: Final = 2**63 - 1
_ARRIVES, _HAPPENS, _ENDS = 0, 1, 2  # the order of things at one moment
# When, which of these, then by group, stops of it first, then by perm id.
_Order = tuple[int, int, int, int, int]


class Exchange:
    """One account's orders on one market. plan: of quant.core.costs. first_perm_id: later orders count up from it.

    cut: how much of a fill comes at once; set by who wants fills in parts.
    """

    def __init__(
        self, model: Model, account: Account, plan: str = "ib-fixed", first_perm_id: int = FIRST_PERM_ID
    ) -> None:
        self._model = model
        self.books = Books(account, plan, first_perm_id, model.cash_check)
        self.cut: Callable[[OrderView, Decimal], Decimal] | None = None

    # ------------------------------------------------------------ what there is
    @property
    def account(self) -> Account:
        """The account that fills are booked in."""
        return self.books.account

    @property
    def orders(self) -> tuple[OrderView, ...]:
        """Every order, open and done, in order of perm id."""
        return tuple(working.view for working in self.books.orders.values())

    @property
    def open_orders(self) -> tuple[OrderView, ...]:
        """The orders that may still fill, without those that rest in TWS, of which no client is told."""
        return tuple(one.view for one in self.books.open() if one.transmitted)

    @property
    def executions(self) -> tuple[tuple[Executed, Charged], ...]:
        """Every fill with its commission, oldest first."""
        return tuple(self.books.executions)

    def next_at(self, now: int) -> int | None:
        """Return when something may happen next, later than `now`; None while no order is open."""
        found = []
        for one in self.books.open():
            if one.day is None or not one.transmitted:
                continue
            found += [] if one.expires_at is None else [one.expires_at]
            if one.since is None:
                continue
            if not one.at_exchange:
                found.append(one.since)
                continue
            found += [one.day.expires_at] if one.view.request.kind in AT_CLOSE else []
            look = self._model.next_look(one.view.request.listing, now)
            found += [] if look is None else [look]
        return min((at for at in found if at > now), default=None)

    # ------------------------------------------------------------ what clients do
    def check(self, request: OrderRequest, now: int) -> Told | None:
        """Return why an order, or a change of an open one under its key, is not taken at `now`; None if it is."""
        books = self.books
        known = books.find(request.key)
        parent = books.find((request.key[0], request.parent)) if request.parent else None
        refused = checks.refused(request, self.account.account_id, now)
        if refused is None and known is not None:
            refused = checks.unchangeable(known.view, request)
        elif refused is None:
            refused = checks.orphan(request, None if parent is None else parent.view)
        late = self._model.cut_off(request, now)
        if refused is None and late is not None:
            refused = Told(request.key, 201, f"Order rejected - reason:{late}")
        return refused

    def place(self, request: OrderRequest, now: int, held_until: int = 0) -> list[Event]:
        """Take a new order, or a change of an open one under the same key.

        held_until: UTC ns before which a new one does not reach the exchange, whatever its market's hours.
        """
        events = self.advance(now)
        refused = self.check(request, now)
        if refused is not None:
            return [*events, refused]
        known = self.books.find(request.key)
        events += self._new(request, now, held_until) if known is None else self._changed(known, request, now)
        return events + self.advance(now)

    def double(self, request: OrderRequest, now: int) -> list[Event]:
        """Take what should be a change as a second order under the same key."""
        return [*self.advance(now), *self._new(request, now, 0), *self.advance(now)]

    def _new(self, request: OrderRequest, now: int, held_until: int) -> list[Event]:
        one = self.books.add(request, self._model.day(request, now), now)
        one.held_until = held_until
        return self._sent(one, now) if request.transmit else []

    def _sent(self, one: Working, now: int) -> list[Event]:
        events: list[Event] = []
        for member in self.books.family(one):
            if member.transmitted:
                continue
            events += self.books.transmit(member)
            day = member.day
            if member.woken_at is not None and (day is None or day.active_at > now):
                events.append(checks.waits(member.view.request, day))
        return events

    def _changed(self, one: Working, request: OrderRequest, now: int) -> list[Event]:
        was = one.view.request
        # Its family and its group stay: TWS's own group of a bracket among them.
        request = replace(request, parent=was.parent, oca=request.oca or was.oca, oca_type=was.oca_type)
        moved = (was.stop, was.trail, was.trail_percent) != (
            request.stop, request.trail, request.trail_percent
        )  # fmt: skip
        elected = one.elected_at is not None
        one.view = replace(one.view, request=request, stop=None if moved and not elected else one.view.stop)
        one.day, one.decided_at, one.seen, one.look = self._model.day(request, now), now, now - 1, None
        self.books.calm_until = 0
        if one.woken_at is not None:
            one.woken_at = now
        if not one.transmitted:
            return self._sent(one, now) if request.transmit else []
        if elected:
            one.elected_at = now
        return told(one)

    def cancel(self, key: Key, now: int) -> list[Event]:
        """Cancel an order; of one that is unknown or done TWS says so."""
        events = self.advance(now)
        one = self.books.find(key)
        if one is None:
            return [*events, Told(key, 10147, f"OrderId {key[1]} that needs to be cancelled is not found.")]
        if one.view.over:
            text = (
                f"OrderId {key[1]} that needs to be cancelled cannot be cancelled, state: {one.view.status}."
            )
            return [*events, Told(key, 10148, text)]
        return [*events, *self.books.cancel(one, now)]

    def cancel_all(self, now: int) -> list[Event]:
        """Cancel every open order, of every client and made by hand."""
        events = self.advance(now)
        for one in list(self.books.open()):
            if not one.view.over:  # a child may have gone with its parent
                events += self.books.cancel(one, now)
        return events

    # ------------------------------------------------------------ what time does
    def advance(self, now: int) -> list[Event]:
        """Let time pass: orders reach the exchange, fill and expire, in order of time and then of perm id."""
        events: list[Event] = []
        if now < self.books.calm_until:
            return events
        while (found := self._first(now)) is not None:
            (at, rank, *_), one, step = found
            if isinstance(step, Fill):
                events += self.books.fill(one, self._cut(one, step))
            elif isinstance(step, Elected):
                stop = one.view.stop if one.look is None else one.look.stop
                one.view = replace(one.view, stop=stop)
                one.look, one.elected_at, one.seen = None, at, at - 1
                events += self.books.submit(one)
            elif rank == _ARRIVES:
                events += self.books.reach(one)
            else:  # the end of its day, or of its chance
                events += self.books.cancel(one, at)
        return events

    def _cut(self, one: Working, fill: Fill) -> Fill:
        if self.cut is None:
            return fill
        return replace(fill, quantity=min(self.cut(one.view, fill.quantity), fill.quantity))

    def _first(self, now: int) -> tuple[_Order, Working, Step | None] | None:
        """Return the next thing up to `now`: a fill before the end of a day at the same moment."""
        best: tuple[_Order, Working, Step | None] | None = None
        calm_until = NEVER
        for one in self.books.open():
            if not one.transmitted:
                continue
            found = self._next(one, now)
            if found is not None and found[0][0] <= now and (best is None or found[0] < best[0]):
                best = found[0], one, found[1]
            if found is not None:
                calm_until = min(calm_until, found[0][0])
            if one.at_exchange and one.look is not None and one.look.step is None:
                calm_until = min(calm_until, one.look.until)
        self.books.calm_until = calm_until
        return best

    def _next(self, one: Working, now: int) -> tuple[_Order, Step | None] | None:
        view, since = one.view, one.since
        mine = (view.perm_id, 0, view.perm_id)
        found: list[tuple[_Order, Step | None]] = []
        if one.expires_at is not None:
            found.append(((one.expires_at, _ENDS, *mine), None))
        if one.at_exchange and since is not None:  # None: modified after the last bar that there is
            step = self._look(one, now).step
            if step is not None:
                # Both exits of a position at one moment: the stop (DESIGN §5.4).
                first = min((o.view.perm_id for o in self.books.group(one)), default=view.perm_id)
                family = (min(first, view.perm_id), int(view.request.kind not in STOPS), view.perm_id)
                found.append(((step.time, _HAPPENS, *family), step))
        elif not one.at_exchange and since is not None and view.status != Status.PENDING_CANCEL:
            found.append(((since, _ARRIVES, *mine), None))
        return min(found, key=lambda f: f[0], default=None)

    def _look(self, one: Working, now: int) -> Look:
        """Look for the next thing that happens to an order, once for each stretch of time."""
        if one.look is None or (one.look.step is None and one.look.until <= now):
            one.look = self._model.look(one.work(), now)
            if one.look.step is None:
                # Up to where it was looked at, and where its stop stood then, go together.
                one.seen = max(one.seen, now)
                if one.look.stop != one.view.stop:
                    one.view = replace(one.view, stop=one.look.stop)
        return one.look
