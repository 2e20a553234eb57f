"""What each window of a walk-forward chooses, from rows of training in whatever order they come. Runs nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from quant.core.finding import Finding
from quant.core.sessions import Floats
from quant.metrics import NAMES
from quant.research.result import LOW_IS_GOOD
from quant.research.task import Row
from quant.research.verify import SHARPE


class Choices:
    """The best of each window so far, whatever order rows come in, and what the ledger needs of each combination.

    sharpes: of each combination in the last window that it was trained on; last: that window, -1 = none yet. differ:
    whether two combinations that have the metric gave different results in any window; until then there is no choice.
    """

    def __init__(self, metric: str, windows: int, combos: int) -> None:
        self.column, self.sign = NAMES.index(metric), -1.0 if metric in LOW_IS_GOOD else 1.0
        self.best: list[tuple[float, int, Floats] | None] = [None] * windows
        self.sharpes, self.last = np.full(combos, math.nan), np.full(combos, -1)
        self.differ = False
        self.failed = 0
        self.error: tuple[int, int, str] | None = None  # of the first that failed

    def take(self, window: int, part: range, rows: Sequence[Row]) -> None:
        """Take in the rows of some combinations."""
        for number, found in zip(part, rows, strict=True):
            if window > self.last[number]:
                self.last[number] = window
                self.sharpes[number] = math.nan if found.figures is None else found.figures[SHARPE]
            if found.figures is None:
                self.failed += 1
                told = window, number, str(found.error)
                self.error = told if self.error is None else min(self.error, told)
                continue
            value = self.sign * float(found.figures[self.column])
            if not math.isfinite(value):
                continue
            best = self.best[window]
            # While no two differ the best is equal to all that came before it.
            if best is not None and not self.differ:
                self.differ = not np.array_equal(best[2], found.figures, equal_nan=True)
            if best is None or (-value, number) < (-best[0], best[1]):
                self.best[window] = value, number, found.figures

    def findings(self) -> list[Finding]:
        """Return what to say of combinations that failed."""
        if self.error is None:
            return []
        return [
            Finding("failed-combinations", f"training runs failed; the first: {self.error[2]}", self.failed)
        ]
