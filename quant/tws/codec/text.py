"""The language of the text tables: kinds of fields, and rows that write a message's fields and read them back.

A message in text is a list of fields; which field means what follows from its position, the server version and the
fields before it. A table of rows says so once, for both directions. IB's protobuf classes are the model: a field that
is not set there is written as the kind's `absent` text, and a text that ibapi takes for "no value" is read as not set.
Knows no message ids and no frames.
"""

# ruff: noqa: D102  # `Row` says what the methods of all rows do

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol

Message = Any  # a message of ibapi.protobuf, whose classes ship without types
Layout = tuple["Row", ...]

UNSET_INT = 2**31 - 1  # ibapi.const
UNSET_LONG = 2**63 - 1
UNSET_DOUBLE = 1.7976931348623157e308
UNSET_DECIMAL = "170141183460469231731687303715884105727"
UNSET_DOUBLE_TEXT = "1.7976931348623157E308"  # as TWS, a Java program, writes it
_NO_DECIMAL = {"", UNSET_DECIMAL, str(UNSET_INT), str(UNSET_LONG), "-9223372036854775808", UNSET_DOUBLE_TEXT}
_INTEGER = re.compile(r"[+-]?\d{1,20}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
# "Infinite": ib_async 2.1 writes it so (client.py, send).
_INFINITE = {"Infinity": math.inf, "Infinite": math.inf, "-Infinity": -math.inf}
_WIDEST = (
    60  # digits of a decimal; far above any quantity, far below what a short text like 1E+999999 can ask for
)


class TextError(ValueError):
    """Fields that do not fit the table of their message."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How one value stands in text: `read` gives None where the text says "no value", and raises ValueError."""

    name: str
    absent: str
    write: Callable[[Any], str]
    read: Callable[[str], Any]


def _read_int(text: str) -> int | None:
    if not text:
        return None
    if _INTEGER.fullmatch(text) is None:
        raise ValueError(text)
    value = int(text)
    return None if value in (UNSET_INT, UNSET_LONG) else value


def _read_float(text: str) -> float | None:
    if not text:
        return None
    if text in _INFINITE:
        return _INFINITE[text]
    if _NUMBER.fullmatch(text) is None:
        raise ValueError(text)
    value = float(text)
    return None if value == UNSET_DOUBLE else value


def _read_bool(text: str) -> bool | None:
    # ibapi sets a flag in protobuf only where it is true; a false one stays unset in both encodings.
    return True if _read_int(text) else None


def _read_decimal(text: str) -> str | None:
    if text in _NO_DECIMAL:
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(text) from None
    if not value.is_finite() or abs(value.adjusted()) > _WIDEST or len(text) > _WIDEST:
        raise ValueError(text)
    return f"{value:f}"


def _read_word(text: str) -> str | None:
    return text or None


def _read_escaped(text: str) -> str | None:
    if "\\" in text:
        text = text.encode("latin-1", "backslashreplace").decode("unicode-escape")
        text.encode()  # half a surrogate pair: UnicodeEncodeError, a ValueError
    return text or None


def _write_word(value: str) -> str:
    # NUL ends a field, whatever a client of protobuf put into its order; "?" so that no other word can come of it.
    return value.replace("\0", "?")


def _write_escaped(value: str) -> str:
    # From server version 153 on TWS sends ASCII; ibapi undoes the escapes where this kind is used.
    return value.encode("unicode-escape").decode("ascii")


def _write_float(value: float) -> str:
    if math.isfinite(value):
        return UNSET_DOUBLE_TEXT if value == UNSET_DOUBLE else repr(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _write_trimmed(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else _write_float(value)


def _write_bool(value: bool) -> str:
    return "1" if value else "0"


# They differ in what an unset field is in text: ibapi reads some as 0 where they are empty, others as unset.
WORD = Kind("text", "", _write_word, _read_word)
ESCAPED = Kind("text", "", _write_escaped, _read_escaped)
INT = Kind("a whole number", "0", str, _read_int)
INT_OR_NONE = Kind("a whole number", "", str, _read_int)
FLOAT = Kind("a number", "0.0", _write_float, _read_float)
FLOAT_OR_NONE = Kind("a number", "", _write_float, _read_float)
FLOAT_OR_MAX = Kind(
    "a number", UNSET_DOUBLE_TEXT, _write_float, _read_float
)  # as TWS writes unset amounts of an order
TRIMMED = Kind("a number", "", _write_trimmed, _read_float)  # a multiplier: "100", not "100.0"
DECIMAL = Kind("a decimal number", "", _write_word, _read_decimal)
BOOL = Kind("0 or 1", "0", _write_bool, _read_bool)
FLAG = Kind("0 or 1", "0", _write_bool, lambda text: bool(_read_int(text)))  # where a false one is said, too
LINK = Kind("a or o", "a", lambda both: "a" if both else "o", lambda text: text == "a")


class Row(Protocol):
    """A place in a table. `root` is the whole message, `scope` the part of it that the row is about."""

    def at(self, version: int) -> Row | None:
        """Return the row as this server version has it, None where it does not."""

    def write(self, root: Message, scope: Message, out: list[str]) -> None:
        """Append the row's fields."""

    def read(self, root: Message, scope: Message, fields: Iterator[str]) -> None:
        """Take the row's fields and set what they say. Raises TextError, StopIteration where they end."""


def layout_at(rows: Sequence[Row], version: int) -> Layout:
    """Return the rows that this server version has."""
    return tuple(row for row in (r.at(version) for r in rows) if row is not None)


def write(layout: Layout, message: Message) -> list[str]:
    """Return the fields of a message."""
    out: list[str] = []
    for row in layout:
        row.write(message, message, out)
    return out


def read(layout: Layout, message: Message, fields: Sequence[str]) -> None:
    """Set in `message` what the fields say. Raises TextError where they do not fit: too few, too many, no number."""
    rest = iter(fields)
    try:
        for row in layout:
            row.read(message, message, rest)
    except StopIteration:
        raise TextError(f"ends after {len(fields)} fields, in the middle") from None
    left = list(rest)
    if left:
        raise TextError(f"{len(left)} of {len(fields)} fields are left over, the first is {left[0][:40]!r}")


def _read_value(kind: Kind, name: str, text: str) -> Any:
    try:
        return kind.read(text)
    except ValueError:
        raise TextError(f"{name} = {text[:40]!r} is not {kind.name}") from None


def _set(scope: Message, name: str, value: Any) -> None:
    try:
        setattr(scope, name, value)
    except (ValueError, TypeError):
        raise TextError(f"{name} = {str(value)[:40]} is out of range") from None


def _count(name: str, fields: Iterator[str]) -> int:
    text = next(fields)
    count = _read_value(INT, name, text) or 0
    if count < 0:
        raise TextError(f"{name}: {text[:40]} of them")
    return int(count)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the scope, in versions since <= version < before."""

    name: str
    kind: Kind
    since: int = 0
    before: int = 1000

    def at(self, version: int) -> Field | None:
        return self if self.since <= version < self.before else None

    def write(self, root: Message, scope: Message, out: list[str]) -> None:
        out.append(
            self.kind.write(getattr(scope, self.name)) if scope.HasField(self.name) else self.kind.absent
        )

    def read(self, root: Message, scope: Message, fields: Iterator[str]) -> None:
        value = _read_value(self.kind, self.name, next(fields))
        if value is not None:
            _set(scope, self.name, value)


@dataclass(frozen=True, slots=True)
class Constant:
    """A field that carries nothing: a message's own version, or what IB has given up. Any text is read."""

    text: str
    since: int = 0
    before: int = 1000

    def at(self, version: int) -> Constant | None:
        return self if self.since <= version < self.before else None

    def write(self, root: Message, scope: Message, out: list[str]) -> None:
        out.append(self.text)

    def read(self, root: Message, scope: Message, fields: Iterator[str]) -> None:
        next(fields)


@dataclass(frozen=True, slots=True)
class Part:
    """Rows about a message within the scope."""

    name: str
    rows: Layout

    def at(self, version: int) -> Part | None:
        return replace(self, rows=layout_at(self.rows, version))

    def write(self, root: Message, scope: Message, out: list[str]) -> None:
        part = getattr(scope, self.name)
        for row in self.rows:
            row.write(root, part, out)

    def read(self, root: Message, scope: Message, fields: Iterator[str]) -> None:
        part = getattr(scope, self.name)
        part.SetInParent()
        for row in self.rows:
            row.read(root, part, fields)


@dataclass(frozen=True, slots=True)
class Optional:
    """0, or 1 and the rows about a message within the scope."""

    name: str
    rows: Layout

    def at(self, version: int) -> Optional | None:
        return replace(self, rows=layout_at(self.rows, version))

    def write(self, root: Message, scope: Message, out: list[str]) -> None:
        given = scope.HasField(self.name)
        out.append(_write_bool(given))
        if given:
            Part(self.name, self.rows).write(root, scope, out)

    def read(self, root: Message, scope: Message, fields: Iterator[str]) -> None:
        if _read_value(BOOL, self.name, next(fields)):
            Part(self.name, self.rows).read(root, scope, fields)


@dataclass(frozen=True, slots=True)
class When:
    """Rows that are there only where the message, as far as it is known, says so."""

    holds: Callable[[Message], bool]
    rows: Layout
    since: int = 0

    def at(self, version: int) -> When | None:
        return replace(self, rows=layout_at(self.rows, version)) if version >= self.since else None

    def write(self, root: Message, scope: Message, out: list[str]) -> None:
        if self.holds(root):
            for row in self.rows:
                row.write(root, scope, out)

    def read(self, root: Message, scope: Message, fields: Iterator[str]) -> None:
        if self.holds(root):
            for row in self.rows:
                row.read(root, scope, fields)


@dataclass(frozen=True, slots=True)
class Choice:
    """Rows by the value of a field that was before them; a value without rows has no text."""

    name: str
    rows: Mapping[int, Layout]

    def at(self, version: int) -> Choice | None:
        return replace(self, rows={value: layout_at(rows, version) for value, rows in self.rows.items()})

    def write(self, root: Message, scope: Message, out: list[str]) -> None:
        for row in self._rows(scope):
            row.write(root, scope, out)

    def read(self, root: Message, scope: Message, fields: Iterator[str]) -> None:
        for row in self._rows(scope):
            row.read(root, scope, fields)

    def _rows(self, scope: Message) -> Layout:
        value = getattr(scope, self.name)
        if value not in self.rows:
            raise TextError(f"{self.name} = {value} is none of {', '.join(map(str, self.rows))}")
        return self.rows[value]


@dataclass(frozen=True, slots=True)
class Many:
    """A count, and the rows of as many messages."""

    name: str
    rows: Layout
    since: int = 0

    def at(self, version: int) -> Many | None:
        return replace(self, rows=layout_at(self.rows, version)) if version >= self.since else None

    def write(self, root: Message, scope: Message, out: list[str]) -> None:
        items = getattr(scope, self.name)
        out.append(str(len(items)))
        for item in items:
            for row in self.rows:
                row.write(root, item, out)

    def read(self, root: Message, scope: Message, fields: Iterator[str]) -> None:
        items = getattr(scope, self.name)
        for _ in range(_count(self.name, fields)):
            item = items.add()
            for row in self.rows:
                row.read(root, item, fields)


@dataclass(frozen=True, slots=True)
class Column:
    """A count, and one field for each message of a list that is there already; 0 where none has it."""

    name: str
    field: str
    kind: Kind

    def at(self, version: int) -> Column | None:
        return self

    def write(self, root: Message, scope: Message, out: list[str]) -> None:
        items = getattr(scope, self.name)
        if not any(item.HasField(self.field) for item in items):
            out.append("0")
            return
        out.append(str(len(items)))
        for item in items:
            Field(self.field, self.kind).write(root, item, out)

    def read(self, root: Message, scope: Message, fields: Iterator[str]) -> None:
        items = getattr(scope, self.name)
        count = _count(self.field, fields)
        if count > len(items):
            raise TextError(f"{self.field}: {count} of them for {len(items)} {self.name}")
        for item in items[:count]:
            Field(self.field, self.kind).read(root, item, fields)


@dataclass(frozen=True, slots=True)
class Values:
    """A count, and as many plain values."""

    name: str
    kind: Kind
    since: int = 0

    def at(self, version: int) -> Values | None:
        return self if version >= self.since else None

    def write(self, root: Message, scope: Message, out: list[str]) -> None:
        values = getattr(scope, self.name)
        out.append(str(len(values)))
        out.extend(self.kind.write(value) for value in values)

    def read(self, root: Message, scope: Message, fields: Iterator[str]) -> None:
        values = getattr(scope, self.name)
        for _ in range(_count(self.name, fields)):
            value = _read_value(self.kind, self.name, next(fields))
            try:
                values.append("" if value is None and self.kind is WORD else value)
            except (ValueError, TypeError):
                raise TextError(f"{self.name}: {str(value)[:40]} is out of range") from None


@dataclass(frozen=True, slots=True)
class Pairs:
    """A count, and as many tags with their values."""

    name: str

    def at(self, version: int) -> Pairs | None:
        return self

    def write(self, root: Message, scope: Message, out: list[str]) -> None:
        pairs = getattr(scope, self.name)
        out.append(str(len(pairs)))
        for tag, value in sorted(pairs.items()):  # a map of protobuf has another order in each process
            out += [_write_word(tag), _write_word(value)]

    def read(self, root: Message, scope: Message, fields: Iterator[str]) -> None:
        pairs = getattr(scope, self.name)
        for _ in range(_count(self.name, fields)):
            tag = next(fields)
            pairs[tag] = next(fields)


@dataclass(frozen=True, slots=True)
class Tags:
    """One field "tag=value;tag=value;": how clients write options."""

    name: str

    def at(self, version: int) -> Tags | None:
        return self

    def write(self, root: Message, scope: Message, out: list[str]) -> None:
        out.append(
            "".join(
                f"{_write_word(t)}={_write_word(v)};" for t, v in sorted(getattr(scope, self.name).items())
            )
        )

    def read(self, root: Message, scope: Message, fields: Iterator[str]) -> None:
        pairs = getattr(scope, self.name)
        for option in next(fields).split(";"):
            if option:
                tag, _, value = option.partition("=")
                pairs[tag] = value


@dataclass(frozen=True, slots=True)
class Mask:
    """One number whose bits, the lowest first, are the flags of a message within the scope."""

    name: str
    flags: tuple[str, ...]

    def at(self, version: int) -> Mask | None:
        return self

    def write(self, root: Message, scope: Message, out: list[str]) -> None:
        part = getattr(scope, self.name)
        out.append(str(sum(1 << i for i, flag in enumerate(self.flags) if getattr(part, flag))))

    def read(self, root: Message, scope: Message, fields: Iterator[str]) -> None:
        part = getattr(scope, self.name)
        mask = _count(self.name, fields)
        for i, flag in enumerate(self.flags):
            if mask >> i & 1:
                setattr(part, flag, True)
