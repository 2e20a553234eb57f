"""What parity leaves behind: a document a day, and the running record, a line a day, which the step to live reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from quant.errors import DamagedData, WriteFailed
from quant.promotion.parity.value import Parity
from quant.store import atomic

RECORD: Final = "parity.jsonl"
FOLDER: Final = "parity"


def record(folder: Path) -> list[dict[str, Any]]:
    """Return the record, oldest day first. folder: the deployment's. Raises DamagedData for a line that is none."""
    path = folder / RECORD
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    found: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        try:
            values = json.loads(line)
            found[str(values["day"])] = values
        except (ValueError, KeyError, TypeError) as e:
            mend = "Remove the line, and compare that day again: quant parity NAME --day D"
            raise DamagedData(str(path), f"line {number} is no line of the record: {e!r}", mend) from e
    return [found[day] for day in sorted(found)]


def save(found: Parity, folder: Path) -> tuple[Path, list[dict[str, Any]]]:
    """Write a day's document and put its line into the record, in place of an earlier one of that day.

    Return where the document lies, and the record. Raises DamagedData, WriteFailed.
    """
    lines = [line for line in record(folder) if line["day"] != found.day] + [found.line]
    lines.sort(key=lambda line: str(line["day"]))
    path = folder / FOLDER / f"{found.day}.json"
    put(path, json.dumps(found.to_dict(), indent=1))
    put(folder / RECORD, "".join(json.dumps(line) + "\n" for line in lines))
    return path, lines


def put(path: Path, text: str) -> None:
    """Write a file, whole or not at all. Raises WriteFailed."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.put(path, text.encode())
    except OSError as e:
        raise WriteFailed(str(path), e.strerror or str(e)) from e
