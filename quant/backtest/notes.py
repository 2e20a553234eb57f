"""Tags and notes of a saved run: a file of their own beside its results, which they never change."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from quant.errors import DamagedData, ParameterError, WriteFailed
from quant.store import atomic

NAME: Final = "notes.json"
SCHEMA: Final = 1
TAG: Final = re.compile(r"\w[\w.:+-]{0,39}")


@dataclass(frozen=True, slots=True)
class Note:
    """A note. at: when it was written, ISO, UTC."""

    at: str
    text: str


@dataclass(frozen=True, slots=True)
class Notes:
    """What a person said about a run. tags: in the order in which they came."""

    tags: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()


def read_notes(folder: Path) -> Notes:
    """Return tags and notes of the run in `folder`, empty where there are none. Raises DamagedData."""
    path = folder / NAME
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Notes(tuple(str(tag) for tag in found["tags"]), tuple(Note(**note) for note in found["notes"]))
    except FileNotFoundError:
        return Notes()
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise DamagedData(str(path), str(e), "Mend it or remove it; the run itself does not need it") from e


def tag(folder: Path, tags: Iterable[str], *, remove: bool = False) -> Notes:
    """Add tags to the run in `folder`, or remove them, and return what it has then.

    Raises ParameterError for what can be no tag, or is none of the run's; DamagedData; WriteFailed.
    """
    old, given = read_notes(folder), list(dict.fromkeys(tags))
    for one in given:
        if not TAG.fullmatch(one):
            reason = "must be 1 to 40 letters, digits and _ . : + -, beginning with a letter or digit"
            raise ParameterError("tag", one, reason)
        if remove and one not in old.tags:
            there = ", ".join(old.tags) or "none"
            raise ParameterError("tag", one, f"is no tag of {folder.name}; it has {there}")
    kept = [t for t in old.tags if t not in given] if remove else [*old.tags, *given]
    return _write(folder, Notes(tuple(dict.fromkeys(kept)), old.notes))


def note(folder: Path, text: str, at: datetime) -> Notes:
    """Add a note to the run in `folder` and return what it has then. at: aware.

    Raises ParameterError for a note without words; DamagedData; WriteFailed.
    """
    if not text.strip():
        raise ParameterError("note", text, "is empty")
    old = read_notes(folder)
    return _write(folder, Notes(old.tags, (*old.notes, Note(at.isoformat(timespec="seconds"), text.strip()))))


def forget_notes(folder: Path) -> Notes:
    """Remove all notes of the run in `folder`, not its tags, and return what it has then."""
    return _write(folder, Notes(read_notes(folder).tags))


def _write(folder: Path, notes: Notes) -> Notes:
    path = folder / NAME
    text = json.dumps({"schema": SCHEMA, **asdict(notes)}, indent=1, ensure_ascii=False)
    try:
        atomic.put(path, (text + "\n").encode())
    except OSError as e:
        raise WriteFailed(str(path), e.strerror or str(e)) from e
    return notes
