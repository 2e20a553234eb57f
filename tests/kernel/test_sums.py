"""The compiled sums have the last bit of numpy's and of math.fsum's, which are the independent programs here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.kernel.sums import BLOCK, add_exactly, pairwise, rounded


@numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
def _exact(values: Any, parts: Any) -> tuple[float, int]:
    n = 0
    for x in values:
        n = add_exactly(parts, n, x)
    return rounded(parts, n), n


def exact(values: Sequence[float]) -> float:
    total, _ = _exact(np.array(values, dtype=np.float64), np.empty(64))
    return float(total)


LENGTHS = [
    *range(40),
    63,
    64,
    65,
    BLOCK - 1,
    BLOCK,
    BLOCK + 1,
    135,
    136,
    255,
    256,
    257,
    1000,
    1023,
    1024,
    4097,
    100_003,
]


@pytest.mark.parametrize("spread", [0.0, 12.0])
def test_pairwise_is_numpys_sum(spread: float) -> None:
    """spread: of the numbers' sizes, in powers of ten; the wider, the more the order of a sum shows."""
    rng = np.random.default_rng(1)
    for length in LENGTHS:
        x = rng.normal(size=length) * 10.0 ** rng.uniform(-spread, spread, length)
        assert pairwise(x, 0, length).hex() == float(np.sum(x)).hex(), length


def test_pairwise_of_a_part_is_numpys_sum_of_the_part() -> None:
    x = np.random.default_rng(2).normal(size=2000) * 1e6
    for first, count in ((0, 7), (1, 8), (3, 129), (17, 1000), (1999, 1), (2000, 0), (5, 1995)):
        assert pairwise(x, first, count).hex() == float(np.sum(x[first : first + count])).hex()


def test_pairwise_differs_from_a_plain_loop() -> None:
    """Else the test above would prove nothing about the order."""
    x = np.random.default_rng(3).normal(size=100_003) * 1e6
    total = 0.0
    for value in x.tolist():
        total += value
    assert total != float(np.sum(x))


@pytest.mark.parametrize(
    "x", [np.array([np.inf, 1.0]), np.array([np.nan, 1.0]), np.array([-0.0, -0.0])], ids=str
)
def test_pairwise_of_odd_numbers(x: Any) -> None:
    assert np.array_equal(pairwise(x, 0, 2), np.sum(x), equal_nan=True)


@pytest.mark.parametrize(
    "values",
    [
        [],
        [0.1] * 10,
        [1e16, 1.0, -1e16],
        [1e308, 1.0, -1e308, 1e-300],
        [1.0, 1e100, 1.0, -1e100] * 10_000,  # T. Peters' example for Python's recipe of msum: 20000
        [2.0**53, 1.0, 2.0**-60],  # half way, and a little more
        [2.0**53, 1.0, -(2.0**-60)],  # and a little less
        [2.0**53, 1.0],  # half way: to the even one
        [2.0**53 + 2.0, 1.0],
        [5e-324, 5e-324, -5e-324],
        [0.0, -0.0],
        [(-1.0) ** k / (k + 1.0) for k in range(500)],
    ],
    ids=lambda v: f"{len(v)} from {v[:2]}",
)
def test_exact_sum_is_that_of_fsum(values: list[float]) -> None:
    assert exact(values) == math.fsum(values)


@given(st.lists(st.floats(min_value=-1e150, max_value=1e150), max_size=60))
def test_exact_sum_is_the_rounded_sum_of_fractions(values: list[float]) -> None:
    """fsum, and the sum in whole numbers, rounded once."""
    assert exact(values).hex() == math.fsum(values).hex() or exact(values) == math.fsum(values) == 0.0
    assert exact(values) == float(sum(map(Fraction, values), Fraction(0)))


def test_exact_sum_does_not_depend_on_the_order() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=500) * 10.0 ** rng.uniform(-20.0, 20.0, 500)
    sums = {exact(list(rng.permutation(x))) for _ in range(20)}
    assert sums == {math.fsum(x)}


def test_parts_stay_few() -> None:
    """What the kernel gives room for is never overrun by sums of money."""
    from quant.kernel.layout import PARTS

    rng = np.random.default_rng(5)
    x = np.round(rng.normal(size=100_000) * 10.0 ** rng.uniform(-4.0, 9.0, 100_000), 6)
    _, n = _exact(x, np.empty(PARTS))
    assert n <= PARTS // 2
