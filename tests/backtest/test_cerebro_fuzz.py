"""Random runs of plain backtrader: q.Cerebro equals stock Cerebro in all that a run shows, to the last bit.

2,000 runs in CI, 100,000 with --full; each made twice. A failing run names its seed:
`play(bt.Cerebro, seed)` and `play(q.Cerebro, seed)` of fuzz_cerebro.py make it again.
"""

from __future__ import annotations

import backtrader as bt
import pytest
from fuzz_cerebro import play

import quant as q

PARTS = 20


def first_difference(stock: list[str], ours: list[str]) -> str:
    at = next(
        (i for i, (a, b) in enumerate(zip(stock, ours, strict=False)) if a != b), min(len(stock), len(ours))
    )
    rows = (["(nothing)"] if at >= len(rows) else rows[at : at + 1] for rows in (stock, ours))
    return f"row {at}\nstock {next(rows)}\nours  {next(rows)}"


# Stock divides by numpy numbers and by NaN closes, as the cases mean it to.
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("part", range(PARTS))
def test_every_random_run_is_the_same_bits(part: int, full: bool) -> None:
    count = (100_000 if full else 2_000) // PARTS
    for seed in range(part * count, (part + 1) * count):
        stock, _ = play(bt.Cerebro, seed)
        ours, fell_back = play(q.Cerebro, seed)
        assert fell_back is None, seed
        assert ours == stock, f"seed {seed}: {first_difference(stock, ours)}"
