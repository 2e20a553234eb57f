"""A target with exits keeps its size, unless through 0 or the other sign: what is refused, and where."""

from __future__ import annotations

import numpy as np
import pytest

from quant.errors import SignalsError
from quant.strategy.signals import check_sizes_stay


def refused_at(target: list[float]) -> int | None:
    """The first bar whose number has the sign of the last number before it, and another size; a walk over them."""
    last = 0.0
    for row, value in enumerate(target):
        if np.isnan(value):
            continue
        if value != last and np.sign(value) * np.sign(last) > 0.0:
            return row
        last = value
    return None


def test_the_first_change_of_size_is_named() -> None:
    rng, seen = np.random.default_rng(9), set()
    for _ in range(3_000):
        n = int(rng.integers(0, 12))
        share = float(rng.choice([0.0, 0.3]))
        target = rng.choice(
            [0.0, -0.0, 1.0, -1.0, 2.0, 1e200, -1e200], n, p=[0.25, 0.25, 0.2, 0.2, 0.04, 0.03, 0.03]
        )
        target[rng.random(n) < share] = np.nan
        row = refused_at(target.tolist())
        seen.add(row)
        if row is None:
            check_sizes_stay("S", target)
        else:
            with pytest.raises(
                SignalsError, match=rf" to {target[row]} at bar {row} while exits are set".replace("+", r"\+")
            ):
                check_sizes_stay("S", target)
    assert {None, 1, 2, 5} <= seen
