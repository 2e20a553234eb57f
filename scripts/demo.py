"""Set the project up in .venv (first time only), then run `quant demo`; arguments are passed on to it."""

from __future__ import print_function

import os

import _venv


def main(arguments):
    """Run the demo and return its exit code."""
    venv = _venv.ready()
    quant = _venv.program(venv, "quant", os.name == "nt")
    return _venv.run([quant, "demo"] + arguments, _venv.environment(venv))


if __name__ == "__main__":
    _venv.guarded(main)
