"""What goes out as JSON and as text."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quant.app import output
from quant.core.barsize import bar_size


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, None),
        (True, True),
        (np.bool_(False), False),
        (0, 0),
        (np.int64(3), 3),
        (np.float64(0.1), 0.1),
        (math.nan, None),
        (np.float64("inf"), None),
        (pd.NaT, None),
        (dt.date(2020, 1, 2), "2020-01-02"),
        (np.datetime64("2020-01-02"), "2020-01-02"),
        (pd.Timestamp("2020-01-02 09:30", tz="UTC"), "2020-01-02T09:30:00+00:00"),
        (bar_size("1d"), "1d"),
        (Path("a"), "a"),
        ((1, [math.nan]), [1, [None]]),
        ({1: {"a": math.nan}}, {"1": {"a": None}}),
        (pd.DataFrame({"a": [1.0, math.nan]}), [{"a": 1.0}, {"a": None}]),
    ],
)
def test_plain_values(value: object, wanted: object) -> None:
    found = output.plain(value)
    assert found == wanted
    assert type(found) is type(wanted)


def test_missing_numbers_are_a_dash() -> None:
    assert output.percent(math.nan) == output.percent(None) == output.number(math.nan) == "-"
    assert output.percent(0.0) == "+0.00%"
    assert output.number(0.0) == "0.00"


def test_cells_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    output.show(output.Result({}, [output.table(("a",), [("[bold]x[/bold]",)])]), as_json=False)
    assert "[bold]x[/bold]" in capsys.readouterr().out


def test_tables_are_not_cut_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    output.show(output.Result({}, [output.table(("a", "b"), [("x" * 300, "end")])]), as_json=False)
    assert "x" * 300 + "  end" in capsys.readouterr().out


def test_frames_show_utc_without_its_name() -> None:
    frame = pd.DataFrame({"time": pd.to_datetime(["2020-01-02 14:30"], utc=True), "price": [1.5]})
    assert output.frame_text(frame).split() == ["time", "price", "2020-01-02", "14:30:00", "1.5"]
    assert output.frame_text(frame.head(0)) == "(none)"
