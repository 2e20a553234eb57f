"""Measure the project's figures, each against its baseline in the same run.

python scripts/bench.py [name ...] [--json] [--full]

Names are the files of tests/bench. Exit code 1 where a figure misses its bound.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NAMES = sorted(f.stem for f in (ROOT / "tests" / "bench").glob("*.py") if not f.stem.startswith(("_", "test_")))


def line(name: str, r: dict[str, Any]) -> str:
    """One figure as text."""
    bounds = f"at most {r['at_most']:g}{r['unit']}, aim {r['aim']:g}{r['unit']}"
    return f"{name:<10} {r['what']}: {r['measured']:.3g} {r['unit']} ({bounds}); {r['baseline']}"


def main() -> int:
    """Run the benchmarks that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of {', '.join(NAMES)}; all by default")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--full", action="store_true", help="the sizes and counts that documents quote")
    given = parser.parse_args()
    unknown = [n for n in given.names if n not in NAMES]
    if unknown:
        parser.error(f"no benchmark {unknown[0]}; there are {', '.join(NAMES)}")
    sys.path.insert(0, str(ROOT))
    results = {}
    for name in given.names or NAMES:
        results[name] = importlib.import_module(f"tests.bench.{name}").run(given.full)
        if not given.json:
            print(line(name, results[name]), flush=True)
    if given.json:
        print(json.dumps({"schema": 1, "results": results}, indent=1))
    return int(any(r["measured"] > r["at_most"] for r in results.values()))


if __name__ == "__main__":
    sys.exit(main())
