"""Tickets, reports and positions as JSON and back, one text for each value: equal values have equal texts.

The text is what the journal keeps and by which it knows a report that it has already.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeVar

from quant.core.orders import (
    Commission,
    Completed,
    Echo,
    Execution,
    Kind,
    Position,
    Report,
    Snapshot,
    Status,
    Ticket,
    TimeInForce,
    Told,
)  # fmt: skip
from quant.errors import ParameterError

T = TypeVar("T")

REPORTS: Final[dict[str, type[Report]]] = {
    kind.__name__: kind for kind in (Echo, Status, Execution, Commission, Told, Completed)
}


def decimal_text(value: Decimal | int) -> str:
    """Return a quantity in digits without exponent or needless zeros: 100, 100.0 and 1E+2 are one quantity."""
    value = Decimal(value)
    if not value.is_finite():
        raise ValueError("not a number")
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


def _float(value: float) -> float:
    value = float(value) + 0.0  # -0.0 equals 0.0
    if not math.isfinite(value):
        raise ValueError("not a number")
    return value


# Each type that a field of these values has: what it becomes in JSON, and what makes it of that again.
Ways = tuple[Callable[[Any], Any], Callable[[Any], Any]]
WAYS: Final[dict[str, Ways]] = {
    "str": (str, str),
    "int": (int, int),
    "bool": (bool, bool),
    "float": (_float, float),
    "Decimal": (decimal_text, Decimal),
    "Kind": (str, Kind),
    "TimeInForce": (str, TimeInForce),
}


def _ways(kind: type[Any]) -> dict[str, Ways]:
    """Return the ways of a value class's fields; a new type of field fails here, at import, and not on a live order."""

    def optional(ways: Ways) -> Ways:
        there, back = ways
        return (
            lambda value: None if value is None else there(value),
            lambda value: None if value is None else back(value),
        )

    found = {}
    for field in fields(kind):
        name, _, none = str(field.type).partition(" | ")
        found[field.name] = optional(WAYS[name]) if none else WAYS[name]
    return found


# Fields that came after the first journals: left out where they are None, so that what was written before has the
# same text, and an older version reads what it knows.
LATER: Final = {Ticket: frozenset({"percent", "offset"}), Echo: frozenset({"trail", "percent", "offset"})}
FIELDS: Final = {kind: _ways(kind) for kind in (Ticket, Position, *REPORTS.values())}


def to_plain(value: Ticket | Position | Report) -> dict[str, Any]:
    """Return a value's fields for JSON. Raises ParameterError for a field that is not what its class says."""
    plain = {}
    later = LATER.get(type(value), frozenset())
    for name, (there, _) in FIELDS[type(value)].items():
        told = getattr(value, name)
        if told is None and name in later:
            continue
        try:
            plain[name] = there(told)
        except (TypeError, ValueError, InvalidOperation, OverflowError) as e:
            raise ParameterError(f"{type(value).__name__}.{name}", told, str(e)) from e
    return plain


def from_plain(kind: type[T], plain: Mapping[str, Any]) -> T:
    """Return the value that `to_plain` told; KeyError, TypeError, ValueError or ArithmeticError if it is none."""
    ways = FIELDS[kind]  # type: ignore[index]  # a class that is none of them is a KeyError
    return kind(**{name: ways[name][1](told) for name, told in plain.items()})


_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def text(plain: Mapping[str, Any] | list[Any]) -> str:
    """Return one JSON text for equal values, in ASCII."""
    return _ENCODER.encode(plain)


def report_text(report: Report, plain: Mapping[str, Any] | None = None) -> str:
    """Return a report as JSON that names its kind. plain: its fields, where they are at hand."""
    return text([type(report).__name__, to_plain(report) if plain is None else plain])


def report_of(body: str) -> Report:
    """Return the report of a text; KeyError, TypeError, ValueError or ArithmeticError where it is none."""
    name, plain = json.loads(body)
    return from_plain(REPORTS[name], plain)


def content_key(body: str) -> bytes:
    """Return 16 bytes by which a text is known."""
    return hashlib.sha256(body.encode()).digest()[:16]


def digest(snapshot: Snapshot) -> str:
    """Return what a snapshot says, without when, as 32 hexadecimal digits; its lists have no order."""
    reports: tuple[Report, ...] = (
        *snapshot.echoes, *snapshot.statuses, *snapshot.completed, *snapshot.executions, *snapshot.commissions,
    )  # fmt: skip
    lines = {report_text(r) for r in reports} | {text(to_plain(p)) for p in snapshot.positions}
    return content_key("\n".join(sorted(lines))).hex()
