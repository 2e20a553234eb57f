"""A broker's state after a restart: what the journal knows becomes positions, orders and trades of backtrader's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import backtrader as bt

from quant.core.orders import TimeInForce
from quant.live.orders.account import Account
from quant.live.orders.tickets import Note, read_notes, restored, units
from quant.live.orders.tracked import Tracker, guessed
from quant.oms.desk.desk import OrderDesk
from quant.oms.gate import Purpose
from quant.oms.reason import reason_of
from quant.oms.state import OrderStanding, OrderState

_AT_BROKER = (OrderState.WORKING, OrderState.CANCELLING, OrderState.PARTLY_FILLED)


@dataclass(frozen=True, slots=True)
class Earlier:
    """Bars, by contract id and END, that earlier processes decided upon. entered: those with an entry among it."""

    decided: frozenset[tuple[int, int]] = frozenset()
    entered: frozenset[tuple[int, int]] = frozenset()


def reopen(
    desk: OrderDesk, tracker: Tracker, account: Account, feeds: Mapping[int, Any], scheme_of: Callable[[Any], Any]
) -> Earlier:  # fmt: skip
    """Book all fills, and make orders of backtrader's for those that are open; the strategy is told of each, once.

    They bear `restored` in their info. Return the bars that are decided upon.
    """
    groups: dict[str, bt.Order] = {}
    ended: dict[str, OrderStanding] = {}
    entries: dict[str, bt.Order] = {}  # of those that ended
    decided: set[tuple[int, int]] = set()
    entered: set[tuple[int, int]] = set()
    fills = []
    for standing in desk.orders:
        intent, reason = desk.intent(standing.ref), desk.reason(standing.ref)
        ticket = intent.ticket
        decided.add((ticket.con_id, reason.bar))
        decided.update((ticket.con_id, reason_of(old).bar) for old in desk.versions(standing.ref)[:-1])
        if desk.purpose(standing.ref) is Purpose.ENTRY:
            entered.add((ticket.con_id, reason.bar))
        ours = (ticket.con_id, ticket.account)
        fills += [(fill, standing.ref) for fill in standing.fills if (fill.con_id, fill.account) == ours]
        data = feeds.get(ticket.con_id)
        if standing.is_final:
            ended[standing.ref] = standing
        if standing.is_final or data is None:
            continue
        note = _note(standing.ref, reason.text)
        order = restored(data, ticket, note)
        parent = tracker.of(ticket.parent) if ticket.parent else None
        order.parent = None if parent is None else parent.order
        # Those in a group that had an entry took the places of its children, and have none to backtrader.
        if ticket.parent in ended and not note.group:
            order.parent = entries.setdefault(ticket.parent, _ended(ended[ticket.parent], desk, data))
        one = tracker.add(order, groups.get(note.group), ticket.tif is TimeInForce.DAY)
        if note.group:
            groups.setdefault(note.group, order)
        tracker.name(one, standing.ref, intent.at)
        one.ticket, one.sent = ticket, True
    for fill, ref in sorted(fills, key=lambda pair: (pair[0].time, pair[0].stem)):
        if fill.quantity == 0 or account.known(fill) is not None:
            continue
        data = feeds.get(fill.con_id)
        found = tracker.of(ref)
        guess = (
            0.0 if data is None else guessed(None if found is None else found.order, fill, scheme_of(data))
        )
        bit = account.add(fill, guess)
        if found is not None and data is not None:
            tracker.fill(found, fill, bit, guess, scheme_of(data), tell=False)
    _tell(desk, tracker)
    return Earlier(frozenset(decided), frozenset(entered))


def _ended(standing: OrderStanding, desk: OrderDesk, data: Any) -> bt.Order:
    """Return an entry as it ended; its exits end with one another all the same."""
    note = _note(standing.ref, desk.reason(standing.ref).text)
    order = restored(data, desk.intent(standing.ref).ticket, note)
    order.executed.size = units(standing.filled)
    order.executed.remsize = order.size - order.executed.size
    order.status = bt.Order.Completed if standing.state is OrderState.FILLED else bt.Order.Canceled
    return order


def _note(ref: str, text: str) -> Note:
    """Return what an order was; an empty note for one that the desk made itself."""
    found = next((note for note in read_notes(text) if note.ref == ref), None)
    return Note(ref, 0, "", 0, None, None, "", "") if found is None else found


def _tell(desk: OrderDesk, tracker: Tracker) -> None:
    states = {standing.ref: standing.state for standing in desk.orders}
    for one in tracker.alive():
        order = one.order
        for _ in range(2):  # what was filled before is no news
            order.executed.markpending()
        order.submit()
        order.executed.dt = order.executed.dt or None
        if order.executed.size:
            order.partial()
        elif states[one.ref] in _AT_BROKER:
            order.accept()
        tracker.notify(one)


def take_over(cerebro: Any, account: Account, feeds: Mapping[int, Any]) -> bool:
    """Give the strategy an open trade for each position that is there already. True once that is done.

    Without it backtrader would take the fill that closes such a position for one that opens a trade.
    """
    strategy = cerebro.runningstrats[0]
    for con_id, data in feeds.items():
        position, trades = account.position(con_id), strategy._trades[data][0]
        if not position.size or (trades and trades[-1].isopen):
            continue
        trade = bt.Trade(data=data, size=position.size, price=position.price)
        trade.value = position.size * position.price
        trade.isopen, trade.status, trade.long = True, trade.Open, position.size > 0
        trade.baropen, trade.dtopen = len(data), data.datetime[0] if len(data) else 0.0
        trades.append(trade)
    return True
