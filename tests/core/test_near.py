"""Names that a mistyped one may mean."""

from __future__ import annotations

from quant.core.near import near

RUNS = [
    "20240101-000000-macd_cross-aaaaaaaa",
    "20240102-000000-rsi_reversion-bbbbbbbb",
    "20240103-000000-macd_cross-cccccccc",
]


def test_a_part_between_dashes_is_enough_and_the_newer_comes_first() -> None:
    assert near("macd_cros", RUNS) == [RUNS[2], RUNS[0]]
    assert near("RSI_revrsion", RUNS) == [RUNS[1]]
    assert near("macd-spy-1", ["macd-spy-1m"]) == ["macd-spy-1m"]


def test_what_is_like_nothing_gets_no_names() -> None:
    assert near("nosuch", RUNS) == []
    assert near("", []) == []
    assert len(near("macd_cross", RUNS[:1] * 9)) == 3
