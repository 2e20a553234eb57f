"""Market data lines: the day so far is the bar's, and the ticks make it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from quant.core.barsize import SECOND
from quant.core.synthetic import synthetic
from quant.tws.exchange.instruments import Catalogue
from quant.tws.exchange.listing import Listing
from quant.tws.exchange.quotes import day, is_open, marks
from quant.tws.exchange.shelf import held_bars
from quant.tws.exchange.tape import Tape


def known(con_id: int) -> Listing:
    found = Catalogue().get(con_id)
    assert found is not None
    return found


SPY, TOYOTA, EUR = known(756733), known(990_000_005), known(12087792)
MINUTES = replace(synthetic("SPY", "1m", "2020-12-14", "2020-12-15", seed=5), instrument=SPY.instrument)
DAYS = MINUTES.resample("1d")
TAPE = Tape({SPY.con_id: held_bars([MINUTES])})


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND


def test_the_day_so_far_is_what_its_ticks_made():
    opened, now = at("2020-12-15T14:30:00"), at("2020-12-15T15:12:07")
    found, seen = day(TAPE, SPY, now), marks(TAPE, SPY, opened - 1, now)
    assert found is not None
    prices = [m.price for m in seen]
    assert (found.open, found.high, found.low, found.last) == (
        prices[0],
        max(prices),
        min(prices),
        prices[-1],
    )
    assert found.volume == sum(m.size for m in seen)
    assert (found.before, found.time) == (DAYS.close[0], now)
    assert found.quote == seen[-1].quote
    assert all(m.quote.bid < m.price < m.quote.ask for m in seen)


def test_after_the_close_the_day_stays_without_a_quote():
    found = day(TAPE, SPY, at("2020-12-15T23:00:00"))
    assert found is not None
    assert (found.last, found.volume, found.quote) == (DAYS.close[1], DAYS.volume[1], None)
    assert day(TAPE, SPY, at("2020-12-14T14:00:00")) is None
    assert day(TAPE, SPY, at("2022-01-03T15:00:00")) is None


def test_looking_twice_shows_each_tick_once():
    begin, end = at("2020-12-15T15:00:00"), at("2020-12-15T15:01:00")
    middle = begin + 17 * SECOND + 5
    assert marks(TAPE, SPY, begin, middle) + marks(TAPE, SPY, middle, end) == marks(TAPE, SPY, begin, end)
    assert np.all(np.diff([m.time for m in marks(TAPE, SPY, begin, end)]) == SECOND)


@pytest.mark.parametrize(
    ("listing", "moment", "expected"),
    [
        (SPY, "2020-12-15T14:29:59", False), (SPY, "2020-12-15T14:30:00", True), (SPY, "2020-12-15T21:00:00", False),
        (SPY, "2020-12-19T15:00:00", False), (TOYOTA, "2021-03-02T02:00:00", True),
        (TOYOTA, "2021-03-02T03:00:00", False), (EUR, "2021-03-02T03:00:00", True),
    ],
)  # fmt: skip
def test_when_the_exchanges_trade(listing, moment, expected):
    # Tokyo's lunch is 11:30 to 12:30, 02:30 to 03:30 UTC.
    assert is_open(listing, at(moment)) == expected
