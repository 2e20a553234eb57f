"""What a worker of a sweep needs, and what it gives back: one row a combination of parameters."""

from __future__ import annotations

from dataclasses import dataclass

from quant.core.sessions import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """What one combination gave.

    figures: (23,) float64 in the order of quant.metrics.NAMES, None where it failed. returns: (sessions,) float64
    simple return of each session, None where it failed. error: what went wrong, None where nothing did.
    """

    figures: Floats | None
    returns: Floats | None
    error: str | None = None
