"""Set the project up in .venv (first time only), then run lint, types, layers and tests.

All four run even if the first fails; with arguments only pytest runs and gets them. `--all` alone runs all four and
insists on what tests need beyond .venv: a browser, and the optional extras, which it installs.
"""

from __future__ import print_function

import os
import sys
import time

import _venv

EXTRAS = ("exports", "stats", "cluster", "optuna")
REQUIRED = ("browser", "exports", "arch", "cluster", "optuna")  # options of tests/conftest.py


def steps(venv, arguments, windows):
    """Return (name, command) of what is to run."""
    python = _venv.program(venv, "python", windows)
    if arguments == ["--all"]:
        extras = ("extras", [python, "-m", "pip", "install", "-q", "-e", ".[%s]" % ",".join(EXTRAS)])
        insisting = steps(venv, ["-q", "-n", "2"] + ["--%s=require" % name for name in REQUIRED], windows)
        return [extras] + steps(venv, [], windows)[:-1] + insisting
    tests = ("pytest", [python, "-m", "pytest"] + (arguments or ["-q"]))
    if arguments:
        return [tests]
    return [
        ("ruff", [python, "-m", "ruff", "check", "."]),
        ("mypy", [python, "-m", "mypy"]),
        ("lint-imports", [_venv.program(venv, "lint-imports", windows)]),
        tests,
    ]


def main(arguments):
    """Run the steps, print how each ended, and return 0 only if all passed."""
    venv = _venv.ready()
    env = _venv.environment(venv)
    ends = []
    for name, command in steps(venv, arguments, os.name == "nt"):
        print("--- %s" % name)
        began = time.time()
        code = _venv.run(command, env)
        ends.append((name, code, time.time() - began))
    told = ["%s %s (%.1f s)" % (name, "ok" if code == 0 else "FAILED", took) for name, code, took in ends]
    print("summary: " + ", ".join(told))
    sys.stdout.flush()
    return max((code for _, code, _ in ends), key=abs)  # 0 only if all are


if __name__ == "__main__":
    _venv.guarded(main)
