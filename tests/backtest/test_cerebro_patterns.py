"""Scripts as many people write them print the same with q.Cerebro as with backtrader's own."""

from __future__ import annotations

from typing import Any

import backtrader as bt
import cerebro_patterns_more  # noqa: F401  # adds its patterns
import pytest
from cerebro_patterns import PATTERNS

import quant as q


@pytest.mark.parametrize("name", PATTERNS)
def test_a_script_prints_the_same(name: str, capsys: Any) -> None:
    run, fast = PATTERNS[name]
    run(bt.Cerebro)
    stock = capsys.readouterr().out
    cerebro = run(q.Cerebro)
    ours = capsys.readouterr().out
    assert len(stock) > 40  # it did something
    assert ours == stock
    assert (cerebro.fell_back is None) == fast, cerebro.fell_back
