"""Figures of runs and trades from plain arrays, each with formula and source. Knows no engine, no files."""

from quant.metrics.drawdowns import drawdown, max_drawdown, max_drawdown_days
from quant.metrics.returns import course_sharpe, session_returns
from quant.metrics.summary import NAMES, figures
from quant.metrics.trade_list import Fill, Trade, trades, trades_frame

__all__ = [
    "NAMES",
    "Fill",
    "Trade",
    "course_sharpe",
    "drawdown",
    "figures",
    "max_drawdown",
    "max_drawdown_days",
    "session_returns",
    "trades",
    "trades_frame",
]
