"""Signals in a second process: another order of sets, no state of this one, and shorter histories first.

The child imports the strategy's module anew, as the workers of a sweep and the live session do.
"""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any, Final

from quant.core.bars import Bars
from quant.errors import QuantError
from quant.research.check.look_ahead import Attempt, shorter
from quant.research.check.subject import Subject
from quant.strategy import Plan, plans

PATIENCE_S: Final = 120.0
# The child finds quant and the strategy where this process does.
_START: Final = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from quant.research.check.second import main
main()
"""


class Unreachable(Exception):  # noqa: N818  # says why, and is caught where the check is told
    """No second process can compute these signals."""


def second_process(subject: Subject, cuts: Sequence[int] = ()) -> tuple[tuple[Plan, ...], list[Attempt]]:
    """Return the signals that a fresh process gives, and what it gave before on shorter histories.

    cuts: bars of the longest feed that these have, in increasing order: what is kept of one is no answer for the
    next. Raises Unreachable where there is no way to ask it.
    """
    cls = subject.strategy
    if cls.__module__ == "__main__" or "<locals>" in cls.__qualname__:
        raise Unreachable("the class is not in a module")
    wishes = [(p.target, p.stop, p.limit, p.follow_stop) for p in subject.plans]
    try:
        asked = pickle.dumps(
            (cls.__module__, cls.__qualname__, dict(subject.params), subject.bars, wishes, list(cuts))
        )
    except (pickle.PicklingError, TypeError, AttributeError) as e:
        raise Unreachable(f"its parameters cannot be sent ({e})") from None
    # -R: sets of texts in another order, whatever PYTHONHASHSEED says.
    command = [sys.executable, "-R", "-c", _START, json.dumps(sys.path)]
    try:
        done = subprocess.run(command, input=asked, capture_output=True, timeout=PATIENCE_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as e:
        raise Unreachable(f"{type(e).__name__}: {e}") from None
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise Unreachable(lines[-1] if lines else f"it ended with code {done.returncode}")
    answer = pickle.loads(done.stdout)  # noqa: S301  # of our own child
    if isinstance(answer, str):
        raise Unreachable(answer)
    whole, attempts = answer
    return tuple(Plan(*columns) for columns in whole), attempts


def main() -> None:
    """Answer what stdin asks: the signals as columns, or a text that says why there are none."""
    asked = pickle.loads(sys.stdin.buffer.read())  # noqa: S301  # of our own parent
    out = sys.stdout.buffer
    with redirect_stdout(io.StringIO()):  # a strategy may print
        answer = _answer(*asked)
    out.write(pickle.dumps(answer))
    out.flush()


def _answer(
    name: str,
    qualified: str,
    params: dict[str, Any],
    bars: tuple[Bars, ...],
    wishes: list[Any],
    cuts: list[int],
) -> Any:
    import importlib

    found: Any = importlib.import_module(name)
    for part in qualified.split("."):
        found = getattr(found, part)
    subject = Subject(found, params, bars, tuple(Plan(*columns) for columns in wishes))
    attempts = [shorter(subject, c) for c in cuts if all(subject.over(c))]
    try:
        whole = plans(found, bars, params)
    except QuantError as e:
        return f"signals fail there: {e}"
    return [(p.target, p.stop, p.limit, p.follow_stop) for p in whole], attempts
