"""Which column of a vendor's file is what, and its values as numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from quant.core.bars import COLUMNS
from quant.core.finding import Finding
from quant.core.sessions import Floats
from quant.errors import ParameterError
from quant.store.table import Table

# What vendors call a column, in lower case and without brackets; of times the first one present counts.
NAMES: Final = {
    "open": ("open", "o", "open price", "opening price"),
    "high": ("high", "h", "high price"),
    "low": ("low", "l", "low price"),
    "close": ("close", "c", "close price", "closing price", "close/last"),
    "volume": ("volume", "vol", "v"),
}
TIMES: Final = (
    "datetime", "timestamp", "unix", "unix timestamp", "date", "start", "time", "date time", "date/time",
    "open time", "gmt time", "ts",
)  # fmt: skip
_UNNAMED: Final = ("", "unnamed: 0", "index level 0", "index")

Columns = Mapping[str, str] | Sequence[str]


def parse_columns(text: str) -> dict[str, str] | list[str]:
    """Return what a command line says of columns.

    "date,time,open" names the columns of a file without a header, in order, "-" for one to leave out;
    "close=Last,volume=Lots" says which of the file's columns is meant. Raises ParameterError.
    """
    parts = [p.strip() for p in text.split(",")]
    if not any("=" in p for p in parts):
        return parts
    if not all("=" in p for p in parts):
        raise ParameterError("columns", text, 'write "date,open,..." or "close=Last,volume=Lots", not both')
    return dict(p.split("=", 1) for p in parts)


class Chosen:
    """The columns of a table that make bars. findings: what a person should know of the choice."""

    def __init__(self, table: Table, columns: Columns | None, *, no_volume: bool) -> None:
        self.table = table
        self.findings: list[Finding] = []
        self._named = [_plain(n) for n in table.names]
        self._wanted = {k: _plain(v) for k, v in columns.items()} if isinstance(columns, Mapping) else {}
        unknown = set(self._wanted) - {*COLUMNS, "time", "date"}
        if unknown:
            reason = f"{', '.join(sorted(unknown))} is none of time, date, {', '.join(COLUMNS)}"
            raise ParameterError("columns", columns, reason)
        self.times = self._times()
        self.values = {name: self._value(name) for name in COLUMNS}
        missing = [n for n, at in self.values.items() if at is None and not (no_volume and n == "volume")]
        if not self.times:
            missing.insert(0, "time")
        if missing:
            reason = f"missing column{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
            mend = f"It has: {', '.join(table.names)}. Say which is meant with --columns {missing[0]}=NAME"
            mend += ", or take 0 with --no-volume" if missing == ["volume"] else ""
            raise table.refused(reason, (), mend)
        self._tell_ignored()

    def _times(self) -> list[int]:
        """Return the column of times, or those of date and time of day."""
        if "time" in self._wanted or "date" in self._wanted:
            return [self._place(self._wanted[k]) for k in ("date", "time") if k in self._wanted]
        if "datetime" not in self._named and {"date", "time"} <= set(self._named):
            return [self._named.index("date"), self._named.index("time")]
        for name in TIMES:
            if name in self._named:
                return [self._named.index(name)]
        if "index level 0" in self._named:  # what pandas calls an index without a name, in Parquet
            return [self._named.index("index level 0")]
        return [0] if self._named[0] in _UNNAMED else []

    def _value(self, name: str) -> int | None:
        if name in self._wanted:
            return self._place(self._wanted[name])
        found = [i for i, n in enumerate(self._named) if n in NAMES[name]]
        if not found and name == "volume":
            found = [i for i, n in enumerate(self._named) if n.startswith("volume") or n == "tickvol"]
            if len(found) == 1:
                told = f"column {self.table.names[found[0]]!r} is taken as the volume"
                self.findings.append(Finding("column-guessed", told, 1, "note"))
        if len(found) > 1:
            names = ", ".join(repr(self.table.names[i]) for i in found)
            mend = f"Say which is meant with --columns {name}=NAME"
            raise self.table.refused(f"several columns may be {name}: {names}", (), mend)
        return found[0] if found else None

    def _place(self, name: str) -> int:
        if self._named.count(name) == 1:
            return self._named.index(name)
        held = f"It has: {', '.join(self.table.names)}"
        raise self.table.refused(f"column {name!r} is not there once", (), held)

    def _tell_ignored(self) -> None:
        used = {*self.times, *(i for i in self.values.values() if i is not None)}
        left = [n for i, n in enumerate(self.table.names) if i not in used]
        left = [n for n in left if _plain(n) not in (*_UNNAMED, "-")]
        if left:
            told = f"columns not used: {', '.join(left)}"
            if any(_plain(n).startswith("adj") for n in left):
                told += " (prices are taken as they stand, see --adjusted)"
            self.findings.append(Finding("columns-ignored", told, len(left), "note"))

    def numbers(self) -> dict[str, Floats]:
        """Return the prices and volume as float64. Raises ImportRefused where a value is no number."""
        arrays = {n: _trimmed(self.table.columns[i]) for n, i in self.values.items() if i is not None}
        if self.table.separator not in (None, ","):
            arrays = self._decimal_point(arrays)
        found = {name: self._floats(name, array) for name, array in arrays.items()}
        if "volume" not in found:
            told = "the file has no volume; 0 is stored"
            self.findings.append(Finding("volume-absent", told, len(self.table), "note"))
            found["volume"] = np.zeros(len(self.table))
        return found

    def _decimal_point(self, arrays: dict[str, Any]) -> dict[str, Any]:
        """Read commas as decimal points, where no value of the file has a point."""
        import pyarrow.compute as pc

        commas = [v for a in arrays.values() if len(v := a.filter(pc.match_substring(a, ",")))]
        if not commas or any(pc.any(pc.match_substring(a, ".")).as_py() for a in arrays.values()):
            return arrays
        thousands = r"^[1-9]\d{0,2}(,\d{3})+$"
        if all(pc.all(pc.match_substring_regex(v, thousands)).as_py() for v in commas):
            reason = "commas may be decimal points or thousands"
            raise self.table.refused(reason, (), "Write numbers with points")
        self.findings.append(Finding("decimal-comma", "commas are read as decimal points", 1, "note"))
        return {name: pc.replace_substring(a, ",", ".", max_replacements=1) for name, a in arrays.items()}

    def _floats(self, name: str, array: Any) -> Floats:
        import pyarrow as pa
        import pyarrow.compute as pc

        if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
            good = pc.match_substring_regex(array, r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")
            bad = np.flatnonzero(~np.asarray(good))
            if len(bad):
                shown = array[int(bad[0])].as_py()
                mend = "Correct or drop these rows"
                if re.search(r"\d[,' ]\d{3}", shown):
                    mend = "Write numbers without thousands separators"
                raise self.table.refused(f"{name} is not a number: {shown!r}", bad, mend)
            array = pc.replace_substring_regex(array, r"^\+", "")
        try:
            return np.asarray(pc.cast(array, pa.float64(), safe=False), dtype=np.float64)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise self.table.refused(f"{name} holds {array.type}, not numbers") from None

    def time_text(self) -> Any:
        """Return the column of times; date and time of day joined by a space."""
        import pyarrow.compute as pc

        parts = [_trimmed(self.table.columns[i]) for i in self.times]
        return parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*parts, " ")


def _trimmed(column: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    return pc.utf8_trim_whitespace(column) if is_text else column


def _plain(name: str) -> str:
    """Return a column's name in lower case, without brackets around it (MetaTrader: <OPEN>)."""
    return re.sub(r"[\s_]+", " ", name.strip().strip("<>[]").lower()).strip()
