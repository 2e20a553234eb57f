"""Data that signals know by name instead of from their bars: no check can cut it or poison it."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any, Final

import numpy as np
import pandas as pd

from quant.core.bars import Bars
from quant.core.finding import Finding
from quant.research.check.subject import Subject
from quant.strategy import Strategy

LARGE: Final = 100  # rows; less is taken for a table of constants


def outside(subject: Subject) -> Iterator[Finding]:
    """Yield a note for each series that `signals` finds outside its arguments: in its module, closure or class."""
    cls = subject.strategy
    function = cls.signals if cls.signals_all is Strategy.signals_all else cls.signals_all
    known = dict(_known(cls, inspect.unwrap(function)))
    for name, value in sorted(known.items()):
        message = (
            f"signals reads {name}, a {type(value).__name__} of {len(value):,} rows, which is not cut with the bars: "
            "whether row i uses only what was known then is unchecked. Pass it as bars of a feed of its own"
        )
        yield Finding("data-from-elsewhere", message, level="note")


def _known(cls: type, function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """Yield the series that a function and those of its module that it calls know by name."""
    seen, waiting = set(), [function]
    while waiting:
        code = getattr(waiting[-1], "__code__", None)
        current = waiting.pop()
        if code is None or code in seen:  # not written in Python, or looked at before
            continue
        seen.add(code)
        for name, value in _named(cls, current, code).items():
            if isinstance(value, FunctionType) and _nearby(current, name, value):
                waiting.append(value)
            elif _rows(value) >= LARGE:
                yield name, value


def _nearby(caller: Any, name: str, called: FunctionType) -> bool:
    """Return whether a function is the user's own: of the caller's package, or passed into it."""
    packages = [f.__module__.partition(".")[0] for f in (caller, called)]
    return packages[0] == packages[1] or name in caller.__code__.co_freevars


def _rows(value: Any) -> int:
    """Return the rows of a series, 0 of anything else."""
    if isinstance(value, np.ndarray):
        return value.shape[0] if value.ndim else 0
    return len(value) if isinstance(value, Bars | pd.DataFrame | pd.Series) else 0


def _named(cls: type, function: Any, code: CodeType) -> dict[str, Any]:
    names = _names(code)
    found = {n: function.__globals__[n] for n in names if n in function.__globals__}
    found |= {n: vars(cls)[n] for n in names if n in vars(cls)}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # a name without a value yet
            found[name] = cell.cell_contents
    return found


def _names(code: CodeType) -> set[str]:
    """Return the names that a function's code mentions, those of the functions within it too."""
    inner = (c for c in code.co_consts if isinstance(c, CodeType))
    return set(code.co_names).union(*(_names(c) for c in inner))
