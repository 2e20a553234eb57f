"""What may be asked of TWS, each as a value that `Session.ask` or `Session.begin` takes.

Every one ends in its result, an error or a timeout. An empty result means that IB said so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, TypeVar

from quant.core.barsize import SECOND, BarSize, bar_size
from quant.errors import ParameterError
from quant.ib.asking import Request, Stream
from quant.ib.codec import Event, Row
from quant.ib.codes import Verdict
from quant.ib.contracts import ContractFacts, ContractSpec, TickRules
from quant.ib.pacing import HistoryCost

T = TypeVar("T")

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Source: IB's list of bar sizes (historical_bars.html).
IB_BARS: Final = {
    **{f"{n}s": f"{n} secs" for n in (5, 10, 15, 30)},
    **{f"{n}m": f"{n} mins" for n in (2, 3, 5, 10, 15, 20, 30)},
    **{f"{n}h": f"{n} hours" for n in (2, 3, 4, 8)},
    "1s": "1 secs",
    "1m": "1 min",
    "1h": "1 hour",
    "1d": "1 day",
    "1w": "1 week",
    "1mo": "1 month",
}
HISTORY_S: Final = 120.0  # IB may take more than a minute for a large answer
# tick types of a quote; delayed ones count from 66. Source: ibapi ticktype.py.
QUOTE_TICKS: Final = {
    1: "bid",
    2: "ask",
    4: "last",
    9: "close",
    66: "bid",
    67: "ask",
    68: "last",
    75: "close",
}
DATA_TYPES: Final = {1: "live", 2: "frozen", 3: "delayed", 4: "delayed-frozen"}


@dataclass(frozen=True, slots=True)
class HistoricalBars:
    """Bars as IB sent them.

    rows: start as sent (yyyymmdd for days and more, else epoch seconds), open, high, low, close, volume, wap, count;
    NaN and -1 where IB left a figure out. start, end: IB's text of the range. empty: IB's own words, where it
    said that there are none.
    """

    rows: list[Row]
    start: str = ""
    end: str = ""
    empty: str | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """Sessions by IB. sessions: (opening, closing, date) as sent, in `time_zone`."""

    time_zone: str
    start: str
    end: str
    sessions: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Quote:
    """A quote; None where IB has none. data_type: live, frozen, delayed, delayed-frozen; None if IB did not say."""

    bid: float | None = None
    ask: float | None = None
    last: float | None = None
    close: float | None = None
    data_type: str | None = None


@dataclass(slots=True)
class _Folded(Generic[T]):
    """A collector of two functions: one takes an event and says whether it was the last, the other ends it."""

    on: Callable[[Event], bool]
    end: Callable[[], T]

    def take(self, event: Event) -> bool:
        return self.on(event)

    def result(self) -> T:
        return self.end()


@dataclass(slots=True)
class _One(Generic[T]):
    """A collector of a single event."""

    of: Callable[..., T]
    args: tuple[Any, ...] = ()

    def take(self, event: Event) -> bool:
        self.args = event.args
        return True

    def result(self) -> T:
        return self.of(*self.args)


# ---------------------------------------------------------------- the session
def current_time() -> Request[datetime]:
    """The time of TWS, to the second."""
    return Request(
        "the time of TWS",
        lambda c, _: c.reqCurrentTime(),
        lambda: _One(lambda epoch: EPOCH + timedelta(seconds=epoch)),
        frozenset({"currentTime"}),
        by_id=False,
        timeout_s=10.0,
    )


def accounts() -> Request[tuple[str, ...]]:
    """The accounts of the user who is logged in."""
    return Request(
        "the accounts",
        lambda c, _: c.reqManagedAccts(),
        lambda: _One(lambda text: tuple(a.strip() for a in text.split(",") if a.strip())),
        frozenset({"managedAccounts"}),
        by_id=False,
        timeout_s=10.0,
    )


def account_summary(
    tags: Sequence[str], group: str = "All"
) -> Request[dict[str, dict[str, tuple[str, str]]]]:
    """Values of all accounts: account -> tag -> (value as sent, currency). tags: IB's, e.g. NetLiquidation."""

    def start() -> _Folded[dict[str, dict[str, tuple[str, str]]]]:
        found: dict[str, dict[str, tuple[str, str]]] = {}

        def on(event: Event) -> bool:
            if event.name == "accountSummaryEnd":
                return True
            _, account, tag, value, currency = event.args
            found.setdefault(account, {})[tag] = (value, currency)
            return False

        return _Folded(on, lambda: found)

    def cancel(c: Any, i: int) -> None:
        c.cancelAccountSummary(i)

    return Request(
        "the account summary",
        lambda c, i: c.reqAccountSummary(i, group, ",".join(tags)),
        start,
        frozenset({"accountSummary", "accountSummaryEnd"}),
        cancel=cancel,
        release=cancel,  # IB would go on sending it
    )


# ---------------------------------------------------------------- contracts
def contract_details(spec: ContractSpec) -> Request[tuple[ContractFacts, ...]]:
    """Every contract that fits. Nothing fits: UnknownContract."""

    def start() -> _Folded[tuple[ContractFacts, ...]]:
        found: list[ContractFacts] = []

        def on(event: Event) -> bool:
            if event.name != "contractDetailsEnd":
                found.append(ContractFacts.from_ib(event.args[1]))
            return event.name == "contractDetailsEnd"

        def end() -> tuple[ContractFacts, ...]:
            if not found:  # IB says code 200 then; an end without anything is a lost message
                raise ValueError("it ended without a contract")
            return tuple(found)

        return _Folded(on, end)

    return Request(
        f"contract details of {spec}",
        lambda c, i: c.reqContractDetails(i, spec.to_ib()),
        start,
        frozenset({"contractDetails", "bondContractDetails", "contractDetailsEnd"}),
        timeout_s=60.0,
    )


def matching_symbols(pattern: str) -> Request[tuple[ContractSpec, ...]]:
    """Contracts whose symbol or name begins like `pattern`, at most 16 (IB's limit); perhaps none."""

    def read(_: int, found: Sequence[Any]) -> tuple[ContractSpec, ...]:
        return tuple(ContractSpec.from_ib(d.contract) for d in found if d.contract.symbol)

    return Request(
        f"symbols like {pattern}",
        lambda c, i: c.reqMatchingSymbols(i, pattern),
        lambda: _One(read),
        frozenset({"symbolSamples"}),
    )


def market_rule(rule: int) -> Request[TickRules]:
    """The price steps of a market rule."""

    def start() -> _Folded[TickRules]:
        found: list[TickRules] = []

        def on(event: Event) -> bool:
            if event.args[0] != rule:
                return False
            steps = sorted((s.lowEdge, s.increment) for s in event.args[1])
            if not steps:
                raise ValueError("a market rule without a price step")
            found.append(TickRules(tuple(low for low, _ in steps), tuple(inc for _, inc in steps)))
            return True

        return _Folded(on, lambda: found[0])

    what = f"market rule {rule}"
    return Request(what, lambda c, _: c.reqMarketRule(rule), start, frozenset({"marketRule"}), by_id=False)


# ---------------------------------------------------------------- history
def head_timestamp(spec: ContractSpec, what: str = "TRADES", *, rth: bool = True) -> Request[datetime]:
    """The moment from which IB has data (UTC). None at all: NoData."""

    def cancel(c: Any, i: int) -> None:
        c.cancelHeadTimeStamp(i)

    return Request(
        f"first {what} of {spec}",
        lambda c, i: c.reqHeadTimeStamp(i, spec.to_ib(), what, int(rth), 2),
        lambda: _One(lambda _, text: read_time(text)),
        frozenset({"headTimestamp"}),
        cancel=cancel,
        release=cancel,  # IB counts it as open until it is cancelled
        cost=HistoryCost((spec, what), (spec, what, rth, "head"), math.inf),
        timeout_s=60.0,
    )


def historical_bars(
    spec: ContractSpec,
    bar: str | BarSize,
    duration: str,
    end: datetime | None = None,
    what: str = "TRADES",
    *,
    rth: bool = True,
) -> Request[HistoricalBars]:
    """Bars of the `duration` (IB's: "1 D", "3600 S") before `end`; None is now.

    Bars of less than a day come with epoch seconds (formatDate 2). Raises ParameterError for a naive `end`, and for
    an `end` with ADJUSTED_LAST, which IB refuses.
    """
    size = bar_size(bar)
    text = _end(end, what)
    series = (spec, what)

    def start() -> _Folded[HistoricalBars]:
        rows: list[Row] = []
        parts: list[Event] = []

        def on(event: Event) -> bool:
            parts.append(event)
            if event.name == "bars":
                rows.extend(event.args[1])
            return event.name == "historicalDataEnd"

        def finish() -> HistoricalBars:
            if not rows:  # IB says code 162 "query returned no data" then; this is a message that got lost
                raise ValueError("it ended without bars and without saying that there are none")
            return HistoricalBars(rows, parts[-1].args[1], parts[-1].args[2])

        return _Folded(on, finish)

    def none(verdict: Verdict) -> HistoricalBars:
        return HistoricalBars([], empty=verdict.text)

    return Request(
        f"{size} {what} of {spec}, {duration} to {text or 'now'}",
        lambda c, i: c.reqHistoricalData(
            i, spec.to_ib(), text, duration, IB_BARS[size.name], what, int(rth), 2, False, []
        ),
        start,
        frozenset({"bars", "historicalDataEnd"}),
        cancel=lambda c, i: c.cancelHistoricalData(i),
        cost=HistoryCost(series, (spec, text, duration, size, what, rth), size.ns / SECOND, _weight(what)),
        timeout_s=HISTORY_S,
        no_data=none,
    )


def schedule(
    spec: ContractSpec, duration: str, end: datetime | None = None, *, rth: bool = True
) -> Request[Schedule]:
    """IB's own table of sessions for the `duration` before `end`."""
    text = _end(end, "SCHEDULE")

    def read(_: int, start: str, last: str, zone: str, sessions: Sequence[Any]) -> Schedule:
        return Schedule(
            zone, start, last, tuple((s.startDateTime, s.endDateTime, s.refDate) for s in sessions)
        )

    return Request(
        f"the schedule of {spec}",
        lambda c, i: c.reqHistoricalData(
            i, spec.to_ib(), text, duration, "1 day", "SCHEDULE", int(rth), 1, False, []
        ),
        lambda: _One(read),
        frozenset({"historicalSchedule"}),
        cancel=lambda c, i: c.cancelHistoricalData(i),
        cost=HistoryCost((spec, "SCHEDULE"), (spec, text, duration, "SCHEDULE", rth), 86_400.0),
        timeout_s=HISTORY_S,
    )


def live_bars(
    spec: ContractSpec, bar: str | BarSize, duration: str, what: str = "TRADES", *, rth: bool = True
) -> Stream:
    """Bars that go on: "bars" and "historicalDataEnd", then "historicalDataUpdate" (id, row) as they form."""
    size = bar_size(bar)
    return Stream(
        f"live {size} {what} of {spec}",
        lambda c, i: c.reqHistoricalData(
            i, spec.to_ib(), "", duration, IB_BARS[size.name], what, int(rth), 2, True, []
        ),
        frozenset({"bars", "historicalDataEnd", "historicalDataUpdate"}),
        lambda c, i: c.cancelHistoricalData(i),
        HistoryCost((spec, what), (spec, "live", duration, size, what, rth), size.ns / SECOND, _weight(what)),
    )


def real_time_bars(spec: ContractSpec, what: str = "TRADES", *, rth: bool = True) -> Stream:
    """Bars of 5 seconds: "realtimeBar" (id, epoch, open, high, low, close, volume, wap, count)."""
    return Stream(
        f"real-time {what} of {spec}",
        lambda c, i: c.reqRealTimeBars(i, spec.to_ib(), 5, what, rth, []),
        frozenset({"realtimeBar"}),
        lambda c, i: c.cancelRealTimeBars(i),
        HistoryCost((spec, what), (spec, "real time", what, rth), 5.0, _weight(what), opens=False),
    )


# ---------------------------------------------------------------- quotes
def quotes(spec: ContractSpec) -> Stream:
    """Ticks of a quote: "tickPrice", "tickSize", "tickString", "marketDataType", "tickReqParams"."""
    return Stream(
        f"market data of {spec}",
        lambda c, i: c.reqMktData(i, spec.to_ib(), "", False, False, []),
        frozenset({"tickPrice", "tickSize", "tickString", "tickGeneric", "marketDataType", "tickReqParams"}),
        lambda c, i: c.cancelMktData(i),
    )


def snapshot(spec: ContractSpec) -> Request[Quote]:
    """One quote. IB takes up to 11 seconds for it."""

    def start() -> _Folded[Quote]:
        found: dict[str, Any] = {}

        def on(event: Event) -> bool:
            if event.name == "marketDataType":
                found["data_type"] = DATA_TYPES.get(event.args[1])
            elif event.name == "tickPrice" and event.args[1] in QUOTE_TICKS:
                price = event.args[2]
                # -1 is IB's "none"; a price of 0 or below is one for spreads and some futures.
                found[QUOTE_TICKS[event.args[1]]] = None if price == -1 or not math.isfinite(price) else price
            return event.name == "tickSnapshotEnd"

        return _Folded(on, lambda: Quote(**found))

    return Request(
        f"a quote of {spec}",
        lambda c, i: c.reqMktData(i, spec.to_ib(), "", True, False, []),
        start,
        frozenset({"tickPrice", "marketDataType", "tickSnapshotEnd"}),
        cancel=lambda c, i: c.cancelMktData(i),
        timeout_s=20.0,
    )


def ask_for_data_type(kind: str) -> Callable[[Any], None]:
    """The message for `Session.tell` that asks for live, frozen, delayed or delayed-frozen quotes from now on."""
    number = next((n for n, name in DATA_TYPES.items() if name == kind), None)
    if number is None:
        raise ParameterError("data_type", kind, f"one of {', '.join(DATA_TYPES.values())}")

    def call(c: Any) -> None:
        c.reqMarketDataType(number)

    return call


# ---------------------------------------------------------------- small parts
def read_time(text: str) -> datetime:
    """Return a moment that IB sent as epoch seconds, yyyymmdd (midnight UTC) or yyyymmdd-hh:mm:ss in UTC.

    Raises ValueError for anything else.
    """
    bare = text.strip().removesuffix("Z").removesuffix(" UTC")
    if bare.removeprefix("-").isdecimal() and len(bare) != 8:
        return EPOCH + timedelta(seconds=int(bare))  # not fromtimestamp: Windows knows nothing before 1970
    for form in ("%Y%m%d", "%Y%m%d-%H:%M:%S", "%Y%m%d %H:%M:%S"):
        try:
            return datetime.strptime(bare, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    raise ValueError(f"a time that cannot be read: {text!r}")


def write_time(moment: datetime) -> str:
    """Return a moment as IB takes it without doubt: UTC, with a dash. Raises ParameterError if it is naive."""
    if moment.tzinfo is None:
        raise ParameterError(
            "end", moment, "has no time zone; write e.g. datetime(2026, 1, 2, 21, tzinfo=UTC)"
        )
    return moment.astimezone(UTC).strftime("%Y%m%d-%H:%M:%S")


def _end(end: datetime | None, what: str) -> str:
    if end is None:
        return ""
    if what == "ADJUSTED_LAST":
        raise ParameterError(
            "end", end, "IB takes no end with ADJUSTED_LAST; leave it out and ask for a longer duration"
        )
    return write_time(end)


def _weight(what: str) -> int:
    return 2 if what == "BID_ASK" else 1
