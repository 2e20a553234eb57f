"""The only place that reads the time; everything else takes it as an argument."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now() -> datetime:
    """Return the present moment, in UTC."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Return seconds since some moment; never goes back, whatever happens to the system's clock."""
    return time.monotonic()
