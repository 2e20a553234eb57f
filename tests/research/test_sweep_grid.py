"""Combinations of a grid: against itertools, by hand, and how bad input is refused."""

import datetime
import math
from decimal import Decimal
from itertools import product

import backtrader as bt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import quant as q
from quant.errors import ParameterError, StrategyError
from quant.research import grid as module
from quant.research.grid import combinations, params_text, parse_values
from quant.strategy import parameters


class Cross(q.Strategy):
    params = dict(fast=12, slow=26, factor=1.0, short=False, kind="ema", extra=None)

    @staticmethod
    def valid(p):
        return p.fast < p.slow


class Plain(bt.Strategy):
    params = dict(period=None, average=bt.ind.SMA)


def pairs(found):
    return [(r["fast"], r["slow"]) for r in found.rows]


# ---------------------------------------------------------------- the whole grid
def test_the_whole_grid_is_itertools_product_without_the_invalid():
    found = combinations(Cross, {"slow": [10, 20], "fast": range(5, 25, 5)})
    wanted = [(f, s) for s, f in product([10, 20], range(5, 25, 5)) if f < s]
    assert pairs(found) == wanted
    assert (found.names, found.total, found.dropped) == (("slow", "fast"), 8, 8 - len(wanted))
    assert found.findings == ()


def test_each_row_holds_all_parameters_as_a_backtest_would_take_them():
    grid = {"fast": np.array([3, 5]), "slow": 9.0, "factor": (1, 2.5), "short": [True]}
    found = combinations(Cross, grid)
    wanted = [
        parameters(Cross, {"fast": f, "slow": 9, "factor": x, "short": True})
        for f, x in product([3, 5], [1.0, 2.5])
    ]
    assert found.rows == wanted
    assert [type(v) for v in found.rows[0].values()] == [int, int, float, bool, str, type(None)]
    assert list(found.rows[0]) == list(wanted[0])


@pytest.mark.parametrize(
    "values",
    [
        [5, 7],
        (5, 7),
        range(5, 8, 2),
        np.array([5, 7]),
        np.array([5.0, 7.0]),
        pd.Series([5, 7]),
        pd.Index([5, 7]),
    ],
    ids=lambda v: type(v).__name__,
)
def test_values_may_come_in_any_ordered_form(values):
    assert [r["fast"] for r in combinations(Cross, {"fast": values}).rows] == [5, 7]


@pytest.mark.parametrize("value", [5, 5.0, np.int64(5), np.array(5)])
def test_one_value_needs_no_list(value):
    (row,) = combinations(Cross, {"fast": value}).rows
    assert row["fast"] == 5
    assert type(row["fast"]) is int


def test_text_is_one_value_not_its_letters():
    assert [r["kind"] for r in combinations(Cross, {"kind": "sma"}).rows] == ["sma"]


def test_a_plain_strategy_has_no_valid_and_takes_any_value():
    found = combinations(Plain, {"period": [None, 5, "x"], "average": [bt.ind.SMA, bt.ind.EMA]})
    assert (len(found.rows), found.dropped, found.total) == (6, 0, 6)
    assert found.rows[-1] == {"period": "x", "average": bt.ind.EMA}


def test_nothing_that_was_given_is_written_to():
    fast = [5, 7]
    grid = {"fast": fast}
    combinations(Cross, grid).rows[0]["fast"] = 99
    assert (fast, grid) == ([5, 7], {"fast": [5, 7]})


# ---------------------------------------------------------------- random samples
def test_samples_are_distinct_valid_and_of_the_grid():
    grid = {"fast": range(1, 41), "slow": range(1, 41)}
    found = combinations(Cross, grid, samples=100, seed=3)
    assert len(set(pairs(found))) == 100
    assert set(pairs(found)) <= set(pairs(combinations(Cross, grid)))
    assert pairs(found) == sorted(pairs(found))
    assert found.total == 1600
    assert found.dropped > 0


@pytest.mark.parametrize("last", [40, 10_000], ids=["walked", "drawn"])
def test_a_seed_names_the_samples_and_more_of_them_hold_the_fewer(last):
    grid = {"fast": range(1, last), "slow": range(1, last)}
    few = pairs(combinations(Cross, grid, samples=50, seed=7))
    assert few == pairs(combinations(Cross, grid, samples=50, seed=7))
    assert few != pairs(combinations(Cross, grid, samples=50, seed=8))
    assert set(few) < set(pairs(combinations(Cross, grid, samples=500, seed=7)))


def test_each_combination_is_equally_likely():
    # Chi-squared over 45 valid cells, 2000 seeds of one sample: mean 44, standard deviation 9.4; 5 of these.
    counts: dict[tuple[int, int], int] = {}
    grid = {"fast": range(10), "slow": range(10)}
    for seed in range(2000):
        (pair,) = pairs(combinations(Cross, grid, samples=1, seed=seed))
        counts[pair] = counts.get(pair, 0) + 1
    expected = 2000 / 45
    assert len(counts) == 45
    assert sum((c - expected) ** 2 / expected for c in counts.values()) < 44 + 5 * math.sqrt(88)


def test_draws_of_a_large_grid_are_distinct_too(monkeypatch):
    monkeypatch.setattr(module, "MOST", 1000)
    found = combinations(Cross, {"fast": range(40), "slow": range(40)}, samples=700, seed=3)
    assert len(set(pairs(found))) == len(found.rows) == 700


def test_samples_of_more_combinations_than_any_integer_counts():
    names = [f"p{k}" for k in range(20)]
    many = type("Many", (q.Strategy,), {"params": dict.fromkeys(names, 0)})
    found = combinations(many, dict.fromkeys(names, range(1000)), samples=1000, seed=1)
    assert found.total == 1000**20
    assert len({tuple(r.values()) for r in found.rows}) == 1000
    assert {v for r in found.rows for v in r.values()} == set(range(1000))


def test_as_many_samples_as_there_are_is_the_grid():
    grid = {"fast": range(5), "slow": range(5)}
    assert combinations(Cross, grid, samples=10, seed=5).rows == combinations(Cross, grid).rows


def test_fewer_valid_ones_than_asked_for_is_a_finding():
    found = combinations(Cross, {"fast": range(5), "slow": range(5)}, samples=1000)
    assert (len(found.rows), found.dropped) == (10, 15)
    assert [f.code for f in found.findings] == ["fewer-samples"]
    assert "only 10 valid combinations" in found.findings[0].message


def test_the_search_for_rare_valid_ones_in_a_large_grid_ends(monkeypatch):
    monkeypatch.setattr(module, "DRAWS", 10_000)
    rare = type("Rare", (Cross,), {"valid": staticmethod(lambda p: p.fast == 17)})
    grid = {"fast": range(3000), "slow": range(3000)}
    found = combinations(rare, grid, samples=100, seed=1)
    assert 0 < len(found.rows) < 100
    assert "draws" in found.findings[0].message
    never = type("Never", (Cross,), {"valid": staticmethod(lambda p: False)})
    with pytest.raises(
        ParameterError, match=r"Never.valid refuses each of 1\d,\d{3} random ones of 9,000,000"
    ):
        combinations(never, grid, samples=1)


# ---------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("grid", "told"),
    [
        ([("fast", [1])], "must be a dict"),
        ({}, "is empty; give at least one parameter"),
        ({"fats": [1]}, "Cross has no such parameter; did you mean fast?"),
        ({"zzz": [1]}, "it has fast, slow, factor, short, kind, extra"),
        ({1: [1]}, "Cross has no such parameter"),
        ({"fast": []}, "fast = []: no values"),
        ({"fast": range(0)}, "no values"),
        ({"fast": np.array([])}, "no values"),
        ({"fast": [5, 5.5]}, "fast = 5.5: must be int, as its default 12"),
        ({"fast": ["5"]}, "fast = '5': must be int"),
        ({"fast": [True]}, "must be int"),
        ({"factor": [1.0, math.nan]}, "must be float"),
        ({"short": [0, 1]}, "must be bool"),
        ({"fast": [5, 10, 5.0]}, "fast = 5: is given twice"),
        ({"kind": ["a", "b", "a"]}, "kind = 'a': is given twice"),
        ({"extra": [math.nan, math.nan]}, "is given twice"),
        ({"fast": np.ones((2, 2))}, r"array of shape (2, 2)"),
        ({"fast": {5, 6}}, "must be a list"),
        ({"fast": {5: 6}}, "must be a list"),
        ({"fast": (k for k in (5, 6))}, "must be a list"),
        ({"fast": range(10**12)}, "1,000,000,000,000 values"),
        ({"fast": range(4000), "slow": range(4000)}, "16,000,000 combinations"),
        ({"fast": [30, 40], "slow": [5]}, "Cross.valid refuses all 2 combinations"),
        ({"extra": [lambda: 1]}, "top level of a module"),
        ({"extra": [object()]}, "read alike"),
        ({"extra": [{1: 1, "a": 2}]}, "cannot be written as text"),
    ],
)  # fmt: skip
def test_a_bad_grid_is_refused_by_name(grid, told):
    with pytest.raises(ParameterError) as caught:
        combinations(Cross, grid)
    assert told in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("samples", [0, -1, 1.5, True, "3", 10**9])
def test_a_bad_number_of_samples_is_refused(samples):
    with pytest.raises(ParameterError, match="samples"):
        combinations(Cross, {"fast": [1]}, samples=samples)


@pytest.mark.parametrize("seed", [-1, None, 0.5, True])
def test_a_bad_seed_is_refused(seed):
    with pytest.raises(ParameterError, match="seed"):
        combinations(Cross, {"fast": [1]}, samples=1, seed=seed)


def test_a_strategy_without_parameters_cannot_be_swept():
    none = type("Bare", (q.Strategy,), {})
    with pytest.raises(ParameterError, match="Bare has no parameters"):
        combinations(none, {"fast": [1]})


@pytest.mark.parametrize("samples", [None, 4])
def test_a_valid_that_raises_is_named_with_its_combination(samples):
    broken = type("Broken", (Cross,), {"valid": staticmethod(lambda p: 1 / (p.fast - 5))})
    with pytest.raises(StrategyError, match=r"Broken: valid raised ZeroDivisionError.* for fast=5, slow=26"):
        combinations(broken, {"fast": [4, 5]}, samples=samples)


# ---------------------------------------------------------------- as text
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


@given(st.dictionaries(st.text(), VALUES), st.dictionaries(st.text(), VALUES))
def test_parameters_have_one_text_and_others_another(a, b):
    import json

    assert params_text(a) == params_text(dict(reversed(a.items())))
    back = json.loads(params_text(a))
    assert repr(sorted(back.items())) == repr(sorted(a.items()))  # repr: NaN, -0.0 and 1 against True
    if repr(sorted(a.items())) != repr(sorted(b.items())):
        assert params_text(a) != params_text(b)


def test_objects_are_written_by_name_without_their_address():
    text = params_text({"a": bt.ind.SMA, "b": parameters, "c": datetime.time(9, 30), "d": object()})
    assert '"c":"datetime.time(9, 30)"' in text
    assert '"b":"quant.strategy.compute:parameters"' in text
    assert '"a":"backtrader.indicators.sma:SMA"' in text
    assert "0x" not in text


# ---------------------------------------------------------------- the command line's values
@pytest.mark.parametrize(
    ("text", "default", "values"),
    [
        ("5,10,20", 1, [5, 10, 20]),
        ("5:50:5", 1, list(range(5, 51, 5))),
        ("5:12:5", 1, [5, 10]),
        ("5:8", 1, [5, 6, 7, 8]),
        ("20:10:-5", 1, [20, 15, 10]),
        (" 1 , 10:30:10 ,50", 1, [1, 10, 20, 30, 50]),
        ("5.0,1e1", 1, [5, 10]),
        ("0.5:2:0.5", 1.0, [0.5, 1.0, 1.5, 2.0]),
        ("0.1:1:0.1", 1.0, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
        ("-1:1", 1.0, [-1.0, 0.0, 1.0]),
        ("1,2", 1.0, [1.0, 2.0]),
        ("true,false", False, [True, False]),
        ("1,FALSE", False, [True, False]),
        ("sma, ema", "x", ["sma", "ema"]),
        ("09:30,10:00", "x", ["09:30", "10:00"]),
        ("none,5,2.5,x,1:3", None, [None, 5, 2.5, "x", 1, 2, 3]),
        ("a:b", None, ["a:b"]),
    ],
)
def test_text_means_values_of_the_defaults_type(text, default, values):
    found = parse_values("name", text, default)
    assert found == values
    assert [type(v) for v in found] == [type(v) for v in values]


@given(st.integers(-10_000, 10_000), st.integers(1, 500), st.integers(0, 200), st.sampled_from([0, 1, 2, 4]))
def test_a_range_has_no_drift(first, step, count, places):
    def written(n):
        return str(Decimal(n).scaleb(-places))

    text = f"{written(first)}:{written(first + step * count)}:{written(step)}"
    wanted = [float(written(first + step * k)) for k in range(count + 1)]
    assert parse_values("x", text, 1.0) == wanted


@pytest.mark.parametrize(
    ("text", "default", "told"),
    [
        ("", 1, "has an empty value"),
        ("5,,6", 1, "has an empty value"),
        ("5:", 1, "first:last:step"),
        ("5:6:7:8", 1, "first:last:step"),
        ("a:b", 1, "first:last:step"),
        ("5:1", 1, "holds nothing"),
        ("5:50:-5", 1, "holds nothing"),
        ("5:50:0", 1, "holds nothing"),
        ("5:50:2.5", 1, "whole numbers"),
        ("0.5:2", 1.0, "needs its step"),
        ("1:1e12", 1, "more than 5,000,000"),
        ("1:1e300:1e-300", 1.0, "more than 5,000,000"),
        ("2.5", 1, "whole numbers"),
        ("x", 1, "must be a number"),
        ("nan", 1.0, "must be a number"),
        ("inf", 1.0, "must be a number"),
        ("1e999", 1.0, "must be a number"),
        ("yes", True, "must be true or false"),
        ("1:2", True, "must be true or false"),
        ("5", (1, 2), "sweep it in a script"),
    ],
)
def test_text_that_means_nothing_is_refused(text, default, told):
    with pytest.raises(ParameterError, match=told) as caught:
        parse_values("fast", text, default)
    assert caught.value.name == "fast"
