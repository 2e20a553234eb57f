"""Times as vendors write them become nanoseconds. One form a file; a guess that could be wrong is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from quant.core.calendar import Ints

_CLOCK: Final = (
    r"(?P<h>\d{1,2}):?(?P<m>\d{2})(?::?(?P<s>\d{2})(?:[.,](?P<f>\d{1,9}))?)?(?: ?(?P<p>[AaPp][Mm]))?"
)
# An abbreviation ("EST") is no zone: it names an offset that the file may not mean in summer.
_ZONE: Final = r" *(?P<z>Z|UTC|GMT|[+-]\d{2}:?\d{2}|[A-Z][A-Za-z]+/[A-Za-z0-9_/+-]+)?"
_ISO: Final = rf"^(?P<Y>\d{{4}})[-/.](?P<M>\d{{1,2}})[-/.](?P<D>\d{{1,2}})(?:[T ;]+{_CLOCK}{_ZONE})?$"
_COMPACT: Final = rf"^(?P<Y>(?:19|20)\d{{2}})(?P<M>\d{{2}})(?P<D>\d{{2}})(?:[T ;-]*{_CLOCK}{_ZONE})?$"
_SLASHED: Final = (
    rf"^(?P<a>\d{{1,2}})(?P<x>[-/.])(?P<b>\d{{1,2}})[-/.](?P<Y>\d{{4}})(?:[T ;,]+{_CLOCK}{_ZONE})?$"
)
_EPOCH: Final = r"^(?P<n>\d{9,10}|\d{12,13}|\d{15,16}|\d{18,19})(?:\.0+)?$"
FORMS: Final = (_COMPACT, _ISO, _SLASHED, _EPOCH)

_FORMAT = "Name the form with --time-format, e.g. --time-format '%d/%m/%Y %H:%M'"


class UnreadableTimesError(ValueError):
    """Times that cannot be read; `rows` are counted from 0."""

    def __init__(self, reason: str, rows: npt.ArrayLike = (), mend: str = _FORMAT) -> None:
        super().__init__(reason)
        self.reason = reason
        self.rows = np.asarray(rows, dtype=np.int64)
        self.mend = mend


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """wall: (n,) int64 ns as the file shows them. offset: (n,) int64 ns before UTC, None = not said.

    zone: the time zone that the file names, if any. dates: no row has a time of day.
    """

    wall: Ints
    offset: Ints | None = None
    zone: str | None = None
    dates: bool = False


def read_moments(text: Any, time_format: str | None = None) -> Moments:
    """Return the times in `text`, a pyarrow array of strings. Raises UnreadableTimesError."""
    if time_format is not None:
        return _by_format(text, time_format)
    import pyarrow.compute as pc

    first = text[0].as_py()
    pattern = next((p for p in FORMS if re.match(p, first)), None)
    if pattern is None:
        raise UnreadableTimesError(f"the time {first!r} has a form that is not known", [0])
    parts = pc.extract_regex(text, pattern)
    bad = _rows(pc.is_null(parts))
    if len(bad):
        other = text[int(bad[0])].as_py()
        mend = "Correct or drop these rows" if not other else _FORMAT
        raise UnreadableTimesError(f"{other!r} is not a time of the form of {first!r}", bad, mend)
    fields = {name: parts.field(name) for name in re.compile(pattern).groupindex}
    if pattern == _EPOCH:
        return _epoch(fields["n"])
    if pattern == _SLASHED:
        fields["M"], fields["D"] = _month_and_day(fields)
    return _assemble(fields)


def _rows(mask: Any) -> Ints:
    return np.flatnonzero(np.asarray(mask)).astype(np.int64)


def _int(field: Any) -> Ints:
    """Return the numbers in `field`, 0 for an empty one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    filled = pc.if_else(pc.equal(field, ""), "0", field)
    return np.array(pc.cast(filled, pa.int64()), dtype=np.int64)


def _epoch(digits: Any) -> Moments:
    """Read seconds, milli-, micro- or nanoseconds since 1970, told by the number of digits (1973 to 2286)."""
    import pyarrow.compute as pc

    n = np.asarray(pc.utf8_length(digits), dtype=np.int64)
    power = np.searchsorted([10, 13, 16], n)
    odd = np.flatnonzero(power != power[0])
    if len(odd):
        raise UnreadableTimesError("times since 1970 are in different units", odd)
    scale = 10 ** (9 - 3 * int(power[0]))
    values = _int(digits)
    beyond = np.flatnonzero(values > np.iinfo(np.int64).max // scale)
    if len(beyond):
        raise UnreadableTimesError("times lie beyond the year 2262", beyond)
    return Moments(values * scale, np.zeros(len(n), dtype=np.int64))


def _month_and_day(fields: dict[str, Any]) -> tuple[Any, Any]:
    """Return which of the first two numbers are month and day; refuse to guess."""
    a, b = _int(fields["a"]), _int(fields["b"])
    day_first = bool((a > 12).any()) or fields["x"][0].as_py() == "."
    month_first = bool((b > 12).any())
    if day_first and month_first:
        rows = np.flatnonzero(b > 12)
        raise UnreadableTimesError("dates are written day first in some rows and month first in others", rows)
    if not (day_first or month_first):
        reason = "dates can be read day first or month first"
        mend = "Say which with --time-format, e.g. '%m/%d/%Y %H:%M' (or %d/%m/%Y)"
        raise UnreadableTimesError(reason, [0], mend)
    return (fields["b"], fields["a"]) if day_first else (fields["a"], fields["b"])


def _assemble(fields: dict[str, Any]) -> Moments:
    import pyarrow.compute as pc

    date, bad = _days(_int(fields["Y"]), _int(fields["M"]), _int(fields["D"]))
    hour, minute, second = (_int(fields[k]) for k in "hms")
    half = pc.utf8_lower(fields["p"])
    marked = _rows(pc.not_equal(half, ""))
    bad[marked] |= (hour[marked] > 12) | (hour[marked] < 1)
    hour[marked] %= 12
    hour[_rows(pc.equal(half, "pm"))] += 12
    bad |= (hour > 23) | (minute > 59) | (second > 59)
    if bad.any():
        raise UnreadableTimesError("no such date or time of day", np.flatnonzero(bad), "Correct these rows")
    fraction = _int(pc.utf8_rpad(fields["f"], 9, "0"))
    wall = date + ((hour * 60 + minute) * 60 + second) * 10**9 + fraction
    dates = bool(pc.all(pc.equal(fields["h"], "")).as_py())
    return Moments(wall, *_zone(fields["z"], len(wall)), dates=dates)


def _days(year: Ints, month: Ints, day: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Return 00:00 of each date in ns, and which dates do not exist (or not in int64 ns)."""
    bad = (month < 1) | (month > 12) | (day < 1) | (year < 1700) | (year > 2200)
    months = np.where(bad, 0, (year - 1970) * 12 + month - 1).astype("datetime64[M]")
    first = months.astype("datetime64[D]")
    length = ((months + np.timedelta64(1, "M")).astype("datetime64[D]") - first).astype(np.int64)
    bad |= day > length
    ns = (first + np.where(bad, 0, day - 1).astype("timedelta64[D]")).astype("datetime64[ns]").view(np.int64)
    return ns, bad


def _zone(text: Any, n: int) -> tuple[Ints | None, str | None]:
    """Return the offsets of all rows and the zone they name; all rows must say it or none."""
    coded = text.dictionary_encode()
    names = coded.dictionary.to_pylist()
    code = np.asarray(coded.indices, dtype=np.int64)
    if names == [""]:
        return None, None
    if "" in names:
        rows = np.flatnonzero(code == names.index(""))
        mend = "Write all of them with their offset, or none"
        raise UnreadableTimesError("times without an offset among times with one", rows, mend)
    places = [name for name in names if "/" in name]
    if places:
        if len(names) > 1:
            rows = np.flatnonzero(code != code[0])
            raise UnreadableTimesError(f"times of several zones: {', '.join(names)}", rows, "Split the file")
        return None, places[0]
    offsets = np.array([_offset(name) for name in names], dtype=np.int64)
    return offsets[code], None


def _offset(name: str) -> int:
    if name in ("Z", "UTC", "GMT"):
        return 0
    minutes = int(name[1:3]) * 60 + int(name[-2:])
    return (-minutes if name[0] == "-" else minutes) * 60 * 10**9


def _by_format(text: Any, time_format: str) -> Moments:
    import pandas as pd

    strings = pd.Series(text.to_pylist(), dtype=object)
    try:
        aware = "%z" in time_format or "%Z" in time_format
        found = pd.to_datetime(strings, format=time_format, errors="coerce", utc=aware)
    except ValueError as e:
        raise UnreadableTimesError(f"--time-format {time_format!r} cannot be used ({e})", (), "") from None
    bad = np.flatnonzero(found.isna())
    if len(bad):
        shown = text[int(bad[0])].as_py()
        raise UnreadableTimesError(f"{shown!r} is not of the form {time_format!r}", bad)
    index = pd.DatetimeIndex(found)
    wall = (index.tz_localize(None) if aware else index).as_unit("ns").to_numpy().view(np.int64)
    return Moments(wall, np.zeros(len(wall), dtype=np.int64) if aware else None)
