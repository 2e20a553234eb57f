"""Orders beyond the plain ones, as a second client sees them that we did not write: ib_async 2.1, unmodified."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from served import NOON, served
from test_server_ib_async import PATIENCE_S, Script, certify, spy, until

from quant.core.barsize import MINUTE, SECOND
from quant.tws.order_faults import OrderDo, OrderFault
from quant.tws.server import Server

ib_async = pytest.importorskip("ib_async", reason="ib_async is not installed (pip install -e .[dev])")


def suffer(faults: Iterable[OrderFault], script: Script) -> list[tuple[int, str]]:
    """Connect ib_async to a TWS with faults; return the errors that it heard."""
    with served(faults=faults) as (server, port):

        async def play() -> list[tuple[int, str]]:
            ib = ib_async.IB()
            ib.RequestTimeout = PATIENCE_S
            heard: list[tuple[int, str]] = []
            ib.errorEvent += lambda _n, code, text, _c: heard.append((code, text))
            await ib.connectAsync("127.0.0.1", port, clientId=3, timeout=PATIENCE_S, raiseSyncErrors=True)
            try:
                await script(ib, server)
            finally:
                ib.disconnect()
            return heard

        return asyncio.run(play())


async def step(server: Server, moment: int) -> None:
    await asyncio.get_running_loop().run_in_executor(None, server.step, moment)


def test_a_bracket() -> None:
    async def script(ib: Any, server: Server) -> None:
        (contract,) = await ib.qualifyContractsAsync(spy())
        price = server.tws.price(server.tws.catalogue.get(756733), NOON)
        assert price is not None
        orders = ib.bracketOrder(
            "BUY", 10, round(price + 1.0, 2), round(price + 50.0, 2), round(price - 0.1, 2)
        )
        entry, target, stop = (ib.placeOrder(contract, one) for one in orders)
        await until(ib.updateEvent, lambda: target.orderStatus.status == "Submitted")
        assert (entry.orderStatus.status, stop.orderStatus.status) == ("Filled", "PreSubmitted")
        assert stop.orderStatus.whyHeld == "trigger"
        (waiting, other) = await ib.reqAllOpenOrdersAsync()
        assert {waiting.order.orderType, other.order.orderType} == {"LMT", "STP"}
        assert waiting.order.parentId == other.order.parentId == entry.order.orderId
        await step(server, NOON + 120 * MINUTE)
        await until(ib.updateEvent, lambda: stop.isDone() and target.isDone())
        assert (stop.orderStatus.status, target.orderStatus.status) == ("Filled", "Cancelled")
        await until(ib.updateEvent, lambda: ib.positions() == [])

    certify(script)


def test_a_change_of_a_stop_and_what_if() -> None:
    async def script(ib: Any, server: Server) -> None:
        (contract,) = await ib.qualifyContractsAsync(spy())
        state = await ib.whatIfOrderAsync(contract, ib_async.MarketOrder("BUY", 100))
        price = server.tws.price(server.tws.catalogue.get(756733), NOON)
        assert price is not None
        assert float(state.initMarginChange) == pytest.approx(
            50 * price, abs=0.02
        )  # half the value: Regulation T
        assert (float(state.equityWithLoanBefore), state.commission) == (1_000_000.0, 1.0)
        assert ib.openTrades() == []
        trade = ib.placeOrder(contract, ib_async.StopOrder("SELL", 10, 1.0, tif="GTC"))
        await until(ib.updateEvent, lambda: trade.orderStatus.status == "PreSubmitted")
        trade.order.auxPrice = 2.0
        ib.placeOrder(contract, trade.order)
        await ib.reqAllOpenOrdersAsync()
        (seen,) = ib.openTrades()
        assert (seen.order.auxPrice, seen.order.tif, seen.order.permId) == (2.0, "GTC", trade.order.permId)
        assert server.tws.exchange.orders[0].request.stop == 2.0
        assert trade.isActive()

    certify(script)


def test_a_trailing_stop_and_a_group() -> None:
    async def script(ib: Any, server: Server) -> None:
        (contract,) = await ib.qualifyContractsAsync(spy())
        trail = ib_async.Order(action="SELL", totalQuantity=10, orderType="TRAIL", auxPrice=0.2, tif="GTC")
        target = ib_async.LimitOrder("SELL", 10, 9999.0, tif="GTC")
        first, second = (
            ib.placeOrder(contract, o) for o in ib_async.IB.oneCancelsAll([trail, target], "pair", 1)
        )
        await until(ib.updateEvent, lambda: second.orderStatus.status == "Submitted")
        assert first.orderStatus.status == "PreSubmitted"
        await step(server, NOON + 150 * MINUTE)
        await until(ib.updateEvent, lambda: first.isDone() and second.isDone())
        assert (first.orderStatus.status, second.orderStatus.status) == ("Filled", "Cancelled")

    certify(script)


def test_profit_and_loss() -> None:
    async def script(ib: Any, server: Server) -> None:
        (contract,) = await ib.qualifyContractsAsync(spy())
        found = ib.reqPnL("DU1234567")
        trade = ib.placeOrder(contract, ib_async.MarketOrder("BUY", 10))
        await until(ib.updateEvent, trade.isDone)
        one = ib.reqPnLSingle("DU1234567", "", contract.conId)
        await until(ib.updateEvent, lambda: one.position == 10)
        await step(server, NOON + 60 * SECOND)
        await until(ib.updateEvent, lambda: one.dailyPnL == found.dailyPnL != 0.0)
        ib.cancelPnL("DU1234567")
        ib.cancelPnLSingle("DU1234567", "", contract.conId)
        await ib.reqCurrentTimeAsync()

    certify(script)


def test_an_order_made_by_hand_is_a_trade_without_an_order_id() -> None:
    async def script(ib: Any, server: Server) -> None:
        await step(server, NOON + SECOND)
        (found,) = await ib.reqAllOpenOrdersAsync()
        assert (found.order.orderId, found.order.totalQuantity) == (0, 7)
        assert found.order.permId > 0

    hand = OrderFault(OrderDo.HAND, after_s=1.0, symbol="SPY", quantity=7, limit=1.0)
    assert {code for code, _ in suffer([hand], script)} <= {2104, 2106, 2158}


def test_it_takes_a_live_order_for_cancelled_when_tws_changes_its_time_in_force() -> None:
    # ib_async #217: 10349 is no warning to it. Our simulator shows it the same.
    async def script(ib: Any, server: Server) -> None:
        (contract,) = await ib.qualifyContractsAsync(spy())
        trade = ib.placeOrder(contract, ib_async.LimitOrder("BUY", 10, 1.0, tif="GTC"))
        await until(ib.updateEvent, lambda: trade.orderStatus.status == "Cancelled")
        (held,) = server.tws.exchange.open_orders
        assert (held.status, held.request.tif, held.perm_id) == ("Submitted", "DAY", trade.order.permId)

    assert 10349 in {code for code, _ in suffer([OrderFault(OrderDo.PRESET)], script)}


def test_it_adds_a_correction_to_the_fill_that_it_replaces() -> None:
    # ib_insync #364.
    async def script(ib: Any, server: Server) -> None:
        (contract,) = await ib.qualifyContractsAsync(spy())
        trade = ib.placeOrder(contract, ib_async.MarketOrder("BUY", 10))
        await until(ib.updateEvent, trade.isDone)
        await step(server, NOON + SECOND)
        await until(ib.updateEvent, lambda: len(trade.fills) == 2)
        assert sum(f.execution.shares for f in trade.fills) == 20
        assert server.tws.account.holdings[0].quantity == 10

    suffer([OrderFault(OrderDo.CORRECT, seconds=1.0, price_by=0.25)], script)
