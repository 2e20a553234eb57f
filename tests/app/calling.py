"""How tests of the command line name a call of `quant` and read what it answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import Result

ROOT = Path(__file__).parents[2]
Quant = Callable[..., Result]


def document(result: Result) -> dict[str, Any]:
    """Return the one JSON document of stdout."""
    found: dict[str, Any] = json.loads(result.stdout)
    assert found["schema"] == 1
    return found
