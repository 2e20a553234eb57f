"""Backtest a strategy of strategies/ on bars of the store: python scripts/backtest.py"""

import quant as q

bars = q.bars("SPY", "1d", start="2017-01-01")
run = q.backtest("macd", bars, params={"fast": 12, "slow": 26}, cash=100_000, costs="ib-fixed")
print(run)
print(run.trades.tail())
