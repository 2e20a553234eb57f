"""The tape: what was seen and decided stays, whole lines only, each bar once, and trading never depends on it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from quant.core.bars import Bars
from quant.core.barsize import bar_size
from quant.core.instrument import Instrument
from quant.core.targets import LastTarget, SessionRules
from quant.live.run import tape
from quant.live.run.tape import (
    ALIVE,
    DECIDED,
    ENDED,
    LATE,
    REMEMBERED,
    BarLine,
    DecisionLine,
    LifeLine,
    NoteLine,
    RefusedLine,
    Tape,
    Taping,
)
from quant.live.signals import Late

MINUTE = 60 * 10**9
DAY = "2024-05-15"


def bar(n: int, symbol: str = "SPY", **changes: Any) -> BarLine:
    """The n-th minute, as it came live."""
    values = {
        "start": n * MINUTE, "end": (n + 1) * MINUTE, "open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5, "volume": 7.0,
        "at": (n + 1) * MINUTE + 5, "live": True, "wants": 0.0,
    }  # fmt: skip
    return BarLine(symbol, **{**values, **changes})


def test_lines_are_read_as_they_were_written(tmp_path: Path) -> None:
    made = Tape(tmp_path, 0, lambda: 77)
    made.note("before any bar")
    lines = [
        bar(0),
        DecisionLine("SPY", MINUTE, 1.0, DECIDED, 5),
        RefusedLine("SPY", MINUTE, -3.0, "entry", "no", 6),
    ]
    made.bar(bar(0), DAY)
    for line in lines[1:]:
        made.keep(line, DAY)  # type: ignore[arg-type]  # no bars among them
    made.note("later")
    assert tape.days(tmp_path) == [DAY]  # written at once, and not only when it is closed
    assert tape.read(tmp_path, DAY) == [
        lines[0], NoteLine("before any bar", 77), *lines[1:], NoteLine("later", 77)
    ]  # fmt: skip
    made.close()
    assert tape.read(tmp_path, "2024-05-16") == []


def test_line_that_was_torn_is_not_read_and_the_next_is_whole(tmp_path: Path) -> None:
    first = Tape(tmp_path, 0, lambda: 0)
    first.bar(bar(0), DAY)
    first.bar(bar(1), DAY)
    first.close()
    path = tmp_path / "tape" / f"{DAY}.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert tape.read(tmp_path, DAY) == [bar(0)]
    again = Tape(tmp_path, 0, lambda: 0)
    again.bar(bar(1), DAY)
    again.close()
    assert tape.read(tmp_path, DAY) == [bar(0), bar(1)]


def test_lines_of_another_version_are_left_out_and_unknown_fields_too(tmp_path: Path) -> None:
    made = Tape(tmp_path, 0, lambda: 0)
    made.note("first")
    made.bar(bar(0), DAY)
    made.close()
    path = tmp_path / "tape" / f"{DAY}.jsonl"
    row = json.loads(path.read_text().splitlines()[0])
    more = [{"kind": "moon"}, {**row, "colour": "red", "symbol": "XYZ"}, [1], {"kind": "note"}]
    path.write_text(path.read_text() + "".join(json.dumps(m) + "\n" for m in more))
    assert tape.read(tmp_path, DAY) == [bar(0), NoteLine("first", 0), bar(0, "XYZ")]


def test_restart_goes_on_behind_the_newest_bar_of_each_symbol(tmp_path: Path) -> None:
    first = Tape(tmp_path, 3 * MINUTE, lambda: 0)
    assert not first.is_new("SPY", 3 * MINUTE)  # it ended before the deployment began
    assert first.is_new("SPY", 4 * MINUTE)
    first.bar(bar(3), DAY)
    first.bar(bar(4), "2024-05-16")
    first.bar(bar(3, "AAPL", live=False), DAY)
    first.close()
    again = Tape(tmp_path, 3 * MINUTE, lambda: 0)
    assert [again.is_new("SPY", n * MINUTE) for n in (4, 5, 6)] == [False, False, True]
    assert [again.is_new("AAPL", n * MINUTE) for n in (4, 5)] == [False, True]
    assert again.decided == {"SPY": 5 * MINUTE}  # AAPL's only bar came as history
    again.note("back")
    again.close()
    assert tape.read(tmp_path, "2024-05-16")[-1] == NoteLine("back", 0)


def test_sign_of_life_is_given_once_a_minute_and_the_end_at_once(tmp_path: Path) -> None:
    moments = iter([100 * MINUTE + s * 10**9 for s in (0, 1, 59, 60, 61, 120, 125)])
    made = Tape(tmp_path, 0, lambda: next(moments))
    made.alive()  # there is no bar yet: it waits for a file
    made.bar(bar(99), DAY)
    for _ in range(5):
        made.alive()
    made.ended()
    made.close()
    told = [x for x in tape.read(tmp_path, DAY) if isinstance(x, LifeLine)]
    assert [(x.what, x.at // 10**9 - 6000) for x in told] == [
        (ALIVE, 0),
        (ALIVE, 60),
        (ALIVE, 120),
        (ENDED, 125),
    ]


def test_disk_that_takes_nothing_is_told_and_does_not_raise(tmp_path: Path) -> None:
    (tmp_path / "tape").write_text("a file where the folder should be")
    made = Tape(tmp_path, 0, lambda: 0)
    made.bar(bar(0), DAY)
    assert made.failed
    made.note("goes nowhere")
    made.close()


@pytest.mark.parametrize(
    ("before", "after", "how"),
    [
        ((0.0, False), (1.0, False), DECIDED),
        ((0.0, True), (1.0, False), REMEMBERED),
        ((1.0, False), (1.0, False), ""),
    ],
)
def test_change_of_target_is_kept_with_what_it_was(
    tmp_path: Path, before: tuple[float, bool], after: tuple[float, bool], how: str
) -> None:
    """One bar through Taping, with a strategy and a feed that stand for those of a live run."""
    made = Tape(tmp_path, 0, lambda: 99)
    found = keep(made, target(*before), target(*after), late=[])
    assert [(line.target, line.how) for line in found if isinstance(line, DecisionLine)] == (
        [(1.0, how)] if how else []
    )


def test_change_that_was_late_stands_before_the_bar_that_shows_it(tmp_path: Path) -> None:
    made = Tape(tmp_path, 0, lambda: 99)
    late = [Late("SPY", MINUTE, 1.0), Late("AAPL", MINUTE, 1.0)]
    found = keep(made, target(1.0, False), target(0.0, False), late)
    assert [(d.end, d.target, d.how) for d in found if isinstance(d, DecisionLine)] == [
        (MINUTE, 1.0, LATE), (3 * MINUTE, 0.0, DECIDED)
    ]  # fmt: skip


def test_what_an_earlier_process_decided_is_not_late(tmp_path: Path) -> None:
    first = Tape(tmp_path, 0, lambda: 0)
    first.bar(bar(0), DAY)
    first.close()
    again = Tape(tmp_path, 0, lambda: 99)
    found = keep(again, target(1.0, False), target(1.0, False), [Late("SPY", MINUTE, 1.0)])
    assert [line for line in found if isinstance(line, DecisionLine)] == []


# ---------------------------------------------------------------- a live run's parts
def target(last: float, waiting: bool) -> Any:
    return LastTarget(SessionRules(), waiting, last)


def keep(made: Tape, before: Any, after: Any, late: list[Late]) -> list[Any]:
    """Return the tape after the third minute was decided upon."""
    prices = np.full(3, 10.0)
    start = np.arange(3, dtype=np.int64) * MINUTE
    bars = Bars(Instrument("SPY", timezone="UTC"), bar_size("1m"), start, *([prices] * 5))

    class Feed:
        _clone, is_newest = False, True
        instrument = bars.instrument
        incoming = SimpleNamespace(
            delayed=False,
            bars=SimpleNamespace(
                end=lambda row: int(bars.end[row]),
                row=lambda row: SimpleNamespace(
                    start=int(start[row]), open=10.0, high=10.0, low=10.0, close=10.0, volume=10.0
                ),
            ),
        )

        def __init__(self) -> None:
            self.bars = bars

        def __len__(self) -> int:
            return 3

    feed = Feed()
    one = Taping.__new__(Taping)
    one.p = SimpleNamespace(tape=made, feeds=(feed,), tell=print)
    one._tape, one._seen, one._late, one._told = made, [0], [0], False
    own = SimpleNamespace(data=feed, target=after)
    refresh = SimpleNamespace(before={0: (3, before)}, late=late)
    one._own = lambda _: own  # type: ignore[method-assign]
    one.strategy = SimpleNamespace(_decisions=SimpleNamespace(refresh=refresh))
    one.next()
    made.close()
    return tape.read(made._folder, "1970-01-01")
