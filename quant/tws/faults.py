"""Faults of a TWS and of the line to it, by script and seed: which ones happen when. What they do is in two places:
quant.tws.line (bytes) and quant.tws.spoil (messages).

Pure: events in, faults out. The rows C1 to C9 and D1 to D7 of the fault matrix (notes/live-faults.md, 4a) can be played
with them; each fault names its rows.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import numpy as np

from quant.core.barsize import SECOND
from quant.errors import ParameterError
from quant.tws import order_faults
from quant.tws.codec import ANSWERS, REQUESTS
from quant.tws.order_faults import OrderFault, OrderFaults

CONNECT, GREETING = "connect", "greeting"
_ASKED: Final = tuple(entry.name for entry in REQUESTS.values())
_TOLD: Final = tuple(entry.name for entry in ANSWERS.values())
EVENTS: Final = (CONNECT, GREETING, *_ASKED, *_TOLD)
BARS: Final = ("HistoricalData", "HistoricalDataUpdate", "RealTimeBarTick")  # messages that hold bars


class Do(StrEnum):
    """What a fault does to a connection. At a request: to its answer; at an answer's message: to that, or before it."""

    SAY = "say"  # an error message of no request: 1100, 2103, 10182, ...; 1101 also ends all subscriptions (C4, C8)
    REFUSE = "refuse"  # answer with an error instead; at a message of a subscription: that ends (162, 366, 10182: D7)
    IGNORE = "ignore"  # never answer this request (C1)
    LATE = "late"  # the answer or message comes late_s virtual seconds later, others overtake it (C7, D1)
    LOSE = "lose"  # the answer or message is not sent (D6)
    REPEAT = "repeat"  # every frame twice (D3)

    CLOSE = "close"  # a FIN after what was sent, or after `size` bytes of the answer (C1, C5)
    RESET = "reset"  # a RST, what was not sent is lost; after `size` bytes of the answer (C5)
    SILENCE = "silence"  # half-open: nothing is read nor sent any more, the socket stays; likewise (C5)
    RESTART = (
        "restart"  # all clients get a RST, the request is lost; next valid ids begin with `size` again (C6)
    )
    HALF = "half"  # half of the next frame, then silence (C5)

    SPLIT = "split"  # byte by byte (C9)
    SLOW = "slow"  # one byte a virtual second, from now on (C9: slow loris)
    FLIP = "flip"  # one to three bits of each payload (C9)
    OVERSIZE = "oversize"  # announce a frame of `size` bytes, 2 GB without (C9)
    EMPTY = "empty"  # a frame of length 0 before the answer (C9)
    UNKNOWN = "unknown"  # a message of an unknown id before the answer (C9)
    FEW = "few"  # the last frame ends in the middle of its fields (C9)
    MANY = "many"  # the last frame has three fields too many (C9)
    NOT_UTF8 = "not utf-8"  # a letter of each payload becomes the byte FF (C9)
    FLOOD = "flood"  # the first frame `size` times, 100,000 without (C9)

    ACCOUNT = (
        "account"  # the accounts told are `text`: another's, a live one "U...", an advisor's "F...,U..." (C3)
    )
    DELAYED = "delayed"  # market data are delayed: 10167, type 3 and delayed ticks (D7)
    HALTED = (
        "halted"  # tick 49 (halted) with `size` as its value, behind the quotes; what trades is as it was
    )
    PARTIAL = "partial"  # a bar is told before it is whole: as the last of an answer, else before the whole one (D2)
    OLDER = "older"  # after a bar the one before it comes again (D4)
    REVISE = (
        "revise"  # another close and volume: in `size` bars of an answer; else the bar comes again so (D5)
    )
    GAP = "gap"  # `size` bars in a row are missing in the answer (D6)
    ZERO = "zero"  # `size` bars with 0 as prices, as volume, or both: text = "price", "volume" or "" (D7)


NEEDS_CODE: Final = (Do.SAY, Do.REFUSE)
ENDS: Final = (Do.CLOSE, Do.RESET, Do.SILENCE)
OF_BARS: Final = (Do.PARTIAL, Do.OLDER, Do.REVISE, Do.GAP, Do.ZERO)
# Where a fault can happen, if not anywhere.
_AT: Final[dict[Do, tuple[str, ...]]] = {
    Do.REFUSE: (*_ASKED, *BARS[1:]), Do.IGNORE: _ASKED, Do.LATE: (*_ASKED, *_TOLD), Do.ACCOUNT: ("ManagedAccounts",),
    Do.DELAYED: ("MarketDataRequest",), Do.HALTED: ("MarketDataRequest",), Do.GAP: BARS[:1], Do.OLDER: BARS[1:],
    **dict.fromkeys((Do.PARTIAL, Do.REVISE, Do.ZERO), BARS),
}  # fmt: skip
_ZEROES: Final = ("", "price", "volume")


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of a script. Either `on` an event (EVENTS) or `after_s` virtual seconds since the start, once.

    on: a request that came in, or the class of a message that goes out, both by the names of IB's protobuf.
    skip: so many events pass before it. count: how often it happens at most, 0 = each time. chance: of happening at an
    event, drawn from the seed. code, text: of the errors that "say" and "refuse" send. size, late_s: as `Do` says.
    """

    do: Do
    on: str = ""
    after_s: float | None = None
    skip: int = 0
    count: int = 1
    chance: float = 1.0
    code: int = 0
    text: str = ""
    size: int = 0
    late_s: float = 0.0

    def __post_init__(self) -> None:
        if (self.on == "") == (self.after_s is None):
            raise ParameterError("fault", self.do, 'has either "on" or "after_s"')
        if self.on and self.on not in EVENTS:
            raise ParameterError("fault.on", self.on, f"is none of {', '.join(EVENTS)}")
        if self.after_s is not None and not 0.0 <= self.after_s <= 1e9:
            raise ParameterError("fault.after_s", self.after_s, "is no number of seconds from 0 to 1e9")
        places = _AT.get(self.do)
        if places is not None and self.on not in places:
            named = ", ".join(places) if len(places) < 10 else "a request"
            raise ParameterError("fault.on", self.on, f'must name {named} for "{self.do}"')
        if self.do in NEEDS_CODE and self.code <= 0:
            raise ParameterError("fault.code", self.code, f'must be an error code for "{self.do}"')
        if self.do is Do.ZERO and self.text not in _ZEROES:
            raise ParameterError("fault.text", self.text, 'must be "price", "volume" or nothing for "zero"')
        if (self.do is Do.LATE) != (self.late_s > 0.0) or not self.late_s <= 1e9:
            raise ParameterError(
                "fault.late_s", self.late_s, 'must be seconds above 0 for "late", and for it alone'
            )
        if not 0.0 <= self.chance <= 1.0:
            raise ParameterError("fault.chance", self.chance, "must lie in 0 to 1")
        if self.skip < 0 or self.count < 0 or not 0 <= self.size < 2**31:
            raise ParameterError("fault", self.do, "must not have a negative skip, count or size")


def read(path: Path) -> list[Fault | OrderFault]:
    """Return the rows [[fault]] and [[order_fault]] of a TOML file.

    Raises ParameterError that names what is wrong, OSError.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ParameterError("faults", str(path), f"is no TOML file: {e}") from None
    of_orders = order_faults.rows(found.pop("order_fault", []))
    rows = found.pop("fault", [] if of_orders else None)
    if found or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ParameterError(
            "faults",
            str(path),
            'must hold tables [[fault]], [[order_fault]] and nothing else, e.g. do = "close"',
        )
    return [*(_fault(row) for row in rows), *of_orders]


def _fault(row: dict[str, Any]) -> Fault:
    kinds: dict[str, tuple[type, ...]] = {
        "do": (str,), "on": (str,), "after_s": (int, float), "skip": (int,), "count": (int,), "chance": (int, float),
        "code": (int,), "text": (str,), "size": (int,), "late_s": (int, float),
    }  # fmt: skip
    for name, value in row.items():
        if name not in kinds:
            known = ", ".join(f.name for f in fields(Fault))
            raise ParameterError("fault", name, f"is no setting of a fault; there are {known}")
        if isinstance(value, bool) or not isinstance(value, kinds[name]):
            raise ParameterError(f"fault.{name}", value, f"must be a {kinds[name][-1].__name__}")
    try:
        do = Do(row.get("do", ""))
    except ValueError:
        raise ParameterError("fault.do", row.get("do", ""), f"is none of {', '.join(Do)}") from None
    return Fault(**{**row, "do": do})


class Faults:
    """A script as it is played. Same script, seed and events: same faults. rng: what else is drawn.

    orders: the faults of orders among them. played: how often each kind happened so far.
    """

    def __init__(self, script: Iterable[Fault | OrderFault], seed: int = 0) -> None:
        given = list(script)
        rows = [row for row in given if isinstance(row, Fault)]
        self.scripted = bool(rows)  # what is none of orders
        self.orders = OrderFaults((row for row in given if isinstance(row, OrderFault)), seed)
        self.rng = np.random.default_rng(seed)
        self._rows = [row for row in rows if row.on]
        self._seen = [0] * len(self._rows)
        self._done = [0] * len(self._rows)
        self._timed = sorted((row for row in rows if row.after_s is not None), key=_after_ns)
        self.played: Counter[Do] = Counter()

    def at(self, event: str) -> list[Fault]:
        """Return the faults that happen at an event, in the script's order."""
        found: list[Fault] = []
        for i, row in enumerate(self._rows):
            if row.on != event:
                continue
            self._seen[i] += 1
            if self._seen[i] <= row.skip or (row.count and self._done[i] >= row.count):
                continue
            if row.chance < 1.0 and float(self.rng.random()) >= row.chance:
                continue
            self._done[i] += 1
            self.played[row.do] += 1
            found.append(row)
        return found

    def next_ns(self) -> int | None:
        """Return when the next timed fault happens, ns since the start; None without one."""
        return _after_ns(self._timed[0]) if self._timed else None

    def due(self, passed_ns: int) -> list[Fault]:
        """Return and forget the timed faults up to `passed_ns` since the start."""
        if not self._timed:
            return []
        upto = sum(_after_ns(row) <= passed_ns for row in self._timed)
        found, self._timed = self._timed[:upto], self._timed[upto:]
        self.played.update(row.do for row in found)
        return found


def _after_ns(row: Fault) -> int:
    return 0 if row.after_s is None else round(row.after_s * SECOND)
