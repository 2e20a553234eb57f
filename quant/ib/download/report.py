"""What a pull tells: while it runs, and at its end."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quant.errors import QuantError
from quant.ib.download.plan import Failed, counted, in_words
from quant.store.series import iso

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a pull is. done, requests: requests answered and in all. bars: that came so far. symbol: the last one.

    eta_s: seconds that are left, by IB's limits and by how it went. note: what it waits for, "" for nothing.
    """

    done: int
    requests: int
    bars: int
    symbol: str
    eta_s: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Pulled:
    """What became of one series. added, unchanged, revised: bars. first, last: starts of what is held now, UTC ns.

    complete: all that was asked for is there. rebased: the prices had changed as a whole, all was pulled anew.
    error: why it ended early; what had arrived before is kept.
    """

    name: str
    source: str
    added: int
    unchanged: int
    revised: int
    requests: int
    first: int | None
    last: int | None
    complete: bool
    rebased: bool
    error: QuantError | None
    folder: Path | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; times as ISO text in UTC."""
        return {
            "name": self.name, "source": self.source, "added": self.added, "unchanged": self.unchanged,
            "revised": self.revised, "requests": self.requests,
            "first": None if self.first is None else iso(self.first),
            "last": None if self.last is None else iso(self.last), "complete": self.complete,
            "rebased": self.rebased, "error": None if self.error is None else str(self.error),
            "folder": None if self.folder is None else str(self.folder),
        }  # fmt: skip

    def __str__(self) -> str:
        parts = [f"{self.added:,} bars new"]
        parts += [f"{self.revised:,} revised"] if self.revised else []
        parts += [f"{self.unchanged:,} as before"] if self.unchanged else []
        parts += ["IB had changed all prices: pulled anew"] if self.rebased and self.complete else []
        if self.first is not None and self.last is not None:
            parts.append(f"held {iso(self.first)[:10]} to {iso(self.last)[:10]}")
        if self.error is not None:
            parts.append(f"ended early: {self.error}")
        elif not self.complete:
            parts.append("not complete; the same call goes on")
        return f"{self.name} ({self.source}): {', '.join(parts)}"


@dataclass(frozen=True, repr=False)
class PullReport:
    """What a pull did. failed: symbols that were left out. seconds: that it took. interrupted: by Ctrl-C."""

    series: tuple[Pulled, ...]
    failed: tuple[Failed, ...]
    requests: int
    seconds: float
    interrupted: bool = False

    @property
    def ok(self) -> bool:
        """True where every series is complete."""
        return not self.failed and not self.interrupted and all(p.complete for p in self.series)

    @property
    def error(self) -> QuantError | None:
        """The first error of a series or symbol, None without one."""
        errors = [p.error for p in self.series if p.error is not None]
        return next(iter([*errors, *(f.error for f in self.failed)]), None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "ok": self.ok, "interrupted": self.interrupted, "requests": self.requests,
            "seconds": round(self.seconds, 1), "series": [p.to_dict() for p in self.series],
            "failed": [f.to_dict() for f in self.failed],
        }  # fmt: skip

    def frame(self) -> pd.DataFrame:
        """Return a DataFrame with a row for each series, by name; times are UTC, errors text."""
        import pandas as pd

        columns = (
            "name",
            "source",
            "added",
            "unchanged",
            "revised",
            "requests",
            "first",
            "last",
            "complete",
            "error",
        )
        rows = [{n: getattr(p, n) for n in columns} for p in self.series]
        found = pd.DataFrame(rows, columns=list(columns)).set_index("name")
        for name in ("first", "last"):
            found[name] = pd.to_datetime(found[name], utc=True)
        found["error"] = [None if p.error is None else str(p.error) for p in self.series]
        return found

    def __repr__(self) -> str:
        lines = [str(p) for p in self.series]
        lines += [f"{f.symbol}: left out. {f.error}" for f in self.failed]
        end = f"{counted(self.requests)} in {in_words(self.seconds)}"
        return "\n".join([*lines, end + ("; interrupted, the same call goes on" if self.interrupted else "")])

    def _repr_html_(self) -> str:
        lines = "".join(f"<li>{html.escape(line)}</li>" for line in repr(self).splitlines())
        return f"<ul>{lines}</ul>"
