"""When a target acts (DESIGN §5.2): the rules at a bar's close, as pure functions of numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from quant.core.calendar import Ints
from quant.core.sessions import Floats
from quant.errors import ParameterError

StartRule = Literal["first-target", "next-change"]
START_RULES: Final = ("first-target", "next-change")


@dataclass(frozen=True, slots=True)
class SessionRules:
    """Minutes before the session's close, None = rule off.

    no_entry_last: from here on exposure may only fall. flat_before_close: flat so long before the close.
    """

    no_entry_last: float | None = None
    flat_before_close: float | None = None

    @property
    def any(self) -> bool:
        """True where a rule is set, and so a calendar is needed."""
        return self.no_entry_last is not None or self.flat_before_close is not None

    def must_be_flat(self, minutes_to_close: float, bar_minutes: float) -> bool:
        """True at the last close from which one can be flat in time, and at all later ones."""
        return self.flat_before_close is not None and minutes_to_close - bar_minutes < self.flat_before_close

    def closed_to_entries(self, minutes_to_close: float) -> bool:
        """True at closes at which exposure may only fall."""
        return self.no_entry_last is not None and minutes_to_close <= self.no_entry_last


@dataclass(slots=True)
class LastTarget:
    """The last target of one feed, and what the next one makes of it."""

    rules: SessionRules
    waiting: bool  # start_rule "next-change": the first number is only remembered
    last: float = 0.0

    def decide(self, target: float, minutes_to_close: float, bar_minutes: float) -> float | None:
        """Return the target to act upon at this close, None where there is nothing to do.

        The steps and their order are DESIGN §5.2's.
        """
        if self.rules.must_be_flat(minutes_to_close, bar_minutes):
            target = 0.0
        if math.isnan(target):
            return None
        if self.waiting:
            self.waiting, self.last = False, target
            return None
        if self.rules.closed_to_entries(minutes_to_close):
            target = min(max(target, min(self.last, 0.0)), max(self.last, 0.0))
        if target == self.last:
            return None
        self.last = target
        return target


def acting_rows(
    target: Floats, rules: SessionRules, waiting: bool, minutes_to_close: Floats | None, bar_minutes: float
) -> Ints:
    """Return the rows at which LastTarget changes: it acts, or remembers the first number.

    target: (n,); minutes_to_close: (n,), needed with session rules only. It depends on no account.
    """
    if rules.any and minutes_to_close is not None:
        state, rows = LastTarget(rules, waiting), []
        for row, (wanted, left) in enumerate(zip(target.tolist(), minutes_to_close.tolist(), strict=True)):
            before = state.waiting
            if state.decide(wanted, left, bar_minutes) is not None or state.waiting != before:
                rows.append(row)
        return np.array(rows, dtype=np.int64)
    numbers: Ints = np.flatnonzero(~np.isnan(target))
    acts = np.diff(target[numbers], prepend=0.0) != 0.0
    acts[:1] |= waiting
    changed: Ints = numbers[acts]
    return changed


def session_rules(given: Mapping[str, Any]) -> SessionRules:
    """Return the rules of a strategy's `session` dict: durations such as "10m", numbers in minutes, None.

    Raises ParameterError for an unknown rule or a duration that cannot be used.
    """
    unknown = sorted(set(given) - {"no_entry_last", "flat_before_close"})
    if unknown:
        raise ParameterError(
            "session", unknown[0], "no such rule; there are no_entry_last and flat_before_close"
        )
    no_entry = _minutes("session.no_entry_last", given.get("no_entry_last"))
    flat = _minutes("session.flat_before_close", given.get("flat_before_close"))
    if flat is not None and flat <= 0.0:
        raise ParameterError("session.flat_before_close", given["flat_before_close"], "must be above 0")
    return SessionRules(no_entry, flat)


def _minutes(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh])(?:in)?", value.strip())
        if match:
            return float(match[1]) * {"s": 1 / 60, "m": 1.0, "h": 60.0}[match[2]]
    elif (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    ):
        return float(value)
    raise ParameterError(name, value, 'write a duration like "10m"')
