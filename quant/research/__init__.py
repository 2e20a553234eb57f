"""Sweeps over parameters, what they prove, and checks of a strategy before any of it. Never sees ib, tws or live.

Each name is imported when it is first used: the statistics and the workers of plain strategies do without the compiler.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quant.research.result import Sweep
    from quant.research.saved import load_sweep, remove_sweep, sweeps
    from quant.research.sweep import sweep
    from quant.research.walk_forward import walk_forward
    from quant.research.walk_forward_report import WalkForward

_WHERE = {
    "Sweep": "result",
    "WalkForward": "walk_forward_report",
    "load_sweep": "saved",
    "remove_sweep": "saved",
    "sweep": "sweep",
    "sweeps": "saved",
    "walk_forward": "walk_forward",
}
_COMPILED = (
    "sweep",
    "walk_forward",
)  # their modules load the compiled engine; each holds a function of its own name

__all__ = [
    "Sweep",
    "WalkForward",
    "load_sweep",
    "remove_sweep",
    "sweep",
    "sweeps",
    "walk_forward",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'quant.research' has no attribute {name!r}")
    if name in _COMPILED:
        from quant.research.first_use import announce_compiling

        announce_compiling()
    value = getattr(importlib.import_module(f"quant.research.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


class _Face(ModuleType):
    """This module: Python binds a file's name here when it is imported, and the name is that of the function in it."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _COMPILED and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Face
