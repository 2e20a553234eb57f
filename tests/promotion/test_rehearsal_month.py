"""A month of one-minute bars of each of our strategies: live at a simulated TWS is the backtest to the cent."""

from __future__ import annotations

import pytest

from quant.core.synthetic import synthetic
from quant.promotion import rehearse

# With so many orders at least: a month without any would prove nothing.
ORDERS = {
    "macd": 500, "rsi": 50, "renko": 50, "renko_macd": 400, "macd_stochastic": 2000, "opening_range": 20,
}  # fmt: skip


@pytest.mark.parametrize("strategy", ORDERS)
def test_month_of_minutes_is_traded_live_as_in_the_backtest(strategy: str) -> None:
    bars = synthetic("SPY", "1m", "2024-03-01", "2024-03-28", price=400.0)
    found = rehearse(strategy, bars, start_rule="first-target")
    assert found.equal, "\n".join(str(d) for d in found.differences[:20])
    assert found.ok
    assert found.bars == 20 * 390
    assert found.orders[1] == found.orders[0] >= ORDERS[strategy]
    assert found.cash[0] == pytest.approx(found.cash[1], abs=0.005)
    assert found.value[0] == pytest.approx(found.value[1], abs=0.005)
