"""Which rows act, compiled: core/targets.LastTarget over a whole array."""

from __future__ import annotations

from typing import Any

from quant.kernel.compiling import FLAGS, FLOATS, GIVEN, INTS, SETTINGS, compiled


@compiled((SETTINGS, GIVEN, GIVEN, INTS, FLOATS, FLAGS))
def acting(settings: Any, target: Any, minutes_to_close: Any, rows: Any, wishes: Any, closed: Any) -> int:
    """Write the rows at which a target acts, what it is there, and whether entries are closed; return their number.

    target: (n,); minutes_to_close: (n,), or empty without session rules. rows, wishes, closed: at least n long.
    """
    s = settings[0]
    last, waiting, count = 0.0, s.next_change, 0
    if minutes_to_close.size == 0:
        for i in range(target.size):
            t = target[i]
            if t != last and t == t:
                last = t
                if waiting:
                    waiting = False
                    continue
                rows[count] = i
                wishes[count] = t
                closed[count] = False
                count += 1
            elif waiting and t == t:  # the first number is what was there before
                waiting = False
        return count
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
