"""What looks after a runner from within cerebro's loop: surroundings, commands, status, and when to end.

To cerebro it is a store: asked for notifications at the beginning of each pass, on the strategy's thread.
"""

from __future__ import annotations

import math
import os
import shutil
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

import backtrader as bt

from quant.core import clock
from quant.errors import BrokerError, WriteFailed
from quant.ib.account import AccountValues, account_values
from quant.ib.asking import Pending
from quant.ib.states import State
from quant.live.broker import LiveBroker
from quant.live.moments import last_close
from quant.live.run import control, view
from quant.live.run.control import Order
from quant.live.run.courier import Courier
from quant.live.run.deployment import Deployment
from quant.live.run.exchange_halt import ExchangeHalt
from quant.live.run.guards import Guards
from quant.live.run.messages import Messages, Seen
from quant.live.run.tape import Tape
from quant.live.store import Store
from quant.oms.desk.desk import OrderDesk
from quant.oms.desk.setup import Alarm, Surroundings
from quant.oms.gate import Gate
from quant.oms.limits import Account
from quant.oms.state import OrderStanding, OrderState

EACH_S: Final = 1.0
ACCOUNT_S: Final = 60.0
ONCE_S: Final = 300.0  # the longest that --once waits for books that agree, and for answers
STALL_S: Final = 10.0  # of this machine: for so long books that a start cannot read yet are no alarm
NOTES: Final = 10
READ_ONLY: Final = (
    "TWS takes no orders. Switch off: Global Configuration > API > Settings > Read-Only API; "
    "then clear the halt, or only watch: --shadow"
)
_ON_ITS_WAY: Final = (OrderState.DECIDED, OrderState.SENT, OrderState.CANCELLING, OrderState.UNKNOWN)


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """The parts of a run. simulated: TWS is one of ours, whose clock is its own. mode: paper, live or shadow.

    messages, courier: for a person who does not watch; both or none.
    """

    deployment: Deployment
    folder: Path
    store: Store
    desk: OrderDesk
    broker: LiveBroker
    simulated: bool
    tape: Tape
    mode: str = "paper"
    messages: Messages | None = None
    courier: Courier | None = None


@dataclass(frozen=True, slots=True)
class Marks:
    """What losses are measured from. session: it is the one after this moment, the end of the one before."""

    session: int
    day_start: float
    peak: float

    def moved(self, session: int, equity: float) -> Marks:
        """Return them with a later equity."""
        return Marks(session, self.day_start if session == self.session else equity, max(self.peak, equity))


class Keeper:
    """tell: takes a line for a person. show: takes each picture. once: end as soon as all is decided and sent.

    wanted: why the run is to end, "" while it is not. values: of the account at the beginning.
    """

    def __init__(
        self, cerebro: bt.Cerebro, parts: Parts, values: AccountValues, *, tell: Callable[[str], None],
        show: Callable[[dict[str, Any]], None], once: bool,
    ) -> None:  # fmt: skip
        self._cerebro, self._parts, self._values = cerebro, parts, values
        self._say, self._show, self._once = tell, show, once
        self.wanted = ""
        self.code = 0
        self.notes: deque[str] = deque(maxlen=NOTES)
        self._timer = parts.store.session.timer
        self._began = self._timer.now()
        self._next = self._ask_at = 0.0
        self._asked: Pending[AccountValues] | None = None
        self._orders = {s.ref: _shown(parts.desk, s) for s in parts.desk.orders}
        self._had = frozenset(self._orders)
        self._turn = parts.desk.changed_orders()[1]
        self._gate: Gate | None = None
        self._flatten = False  # whether all is to be closed, and is not yet
        self._cannot_write = ""
        self._guards = Guards(parts.deployment.name)
        self._agreed = False  # IB's books and ours, in this run
        self._stalled = ""  # why they did not yet
        self._stalled_at = math.inf  # when that was first told
        self._marks = _read_marks(control.get(parts.folder / control.STATUS))
        self._halts = {
            feed.con_id: ExchangeHalt(parts.store.session, feed.found.facts.spec)
            for feed in parts.store.feeds
        }
        self._complete = 0  # passes in a row in which --once had nothing left to do
        cerebro.addstore(self)
        cerebro.addstorecb(self._heard)

    @property
    def folder(self) -> Path:
        """Where status, log and commands lie."""
        return self._parts.folder

    # ------------------------------------------------------------ cerebro
    def start(self, *_: Any, **__: Any) -> None:
        """Nothing to do."""

    def stop(self) -> None:
        """Nothing to do."""

    def get_notifications(self) -> tuple[()]:
        """Look after the run, once a second; there is nothing to notify."""
        if self.wanted:
            self._cerebro.runstop()
        now = self._timer.now()
        if now >= self._next:
            self._next = now + EACH_S
            self.look()
        return ()

    def look(self) -> None:
        """Do what is due each second."""
        self._surroundings()
        self._commands()
        self._look_at_stall()
        self._look_for_halts()
        self._changes()
        self._look_at_guards()
        self._messages()
        if self._once:
            self._done()
        self.status()

    def end(self, why: str, code: int) -> None:
        """End the run at the next pass. The first reason counts."""
        if not self.wanted:
            self.wanted, self.code = why, code

    # ------------------------------------------------------------ around
    def _surroundings(self) -> None:
        store, now = self._parts.store, self._timer.now()
        if self._asked is not None and self._asked.done:
            with suppress(BrokerError):  # then the last figures hold
                self._values = self._asked.result()
            self._asked = None
        if self._asked is None and now >= self._ask_at and store.session.state is State.READY:
            self._ask_at = now + ACCOUNT_S
            self._asked = store.session.begin(account_values(self._parts.deployment.account))
        self._parts.broker.observe(self.around())

    def around(self) -> Surroundings:
        """Return what is known of account, clock and disk."""
        cash = self._values.kind != "margin"  # IB's figures do not always tell; then it must not borrow
        offset = 0.0 if self._parts.simulated else self._parts.store.clock_offset_s
        try:
            free: int | None = shutil.disk_usage(self._parts.folder).free
        except OSError:
            free = None
        known = Surroundings(
            account=Account(cash, self._values.settled_cash if cash else None), clock_offset_s=offset, free_bytes=free
        )  # fmt: skip
        if not all(feed._started and feed.live for feed in self._parts.store.feeds):
            # The feeds show prices of the past: what they make of a position is neither a loss nor a peak.
            capital = self._parts.deployment.capital
            return replace(known, equity=capital, day_start=capital, peak=capital)
        equity, session = self._parts.broker.getvalue(), self._session()
        self._marks = (
            Marks(session, equity, equity) if self._marks is None else self._marks.moved(session, equity)
        )
        return replace(known, day_start=self._marks.day_start, peak=self._marks.peak)

    def _session(self) -> int:
        now = self._parts.store.clock()
        return max(last_close(feed.instrument, now) or 0 for feed in self._parts.store.feeds)

    def _clock_trouble(self) -> list[str]:
        offset, most = self.around().clock_offset_s, self._parts.deployment.risk().clock_offset_s
        if offset is None or abs(offset) < most:
            return []
        return [
            f"this machine's clock is {offset:+.1f} s from IB's; {most:g} s are allowed. Set it from the internet"
        ]

    # ------------------------------------------------------------ commands
    def _commands(self) -> None:
        for order in control.asked(self._parts.folder):
            told = self._obey(order)
            self.tell(f"{order.who}: {order.command}: {told}")
            with suppress(WriteFailed):
                control.answer(self._parts.folder, order, told)
        if self._flatten:
            self._tell_of_flatten()

    def _obey(self, order: Order) -> str:
        desk, now = self._parts.desk, self._parts.store.clock()
        why = order.reason or f"{order.who} asked for {order.command}"
        match order.command:
            case "stop":
                self.end("stopped", 0)
                return "it stops; protective orders stay at IB"
            case "halt":
                desk.halt(why, now)
                return "halted; entries are cancelled, protective orders stay"
            case "reduce-only":
                desk.reduce(why, now)
                return "only reductions are sent from now on"
            case "clear":
                desk.clear(order.who, why, now)
                return "cleared; trading goes on once journal and IB's books agree"
            case _:
                desk.halt(why, now)
                desk.flatten(order.who, now)
                self._flatten = True
                return "halted; all that is held is closed at the market as soon as IB's books are certain"

    def _tell_of_flatten(self) -> None:
        refs = self._parts.desk.closing
        if refs is not None:
            self.tell(f"{len(refs)} orders to close what is held" if refs else "there is nothing to close")
            self._flatten = False

    # ------------------------------------------------------------ what changed
    def _changes(self) -> None:
        desk = self._parts.desk
        if desk.gate is not self._gate:
            self._gate = desk.gate
            self.tell(f"gate {desk.gate.value}" + (f": {desk.halted}" if desk.halted else ""))
        changed, self._turn = desk.changed_orders(self._turn)
        for standing in changed:
            seen, before = _shown(desk, standing), self._orders.get(standing.ref)
            if before != seen:
                self._orders[standing.ref] = seen
                dull = standing.state is OrderState.NOT_SENT and bool(desk.halted)  # a strategy that wants on
                words = view.order_words(view.order_of(desk, standing))
                self.tell(words, loud=not dull)
                more = standing.filled != (0 if before is None else before[1])
                if standing.state is OrderState.REJECTED:
                    self._look_for_read_only(standing.reason)
                self._deliver("order", words, rejected=standing.state is OrderState.REJECTED, filled=more)

    def _messages(self) -> None:
        """Hand over what a person who does not watch is to know, and a sign of life while all is well."""
        parts, session = self._parts, self._parts.store.session
        seen = Seen(
            self._timer.now(), session.state is State.READY, "" if session.trouble is None else str(session.trouble),
            parts.desk.halted, self._reducing(),
        )  # fmt: skip
        self._deliver("look", seen)
        if self._marks is not None:
            marks = self._marks
            self._deliver("day", marks.session, marks.day_start, parts.broker.getvalue(), parts.store.clock())
        if parts.courier is not None and seen.well:
            parts.courier.well(seen.at_s)

    def _reducing(self) -> dict[str, str]:
        desk = self._parts.desk
        found = {"the deployment": desk.reducing} if desk.reducing else {}
        symbols = {feed.con_id: feed.instrument.symbol for feed in self._parts.store.feeds}
        return found | {
            symbols.get(con_id, str(con_id)): why for con_id, why in desk.halted_instruments.items()
        }

    def _deliver(self, event: str, *args: Any, **kwargs: Any) -> None:
        """Send what an event is worth. It only queues."""
        parts = self._parts
        if parts.messages is not None and parts.courier is not None:
            for message in getattr(parts.messages, event)(*args, **kwargs):
                parts.courier.tell(message)

    def _heard(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Take what the store tells; noise goes to the log alone."""
        if msg == "alarm" and isinstance(args[0], Alarm):
            self.tell(f"{'STOP' if self._stops(args[0]) else 'note'}: {args[0].text}")
            if args[0].bare:
                self._deliver("bare", args[0].text)
        else:
            text = " ".join(str(arg) for arg in args if str(arg))
            self.tell(f"{msg}: {text}", loud=msg in ("state", "data_gap", "delayed", "ahead"))
            if msg == "notice" and self._parts.mode != "shadow":
                self._look_for_read_only(
                    text
                )  # TWS does not show orders then either: books would never agree

    def _look_for_read_only(self, told: str) -> None:
        """Halt where TWS says that its API takes no orders."""
        if "read-only" in told.casefold() and not self._parts.desk.halted:
            self._parts.desk.halt(READ_ONLY, self._parts.store.clock())

    def _stops(self, alarm: Alarm) -> bool:
        """Return whether a person is to be alarmed; by a start that only waits for IB's books not yet."""
        desk, now = self._parts.desk, self._timer.now()
        if not alarm.stops or self._agreed or desk.halted or desk.reducing or alarm.con_id:
            return alarm.stops
        self._stalled_at = min(self._stalled_at, now)
        if now - self._stalled_at >= STALL_S:
            return True
        self._stalled = alarm.text
        return False

    def _look_at_stall(self) -> None:
        """Alarm a person after all, where a start's books have not come soon after."""
        self._agreed = self._agreed or self._parts.desk.settled
        if self._agreed:
            self._stalled = ""
        elif self._stalled and self._timer.now() - self._stalled_at >= STALL_S:
            self.tell(f"STOP: {self._stalled}")
            self._stalled = ""

    def _look_at_guards(self) -> None:
        """Alarm a person where something is held without the stop that it is to have."""
        for text in self._guards.look(self._strategies(), self._parts.desk):
            self.tell(f"STOP: {text}")
            self._deliver("bare", text)

    def _look_for_halts(self) -> None:
        """Let IB say whether the exchange has halted what no bar comes of."""
        store = self._parts.store
        if store.session.state is State.READY:
            silent = {f.con_id for f in store.feeds if view.silent_since(f, store.clock()) is not None}
            for con_id, halt in self._halts.items():
                halt.look(con_id in silent)

    def tell(self, text: str, *, loud: bool = True) -> None:
        """Put a line into the log, and where a person sees it."""
        line = f"{view.moment(self._parts.store.clock())}  {text}"
        self._parts.tape.note(text)
        if loud:
            self.notes.append(line)
            self._say(line)
        with suppress(OSError), (self._parts.folder / control.LOG).open("a", encoding="utf-8") as log:
            log.write(line + "\n")

    # ------------------------------------------------------------ --once
    def _done(self) -> None:
        """End when all bars are decided upon and every order is answered."""
        store, desk = self._parts.store, self._parts.desk
        caught_up = all(len(f) and f.next_end is None and not f.incoming.catching_up for f in store.feeds)
        on_its_way = [s.ref for s in desk.open_orders if s.state in _ON_ITS_WAY]
        if desk.halted:
            self.end(f"halted: {desk.halted}", 6)
        self._complete = self._complete + 1 if caught_up and desk.settled and not on_its_way else 0
        if self._complete >= 2:  # the strategy had a pass in between
            since = takewhile(lambda standing: standing.ref not in self._had, desk.newest_orders())
            new = [standing for standing in since if standing.state is not OrderState.NOT_SENT]
            sent = f"{len(new)} order{'s' * (len(new) > 1)} sent" if new else "no new order"
            self.end(f"decided, {sent}; IB's books and ours agree", 0)
        elif self._timer.now() - self._began > ONCE_S:
            left = f"; not answered: {', '.join(on_its_way)}" if on_its_way else ""
            self.end(f"not done within {ONCE_S:g} s{left}", 5)

    # ------------------------------------------------------------ status
    def status(self, ended: str = "") -> None:
        """Write the status, and show it. ended: why the run is over."""
        parts = self._parts
        if ended:
            self._deliver("ended", ended, self.code)
        else:
            parts.tape.alive()
        seen = view.picture(
            parts.deployment, parts.store.session, parts.desk, parts.broker, parts.store.feeds, self._wants(),
            {con_id: halt.told for con_id, halt in self._halts.items()}, parts.store.clock(), self.notes,
        )  # fmt: skip
        seen["mode"] = parts.mode
        seen["why"] = [*self._guards.why, *self._clock_trouble(), *seen["why"]]
        seen["marks"] = None if self._marks is None else asdict(self._marks)
        seen |= {"pid": os.getpid(), "written": clock.now().timestamp(), "ended": ended}
        try:
            control.renew(parts.folder / control.STATUS, seen)
            self._cannot_write = ""
        except WriteFailed as e:  # trading does not depend on it; the disk has a brake of its own
            if not self._cannot_write:
                self._cannot_write = str(e)
                self._say(str(e))
        self._show(seen)

    def _strategies(self) -> list[Any]:
        return list(getattr(self._cerebro, "runningstrats", ()))

    def _wants(self) -> dict[int, float]:
        """Return the last target of each instrument, of a q.Strategy."""
        found = {}
        for strategy in self._strategies():
            for feed in getattr(strategy, "_feeds", ()):
                if len(feed.data):
                    found[feed.data.con_id] = float(feed.target.last)
        return found


def _read_marks(seen: dict[str, Any]) -> Marks | None:
    """Return the marks of the last status: a restart must not forget what a day has lost."""
    try:
        return Marks(**seen["marks"])
    except (KeyError, TypeError):
        return None


def _shown(
    desk: OrderDesk, standing: OrderStanding
) -> tuple[OrderState, Decimal, float | None, float | None]:
    """Return what of an order a person is told of when it changes: state, quantity filled, stop and limit."""
    ticket = desk.intent(standing.ref).ticket
    return standing.state, standing.filled, ticket.stop, ticket.limit
