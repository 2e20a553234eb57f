"""Trades from fills: by hand, against backtrader's Trade, and profit conserved on random fills."""

from __future__ import annotations

import math
from types import SimpleNamespace

import backtrader as bt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.errors import ParameterError
from quant.metrics.trade_list import Fill, trades, trades_frame


def fill(time: int, quantity: float, price: float, commission: float = 0.0, **more: object) -> Fill:
    return Fill(
        time=time, symbol="SPY", quantity=quantity, price=price, commission=commission, bar=time
    )._replace(**more)


# ---------------------------------------------------------------- by hand
def test_a_round_trip_is_one_trade_net_of_commission() -> None:
    (t,) = trades([fill(1, 100, 10.0, 1.0), fill(5, -100, 12.0, 1.0, reason="stop")], {})
    assert (t.symbol, t.quantity, t.entry_time, t.exit_time) == ("SPY", 100, 1, 5)
    assert (t.entry_price, t.exit_price, t.pnl, t.commission) == (10.0, 12.0, 198.0, 2.0)
    assert (t.return_, t.bars, t.reason, t.open) == (0.198, 4, "stop", False)


def test_a_short_trade_gains_when_the_price_falls() -> None:
    (t,) = trades([fill(1, -50, 20.0), fill(2, 50, 18.0)], {})
    assert (t.quantity, t.pnl, t.return_) == (-50, 100.0, 0.1)


def test_increases_and_partial_closes_belong_to_one_trade() -> None:
    fills = [
        fill(1, 100, 10.0),
        fill(2, 300, 14.0),
        fill(3, -200, 15.0, reason="reduce"),
        fill(4, -200, 17.0, reason="close"),
    ]
    (t,) = trades(fills, {})
    assert (t.quantity, t.entry_price, t.exit_price, t.pnl, t.reason) == (400, 13.0, 16.0, 1200.0, "close")


def test_quantity_is_the_largest_size_held() -> None:
    fills = [fill(1, -100, 10.0), fill(2, 60, 10.0), fill(3, -10, 10.0), fill(4, 50, 10.0)]
    assert [t.quantity for t in trades(fills, {})] == [-100]


def test_a_fill_that_crosses_zero_closes_one_trade_and_opens_the_next() -> None:
    fills = [fill(1, 100, 10.0, 1.0), fill(2, -150, 11.0, 3.0, reason="turn"), fill(3, 50, 9.0, 1.0)]
    first, second = trades(fills, {})
    assert (first.pnl, first.commission, first.exit_time, first.reason) == (97.0, 3.0, 2, "turn")
    assert (second.quantity, second.entry_price, second.commission, second.pnl) == (-50, 11.0, 2.0, 98.0)


def test_an_open_trade_is_a_flagged_row_at_the_last_close() -> None:
    fills = [fill(1, 100, 10.0, 1.0), fill(2, -40, 12.0, 1.0)]
    (t,) = trades(fills, {"SPY": 11.0})
    assert (t.open, t.reason, t.exit_time, t.bars, t.quantity) == (True, "open", None, None, 100)
    assert t.pnl == 40 * 2.0 + 60 * 1.0 - 2.0
    assert t.exit_price == pytest.approx(11.4)  # 40 left at 12, 60 are worth 11
    (whole,) = trades(fills[:1], {"SPY": 11.0})
    assert whole.exit_price == 11.0


def test_symbols_are_kept_apart_and_rows_come_in_order_of_entry() -> None:
    fills = [
        fill(1, 10, 10.0),
        fill(2, -10, 5.0, symbol="QQQ"),
        fill(3, 10, 4.0, symbol="QQQ"),
        fill(4, -10, 11.0),
    ]
    assert [(t.symbol, t.pnl) for t in trades(fills, {})] == [("SPY", 10.0), ("QQQ", 10.0)]


def test_the_multiplier_counts_in_profit_but_not_in_return() -> None:
    (t,) = trades([fill(1, 2, 4000.0, multiplier=50.0), fill(2, -2, 4010.0, multiplier=50.0)], {})
    assert (t.pnl, t.return_) == (1000.0, 0.0025)


def test_fractions_that_leave_float_dust_are_flat() -> None:
    fills = [fill(1, 0.1, 10.0), fill(2, 0.2, 10.0), fill(3, -0.3, 11.0)]
    (t,) = trades(fills, {})
    assert not t.open


def test_one_price_is_kept_to_the_last_bit() -> None:
    (t,) = trades([fill(1, 37, 101.37), fill(2, -30, 99.13), fill(3, -7, 99.13)], {})
    assert (t.entry_price, t.exit_price) == (101.37, 99.13)


def test_an_entry_for_nothing_has_no_return_and_a_negative_price_has_one() -> None:
    assert math.isnan(trades([fill(1, 1, 0.0), fill(2, -1, 5.0)], {})[0].return_)
    assert trades([fill(1, 1, -10.0), fill(2, -1, -5.0)], {})[0].return_ == 0.5


def test_no_fills_make_no_trades() -> None:
    assert trades([], {}) == []


@pytest.mark.parametrize("quantity", [0, math.nan, math.inf])
def test_a_fill_of_nothing_is_refused(quantity: float) -> None:
    with pytest.raises(ParameterError, match="SPY"):
        trades([fill(1, quantity, 10.0)], {})


def test_a_held_symbol_without_a_last_close_is_refused() -> None:
    with pytest.raises(ParameterError, match="last close of SPY"):
        trades([fill(1, 1, 10.0)], {"QQQ": 1.0})


# ---------------------------------------------------------------- table
def test_the_table_has_types_even_for_open_trades_and_for_none() -> None:
    frame = trades_frame(trades([fill(1, 1, 10.0), fill(2, -1, 12.0), fill(3, -1, 12.0)], {"SPY": 10.0}))
    empty = trades_frame([])
    assert list(frame) == list(empty)
    assert (frame.dtypes == empty.dtypes).all()
    assert str(frame["exit_time"].dtype) == "datetime64[ns, UTC]"
    assert (
        frame["exit_time"].isna().tolist()
        == frame["bars"].isna().tolist()
        == frame["open"].tolist()
        == [False, True]
    )
    assert frame["return"].tolist() == pytest.approx([0.2, 1 / 6])
    assert frame["entry_time"][0] == pd.Timestamp(1, tz="UTC")


# ---------------------------------------------------------------- invariants
@st.composite
def random_fills(draw: st.DrawFn) -> list[Fill]:
    rows = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["A", "B"]),
                st.integers(-300, 300).filter(bool),
                st.integers(1, 50_000).map(lambda cents: cents / 100),
                st.integers(0, 500).map(lambda cents: cents / 100),
            ),
            max_size=30,
        )
    )
    multiplier = {"A": 1.0, "B": 50.0}
    return [Fill(i, s, q, p, c, "", i, multiplier[s]) for i, (s, q, p, c) in enumerate(rows)]


@given(fills=random_fills(), last_a=st.floats(0.5, 500.0), last_b=st.floats(0.5, 500.0))
def test_profits_add_up_to_the_account_to_the_cent(fills: list[Fill], last_a: float, last_b: float) -> None:
    last = {"A": last_a, "B": last_b}
    start = cash = 100_000.0
    position = {"A": 0.0, "B": 0.0}
    for f in fills:
        cash -= f.quantity * f.price * f.multiplier + f.commission
        position[f.symbol] += f.quantity
    final = cash + position["A"] * last_a + position["B"] * last_b * 50.0
    rows = trades(fills, last)
    assert math.fsum(t.pnl for t in rows) == pytest.approx(final - start, abs=0.005)
    assert math.fsum(t.commission for t in rows) == pytest.approx(
        math.fsum(f.commission for f in fills), abs=1e-6
    )
    assert {t.symbol for t in rows if t.open} == {s for s, size in position.items() if size}


class Feed:
    """As much of a feed as backtrader's Trade reads."""

    datetime = (0.0,)

    def __len__(self) -> int:
        return 0


def backtrader_trades(fills: list[Fill]) -> list[tuple[float, float]]:
    """Return profit and commission of backtrader's closed trades; a crossing fill comes in two."""
    closed, size, trade = [], 0.0, bt.Trade(data=Feed())
    order, info = SimpleNamespace(p=SimpleNamespace(simulated=False)), bt.CommInfoBase()
    for f in fills:
        crosses = size * f.quantity < 0 and abs(f.quantity) > abs(size)
        for part in (-size, f.quantity + size) if crosses else (f.quantity,):
            trade.update(order, part, f.price, 0.0, f.commission * abs(part / f.quantity), 0.0, info)
            if trade.isclosed:
                closed.append((trade.pnlcomm, trade.commission))
                trade = bt.Trade(data=Feed())
        size += f.quantity
    return closed


@given(fills=random_fills())
def test_closed_trades_equal_backtraders(fills: list[Fill]) -> None:
    fills = [f for f in fills if f.symbol == "A"]
    ours = [t for t in trades(fills, {"A": 1.0}) if not t.open]
    theirs = backtrader_trades(fills)
    assert [t.pnl for t in ours] == pytest.approx([pnl for pnl, _ in theirs], abs=1e-6)
    assert [t.commission for t in ours] == pytest.approx([fee for _, fee in theirs], abs=1e-9)
