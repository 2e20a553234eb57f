"""What a strategy must show before it trades: the rehearsal of the live path against the backtest."""

from quant.promotion.rehearsal import Rehearsal, rehearse

__all__ = ["Rehearsal", "rehearse"]
