"""A disk without room ends orders, not the program: a bracket that the journal takes no more is rejected whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import backtrader as bt
from bar_exchange import Market

import quant as q


class Told(bt.Strategy):  # type: ignore[misc]  # backtrader has no types
    """Enters with two exits at the third bar, and writes down how orders end."""

    def __init__(self) -> None:
        self.ends: list[str] = []

    def notify_order(self, order: bt.Order) -> None:
        if not order.alive():
            self.ends.append(order.getstatusname())

    def next(self) -> None:
        if len(self) == 3:
            close = self.data.close[0]
            self.buy_bracket(size=10, exectype=bt.Order.Market, stopprice=0.5 * close, limitprice=2.0 * close)


def test_a_bracket_on_a_full_disk_is_rejected_and_trading_halts(tmp_path: Path) -> None:
    bars = q.synthetic("MMM", "5m", "2020-01-02", "2020-01-03", seed=4, volatility=0.6)
    market = Market(replace(bars, instrument=replace(bars.instrument, con_id=11, tick=0.01))).start(tmp_path)

    def fill_up(step: int) -> None:
        if step == 1:
            market.journal._failed = "a write failed (database or disk is full)"

    market.before_bar.append(fill_up)
    here = market.run(Told)
    assert here.ends[0] == "Rejected"
    assert len(here.ends) == 3
    assert "disk is full" in market.desk.halted
    assert len(here) == len(bars)  # it goes on watching
