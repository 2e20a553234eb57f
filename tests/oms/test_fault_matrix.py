"""Every row of the fault matrix that concerns orders (live-faults §4a), against the simulated TWS in virtual time.

Each case trades the same kind of decisions by seed while its faults happen, comes to rest, and is compared with TWS's
own books: Joined.check says what must hold. In CI 5 seeds a case, 50 with --full. The bytes are real, the time is not;
test_order_crash.py and bench `orders` go over sockets.
"""

# ruff: noqa: E501  # the cases are a table, one a line
from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from joined import Joined
from memory_tws import MemorySocket

from quant.core.barsize import SECOND
from quant.core.orders import Execution, Snapshot, Status
from quant.oms import state
from quant.oms.desk.desk import OrderDesk
from quant.oms.desk.outbox import Outbox, Sent
from quant.oms.desk.recovery import Recovery
from quant.oms.desk.setup import Link
from quant.oms.gate import Gate
from quant.oms.reconcile.outcome import Policy
from quant.oms.state import OrderState
from quant.tws.exchange.refusal import Refusal
from quant.tws.faults import Do, Fault
from quant.tws.order_faults import MODIFY, SNAPSHOTS, OrderDo, OrderFault
from tests.oms.trader import SPY, setup

Rows = list[Fault | OrderFault]
Dice = random.Random
BARS = 10


def nothing(joined: Joined, dice: Dice) -> None:
    """Nobody does anything beside the script."""


@dataclass(frozen=True)
class Case:
    """script: the faults, by dice. beside: what else is done, once, before the first bar. foreign, twin, forged: as
    of Joined.check. shown: what must be true at the end of at least one seed, so that no case passes for lack of faults; that
    each kind of the script was played is asked of every case. seeds: in CI.
    """

    row: str
    name: str
    script: Callable[[Dice], Rows] = lambda dice: []
    beside: Callable[[Joined, Dice], None] = nothing
    foreign: bool = False
    twin: bool = False
    forged: bool = False
    shown: Callable[[Joined], bool] = field(default=lambda joined: True)
    seeds: int = 5


def of(do: OrderDo, **more: Any) -> Callable[[Dice], Rows]:
    """Three of one fault, at places that the dice give."""
    return lambda dice: [OrderFault(do, skip=dice.randint(0, 4), count=3, **more)]


def told(*words: str) -> Callable[[Joined], bool]:
    """All of these words were told to a person."""
    return lambda joined: all(any(w in text for text in everything(joined)) for w in words)


def everything(joined: Joined) -> list[str]:
    return [*joined.alarms, *(a.text for a in joined.trader.alarms)]


def ended_as(*states: str) -> Callable[[Joined], bool]:
    return lambda joined: {str(o.state) for o in joined.trader.desk.orders} >= set(states)


def reconnected(joined: Joined) -> bool:
    return len(joined.world.sockets) > 1


def doubted(joined: Joined) -> bool:
    return joined.gates[Gate.RECONCILING] > 15  # the start takes 11


def say(dice: Dice, *codes: tuple[float, int]) -> Rows:
    begin = dice.uniform(20, 60)
    return [Fault(Do.SAY, after_s=begin + after, code=code, text=f"fault {code}") for after, code in codes]


def breaks(how: str) -> Callable[[Joined, Dice], None]:
    """Let the line break at some byte of an order's frame, or between two messages, again and again."""

    def beside(joined: Joined, dice: Dice) -> None:
        def connect(socket: MemorySocket) -> None:
            socket.sever = dice.choice((dice.randint(300, 1500), dice.randint(1500, 6000))), how

        joined.world.on_connect = connect
        line = joined.world.line
        assert line is not None
        connect(line)

    return beside


def at(dice: Dice, do: OrderDo, *, symbol: str = "SPY", n: int = 1, **more: Any) -> Rows:
    return [OrderFault(do, after_s=dice.uniform(20, 150), symbol=symbol, **more) for _ in range(n)]


def refused(code: int, on: str = "place") -> Callable[[Dice], Rows]:
    do = OrderDo.REFUSE_CANCEL if on == "cancel" else OrderDo.REJECT
    return lambda dice: [
        OrderFault(do, on=on, skip=dice.randint(0, 3), count=2, code=code, text=f"fault {code}")
    ]


def warned(code: int) -> Callable[[Dice], Rows]:
    return lambda dice: [
        OrderFault(OrderDo.WARN, skip=dice.randint(0, 3), count=3, code=code, text=f"fault {code}")
    ]


def spoiled(do: Do, **more: Any) -> Callable[[Dice], Rows]:
    names = (
        "OpenOrder",
        "OrderStatus",
        "ExecutionDetails",
        "CommissionAndFeesReport",
        "OpenOrdersEnd",
        "Position",
    )
    return lambda dice: [Fault(do, name, skip=dice.randint(0, 6), count=2, **more) for name in names]


def away(joined: Joined, dice: Dice) -> None:
    """TWS is not there for a while, from some bar on."""
    begin = joined.world.ns() + round(dice.uniform(20, 60) * SECOND)

    def stop() -> None:
        joined.world.listening = False
        line = joined.world.line
        if line is not None:
            line.server.reset()

    joined.world.after(begin - joined.world.ns(), stop)
    joined.world.after(
        begin + 60 * SECOND - joined.world.ns(), lambda: setattr(joined.world, "listening", True)
    )


def another_in_our_place(joined: Joined, dice: Dice) -> None:
    """Somebody else has our client id when we come back."""
    from quant.tws.client import Client

    other, tws = Client(), joined.world.tws

    def take() -> None:
        line = joined.world.line
        if line is not None:
            line.server.reset()
        joined.world.after(10_000_000, lambda: tws.join(other, 7))

    joined.world.after(round(dice.uniform(20, 60) * SECOND), take)
    joined.world.after(150 * SECOND, lambda: tws.leave(other) if other.id is not None else None)


def clock_jumps(joined: Joined, dice: Dice) -> None:
    """Our clock is found an hour off IB's, and right again later."""
    off = dice.choice((3600.0, -3600.0, 5.0, -5.0))
    joined.world.after(30 * SECOND, lambda: setattr(joined.trader, "clock_offset_s", off))
    joined.world.after(90 * SECOND, lambda: setattr(joined.trader, "clock_offset_s", 0.0))


def cut_for_hours(joined: Joined, dice: Dice) -> None:
    """TWS loses IB for two hours, with orders resting and positions held; the socket stays."""
    joined.trade(4)
    tell(joined, 1100)
    joined.sleep_until(joined.world.ns() + 2 * 3600 * SECOND)
    assert joined.trader.desk.gate in (Gate.CLOSED, Gate.HALTED)
    tell(joined, dice.choice((1101, 1102)))


def follows(joined: Joined, dice: Dice) -> None:
    """At most bars a stop is given another price, and it is far enough away to stay."""
    joined.trader.follows = 0.75


def moved(joined: Joined) -> bool:
    return joined.trader.modified > 1


def changes(do: OrderDo, **more: Any) -> Callable[[Dice], Rows]:
    """One fault at two changes of orders that work."""
    return lambda dice: [OrderFault(do, on=MODIFY, skip=dice.randint(0, 1), count=2, **more)]


def tell(joined: Joined, code: int) -> None:
    line = joined.world.line
    assert line is not None
    line.server._session.tell(-1, Refusal(code, f"fault {code}"), joined.world.ns())
    line.server.send()


SAID = (399, 404, 10349, 103, 104, 105, 110, 163, 202, 382, 383, 2161, 10147, 10148, 17777)
CASES = [
    Case("C1", "nothing listens for a minute", beside=away, shown=reconnected),
    Case("C1", "accepts and closes", lambda d: [Fault(Do.RESET, "OrderStatus", skip=3), Fault(Do.CLOSE, "connect", skip=1, count=3)], shown=reconnected),
    Case("C1", "closes after the handshake", lambda d: [Fault(Do.RESET, "OrderStatus", skip=3), Fault(Do.CLOSE, "greeting", skip=1, count=3)], shown=reconnected),
    Case("C2", "326", beside=another_in_our_place, shown=reconnected),
    Case("C3", "another account after a reconnect", lambda d: [Fault(Do.RESET, "OrderStatus", skip=4), Fault(Do.ACCOUNT, "ManagedAccounts", skip=1, count=2, text=d.choice(("DU7654321", "U1234567")))], shown=reconnected),
    Case("C3", "an advisor's accounts after a reconnect", lambda d: [Fault(Do.RESET, "OrderStatus", skip=4), Fault(Do.ACCOUNT, "ManagedAccounts", skip=1, count=2, text="F1234567,U1234567")], shown=reconnected),
    Case("C4", "1100 for two hours", beside=cut_for_hours, shown=doubted, seeds=2),
    Case("C4", "1100, 1102", lambda d: say(d, (0, 1100), (d.uniform(1, 60), 1102)), shown=doubted),
    Case("C4", "1100, 1101", lambda d: say(d, (0, 1100), (d.uniform(1, 60), 1101)), shown=doubted),
    Case("C4", "1102 alone, 1101 alone", lambda d: say(d, (0, 1102), (40, 1101)), shown=doubted),
    Case("C4", "1100 among fills", lambda d: [Fault(Do.SAY, "ExecutionDetails", skip=1, code=1100, text="lost"), *say(d, (60, 1102)), OrderFault(OrderDo.PARTS, count=0)], shown=doubted),
    Case("C5", "RST at a byte of what we send", beside=breaks("reset"), shown=reconnected),
    Case("C5", "FIN at a byte of what we send", beside=breaks("close"), shown=reconnected),
    Case("C5", "half-open at a byte of what we send", beside=breaks("silence"), shown=reconnected),
    Case("C5", "RST between answers", lambda d: [Fault(Do.RESET, n, skip=d.randint(0, 5)) for n in ("OpenOrder", "OrderStatus", "ExecutionDetails", "CommissionAndFeesReport", "PlaceOrderRequest")], shown=reconnected),
    Case("C5", "half-open from an answer on", lambda d: [Fault(Do.SILENCE, d.choice(("OpenOrder", "ExecutionDetails", "PlaceOrderRequest")), skip=d.randint(0, 4))], shown=reconnected),
    Case("C5", "RST within an answer", lambda d: [Fault(Do.RESET, "ExecutionDetails", skip=d.randint(0, 4), size=d.randint(1, 60))], shown=reconnected),
    Case("C6", "restart, ids rolled back", lambda d: [Fault(Do.RESTART, "PlaceOrderRequest", skip=d.randint(1, 6), size=1)], shown=reconnected),
    Case("C6", "nightly restart", lambda d: [OrderFault(OrderDo.NIGHTLY, "place", skip=d.randint(1, 5), seconds=30, lost_s=2.0)], shown=reconnected),
    Case("C7", "log-in needed", lambda d: [Fault(Do.RESET, "OrderStatus", skip=4), OrderFault(OrderDo.RELOGIN, skip=1, seconds=900.0)], shown=reconnected),
    Case("C8", "farms flap", lambda d: say(d, *((5.0 * i, c) for i, c in enumerate((2103, 2104, 2105, 2106, 2157, 2158)))), shown=ended_as("filled")),
    Case("C8", "2110", lambda d: say(d, (0, 2110), (20, 1102)), shown=doubted),
    *(Case("C9", str(do), spoiled(do), forged=do is Do.FLIP, shown=ended_as("filled")) for do in (Do.SPLIT, Do.FLIP, Do.EMPTY, Do.UNKNOWN, Do.FEW, Do.MANY, Do.NOT_UTF8)),
    *(Case("C9", str(do), spoiled(do), shown=reconnected) for do in (Do.OVERSIZE, Do.HALF)),
    Case("C9", "flood", lambda d: [Fault(Do.FLOOD, "OrderStatus", skip=2, size=2_000)]),
    Case("C9", "a hundred thousand messages", lambda d: [Fault(Do.FLOOD, d.choice(("OrderStatus", "ExecutionDetails", "OpenOrder")), skip=1)], seeds=1),
    Case("C9", "slow loris", lambda d: [Fault(Do.SLOW, "OrderStatus", skip=3)], shown=reconnected),
    Case("O1", "no acknowledgement", of(OrderDo.MUTE)),
    Case("O1", "acknowledged after five minutes", of(OrderDo.MUTE, seconds=300.0)),
    Case("O1", "acknowledged after the fill", of(OrderDo.MUTE, seconds=5.0)),
    Case("O1", "orderStatus lost", of(OrderDo.LOSE_STATUS)),
    Case("O1", "fourfold", of(OrderDo.REPEAT, times=4)),
    Case("O1", "backwards", of(OrderDo.REVERSE)),
    Case("O2", "execution first", of(OrderDo.EXEC_FIRST)),
    Case("O2", "executions only on request", of(OrderDo.LOSE_EXEC)),
    Case("O2", "in parts", of(OrderDo.PARTS, share=0.3)),
    Case("O2", "in fractions", of(OrderDo.PARTS, share=0.37, fractional=True)),
    Case("O2", "snapshots doubled", lambda d: [OrderFault(OrderDo.REPEAT, n, count=2, skip=d.randint(0, 2), times=2) for n in SNAPSHOTS]),
    Case("O3", "commission ten minutes late", of(OrderDo.LATE_FEE, seconds=600.0)),
    Case("O3", "commission never", of(OrderDo.LATE_FEE)),
    Case("O3", "commission first", of(OrderDo.FEE_FIRST)),
    Case("O3", "commission twice", of(OrderDo.REPEAT_FEE)),
    Case("O4", "price corrected", of(OrderDo.CORRECT, seconds=3.0, price_by=0.05), shown=told("corrected")),
    Case("O4", "quantity corrected", of(OrderDo.CORRECT, seconds=3.0, quantity=1.0), shown=told("corrected")),
    Case("O4", "busted", of(OrderDo.BUST, seconds=3.0), shown=told("taken back")),
    *(Case("O5", f"rejected with {c}", refused(c), shown=told("reject") if c == 201 else lambda j: True) for c in (103, 110, 163, 201, 203, 321, 382, 383)),
    *(Case("O5", f"{c} on a live order", warned(c), shown=ended_as("filled")) for c in SAID),
    *(Case("O5", f"cancel refused with {c}", refused(c, "cancel")) for c in (10147, 10148)),
    Case("O5", "202 by itself", of(OrderDo.CANCELLED, seconds=0.5), shown=ended_as("cancelled")),
    Case("O5", "202 after a part", lambda d: [OrderFault(OrderDo.PARTS, count=0), OrderFault(OrderDo.CANCELLED, count=0, chance=0.5, seconds=0.5)], shown=ended_as("cancelled")),
    Case("O5", "preset", of(OrderDo.PRESET)),
    Case("O6", "inactive, then submitted", of(OrderDo.INACTIVE, seconds=20.0)),
    Case("O6", "inactive for ever", of(OrderDo.INACTIVE)),
    Case("O6", "presubmitted", of(OrderDo.STUCK, seconds=90.0)),
    Case("O6", "pending cancel", of(OrderDo.SLOW_CANCEL, seconds=20.0)),
    Case("O6", "pending cancel, then filled", of(OrderDo.CANCEL_FILLS, seconds=5.0)),
    Case("O6", "filled after cancelled", of(OrderDo.FILL_AFTER_CANCEL, seconds=5.0), shown=told("filled by more")),
    Case("O7", "dropped", of(OrderDo.DROP), shown=ended_as("not sent")),
    Case("O7", "the first swallows the rest", lambda d: [OrderFault(OrderDo.DROP, seconds=20.0)], shown=ended_as("not sent")),
    *(Case("O8", f"booked {s:g} s late", of(OrderDo.LATE, seconds=s)) for s in (2.0, 12.0, 40.0, 200.0)),
    Case("O9", "a repair makes a twin", lambda d: [*at(d, OrderDo.HAND_MODIFY, limit=1.0, n=3), OrderFault(OrderDo.TWIN, count=1)], twin=True, shown=told("several permIds")),
    Case("O9", "a change makes a twin", changes(OrderDo.TWIN), beside=follows, twin=True, shown=told("several permIds")),
    Case("O9", "a change is dropped", changes(OrderDo.DROP), beside=follows, shown=told("stop is")),
    *(Case("O9", f"a change is booked {s:g} s late", changes(OrderDo.LATE, seconds=s), beside=follows, shown=moved, seeds=3) for s in (2.0, 12.0, 40.0)),
    *(Case("O9", f"a change is rejected with {c}", changes(OrderDo.REJECT, code=c, text=f"fault {c}"), beside=follows, shown=moved, seeds=3) for c in (103, 104, 110, 201)),
    *(Case("O9", f"a change, {do}", changes(do), beside=follows, shown=moved, seeds=3) for do in (OrderDo.MUTE, OrderDo.LOSE_STATUS, OrderDo.REVERSE, OrderDo.PRESET)),
    Case("O9", "a change, fourfold", changes(OrderDo.REPEAT, times=4), beside=follows, shown=moved, seeds=3),
    Case("O9", "RST at a change", lambda d: [Fault(Do.RESET, "PlaceOrderRequest", skip=d.randint(2, 4), count=3)], beside=follows, shown=reconnected),
    Case("O10", "traded by hand", lambda d: at(d, OrderDo.HAND, quantity=7.0), foreign=True, shown=told("not ours")),
    Case("O10", "an order by hand", lambda d: at(d, OrderDo.HAND, quantity=7.0, limit=1.0), foreign=True, shown=told("not ours")),
    Case("O10", "closed by hand", lambda d: at(d, OrderDo.HAND_CLOSE, n=3), foreign=True, shown=told("not ours")),
    Case("O10", "cancelled by hand", lambda d: at(d, OrderDo.HAND_CANCEL, n=3), shown=ended_as("cancelled")),
    Case("O10", "changed by hand", lambda d: at(d, OrderDo.HAND_MODIFY, quantity=3.0, limit=1.0, n=3)),
    Case("O10", "another client", lambda d: at(d, OrderDo.OTHER_CLIENT, quantity=9.0, limit=1.0), foreign=True, shown=told("not ours")),
    Case("O10", "liquidation", lambda d: at(d, OrderDo.LIQUIDATE, n=3), foreign=True, shown=told("not ours")),
    Case("O10", "assignment", lambda d: at(d, OrderDo.ASSIGN, quantity=100.0, limit=50.0), foreign=True, shown=told("not ours")),
    *(Case("O11", f"{n} without its end", lambda d, n=n: [OrderFault(OrderDo.NO_END, n, skip=d.randint(0, 3), count=2)], shown=doubted) for n in SNAPSHOTS),  # type: ignore[misc]
    *(Case("O11", f"{n} empty", lambda d, n=n: [OrderFault(OrderDo.EMPTY, n, count=1)]) for n in SNAPSHOTS),  # type: ignore[misc]
    Case("O12", "margin", refused(201), shown=ended_as("rejected")),
    Case("O12", "shares to locate", of(OrderDo.LOCATE, seconds=40.0)),
    Case("O12", "price capped", of(OrderDo.CAP)),
    Case("K4", "our clock is off", beside=clock_jumps, shown=ended_as("not sent")),
    Case("D1", "what is told comes late", lambda d: [Fault(Do.LATE, n, skip=d.randint(0, 5), count=3, late_s=8.0) for n in ("OpenOrder", "OrderStatus", "ExecutionDetails")]),
    Case("D3", "every frame twice", lambda d: [Fault(Do.REPEAT, n, count=0, chance=0.5) for n in ("OpenOrder", "OrderStatus", "ExecutionDetails")]),
    Case("D6", "what is told is lost", lambda d: [Fault(Do.LOSE, n, count=0, chance=0.3) for n in ("OpenOrder", "OrderStatus", "ExecutionDetails")]),
]  # fmt: skip


def dice_of(case: Case, seed: int) -> Dice:
    return random.Random(f"{case.row} {case.name} {seed}")


def script_of(case: Case, seed: int) -> Rows:
    return case.script(dice_of(case, seed))


def play(case: Case, folder: Path, seed: int, bars: int = BARS, **more: Any) -> Joined:
    """Trade through one case and compare; return how it ended."""
    dice = dice_of(case, seed)
    joined = Joined(folder, seed, case.script(dice), **more).start().opened()
    case.beside(joined, dice)
    joined.trade(bars, person=0.3)
    joined.quiet()
    joined.check(foreign=case.foreign, doubled_by_tws=case.twin, forged=case.forged)
    joined.stop()
    return joined


@pytest.mark.parametrize("case", CASES, ids=[f"{c.row} {c.name}" for c in CASES])
def test_invariants_hold(case: Case, tmp_path: Path, full: bool) -> None:
    seeds = 50 if full else case.seeds
    ends = [play(case, tmp_path / str(seed), seed, BARS if full else 8) for seed in range(seeds)]
    wanted = {did(row) for seed in range(seeds) for row in script_of(case, seed)}
    played = {kind for joined in ends for kind in struck(joined)}
    assert wanted <= played, f"never played: {wanted - played}"
    assert any(case.shown(joined) for joined in ends), "the fault did not show"


def did(row: Fault | OrderFault) -> tuple[type, str]:
    return type(row.do), row.do


def struck(joined: Joined) -> set[tuple[type, str]]:
    """Return the kinds of faults that the simulated TWS has let happen, and that took effect."""
    faults = joined.world.faults
    counted = (*faults.played.items(), *faults.orders.played.items())
    return {(type(do), do) for do, times in counted if times > 0}


# ---------------------------------------------------------------- rules broken on purpose: the matrix must turn red
def red(name: str, folder: Path, words: str, seeds: int = 4, **more: Any) -> None:
    """Some seed of a case must fail with these words."""
    case = next(c for c in CASES if f"{c.row} {c.name}" == name)
    failures = []
    for seed in range(seeds):
        try:
            play(case, folder / str(seed), seed, **more)
        except AssertionError as failure:
            failures.append(str(failure))
    assert any(words in text for text in failures), failures


def test_sending_before_the_commit_turns_it_red(tmp_path: Path) -> None:
    class Eager(OrderDesk):
        def _take_in(self, tickets, why, now):  # type: ignore[no-untyped-def]
            if self.gate is Gate.OPEN:
                self._floor.outbox._broker.place(self._floor.record._journal._last_id + 1, tickets[0])
            return super()._take_in(tickets, why, now)

    red("O1 backwards", tmp_path, "the journal has nothing", seeds=1, desk_class=Eager)


def test_a_new_id_on_resend_turns_it_red(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    send = Outbox.send

    def under_a_new_id(self: Outbox, ref: str, now: int, why: str = "", **_: object) -> Sent:
        if self._record.trail(ref).sends == 0:
            return send(self, ref, now, why)
        self._broker.place(self._record._journal.next_order_id(), self._record.ticket(ref))
        return Sent.OUT

    monkeypatch.setattr(Outbox, "send", under_a_new_id)
    red("O7 dropped", tmp_path, "was sent under", seeds=10)


def test_fills_taken_from_order_status_turn_it_red(tmp_path: Path) -> None:
    class Trusting(OrderDesk):
        def take(self, reports, now):  # type: ignore[no-untyped-def]
            made = []
            for status in [r for r in reports if isinstance(r, Status) and r.filled > 0]:
                ref = next(
                    (o.ref for o in self.orders if self.intent(o.ref).order_id == status.order_id), None
                )
                if ref is not None:
                    t = self.intent(ref).ticket
                    made.append(
                        Execution(
                            f"status.{status.perm_id}", t.account, t.con_id, t.symbol, status.order_id, status.client_id,
                            status.perm_id, ref, now, status.filled.copy_sign(t.quantity), status.average,
                            status.filled, status.average,
                        )
                    )  # fmt: skip
            super().take([*reports, *made], now)

    red("O1 fourfold", tmp_path, "by the journal", seeds=1, desk_class=Trusting)


def test_one_snapshot_instead_of_two_turns_it_red(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Recovery.seen

    def hastily(self: Recovery, snapshot: Snapshot, now: int) -> None:
        self._floor.watch.before = snapshot
        seen(self, snapshot, now)

    began_with_a_position(tmp_path / "two")
    monkeypatch.setattr(Recovery, "seen", hastily)
    with pytest.raises(AssertionError, match="position of"):
        began_with_a_position(tmp_path / "one", settings=setup(policy=Policy(gap_s=-1.0)))


def began_with_a_position(folder: Path, **more: Any) -> None:
    """Row O11: something is held at start, and TWS has not loaded it when it is asked first."""
    joined = Joined(folder, 0, [OrderFault(OrderDo.EMPTY, "PositionsRequest", count=1)], **more)
    joined.world.tws.account.book(joined.listings[SPY], Decimal(50), 300.0, 0.0)
    joined.start().opened()
    joined.check()
    joined.stop()


def test_a_gate_that_lets_all_pass_turns_it_red(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quant.oms.desk.floor.passes", lambda gate, purpose: True)
    red("C4 1102 alone, 1101 alone", tmp_path, "while reconciling", seeds=6)


def test_a_correction_added_on_top_turns_it_red(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("fills", "desk.standings"):
        monkeypatch.setattr(f"quant.oms.{module}.exec_key", lambda exec_id: (exec_id, 0))
    red("O4 quantity corrected", tmp_path, "by the journal", seeds=2)


def test_an_error_code_that_ends_an_order_turns_it_red(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ib_async did with 399 and 10349, and pysystemtrade with what filled later (live-faults §1.2)."""
    state_of = state._state

    def hastily(intent, own, *rest):  # type: ignore[no-untyped-def]
        return OrderState.REJECTED if own.codes else state_of(intent, own, *rest)

    monkeypatch.setattr(state, "_state", hastily)
    red("O5 399 on a live order", tmp_path, "filled whole and called rejected", seeds=2)


def test_reports_dropped_after_1100_turn_it_red(tmp_path: Path) -> None:
    """As LEAN does: what is told while TWS is cut off from IB is dropped, and not read again (LEAN.IB 249)."""

    class Deaf(OrderDesk):
        cut = False

        def on_link(self, event, now):  # type: ignore[no-untyped-def]
            if event in (Link.CUT, Link.BACK):
                self.cut = event is Link.CUT
            else:
                super().on_link(event, now)

        def take(self, reports, now):  # type: ignore[no-untyped-def]
            if not self.cut:
                super().take(reports, now)

    never_again = setup(check_s=1e6, ack_s=1e6)
    red("C4 1100 among fills", tmp_path, "by the broker", seeds=4, desk_class=Deaf, settings=never_again)
