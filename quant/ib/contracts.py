"""Contracts: how one is described to IB, what IB tells of it, and what that means as an Instrument."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Self

from ibapi.const import UNSET_DECIMAL, UNSET_DOUBLE
from ibapi.contract import Contract as IbContract

from quant.core.calendar import check_zone, timezone_of
from quant.core.instrument import Instrument
from quant.errors import ContractUnclear, ParameterError
from quant.ib.exchanges import calendar_of, zone_of

UNCLEAR: Final = (
    "TWS shows it under Financial Instrument Info > Description; if it is there, please report a fault"
)
# IB leaves the multiplier empty where a unit of quantity is worth its price (shares, currencies, index points).
WITHOUT_MULTIPLIER: Final = frozenset({"STK", "CASH", "IND", "CRYPTO", "FUND", "CFD", "CMDTY", "BOND"})


@dataclass(frozen=True, slots=True)
class ContractSpec:
    """A contract as we describe it; empty fields are left open.

    sec_type: IB's (STK, FUT, CONTFUT, CASH, IND, OPT, ...). exchange: SMART or a venue. primary_exchange: the
    listing, where SMART alone is ambiguous. expiry: yyyymm or yyyymmdd.
    """

    symbol: str = ""
    sec_type: str = "STK"
    exchange: str = "SMART"
    currency: str = ""
    primary_exchange: str = ""
    expiry: str = ""
    multiplier: str = ""
    strike: float | None = None
    right: str = ""
    con_id: int | None = None
    local_symbol: str = ""
    trading_class: str = ""
    include_expired: bool = False

    def __post_init__(self) -> None:
        for name in ("symbol", "exchange", "currency", "local_symbol", "trading_class", "expiry"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value.isascii() or (value and not value.isprintable()):
                raise ParameterError(name, value, "IB takes plain ASCII names only")
        if not self.symbol and not self.local_symbol and self.con_id is None:
            raise ParameterError("symbol", self.symbol, "name a symbol, a local symbol or a contract id")

    def __str__(self) -> str:
        who = self.local_symbol or self.symbol or f"contract {self.con_id}"
        venue = self.exchange + (f"/{self.primary_exchange}" if self.primary_exchange else "")
        return " ".join(part for part in (who, self.sec_type, self.expiry, venue, self.currency) if part)

    def to_ib(self) -> IbContract:
        """Return ibapi's object."""
        c = IbContract()
        c.symbol, c.secType, c.exchange, c.currency = self.symbol, self.sec_type, self.exchange, self.currency
        c.primaryExchange, c.lastTradeDateOrContractMonth = self.primary_exchange, self.expiry
        c.multiplier, c.right, c.localSymbol = self.multiplier, self.right, self.local_symbol
        c.tradingClass, c.includeExpired = self.trading_class, self.include_expired
        if self.strike is not None:
            c.strike = self.strike
        if self.con_id is not None:
            c.conId = self.con_id
        return c

    @classmethod
    def from_ib(cls, c: IbContract) -> Self:
        """Return the values of ibapi's object. Raises ParameterError for a name that is not ASCII."""
        return cls(
            symbol=c.symbol,
            sec_type=c.secType,
            exchange=c.exchange,
            currency=c.currency,
            primary_exchange=c.primaryExchange,
            expiry=c.lastTradeDateOrContractMonth,
            multiplier=c.multiplier,
            strike=None if c.strike in (UNSET_DOUBLE, 0.0) else c.strike,
            right="" if c.right in ("?", "0") else c.right,
            con_id=c.conId or None,
            local_symbol=c.localSymbol,
            trading_class=c.tradingClass,
        )


@dataclass(frozen=True, slots=True)
class ContractFacts:
    """What IB tells of one contract. Hours are IB's own text, in `time_zone`.

    min_tick: the least price step anywhere; the step at a price is that of the market rule. market_rules: ids,
    one for each of `exchanges`. price_magnifier: 100 where prices are in hundredths of `currency` (pence).
    """

    spec: ContractSpec
    long_name: str
    min_tick: float
    price_magnifier: int
    time_zone: str
    trading_hours: str
    liquid_hours: str
    exchanges: tuple[str, ...]
    market_rules: tuple[int, ...]
    stock_type: str = ""
    contract_month: str = ""
    min_size: float | None = None
    size_increment: float | None = None

    @classmethod
    def from_ib(cls, d: Any) -> Self:
        """Return the values of ibapi's ContractDetails. Raises ValueError if a number cannot be read."""
        spec = ContractSpec.from_ib(d.contract)
        if spec.con_id is None:
            raise ValueError("a contract without id")
        return cls(
            spec=spec,
            long_name=d.longName,
            min_tick=float(d.minTick),
            price_magnifier=int(d.priceMagnifier) or 1,  # 0 is ibapi's "not told", which is how 1 is told
            time_zone=d.timeZoneId,
            trading_hours=d.tradingHours,
            liquid_hours=d.liquidHours,
            exchanges=_list(d.validExchanges),
            market_rules=tuple(int(rule) for rule in _list(d.marketRuleIds)),
            stock_type=d.stockType,
            contract_month=d.contractMonth,
            min_size=_size(d.minSize),
            size_increment=_size(d.sizeIncrement),
        )

    @property
    def listing(self) -> str:
        """The exchange whose sessions and units it keeps."""
        return self.spec.primary_exchange or self.spec.exchange

    @property
    def market_rule(self) -> int | None:
        """The id of the market rule of the exchange that it was asked on, None where IB names none."""
        if len(self.market_rules) != len(self.exchanges):
            return None
        by_exchange = dict(zip(self.exchanges, self.market_rules, strict=True))
        return by_exchange.get(self.spec.exchange, by_exchange.get(self.listing))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the facts that `to_dict` wrote. Raises TypeError or KeyError for anything else."""
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        plain["spec"] = ContractSpec(**values["spec"])
        return cls(**plain)


@dataclass(frozen=True, slots=True)
class TickRules:
    """Price steps by price: from `low_edges[i]` on the step is `increments[i]`. Empty: one step everywhere."""

    low_edges: tuple[float, ...] = ()
    increments: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.low_edges) != len(self.increments) or list(self.low_edges) != sorted(self.low_edges):
            raise ValueError(f"tick rules must rise: {self.low_edges} {self.increments}")
        if not all(math.isfinite(i) and i > 0 for i in self.increments):
            raise ValueError(f"tick rules with a step that is not positive: {self.increments}")

    def tick(self, price: float, otherwise: float) -> float:
        """Return the price step at `price`; `otherwise` where the rules say nothing."""
        step = otherwise
        for edge, increment in zip(self.low_edges, self.increments, strict=True):
            if abs(price) >= edge:
                step = increment
        return step


def instrument(facts: ContractFacts) -> Instrument:
    """Return the contract as an Instrument: its units, calendar and time zone.

    Raises ContractUnclear if a unit is missing without which its prices mean nothing, or the time zone is unknown.
    """
    spec, what = facts.spec, str(facts.spec)
    if not spec.currency:
        raise ContractUnclear(what, "currency", spec.currency, UNCLEAR)
    if not (math.isfinite(facts.min_tick) and facts.min_tick > 0):
        raise ContractUnclear(what, "minTick", facts.min_tick, UNCLEAR)
    if facts.price_magnifier < 1:
        raise ContractUnclear(what, "priceMagnifier", facts.price_magnifier, UNCLEAR)
    calendar = calendar_of(spec.sec_type, facts.listing)
    return Instrument(
        symbol=spec.symbol,
        sec_type=spec.sec_type,
        exchange=facts.listing,
        currency=spec.currency,
        con_id=spec.con_id,
        tick=facts.min_tick,
        multiplier=_multiplier(spec),
        price_magnifier=facts.price_magnifier,
        calendar=calendar,
        timezone=_zone(facts, calendar),
    )


def _multiplier(spec: ContractSpec) -> float:
    if not spec.multiplier:
        if spec.sec_type in WITHOUT_MULTIPLIER:
            return 1.0
        raise ContractUnclear(str(spec), "multiplier", spec.multiplier, UNCLEAR)
    try:
        value = float(spec.multiplier)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise ContractUnclear(str(spec), "multiplier", spec.multiplier, UNCLEAR)
    return value


def _zone(facts: ContractFacts, calendar: str | None) -> str:
    if calendar is not None and calendar not in ("24/5", "24/7"):
        return timezone_of(calendar)
    zone = zone_of(facts.time_zone)
    try:
        check_zone(zone)
    except ParameterError:
        raise ContractUnclear(str(facts.spec), "timeZoneId", facts.time_zone, UNCLEAR) from None
    return zone


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _size(value: Decimal) -> float | None:
    return None if value == UNSET_DECIMAL else float(value)
