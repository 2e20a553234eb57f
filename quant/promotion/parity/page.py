"""The page of a day's parity as a file beside its JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from quant.errors import WriteFailed
from quant.report import parity_page
from quant.store import atomic


def write_parity_page(
    parity: Mapping[str, Any], record: Sequence[Mapping[str, Any]], path: str | Path
) -> Path:
    """Write the page of one day to `path`, whole or not at all, and return it.

    parity: as Parity.to_dict gives it. record: lines of parity.jsonl. Raises WriteFailed.
    """
    target = Path(path)
    page = parity_page(parity, record)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic.put(target, page.encode())
    except OSError as e:
        raise WriteFailed(str(target), e.strerror or str(e)) from e
    return target
