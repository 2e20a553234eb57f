"""Faults of orders, by script and seed: rows O1 to O12 of the fault matrix, and what of C6, C7 and K4 a TWS does.

Pure: events in, faults and other events out; quant.tws.serve.mishaps lets them happen. In a file of faults they are
tables [[order_fault]]. Each cites its evidence in ROWS; "§" is of the notes on live faults.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, NamedTuple

import numpy as np

from quant.core.barsize import SECOND
from quant.errors import ParameterError
from quant.tws.exchange.orders import Changed, Charged, Event, Executed, Key, Opened, key_of

PLACE, MODIFY, CANCEL, FILL, START = "place", "modify", "cancel", "fill", "StartApiRequest"
SNAPSHOTS: Final = (
    "OpenOrdersRequest", "AllOpenOrdersRequest", "CompletedOrdersRequest", "ExecutionRequest", "PositionsRequest",
)  # fmt: skip
_ORDERS: Final = (PLACE, MODIFY)
_ANY: Final = (PLACE, MODIFY, CANCEL, FILL)


class OrderDo(StrEnum):
    """What a fault does."""

    # what is told of an order
    MUTE = "mute"  # openOrder and orderStatus are not told for `seconds`, 0 = never
    LOSE_STATUS = "lose_status"  # orderStatus is never told
    REPEAT = "repeat"  # everything, or a snapshot, `times` times
    REVERSE = "reverse"  # what happens at one moment is told backwards
    EXEC_FIRST = "exec_first"  # executions before openOrder and orderStatus
    LOSE_EXEC = "lose_exec"  # fills only in reqExecutions, commissions too
    LATE_FEE = "late_fee"  # commissions `seconds` later, 0 = never
    FEE_FIRST = "fee_first"  # the commission before its execution
    REPEAT_FEE = "repeat_fee"
    # what is said besides, or instead
    REJECT = "reject"  # code and text instead of the order
    WARN = "warn"  # code and text, and the order lives
    PRESET = "preset"  # TIF becomes DAY, with 10349
    REFUSE_CANCEL = "refuse_cancel"  # code and text instead of the cancel, and the order lives
    # what becomes of an order
    PARTS = "parts"  # each fill is cut to `share` of what is left; whole units unless `fractional`
    CORRECT = "correct"  # `seconds` after a fill: its price by `price_by`, or its quantity to `quantity`
    BUST = "bust"  # `seconds` after a fill: it never was
    CANCELLED = "cancelled"  # TWS cancels it by itself after `seconds`: 202
    INACTIVE = "inactive"  # Inactive for `seconds`, 0 = for ever, then it goes its way
    STUCK = "stuck"  # PreSubmitted for `seconds`
    LOCATE = "locate"  # the same, as IB looks for shares to lend: 404
    CAP = "cap"  # IB caps its price: mktCapPrice and 2161
    SLOW_CANCEL = "slow_cancel"  # PendingCancel for `seconds`
    CANCEL_FILLS = "cancel_fills"  # PendingCancel, and `seconds` later it fills
    FILL_AFTER_CANCEL = "fill_after_cancel"  # Cancelled and 202, and `seconds` later it fills
    DROP = "drop"  # never seen again, and what else comes within `seconds`
    LATE = "late"  # reaches the books `seconds` later, whoever is still connected
    TWIN = "twin"  # a change makes a second live order under the same id
    # what others do
    HAND = "hand"  # somebody orders `quantity` of `symbol` in TWS, at `limit` or the market
    HAND_CANCEL = "hand_cancel"  # somebody cancels the newest open order in TWS
    HAND_MODIFY = "hand_modify"  # somebody sets its quantity, or its limit
    HAND_CLOSE = "hand_close"  # somebody closes the position in `symbol`
    OTHER_CLIENT = "other_client"  # a client with the id `client` orders like HAND
    LIQUIDATE = "liquidate"  # IB closes the position in `symbol`
    ASSIGN = "assign"  # an option's assignment brings `quantity` of `symbol` at `limit`
    SPLIT = "split"  # `times` for one of `symbol`
    # what is asked and not answered in full
    NO_END = "no_end"  # a snapshot without its End
    EMPTY = "empty"  # a snapshot's End, and nothing before it; one that is empty anyway does not count
    # what the program does
    NIGHTLY = (
        "nightly_restart"  # all connections end; orders of the last `lost_s` are gone; down for `seconds`
    )
    RELOGIN = "relogin"  # startApi is answered `seconds` later
    CLOCK = "clock"  # the time that is told is `seconds` off


class Row(NamedTuple):
    """row: of the fault matrix. on: where a fault of this kind may happen, the usual one first; "" = by time only."""

    row: str
    on: tuple[str, ...]
    evidence: str


_STATUS_DOC = "IB, order_submission.html: orderStatus may lack and often comes twice"
_HAND_SEEN = "nautilus #3715: closures by hand went undetected; §1.2 'manual orders'"
ROWS: Final = {
    OrderDo.MUTE: Row("O1", _ORDERS, "LEAN.IB #93, #252: orders without any acknowledgement"),
    OrderDo.LOSE_STATUS: Row("O1", _ORDERS, _STATUS_DOC),
    OrderDo.REPEAT: Row("O1, O2", (*_ORDERS, *SNAPSHOTS), _STATUS_DOC),
    OrderDo.REVERSE: Row(
        "O1", _ORDERS, "§1.2 'out-of-order callbacks': backtrader's IBBroker breaks on them"
    ),
    OrderDo.EXEC_FIRST: Row(
        "O1, O2", _ORDERS, "nautilus makes OrderAccepted up where a fill comes first (§1.2)"
    ),
    OrderDo.LOSE_EXEC: Row("O2", _ORDERS, "LEAN.IB #249: fills after 1100 were never read again"),
    OrderDo.PARTS: Row(
        "O2", _ORDERS, "§1.2 'partial fills': LEAN lost fractions, IBBroker needs all to line up"
    ),
    OrderDo.LATE_FEE: Row("O3", _ORDERS, "§1.2 'commission late': nautilus and LEAN withhold the fill"),
    OrderDo.FEE_FIRST: Row("O3", _ORDERS, "§1.2 'out-of-order callbacks'"),
    OrderDo.REPEAT_FEE: Row("O3", _ORDERS, "§1.2 'duplicate execDetails'"),
    OrderDo.CORRECT: Row("O4", (FILL,), "ib_insync #364; IB: a correction differs after the last period"),
    OrderDo.BUST: Row("O4", (FILL,), "ib_insync #364; §4a O4"),
    OrderDo.REJECT: Row("O5, O12", _ORDERS, "IB, message_codes.html: 103, 109, 110, 163, 201, 203, 382, 383"),
    OrderDo.WARN: Row(
        "O5", (*_ORDERS, CANCEL), "ib_async #191, #217; pysystemtrade #1580: the 'cancelled' filled"
    ),
    OrderDo.PRESET: Row("O5", _ORDERS, "ib_async #217: 10349 on a live order"),
    OrderDo.REFUSE_CANCEL: Row(
        "O5", (CANCEL,), "LEAN.IB #248: 25 of 27 cancels that timed out were 10147, 10148"
    ),
    OrderDo.CANCELLED: Row("O5", _ORDERS, "§1.2 '201/202': 202 can follow a partial fill"),
    OrderDo.INACTIVE: Row("O6", _ORDERS, "§4a O6; ib_insync #363: it may still fill"),
    OrderDo.STUCK: Row(
        "O6", _ORDERS, "IB, order_submission.html: PreSubmitted until it is elected; message 399"
    ),
    OrderDo.SLOW_CANCEL: Row("O6", (CANCEL,), "IB, order_submission.html: PendingCancel may still fill"),
    OrderDo.CANCEL_FILLS: Row("O6", (CANCEL,), "IB, order_submission.html: PendingCancel may still fill"),
    OrderDo.FILL_AFTER_CANCEL: Row("O6", (CANCEL,), "§4a O6; pysystemtrade #1580"),
    OrderDo.DROP: Row("O7", _ORDERS, "LEAN.IB #93, #252; IBAutomater #105: 5 of 10 orders arrived"),
    OrderDo.LATE: Row("O8", _ORDERS, "§4b: of 1,000 decisions 15 were saved by 103"),
    OrderDo.TWIN: Row(
        "O9", (MODIFY,), "nautilus #4564: one change during 1100, two live orders, two perm ids"
    ),
    OrderDo.HAND: Row("O10", ("", *_ANY), _HAND_SEEN),
    OrderDo.HAND_CANCEL: Row("O10", ("", *_ANY), _HAND_SEEN),
    OrderDo.HAND_MODIFY: Row("O10", ("", *_ANY), _HAND_SEEN),
    OrderDo.HAND_CLOSE: Row("O10", ("", *_ANY), _HAND_SEEN),
    OrderDo.OTHER_CLIENT: Row(
        "O10", ("", *_ANY), "nautilus #4247: a fill went to another order of the same id"
    ),
    OrderDo.LIQUIDATE: Row("O10", ("", *_ANY), "IB, Execution.liquidation"),
    OrderDo.ASSIGN: Row("O10", ("", *_ANY), "§4a O10; no public log found"),
    OrderDo.SPLIT: Row("O10", ("", *_ANY), "§1.2 'delisted / conId change / split'"),
    OrderDo.NO_END: Row(
        "O11", SNAPSHOTS, "§1.2 'failed snapshot read as nothing': nautilus generate_fill_reports"
    ),
    OrderDo.EMPTY: Row("O11", SNAPSHOTS, "§4a O11: positions empty because not loaded yet"),
    OrderDo.LOCATE: Row("O12", _ORDERS, "IB, message_codes.html: 404"),
    OrderDo.CAP: Row("O12", _ORDERS, "IB, orderStatus.mktCapPrice; message 2161"),
    OrderDo.NIGHTLY: Row(
        "C6", ("", *_ANY), "LEAN.IB #242: orders of the last second vanish, their ids come again"
    ),
    OrderDo.RELOGIN: Row("C7", (START,), "LEAN.IB #246: three days of rejected orders after a weekly log-in"),
    OrderDo.CLOCK: Row(
        "K4", ("", *_ANY), "§1.2 'DST/half days, clock drift': IBStore asks for the offset each 60 s"
    ),
}
_NEEDS_CODE: Final = (OrderDo.REJECT, OrderDo.WARN, OrderDo.REFUSE_CANCEL)
_NEEDS_SYMBOL: Final = (
    OrderDo.HAND, OrderDo.HAND_CLOSE, OrderDo.OTHER_CLIENT, OrderDo.LIQUIDATE, OrderDo.ASSIGN, OrderDo.SPLIT,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class OrderFault:
    """One row of a script: `on` an event (as ROWS says; the usual one by itself) or `after_s` seconds since the start.

    skip, count, chance: as of quant.tws.faults.Fault. The others: as OrderDo says, in virtual seconds, price units and
    units of the symbol; quantity is signed for orders of others.
    """

    do: OrderDo
    on: str = ""
    after_s: float | None = None
    skip: int = 0
    count: int = 1
    chance: float = 1.0
    seconds: float = 0.0
    lost_s: float = 1.0
    code: int = 0
    text: str = ""
    times: int = 4
    share: float = 0.5
    fractional: bool = False
    price_by: float = 0.0
    quantity: float | None = None
    symbol: str = ""
    limit: float | None = None
    client: int = 99

    def __post_init__(self) -> None:
        usual, allowed = ROWS[self.do].on[0], ROWS[self.do].on
        if not self.on and self.after_s is None:
            object.__setattr__(self, "on", usual)
        timed = self.after_s is not None
        if timed and (self.on or "" not in allowed):
            raise ParameterError(
                "order_fault.after_s", self.after_s, f'is not for "{self.do}" {self.on}'.rstrip()
            )
        if not timed and (not self.on or self.on not in allowed):
            known = ", ".join(a for a in allowed if a)
            also = " or after_s" if "" in allowed else ""
            raise ParameterError("order_fault.on", self.on, f'is none of {known}{also} for "{self.do}"')
        if self.do in _NEEDS_CODE and self.code <= 0:
            raise ParameterError("order_fault.code", self.code, f'must be an error code for "{self.do}"')
        if self.do in _NEEDS_SYMBOL and not self.symbol:
            raise ParameterError("order_fault.symbol", self.symbol, f'must be given for "{self.do}"')
        if not 0.0 <= self.chance <= 1.0:
            raise ParameterError("order_fault.chance", self.chance, "must lie in 0 to 1")
        if not 0.0 < self.share <= 1.0:
            raise ParameterError("order_fault.share", self.share, "must lie above 0 and at most at 1")
        least = -1e9 if self.do == OrderDo.CLOCK else 0.0
        for name in ("seconds", "lost_s", "after_s"):
            value = getattr(self, name)
            if value is not None and not least <= value <= 1e9:
                raise ParameterError(f"order_fault.{name}", value, "is no number of seconds up to 1e9")
        if self.skip < 0 or self.count < 0 or self.times < 1:
            raise ParameterError(
                "order_fault", self.do, "must not have a negative skip or count, or times below 1"
            )

    @property
    def delay(self) -> int:
        """`seconds` in ns."""
        return round(self.seconds * SECOND)


# What happens with the event that draws it; the others are counted where they take effect.
_AT_ONCE: Final = (
    OrderDo.DROP, OrderDo.LATE, OrderDo.REJECT, OrderDo.REFUSE_CANCEL, OrderDo.STUCK, OrderDo.TWIN, OrderDo.RELOGIN,
)  # fmt: skip
_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "do": (str,), "on": (str,), "after_s": (int, float), "skip": (int,), "count": (int,), "chance": (int, float),
    "seconds": (int, float), "lost_s": (int, float), "code": (int,), "text": (str,), "times": (int,),
    "share": (int, float), "fractional": (bool,), "price_by": (int, float), "quantity": (int, float),
    "symbol": (str,), "limit": (int, float), "client": (int,),
}  # fmt: skip


def rows(found: Any) -> list[OrderFault]:
    """Return the tables [[order_fault]] of a TOML file. Raises ParameterError that names what is wrong."""
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise ParameterError("order_fault", found, 'must be tables [[order_fault]], e.g. do = "drop"')
    return [_fault(row) for row in found]


def _fault(row: dict[str, Any]) -> OrderFault:
    for name, value in row.items():
        if name not in _KINDS:
            known = ", ".join(f.name for f in fields(OrderFault))
            raise ParameterError(
                "order_fault", name, f"is no setting of a fault of orders; there are {known}"
            )
        if not isinstance(value, _KINDS[name]) or (isinstance(value, bool) and name != "fractional"):
            raise ParameterError(f"order_fault.{name}", value, f"must be a {_KINDS[name][-1].__name__}")
    try:
        do = OrderDo(row.get("do", ""))
    except ValueError:
        known = ", ".join(OrderDo)
        raise ParameterError("order_fault.do", row.get("do", ""), f"is none of {known}") from None
    return OrderFault(**{**row, "do": do})


@dataclass(frozen=True, slots=True)
class Spoken:
    """What is told now, and what is told later: (ns from now, event)."""

    now: list[Event]
    later: list[tuple[int, Event]] = field(default_factory=list)


class OrderFaults:
    """A script as it is played. Same script, seed and events: same faults.

    voices: what was drawn for single orders and bends what is told of them. deaf_until: orders are swallowed until
    then, UTC ns. clock_off: ns by which the time that is told is off. timed: (ns since the start, what happens then).
    played: how often each kind took effect so far; one that was drawn for an order may find nothing to do.
    """

    def __init__(self, script: Iterable[OrderFault], seed: int = 0) -> None:
        script = list(script)
        self._rng = np.random.default_rng(seed)
        self._rows = [row for row in script if row.after_s is None]
        self._seen = [0] * len(self._rows)
        self._done = [0] * len(self._rows)
        self.timed = [(round(row.after_s * SECOND), row) for row in script if row.after_s is not None]
        self.voices: dict[Key, list[OrderFault]] = {}
        self.deaf_until = 0
        self.clock_off = 0
        self.played: Counter[OrderDo] = Counter()

    def at(self, event: str, idle: Sequence[OrderDo] = ()) -> list[OrderFault]:
        """Return the faults that happen at an event, in the script's order. idle: kinds that find nothing to do."""
        found = []
        for i, row in enumerate(self._rows):
            if row.on != event or row.do in idle:
                continue
            self._seen[i] += 1
            if self._seen[i] <= row.skip or (row.count and self._done[i] >= row.count):
                continue
            if row.chance < 1.0 and float(self._rng.random()) >= row.chance:
                continue
            self._done[i] += 1
            if row.do in _AT_ONCE:
                self.played[row.do] += 1
            found.append(row)
        return found

    def snapshot(self, name: str, messages: Sequence[Any]) -> list[Any]:
        """Return what is told instead of a snapshot, the last message of which is its End."""
        out = list(messages)
        for fault in self.at(name, () if len(out) > 1 else (OrderDo.EMPTY,)):
            if fault.do == OrderDo.NO_END:
                out = out[:-1]
            elif fault.do == OrderDo.EMPTY:
                out = out[-1:]
            else:
                out = [m for m in out[:-1] for _ in range(fault.times)] + out[-1:]
            self.played[fault.do] += len(messages) > 1 or fault.do == OrderDo.NO_END
        return out

    def part(self, key: Key, left: Decimal) -> Decimal:
        """Return how much of what is left of an order fills at once."""
        for fault in self.voices.get(key, ()):
            if fault.do == OrderDo.PARTS:
                piece = left * Decimal(str(fault.share))
                unit = Decimal("0.0001") if fault.fractional else Decimal(1)
                piece = (piece / unit).to_integral_value() * unit
                # The last hundredth of an order is not cut again.
                cut = left > 1 and 0 < piece < left
                self.played[fault.do] += cut
                return piece if cut else left
        return left

    def spoken(self, events: Sequence[Event]) -> Spoken:
        """Return what is told of what happened at one moment, after each order's faults."""
        found = Spoken(list(events))
        for key in dict.fromkeys(key_of(event) for event in events) if self.voices else ():
            for fault in self.voices.get(key, ()):
                before = list(found.now)
                _bend(found, key, fault)
                self.played[fault.do] += found.now != before
        return found


def _bend(told: Spoken, key: Key, fault: OrderFault) -> None:
    """Let one fault change what is told of one order."""
    places = [i for i, event in enumerate(told.now) if key_of(event) == key]
    mine = [told.now[i] for i in places]
    kinds = _LOST.get(fault.do)
    if kinds is not None:
        lost = [event for event in mine if isinstance(event, kinds)]
        told.now[:] = [e for e in told.now if not (key_of(e) == key and isinstance(e, kinds))]
        if fault.delay and fault.do in (OrderDo.MUTE, OrderDo.LATE_FEE):
            told.later.extend((fault.delay, event) for event in lost)
    elif fault.do in (OrderDo.REVERSE, OrderDo.EXEC_FIRST, OrderDo.FEE_FIRST):
        for i, event in zip(places, _ordered(mine, fault.do), strict=True):
            told.now[i] = event
    elif fault.do in (OrderDo.REPEAT, OrderDo.REPEAT_FEE):
        again = (Opened, Changed, Executed, Charged) if fault.do == OrderDo.REPEAT else (Charged,)
        times = fault.times if fault.do == OrderDo.REPEAT else 2
        told.now[:] = [
            e for e in told.now for _ in range(times if key_of(e) == key and isinstance(e, again) else 1)
        ]


_LOST: Final[dict[OrderDo, tuple[type, ...]]] = {
    OrderDo.MUTE: (Opened, Changed), OrderDo.LOSE_STATUS: (Changed,), OrderDo.LOSE_EXEC: (Executed, Charged),
    OrderDo.LATE_FEE: (Charged,),
}  # fmt: skip


def _ordered(events: list[Event], do: OrderDo) -> list[Event]:
    if do == OrderDo.REVERSE:
        return events[::-1]
    if do == OrderDo.EXEC_FIRST:
        return sorted(events, key=lambda e: not isinstance(e, Executed | Charged))
    out: list[Event] = []
    for event in events:  # each commission goes before the execution that it bills
        at = len(out)
        if isinstance(event, Charged):
            bills = [i for i, e in enumerate(out) if isinstance(e, Executed) and e.exec_id == event.exec_id]
            at = bills[0] if bills else at
        out.insert(at, event)
    return out
