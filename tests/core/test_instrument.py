from __future__ import annotations

import json
import math
import pickle
from typing import Any

import pytest

from quant.core.finding import Finding
from quant.core.instrument import Instrument
from quant.errors import BarsError, ParameterError, QuantError, SeriesNotFound


def test_round_trip_through_json() -> None:
    es = Instrument(
        "ES", "FUT", "CME", con_id=1, tick=0.25, multiplier=50.0, calendar="CMES", timezone="America/Chicago"
    )
    assert Instrument.from_dict(json.loads(json.dumps(es.to_dict()))) == es


def test_keys_of_a_later_version_are_ignored() -> None:
    assert Instrument.from_dict({"symbol": "SPY", "colour": "red"}) == Instrument("SPY")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("symbol", ""),
        ("symbol", "  "),
        ("symbol", "A\nB"),
        ("symbol", None),
        ("tick", 0.0),
        ("tick", -0.01),
        ("tick", math.nan),
        ("multiplier", 0.0),
        ("multiplier", math.inf),
        ("price_magnifier", 0),
        ("timezone", "Mars/Olympus"),
        ("timezone", ""),
    ],
)
def test_unusable_facts_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ParameterError):
        Instrument.from_dict({"symbol": "SPY", field: value})


def test_market_follows_the_currency() -> None:
    assert Instrument("VOD", currency="GBP").market == "GB"
    assert Instrument("X", currency="SEK").market == "SEK"


def test_finding_says_level_message_and_code() -> None:
    finding = Finding("zero-price", "close is 0 in row 3", 2)
    assert str(finding) == "warning: close is 0 in row 3 [zero-price]"
    assert finding.to_dict() == {
        "code": "zero-price", "message": "close is 0 in row 3", "count": 2, "level": "warning",
    }  # fmt: skip


@pytest.mark.parametrize(
    "error",
    [
        ParameterError("bar", "7m", "not a bar size"),
        BarsError("SPY", "times occur twice", [1, 2], "Drop them"),
        SeriesNotFound("SPY", "data", "Import it"),
    ],
)
def test_errors_cross_a_process_boundary_whole(error: QuantError) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.__dict__ == error.__dict__


def test_bars_error_names_the_first_rows_and_the_mend() -> None:
    text = str(BarsError("SPY", "times occur twice", range(1, 9), "Drop them"))
    assert text == "SPY: times occur twice (rows 1, 2, 3, 4, 5, ...). Drop them"
