"""The desk's side of reconciliation: which snapshots are compared, and what is done about what they say."""

from __future__ import annotations

from quant.core.orders import Snapshot
from quant.oms.desk.floor import Floor
from quant.oms.desk.record import AGREED
from quant.oms.desk.watch import STRAY_NS
from quant.oms.failpoints import reach
from quant.oms.gate import Turn, cancels, passes, recovers
from quant.oms.limits import SECOND
from quant.oms.reconcile.outcome import (
    Action,
    Cancel,
    Conclude,
    Flatten,
    HaltAll,
    HaltInstrument,
    Hold,
    Noticed,
    Outcome,
    Repair,
    Resend,
)
from quant.oms.reconcile.reconcile import doubts, reconcile


class Recovery:
    """Compares the broker's books with ours and acts on it.

    starting: no two snapshots have agreed in this run. unexplained: since when steady ones leave something open.
    """

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self.starting = True
        self.unexplained: int | None = None
        self._told = ""

    def seen(self, snapshot: Snapshot, now: int) -> None:
        """Take a complete snapshot."""
        floor = self._floor
        if not floor.watch.settled:
            reach("in_recovery")
        if snapshot.unanswered:
            told = "an order that ended while nobody listened cannot be told from one that was lost"
            floor.alarm(f"TWS does not answer what asks for {snapshot.unanswered}: {told}", now)
        said = (
            snapshot.echoes,
            snapshot.statuses,
            snapshot.completed,
            snapshot.executions,
            snapshot.commissions,
        )
        floor.record.add_reports([report for reports in said for report in reports], now)
        floor.settle_news(now)
        floor.counter.floor = max(floor.counter.floor, snapshot.next_order_id)
        policy = floor.counter.policy()
        books = floor.record.books(
            floor.outbox.queued, self.starting, self._lasting(now), snapshot.asked_at - STRAY_NS
        )
        if floor.watch.settled:
            outcome = doubts(books, snapshot, policy)
            floor.watch.settle(now)
            self._act(outcome, now)
            if outcome.waiting:
                floor.doubt(now)
            elif outcome.fleeting:
                floor.watch.soon(now + STRAY_NS)
            return
        first, floor.watch.before = floor.watch.before, snapshot
        floor.watch.look_at(max(now, snapshot.asked_at + policy.gap))
        if first is not None:
            self._compared(reconcile(books, first, snapshot, policy), snapshot, now)

    def _lasting(self, now: int) -> bool:
        """Return whether something has been left open by steady snapshots for so long that it halts."""
        since = self.unexplained
        return since is not None and now - since >= self._floor.setup.patience_s * SECOND

    def _compared(self, outcome: Outcome, snapshot: Snapshot, now: int) -> None:
        """Act on what two snapshots say."""
        floor = self._floor
        told = "; ".join(outcome.open_points)
        self._act(outcome, now)  # first: a holding is to be there before it is written that the books agree
        floor.record.add_snapshot(snapshot, AGREED if outcome.agreed else told, now)
        if outcome.agreed:
            self.unexplained = None
            if floor.link and floor.watch.before is not None:  # no new doubt came of it
                self.starting = False
                floor.watch.settle(now)
                floor.turn(Turn.AGREED_REDUCING if floor.record.reducing else Turn.AGREED)
        elif outcome.steady:
            self.unexplained = now if self.unexplained is None else self.unexplained
            if any(isinstance(action, Resend | Repair | Cancel) for action in outcome.actions):
                floor.watch.doubt(now)  # what was sent just now is in neither
            if self._lasting(now):
                floor.stop(told, now)
                floor.watch.look_at(now + round(floor.setup.check_s * SECOND))

    def tell_stall(self, now: int) -> None:
        """Tell a person where the broker's books cannot be read, or never agree; else it would stop in silence."""
        watch, setup = self._floor.watch, self._floor.setup
        # Since one was asked for: the clock of a simulated TWS that is fast leaps while nothing trades.
        silent = watch.unheard is not None and now - watch.unheard >= setup.patience_s * SECOND
        torn = not watch.settled and now - watch.unsettled >= setup.patience_s * SECOND
        stalled = "the broker's books cannot be read; TWS may be busy, or show a question" if silent else ""
        stalled = stalled or ("the broker's books and ours do not agree yet; nothing is sent" if torn else "")
        if stalled and stalled != self._told:
            self._floor.alarm(stalled, now, stops=True)
        self._told = stalled

    def _act(self, outcome: Outcome, now: int) -> None:
        floor = self._floor
        if outcome.steady:
            known = floor.record.astray
            kept = {con_id: known[con_id] for con_id, _ in outcome.fleeting if con_id in known}
            floor.record.astray = kept | dict(outcome.astray)
        for notice in outcome.notices:
            floor.alarm(notice.text, now, ref=notice.ref, con_id=notice.con_id)
            if notice.what is Noticed.REVIVED:
                floor.revived.add(notice.ref)
            if notice.what is Noticed.HELD_BACK:
                floor.counter.rejected(notice.ref, now)
        for action in outcome.actions:
            if isinstance(action, Flatten):  # before it counts as ours, or a kill between would leave it so
                floor.record.flatten(action.con_id, action.why, now)
        for action in outcome.actions:
            self._do(action, now)
        floor.settle_news(now)

    def _do(self, action: Action, now: int) -> None:
        floor = self._floor
        match action:
            case Conclude(ref, what, why):
                floor.record.mark(ref, what, now, why)
            case Resend(ref, why):
                if floor.link and (recovers(floor.gate) or passes(floor.gate, floor.record.purpose(ref))):
                    floor.send(ref, now, "", again=True)
            case Repair(ref, why, quantity):
                smaller = quantity is not None and cancels(floor.gate)  # as the cancel of a part
                if floor.link and (smaller or recovers(floor.gate)):
                    floor.send(ref, now, why, again=True, quantity=quantity)
            case Cancel(ref, why):
                floor.end(ref, now, why)
            case Hold(source, con_id, symbol, quantity, price, why):
                floor.record.hold(source, con_id, symbol, quantity, price, now, why)
                floor.counter.symbols[con_id] = symbol
            case Flatten(con_id, symbol, quantity, why):
                floor.close(con_id, quantity, why, now)
                floor.flattening.add(con_id)
            case HaltInstrument(con_id, why):
                floor.halt_instrument(con_id, why, now)
            case HaltAll(why):
                floor.stop(why, now)
