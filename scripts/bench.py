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
NAMES = sorted(
    f.stem for f in (ROOT / "tests" / "bench").glob("*.py") if not f.stem.startswith(("_", "test_"))
)


def line(name: str, r: dict[str, Any]) -> str:
    """One figure as text."""
    kind = "at least" if "at_least" in r else "at most"
    bounds = f"{kind} {r[kind.replace(' ', '_')]:g}{r['unit']}, aim {r['aim']:g}{r['unit']}"
    return f"{name:<10} {r['what']}: {r['measured']:.3g} {r['unit']} ({bounds}); {r['baseline']}"


def misses(r: dict[str, Any]) -> bool:
    """Whether a figure misses its bound."""
    return bool(r["measured"] < r["at_least"] if "at_least" in r else r["measured"] > r["at_most"])


def main() -> int:
    """Run the benchmarks that were asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
        found = importlib.import_module(f"tests.bench.{name}").run(given.full)
        results[name] = found if isinstance(found, list) else [found]
        if not given.json:
            print(*(line(name, r) for r in results[name]), sep="\n", flush=True)
    if given.json:
        print(json.dumps({"schema": 2, "results": results}, indent=1))
    return int(any(misses(r) for figures in results.values() for r in figures))


if __name__ == "__main__":
    sys.exit(main())
