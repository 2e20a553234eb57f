"""Levels of detail against a slow reading of their definition, and every number back out of its bytes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import floats, level

from quant.report.levels import (
    CHUNK,
    FACTOR,
    SMALLEST,
    block,
    candles,
    coarser,
    decimals,
    levels,
    line,
    table,
)


def made_up(n: int, seed: int = 1) -> tuple[np.ndarray, ...]:
    """Open, high, low, close in cents and volumes."""
    random = np.random.default_rng(seed)
    close = np.round(100.0 + np.cumsum(random.normal(0, 0.05, n)), 2)
    open_ = np.round(close + random.normal(0, 0.03, n), 2)
    high, low = np.round(np.maximum(open_, close) + 0.04, 2), np.round(np.minimum(open_, close) - 0.03, 2)
    return open_, high, low, close, random.integers(0, 5_000, n).astype(float)


def slowly(step: list[int], rows: list[tuple[float, ...]], factor: int) -> dict[int, tuple[float, ...]]:
    """One bar for each `factor` steps: first open, highest high, lowest low, last close, all volume."""
    found: dict[int, Any] = {}
    for s, (o, h, low, c, v) in zip(step, rows, strict=True):
        old = found.get(s // factor)
        found[s // factor] = (
            (o, h, low, c, v) if old is None else (old[0], max(old[1], h), min(old[2], low), c, old[4] + v)
        )
    return found


@given(st.data())
def test_each_level_of_bars_is_what_its_definition_says(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 300))
    step = sorted(data.draw(st.sets(st.integers(0, 2_000), min_size=n, max_size=n)))
    columns = made_up(n, data.draw(st.integers(0, 9)))
    at, found = np.array(step), candles(*columns)
    for power in (1, 2, 3):
        at, found = coarser(at, found)
        by_name = {c.name: c.values for c in found}
        wanted = slowly(step, list(zip(*columns, strict=True)), FACTOR**power)
        assert at.tolist() == list(wanted)
        names = ("open", "high", "low", "close", "volume")
        assert list(zip(*(by_name[k].tolist() for k in names), strict=True)) == list(wanted.values())


@given(st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), min_size=1, max_size=200))
def test_a_line_keeps_its_range_and_its_last_number_over_gaps(values: list[float]) -> None:
    bucket, found = coarser(np.arange(len(values)), line("a", np.array(values)))
    by_name = {c.name: c.values for c in found}
    for k, b in enumerate(bucket):
        known = [v for v in values[b * FACTOR : (b + 1) * FACTOR] if not math.isnan(v)]
        got = [by_name[name][k] for name in ("a.min", "a.max", "a")]
        assert got == [min(known), max(known), known[-1]] if known else np.isnan(got).all()


def test_prices_in_cents_come_back_to_the_last_bit_through_all_chunks() -> None:
    n = CHUNK + 700
    step, columns, blobs = np.arange(n) * 2 + 5, made_up(n), []
    spec = block(step, candles(*columns), blobs)
    finest = level(spec["levels"][0], blobs)
    assert len(spec["levels"][0]["chunks"]) == 2
    assert finest["bucket"] == step.tolist()
    for name, values in zip(("open", "high", "low", "close", "volume"), columns, strict=True):
        assert finest[name] == values.tolist()


def test_a_coarse_level_comes_back_as_it_was_made() -> None:
    n, blobs = 5_000, []
    columns = made_up(n)
    spec = block(np.arange(n), candles(*columns), blobs)
    for k, (bucket, made) in enumerate(levels(np.arange(n), candles(*columns))):
        read = level(spec["levels"][k], blobs)
        assert read["bucket"] == bucket.tolist()
        assert all(read[c.name] == c.values.tolist() for c in made)
    assert len(spec["levels"][-1]["chunks"]) == 1
    assert spec["levels"][-1]["chunks"][0]["rows"] <= SMALLEST


def test_missing_and_infinite_numbers_come_back_as_missing() -> None:
    blobs: list[str] = []
    values = np.array([np.nan, 1.5, np.inf, -np.inf, -2.25, np.nan])
    spec = block(np.arange(6), line("a", values), blobs)
    assert level(spec["levels"][0], blobs)["a"] == [None, 1.5, None, None, -2.25, None]


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1.0, 1e7, 1e15])
def test_numbers_without_an_end_keep_seven_digits_of_the_largest(scale: float) -> None:
    blobs: list[str] = []
    values = np.random.default_rng(2).normal(0.0, scale, 500)
    spec = block(np.arange(500), line("a", values), blobs)
    read = np.array(level(spec["levels"][0], blobs)["a"], dtype=float)
    assert np.max(np.abs(read - values)) <= np.max(np.abs(values)) * 1e-6


def test_a_sum_that_outgrows_32_bits_loses_digits_and_not_its_size() -> None:
    n, blobs = 3_000, []
    open_, high, low, close, _ = made_up(n)
    volume = np.full(n, 2_000_000_001.0)
    spec = block(np.arange(n), candles(open_, high, low, close, volume), blobs)
    coarse = level(spec["levels"][-1], blobs)
    assert coarse["volume"][0] == pytest.approx(2_000_000_001.0 * spec["levels"][-1]["factor"], rel=1e-8)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([1.0, 2.0], 0),
        ([0.1, 0.25], 2),
        ([1.00001], 5),
        ([0.0], 0),
        ([np.nan], 0),
        ([0.1 + 0.2], 9),
        ([1 / 3e5], 14),
    ],
)
def test_decimals_are_the_least_that_are_exact_else_nine_digits(values: list[float], wanted: int) -> None:
    assert decimals(np.array(values)) == wanted


def test_a_table_keeps_every_bit() -> None:
    blobs: list[str] = []
    columns = [np.array([0.1 + 0.2, -0.0, 1e300, np.inf]), np.array([1.0, 2.0, 3.0, -4.5])]
    assert table(columns, blobs) == 0
    assert floats(blobs[0], 2, 4) == [c.tolist() for c in columns]


def test_no_rows_make_no_level_that_breaks() -> None:
    blobs: list[str] = []
    empty = np.zeros(0)
    spec = block(np.zeros(0, dtype=np.int64), candles(empty, empty, empty, empty, empty), blobs)
    assert [lvl["chunks"] for lvl in spec["levels"]] == [[]]
