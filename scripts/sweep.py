"""Sweep parameters of a strategy of strategies/ over bars of the store: python scripts/sweep.py"""

import quant as q

if __name__ == "__main__":  # other processes of a sweep read this file too
    bars = q.bars("MSFT", "1d")
    grid = {"fast": range(5, 25, 5), "slow": range(30, 70, 10), "signal": [5, 9, 13]}
    sweep = q.sweep("macd", bars, grid, cash=100_000, costs="ib-fixed")
    print(sweep)
    print(sweep.heatmap("fast", "slow").round(2))
    print(sweep.run("best"))  # the best row as a saved backtest
    print("report:", sweep.report())
