"""The figures of a run as a whole: keys, one account by hand, an account that did nothing."""

from __future__ import annotations

import math

import empyrical
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.errors import ParameterError
from quant.metrics import Fill, figures, trades
from quant.metrics.drawdowns import DAY_NS

# The metrics keys of the design, in its order.
# fmt: off
KEYS = [
    "total_return", "cagr", "volatility", "sharpe", "sortino", "calmar", "max_drawdown",
    "max_drawdown_days", "exposure", "turnover", "trades", "win_rate", "profit_factor", "avg_trade",
    "best_trade", "worst_trade", "sqn", "commission", "slippage", "rejected", "buy_hold_return",
    "final_value", "final_cash",
]
# fmt: on


def daily(equity: list[float], **more: object) -> dict[str, float]:
    """Return the figures of daily bars; the account starts with 1,000."""
    n = len(equity)
    given_ = {
        "equity": np.array(equity, dtype=float),
        "end_ns": np.arange(n, dtype=np.int64) * DAY_NS,
        "session": np.datetime64("2020-01-01", "D") + np.arange(n),
        "held": np.zeros(n, dtype=bool),
        "start_cash": 1_000.0,
        "final_cash": 1_000.0,
        "periods_per_year": 252.0,
    }
    return figures(**(given_ | more))  # type: ignore[arg-type]


def test_keys_are_those_of_the_design_in_its_order() -> None:
    assert list(daily([1_000.0, 1_010.0])) == KEYS


def test_one_account_by_hand() -> None:
    # Bought 100 at 10.00 (fee 1), sold at 12.00 (fee 1), each filled 0.02 worse than the open.
    f = daily(
        [1_000.0, 899.0, 1_198.0, 1_198.0],
        held=np.array([False, True, False, False]),
        quantity=[100, -100],
        price=[10.0, 12.0],
        commission=[1.0, 1.0],
        slippage=[0.02, 0.02],
        pnl=[198.0],
        rejected=1,
        buy_hold_return=0.2,
        final_cash=1_198.0,
    )
    expected = {
        "total_return": 0.198,
        "cagr": 1.198**63 - 1,  # four sessions, 252 a year
        "max_drawdown": -0.101,
        "max_drawdown_days": 2,
        "exposure": 0.25,
        "turnover": 2_200 * 63 / 1_073.75,
        "trades": 1,
        "win_rate": 1.0,
        "avg_trade": 198.0,
        "best_trade": 198.0,
        "worst_trade": 198.0,
        "commission": 2.0,
        "slippage": 4.0,
        "rejected": 1,
        "buy_hold_return": 0.2,
        "final_value": 1_198.0,
        "final_cash": 1_198.0,
    }
    assert {key: f[key] for key in expected} == pytest.approx(expected, rel=1e-9)
    assert math.isnan(f["profit_factor"])  # no loss
    assert math.isnan(f["sqn"])  # one trade
    r = np.array([0.0, -0.101, 1198 / 899 - 1, 0.0])
    assert f["sharpe"] == pytest.approx(empyrical.sharpe_ratio(r), rel=1e-9)
    assert f["sortino"] == pytest.approx(empyrical.sortino_ratio(r), rel=1e-9)


def test_an_account_that_did_nothing() -> None:
    f = daily([1_000.0] * 5)
    undefined = {key for key, value in f.items() if math.isnan(value)}
    trade_figures = {"win_rate", "profit_factor", "avg_trade", "best_trade", "worst_trade", "sqn"}
    assert undefined == trade_figures | {"sharpe", "sortino", "calmar", "buy_hold_return"}
    assert all(f[key] == 0.0 for key in set(KEYS) - undefined - {"final_value", "final_cash"})


def test_multiplier_counts_in_turnover_and_slippage() -> None:
    one = daily([1_000.0, 1_000.0], quantity=[1], price=[10.0], commission=0.0, slippage=0.25)
    fifty = daily(
        [1_000.0, 1_000.0], quantity=[1], price=[10.0], commission=0.0, slippage=0.25, multiplier=50.0
    )
    assert (fifty["turnover"], fifty["slippage"]) == (50 * one["turnover"], 12.5)


def test_drawdown_is_seen_within_a_session_but_volatility_is_of_sessions() -> None:
    session = np.array(["2020-01-02", "2020-01-02", "2020-01-03"], dtype="datetime64[D]")
    f = daily([800.0, 1_010.0, 1_020.1], session=session)
    assert f["max_drawdown"] == -0.2
    assert f["volatility"] == pytest.approx(0.0, abs=1e-12)  # 1 % on both days


@pytest.mark.parametrize("equity", [[1_000.0, -50.0, 20.0], [0.0, 0.0], [1e-9, 1e9]])
def test_a_ruined_account_gives_figures_without_a_warning(equity: list[float]) -> None:
    f = daily(equity)
    assert f["final_value"] == equity[-1]
    assert not any(math.isinf(value) for value in f.values())


@pytest.mark.parametrize(
    "wrong",
    [
        {"held": np.zeros(3, dtype=bool)},
        {"quantity": [1.0], "price": [1.0, 2.0], "commission": [0.0]},
        {"quantity": [1.0], "price": [1.0]},
        {"quantity": [1.0], "price": [1.0], "commission": [0.0], "slippage": [0.0, 0.0]},
    ],
)
def test_lengths_that_do_not_fit_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ParameterError, match="is needed"):
        daily([1_000.0, 1_010.0], **wrong)


def test_no_bars_are_refused() -> None:
    with pytest.raises(ParameterError, match="at least one bar"):
        daily([])


@given(
    steps=st.lists(
        st.tuples(st.integers(-20, 20), st.integers(500, 1_500).map(lambda cents: cents / 100)),
        min_size=1,
        max_size=30,
    )
)
def test_total_return_and_trades_tell_the_same_profit(steps: list[tuple[int, float]]) -> None:
    """A fill at each close: cash, equity and trades are kept apart and must meet."""
    cash, position, equity, fills = 100_000.0, 0, [], []
    for i, (quantity, close) in enumerate(steps):
        if quantity:
            fills.append(Fill(i, "SPY", quantity, close, 1.0))
            cash -= quantity * close + 1.0
        position += quantity
        equity.append(cash + position * close)
    rows = trades(fills, {"SPY": steps[-1][1]})
    f = daily(equity, start_cash=100_000.0, pnl=[t.pnl for t in rows if not t.open])
    assert f["total_return"] * 100_000.0 == pytest.approx(math.fsum(t.pnl for t in rows), abs=0.005)
    assert f["trades"] == sum(not t.open for t in rows)
