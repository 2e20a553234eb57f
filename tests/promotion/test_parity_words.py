"""What a day's parity looks like as text: bars in a row are one line, a price alone makes no other order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from parity_days import Past, lived_through, spy, with_rows
from test_parity_causes import a_step

import quant as q
from quant.promotion.parity.words import differences, lines


def with_volume(bars: q.Bars, rows: slice) -> q.Bars:
    volume = np.array(bars.volume)
    volume[rows] += 1.0
    return replace(bars, volume=volume)


def clean() -> Past:
    return lived_through(feeds=spy(0, 130))


def test_bars_in_a_row_that_differ_alike_are_one_line() -> None:
    past = clean()
    whole = past.bars[0]
    changed = with_volume(with_volume(whole, slice(20, 43)), slice(50, 51))
    found = replace(past, bars=(changed,)).parity()
    assert len(found.differences) == 24
    one, other = differences(found)
    at = str(np.datetime64(int(whole.end[20]), "ns").astype("datetime64[s]"))
    until = str(np.datetime64(int(whole.end[42]), "ns").astype("datetime64[s]"))[11:]
    assert one == f"{at} to {until} SPY 23 bars revised: volume; IB changed the bar after it came live"
    assert "in place of" in other  # one bar alone is told whole


def test_missing_bars_in_a_row_are_one_line_and_others_end_it() -> None:
    whole = spy(0, 130)
    gone = [*range(100, 106), 107]
    past = lived_through(feeds=with_rows(whole, np.delete(np.arange(130), gone)))
    found = replace(past, bars=(replace(whole, instrument=past.bars[0].instrument),)).parity()
    told = [text for text in differences(found) if " order: " not in text and " decision: " not in text]
    assert [text.split(" SPY ")[1].split(";")[0] for text in told] == [
        "6 bars missing", "bars: backtest as IB has it now, live its bar never came live"
    ]  # fmt: skip


def test_order_that_was_paid_otherwise_alone_is_alike() -> None:
    found = lived_through(feeds=spy(0, 130), staged=a_step).parity()
    assert {d.what for d in found.differences} == {"fill"}
    assert all(order.same and order.why == "" for order in found.orders)
    assert all("slippage" in fill.why for fill in found.fills)
    assert f"  orders     {len(found.orders)}, {len(found.orders)} alike; fills {len(found.fills)}" in lines(
        found
    )


def test_verdict_says_for_how_long_nothing_ran() -> None:
    past = lived_through(feeds=spy(0, 130))
    whole = replace(spy(0, 210), instrument=past.bars[0].instrument)
    text = lines(replace(past, bars=(whole,)).parity())
    assert "  verdict    equal; of the session it did not run for 1 h 20 min" in text
