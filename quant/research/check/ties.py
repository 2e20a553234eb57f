"""Ties: rows whose signal hangs on the last bits of the prices, such as a close that equals its own mean.

Rounding decides them, and another length or start of the history rounds otherwise. That is no look-ahead, and no
memory; it is worth knowing, for another machine may decide otherwise too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from quant.core.bars import PRICES, Bars
from quant.core.finding import Finding
from quant.errors import QuantError
from quant.research.check.subject import Subject, differing

NUDGES: Final = 16  # a tie falls either way, so that each sees half of them
NUDGE: Final = 1e-12  # of a price: more than rounding, less than anything that a market says

Marks: TypeAlias = npt.NDArray[np.bool_]


def tied_rows(subject: Subject, rng: np.random.Generator) -> list[Marks]:
    """Return for each feed the (n,) rows whose signals change if prices are nudged by less than any tick."""
    found = [np.zeros(len(b), dtype=bool) for b in subject.bars]
    for _ in range(NUDGES):
        try:
            new = subject.compute([_nudged(b, rng) for b in subject.bars])
        except QuantError:
            continue
        for rows, a, b in zip(found, subject.plans, new, strict=True):
            rows[differing(a, b)] = True
    return found


def told_ties(count: int) -> Finding:
    """Return the note on so many tied rows."""
    message = (
        f"the signals of {count:,} bars change if prices move by {NUDGE:g} of themselves: they hang on ties, which "
        "rounding decides. Compare with a margin instead of > alone"
    )
    return Finding("decided-by-rounding", message, level="note")


def _nudged(bars: Bars, rng: np.random.Generator) -> Bars:
    factor = 1.0 + rng.uniform(-NUDGE, NUDGE, len(bars))  # one a bar, so that its prices stay in order
    other = replace(bars, **{name: getattr(bars, name) * factor for name in PRICES})
    other.__dict__["times"] = bars.times
    return other
