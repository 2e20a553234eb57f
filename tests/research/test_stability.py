"""The neighbourhood of the best, counted by hand on small grids."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quant.errors import ParameterError
from quant.research.proof.stability import neighbourhood


def grid(**values: list[Any]) -> dict[str, list[Any]]:
    rows = list(itertools.product(*values.values()))
    return {name: [row[i] for row in rows] for i, name in enumerate(values)}


# fast 5, 10, 20 down, slow 30, 40, 60 across: the steps are the values that occur, however far apart
PLACES = grid(fast=[5, 10, 20], slow=[30, 40, 60])
HILL = [0.5, 0.9, 0.2, 0.8, 1.0, 0.85, -0.1, 0.7, 0.3]


def test_the_eight_neighbours_of_the_middle_are_counted() -> None:
    found = neighbourhood(PLACES, HILL)
    around = [v for v in HILL if v != 1.0]
    assert (found.row, found.best, found.neighbours, found.failed) == (4, 1.0, 8, 0)
    assert found.mean == pytest.approx(sum(around) / 8)
    assert found.median == pytest.approx(0.6)  # of -0.1 0.2 0.3 0.5 | 0.7 0.8 0.85 0.9
    assert found.kept == pytest.approx(0.6)
    assert found.worst == -0.1
    assert found.positive == pytest.approx(7 / 8)
    assert (found.moved, found.held, found.at_edge) == (("fast", "slow"), (), ())


def test_the_plateau_is_what_single_steps_reach_at_80_percent() -> None:
    assert neighbourhood(PLACES, HILL).plateau == 4  # the middle, 0.9 above, 0.8 left, 0.85 right
    corner = [1.0, 0.1, 0.9, 0.1, 0.95, 0.1, 0.9, 0.1, 0.9]
    assert neighbourhood(PLACES, corner).plateau == 1  # 0.95 is a diagonal step away
    assert neighbourhood(PLACES, [-v for v in HILL]).plateau == 9 - 8  # 0.1 alone is above 0


def test_a_best_at_the_edge_of_what_was_tried_is_told() -> None:
    found = neighbourhood(PLACES, [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])
    assert found.at_edge == ("fast", "slow")
    assert found.neighbours == 3
    two = neighbourhood(grid(fast=[5, 10]), [1.0, 0.5])
    assert two.at_edge == ()  # of two values each is an edge


def test_combinations_that_were_not_tried_are_no_neighbours() -> None:
    kept = [i for i in range(9) if i not in (0, 8)]
    found = neighbourhood({k: [v[i] for i in kept] for k, v in PLACES.items()}, [HILL[i] for i in kept])
    assert found.neighbours == 6
    assert found.worst == -0.1


def test_text_booleans_and_single_values_are_held() -> None:
    places = grid(fast=[5, 10, 20], short=[False, True], mode=["a", "b"], none=[None], cash=[1e5])
    values = [float(i) for i in range(12)]
    found = neighbourhood(places, values)
    assert found.moved == ("fast",)
    assert found.held == ("short", "mode", "none", "cash")
    assert found.neighbours == 1
    assert found.median == 7.0  # fast=10, short, "b": the row four before the last


def test_numbers_in_an_object_column_make_a_grid() -> None:
    # a table that also holds text gives Python's own numbers
    found = neighbourhood({"fast": np.array([5, 10, 20], dtype=object)}, [0.1, 0.5, 0.3])
    assert found.moved == ("fast",)
    assert found.neighbours == 2
    gaps = neighbourhood({"stop": np.array([1.0, np.nan, 2.0])}, [0.1, 0.5, 0.3])
    assert gaps.held == ("stop",)


def test_a_data_frame_will_do() -> None:
    table = pd.DataFrame(PLACES)
    assert neighbourhood(table, pd.Series(HILL)) == neighbourhood(PLACES, HILL)  # type: ignore[arg-type]


def test_failed_neighbours_are_counted_and_not_averaged() -> None:
    values = list(HILL)
    values[1] = math.nan
    found = neighbourhood(PLACES, values)
    assert (found.neighbours, found.failed) == (8, 1)
    assert found.median == pytest.approx(0.5)
    assert found.positive == pytest.approx(6 / 8)


def test_without_neighbours_nothing_is_known() -> None:
    found = neighbourhood({}, [0.3])
    assert (found.neighbours, found.plateau) == (0, 1)
    assert all(math.isnan(v) for v in (found.mean, found.median, found.worst, found.positive, found.kept))
    far = neighbourhood(grid(fast=[1, 2, 3]), [1.0, math.nan, 0.5])
    assert (far.neighbours, far.failed, far.positive) == (1, 1, 0.0)
    assert math.isnan(far.median)


def test_another_row_than_the_highest_can_be_looked_at() -> None:
    found = neighbourhood(PLACES, HILL, row=8)
    assert (found.row, found.best, found.neighbours) == (8, 0.3, 3)


@pytest.mark.parametrize(
    ("parameters", "values", "row", "what"),
    [
        ({"fast": [1, 2]}, [0.1], None, "fast"),
        ({"fast": [1, 2]}, [math.nan, math.inf], None, "finite"),
        ({"fast": [1, 2]}, [0.1, math.nan], 1, "row = 1"),
        ({"fast": [1, 2]}, [0.1, 0.2], 2, "row = 2"),
        ({"fast": [1, 2]}, [[0.1, 0.2]], None, "one value a row"),
    ],
)
def test_bad_input_is_named(parameters: Any, values: Any, row: int | None, what: str) -> None:
    with pytest.raises(ParameterError, match=what):
        neighbourhood(parameters, values, row)
