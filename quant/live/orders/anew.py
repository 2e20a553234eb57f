"""A bar that an earlier process decided upon, decided upon once more: what it left at IB against what is wanted now.

An order for the open (OPG) lies at IB as it was decided. A later process, e.g. the next `--once`, decides on the same
bar, which may have been revised since: what it wants as it lies there stays, what it does not want is cancelled, and
what it wants in its place goes out once that has ended. Nothing here sends; the dispatch does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import backtrader as bt

from quant.core.orders import TimeInForce
from quant.live.moments import con_id_of, end_of, instrument_of, is_open, next_open
from quant.live.orders.auctions import opening
from quant.live.orders.tracked import Tracked, Tracker
from quant.oms.desk.desk import OrderDesk
from quant.oms.desk.setup import Alarm
from quant.oms.gate import Purpose

REPEATED = "this bar was decided upon before the restart"

Group = list[Tracked]  # an entry, and its exits behind it


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """same: groups at IB that are wanted as they are; repeated: the groups that want them.

    gone: groups at IB that nobody wants any more; instead: groups that are wanted and are not there.
    """

    same: list[Group] = field(default_factory=list)
    repeated: list[Group] = field(default_factory=list)
    gone: list[Group] = field(default_factory=list)
    instead: list[Group] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class Decided:
    """What becomes of a decision. send: goes out now; cancels: are asked for; refused: is never sent, and why."""

    send: list[Group]
    cancels: list[Tracked]
    refused: list[tuple[Group, str]]
    alarms: list[Alarm]


def compare(resting: Sequence[Group], wanted: Sequence[Group]) -> Compared:
    """Return which groups at IB are wanted as they are, each once."""
    found = Compared(gone=list(resting))
    for group in wanted:
        twin = next((other for other in found.gone if _facts(other) == _facts(group)), None)
        if twin is None:
            found.instead.append(group)
        else:
            found.gone.remove(twin)
            found.same.append(twin)
            found.repeated.append(group)
    return found


def _facts(group: Group) -> list[tuple[int, float, float | None]]:
    """Return what makes a group another one: kinds, sizes, and prices as they were asked for."""
    return [
        (one.order.exectype, one.order.size, None if one.order.exectype == bt.Order.Market else one.order.created.price)
        for one in group
    ]  # fmt: skip


class Anew:
    """What is decided once more. leaving: the orders that make a position smaller, by contract id."""

    def __init__(self, desk: OrderDesk, tracker: Tracker, leaving: Callable[[int], list[Tracked]]) -> None:
        self._desk, self._tracker, self._leaving = desk, tracker, leaving
        self.noted: set[int] = set()
        # What must have ended, what is sent then, and the END of the bar that it was decided on.
        self.waiting: list[tuple[list[Group], Group, int]] = []

    def note(self, con_id: int) -> None:
        """Take note that the newest bar of an instrument is decided upon once more; what is put now belongs to it."""
        self.noted.add(con_id)

    def covers(self, con_id: int) -> bool:
        """Return whether an entry that is put now is compared with one at IB."""
        return con_id in self.noted and bool(self.resting(con_id))

    def resting(self, con_id: int) -> list[Group]:
        """Return the entries for the open, with their exits, that are at IB as an earlier process sent them."""
        found = []
        for one in self._tracker.alive():
            if (
                con_id_of(one.order.data) != con_id
                or not one.sent
                or one.cancelled
                or one.order.executed.size
            ):
                continue
            opens = one.ticket is not None and one.ticket.tif is TimeInForce.OPG
            if opens and self._desk.purpose(one.ref) is Purpose.ENTRY:
                found.append([one, *(child for child in self._tracker.children(one) if child.alive)])
        return found

    # ------------------------------------------------------------ what is decided
    def decided(self, groups: list[Group], cancels: list[Tracked], now: int) -> Decided:
        """Return what becomes of the groups and cancels that a strategy asked for."""
        found = Decided(list(groups), list(cancels), [], [])
        noted, self.noted = self.noted, set()
        for con_id in noted:
            compared = compare(
                self.resting(con_id),
                [g for g in groups if g[0].anew and con_id_of(g[0].order.data) == con_id],
            )
            self._stay(con_id, compared, found)
            found.refused.extend((group, REPEATED) for group in compared.repeated)
            for group in compared.repeated + compared.instead:
                found.send.remove(group)
            self._replace(compared, found, now)
        return found

    def _stay(self, con_id: int, compared: Compared, found: Decided) -> None:
        """Take back the cancels of exits that still have something to guard.

        A strategy that acts upon a target cancels the exits of the one before. Decided once more, these are the exits
        of the very order that it does not get a second time.
        """
        exits = [one for group in compared.same for one in group[1:]]
        smaller = any(self._reduces(group, con_id) for group in found.send)
        if not smaller and not self._leaving(con_id):
            theirs = [one for group in compared.gone for one in group]
            exits += [
                one for one in found.cancels
                if con_id_of(one.order.data) == con_id and one.order.info.get("restored") and one not in theirs
            ]  # fmt: skip
        for one in exits:
            if one in found.cancels:
                found.cancels.remove(one)
                one.cancelled = False

    @staticmethod
    def _reduces(group: Group, con_id: int) -> bool:
        order = group[0].order
        held = order.broker.getposition(order.data).size if order.broker is not None else 0
        return bool(con_id_of(order.data) == con_id and order.size * held < 0)

    def _replace(self, compared: Compared, found: Decided, now: int) -> None:
        """Cancel what nobody wants any more, where its exchange still lets it be; the rest waits for that."""
        if not compared.gone:  # an entry more than before is one that has been sent, and has ended
            found.refused.extend((group, REPEATED) for group in compared.instead)
            return
        order = compared.gone[0][0].order
        instrument = instrument_of(order.data)
        opens = None if is_open(instrument, now) else next_open(instrument, now)
        late = opens is None or now >= opens - opening(instrument).withdrawal
        wanted = ", ".join(f"{group[0].order.size:+g}" for group in compared.instead) or "nothing"
        told = f"decided upon anew, its bar wants {wanted}, and {instrument.symbol} has at IB for the open"
        for group in compared.gone:
            what = f"{told} {group[0].order.size:+g}: "
            what += "too late for a cancel, it stays" if late else "that is cancelled"
            found.alarms.append(Alarm(now, what, ref=group[0].ref, con_id=con_id_of(order.data)))
        if late:
            found.refused.extend(
                (group, "what it was to replace can no longer be cancelled") for group in compared.instead
            )
            return
        for group in compared.gone:
            group[0].cancelled = True
            found.cancels.append(group[0])
        self.waiting.extend((compared.gone, group, end_of(order.data)) for group in compared.instead)

    # ------------------------------------------------------------ what waits
    def due(self, now: int) -> tuple[list[tuple[Group, int]], list[tuple[Group, str]]]:
        """Return the groups whose time has come, with their bar, and those whose time never comes, with the reason."""
        ready: list[tuple[Group, int]] = []
        refused: list[tuple[Group, str]] = []
        waiting, self.waiting = self.waiting, []
        for before, group, bar in waiting:
            instrument = instrument_of(group[0].order.data)
            entries = [other[0] for other in before]
            if any(one.order.executed.size for one in entries):
                refused.append((group, "what it was to replace has filled"))
            elif is_open(instrument, now):
                refused.append((group, "what it was to replace had not ended before the open"))
            elif any(one.alive for one in entries):
                self.waiting.append((before, group, bar))
            else:
                ready.append((group, bar))
        return ready, refused
