"""Which rows act, compiled: core/targets.LastTarget over a whole array."""

from __future__ import annotations

from typing import Any

import numpy as np

from quant.kernel.compiling import FLAGS, FLOATS, GIVEN, INTS, SETTINGS, compiled, inline


@inline
def changes(target: Any, waiting: bool, rows: Any, wishes: Any, closed: Any) -> int:
    """Do what `acting` does where there are no session rules: find the rows at which the target changes."""
    # A row with the bits of the one before it cannot act. Each row is written and kept where its bits differ, for a
    # branch would be guessed wrong at every change. Unsigned: indices that cannot be negative need no test.
    bits = target.view(np.int64)
    found = np.uint64(1)
    rows[0] = 0
    for i in range(np.uint64(1), np.uint64(bits.size)):
        rows[found] = i
        found += np.uint64(bits[i] != bits[i - np.uint64(1)])
    last, count = 0.0, 0
    for k in range(found):
        row = rows[k]
        t = target[row]
        if t != t or (t == last and not waiting):
            continue
        last = t
        if waiting:  # the first number is what was there before
            waiting = False
            continue
        rows[count] = row
        wishes[count] = t
        closed[count] = False
        count += 1
    return count


@compiled((SETTINGS, GIVEN, GIVEN, INTS, FLOATS, FLAGS))
def acting(settings: Any, target: Any, minutes_to_close: Any, rows: Any, wishes: Any, closed: Any) -> int:
    """Write the rows at which a target acts, what it is there, and whether entries are closed; return their number.

    target: (n,); minutes_to_close: (n,), or empty without session rules. rows, wishes, closed: at least n long.
    """
    s = settings[0]
    last, waiting, count = 0.0, s.next_change, 0
    if minutes_to_close.size == 0:
        return changes(target, waiting, rows, wishes, closed)
    for i in range(target.size):
        t = target[i]
        left = minutes_to_close[i]
        if left - s.bar_minutes < s.flat_before_close:
            t = 0.0
        if t != t:
            continue
        if waiting:
            waiting, last = False, t
            continue
        no_entry = left <= s.no_entry_last
        if no_entry:
            t = min(max(t, min(last, 0.0)), max(last, 0.0))
        if t == last:
            continue
        last = t
        rows[count] = i
        wishes[count] = t
        closed[count] = no_entry
        count += 1
    return count
