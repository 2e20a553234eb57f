"""Make a plan: ask IB for contracts and for where their data begin, look into the store, then cut. Writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any, Final

from quant.core.barsize import HOUR, MINUTE, BarSize
from quant.errors import (
    AmbiguousContract,
    BarsError,
    BrokerError,
    CompetingSession,
    ContractUnclear,
    DamagedAnswer,
    DamagedData,
    NoPermission,
    ParameterError,
    QuantError,
    RequestFailed,
    RequestTimeout,
    SeriesNotFound,
)
from quant.ib import requests
from quant.ib.asking import Pending
from quant.ib.contracts import ContractSpec
from quant.ib.download.cells import Cells, cells
from quant.ib.download.held import Look, repull_plan
from quant.ib.download.plan import Failed, Plan, Request, SeriesPlan, plan_series, planned, with_check
from quant.ib.download.ranges import (
    FURTHEST_ZONE,
    begin,
    check_range,
    day_of,
    earliest,
    ns_of,
    place,
    plain_day,
)
from quant.ib.download.rows import lacking
from quant.ib.lookup import Found, find_contract
from quant.ib.session import Session
from quant.store import Store
from quant.store.coverage import Interval, cover
from quant.store.query import Moment, parse

MADE_UP: Final = "SYNTHETIC"  # the simulated TWS marks its contracts so
# Errors of one symbol; others end the plan, as they would end every symbol.
OF_A_SYMBOL: Final = (
    RequestFailed, AmbiguousContract, ContractUnclear, RequestTimeout, DamagedAnswer, BarsError, DamagedData,
    ParameterError, SeriesNotFound,
)  # fmt: skip
_EXPIRING: Final = ("FUT", "FOP", "OPT")


def plan_pull(
    session: Session,
    specs: Sequence[ContractSpec],
    bar: BarSize,
    start: Moment = None,
    end: Moment = None,
    *,
    what: str = "TRADES",
    rth: bool = True,
    repair: bool = False,
    look: bool = False,
    now: datetime,
    store: Store,
) -> Plan:
    """Return what a pull of these contracts would ask for; see `pull` for the arguments, `plan_series` for look.

    now: of TWS, UTC. Contracts are asked for each time, not taken from the cache: they say whether TWS is a simulated
    one. A symbol that cannot be pulled is in `failed`. Raises NotConnected, LinkLost; ParameterError for a range
    without bars.
    """
    check_range(start, end, now)
    failed: list[Failed] = []
    asked: dict[int | None, Request] = {}
    for spec in specs:
        try:
            found = _asked(find_contract(session, spec, now), spec, bar, what, rth)
            asked.setdefault(found.spec.con_id, found)
        except OF_A_SYMBOL as e:
            failed.append(Failed(spec.local_symbol or spec.symbol or str(spec.con_id), e))
    looked = [Look(a, store) for a in asked.values()]
    heads = {} if repair else _heads(session, [k for k in looked if k.error is None], start)
    series = []
    for one in looked:
        try:
            if one.error is not None:
                raise one.error
            series.append(
                _repair(one, start, end, now) if repair else _plan(one, heads, start, end, now, look)
            )
        except OF_A_SYMBOL as e:
            failed.append(Failed(one.asked.symbol, e))
    return planned(series, failed)


# ---------------------------------------------------------------- contracts
def _asked(found: Found, spec: ContractSpec, bar: BarSize, what: str, rth: bool) -> Request:
    facts, instrument = found.facts, found.instrument
    own = facts.spec
    if own.sec_type == "CASH":  # EUR alone would be every pair that begins with it
        instrument = replace(instrument, symbol=f"{own.symbol}.{own.currency}")
    elif own.sec_type in _EXPIRING and own.local_symbol:
        instrument = replace(instrument, symbol=own.local_symbol)
    shown = "MIDPOINT" if own.sec_type == "CASH" and what == "TRADES" else what
    adjusted = "all" if shown == "ADJUSTED_LAST" else "splits" if own.sec_type == "STK" else "none"
    if shown == "ADJUSTED_LAST" and bar.unit in ("w", "mo"):
        raise ParameterError("bar", str(bar), "IB has no weekly or monthly bars of ADJUSTED_LAST; take 1d")
    return Request(
        symbol=spec.local_symbol or spec.symbol or own.symbol,
        spec=replace(own, include_expired=own.sec_type in _EXPIRING),
        instrument=instrument,
        source="simulated" if MADE_UP in facts.long_name else "ib",
        bar=bar, what=shown, rth=rth, adjusted=adjusted,
    )  # fmt: skip


# ---------------------------------------------------------------- where data begin
def _heads(
    session: Session, looked: Sequence[Look], start: Moment
) -> dict[int | None, datetime | QuantError]:
    """Return from when on IB has data, by contract, of those of which older bars than the held ones are wanted."""
    begun = [
        (k, session.begin(requests.head_timestamp(k.asked.spec, _head_what(k.asked.what), rth=k.asked.rth)))
        for k in looked
        if _needs_head(k, start)
    ]
    _finish(session, [p for _, p in begun])
    return {k.asked.spec.con_id: p.result() if p.error is None else _own(p.error) for k, p in begun}


def _needs_head(look: Look, start: Moment) -> bool:
    if look.goal() is None:
        return True
    first = parse("start", start)
    oldest = look.held.coverage[0][0] if look.held.coverage else 0
    return first is not None and ns_of(earliest(first) + FURTHEST_ZONE) < oldest


def _head_what(what: str) -> str:
    return "TRADES" if what == "ADJUSTED_LAST" else what


def _own(error: BrokerError) -> QuantError:
    """Return an error of this symbol; raise one that is everybody's."""
    if not isinstance(error, OF_A_SYMBOL):
        raise error
    return error


def _finish(session: Session, pending: Sequence[Pending[Any]]) -> None:
    while not all(p.done for p in pending):
        session.poll(1.0)


# ---------------------------------------------------------------- ranges
def _plan(
    look: Look, heads: dict[int | None, datetime | QuantError], start: Moment, end: Moment, now: datetime, again: bool
) -> SeriesPlan:  # fmt: skip
    asked, held = look.asked, look.held
    first, last, goal = parse("start", start), parse("end", end), look.goal()
    head = heads.get(asked.spec.con_id)
    # IB has no head of some contracts that have bars; where a range is known without one, the bars tell.
    needed = first is None and goal is None and asked.bar.ns >= HOUR
    if isinstance(head, QuantError) and (needed or isinstance(head, NoPermission | CompetingSession)):
        raise head
    oldest = head if isinstance(head, datetime) else None
    since, why = begin(asked.bar, asked.instrument.timezone, goal, first, oldest, now)
    day = day_of(since) if isinstance(since, int) else plain_day(since)
    if asked.what == "ADJUSTED_LAST" and held.coverage:
        day = min(day, day_of(held.coverage[0][0]))
    rows = cells(asked.instrument, asked.bar, asked.rth, day, ns_of(now))
    low = since if isinstance(since, int) else place(rows, since, end=False)
    if asked.bar.ns < MINUTE and first is None and goal is None:
        low = max(low, int(rows.begin[max(rows.row_at(rows.known - 1) - 4, 0)]))
    high = rows.known if last is None else min(place(rows, last, end=True), rows.known)
    expires = _expiry(asked.spec)
    if expires is not None:
        high = min(high, rows.upto_day(expires))
    wanted: Interval = (low, max(low, high))
    if held.coverage and (look.repull or asked.what == "ADJUSTED_LAST"):
        wanted = min(wanted[0], held.coverage[0][0]), max(wanted[1], held.coverage[-1][1])
    if not held.rows and wanted[0] >= wanted[1]:
        told = "no bar is over yet" if high >= rows.known else "no session lies in that range"
        if oldest is not None and last is not None and day_of(ns_of(oldest)) > plain_day(last):
            told = f"IB has later data only, since {oldest:%Y-%m-%d}"
        raise ParameterError("start", "…" if start is None else str(start), f"{asked.name}: {told}")
    if look.repull:
        return repull_plan(look.store, asked, rows, wanted, "all prices had changed: pulling it anew goes on")
    found = plan_series(asked, rows, wanted, held, why, look=again)
    return found if found.chunks else replace(found, why="complete")


def _expiry(spec: ContractSpec) -> date | None:
    """Return the last day of a contract that has one."""
    text = spec.expiry
    if spec.sec_type not in _EXPIRING or len(text) != 8 or not text.isdecimal():
        return None
    return datetime.strptime(text, "%Y%m%d").replace(tzinfo=UTC).date()


# ---------------------------------------------------------------- repair
def _repair(look: Look, start: Moment, end: Moment, now: datetime) -> SeriesPlan:
    """Return the requests for what the sessions have and the store lacks, inside of what was pulled."""
    asked, held, store = look.asked, look.held, look.store
    if look.series is None:
        mend = f"Pull it first: quant data pull {asked.symbol} --bar {asked.bar}"
        raise SeriesNotFound(asked.name, str(store.data), mend)
    rows = cells(asked.instrument, asked.bar, asked.rth, day_of(held.coverage[0][0]), ns_of(now))
    first, last = parse("start", start), parse("end", end)
    low = held.coverage[0][0] if first is None else place(rows, first, end=False)
    high = held.coverage[-1][1] if last is None else place(rows, last, end=True)
    gaps: list[Interval] = []
    for a, b in held.coverage:
        window = max(a, low), min(b, high)
        if window[0] >= window[1]:
            continue
        bars = store.read(look.series, *window)
        for hole in lacking(bars.start, rows, window, bars, held.empty):
            gaps = cover(gaps, _whole(rows, hole, window))
    why = "bars that the sessions should have are asked for again" if gaps else "complete"
    if not rows.certain:
        why = "no calendar is known, so missing bars cannot be told"
    return SeriesPlan(asked, (low, high), with_check(rows, gaps, held), rows, held.rows, why, repair=True)


def _whole(rows: Cells, hole: Interval, window: Interval) -> Interval:
    """Return the sessions that a hole lies in: what is held of them is compared with what comes."""
    first, stop = rows.touched(*hole)
    return max(int(rows.begin[first]), window[0]), min(int(rows.over[stop - 1]), window[1])
