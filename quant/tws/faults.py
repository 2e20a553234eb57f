"""Faults of a TWS and of the line to it, by script and seed: which ones happen when, and what they do to bytes.

Pure: events and frames in, faults and bytes out. The rows they make possible are C1, C2, C4, C5 and C7 to C9 of the
fault matrix, and of its data rows the refusals, the lost and the doubled.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import numpy as np

from quant.core.barsize import SECOND
from quant.errors import ParameterError
from quant.tws.codec import REQUESTS

CONNECT, GREETING = "connect", "greeting"
EVENTS: Final = (CONNECT, GREETING, *(entry.name for entry in REQUESTS.values()))


class Do(StrEnum):
    """What a fault does to a connection."""

    SAY = "say"  # an error message of no request: 1100, 2103, ...; 1101 also ends all subscriptions
    REFUSE = "refuse"  # answer this request with an error instead
    IGNORE = "ignore"  # never answer this request
    CLOSE = "close"  # a FIN after what was sent
    RESET = "reset"  # a RST, what was not sent is lost
    SILENCE = "silence"  # half-open: nothing is read nor sent any more, the socket stays
    HALF = "half"  # half of the next frame, then silence
    SPLIT = "split"  # the next answer byte by byte
    REPEAT = "repeat"  # every frame of the next answer twice
    LOSE = "lose"  # the next answer is not sent
    FLIP = "flip"  # one to three bits of the next answer's payload
    OVERSIZE = "oversize"  # announce a frame of 2 GB


_NEEDS_CODE: Final = (Do.SAY, Do.REFUSE)
_OF_REQUESTS: Final = (Do.REFUSE, Do.IGNORE)


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of a script. Either `on` an event (EVENTS) or `after_s` virtual seconds since the start, once.

    skip: so many events pass before it. count: how often it happens at most, 0 = each time. chance: of happening at an
    event, drawn from the seed. code, text: of the errors that "say" and "refuse" send.
    """

    do: Do
    on: str = ""
    after_s: float | None = None
    skip: int = 0
    count: int = 1
    chance: float = 1.0
    code: int = 0
    text: str = ""

    def __post_init__(self) -> None:
        if (self.on == "") == (self.after_s is None):
            raise ParameterError("fault", self.do, 'has either "on" or "after_s"')
        if self.on and self.on not in EVENTS:
            raise ParameterError("fault.on", self.on, f"is none of {', '.join(EVENTS)}")
        if self.after_s is not None and not 0.0 <= self.after_s <= 1e9:
            raise ParameterError("fault.after_s", self.after_s, "is no number of seconds from 0 to 1e9")
        if self.do in _OF_REQUESTS and self.on in ("", CONNECT, GREETING):
            raise ParameterError("fault.on", self.on, f'must name a request for "{self.do}"')
        if self.do in _NEEDS_CODE and self.code <= 0:
            raise ParameterError("fault.code", self.code, f'must be an error code for "{self.do}"')
        if not 0.0 <= self.chance <= 1.0:
            raise ParameterError("fault.chance", self.chance, "must lie in 0 to 1")
        if self.skip < 0 or self.count < 0:
            raise ParameterError("fault", self.do, "must not have a negative skip or count")


def read(path: Path) -> list[Fault]:
    """Return the rows [[fault]] of a TOML file. Raises ParameterError that names what is wrong, OSError."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ParameterError("faults", str(path), f"is no TOML file: {e}") from None
    rows = found.pop("fault", None)
    if found or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ParameterError(
            "faults", str(path), 'must hold tables [[fault]] and nothing else, e.g. do = "close"'
        )
    return [_fault(row) for row in rows]


def _fault(row: dict[str, Any]) -> Fault:
    kinds: dict[str, tuple[type, ...]] = {
        "do": (str,), "on": (str,), "after_s": (int, float), "skip": (int,), "count": (int,), "chance": (int, float),
        "code": (int,), "text": (str,),
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
    """A script as it is played. Same script, seed and events: same faults."""

    def __init__(self, script: Iterable[Fault], seed: int = 0) -> None:
        script = list(script)
        self._rng = np.random.default_rng(seed)
        self._rows = [row for row in script if row.on]
        self._seen = [0] * len(self._rows)
        self._done = [0] * len(self._rows)
        self._timed = sorted((row for row in script if row.after_s is not None), key=_after_ns)

    def at(self, event: str) -> list[Fault]:
        """Return the faults that happen at an event, in the script's order."""
        found = []
        for i, row in enumerate(self._rows):
            if row.on != event:
                continue
            self._seen[i] += 1
            if self._seen[i] <= row.skip or (row.count and self._done[i] >= row.count):
                continue
            if row.chance < 1.0 and float(self._rng.random()) >= row.chance:
                continue
            self._done[i] += 1
            found.append(row)
        return found

    def next_ns(self) -> int | None:
        """Return when the next timed fault happens, ns since the start; None without one."""
        return _after_ns(self._timed[0]) if self._timed else None

    def due(self, passed_ns: int) -> list[Fault]:
        """Return and forget the timed faults up to `passed_ns` since the start."""
        upto = sum(_after_ns(row) <= passed_ns for row in self._timed)
        found, self._timed = self._timed[:upto], self._timed[upto:]
        return found

    def flip(self, payload: bytes) -> bytes:
        """Return a payload with one to three bits turned; an empty one stays."""
        found = bytearray(payload)
        for _ in range(int(self._rng.integers(1, 4)) if found else 0):
            found[int(self._rng.integers(len(found)))] ^= 1 << int(self._rng.integers(8))
        return bytes(found)


def _after_ns(row: Fault) -> int:
    return 0 if row.after_s is None else round(row.after_s * SECOND)


class Line:
    """What faults have made of one connection's outgoing bytes. silent: nothing passes any more, either way."""

    def __init__(self, faults: Faults) -> None:
        self.silent = False
        self._faults = faults
        self._next: Do | None = None

    def spoil(self, do: Do) -> None:
        """Spoil the next answer, or end all of them."""
        if do == Do.SILENCE:
            self.silent = True
        else:
            self._next = do

    def send(self, frames: Sequence[bytes]) -> list[bytes]:
        """Return what goes out instead of an answer's frames, in pieces to be sent one by one."""
        if self.silent or not frames:
            return []
        do, self._next = self._next, None
        if do == Do.LOSE:
            return []
        if do == Do.REPEAT:
            return [b"".join(frame * 2 for frame in frames)]
        if do == Do.FLIP:
            return [b"".join(frame[:4] + self._faults.flip(frame[4:]) for frame in frames)]
        if do == Do.SPLIT:
            return [bytes([byte]) for frame in frames for byte in frame]
        if do == Do.OVERSIZE:
            return [b"\x7f\xff\xff\xff", *frames]
        if do == Do.HALF:
            self.silent = True
            return [frames[0][: len(frames[0]) // 2]]
        return [b"".join(frames)]
