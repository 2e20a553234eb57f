"""What programs tell backtrader's own broker, and what notices of orders carry, over an exchange in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import backtrader as bt
import pytest
from bar_exchange import CAPITAL, WIDE, Market

import quant as q
from quant.errors import ParameterError
from quant.live.orders.settings import Settings


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    bars = q.synthetic("MMM", "5m", "2020-01-02", "2020-01-03", seed=4)
    bars = replace(bars, instrument=replace(bars.instrument, con_id=11, tick=0.01))
    return Market(bars).start(tmp_path_factory.mktemp("journal"), limits=replace(WIDE, max_quantity=5))


LIVE: list[tuple[str, tuple[Any, ...], tuple[Any, ...], str]] = [
    ("setcash", (CAPITAL,), (CAPITAL + 1,), "capital="),
    ("set_cash", (CAPITAL,), (1.0,), "capital="),
    ("add_cash", (0,), (100.0,), "capital="),
    ("set_coc", (False,), (True,), "bt.Order.Close"),
    ("set_coo", (False,), (True,), "cheat_on_open"),
    ("set_slippage_perc", (0.0,), (0.001,), "IB's"),
    ("set_slippage_fixed", (0.0,), (0.05, True), "IB's"),
    ("set_filler", (None,), (bt.broker.fillers.FixedSize(size=1),), "IB's"),
    ("set_eosbar", (False,), (True,), "leave it out"),
    ("set_fundmode", (False,), (True, 10.0), "leave it out"),
    ("set_checksubmit", (True,), (False,), "limits="),
    ("set_shortcash", (True,), (False,), "leave it out"),
    ("set_int2pnl", (True,), (False,), "leave it out"),
]


@pytest.mark.parametrize(("name", "taken", "refused", "mend"), LIVE)
def test_a_setter_of_backtraders_broker_is_refused_with_what_to_do(
    market: Market, name: str, taken: tuple[Any, ...], refused: tuple[Any, ...], mend: str
) -> None:
    getattr(market.broker, name)(*taken)
    with pytest.raises(ParameterError, match=mend) as error:
        getattr(market.broker, name)(*refused)
    assert name.replace("set_cash", "setcash") in str(error.value)


def test_all_setters_of_backtraders_broker_are_known(market: Market) -> None:
    theirs = {name for name in dir(bt.brokers.BackBroker) if name.startswith(("set", "add"))}
    ours = vars(Settings).keys() | {"setcommission", "addcommissioninfo"}  # these count until IB tells
    assert theirs <= ours
    for name in ("add_order_history", "set_fund_history", "set_fundstartval"):
        with pytest.raises(ParameterError, match="leave it out"):
            getattr(market.broker, name)([])


def test_a_clone_has_the_scheme_of_its_feed(market: Market) -> None:
    """As cerebro makes one to resample a feed that is there already: without a name."""
    feed, scheme = market.feeds[0], bt.CommInfoBase(mult=50.0)
    feed._name = "FUTURE"
    market.broker.addcommissioninfo(scheme, name="FUTURE")
    assert market.broker.getcommissioninfo(feed.clone()) is scheme
    assert market.broker.getcommissioninfo(feed.clone().clone()) is scheme


class Told(bt.Strategy):  # type: ignore[misc]
    """Buys more than the limits allow, and keeps what each notice said when it came."""

    def __init__(self) -> None:
        self.notices: list[tuple[str, dict[str, Any]]] = []
        self.kept: list[bt.Order] = []

    def notify_order(self, order: bt.Order) -> None:
        self.notices.append((order.getstatusname(), dict(order.info)))
        self.kept.append(order)

    def next(self) -> None:
        if len(self) == 3:
            self.buy(size=6, mine="first")


def test_a_notice_carries_what_was_known_then(market: Market) -> None:
    found = market.run(Told)
    (submitted, rejected) = found.notices
    assert submitted == ("Submitted", {"mine": "first"})
    assert rejected[0] == "Rejected"
    assert "more than 5" in rejected[1]["why"]
    assert [dict(order.info) for order in found.kept] == [submitted[1], rejected[1]]
