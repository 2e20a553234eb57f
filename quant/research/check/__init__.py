"""q.check: does a strategy look ahead, forget its start, repeat itself, and run the same in all engines."""

from quant.research.check.result import Check, Part
from quant.research.check.run import check

__all__ = ["Check", "Part", "check"]
