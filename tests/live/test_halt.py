"""A halt of the exchange's: no trade for minutes within the session, and orders that rest meanwhile."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from live_run import START, draft, play, tws
from live_tws import Patient

import quant as q
from quant.core.barsize import MINUTE, SECOND, bar_size
from quant.core.instrument import Instrument
from quant.ib.session import Session
from quant.live.bars.pieces import Gap
from quant.live.bars.wanted import duration
from quant.live.moments import trades_since
from quant.tws.exchange.path import Ticks
from quant.tws.exchange.request import Duration, step_refusal
from quant.tws.exchange.tape import Tape, _cut
from quant.tws.faults import Do, Fault

QUOTES = "MarketDataRequest"


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND


def halt(monkeypatch: pytest.MonkeyPatch, begin: int, end: int) -> None:
    """Let nothing trade from `begin` to `end`: neither ticks nor bars."""
    ticks, bars = Tape.ticks, Tape.bars

    def traded(self: Tape, *args: Any, **kwargs: Any) -> Ticks:
        found = ticks(self, *args, **kwargs)
        there = (found.time < begin) | (found.time >= end)
        return replace(found, **{f.name: getattr(found, f.name)[there] for f in fields(found)})

    def shown(self: Tape, *args: Any, **kwargs: Any) -> q.Bars:
        found = bars(self, *args, **kwargs)
        there = (found.start < begin) | (found.start >= end)
        return _cut(found, there) if found.bar.intraday else found

    monkeypatch.setattr(Tape, "ticks", traded)
    monkeypatch.setattr(Tape, "bars", shown)


def test_why_nothing_happens_says_that_nothing_trades(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quant.live.store.MEASURE_S", 0.1)  # no bar tells the flying time in a halt
    begin, end = START + 4 * MINUTE, START + 8 * MINUTE
    halt(monkeypatch, begin, end)
    seen: list[tuple[int, str]] = []

    def over(picture: dict[str, Any]) -> bool:
        now = at(picture["time"].removesuffix(" UTC"))
        seen.append((now, " ".join(picture["why"])))
        return now > end + 2 * MINUTE and picture["orders"][0]["at"] > "2024-05-15 15:08"

    with tws(outside=Patient()) as port:
        ended, told = play(draft(data), port, data, over)
    assert ended.code == 0, told
    halted = [
        now for now, why in seen if "SPY: no bar since 2024-05-15 15:04:00 UTC: nobody trades it" in why
    ]
    assert halted, told
    assert begin + MINUTE <= halted[0] <= begin + 3 * MINUTE
    assert halted[-1] <= end + MINUTE
    assert not [why for now, why in seen if now < begin and "no bar since" in why]
    assert not [line for line in told if "STOP" in line]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(Do.HALTED, QUOTES, size=2), "trading in it is halted, says IB (volatility halt)"),
        (Fault(Do.HALTED, QUOTES, size=1), "trading in it is halted, says IB (general halt)"),
        (Fault(Do.HALTED, QUOTES), "nobody trades it; it is not halted, says IB"),
        (
            Fault(Do.REFUSE, QUOTES, count=0, code=354, text="Requested market data is not subscribed."),
            "nobody trades it, as in a halt of the exchange's, or IB sends nothing",
        ),
    ],
)
def test_ib_is_asked_about_a_halt_while_no_bar_comes(
    data: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault, words: str
) -> None:
    """Values of tick type 49 by IB's page on tick types."""
    monkeypatch.setattr("quant.live.store.MEASURE_S", 0.1)
    lines: list[str] = []
    for name in ("subscribe", "unsubscribe"):
        monkeypatch.setattr(Session, name, noted(name, lines))
    end = START + 4 * MINUTE
    halt(monkeypatch, START + 2 * MINUTE, end)
    seen: list[str] = []

    def over(picture: dict[str, Any]) -> bool:
        seen.append(" ".join(picture["why"]))
        return at(picture["time"].removesuffix(" UTC")) > end and "no bar since" not in seen[-1]

    with tws(outside=Patient(), faults=(fault,)) as port:
        ended, told = play(draft(data), port, data, over)
    assert ended.code == 0, told
    assert [why for why in seen if f"SPY: no bar since 2024-05-15 15:02:00 UTC: {words}" in why], seen
    assert lines == ["subscribe", "unsubscribe"]  # a market data line is taken no longer than no bar comes


def noted(name: str, lines: list[str]) -> Any:
    """Return a method of Session's that notes its calls for quotes."""
    plain = getattr(Session, name)

    def call(self: Session, wanted: Any, *more: Any) -> Any:
        if getattr(wanted, "request", wanted).what.startswith("market data"):
            lines.append(name)
        return plain(self, wanted, *more)

    return call


def test_a_gap_is_told_in_words() -> None:
    gap = Gap(at("2024-05-15 15:04"), at("2024-05-15 15:14"))
    assert str(gap) == "no bars from 2024-05-15 15:04:00 to 2024-05-15 15:14:00 UTC"
    grown = replace(gap, bars=10).joined(Gap(gap.end, gap.end + MINUTE, 1))
    assert str(grown) == "no bars from 2024-05-15 15:04:00 to 2024-05-15 15:15:00 UTC (11 bars)"
    assert gap.joined(grown).bars == 0  # nobody knows how many there should be in one of them


# ---------------------------------------------------------------- when there is trading
@pytest.mark.parametrize(
    ("calendar", "now", "since"),
    [
        ("XNYS", "2024-05-15 13:29", None), ("XNYS", "2024-05-15 13:30", "2024-05-15 13:30"),
        ("XNYS", "2024-05-15 19:59", "2024-05-15 13:30"), ("XNYS", "2024-05-15 20:00", None),
        ("XHKG", "2024-05-16 03:59", "2024-05-16 01:30"), ("XHKG", "2024-05-16 04:30", None),
        ("XHKG", "2024-05-16 05:00", "2024-05-16 05:00"), (None, "2024-05-15 15:00", None),
    ],
)  # fmt: skip
def test_a_break_is_no_halt(calendar: str | None, now: str, since: str | None) -> None:
    """New York trades 9:30 to 16:00, Hong Kong 9:30 to 12:00 and 13:00 to 16:00 (the exchanges' own pages)."""
    found = trades_since(Instrument("X", calendar=calendar), at(now))
    assert found == (None if since is None else at(since))


# ---------------------------------------------------------------- what is asked for in a gap
@pytest.mark.parametrize(
    "size",
    [
        "5s",
        "10s",
        "30s",
        "1m",
        "2m",
        "3m",
        "5m",
        "15m",
        "30m",
        "1h",
        "2h",
        "3h",
        "4h",
        "8h",
        "1d",
        "1w",
        "1mo",
    ],
)
def test_what_history_is_asked_for_in_a_gap_is_in_ibs_step_table(size: str) -> None:
    bar = bar_size(size)
    for count in (1, 2, 3, 5):
        if bar.ns < MINUTE and count * bar.ns > 30 * SECOND:
            continue  # how far small bars reach is seen to by who asks
        number, unit = duration(count * bar.ns, bar).split()
        asked = Duration(int(number), unit)
        assert asked.seconds * SECOND >= count * bar.ns or bar.unit in ("w", "mo")
        assert step_refusal(bar, asked, strict=True) is None, (size, count, asked)
