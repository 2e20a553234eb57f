"""What the bench of sweeps measures in processes of their own: memory, and the first sweep of all."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

STARTED = time.perf_counter()

GRID = {"fast": range(5, 25, 2), "slow": range(30, 80, 5), "signal": range(5, 15)}


def peak_mb() -> float:
    """Return the most memory that this process ever had; NaN where the system does not tell."""
    try:
        # Not getrusage there: a new process starts with the peak of the one that started it.
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(float(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))
    except OSError:
        from tests.bench.portfolio import peak_gb

        return peak_gb() * 1e3


def memory(combos: int, count: int) -> dict[str, float]:
    """Return the peak after a tiny sweep (all libraries loaded), with the bars made, and after the sweep."""
    import quant as q

    tiny = q.synthetic("TINY", "1m", "2020-01-02", "2020-01-03")
    q.sweep("macd", tiny, {"fast": (5, 6)}, workers=2, save=False, verify=0)
    found = {"libraries": peak_mb()}
    bars = q.synthetic("BENCH", "1m", "2005-01-03", "2017-12-29")[:count]
    found["bars"] = peak_mb()
    made = q.sweep("macd", bars, GRID, samples=combos, workers=2, save=False, verify=0)
    return found | {"sweep": peak_mb(), "returns": made.returns.nbytes / 1e6, "rows": len(made.table)}


def first(folder: str) -> dict[str, float]:
    """Return the seconds of a user's first lines: import and bars, then a sweep with all its defaults."""
    import quant as q

    bars = q.synthetic("BENCH", "1m", "2020-01-02", "2020-03-31")[:10_000]
    made = time.perf_counter()
    grid = {"fast": (5, 9, 13, 17, 21), "slow": (30, 40, 50, 60, 70), "signal": (5, 8, 11, 14)}
    swept = q.sweep("macd", bars, grid, data=folder)
    ended = time.perf_counter()
    assert (len(bars), len(swept.table)) == (10_000, 100)
    return {
        "bars": made - STARTED,
        "sweep": ended - made,
        "verification": swept.verified.seconds,
        "cpu": time.process_time(),
    }


if __name__ == "__main__":
    asked, *given = sys.argv[1:]
    told = memory(int(given[0]), int(given[1])) if asked == "memory" else first(given[0])
    sys.stdout.write(json.dumps(told) + "\n")
