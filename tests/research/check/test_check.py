"""q.check as a whole: what it says of honest and dishonest strategies, of plain ones, and of bad arguments."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pytest
from cheats import Honest, Remembers, ruled, tomorrow

import quant as q
from quant.errors import ParameterError, StrategyError
from quant.research.check import Check, check

BARS = q.synthetic("AAA", "1d", "2015-01-02", "2017-12-29", seed=5)
SAMPLE = Path(__file__).parents[3] / "data"
NAMES = ["look-ahead", "warm-up", "determinism", "edges", "engines", "names"]


def verdicts(found: Check) -> dict[str, str]:
    return {p.name: p.verdict for p in found.parts}


def test_honest_strategy_passes_and_says_what_was_done() -> None:
    found = check(Honest, BARS, {"period": 7}, seed=3)
    assert found.ok
    assert found.findings == []
    assert (found.warmup, found.warmup_1e9) == (6, 6)
    assert verdicts(found) == dict.fromkeys(NAMES, "ok")
    lines = repr(found).splitlines()
    assert lines[0] == "check of Honest period=7"
    assert lines[1] == "AAA 1d · 2015-01-02 … 2017-12-29 · 755 bars · seed 3"
    assert [line.split()[0] for line in lines[2:]] == [*NAMES, "verdict"]
    assert lines[-1].split() == ["verdict", "ok"]


def test_same_seed_checks_the_same() -> None:
    cls = ruled(tomorrow)
    assert check(cls, BARS, seed=4).to_dict() == check(cls, BARS, seed=4).to_dict()
    assert check(cls, BARS, seed=4).to_dict() != check(cls, BARS, seed=5).to_dict()


def test_cheat_fails_and_the_rest_is_checked_too() -> None:
    found = check(ruled(tomorrow), [BARS])
    assert not found.ok
    assert verdicts(found)["look-ahead"] == "failed"
    assert found.verdict == "NOT OK: 1 warning"
    assert "warning      Ruled looks ahead: its target for bar " in repr(found)
    assert verdicts(found)["engines"] == "ok"


def test_chance_is_not_called_look_ahead() -> None:
    found = check(ruled(lambda b: np.random.default_rng().random(len(b)) > 0.5), BARS)
    assert [f.code for f in found.findings] == ["not-deterministic"]
    assert [n for n, v in verdicts(found).items() if v == "not applicable"] == [
        "look-ahead",
        "warm-up",
        "edges",
    ]
    assert found.verdict == "NOT OK: 1 warning, look-ahead, warm-up, edges not checked"


def test_what_is_kept_between_calls_fails() -> None:
    assert not check(Remembers, BARS).ok


def test_names_of_backtrader_fail() -> None:
    class Shadows(Honest):
        def position(self) -> None:
            """Hide what backtrader calls so."""

    found = check(Shadows, BARS)
    assert [(f.code, f.level) for f in found.findings] == [("shadowed-name", "warning")]
    assert verdicts(found)["names"] == "failed"


def test_html_escapes_and_holds_every_line() -> None:
    found = check(ruled(tomorrow), BARS)
    page = found._repr_html_()
    assert all(f"<td>{name}</td>" in page for name in NAMES)
    assert "<b>NOT OK: 1 warning</b>" in page
    assert "<locals>" not in page


# ---------------------------------------------------------------- plain strategies
class Plain(bt.Strategy):
    """Buys above its average, with backtrader's own means."""

    params = dict(period=10)

    def __init__(self) -> None:
        self.mean = bt.ind.SMA(period=self.p.period)

    def next(self) -> None:
        if not self.position and self.data.close[0] > self.mean[0]:
            self.buy()
        elif self.position and self.data.close[0] < self.mean[0]:
            self.close()


class Chance(bt.Strategy):
    def next(self) -> None:
        if random.random() < 0.1:
            self.buy()


def test_plain_strategy_is_checked_where_it_can_be_and_never_passes_the_rest() -> None:
    found = check(Plain, BARS, {"period": 20})
    assert found.ok
    assert verdicts(found) == {
        "look-ahead": "not applicable", "warm-up": "not applicable", "determinism": "ok",
        "edges": "not applicable", "engines": "ok", "names": "ok",
    }  # fmt: skip
    assert found.verdict == "ok, look-ahead, warm-up, edges not checked"
    assert (found.warmup, found.warmup_1e9) == (None, None)


def test_plain_strategy_of_chance_is_caught() -> None:
    found = check(Chance, BARS)
    codes = [f.code for f in found.findings]
    assert codes[0] == "not-deterministic"
    assert "run again, order 1 is " in found.findings[0].message


# ---------------------------------------------------------------- ours, and arguments
@pytest.mark.parametrize("name", ["macd", "rsi", "renko", "renko_macd", "macd_stochastic", "opening_range"])
def test_our_strategies_pass_on_the_samples(name: str, full: bool) -> None:
    minutes = q.bars("SPY", "1m", source="sample", data=SAMPLE)
    feeds = [minutes.resample("5m")]
    if full:
        feeds.append(minutes)
    if name != "opening_range" and full:
        feeds += [q.bars(s, "1d", source="sample", data=SAMPLE) for s in ("SPY", "MSFT")]
    for bars in feeds:
        found = check(name, bars)
        assert found.ok, found


def test_several_feeds_are_checked_together() -> None:
    other = q.synthetic("BBB", "1w", "2015-06-01", "2017-06-30", seed=6)
    found = check(Honest, [BARS, other])
    assert found.ok
    assert "AAA 1d, BBB 1w · 2015-01-02 … " in repr(found)


@pytest.mark.parametrize("length", [1, 2, 5, 30])
def test_few_bars_are_no_error(length: int) -> None:
    found = check(Honest, BARS[:length])
    assert found.ok
    assert verdicts(found)["warm-up"] == ("ok" if length >= 20 else "not applicable") or found.warmup is None


@pytest.mark.parametrize("seed", [-1, 1.5, True, "x"])
def test_bad_seed_is_refused(seed: Any) -> None:
    with pytest.raises(ParameterError, match="must be a whole number, 0 or more"):
        check(Honest, BARS, seed=seed)


def test_bad_bars_and_parameters_are_refused() -> None:
    with pytest.raises(ParameterError, match="must be Bars"):
        check(Honest, "SPY")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="must be Bars"):
        check(Honest, BARS.frame())  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="at least one Bars"):
        check(Honest, [])
    with pytest.raises(ParameterError, match="Honest has no such parameter"):
        check(Honest, BARS, {"perid": 3})
    with pytest.raises(ParameterError, match="refuses this combination"):
        check(Honest, BARS, {"period": 0})


def test_signals_that_fail_on_the_bars_themselves_are_an_error() -> None:
    with pytest.raises(StrategyError, match="signals raised ZeroDivisionError"):
        check(ruled(lambda b: 1 / 0), BARS)
