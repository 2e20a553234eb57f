"""What is kept of a walk-forward: its outcome, so that a promotion finds it without trading the windows again."""

from __future__ import annotations

import hashlib
import json
import math
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from quant.errors import WriteFailed
from quant.research.walk_forward.report import WalkForward
from quant.store import atomic

NAME: Final = "walk_forward.json"  # beside the chunks of training
SCHEMA: Final = 2  # 1 did not say whether anything was chosen


def keep(found: WalkForward, at: datetime) -> None:
    """Write the outcome into the walk-forward's folder; nothing where it has none. Raises WriteFailed."""
    if found.folder is None:
        return
    judged, returns = found.verdict, found.returns
    facts = {
        "schema": SCHEMA, "created": at.isoformat(timespec="seconds"), "settings": found.settings,
        "windows": len(found.windows), "sessions": len(returns), "chose": found.chose,
        "first": str(returns.index[0].date()), "last": str(returns.index[-1].date()),
        "metrics": found.metrics, "efficiency": found.efficiency, "word": judged.word, "sharpe": judged.sharpe,
        "probabilistic": judged.probabilistic, "deflated": judged.deflated, "trials": judged.trials,
    }  # fmt: skip
    text = json.dumps(_plain(facts), default=str, sort_keys=True)
    content = {"sha256": hashlib.sha256(text.encode()).hexdigest(), "outcome": json.loads(text)}
    path = found.folder / NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.put(path, (json.dumps(content, indent=1) + "\n").encode())
    except OSError as e:
        raise WriteFailed(str(path), e.strerror or str(e)) from e


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def kept(data: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return the outcomes that are kept, newest first, each with its folder's name.

    What cannot be read or was edited is left out: it proves nothing.
    """
    found = []
    for path in sorted((data / "sweeps").glob(f"*/{NAME}")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            outcome = content["outcome"]
            text = json.dumps(outcome, sort_keys=True)
            whole = hashlib.sha256(text.encode()).hexdigest() == content["sha256"]
            if whole and outcome["schema"] == SCHEMA:
                found.append((path.parent.name, outcome))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return sorted(found, key=lambda one: str(one[1]["created"]), reverse=True)
