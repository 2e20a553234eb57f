"""What a series was asked for and when, and which of its bars were known at a moment. Pure.

A manifest's request says, as "from" and "to" (UTC ns), for which window [from, to) it made the bars complete. A
bar is known since the first request whose window holds its start. One that is inserted into time that was
covered before has a revision without values instead: it was known to be absent. Bars are never deleted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from quant.core.bars import COLUMNS
from quant.errors import ParameterError
from quant.store.coverage import Interval
from quant.store.merge import Columns
from quant.store.parquet import Array

Request = dict[str, Any]

_ALWAYS: Final = (int(np.iinfo(np.int64).min), int(np.iinfo(np.int64).max))
_OWN: Final = frozenset({"at", "from", "to", "asked", "parts"})  # what differs among requests of one pull


# ---------------------------------------------------------------- requests
def iso_ns(text: str) -> int:
    """Return an ISO moment as UTC ns; one without a zone is UTC."""
    moment = datetime.fromisoformat(text)
    utc = moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
    return int(np.datetime64(utc, "ns").astype(np.int64))


def parts(request: Mapping[str, Any]) -> list[tuple[int, int, int]]:
    """Return (at, from, to) of a request, or of each that was joined in its entry, all UTC ns.

    Older imports name the starts of their first and last bar as text. Without either, all bars are meant.
    """
    if "parts" in request:
        return [(at, a, b) for at, a, b in request["parts"]]
    first, last = request.get("from"), request.get("to")
    if isinstance(first, str) and isinstance(last, str):
        first, last = iso_ns(first), iso_ns(last) + 1
    at = iso_ns(request["at"])
    return [(at, *_ALWAYS) if first is None or last is None else (at, first, last)]


def stamped(held: Sequence[Request], request: Mapping[str, Any]) -> Request:
    """Return `request` as it is entered behind `held`. Raises ParameterError without "kind" or a readable "at".

    Where the clock was set back, it takes the moment of the entry before: what came later was not known earlier.
    """
    new = dict(request)
    try:
        _, at = new["kind"], iso_ns(new["at"])
    except (KeyError, TypeError, ValueError):
        raise ParameterError("request", new, 'needs "kind" and "at" (UTC, ISO)') from None
    before = parts(held[-1])[-1][0] if held else at
    if at < before:
        micros = np.datetime64(before, "ns").astype("datetime64[us]").item()
        new["at"] = micros.replace(tzinfo=UTC).isoformat()
    return new


def entered(
    held: Sequence[Request], request: Request, window: Interval, *, revised: bool
) -> tuple[Request, ...]:
    """Return `held` and `request`, which comes from `stamped`, with its window.

    Requests of one "pull" that follow each other and revise nothing make one entry: "asked" is their sum, "from"
    and "to" span them, and "parts" keeps [at, from, to] of each.
    """
    new = {**request, "from": window[0], "to": window[1]}
    last = held[-1] if held else {}
    if revised or "pull" not in new or _facts(last) != _facts(new):
        return (*held, new)
    joined = {**last, "from": min(last["from"], new["from"]), "to": max(last["to"], new["to"])}
    if "asked" in new:
        joined["asked"] = last.get("asked", 0) + new["asked"]
    joined["parts"] = [list(p) for p in (*parts(last), *parts(new))]
    return (*held[:-1], joined)


def _facts(request: Request) -> Request:
    return {k: v for k, v in request.items() if k not in _OWN}


def versions(requests: Sequence[Request]) -> list[int]:
    """Return the moments at which something was written, UTC ns, in order and each once."""
    return sorted({at for r in requests for at, _, _ in parts(r)})


# ---------------------------------------------------------------- bars
def within(start: Array, intervals: Sequence[Interval]) -> npt.NDArray[np.bool_]:
    """Return which of `start`, in order, lie in one of the intervals, which may overlap."""
    first, last = np.searchsorted(start, np.array(intervals, dtype=np.int64).reshape(-1, 2)).T
    depth = np.zeros(len(start) + 1, dtype=np.int64)
    np.add.at(depth, first, 1)
    np.add.at(depth, last, -1)
    inside: npt.NDArray[np.bool_] = np.cumsum(depth[:-1]) > 0
    return inside


def as_known(columns: Columns, revisions: Columns, requests: Sequence[Request], moment: int) -> Columns:
    """Return the bars of `columns` as they were known at `moment`, UTC ns, after what was written at it.

    columns: all columns of a stretch of the series. revisions: with replaced_at, in the order they were made.
    """
    windows = [(a, b) for r in requests for at, a, b in parts(r) if at <= moment]
    rows = within(columns["start"], windows)
    found = {name: values[rows] for name, values in columns.items()}
    later = np.flatnonzero(revisions["replaced_at"] > moment)
    # Of several revisions of a bar after the moment the first one has the values that held at it.
    start, first = np.unique(revisions["start"][later], return_index=True)
    at = np.searchsorted(found["start"], start)
    held = at < len(found["start"])
    held[held] = found["start"][at[held]] == start[held]
    for name in COLUMNS:
        found[name][at[held]] = revisions[name][later[first[held]]]
    there = ~np.isnan(found["close"])
    return {name: values[there] for name, values in found.items()}
