"""Sweeps over parameters, what they prove, and checks of a strategy before any of it. Never sees ib, tws or live."""

from quant.research.first_use import announce_compiling

announce_compiling()  # the next import compiles the engine, or loads it

from quant.research.result import Sweep  # noqa: E402
from quant.research.saved import load_sweep, remove_sweep, sweeps  # noqa: E402
from quant.research.sweep import sweep  # noqa: E402

__all__ = ["Sweep", "load_sweep", "remove_sweep", "sweep", "sweeps"]
