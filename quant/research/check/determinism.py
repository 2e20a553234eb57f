"""Determinism: the same bars and parameters give the same signals, whatever was computed before and wherever."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from quant.core.bars import COLUMNS, Bars
from quant.core.finding import Finding
from quant.errors import QuantError
from quant.research.check.look_ahead import Attempt
from quant.research.check.result import Part
from quant.research.check.second import Unreachable, second_process
from quant.research.check.subject import Subject, differing, place, shown
from quant.strategy import Plan

FRESH = 8  # shorter histories of the second process that end anywhere, and as many where the strategy acts
MEND = (
    "Use the bars and parameters only; where chance is wanted, np.random.default_rng(p.seed) of a parameter"
)


def determinism(subject: Subject, seed: int) -> tuple[Part, list[Finding], list[Attempt]]:
    """Compute the signals again after other bars, with other random numbers, and in a second process.

    The third are the signals on shorter histories of that process, which has seen no longer ones before.
    """
    before = _bytes(subject.bars)
    with random_numbers(seed):
        _other_bars(subject)
        again = subject.compute([replace(b) for b in subject.bars])
    found = [*_written(subject, before), *_differs(subject, again, "when they are computed again")]
    if found:
        return Part("determinism", "failed", "signals differ from call to call, see below"), found, []
    try:
        other, fresh = second_process(subject, _cuts(subject, seed))
    except Unreachable as e:
        return Part("determinism", "ok", f"same bits when computed again; no second process: {e}"), [], []
    found = list(_differs(subject, other, "in a second process, where a shorter history came first"))
    if found:
        return Part("determinism", "failed", "signals differ from process to process, see below"), found, []
    return Part("determinism", "ok", "same bits when computed again, and in a second process"), [], fresh


def _cuts(subject: Subject, seed: int) -> list[int]:
    """Return lengths of shorter histories: half end anywhere, half on a bar at which the strategy acts."""
    rng, length = np.random.default_rng([seed, 3]), len(subject.longest)
    cuts = {max(length // 2, 1), *rng.integers(1, max(length, 2), FRESH).tolist()}
    cuts |= {int(r) + 1 for r in rng.permutation(subject.acting())[:FRESH]}
    return sorted(c for c in cuts if c < length)


@contextmanager
def random_numbers(seed: int) -> Iterator[None]:
    """Set the global random numbers of Python and numpy apart from what they were, and back afterwards."""
    python, old = random.getstate(), np.random.get_state()  # noqa: NPY002  # it is what such a strategy uses
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(old)  # noqa: NPY002


def _other_bars(subject: Subject) -> None:
    """Compute signals on other histories, so that what a strategy keeps between calls is no longer the same."""
    for rows in (slice(0, max(len(subject.longest) // 2, 1)), slice(len(subject.longest) // 3, None)):
        try:
            subject.compute([b[rows] for b in subject.bars])
        except QuantError:
            continue  # it may refuse them


def _bytes(bars: Sequence[Bars]) -> list[bytes]:
    return [getattr(b, name).tobytes() for b in bars for name in ("start", *COLUMNS)]


def _written(subject: Subject, before: list[bytes]) -> Iterator[Finding]:
    if _bytes(subject.bars) != before:
        yield Finding(
            "bars-changed", f"signals of {subject.strategy.__name__} write into the bars; copy them first"
        )


def _differs(subject: Subject, other: Sequence[Plan], when: str) -> Iterator[Finding]:
    """Yield a finding for the first row whose bits differ."""
    for bars, a, b in zip(subject.bars, subject.plans, other, strict=True):
        rows = differing(a, b, exact=True)
        if len(rows):
            values = f"target {shown(a.target[rows[0]])}, then {shown(b.target[rows[0]])}"
            message = (
                f"{subject.strategy.__name__} is not deterministic: signals for {place(bars, int(rows[0]))} are others "
                f"{when} ({values}). {MEND}"
            )
            yield Finding("not-deterministic", message, len(rows))
            return
