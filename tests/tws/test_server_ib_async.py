"""Certified by a second client that we did not write: ib_async 2.1, unmodified, with its strict synchronisation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from served import NOON, served

from quant.core.barsize import SECOND
from quant.tws.server import Server

ib_async = pytest.importorskip("ib_async", reason="ib_async is not installed (pip install -e .[dev])")

PATIENCE_S = 10.0  # only a failing test waits that long
Script = Callable[[Any, Server], Awaitable[None]]


def certify(script: Script) -> None:
    """Connect ib_async as its users do, run a script, and ask that it heard no error but cancels."""
    with served() as (server, port):

        async def play() -> list[tuple[int, str]]:
            ib = ib_async.IB()
            ib.RequestTimeout = PATIENCE_S
            errors: list[tuple[int, str]] = []
            ib.errorEvent += lambda _n, code, text, _c: errors.append((code, text))
            await ib.connectAsync("127.0.0.1", port, clientId=3, timeout=PATIENCE_S, raiseSyncErrors=True)
            try:
                await script(ib, server)
            finally:
                ib.disconnect()
            return errors

        heard = asyncio.run(play())
        assert [e for e in heard if e[0] not in (2104, 2106, 2158, 202, 162)] == []
        assert server.refused == []


async def until(event: Any, holds: Callable[[], bool]) -> None:
    """Wait for events until a condition holds."""
    while not holds():
        await asyncio.wait_for(event, PATIENCE_S)


def spy() -> Any:
    return ib_async.Stock("SPY", "SMART", "USD")


def test_it_connects_and_knows_the_account() -> None:
    async def script(ib: Any, server: Server) -> None:
        assert ib.client.serverVersion() == 178
        assert ib.managedAccounts() == ["DU1234567"]
        values = {(v.tag, v.currency): v.value for v in ib.accountValues()}
        assert values["NetLiquidation", "USD"] == "1000000.00"
        assert (ib.positions(), ib.openTrades(), ib.fills()) == ([], [], [])
        assert (await ib.reqCurrentTimeAsync()).timestamp() == NOON // SECOND
        summary = await ib.accountSummaryAsync()
        assert {v.tag: v.value for v in summary}["TotalCashValue"] == "1000000.00"

    certify(script)


def test_contracts_and_history() -> None:
    async def script(ib: Any, server: Server) -> None:
        (contract,) = await ib.qualifyContractsAsync(spy())
        assert (contract.conId, contract.primaryExchange) == (756733, "ARCA")
        (details,) = await ib.reqContractDetailsAsync(contract)
        assert details.minTick == 0.01
        head = await ib.reqHeadTimeStampAsync(contract, "TRADES", True, 1)
        assert head == datetime(2015, 1, 2, 14, 30)  # noqa: DTZ001  # ib_async gives UTC without a zone
        given = dict(durationStr="2 D", barSizeSetting="1 hour", whatToShow="TRADES", useRTH=True)
        bars = await ib.reqHistoricalDataAsync(contract, endDateTime="", **given)
        zone = ZoneInfo("US/Eastern")
        assert bars[0].date == datetime(2024, 5, 14, 9, 30, tzinfo=zone)
        assert all(b.low <= min(b.open, b.close) <= max(b.open, b.close) <= b.high for b in bars)
        daily = {**given, "durationStr": "1 M", "barSizeSetting": "1 day"}
        days = await ib.reqHistoricalDataAsync(contract, endDateTime="", **daily)
        hours = [b for b in bars if b.date.date() == days[-2].date]
        assert (hours[0].open, hours[-1].close) == (days[-2].open, days[-2].close)
        assert max(b.high for b in hours) == days[-2].high
        schedule = await ib.reqHistoricalScheduleAsync(contract, 2)
        assert [s.refDate for s in schedule.sessions] == ["20240514", "20240515"]
        pair = ib_async.Forex("EURUSD")
        given["whatToShow"] = "MIDPOINT"
        assert len(await ib.reqHistoricalDataAsync(pair, endDateTime="", **given)) > 24

    certify(script)


def test_a_market_order_fills_and_the_position_follows() -> None:
    async def script(ib: Any, server: Server) -> None:
        (contract,) = await ib.qualifyContractsAsync(spy())
        trade = ib.placeOrder(contract, ib_async.MarketOrder("BUY", 10))
        await until(
            ib.updateEvent, lambda: bool(trade.fills) and trade.fills[0].commissionReport.execId != ""
        )
        assert (trade.orderStatus.status, trade.filled(), trade.remaining()) == ("Filled", 10, 0)
        assert trade.fills[0].commissionReport.commission == 1.0  # IB's least for a stock order
        (position,) = ib.positions()
        assert (position.contract.conId, position.position) == (756733, 10)
        await until(ib.updateEvent, lambda: bool(ib.portfolio()))
        assert ib.portfolio()[0].position == 10
        sold = ib.placeOrder(contract, ib_async.MarketOrder("SELL", 10))
        await until(ib.updateEvent, sold.isDone)
        await until(ib.updateEvent, lambda: ib.positions() == [])

    certify(script)


def test_a_limit_order_waits_is_changed_and_cancelled() -> None:
    async def script(ib: Any, server: Server) -> None:
        (contract,) = await ib.qualifyContractsAsync(spy())
        trade = ib.placeOrder(contract, ib_async.LimitOrder("BUY", 10, 1.0))
        await until(ib.updateEvent, lambda: trade.orderStatus.status == "Submitted")
        (open_,) = await ib.reqAllOpenOrdersAsync()
        assert (open_.order.lmtPrice, open_.order.totalQuantity) == (1.0, 10)
        trade.order.lmtPrice = 2.0
        ib.placeOrder(contract, trade.order)
        await ib.reqAllOpenOrdersAsync()
        assert ib.openTrades()[0].order.lmtPrice == 2.0
        ib.cancelOrder(trade.order)
        await until(ib.updateEvent, trade.isDone)
        assert trade.orderStatus.status == "Cancelled"
        completed = await ib.reqCompletedOrdersAsync(False)
        assert [t.orderStatus.status for t in completed] == ["Cancelled"]

    certify(script)


def test_live_data() -> None:
    async def script(ib: Any, server: Server) -> None:
        (contract,) = await ib.qualifyContractsAsync(spy())
        ticker = ib.reqMktData(contract)
        await until(ib.updateEvent, lambda: ticker.hasBidAsk() and ticker.close > 0.0)
        assert ticker.bid < ticker.last < ticker.ask
        bars = ib.reqRealTimeBars(contract, 5, "TRADES", True)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, server.step, NOON + 10 * SECOND)
        await until(ib.updateEvent, lambda: len(bars) == 2)
        assert bars[0].time.timestamp() == NOON // SECOND
        kept = dict(durationStr="1800 S", barSizeSetting="1 min", whatToShow="TRADES", useRTH=True)
        live = await ib.reqHistoricalDataAsync(contract, endDateTime="", keepUpToDate=True, **kept)
        before = len(live)
        await loop.run_in_executor(None, server.step, NOON + 120 * SECOND)
        await until(ib.updateEvent, lambda: len(live) == before + 2)
        ib.cancelHistoricalData(live)
        ib.cancelRealTimeBars(bars)
        ib.cancelMktData(contract)
        await ib.reqCurrentTimeAsync()

    certify(script)
