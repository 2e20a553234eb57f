"""Pulls from the simulated TWS in virtual time: what lies in the store afterwards, and what was asked for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from virtual_world import NOON, World, content, market, ns, pulled

import quant as q
from quant.core.bars import COLUMNS, Bars
from quant.core.barsize import DAY, MINUTE
from quant.core.synthetic import synthetic
from quant.errors import ParameterError
from quant.ib.download import PullReport
from quant.store import Store
from quant.tws.exchange.builtin import STOCKS
from quant.tws.program import simulated

SPY = STOCKS[0].instrument
SHARES = Path(__file__).parent


@pytest.fixture
def world() -> World:
    return World(simulated())


def spy(bar: str, start: str, end: str, seed: int = 3) -> Bars:
    return replace(synthetic("SPY", bar, start, end, seed=seed), instrument=SPY, source="vendor")


def held(data: Path, symbol: str, bar: str, what: str = "TRADES", **more: Any) -> Bars:
    return q.bars(symbol, bar, what=what, data=data, **more)


def clean(world: World) -> bool:
    """Whether the server saw no rule broken."""
    return not world.tws.pacing.violations and not world.tws.open_history.violations


# ---------------------------------------------------------------- what comes
@pytest.mark.parametrize("bar", ["1m", "5m", "1h", "1d", "1w"])
def test_stored_bars_come_as_they_are(bar: str, tmp_path: Path) -> None:
    source = spy("1m", "2024-04-01", "2024-05-15")
    there = source if bar == "1m" else source.resample(bar)
    world = World(market(tmp_path / "server", there), ns("2024-05-15 21:00"))
    report = pulled(world, tmp_path / "data", "SPY", bar, "2024-04-01")
    assert report.ok, report
    found = held(tmp_path / "data", "SPY", bar)
    expected = there if bar != "1w" else there[:-1]  # the week of 15 May is not over
    for name in ("start", *COLUMNS):
        assert getattr(found, name).tolist() == getattr(expected, name).tolist()
    assert (found.source, found.adjusted, found.instrument.con_id) == ("simulated", "splits", 756733)
    assert clean(world)


@pytest.mark.parametrize(
    ("symbol", "bar", "asked", "named", "bars"),
    [
        ("SPY", "30s", dict(start="2024-05-14"), dict(symbol="SPY"), 780 + 300),
        ("EURUSD", "1h", dict(sec_type="CASH", start="2024-05-13"), dict(symbol="EUR.USD", what="MIDPOINT"), 64),
        ("EUR.USD", "1d", dict(sec_type="CASH", start="2024-05-13"), dict(symbol="EUR.USD", what="MIDPOINT"), 2),
        (
            "ES", "1h", dict(sec_type="FUT", exchange="CME", expiry="202406", start="2024-05-13"), dict(symbol="ESM4"),
            24 + 24 + 18,  # from 17:00 in Chicago to 17:00 as the calendar has it, and to 11:00
        ),
        ("SPX", "1d", dict(sec_type="IND", exchange="CBOE", start="2024-05-13"), dict(symbol="SPX"), 2),
        ("VOD", "5m", dict(exchange="LSE", start="2024-05-14"), dict(symbol="VOD"), 2 * 102),  # 8:00 to 16:30
        ("SAP", "1h", dict(exchange="IBIS", start="2024-05-14"), dict(symbol="SAP"), 9 + 9),  # 9:00 to 17:30
        ("7203", "1h", dict(exchange="TSEJ", start="2024-05-14"), dict(symbol="7203"), 2 * 6),  # a break at 11:30
        ("700", "30m", dict(exchange="SEHK", start="2024-05-14"), dict(symbol="700"), 11),  # 15 May: closed
    ],
)  # fmt: skip
def test_instruments_of_all_kinds(
    symbol: str,
    bar: str,
    asked: dict[str, Any],
    named: dict[str, Any],
    bars: int,
    tmp_path: Path,
    world: World,
) -> None:
    report = pulled(world, tmp_path, symbol, bar, **asked)
    assert report.ok, report
    found = held(tmp_path, bar=bar, **named)
    assert len(found) == bars
    assert found.end[-1] <= NOON
    assert found.times.in_session.all()
    assert clean(world)


def test_a_london_share_is_stored_in_pence(world: World, tmp_path: Path) -> None:
    pulled(world, tmp_path, "VOD", "1d", "2024-05-01", exchange="LSE")
    found = held(tmp_path, "VOD", "1d").instrument
    assert (found.currency, found.price_magnifier, found.calendar) == ("GBP", 100, "XLON")


def test_a_series_of_a_real_tws_is_of_source_ib(world: World, tmp_path: Path) -> None:
    listings = world.tws.catalogue._listings
    real = replace_listing(listings[756733])
    listings[756733] = real
    pulled(world, tmp_path, "SPY", "1d", "2024-05-01")
    assert [s.source for s in Store(tmp_path).series()] == ["ib"]


def replace_listing(listing: Any) -> Any:
    class Unmarked(type(listing)):  # type: ignore[misc]
        __slots__ = ()
        described = property(lambda self: self.long_name)

    return Unmarked(**{f: getattr(listing, f) for f in listing.__dataclass_fields__})


def test_the_bar_that_is_not_over_is_left_out(world: World, tmp_path: Path) -> None:
    world.t += 30  # 12:00:30
    pulled(world, tmp_path, "SPY", "1m", "2024-05-15")
    assert held(tmp_path, "SPY", "1m").end[-1] == NOON
    pulled(world, tmp_path, "SPY", "1d", "2024-05-10")
    assert str(held(tmp_path, "SPY", "1d").session[-1]) == "2024-05-14"


@pytest.mark.parametrize("bar", ["1m", "30s"])
def test_a_range_that_ends_today_ends_with_the_last_whole_bar(bar: str, world: World, tmp_path: Path) -> None:
    world.t += 10
    assert pulled(world, tmp_path, "SPY", bar, "2024-05-14", "2024-05-15").ok
    assert held(tmp_path, "SPY", bar).end[-1] == NOON
    ((_, coverage, _),) = content(tmp_path).values()
    assert coverage[-1][1] == NOON


def test_the_volume_of_quotes_is_none(world: World, tmp_path: Path) -> None:
    pulled(world, tmp_path, "SPY", "1d", "2024-05-01", what="MIDPOINT")
    assert held(tmp_path, "SPY", "1d", "MIDPOINT").volume.tolist() == [0.0] * 10


# ---------------------------------------------------------------- ranges
@pytest.mark.parametrize(
    ("bar", "first", "requests"),
    [
        ("1d", "2015-01-02", 10),
        ("1m", "2023-05-16", 252),
        ("30s", "2024-05-09", 5),
        ("4h", "2015-01-02", None),
    ],
)
def test_the_first_time_without_a_start(
    bar: str, first: str, requests: int | None, world: World, tmp_path: Path
) -> None:
    """All for an hour and more, a year of minutes, five sessions of seconds."""
    with world.session() as session:
        from quant.core.barsize import SIZES
        from quant.ib.download import describe, plan_pull
        from quant.ib.requests import current_time

        now = session.ask(current_time())
        plan = plan_pull(session, [describe("SPY")], SIZES[bar], now=now, store=Store(tmp_path))
    (series,) = plan.series
    assert str(np.datetime64(series.wanted[0], "ns").astype("datetime64[D]")) == first
    assert requests is None or plan.requests == requests
    assert plan.seconds < 60
    json.dumps(plan.to_dict())
    assert f"{plan.requests:,} requests" in str(plan) if plan.requests > 1 else True


def test_a_range_of_dates_is_whole_sessions(world: World, tmp_path: Path) -> None:
    report = pulled(world, tmp_path, "SPY", "30m", "2024-04-05", "2024-04-13")  # a Saturday
    assert report.ok
    found = held(tmp_path, "SPY", "30m")
    assert [str(d) for d in np.unique(found.session)] == [f"2024-04-{d:02}" for d in (5, 8, 9, 10, 11, 12)]
    asked = len(world.asked)
    assert pulled(world, tmp_path, "SPY", "30m", "2024-04-05", "2024-04-14").requests == 0
    assert len(world.asked) == asked


def test_a_range_of_moments(world: World, tmp_path: Path) -> None:
    assert pulled(world, tmp_path, "SPY", "1m", "2024-05-14 10:00", "2024-05-14 10:30").ok
    found = held(tmp_path, "SPY", "1m")
    assert (found.start[0], found.start[-1], len(found)) == (
        ns("2024-05-14 14:00"),
        ns("2024-05-14 14:29"),
        30,
    )


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("SPY", "7m"), "not a bar size"),
        (("SPY", "1d", "2024-05-02", "2024-05-01"), "lies before start"),
        (("SPY", "1d", "2024-06-01"), "lies in the future"),
        (("SPY", "1d", "2024-05-01", "2024-06-01"), "lies in the future"),
        (("SPY", "1d", "yesterday"), "write a date"),
        (([], "1d"), "name at least one"),
    ],
)  # fmt: skip
def test_a_range_that_cannot_be_is_refused_before_anything_is_asked(
    args: Any, told: str, world: World, tmp_path: Path
) -> None:
    with pytest.raises(ParameterError, match=told):
        pulled(world, tmp_path, *args)
    assert world.asked == []


def test_data_that_ibs_exchange_does_not_have(world: World, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="one of TRADES"):
        pulled(world, tmp_path, "SPY", what="FEES")
    with pytest.raises(ParameterError, match="EURUSD"):
        pulled(world, tmp_path, "EUR", sec_type="CASH")
    report = pulled(world, tmp_path, "SPX", "1d", "2024-05-01", sec_type="IND", exchange="CBOE", what="BID")
    assert "No historical market data for SPX/IND" in str(report)
    assert "try another --what" in str(report)
    assert not report.ok


# ---------------------------------------------------------------- again, and later
def test_what_is_held_is_not_asked_for_again(world: World, tmp_path: Path) -> None:
    pulled(world, tmp_path, "SPY", "1m", "2024-05-06")
    before, asked = content(tmp_path), len(world.asked)
    report = pulled(world, tmp_path, "SPY", "1m", "2024-05-06")
    assert (report.ok, report.requests, len(world.asked)) == (True, 0, asked)
    assert content(tmp_path) == before


def test_an_update_asks_for_new_bars_and_the_last_session_again(tmp_path: Path) -> None:
    source = spy("1m", "2024-05-06", "2024-05-20")
    world = World(market(tmp_path / "server", source), ns("2024-05-15 16:00"))
    data = tmp_path / "data"
    pulled(world, data, "SPY", "1m", "2024-05-06")
    asked = len(world.asked)
    world.t += 24 * 3600
    report = pulled(world, data, "SPY", "1m")  # without a start: what is held goes on
    assert report.ok
    assert len(world.asked) - asked == 2  # 15 May, of which half was held, and 16 May
    (series,) = report.series
    assert (series.added, series.unchanged, series.revised) == (390, 150, 0)
    world.t += 4 * 24 * 3600
    pulled(world, data, "SPY", "1m")
    whole = tmp_path / "whole"
    pulled(world, whole, "SPY", "1m", "2024-05-06")
    assert content(data) == content(whole)


def test_older_bars_may_come_later(world: World, tmp_path: Path) -> None:
    pulled(world, tmp_path / "a", "SPY", "1m", "2024-05-10")
    report = pulled(world, tmp_path / "a", "SPY", "1m", "2024-05-06")
    assert (report.series[0].added, report.series[0].unchanged) == (4 * 390, 150)
    pulled(world, tmp_path / "b", "SPY", "1m", "2024-05-06")
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_many_symbols_come_in_turn(world: World, tmp_path: Path) -> None:
    report = pulled(world, tmp_path, ["SPY", "MSFT", "AAPL", "SPY"], "1m", "2024-05-08")
    assert [s.name for s in report.series] == [f"{s} 1m TRADES rth" for s in ("SPY", "MSFT", "AAPL")]
    assert report.ok
    assert [r.contract.symbol for r in world.asked[:4]] == ["SPY", "MSFT", "AAPL", "SPY"]


def test_adjusted_prices_are_pulled_as_a_whole_each_time(world: World, tmp_path: Path) -> None:
    for _ in range(2):
        report = pulled(world, tmp_path, "SPY", "1d", "2023-01-03", what="ADJUSTED_LAST")
        assert report.ok
        world.t += 24 * 3600
    assert [(r.endDateTime, r.duration) for r in world.asked] == [("", "2 Y")] * 2
    (series,) = report.series
    assert (series.added, series.unchanged) == (1, 343)
    assert held(tmp_path, "SPY", "1d", "ADJUSTED_LAST").adjusted == "all"


# ---------------------------------------------------------------- what changes at IB
def changed(
    bars: Bars, rows: slice, factor: float, names: tuple[str, ...] = ("open", "high", "low", "close")
) -> Bars:
    columns = {n: np.array(getattr(bars, n)) for n in names}
    for values in columns.values():
        values[rows] = np.round(values[rows] * factor, 2)
    return replace(bars, **columns)


@pytest.mark.parametrize("bar", ["1d", "1m"])
def test_a_revised_bar_replaces_the_held_one_which_is_kept(bar: str, tmp_path: Path) -> None:
    source = spy(bar, "2024-05-06", "2024-05-15")
    day = ns("2024-05-15 16:00")
    data = tmp_path / "data"
    pulled(World(market(tmp_path / "1", source), day), data, "SPY", bar, "2024-05-06")
    last = held(data, "SPY", bar)
    row = len(last) - 1
    other = changed(source, slice(row, row + 1), 1.002, ("high",))
    report = pulled(World(market(tmp_path / "2", other), day + DAY), data, "SPY", bar)
    (series,) = report.series
    assert (report.ok, series.revised, series.rebased) == (True, 1, False)
    now = held(data, "SPY", bar)
    assert now.high[row] == other.high[row] != last.high[row]
    gone = Store(data).revisions(Store(data).series()[0])
    assert gone.high.tolist() == [last.high[row]]


@pytest.mark.parametrize("bar", ["1d", "1m", "30s"])
@pytest.mark.parametrize("factor", [0.5, 0.1, 20.0])
def test_a_split_brings_the_whole_series_anew(bar: str, factor: float, tmp_path: Path) -> None:
    days = ("2024-03-01", "2024-05-16") if bar == "1d" else ("2024-05-07", "2024-05-16")
    source = spy(bar, *days)
    data, day = tmp_path / "data", ns("2024-05-15 16:00")
    pulled(World(market(tmp_path / "1", source), day), data, "SPY", bar, days[0])
    before = held(data, "SPY", bar)
    after = changed(source, slice(None), factor)
    world = World(market(tmp_path / "2", after), day + DAY)
    report = pulled(world, data, "SPY", bar)
    (series,) = report.series
    assert (report.ok, series.rebased, series.revised) == (True, True, len(before))
    assert clean(world)
    now = held(data, "SPY", bar)
    assert now.close.tolist() == after.close[: len(now)].tolist()
    assert now.end[-1] == world_end(bar, day + DAY)
    assert len(Store(data).revisions(Store(data).series()[0])) == len(before)
    fresh = tmp_path / "fresh"
    pulled(world, fresh, "SPY", bar, days[0])
    assert content(fresh).keys() == content(data).keys()
    assert [c[:2] for c in content(fresh).values()] == [c[:2] for c in content(data).values()]
    assert not list((data / ".repull").rglob("*.parquet"))


def world_end(bar: str, now: int) -> int:
    return ns("2024-05-15 20:00") if bar == "1d" else now


def test_older_bars_that_ib_has_no_more_stop_the_change_of_all_prices(tmp_path: Path) -> None:
    source = spy("1m", "2024-05-07", "2024-05-16")
    data, day = tmp_path / "data", ns("2024-05-15 16:00")
    pulled(World(market(tmp_path / "1", source), day), data, "SPY", "1m", "2024-05-07")
    before = content(data)
    after = changed(source, slice(None), 0.5)[390:]
    report = pulled(World(market(tmp_path / "2", after), day + DAY), data, "SPY", "1m")
    assert not report.ok
    assert "390 of the held bars no more" in str(report)
    assert content(data) == before


# ---------------------------------------------------------------- empty, and repair
def gappy(bar: str = "1m") -> Bars:
    """Without 8 May, and without half an hour of 10 May."""
    source = spy(bar, "2024-05-06", "2024-05-16")
    gone = (source.session == np.datetime64("2024-05-08")) | (
        (source.start >= ns("2024-05-10 15:00")) & (source.start < ns("2024-05-10 15:30"))
    )
    columns = {n: getattr(source, n)[~gone] for n in ("start", *COLUMNS)}
    return replace(source, **columns)


def test_a_session_without_bars_is_confirmed_empty_and_not_asked_for_again(tmp_path: Path) -> None:
    world = World(market(tmp_path / "server", gappy()))
    report = pulled(world, tmp_path / "data", "SPY", "1m", "2024-05-06")
    assert report.ok, report
    ((_, coverage, empty),) = content(tmp_path / "data").values()
    assert coverage == ((ns("2024-05-06 13:30"), NOON),)
    assert empty == ((ns("2024-05-08 13:30"), ns("2024-05-09 13:30")),)
    assert pulled(world, tmp_path / "data", "SPY", "1m", "2024-05-06").requests == 0


def test_repair_asks_for_what_lacks_and_keeps_what_ib_does_not_have(tmp_path: Path) -> None:
    data = tmp_path / "data"
    pulled(World(market(tmp_path / "1", gappy())), data, "SPY", "1m", "2024-05-06")
    world = World(market(tmp_path / "1", gappy()))
    report = pulled(world, data, "SPY", "1m", repair=True)  # of 8 May IB said that there is nothing
    assert report.ok
    assert {r.endDateTime for r in world.asked} == {"20240510-20:00:00", "20240515-16:00:00"}
    ((_, _, empty),) = content(data).values()
    assert empty == (
        (ns("2024-05-08 13:30"), ns("2024-05-09 13:30")),
        (ns("2024-05-10 15:00"), ns("2024-05-10 15:30")),
    )
    assert pulled(world, data, "SPY", "1m", repair=True).requests == 0


def test_repair_brings_bars_that_came_late(tmp_path: Path) -> None:
    data, whole = tmp_path / "data", spy("1m", "2024-05-06", "2024-05-16")
    pulled(World(market(tmp_path / "1", gappy())), data, "SPY", "1m", "2024-05-06")
    world = World(market(tmp_path / "2", whole))
    report = pulled(world, data, "SPY", "1m", repair=True)
    assert report.series[0].added == 30
    found = held(data, "SPY", "1m")
    assert len(found) == 390 * 6 + 150
    assert not [f for f in found.start if ns("2024-05-08 13:30") <= f < ns("2024-05-08 20:00")]


def test_a_hole_in_daily_bars_is_repaired(tmp_path: Path) -> None:
    source = spy("1d", "2024-03-01", "2024-05-15")
    row = 20
    columns = {n: np.delete(getattr(source, n), row) for n in ("start", *COLUMNS)}
    data = tmp_path / "data"
    pulled(World(market(tmp_path / "1", replace(source, **columns))), data, "SPY", "1d", "2024-03-01")
    report = pulled(World(market(tmp_path / "2", source)), data, "SPY", "1d", repair=True)
    assert (report.ok, report.series[0].added) == (True, 1)
    assert held(data, "SPY", "1d").start.tolist() == source.start[:-1].tolist()


def test_bars_that_ib_shows_late_are_not_taken_for_missing(tmp_path: Path) -> None:
    source = spy("1m", "2024-05-14", "2024-05-15")
    late = source[: 390 + 135]  # up to 11:45 at noon
    data = tmp_path / "data"
    pulled(World(market(tmp_path / "1", late)), data, "SPY", "1m", "2024-05-14")
    ((_, coverage, empty),) = content(data).values()
    assert (coverage, empty) == (((ns("2024-05-14 13:30"), ns("2024-05-15 15:45")),), ())
    pulled(World(market(tmp_path / "2", source)), data, "SPY", "1m")
    assert held(data, "SPY", "1m").end[-1] == NOON


# ---------------------------------------------------------------- the report
def test_the_report_tells_what_came(world: World, tmp_path: Path) -> None:
    told: list[Any] = []
    report = pulled(world, tmp_path, ["SPY", "NOPE"], "1m", "2024-05-13", progress=told.append)
    assert isinstance(report, PullReport)
    assert [f.symbol for f in report.failed] == ["NOPE"]
    assert report.error is report.failed[0].error
    assert report.frame().loc["SPY 1m TRADES rth", "added"] == 2 * 390 + 150
    json.dumps(report.to_dict())
    assert "NOPE: left out" in repr(report)
    assert "<li>SPY 1m" in report._repr_html_()
    assert (told[-1].done, told[-1].requests, told[-1].bars) == (3, 3, 930)
    assert told[-1].eta_s == 0
    first, last = report.series[0].first, report.series[0].last
    assert (first, last) == (ns("2024-05-13 13:30"), NOON - MINUTE)


def test_the_store_knows_what_was_asked(world: World, tmp_path: Path) -> None:
    pulled(world, tmp_path, "SPY", "1m", "2024-04-15")
    store = Store(tmp_path)
    (series,) = store.series()
    requests = store.manifest(series).requests
    assert len(requests) == 1
    assert (requests[0]["kind"], requests[0]["asked"]) == ("pull", 23)
