"""How the best parameters' neighbours did: a plateau can be traded, a lonely peak is chance. Knows no returns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quant.errors import ParameterError
from quant.metrics.returns import Floats

PLATEAU: Final = 0.8  # of the best value; a choice, as fractions of the optimum go in response surfaces


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """What the grid shows around its best row.

    row: of the best; best: its metric. moved: the parameters that have a grid; held: those kept at the best's
    value. neighbours: rows one step away in one or several moved parameters at once (up to 3 ** k - 1); mean,
    median, worst: of their metric, NaN without any. positive: share of them above 0. failed: those without a
    metric; they count as not positive and are left out of mean, median and worst. at_edge: moved parameters of
    three or more values whose best is the lowest or highest one, beyond which nothing is known. plateau: rows that
    hang together with the best, one step in one parameter after the other, and reach 80 % of it; the best included;
    0 where the best is not above 0.
    """

    row: int
    best: float
    moved: tuple[str, ...]
    held: tuple[str, ...]
    neighbours: int
    failed: int
    mean: float
    median: float
    worst: float
    positive: float
    at_edge: tuple[str, ...]
    plateau: int
    rows: int

    @property
    def kept(self) -> float:
        """Share of the best metric that the median neighbour keeps; NaN where the best is not above 0."""
        return self.median / self.best if self.best > 0.0 else math.nan


def neighbourhood(
    parameters: Mapping[str, ArrayLike], values: ArrayLike, row: int | None = None
) -> Neighbourhood:
    """Return how the rows next to the best one did.

    parameters: name -> (n,) column of the table, a DataFrame will do. Numbers with two or more values make a grid,
    whose steps are the values that occur; all else (text, booleans, one value only) is held at the best's. values:
    (n,) the metric, higher is better, NaN where a row failed. row: the one to look at, None for the highest.
    Raises ParameterError if lengths differ, no row has a value, or `row` has none.
    """
    metric = np.asarray(values, dtype=np.float64)
    best = _best(metric, row)
    steps: dict[str, NDArray[np.int64]] = {}
    same = np.ones(len(metric), dtype=bool)
    held = []
    for name in parameters:
        column = np.asarray(parameters[name])
        if column.shape != metric.shape:
            raise ParameterError(
                name, f"shape {column.shape}", f"one value a row is needed, there are {len(metric)}"
            )
        grid = _steps(column)
        if grid is None:
            held.append(name)
            same &= _equal(column, column[best])
        else:
            steps[name] = grid
    at = np.column_stack([*steps.values()]) if steps else np.zeros((len(metric), 0), dtype=np.int64)
    away = np.abs(at - at[best]).max(axis=1, initial=0)
    near = metric[same & (away == 1)]
    known = near[np.isfinite(near)]
    mean, median, worst = (
        (float(np.mean(known)), float(np.median(known)), float(np.min(known)))
        if len(known)
        else (math.nan,) * 3
    )
    return Neighbourhood(
        row=best,
        best=float(metric[best]),
        moved=tuple(steps),
        held=tuple(held),
        neighbours=len(near),
        failed=len(near) - len(known),
        mean=mean,
        median=median,
        worst=worst,
        positive=float(np.count_nonzero(known > 0.0) / len(near)) if len(near) else math.nan,
        at_edge=tuple(
            name for name, grid in steps.items() if grid.max() > 1 and grid[best] in (0, grid.max())
        ),
        plateau=_plateau(at[same], metric[same], int(np.count_nonzero(same[:best]))),
        rows=len(metric),
    )


def _best(metric: Floats, row: int | None) -> int:
    if metric.ndim != 1:
        raise ParameterError("values", f"an array of shape {metric.shape}", "one value a row is needed")
    if row is None:
        if not np.isfinite(metric).any():
            raise ParameterError("values", f"{len(metric)} rows", "none has a finite value")
        return int(np.argmax(np.where(np.isfinite(metric), metric, -np.inf)))
    if not (0 <= row < len(metric) and math.isfinite(metric[row])):
        raise ParameterError("row", row, f"must be a row with a value, from 0 to {len(metric) - 1}")
    return int(row)


def _steps(column: NDArray[Any]) -> NDArray[np.int64] | None:
    """Return the position of each value among those that occur; None if they make no grid."""
    if column.dtype == object and all(isinstance(v, int | float) and not isinstance(v, bool) for v in column):
        column = column.astype(np.float64)
    if column.dtype.kind not in "iuf" or (column.dtype.kind == "f" and not np.isfinite(column).all()):
        return None
    found, position = np.unique(column, return_inverse=True)
    return position.astype(np.int64) if len(found) > 1 else None


def _equal(column: NDArray[Any], value: Any) -> NDArray[np.bool_]:
    # One by one: values such as None, text or a tuple have no common order and no common type. NaN, a missing
    # number, is the one value that is not equal to itself.
    nan = value != value
    return np.array([v is value or bool(np.all(v == value) or (nan and v != v)) for v in column], dtype=bool)


def _plateau(at: NDArray[np.int64], metric: Floats, best: int) -> int:
    """Return how many rows of at least PLATEAU of the best can be reached from it by single steps through such rows."""
    if not metric[best] > 0.0:
        return 0
    high = {
        tuple(place)
        for place, value in zip(at.tolist(), metric, strict=True)
        if value >= PLATEAU * metric[best]
    }
    todo = [tuple(at[best].tolist())]
    high.discard(todo[0])
    count = 0
    while todo:
        place = todo.pop()
        count += 1
        for axis, position in enumerate(place):
            for step in (position - 1, position + 1):
                beside = (*place[:axis], step, *place[axis + 1 :])
                if beside in high:
                    high.remove(beside)
                    todo.append(beside)
    return count
