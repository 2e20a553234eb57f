"""How long `quant --help` takes, against a bare start of the same Python in the same run."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import Any


def seconds(command: list[str]) -> float:
    """Wall time of one whole process."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def run(full: bool) -> dict[str, Any]:
    """Median seconds of interleaved starts. full: more of them."""
    bare, asked = [], []
    for _ in range(25 if full else 7):
        bare.append(seconds([sys.executable, "-c", "pass"]))
        asked.append(seconds([sys.executable, "-m", "quant", "--help"]))
    return {
        "what": "quant --help",
        "measured": statistics.median(asked),
        "unit": "s",
        "at_most": 0.2,
        "aim": 0.1,
        "baseline": f"bare Python start {statistics.median(bare):.3f} s",
    }
