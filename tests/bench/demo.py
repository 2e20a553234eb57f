"""How long `quant demo` takes, against importing the libraries that it cannot do without."""

from __future__ import annotations

import statistics
import sys
from typing import Any

from tests.bench.startup import seconds

IMPORTS = "import backtrader, pandas, pyarrow.parquet, talib, exchange_calendars"


def run(full: bool) -> dict[str, Any]:
    """Median seconds of interleaved runs. full: more of them."""
    bare, demo = [], []
    for _ in range(7 if full else 3):
        bare.append(seconds([sys.executable, "-c", IMPORTS]))
        demo.append(seconds([sys.executable, "-m", "quant", "demo"]))
    return {
        "what": "quant demo, offline",
        "measured": statistics.median(demo),
        "unit": "s",
        "at_most": 20.0,
        "aim": 10.0,
        "baseline": f"importing its libraries {statistics.median(bare):.2f} s",
    }
