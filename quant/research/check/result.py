"""Check: what q.check gives back, and how it prints."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from quant.core.finding import Finding

Verdict = Literal["ok", "note", "failed", "not applicable"]


@dataclass(frozen=True, slots=True)
class Part:
    """One of the checks. told: what was done and seen, in words. "not applicable" is no pass."""

    name: str
    verdict: Verdict
    told: str


@dataclass(frozen=True, eq=False, repr=False)
class Check:
    """What q.check found out about a strategy with some parameters on some bars.

    findings: warnings make the check fail, notes do not. warmup, warmup_1e9: bars until the signals no longer
    depend on where the history began, to the last bit and to 1e-9; None where they always do, or where that could
    not be measured (parts says which). seed: of every random choice; the same seed checks the same.
    """

    strategy: str
    params: Mapping[str, Any]
    bars: str
    seed: int
    parts: tuple[Part, ...]
    findings: list[Finding] = field(default_factory=list)
    warmup: int | None = None
    warmup_1e9: int | None = None

    @property
    def ok(self) -> bool:
        """True where no finding is a warning; see `parts` for what could not be checked."""
        return not any(f.level == "warning" for f in self.findings)

    @property
    def verdict(self) -> str:
        """The whole in one line."""
        unchecked = [p.name for p in self.parts if p.verdict == "not applicable"]
        apart = f", {', '.join(unchecked)} not checked" if unchecked else ""
        warnings = sum(f.level == "warning" for f in self.findings)
        return f"ok{apart}" if self.ok else f"NOT OK: {warnings} warning{'s' * (warnings > 1)}{apart}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "strategy": self.strategy, "params": dict(self.params), "bars": self.bars, "seed": self.seed,
            "ok": self.ok, "warmup": self.warmup, "warmup_1e9": self.warmup_1e9,
            "checks": [asdict(p) for p in self.parts], "findings": [f.to_dict() for f in self.findings],
        }  # fmt: skip

    def __repr__(self) -> str:
        rows = [f"  {p.name:<12} {_words(p)}" for p in self.parts]
        notes = [f"  {_line(f)}" for f in self.findings]
        return "\n".join([*self._head(), *rows, *notes, f"  {'verdict':<12} {self.verdict}"])

    def _repr_html_(self) -> str:
        head = "<br>".join(html.escape(line) for line in self._head())
        rows = "".join(
            f"<tr><td>{html.escape(p.name)}</td><td style='text-align:left'>{html.escape(_words(p))}</td></tr>"
            for p in self.parts
        )
        notes = "".join(f"<li>{html.escape(_line(f))}</li>" for f in self.findings)
        verdict = html.escape(self.verdict)
        return f"<p>{head}</p><table>{rows}</table><ul>{notes}</ul><p><b>{verdict}</b></p>"

    def _head(self) -> list[str]:
        params = " ".join(f"{k}={v}" for k, v in self.params.items())
        return [f"check of {self.strategy} {params}".rstrip(), f"{self.bars} · seed {self.seed}"]


def _words(part: Part) -> str:
    return f"not applicable: {part.told}" if part.verdict == "not applicable" else part.told


def _line(finding: Finding) -> str:
    times = f" ({finding.count}x)" if finding.count > 1 else ""
    return f"{finding.level:<12} {finding.message}{times}"
