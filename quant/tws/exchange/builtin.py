"""The contracts that the simulator always knows. Their bars are made up unless the store has some.

Con ids of the American stocks, SPX and EUR.USD are IB's; the others, and all futures', are ours. Tick rules are
simplified from the exchanges' pages as of 2025; a rule's number is ours.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

from quant.tws.exchange.hours import FIRST_YEAR, LAST_YEAR
from quant.tws.exchange.listing import Listing
from quant.tws.exchange.ticks import TickRule

CENT: Final = TickRule(26, ((0.0, "0.01"),))
EURO: Final = TickRule(901, ((0.0, "0.01"), (100.0, "0.05"), (200.0, "0.1")))
PENCE: Final = TickRule(902, ((0.0, "0.02"), (100.0, "0.05"), (500.0, "0.5")))
YEN: Final = TickRule(903, ((0.0, "0.5"), (3000.0, "1"), (10000.0, "5")))
HONG_KONG: Final = TickRule(904, ((0.0, "0.01"), (20.0, "0.02"), (50.0, "0.05"), (200.0, "0.2")))
PIPETTE: Final = TickRule(239, ((0.0, "0.00005"),))
INDEX: Final = TickRule(905, ((0.0, "0.01"),))
QUARTER: Final = TickRule(67, ((0.0, "0.25"),))

# exchange_calendars' name -> how TWS names the zone.
ZONES: Final = {
    "XNYS": "US/Eastern", "CMES": "US/Central", "24/5": "US/Eastern", "XLON": "GB-Eire", "XETR": "MET",
    "XFRA": "MET", "XTKS": "Japan", "XHKG": "Hongkong",
}  # fmt: skip
_QUARTERS: Final = {3: "H", 6: "M", 9: "U", 12: "Z"}


def _stock(
    con_id: int, symbol: str, exchange: str, currency: str, name: str, rule: TickRule, calendar: str,
    price: float, trading_class: str = "", **more: int | str,
) -> Listing:  # fmt: skip
    return Listing(
        con_id, symbol, "STK", exchange, currency, name, rule, calendar, ZONES[calendar],
        trading_class=trading_class, first_price=price, **more,  # type: ignore[arg-type]  # lot, magnifier, local_symbol
    )  # fmt: skip


STOCKS: Final = (
    _stock(756733, "SPY", "ARCA", "USD", "SS SPDR S&P 500 ETF TRUST-US", CENT, "XNYS", 220.0),
    _stock(272093, "MSFT", "NASDAQ", "USD", "MICROSOFT CORP", CENT, "XNYS", 60.0, "NMS"),
    _stock(265598, "AAPL", "NASDAQ", "USD", "APPLE INC", CENT, "XNYS", 30.0, "NMS"),
    # Several things called IBM: by symbol alone it is ambiguous, in EUR too without the primary exchange.
    _stock(8314, "IBM", "NYSE", "USD", "INTL BUSINESS MACHINES CORP", CENT, "XNYS", 150.0),
    _stock(990_000_001, "IBM", "IBIS", "EUR", "INTL BUSINESS MACHINES CORP", EURO, "XETR", 130.0, "XETRA"),
    _stock(990_000_002, "IBM", "FWB", "EUR", "INTL BUSINESS MACHINES CORP", EURO, "XFRA", 130.0, "FWB"),
    _stock(
        990_000_003, "VOD", "LSE", "GBP", "VODAFONE GROUP PLC", PENCE, "XLON", 150.0, "SET1", magnifier=100
    ),
    _stock(990_000_004, "SAP", "IBIS", "EUR", "SAP SE", EURO, "XETR", 100.0, "XETRA"),
    # A German share on both markets of Frankfurt, Xetra and the floor: ambiguous without --exchange.
    _stock(990_000_007, "SIE", "IBIS", "EUR", "SIEMENS AG-REG", EURO, "XETR", 90.0, "XETRA"),
    _stock(990_000_008, "SIE", "FWB", "EUR", "SIEMENS AG-REG", EURO, "XFRA", 90.0, "FWB"),
    _stock(
        990_000_005,
        "7203",
        "TSEJ",
        "JPY",
        "TOYOTA MOTOR CORP",
        YEN,
        "XTKS",
        1500.0,
        lot=100,
        local_symbol="7203.T",
    ),
    _stock(990_000_006, "700", "SEHK", "HKD", "TENCENT HOLDINGS LTD", HONG_KONG, "XHKG", 300.0, lot=100),
)
OTHERS: Final = (
    Listing(
        12087792, "EUR", "CASH", "IDEALPRO", "USD", "European Monetary Union Euro", PIPETTE, "24/5", ZONES["24/5"],
        local_symbol="EUR.USD", trading_class="EUR.USD", smart=False, first_price=1.1,
    ),
    Listing(
        416904, "SPX", "IND", "CBOE", "USD", "S&P 500 Stock Index", INDEX, "XNYS", ZONES["XNYS"],
        smart=False, first_price=2200.0,
    ),
)  # fmt: skip


def third_friday(year: int, month: int) -> date:
    """Return the day on which a quarterly index future expires."""
    first = date(year, month, 1)
    return first + timedelta(days=(4 - first.weekday()) % 7 + 14)


def _future(year: int, month: int) -> Listing:
    return Listing(
        980_000_000 + year * 100 + month, "ES", "FUT", "CME", "USD", "E-mini S&P 500", QUARTER, "CMES", ZONES["CMES"],
        local_symbol=f"ES{_QUARTERS[month]}{year % 10}", trading_class="ES", smart=False, multiplier=50.0,
        expiry=third_friday(year, month), first_price=2200.0,
    )  # fmt: skip


FUTURES: Final = tuple(_future(y, m) for y in range(FIRST_YEAR, LAST_YEAR + 1) for m in _QUARTERS)
BUILT_IN: Final = (*STOCKS, *OTHERS, *FUTURES)
