"""The seal of a run folder: sizes and hashes of its files, so that one that was edited is told by name.

It guards against slips, not against a person who writes the seal anew. Files that come later (report.html, notes.json)
are not sealed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

SEAL: Final = "manifest.json"
EDITED: Final = "run-edited"  # the finding's code
SCHEMA: Final = 1
TABLE: Final = ".parquet"


def seal(folder: Path) -> None:
    """Write the seal over every file that is in `folder` now. Raises OSError."""
    files = {f.name: {"bytes": f.stat().st_size, "sha256": _sha(f)} for f in sorted(folder.iterdir())}
    text = json.dumps({"schema": SCHEMA, "files": files}, indent=1)
    (folder / SEAL).write_text(text + "\n", encoding="utf-8")


def edited(folder: Path, *, quick: bool = False) -> list[str] | None:
    """Return what was done to the sealed files ("metrics.json has changed"); None where there is no seal to tell.

    quick: of tables compare the sizes only. A seal that cannot be read counts as edited.
    """
    try:
        files = json.loads((folder / SEAL).read_text(encoding="utf-8"))["files"]
        return [
            f"{name} {what}" for name, known in files.items() if (what := _what(folder / name, known, quick))
        ]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [f"{SEAL} cannot be read"]


def _what(file: Path, known: dict[str, Any], quick: bool) -> str:
    """Return what was done to a file, "" for nothing."""
    if not file.is_file():
        return "is gone"
    if file.stat().st_size != known["bytes"]:
        return "has changed"
    if quick and file.suffix == TABLE:
        return ""
    return "" if _sha(file) == known["sha256"] else "has changed"


def _sha(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
