"""What goes wrong between us and IB, and on our own disk: what arrived is kept, and the same call ends the work."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from virtual_world import (
    NOON,
    Link,
    Spoil,
    World,
    broken,
    content,
    ignored,
    market,
    ns,
    nth,
    pulled,
    refusal,
)

from quant.core.bars import COLUMNS, Bars
from quant.core.synthetic import synthetic
from quant.errors import (
    BarsError,
    DamagedAnswer,
    LinkLost,
    NoData,
    NoPermission,
    NotConnected,
    PacingViolation,
    ParameterError,
    RequestTimeout,
    StoreBusy,
    WriteFailed,
)
from quant.ib.codec import Event
from quant.ib.download import Progress, pull
from quant.ib.download.run import _Run
from quant.ib.wire import Batch
from quant.store import Store, atomic
from quant.tws.exchange.builtin import STOCKS
from quant.tws.exchange.refusal import Refusal
from quant.tws.program import Tws, simulated

SPY = STOCKS[0].instrument
PACING = "Historical Market Data Service error message:Historical data request pacing violation"
NO_PERMISSION = "Historical Market Data Service error message:No market data permissions for ISLAND STK"
ASKED = ("SPY", "1m", "2024-05-06", "2024-05-15 12:00")  # eight requests


@pytest.fixture(scope="module")
def tws() -> Tws:
    return simulated(rate_limited=False)


@pytest.fixture(scope="module")
def undisturbed(tws: Tws, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    data = tmp_path_factory.mktemp("undisturbed")
    assert pulled(World(tws), data, *ASKED).ok
    return content(data)


@pytest.fixture
def world(tws: Tws) -> World:
    tws.pacing = type(tws.pacing)()
    tws.history_ns = 0
    return World(tws)


def damaged(link: Link, request: Any) -> bool:
    link.inbox.put(Batch(link.world.now(), [Event("damaged", (17, "cut off"))]))
    return False


def shorter(link: Link, request: Any) -> bool:
    """IB counts the duration in another way than we do, and sends less."""
    count, unit = request.duration.split()
    request.duration = f"{max(int(count) // 2, 1)} {unit}"
    return False


def staggered(link: Link, request: Any) -> bool:
    """Answers come one after the other."""
    tws = link.world.tws
    tws.history_ns = (tws.history_ns + 100_000_000) % 10_000_000_000
    return False


def stop_at(done: int) -> Callable[[Progress], None]:
    """Ctrl-C, once so many requests are answered."""

    def tell(progress: Progress) -> None:
        if progress.done >= done:
            raise KeyboardInterrupt

    return tell


# ---------------------------------------------------------------- between us and IB
@pytest.mark.parametrize(
    ("what", "times"),
    [
        (broken, 3),
        (ignored, 2),
        (damaged, 1),
        (refusal(162, PACING), 5),
        (refusal(366, "No historical data query found for ticker id"), 1),
    ],
    ids=["broken", "ignored", "damaged", "pacing", "failed"],
)
@pytest.mark.parametrize("at", [1, 4, 8])
def test_a_fault_that_passes_leaves_no_trace(
    what: Spoil, times: int, at: int, world: World, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    world.spoils.append(nth(at, what, times))
    report = pulled(world, tmp_path, *ASKED)
    assert report.ok, report
    assert content(tmp_path) == undisturbed


@pytest.mark.parametrize(
    ("what", "error"),
    [
        (broken, LinkLost),
        (ignored, RequestTimeout),
        (damaged, DamagedAnswer),
        (refusal(354, "Requested market data is not subscribed."), NoPermission),
        (refusal(162, NO_PERMISSION), NoPermission),
        (refusal(162, PACING), PacingViolation),
    ],
    ids=["broken", "ignored", "damaged", "subscription", "permission", "pacing"],
)
def test_a_fault_that_stays_ends_the_symbol_and_keeps_what_arrived(
    what: Spoil, error: type[Exception], world: World, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    def old(link: Link, request: Any) -> bool:
        return request.endDateTime < "20240508" and what(link, request)

    world.spoils.append(old)
    report = pulled(world, tmp_path, *ASKED)
    (series,) = report.series
    assert isinstance(series.error, error), series.error
    assert not report.ok
    assert series.error.exit_code == 5
    if error is not LinkLost:  # which breaks the other requests too
        ((_, coverage, _),) = content(tmp_path).values()
        assert coverage == ((ns("2024-05-08 13:30"), NOON),)
    world.spoils.clear()
    assert pulled(world, tmp_path, *ASKED).ok
    assert content(tmp_path) == undisturbed


def test_one_symbol_without_permission_does_not_stop_the_others(world: World, tmp_path: Path) -> None:
    world.spoils.append(lambda link, r: r.contract.symbol == "MSFT" and refusal(162, NO_PERMISSION)(link, r))
    report = pulled(world, tmp_path, ["SPY", "MSFT", "AAPL"], "1m", "2024-05-13")
    assert [s.complete for s in report.series] == [True, False, True]
    assert isinstance(report.series[1].error, NoPermission)
    assert "Client Portal" in str(report)


def test_a_connection_that_stays_away_ends_the_pull_after_five_minutes(world: World, tmp_path: Path) -> None:
    def gone(link: Link, request: Any) -> bool:
        world.closed = True
        return broken(link, request)

    world.spoils.append(nth(8, gone))
    began = world.now()
    told: list[Any] = []
    report = pulled(world, tmp_path, *ASKED, progress=told.append)
    assert isinstance(report.series[0].error, NotConnected)
    assert 300 < world.now() - began < 400
    assert "connection lost, trying again" in {p.note for p in told}


def test_a_cut_between_tws_and_ib_is_waited_for(
    world: World, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    def cut(link: Link, request: Any) -> bool:
        link._served.tell(
            -1, Refusal(1100, "Connectivity between IBKR and TWS has been lost."), world.present
        )
        ends = world.now() + 200

        def later() -> None:
            if world.now() > ends:
                world.step = lambda: None
                link._served.tell(-1, Refusal(1102, "restored"), world.present)
                link.flush()

        world.step = later
        return True

    world.spoils.append(nth(3, cut))
    report = pulled(world, tmp_path, *ASKED)
    assert report.ok, report
    assert content(tmp_path) == undisturbed


def test_the_hold_after_a_violation_is_told(world: World, tmp_path: Path) -> None:
    world.spoils.append(nth(1, refusal(162, PACING)))
    told: list[Any] = []
    began = world.now()
    assert pulled(world, tmp_path, "SPY", "30s", "2024-05-15", progress=told.append).ok
    assert 30 <= world.now() - began < 40
    assert "waiting for IB's limit" in {p.note for p in told}


@pytest.mark.parametrize(("bar", "start"), [("1d", "2022-06-01"), ("5m", "2024-04-01"), ("1h", "2024-01-02")])
def test_what_a_short_answer_does_not_reach_is_asked_for_again(
    bar: str, start: str, world: World, tmp_path: Path
) -> None:
    pulled(world, tmp_path / "a", "SPY", bar, start)
    world.spoils.append(shorter)
    assert pulled(World(world.tws), tmp_path / "b", "SPY", bar, start).ok
    other = World(world.tws)
    other.spoils.append(shorter)
    report = pulled(other, tmp_path / "c", "SPY", bar, start)
    assert report.ok, report
    assert len(other.asked) > len(world.asked)
    assert content(tmp_path / "a") == content(tmp_path / "b") == content(tmp_path / "c")


def test_an_answer_with_bars_that_were_not_asked_for_is_no_answer(world: World, tmp_path: Path) -> None:
    def now_instead(link: Link, request: Any) -> bool:
        request.endDateTime = ""
        return False

    world.spoils.append(now_instead)
    report = pulled(world, tmp_path, "SPY", "1m", "2024-05-06", "2024-05-07")
    assert isinstance(report.series[0].error, DamagedAnswer)
    assert not Store(tmp_path).series()


@pytest.mark.parametrize(
    ("start", "end", "told"),
    [
        ("2024-05-11", "2024-05-12", "no session lies in that range"),  # Saturday and Sunday
        ("2003-01-02", "2003-02-03", "IB has later data only, since 20"),
    ],
)
def test_a_range_without_sessions_or_before_all_data_is_told(
    start: str, end: str, told: str, world: World, tmp_path: Path
) -> None:
    report = pulled(world, tmp_path, "SPY", "1m", start, end)
    (failed,) = report.failed
    assert isinstance(failed.error, ParameterError)
    assert told in str(failed.error)
    assert not world.asked


def test_nothing_at_all_is_an_error_and_no_empty_series(world: World, tmp_path: Path) -> None:
    world.spoils.append(
        refusal(162, "Historical Market Data Service error message:HMDS query returned no data: SPY")
    )
    report = pulled(world, tmp_path, "SPY", "1m", "2024-05-06", "2024-05-07")
    assert isinstance(report.series[0].error, NoData)
    assert not Store(tmp_path).series()


# ---------------------------------------------------------------- what ends it from outside
@pytest.mark.parametrize("done", range(8))
def test_after_ctrl_c_the_same_call_goes_on_where_it_stopped(
    done: int, world: World, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    world.spoils.append(staggered)
    assert pulled(world, tmp_path, *ASKED, progress=stop_at(done)).interrupted
    if done:
        ((_, coverage, _),) = content(tmp_path).values()
        world.asked.clear()
    report = pulled(world, tmp_path, *ASKED)
    assert report.ok
    assert content(tmp_path) == undisturbed
    if done:
        inside = [r for r in world.asked if coverage[0][0] < ns(_iso(r.endDateTime)) <= coverage[0][1]]
        assert len(inside) == 1  # the newest session, which tells of splits; nothing else that is held
        assert len(world.asked) == 9 - done


def test_after_ctrl_c_a_session_of_somebody_else_asks_for_nothing_more(world: World, tmp_path: Path) -> None:
    world.spoils.append(staggered)
    with world.session() as session:
        report = pull("SPY", "30s", "2024-03-01", data=tmp_path, session=session, progress=stop_at(2))
        assert report.interrupted
        asked = len(world.asked)
        until = world.t + 120
        while world.t < until:
            session.poll(10.0)
        assert len(world.asked) == asked
        assert session.pacing.open == 0


def test_a_first_pull_without_a_start_goes_on_to_its_own_beginning(world: World, tmp_path: Path) -> None:
    pulled(world, tmp_path / "whole", "SPY", "30s")
    other = World(world.tws, ns("2024-05-15 16:00"))
    world.tws.pacing = type(world.tws.pacing)()
    other.spoils.append(staggered)
    assert pulled(other, tmp_path / "data", "SPY", "30s", progress=stop_at(2)).interrupted
    assert pulled(World(world.tws), tmp_path / "data", "SPY", "30s", end="2024-05-15 12:00").ok
    assert content(tmp_path / "data") == content(tmp_path / "whole")


class KilledError(BaseException):
    """The process ends here, and nothing more is done."""


@pytest.mark.parametrize("symbols", [["SPY"], ["SPY", "MSFT", "VOD"]], ids=["one", "three"])
def test_killed_anywhere_and_resumed_is_the_same_as_never_killed(
    symbols: list[str], tws: Tws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    """Killed within the n-th of all calls that write to the disk; nothing but what is written counts."""
    args: Any = (symbols, "1h", "2024-02-01", "2024-05-10")
    assert pulled(World(tws), tmp_path / "whole", *args).ok
    put, left = atomic.put, 0

    def killed(path: Path, data: bytes) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise KilledError
        put(path, data)

    def attempt(data: Path) -> bool:
        tws.pacing, tws.history_ns = type(tws.pacing)(), 0
        world = World(tws)
        world.spoils.append(staggered)
        try:
            return pulled(world, data, *args).ok
        except KilledError:
            return False

    monkeypatch.setattr("quant.store.write.put", killed)
    monkeypatch.setattr(_Run, "save_all", lambda self: None)
    for again in (False, True):  # killed once; killed each time, a little further
        for n in range(1, 40 if full else 6 - len(symbols)):
            left, data, tries = n, tmp_path / f"{again}{n}", 1
            while not attempt(data):
                # Each start writes what it checked, once a series, before anything new.
                left = len(symbols) + n + tries if again else 0
                tries += 1
                assert tries < 40
            assert content(data) == content(tmp_path / "whole")


def _iso(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:8]} {text[9:]}"


# ---------------------------------------------------------------- a split, and an end in its middle
def halved(bars: Bars) -> Bars:
    """After a split of 2 for 1."""
    return replace(bars, **{n: getattr(bars, n) / 2 for n in ("open", "high", "low", "close")})


@pytest.fixture
def split(tmp_path: Path) -> World:
    """A TWS with other prices than the held ones, of 7 to 10 May."""
    source = replace(
        synthetic("SPY", "1m", "2024-05-07", "2024-05-16", seed=4), instrument=SPY, source="vendor"
    )
    before = World(market(tmp_path / "1", source), ns("2024-05-10 20:00"))
    assert pulled(before, tmp_path / "data", "SPY", "1m", "2024-05-07").ok
    return World(market(tmp_path / "2", halved(source)), ns("2024-05-15 20:00"))


def test_nothing_is_written_before_the_held_prices_are_compared(split: World, tmp_path: Path) -> None:
    held = content(tmp_path / "data")

    def slow(link: Link, request: Any) -> bool:
        split.tws.history_ns = 20_000_000_000 if len(split.asked) == 1 else 100_000_000
        return False

    split.spoils.append(slow)
    report = pulled(split, tmp_path / "data", "SPY", "1m", progress=stop_at(2))
    assert report.interrupted
    assert split.asked[0].endDateTime == "20240510-20:00:00"
    assert content(tmp_path / "data") == held


@pytest.mark.parametrize("done", [1, 3, 5, 7])
def test_a_series_that_is_pulled_anew_goes_on_after_an_end(done: int, split: World, tmp_path: Path) -> None:
    held = content(tmp_path / "data")
    split.spoils.append(staggered)
    report = pulled(split, tmp_path / "data", "SPY", "1m", progress=stop_at(done))
    assert report.interrupted
    assert content(tmp_path / "data") == held  # one or the other, never a mixture
    again = pulled(split, tmp_path / "data", "SPY", "1m")
    assert again.ok, again
    assert again.series[0].rebased
    assert pulled(split, tmp_path / "fresh", "SPY", "1m", "2024-05-07").ok
    assert content(tmp_path / "data") == content(tmp_path / "fresh")
    assert not list((tmp_path / "data" / ".repull").rglob("*.parquet"))


# ---------------------------------------------------------------- on our own side
def test_a_full_disk_stops_the_pull_and_keeps_what_was_written(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, Any]
) -> None:
    put, left = atomic.put, 3
    world.spoils.append(staggered)

    def full(path: Path, data: bytes) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        put(path, data)

    monkeypatch.setattr("quant.store.write.put", full)
    report = pulled(world, tmp_path, *ASKED)
    assert isinstance(report.series[0].error, WriteFailed)
    assert "No space left" in str(report)
    assert report.series[0].error.exit_code == 4
    assert len(Store(tmp_path).read(Store(tmp_path).series()[0])) > 0
    monkeypatch.setattr("quant.store.write.put", put)
    assert pulled(world, tmp_path, *ASKED).ok
    assert content(tmp_path) == undisturbed


def test_a_series_that_another_process_writes_stops_the_pull(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quant.store.write.WAIT_S", 0.0)
    pulled(world, tmp_path, "SPY", "1m", "2024-05-14")
    (series,) = Store(tmp_path).series()
    with FileLock(series.folder / ".lock"):
        report = pulled(world, tmp_path, *ASKED)
    assert isinstance(report.series[0].error, StoreBusy)


def test_other_units_than_the_held_ones_are_refused(world: World, tmp_path: Path) -> None:
    for number, other in enumerate((replace(SPY, tick=0.05), replace(SPY, con_id=1))):
        held = replace(
            synthetic("SPY", "1d", "2024-04-01", "2024-04-05"),
            instrument=other,
            source="simulated",
            adjusted="splits",
        )
        Store(tmp_path / f"{number}").write(held, {"kind": "import", "at": "2024-05-01T00:00:00+00:00"})
        report = pulled(world, tmp_path / f"{number}", "SPY", "1d", "2024-04-01")
        assert isinstance(report.failed[0].error, BarsError)
        assert ("tick = 0.05 (IB now: 0.01)", "contract 1; IB now says 756733")[number] in str(report)
        assert "quant data remove" in str(report)


# ---------------------------------------------------------------- IB's limits
def thin(number: int, sessions: int) -> Bars:
    """Three bars of 30 seconds a session, so that answers are short."""
    whole = synthetic(f"S{number}", "30s", "2024-03-01", "2024-05-15", seed=number)
    first = np.flatnonzero(np.append(True, whole.session[1:] != whole.session[:-1]))[-sessions:]
    rows = (first[:, None] + np.arange(3)).ravel()
    columns = {n: getattr(whole, n)[rows] for n in ("start", *COLUMNS)}
    instrument = replace(SPY, symbol=f"S{number}", con_id=5000 + number)
    return replace(whole, instrument=instrument, source="vendor", **columns)


def test_limits_are_used_fully_and_none_is_broken(tmp_path: Path, full: bool) -> None:
    sessions = 50 if full else 8
    bars = [thin(n, sessions) for n in range(20)]
    world = World(market(tmp_path / "server", *bars), ns("2024-05-15 21:00"))
    world.tws.history_ns = 700_000_000
    began = world.now()
    first = str(bars[0].session[0])
    report = pulled(world, tmp_path / "data", [f"S{n}" for n in range(20)], "30s", first)
    assert report.ok, report
    count = len(world.asked)
    assert count == 20 * sessions
    least_s = 600 * ((count - 1) // 60)  # sixty at once, then sixty in each ten minutes
    assert least_s / (world.now() - began) >= 0.9
    assert not world.tws.pacing.violations
    assert not world.tws.open_history.violations
    assert all(not link.violations for link in world.links)
