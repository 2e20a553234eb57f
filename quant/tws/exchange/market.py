"""The exchange: takes orders, moves them on as time passes, books their fills. Same calls, same events, in one order.

Every method takes the present as UTC ns and returns what happened up to it, oldest first. Nothing here reads a clock,
and time must not go back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from quant.tws.exchange.account import Account
from quant.tws.exchange.commission import commission
from quant.tws.exchange.hours import utc
from quant.tws.exchange.models import Day, Fill, Model
from quant.tws.exchange.orders import (
    DONE,
    NEXT,
    Changed,
    Charged,
    Event,
    Executed,
    Happening,
    Key,
    Opened,
    OrderRequest,
    OrderView,
    Status,
    Told,
)

FIRST_PERM_ID: Final = 900_000_001
_EXEC: Final = "0000e0d5"  # IB's first part names the server; ours is always the same


@dataclass(slots=True)
class _Working:
    """An order on its way. decided_at: of the newest version of it. seen: up to when fills were looked for."""

    view: OrderView
    day: Day | None
    decided_at: int
    seen: int
    charged: float = 0.0
    found: Fill | None = None


class Exchange:
    """One account's orders on one market. plan: of quant.core.costs. first_perm_id: later orders count up from it."""

    def __init__(
        self, model: Model, account: Account, plan: str = "ib-fixed", first_perm_id: int = FIRST_PERM_ID
    ) -> None:
        self._model = model
        self._account = account
        self._plan = plan
        self._perm_id = first_perm_id
        self._orders: dict[Key, _Working] = {}
        self._executions: list[tuple[Executed, Charged]] = []

    # ------------------------------------------------------------ what there is
    @property
    def account(self) -> Account:
        """The account that fills are booked in."""
        return self._account

    @property
    def orders(self) -> tuple[OrderView, ...]:
        """Every order, open and done, in order of perm id."""
        return tuple(working.view for working in self._orders.values())

    @property
    def open_orders(self) -> tuple[OrderView, ...]:
        """The orders that may still fill."""
        return tuple(view for view in self.orders if view.status not in DONE)

    @property
    def completed(self) -> tuple[OrderView, ...]:
        """The orders that will not fill any more."""
        return tuple(view for view in self.orders if view.status in DONE)

    @property
    def executions(self) -> tuple[tuple[Executed, Charged], ...]:
        """Every fill with its commission, oldest first."""
        return tuple(self._executions)

    def next_at(self, now: int) -> int | None:
        """Return when something may happen next, later than `now`; None while no order is open."""
        found = []
        for working in self._open():
            if working.day is None:
                continue
            if working.view.status == Status.PRE_SUBMITTED:
                found.append(working.day.active_at)
                continue
            if working.view.request.tif == "DAY":
                found.append(working.day.expires_at)
            look = self._model.next_look(working.view.request.listing, now)
            found += [] if look is None else [look]
        return min((at for at in found if at > now), default=None)

    # ------------------------------------------------------------ what clients do
    def place(self, request: OrderRequest, now: int) -> list[Event]:
        """Take a new order, or a change of an open one's price or quantity under the same key."""
        events = self.advance(now)
        refused = _refused(request, self._account.account_id)
        known = self._orders.get(request.key)
        if refused is None and known is not None:
            refused = _unchangeable(known.view, request)
        if refused is not None:
            return [*events, refused]
        view = OrderView(request, self._perm_id, Status.PRE_SUBMITTED, Decimal(0), 0.0, 0.0, now)
        if known is not None:
            view = replace(known.view, request=request)
        else:
            self._perm_id += 1
        day = self._model.day(request.listing, now)
        # To have seen nothing yet is to have seen up to just before it came.
        working = _Working(view, day, now, now - 1, known.charged if known is not None else 0.0)
        self._orders[request.key] = working
        events += [Opened(view), Changed(view)]
        if known is None and (day is None or day.active_at > now):
            events.append(_held(request, day))
        return events + self.advance(now)

    def cancel(self, key: Key, now: int) -> list[Event]:
        """Cancel an order; of one that is unknown or done TWS says so."""
        events = self.advance(now)
        working = self._orders.get(key)
        if working is None:
            return [*events, Told(key, 10147, f"OrderId {key[1]} that needs to be cancelled is not found.")]
        status = working.view.status
        if status in DONE:
            text = f"OrderId {key[1]} that needs to be cancelled cannot be cancelled, state: {status}."
            return [*events, Told(key, 10148, text)]
        return [*events, *self._cancelled(working, now)]

    def cancel_all(self, now: int) -> list[Event]:
        """Cancel every open order of every client."""
        events = self.advance(now)
        for working in list(self._open()):
            events += self._cancelled(working, now)
        return events

    # ------------------------------------------------------------ what time does
    def advance(self, now: int) -> list[Event]:
        """Let time pass: orders reach the exchange, fill and expire, in order of time and then of perm id."""
        events: list[Event] = []
        while (step := self._first(now)) is not None:
            at, working, fill = step
            if fill is not None:
                events += self._filled(working, fill)
            elif working.view.status == Status.PRE_SUBMITTED:
                working.view = replace(working.view, status=NEXT[working.view.status, Happening.AT_EXCHANGE])
                events += [Opened(working.view), Changed(working.view)]
            else:
                events += self._cancelled(working, at)
        for working in self._open():
            if working.view.status == Status.SUBMITTED:
                working.seen = max(working.seen, now)
        return events

    def _first(self, now: int) -> tuple[int, _Working, Fill | None] | None:
        """Return the next thing up to `now`: a fill before the end of a day at the same moment."""
        best: tuple[tuple[int, int, int], _Working, Fill | None] | None = None
        for working in self._open():
            view, day = working.view, working.day
            step: tuple[tuple[int, int, int], _Working, Fill | None]
            if day is None:
                continue
            if view.status == Status.PRE_SUBMITTED:
                step = (day.active_at, 0, view.perm_id), working, None
            else:
                if working.found is None:
                    working.found = self._model.fill(
                        view.request, view.remaining, working.decided_at, working.seen, now
                    )
                expires = day.expires_at if view.request.tif == "DAY" else None
                fill = working.found
                if fill is not None and (expires is None or fill.time <= expires):
                    step = (fill.time, 1, view.perm_id), working, fill
                elif expires is not None:
                    step = (expires, 2, view.perm_id), working, None
                else:
                    continue
            if step[0][0] <= now and (best is None or step[0] < best[0]):
                best = step
        return None if best is None else (best[0][0], best[1], best[2])

    def _filled(self, working: _Working, fill: Fill) -> list[Event]:
        view, request = working.view, working.view.request
        listing, held = request.listing, view.filled
        filled = held + fill.quantity
        average = fill.price
        if held:
            average = (view.average * float(held) + float(fill.quantity) * fill.price) / float(filled)
        fee = commission(self._plan, listing, float(filled), average) - working.charged
        signed = fill.quantity * request.side
        working.found, working.seen = None, fill.time
        if self._model.cash_check and not self._account.covers(listing, signed, fill.price, fee):
            working.view = replace(view, status=NEXT[view.status, Happening.REJECT], done_at=fill.time)
            text = (
                "Order rejected - reason:cash would not cover it (the backtest's rule, at the fill's price)"
            )
            return [Told(request.key, 201, text), Opened(working.view), Changed(working.view)]
        working.charged += fee
        whole = filled == request.quantity
        working.view = replace(
            view, status=NEXT[view.status, Happening.LAST_FILL if whole else Happening.PART_FILL],
            filled=filled, average=average, last=fill.price, done_at=fill.time if whole else None,
        )  # fmt: skip
        booked = self._account.book(listing, signed, fill.price, fee)
        number = len(self._executions) + 1
        executed = Executed(
            working.view, f"{_EXEC}.{number:08x}.01.01", fill.time, fill.quantity, fill.price, filled, average,
            listing.exchange,
        )  # fmt: skip
        charged = Charged(executed.exec_id, request.key, fee, listing.currency, booked.realized)
        self._executions.append((executed, charged))
        return [executed, Opened(working.view), Changed(working.view), charged]

    def _cancelled(self, working: _Working, at: int) -> list[Event]:
        working.view = replace(working.view, status=NEXT[working.view.status, Happening.CANCEL], done_at=at)
        return [Changed(working.view), Told(working.view.request.key, 202, "Order Canceled - reason:")]

    def _open(self) -> Iterator[_Working]:
        return (working for working in self._orders.values() if working.view.status not in DONE)


def _refused(request: OrderRequest, account_id: str) -> Told | None:
    """Return why TWS would not take an order, None if it would."""
    listing, key = request.listing, request.key
    if request.account not in ("", account_id):
        return Told(
            key, 321, f"Error validating request.-'bQ' : cause - Invalid account code '{request.account}'"
        )
    if not listing.trades or request.kind not in ("MKT", "LMT"):
        return Told(key, 387, "Unsupported order type for this exchange and security type.")
    if request.tif not in ("DAY", "GTC"):
        return Told(key, 10052, f"Invalid time in force:{request.tif}.")
    if request.quantity <= 0:
        return Told(key, 434, "The order size cannot be zero.")
    if request.quantity != int(request.quantity):
        text = (
            "Fractional-sized order cannot be placed via API. Please use desktop version to place this order."
        )
        return Told(key, 10243, text)
    if int(request.quantity) % listing.lot:
        return Told(key, 201, f"Order rejected - reason:The order size must be a multiple of {listing.lot}.")
    if request.kind == "LMT" and (request.limit is None or not listing.rule.legal(request.limit)):
        return Told(key, 110, "The price does not conform to the minimum price variation for this contract.")
    return None


def _unchangeable(held: OrderView, request: OrderRequest) -> Told | None:
    """Return why an order under a key that was used is no change of the one that is held."""
    if held.status == Status.FILLED:
        return Told(request.key, 104, "Cannot modify a filled order.")
    if held.status in DONE:
        return Told(request.key, 103, "Duplicate order id")
    same = (held.request.listing.con_id, held.request.side, held.request.kind)
    if same != (request.listing.con_id, request.side, request.kind):
        return Told(request.key, 105, "Order being modified does not match original order")
    if request.quantity <= held.filled:
        return Told(request.key, 201, "Order rejected - reason:The new quantity is filled already.")
    return None


def _held(request: OrderRequest, day: Day | None) -> Told:
    listing = request.listing
    until = "the market opens again"
    if day is not None:
        until = f"{utc(day.active_at).astimezone(ZoneInfo(listing.zone)):%Y-%m-%d %H:%M:%S} {listing.zone}"
    what = f"{request.action} {request.quantity} {listing.local} {listing.exchange}"
    text = f"Order Message:\n{what}\nWarning: Your order will not be placed at the exchange until {until}."
    return Told(request.key, 399, text)
