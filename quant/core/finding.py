"""Findings: what a check, a run or an import noticed and a person should know. Nothing is repaired."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was noticed, with how often.

    code: stable, lower case with hyphens ("bars-outside-session"). message: what, with the first place.
    count: occurrences. level: "note" (worth knowing) or "warning" (may make the result wrong).
    """

    code: str
    message: str
    count: int = 1
    level: str = "warning"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.level}: {self.message} [{self.code}]"
