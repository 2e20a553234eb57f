"""Times of live bars on backtrader's clock: those that the backtest's feed writes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.backtest.feed import numbers
from quant.core.barsize import MINUTE
from quant.core.zones import to_local
from quant.live.moments import number

ZONES = ("America/New_York", "Europe/London", "Asia/Tokyo", "Australia/Lord_Howe", "Asia/Kolkata", "UTC")


def of(timezone: str) -> SimpleNamespace:
    """Return what stands for a feed of an instrument with that clock."""
    return SimpleNamespace(bars=SimpleNamespace(instrument=SimpleNamespace(timezone=timezone, con_id=1)))


# 1930 to 2090, whole minutes; the clocks of New York went forward and back at the examples.
@pytest.mark.parametrize("zone", ZONES)
@given(st.integers(-21_000_000, 63_000_000))
def test_a_live_bar_has_the_number_that_the_backtest_gives_it(zone, minute):
    moments = np.array([minute * MINUTE, 1710054000 * 10**9 - 1000, 1710054000 * 10**9, 1730613600 * 10**9])
    live = [number(of(zone), at) for at in moments.tolist()]
    assert live == numbers(to_local(moments, zone)).tolist()
