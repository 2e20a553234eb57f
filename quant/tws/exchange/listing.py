"""One contract that the simulator knows: its identity, its units, its rules, and how TWS describes it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from ibapi.protobuf.Contract_pb2 import Contract
from ibapi.protobuf.ContractDetails_pb2 import ContractDetails
from ibapi.protobuf.MarketRule_pb2 import MarketRule
from ibapi.protobuf.PriceIncrement_pb2 import PriceIncrement

from quant.core.calendar import timezone_of
from quant.core.instrument import Instrument
from quant.tws.exchange.hours import hours, sessions_around
from quant.tws.exchange.ticks import TickRule

ORDER_TYPES = "ACTIVETIM,AD,ADJUST,ALERT,ALLOC,BASKET,COND,CONDORDER,DAY,GTC,LMT,MKT,WHATIF"
# US stocks trade 04:00 to 20:00 in New York around the session.
_US_EXTENDED = (timedelta(hours=5, minutes=30), timedelta(hours=4))
_NONE = (timedelta(0), timedelta(0))


@dataclass(frozen=True, slots=True)
class Listing:
    """A contract. con_id: IB's where it is widely known, else made up by us.

    exchange: the one it is primarily listed at. smart: whether SMART routes it. calendar: exchange_calendars'
    name. zone: TWS's name of the exchange's time zone. magnifier: prices are in 1/magnifier of the currency.
    expiry: last trading day of a future. first_price: where its made-up bars begin. stored: bars of it lie in
    the store, and only those are served; else all of its bars are made up.
    """

    con_id: int
    symbol: str
    sec_type: str
    exchange: str
    currency: str
    long_name: str
    rule: TickRule
    calendar: str
    zone: str
    local_symbol: str = ""
    trading_class: str = ""
    smart: bool = True
    multiplier: float = 1.0
    magnifier: int = 1
    lot: int = 1
    expiry: date | None = None
    first_price: float = 100.0
    stored: bool = False

    @property
    def local(self) -> str:
        """The exchange's own symbol."""
        return self.local_symbol or self.symbol

    @property
    def exchanges(self) -> tuple[str, ...]:
        """Where it can be ordered, SMART first."""
        return ("SMART", self.exchange) if self.smart else (self.exchange,)

    @property
    def trades(self) -> bool:
        """False for an index, which has prices but cannot be ordered."""
        return self.sec_type != "IND"

    @property
    def described(self) -> str:
        """The long name, with the mark of what is made up about its bars."""
        mark = "SYNTHETIC below and after stored bars" if self.stored else "SYNTHETIC"
        return f"{self.long_name} ({mark})"

    @property
    def instrument(self) -> Instrument:
        """The same as a value of quant.core."""
        return Instrument(
            self.symbol, self.sec_type, self.exchange, self.currency, self.con_id,
            tick=float(self.rule.least), multiplier=self.multiplier, price_magnifier=self.magnifier,
            calendar=self.calendar, timezone=timezone_of(self.calendar),
        )  # fmt: skip


def contract(listing: Listing, exchange: str = "") -> Contract:
    """Return IB's contract. exchange: as the client asked; "" = SMART where it routes the listing."""
    found = Contract(
        conId=listing.con_id, symbol=listing.symbol, secType=listing.sec_type,
        exchange=exchange or listing.exchanges[0], currency=listing.currency, localSymbol=listing.local,
        tradingClass=listing.trading_class or listing.local, strike=0.0,
    )  # fmt: skip
    if listing.smart:
        found.primaryExch = listing.exchange
    if listing.expiry is not None:
        found.lastTradeDateOrContractMonth = f"{listing.expiry:%Y%m%d}"
        found.lastTradeDate = f"{listing.expiry:%Y%m%d}"
    if listing.multiplier != 1.0:
        found.multiplier = listing.multiplier
    return found


def details(listing: Listing, now: int) -> ContractDetails:
    """Return IB's contract details with the hours of the days from `now` (UTC ns) on."""
    sessions = sessions_around(listing.calendar, now)
    us_stock = listing.sec_type == "STK" and listing.calendar == "XNYS"
    found = ContractDetails(
        marketName=listing.trading_class or listing.local, minTick=listing.rule.least,
        orderTypes=ORDER_TYPES if listing.trades else "", validExchanges=",".join(listing.exchanges),
        priceMagnifier=listing.magnifier, longName=listing.described, timeZoneId=listing.zone,
        tradingHours=hours(sessions, listing.zone, now, _US_EXTENDED if us_stock else _NONE),
        liquidHours=hours(sessions, listing.zone, now),
        aggGroup=1, marketRuleIds=",".join([str(listing.rule.rule_id)] * len(listing.exchanges)),
        minSize=str(listing.lot), sizeIncrement=str(listing.lot), suggestedSizeIncrement=str(max(listing.lot, 100)),
        stockType="COMMON" if listing.sec_type == "STK" else "",
    )  # fmt: skip
    if listing.expiry is not None:
        found.contractMonth = f"{listing.expiry:%Y%m}"
        found.realExpirationDate = f"{listing.expiry:%Y%m%d}"
        found.underSymbol, found.underSecType = listing.symbol, "IND"
    return found


def market_rule(rule: TickRule) -> MarketRule:
    """Return IB's market rule of `rule`."""
    bands = [PriceIncrement(lowEdge=low, increment=float(text)) for low, text in rule.bands]
    return MarketRule(marketRuleId=rule.rule_id, priceIncrements=bands)
