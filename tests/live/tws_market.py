"""Stored bars, and the simulated TWS that trades them over loopback, in lockstep: nothing waits for a clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bar_exchange import CAPITAL, WIDE, Market, stored_feed

import quant as q
from quant.core.barsize import SECOND
from quant.core.orders import Report, Snapshot, Ticket
from quant.ib import requests
from quant.ib.contracts import ContractSpec
from quant.ib.lookup import find_contract
from quant.ib.orders import Orders
from quant.ib.session import Session
from quant.live.broker import LiveBroker
from quant.oms.desk.desk import OrderDesk
from quant.oms.desk.setup import Link, Setup, Surroundings
from quant.oms.journal.journal import Journal
from quant.oms.limits import Limits
from quant.tws.exchange.clock import Clock
from quant.tws.program import simulated
from quant.tws.server import Server, running

ACCOUNT = "DU1234567"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TwsExchange:
    """The simulated TWS in the place of the exchange in memory."""

    def __init__(self, market: TwsMarket, server: Server, session: Session) -> None:
        self.market, self.server, self.session = market, server, session
        self.orders = Orders(session, now=lambda: _EPOCH + timedelta(microseconds=market.now // 1000))
        self.orders.know(find_contract(session, ContractSpec("SPY", currency="USD"), datetime.now(UTC)))
        self.now = 0
        self.asked = True  # something that TWS has to answer

    def run_to(self, now: int) -> None:
        self.server.step(now)
        self.catch_up()

    def catch_up(self) -> None:
        """Answers come in the order of the questions: with this one's all before it have come."""
        self.session.ask(requests.current_time())
        self.asked = False

    def trade(self, con_id: int, begin: int, end: int, *prices: float) -> None:
        for moment in (begin, end):
            self.server.step(moment)
            self.market.now = max(self.market.now, moment)
            self.asked |= bool(self.market.desk.unsettled_orders)
            while self.asked:
                self.catch_up()
                self.market.broker.poll()

    def connect(self) -> None: ...

    # ------------------------------------------------------------ Wire, and the desk's broker
    def reports(self) -> list[Report]:
        return self.orders.reports()

    def damaged(self) -> list[Any]:
        return self.orders.damaged()

    def quantised(self, ticket: Ticket) -> Ticket:
        return self.orders.quantised(ticket)

    def place(self, order_id: int, ticket: Ticket, parent_id: int | None = None) -> None:
        self.asked = True
        self.orders.place(order_id, ticket, parent_id)

    def cancel(self, order_id: int) -> None:
        self.asked = True
        self.orders.cancel(order_id)

    def begin_snapshot(self) -> None:
        self.orders.begin_snapshot()

    def snapshot(self) -> Snapshot | None:
        return self.orders.snapshot()


class TwsMarket(Market):
    """As Market; its exchange is TWS."""

    def __init__(self, bars: q.Bars) -> None:
        super().__init__(bars)
        self.exchange: Any = None
        self.recheck: Callable[[Any], str | None] | None = None  # with it, entries for the next open are held
        self.afresh = False  # a plain strategy is not shown what an earlier process left for the open

    def start(self, folder: Path, limits: Limits = WIDE, capital: float = CAPITAL) -> TwsMarket:
        path = folder / "journal.db"
        self.journal = Journal.open(
            path, deployment="t", account=ACCOUNT, strategy_hash="h", create=not path.exists()
        )
        client = self.exchange.session.client_id
        self.journal.begin_run({}, self.now, client_id=client)
        ids = frozenset(b.instrument.con_id or 0 for b in self.bars)
        self.desk = OrderDesk(self.journal, self.exchange, Setup(client, ids, capital, limits), self.now)
        self.broker = LiveBroker(
            self.desk,
            self.journal,
            self.exchange,
            capital=capital,
            now=lambda: self.now,
            recheck=self.recheck,
            afresh=self.afresh,
        )
        self.broker.observe(Surroundings(clock_offset_s=0.0))
        self.broker.on_link(Link.UP)
        return self

    def again(self, folder: Path, **how: Any) -> TwsMarket:
        """End the process and begin another one: a session of its own, on the same journal and TWS."""
        self.journal.close()
        old = self.exchange
        old.session.close()
        session = Session(port=old.session.port, client_id=old.session.client_id)
        session.connect()
        self.exchange = TwsExchange(self, old.server, session)
        self.feeds = [stored_feed(self, b) for b in self.bars]
        self.live_from, self.step = self.step + 1, -1
        self.stop_after, self.over = None, False
        return self.start(folder, **how)


@contextmanager
def tws_market(bars: q.Bars) -> Iterator[TwsMarket]:
    """Give a market whose TWS fills by `bars`, with foreign money in the account."""
    market = TwsMarket(bars)
    tws = simulated(
        bars={bars.instrument.con_id or 0: bars}, rate_limited=False, account=ACCOUNT, cash=10 * CAPITAL
    )
    server = Server(tws, Clock(lambda: 0, speed=0.0, start=market.now - 60 * SECOND))
    with running(server) as port, Session(port=port) as session:
        session.connect()
        market.exchange = TwsExchange(market, server, session)
        try:
            yield market
        finally:
            market.exchange.session.close()
            market.journal.close()
