"""Names that a mistyped one may mean."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Final

NEWEST: Final = 500  # names that are looked at: nobody waits a second for an error


def near(name: str, there: Sequence[str]) -> list[str]:
    """Return up to three names that are like `name`, as a whole or in a part between dashes; the likest first.

    there: oldest first; of those that are equally like the newer one comes first.
    """
    found = []
    for age, known in enumerate(reversed(there[-NEWEST:])):
        likeness = max(_likeness(name, part) for part in (known, *known.split("-")))
        if likeness >= 0.6:  # difflib's own limit for close matches
            found.append((-likeness, age, known))
    return [known for *_, known in sorted(found)[:3]]


def _likeness(name: str, known: str) -> float:
    return difflib.SequenceMatcher(None, name.casefold(), known.casefold()).ratio()
