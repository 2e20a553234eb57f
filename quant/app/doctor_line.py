"""One line of `quant doctor`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """One check. status: "ok", "warn" (something will not work) or "fail" (nothing will)."""

    status: str
    name: str
    told: str
    mend: str = ""
