"""Parity: a day that was traded live, laid beside the strategy's backtest on the bars as they stand now."""

from quant.promotion.parity.parity import parity
from quant.promotion.parity.value import Parity

__all__ = ["Parity", "parity"]
