"""Between backtrader's orders and the order desk: what goes out, what came back, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Protocol

import backtrader as bt

from quant.core.orders import Position, Report, Ticket
from quant.errors import ParameterError
from quant.live.moments import con_id_of, end_of, instrument_of, is_loading, is_open, length_of, next_open
from quant.live.orders.account import Account
from quant.live.orders.anew import Anew, Group
from quant.live.orders.around import Around, prices
from quant.live.orders.following import Following
from quant.live.orders.held import Recheck, Waiting
from quant.live.orders.lost import Lost
from quant.live.orders.modifying import Pairs, changed, pairs
from quant.live.orders.replacing import Swaps
from quant.live.orders.tickets import Note, note_of, notes_text, restored, ticket_of
from quant.live.orders.tracked import Tracked, Tracker, guessed
from quant.oms.desk.desk import OrderDesk
from quant.oms.desk.setup import Alarm, Change, Link, Why
from quant.oms.fills import Fill
from quant.oms.gate import Purpose
from quant.oms.journal.journal import Journal
from quant.oms.ledger import FOLLOWED
from quant.oms.state import OrderState


class Wire(Protocol):
    """What the broker needs of quant.ib.orders.Orders, beside what the desk needs."""

    def reports(self) -> Sequence[Report | Position]:
        """Return what was told since the last call."""

    def damaged(self) -> Sequence[Any]:
        """Return what was told since the last call and could not be read."""

    def quantised(self, ticket: Ticket) -> Ticket:
        """Return the ticket as it will stand at IB. Raises ParameterError."""


class Dispatch:
    """Sends groups of orders and takes in what becomes of them. It belongs to the strategy's thread.

    scheme_of: backtrader's commission scheme of a feed. feeds: by contract id, one for each instrument. taken_over: a
    position is there that no fill of this process made. recheck: None = entries for the next open go out at once.
    """

    def __init__(
        self, desk: OrderDesk, journal: Journal, wire: Wire, account: Account, tracker: Tracker, now: Callable[[], int],
        scheme_of: Callable[[Any], Any], recheck: Recheck | None = None,
    ) -> None:  # fmt: skip
        self._desk, self._journal, self._wire, self._account, self._now = desk, journal, wire, account, now
        self._tracker, self._scheme_of = tracker, scheme_of
        self.feeds: dict[int, Any] = {}
        self.around = Around()
        self.taken_over = False
        self.waiting = None if recheck is None else Waiting(recheck, account.quantity, self._left)
        self.unsent: list[bt.Order] = []  # what never came to the desk
        self._begun = False
        self._resting: dict[int, list[Tracked]] = {}  # by number of the parent: waits for transmit=True
        self._queue: list[list[Tracked]] = []
        self._cancels: list[Tracked] = []
        self._following = Following(tracker, account.quantity)
        self.anew = Anew(desk, tracker, self.leaving)
        self.swaps = Swaps()
        self._lost = Lost(tracker, desk)
        self._keys: set[tuple[int, bool, int]] = set()
        self._alarms: list[Alarm] = []
        self._linked = True
        self._known: Any = None  # what the surroundings were made of that the desk has
        self._unlike: dict[int, Decimal] | None = None  # the desk's positions when holdings were looked up

    def begin(self) -> None:
        """Take in what the desk has to tell, once the orders of earlier processes are known."""
        self._begun = self.taken_over = True
        self._read(self._now())

    # ---------------------------------------------------------------- what the strategy wants
    def put(self, one: Tracked) -> None:
        """Take a new order; a bracket waits until the last of it says transmit."""
        order = one.order
        number = order.ref if order.parent is None else order.parent.ref
        self._resting.setdefault(number, []).append(one)
        if order.transmit:
            self._queue.append(self._resting.pop(number))

    def cancel(self, one: Tracked) -> None:
        """Ask for the end of an order that is alive; one that was not sent yet never is."""
        one.cancelled = True
        for old in self.swaps.behind(one):
            if old.alive and not old.cancelled:
                self.cancel(old)
        if one.sent:
            self._cancels.append(one)
            return
        held = [] if self.waiting is None else [held.group for held in self.waiting.entries]
        behind = [group for group, _ in self._following.waiting]
        for waiting in [*self._queue, *self._resting.values(), *held, *behind]:
            if one in waiting:
                waiting.remove(one)
        self.finish(one, bt.Order.Canceled, "")

    def finish(self, one: Tracked, status: int, why: str) -> None:
        """End an order that never came to the desk."""
        self._tracker.end(one, status, why)
        for other in list(self._tracker.consequences(one)):
            self._drop(other, self._now())

    # ---------------------------------------------------------------- out
    def flush(self) -> None:
        """Send what the strategy decided, cancels first. Cheap where it decided nothing."""
        if not (self._queue or self._cancels or self.anew.noted):
            return
        now = self._now()
        self._look(now)
        decided = self.anew.decided([group for group in self._queue if group], self._cancels, now)
        self._queue, self._cancels = [], []
        self._alarms += decided.alarms
        self._refuse(decided.refused)
        groups, cancels = self._modified(decided.send, decided.cancels, now)
        for one in cancels:
            why = FOLLOWED if self._following.replaces(one, groups) else ""
            if one.alive and not self._desk.cancel(one.ref, now, why).taken:
                self._cancels.append(one)  # the gate is shut and it guards a position
        queue: list[tuple[Group, int]] = []
        for group in groups:
            pair = group, end_of(group[0].order.data)
            (self._following.waiting if self._following.follows(group) else queue).append(pair)
        self._send_or_hold(queue, now)
        self.poll()

    def _modified(
        self, groups: list[Group], cancels: list[Tracked], now: int
    ) -> tuple[list[Group], list[Tracked]]:
        """Modify what can be, and return the others. What waits for the end of one that never was asked for counts."""
        following = self._following
        behind = [*groups, *(group for group, _ in following.waiting)]
        for found in list(pairs(behind, cancels, self._tracker)):
            if self._modify(found, now):
                cancels = [one for one in cancels if one.alive]
                groups = [group for group in groups if not group[0].sent]
                following.waiting = [(g, bar) for g, bar in following.waiting if g and not g[0].sent]
        return groups, cancels

    def _modify(self, found: Pairs, now: int) -> bool:
        """Have the desk modify orders at IB. Return whether it does; then the new ones stand for them from now on."""
        tickets = []
        for old, new in found:
            try:
                ticket = replace(self._ticket(new, transmit=True, now=now), ref=old.ref)
                wanted = self._wire.quantised(ticket)
            except ParameterError:
                return False
            modified = changed(self._desk.intent(old.ref).ticket, wanted)
            if modified is None:
                return False
            tickets.append(modified)
        group = found[0][0].ref if len(found) > 1 else ""
        notes = notes_text([note_of(new.order, old.ref, group) for old, new in found])
        try:
            answer = self._desk.modify(tickets, Why(end_of(found[0][1].order.data), text=notes), now)
        except ParameterError:  # refused by name where it is sent as a new one
            return False
        if not answer.taken:
            return False
        for (_, new), ticket in zip(found, tickets, strict=True):
            new.ticket = ticket
        self._tracker.replace(found, now)
        return True

    def follow_up(self, *, every: bool = False) -> None:
        """Send the exits that have waited long enough for the end of those before; every: all, as nobody will later."""
        if not self._following.waiting:
            return
        ready = self._following.due(every=every)
        for group, _ in ready:
            if not self._following.guards(group):
                self.finish(group[0], bt.Order.Canceled, "what it was to guard is not held any more")
        self._send([(group, bar) for group, bar in ready if group[0].alive], self._now())

    def _send_or_hold(self, groups: list[tuple[Group, int]], now: int) -> None:
        self._send(groups if self.waiting is None else self.waiting.take(groups, now), now)

    def _send(self, groups: list[tuple[list[Tracked], int]], now: int) -> None:
        for group, _ in groups:
            for one in group:
                self._tracker.name(one, self._desk.next_ref(), now)
        for group, bar in groups:
            self._submit(
                [one for one in group if one.alive], bar, now
            )  # a refusal before may have ended some

    def _refuse(self, groups: list[tuple[Group, str]]) -> None:
        for group, why in groups:
            self.unsent.append(group[0].order)
            self.finish(group[0], bt.Order.Rejected, why)

    def _release(self, now: int) -> None:
        """Send what waited for the end of another order, or for the open, or say why not."""
        self._swap(now)
        self.follow_up()
        self._alarms += self._lost.due(now)
        ready, refused = self.anew.due(now)
        self._refuse(refused)
        for group, why in refused:
            told = f"{group[0].order.size:+g} {instrument_of(group[0].order.data).symbol} was not sent: {why}"
            self._alarms.append(Alarm(now, told, con_id=con_id_of(group[0].order.data)))
        for group, bar in ready:  # by the desk's count it may be the second one of that side and bar
            self._keys.add((con_id_of(group[0].order.data), group[0].order.size > 0, bar))
        self._send_or_hold(ready, now)
        due = [] if self.waiting is None else self.waiting.due(now, self._desk.halted or self._desk.reducing)
        for held, why in due:
            if why:
                order = held.group[0].order
                told = f"{order.size:+g} {instrument_of(order.data).symbol} was not sent for the open: {why}"
                self._alarms.append(Alarm(now, told, con_id=held.con_id))
                self.unsent.append(order)
                self.finish(held.group[0], bt.Order.Rejected, why)
        self._send([(held.alive, held.bar) for held, why in due if not why], now)

    def _swap(self, now: int) -> None:
        """End the exits whose successors work; say where those were turned down."""
        over, failed = self.swaps.due()
        for one in over:
            self._drop(one, now)
        for swap in failed:
            order = swap.old[0].order
            told = f"{instrument_of(order.data).symbol}: new exits were turned down, and those before stay"
            self._alarms.append(Alarm(now, told, ref=swap.old[0].ref, con_id=con_id_of(order.data)))

    def leaving(self, con_id: int) -> list[Tracked]:
        """Return the orders that make a position smaller, those apart that only guard it."""
        held = self._account.position(con_id).size
        return [
            one
            for one in self._tracker.alive()
            if con_id_of(one.order.data) == con_id and one.order.size * held < 0 and not self.protects(one)
        ]

    def _left(self, con_id: int) -> float:
        """Return what is held of an instrument once the reductions have filled that are at IB.

        Limits wait for a price that may never come, and do not hold up what closes at the market.
        """
        sent = [
            one
            for one in self.leaving(con_id)
            if one.sent
            and self._desk.purpose(one.ref) is Purpose.REDUCTION
            and one.order.exectype != bt.Order.Limit
        ]
        return float(self._account.quantity(con_id)) + sum(float(one.order.executed.remsize) for one in sent)

    def _submit(self, group: list[Tracked], bar: int, now: int) -> None:
        if not group:
            return
        try:
            for one in group:
                last = one is group[-1]
                one.ticket = self._wire.quantised(self._ticket(one, transmit=last, now=now))
            tickets = [one.ticket for one in group if one.ticket is not None]
            answers = self._desk.submit(tickets, self._why(group, bar, now), now)
            for one in group:
                one.sent = True
        except ParameterError as e:
            self._alarms.append(Alarm(now, f"an order was not sent: {e}", ref=group[0].ref))
            for one in group:
                self.finish(one, bt.Order.Rejected, str(e))
            return
        for one, answer in zip(group, answers, strict=True):
            one.codes = frozenset(refusal.code for refusal in answer.refusals)
        self._read(now)
        # Where the journal takes nothing more there is no news of them, and the desk knows none of them.
        unknown = [pair for pair in zip(group, answers, strict=True) if not pair[1].taken and pair[0].alive]
        for one, _ in unknown:
            one.sent = False
        for one, answer in unknown:
            if one.alive:  # else it ended with its parent
                self.finish(one, bt.Order.Rejected, "; ".join(refusal.text for refusal in answer.refusals))

    def _ticket(self, one: Tracked, *, transmit: bool, now: int) -> Ticket:
        order, parent = one.order, ""
        if order.parent is not None:
            known = self._tracker.get(order.parent)
            parent = "" if known is None else known.ref
        ticket = ticket_of(
            order, one.ref, self._journal.account, one.day, now, parent=parent, oca=self._group(one), transmit=transmit
        )  # fmt: skip
        if one.most is not None and abs(ticket.quantity) > abs(one.most):
            return replace(ticket, quantity=-one.most)
        return ticket

    def _group(self, one: Tracked) -> str:
        """Return the name of an order's OCO group at IB; "" where it is alone."""
        return f"{self._tracker.leader(one).ref}/o" if self._tracker.group(one) else ""

    def _why(self, group: list[Tracked], bar: int, now: int) -> Why:
        """Return on which bar the orders were decided: an entry that is not sent within a bar's length is too late."""
        order = group[0].order
        instrument = instrument_of(order.data)
        expires = bar + length_of(order.data)
        if not is_open(instrument, now):
            expires = max(expires, next_open(instrument, now) or 0)
        notes = [note_of(one.order, one.ref, self._group(one).removesuffix("/o")) for one in group]
        # The desk takes one entry a side and bar; a second one, which this process has just decided, is no repetition.
        key = instrument.con_id or 0, order.size > 0, bar
        again = key in self._keys
        self._keys.add(key)
        return Why(0 if again else bar, expires, notes_text(notes))

    # ---------------------------------------------------------------- in
    def poll(self) -> None:
        """Take what the broker told, and do what is due."""
        now = self._now()
        if self._wire.damaged() and self._linked:
            # Only two fresh snapshots tell what is so, and nothing is sent until they agree.
            self._desk.on_link(Link.BACK, now)
        self._desk.take(self._wire.reports(), now)
        self._look(now)
        self._desk.tick(now)
        self._read(now)
        self._release(now)

    def on_link(self, event: Link) -> None:
        """Take what became of the connection; the store tells it."""
        self._linked = event.there
        self._desk.on_link(event, self._now())
        self._read(self._now())

    def alarms(self) -> list[Alarm]:
        """Return what a person should see, since the last call; the store tells it by notify_store."""
        found, self._alarms = self._alarms, []
        return found

    def _look(self, now: int) -> None:
        feeds = self.begun()
        if any(is_loading(data) for data in feeds.values()):
            return  # called from within a feed that waits for its bar: what was known still holds
        closes, lengths = prices(feeds), [len(data) for data in feeds.values()]
        known = now, closes, lengths, self._account.bookings, self.around.told, self.around.offset_s
        if known == self._known:
            return
        self._known = known
        equity = self._account.equity(closes) if feeds else None
        self._desk.observe(self.around.now(feeds, equity, now))

    def begun(self) -> dict[int, Any]:
        """Return the feeds that have bars, by contract id."""
        return {con_id: data for con_id, data in self.feeds.items() if len(data)}

    def _read(self, now: int) -> None:
        """Take what the desk has to tell; what follows from it may give more."""
        if not self._begun:
            return
        while news := self._desk.news():
            self._alarms += [item for item in news if isinstance(item, Alarm)]
            for change in _fills_first([item for item in news if isinstance(item, Change)]):
                self._follow(change, now)
        self.hold()

    def _follow(self, change: Change, now: int) -> None:
        ref, standing = change.after.ref, change.after
        ticket = self._desk.intent(ref).ticket
        one = self._tracker.of(ref)
        if one is None and change.before is None and ticket.con_id in self.feeds:
            one = self._made_by_desk(ref, ticket, now)
        for fill in standing.fills:
            if (fill.con_id, fill.account) == (ticket.con_id, ticket.account):
                self._book(fill, one)
        if one is None:
            return
        self._tracker.stand(one, standing, now)
        self._lost.note(one, now)
        self._pursue(one, now)

    def _made_by_desk(self, ref: str, ticket: Ticket, now: int) -> Tracked:
        """Return backtrader's order for one that a person's command made: its fills belong to the strategy's trade."""
        order = restored(self.feeds[ticket.con_id], ticket, Note(ref, 0, "", 0, None, None, "", ""))
        order.submit()
        one = self._tracker.add(order, None, False)
        self._tracker.name(one, ref, now)
        one.ticket, one.sent = ticket, True
        return one

    def _book(self, fill: Fill, one: Tracked | None) -> None:
        old = self._account.known(fill)
        if old == fill:
            return
        data = self.feeds.get(fill.con_id)
        scheme = None if data is None else self._scheme_of(data)
        guess = 0.0 if scheme is None else guessed(None if one is None else one.order, fill, scheme)
        if old is None:
            if fill.quantity != 0:
                bit = self._account.add(fill, guess)
                if one is not None:
                    self._tracker.fill(one, fill, bit, guess, scheme)
            return
        self._account.change(fill)
        if one is not None and (old.quantity, old.price) != (fill.quantity, fill.price):
            self._tracker.correct(one, fill)
        if one is not None and fill.commission is not None:
            self._tracker.charge(one, fill.stem, fill.commission)

    def _pursue(self, one: Tracked, now: int) -> None:
        """Ask for the end of what an order's fill or end leaves without sense."""
        for other in self._tracker.consequences(one):
            self._drop(other, now)
        con_id = con_id_of(one.order.data)
        if one.order.executed.size and self._account.quantity(con_id) == 0:
            for other in self._tracker.alive():
                if self.protects(other) and con_id_of(other.order.data) == con_id:
                    self._drop(other, now)

    def protects(self, one: Tracked) -> bool:
        """Return whether an order only guards a position, now: not the exit of an entry that still works."""
        if not one.sent or self._desk.purpose(one.ref) is not Purpose.PROTECTION:
            return False
        parent = one.order.parent
        return parent is None or not parent.alive()

    def _drop(self, one: Tracked, now: int) -> None:
        if one.cancelled:
            return
        if one.sent:
            one.cancelled = True
            if not self._desk.cancel(one.ref, now).taken:
                self._cancels.append(one)
        else:
            self.cancel(one)

    def hold(self) -> None:
        """Count holdings that the desk took over since: the difference of its positions and ours."""
        ours = {con_id: q for con_id in self._account.positions if (q := self._account.quantity(con_id)) != 0}
        theirs = self._desk.positions
        if ours != theirs and theirs != self._unlike:
            self._account.take_holdings(self._journal.load().holdings)
            self._unlike, self.taken_over = theirs, True


def _fills_first(changes: Sequence[Change]) -> list[Change]:
    """Return changes with cancels and rejections behind the fills that caused them, each order's own in their order."""
    first: list[Change] = []
    last: list[Change] = []
    ended: set[str] = set()
    for change in changes:
        after = change.after
        if after.is_final and after.state is not OrderState.FILLED:
            ended.add(after.ref)
        (last if after.ref in ended else first).append(change)
    return first + last
