"""Places at which a test may kill or fail the order path; in use they do nothing.

The crash harness sets `hook` in the process that it is going to kill.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

# In the order in which an order passes them; live-faults §4a, row K1.
NAMES: Final = (
    "decided",
    "before_commit",
    "after_commit",
    "before_send",
    "after_send",
    "callback_before_commit",
    "callback_after_commit",
    "in_recovery",
)

hook: Callable[[str], None] | None = None


def reach(name: str) -> None:
    """Say that a place of NAMES was reached."""
    if hook is not None:
        hook(name)
