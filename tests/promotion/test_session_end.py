"""When a session is over: hours of nyse.com, cmegroup.com and of the clock, written out here in UTC."""

from __future__ import annotations

import numpy as np
import pytest

from quant.core.instrument import Instrument
from quant.promotion.session_end import session_end

SPY = Instrument("SPY", calendar="XNYS", timezone="America/New_York")
ES = Instrument("ES", "FUT", "CME", calendar="CMES", timezone="America/Chicago")
COIN = Instrument("BTC", "CRYPTO", "PAXOS", calendar="24/7")
NOBODY = Instrument("X")


@pytest.mark.parametrize(
    ("units", "day", "rth", "end"),
    [
        ([SPY], "2024-05-15", True, "2024-05-15T20:00"),
        ([SPY], "2024-01-16", True, "2024-01-16T21:00"),
        ([SPY], "2024-11-29", True, "2024-11-29T18:00"),  # the day after Thanksgiving: 13:00 in New York
        ([SPY], "2024-05-15", False, "2024-05-16T04:00"),  # trading goes on after the close
        ([SPY], "2024-12-25", True, "2024-12-26T05:00"),  # no session
        ([ES], "2024-05-15", True, "2024-05-15T22:00"),  # 17:00 in Chicago
        ([SPY, ES], "2024-05-15", True, "2024-05-15T22:00"),
        ([COIN], "2024-05-15", True, "2024-05-16T00:00"),
        ([NOBODY], "2024-05-15", True, "2024-05-16T12:00"),  # midnight at UTC-12
        ([], "2024-05-15", True, "2024-05-16T12:00"),
    ],
)
def test_session_end(units: list[Instrument], day: str, rth: bool, end: str) -> None:
    assert str(np.datetime64(session_end(day, units, rth=rth), "ns").astype("datetime64[m]")) == end
