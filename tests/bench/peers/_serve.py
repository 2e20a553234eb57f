"""How a peer talks to the bench: a grid as JSON on stdin, seconds and trades as JSON on stdout, until stdin ends.

Runs inside the peers' own venv, where the project is not installed.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd


def frame() -> pd.DataFrame:
    """Return the bars of the .npz file that the command line names."""
    with np.load(sys.argv[1]) as kept:
        columns = {name: kept[name] for name in ("open", "high", "low", "close", "volume")}
        return pd.DataFrame(columns, index=pd.DatetimeIndex(kept["end"].astype("datetime64[ns]")))


def serve(sweep: Callable[[dict[str, list[int]]], Any], told: Callable[[Any], dict[str, Any]]) -> None:
    """Answer each grid: the seconds of `sweep`, and what `told` says of its result, untimed."""
    for line in sys.stdin:
        grid = json.loads(line)
        gc.collect()
        began = time.process_time(), time.perf_counter()
        result = sweep(grid)
        answer = {"cpu_s": time.process_time() - began[0], "wall_s": time.perf_counter() - began[1]}
        sys.stdout.write(json.dumps(answer | told(result)) + "\n")
        sys.stdout.flush()
        del result  # before the next one is made
