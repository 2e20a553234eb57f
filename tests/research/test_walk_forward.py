"""Walk-forward against a slow program of its own: q.backtest, a window and a combination at a time."""

from __future__ import annotations

import itertools
import math
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

import quant as q
from quant.backtest import compiled
from quant.core.bars import Bars
from quant.errors import ParameterError, ParityError
from quant.metrics import NAMES
from quant.metrics.returns import sharpe
from quant.research import chunks, ledger
from quant.research.walk_forward.kept import kept
from quant.research.walk_forward.report import WalkForward, walk_forward_content
from quant.research.walk_forward.walk_forward import walk_forward
from quant.research.walk_forward.windows import cut_windows
from quant.research.workers import threads

ROOT = Path(__file__).parents[2]
GRID = {"fast": [4, 8], "slow": [15, 25]}
CASH = 50_000.0


class Cross(q.Strategy):
    """Long above the slow average, short below; with a stop where asked."""

    params = dict(fast=4, slow=15, stop=0.0, begin=0)

    @staticmethod
    def signals(bars: Bars, p: Any) -> q.Signals:
        fast, slow = q.indicators.ema(bars.close, p.fast), q.indicators.ema(bars.close, p.slow)
        target = np.where(np.isnan(slow), np.nan, np.sign(fast - slow))
        # Only the slow program below sets this: no opinion before, so that the account is flat and idle until then.
        target[: p.begin] = np.nan
        stop = None if p.stop == 0.0 else np.where(target > 0, 1 - p.stop, 1 + p.stop) * bars.close
        return q.Signals(target, stop=stop)


def made(days: int = 260, seed: int = 1) -> Bars:
    return q.synthetic("MADE", "1d", "2018-01-02", "2020-12-31", seed=seed)[:days]


def hourly(days: int = 90) -> Bars:
    bars = q.synthetic("HOUR", "1h", "2020-01-02", "2020-12-31", seed=4)
    return bars[: days * 7]


def walk(bars: Any, strategy: Any = Cross, grid: Any = None, **how: Any) -> WalkForward:
    how = {"train": 100, "test": 60, "cash": CASH, "save": False, "workers": 1} | how
    return walk_forward(strategy, bars, GRID if grid is None else grid, **how)


@pytest.fixture
def in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run what goes to processes in threads: the same rows without three seconds of starting Python."""
    monkeypatch.setattr("quant.research.workers.processes.run", threads.run)


# ---------------------------------------------------------------- the slow program
def traded(
    bars: Bars, first: np.datetime64, last: np.datetime64, params: dict[str, Any], cash: float, **how: Any
) -> Any:
    """Return equity over a span's bars, and the units held at its end: all bars before it seen, none after."""
    begin, stop = np.searchsorted(bars.session, first), np.searchsorted(bars.session, last, side="right")
    seen = {**params, "begin": int(begin)}
    run = q.backtest(Cross, bars[:stop], params=seen, cash=cash, save=False, **how)
    return run.equity.to_numpy()[begin:], run.position, run


def slow(bars: Bars, windows: Any, metric: str, stop: float = 0.0, slip: float = 0.0, **how: Any) -> Any:
    """Return rows (chosen, in sample, return), the joined equity, and time and price of each fill."""
    sessions, cash = np.unique(bars.session), CASH
    rows, joined, fills = [], [], []
    for w in windows:
        scores = []
        for fast, slow_ in itertools.product(GRID["fast"], GRID["slow"]):
            params = {"fast": fast, "slow": slow_, "stop": stop}
            first, last = sessions[w.train.start], sessions[w.train.stop - 1]
            equity, _, _ = traded(bars, first, last, params, CASH, **how)
            at = np.searchsorted(bars.session, sessions[list(w.train)], side="right") - 1
            ends = np.append(CASH, equity[at - np.searchsorted(bars.session, first)])
            returns = ends[1:] / ends[:-1] - 1.0
            year = bars[int(at[0]) : int(at[-1]) + 1].periods_per_year
            score = sharpe(returns, year) if metric == "sharpe" else equity[-1] / CASH - 1.0
            scores.append((score, params))
        best = max(range(len(scores)), key=lambda k: (scores[k][0], -k))
        score, params = scores[best]
        first, last = sessions[w.test.start], sessions[w.test.stop - 1]
        equity, units, run = traded(bars, first, last, params, cash, **how)
        fills += list(zip(run.fills["time"], run.fills["price"], strict=True))
        row = int(np.searchsorted(bars.session, last, side="right")) - 1
        close, low, high = bars.close[row], bars.low[row], bars.high[row]
        price = max(close * (1 - slip), low) if units > 0 else min(close * (1 + slip), high)
        if units:
            fills.append((pd.Timestamp(int(bars.start[row]), tz="UTC"), price))
            fee = q.costs("ib-fixed").commission(-units, price)
            equity = equity.copy()
            equity[-1] -= fee + abs(units) * abs(price - close)
        rows.append((params["fast"], params["slow"], score, equity[-1] / cash - 1.0))
        joined.append(equity)
        cash = float(equity[-1])
    return rows, np.concatenate(joined), fills


@pytest.mark.parametrize(
    ("bars", "how", "more"),
    [
        (made(220), {}, {}),
        (made(250, 2), {"anchored": True, "embargo": 7, "metric": "total_return"}, {}),
        (made(240, 3), {"embargo": 3}, {"slippage": "percent:0.2", "sizing": "percent:50"}),
        (made(230, 5), {"stop": 0.01}, {"borrow": 0.05}),
        (hourly(60), {"train": 30, "test": 12, "metric": "total_return"}, {}),
    ],
    ids=["two-windows", "anchored", "slippage", "stops", "hourly"],
)
def test_equals_the_slow_program(bars: Bars, how: dict[str, Any], more: dict[str, Any]) -> None:
    stop = how.pop("stop", 0.0) if "stop" in how else 0.0
    lengths = {"train": 100, "test": 60, "anchored": False, "embargo": 0} | {
        k: v for k, v in how.items() if k != "metric"
    }
    windows = cut_windows(np.unique(bars.session), **lengths)
    slip = 0.002 if "slippage" in more else 0.0
    rows, equity, fills = slow(bars, windows, how.get("metric", "sharpe"), stop, slip, **more)
    found = walk(bars, grid={**GRID, "stop": [stop]}, **how, **more)
    assert found.equity.tolist() == pytest.approx(equity.tolist(), rel=1e-12)
    made_fills = found.account.fills
    assert list(zip(made_fills["time"], made_fills["price"], strict=True)) == fills
    assert set(found.account.orders["status"]) <= {"filled", "cancelled", "rejected"}
    assert found.windows[["fast", "slow"]].to_numpy().tolist() == [list(r[:2]) for r in rows]
    assert found.windows["in_sample"].tolist() == pytest.approx([r[2] for r in rows], rel=1e-9)
    assert found.windows["return"].tolist() == pytest.approx([r[3] for r in rows], rel=1e-9)
    assert len(windows) >= 2
    if stop:
        assert (found.account.fills["reason"] == "stop").any()


# ---------------------------------------------------------------- the joined account
def test_joined_account_adds_up() -> None:
    found = walk(made(330), slippage="percent:0.1", borrow=0.03, embargo=2)
    assert len(found.windows) == 4
    total = found.metrics["final_value"] / CASH
    assert np.prod(1.0 + found.returns.to_numpy()) == pytest.approx(total, rel=1e-12)
    assert np.prod(1.0 + found.windows["return"].to_numpy()) == pytest.approx(total, rel=1e-12)
    assert found.account.trades["pnl"].sum() == pytest.approx(found.metrics["final_value"] - CASH, abs=0.01)
    assert found.windows["trades"].sum() == found.metrics["trades"] == len(found.account.trades)
    assert found.metrics["final_cash"] == found.metrics["final_value"]  # flat at the end
    assert found.account.position == 0.0
    assert len(found.equity) == 330 - 102
    closing = found.account.fills[found.account.fills["reason"] == "window-end"]
    told = next(f for f in found.findings if f.code == "closed-at-window-end")
    assert len(closing) == told.count > 0
    assert (closing["commission"] >= 1.0).all()  # the minimum of IB's fixed plan


def test_windows_table_names_sessions() -> None:
    bars = made(300)
    found = walk(bars, train=100, embargo=5, test=80)
    first = found.windows.iloc[1]
    wanted = {"train_first": 80, "train_last": 179, "test_first": 185, "test_last": 264}
    assert {n: np.datetime64(first[n], "D") for n in wanted} == {
        n: bars.session[k] for n, k in wanted.items()
    }
    assert [f.code for f in found.findings if f.code.startswith("short-last")] == ["short-last-window"]
    assert found.parameters[1] == {"fast": first["fast"], "slow": first["slow"], "stop": 0.0, "begin": 0}


def test_offsets_cut_as_windows_do() -> None:
    found = walk(made(700), train="1YE", test="6ME", anchored=True)
    assert [str(d.date()) for d in found.windows["test_first"]][:3] == [
        "2019-01-02",
        "2019-07-01",
        "2020-01-02",
    ]
    assert found.settings["walk_forward"]["train"] == "1YE"


SEEN: list[np.datetime64] = []


class Spy(q.Strategy):
    """Notes the last session that it is shown."""

    params = dict(n=1)

    @staticmethod
    def signals(bars: Bars, p: Any) -> Any:
        SEEN.append(bars.session[-1])
        assert str(bars.session[0]) == "2018-01-02"
        return np.sign(bars.close - bars.open)


def test_signals_see_all_bars_before_and_none_after_their_span() -> None:
    SEEN.clear()
    found = walk(made(300), Spy, {"n": [1, 2]})
    ends = found.windows[["train_last", "test_last"]].to_numpy().astype("datetime64[D]")
    assert SEEN[: 2 * len(ends)] == np.repeat(ends[:, 0], 2).tolist()
    assert sorted(set(SEEN)) == sorted({*ends.ravel().tolist()})


# ---------------------------------------------------------------- choosing
class Odd(q.Strategy):
    """Fails, never trades, or trades; `twin` changes nothing."""

    params = dict(kind="trade", twin=1)

    @staticmethod
    def signals(bars: Bars, p: Any) -> Any:
        if p.kind == "fail":
            raise ValueError("no such kind")
        return np.zeros(len(bars)) if p.kind == "never" else np.sign(bars.close - bars.open)


def test_first_of_equals_is_chosen() -> None:
    found = walk(made(), Odd, {"kind": ["trade"], "twin": [3, 1, 2]}, metric="cagr")
    assert found.windows["twin"].tolist() == [3] * len(found.windows)


def test_low_is_good_for_some_metrics() -> None:
    found = walk(made(), Odd, {"kind": ["trade", "never"]}, metric="volatility")
    assert found.windows["kind"].tolist() == ["never"] * len(found.windows)
    assert math.isnan(found.efficiency)


def test_failed_and_undefined_combinations_are_passed_over() -> None:
    found = walk(made(), Odd, {"kind": ["fail", "never", "trade"]})
    assert found.windows["kind"].tolist() == ["trade"] * len(found.windows)
    told = next(f for f in found.findings if f.code == "failed-combinations")
    assert told.count == len(found.windows)
    assert "no such kind" in told.message


def test_what_is_known_of_the_bars_is_said_once() -> None:
    found = walk(replace(made(), adjusted="splits"), costs="ib-fixed")
    codes = [f.code for f in found.findings]
    assert codes.count("per-share-costs-on-adjusted-prices") == 1
    assert len(codes) == len(set(codes))


def test_windows_without_a_choice_stay_flat() -> None:
    found = walk(made(), Odd, {"kind": ["fail", "never"]})
    assert set(found.equity) == {CASH}
    assert found.parameters == (None,) * len(found.windows)
    assert found.windows["kind"].isna().all()
    assert next(f for f in found.findings if f.code == "flat-windows").count == len(found.windows)
    assert found.verdict.word == "unclear"
    assert "nothing was traded" in found.verdict.text
    assert "Odd" in repr(found)


class FailsLater(q.Strategy):
    params = dict(n=1)

    @staticmethod
    def signals(bars: Bars, p: Any) -> Any:
        if 100 < len(bars) <= 160:  # the first test
            raise ValueError("not this one")
        return np.sign(bars.close - bars.open)


def test_test_that_fails_stays_flat_and_says_so() -> None:
    found = walk(made(220), FailsLater, {"n": [1]}, anchored=False)
    assert found.windows["return"].tolist()[0] == 0.0
    assert "not this one" in next(f for f in found.findings if f.code == "failed-window").message


class Short(q.Strategy):
    params = dict(n=1)

    @staticmethod
    def signals(bars: Bars, p: Any) -> Any:
        return np.where(np.arange(len(bars)) % 5 == 0, 0.0, -1.0)


def test_account_that_lost_all_trades_no_more(tmp_path: Path) -> None:
    price = np.where(np.arange(260) < 140, 100.0, 300.0) + np.arange(260) % 3
    columns = dict.fromkeys(("open", "high", "low", "close"), price) | {"volume": np.ones(260)}
    bars = Bars.from_frame(pd.DataFrame(columns, index=pd.bdate_range("2018-01-02", periods=260)), "JUMP")
    found = walk(bars, Short, {"n": [1]}, train=100, test=60)
    assert found.metrics["final_value"] < 0.0
    assert len(set(found.equity[60:])) == 1
    assert found.windows["trades"].tolist()[1:] == [0, 0]
    assert any(f.code == "account-empty" for f in found.findings)
    assert "all was lost" in found.verdict.text
    assert found.report(tmp_path / "lost.html").exists()


# ---------------------------------------------------------------- engines, workers, resume
def same(a: WalkForward, b: WalkForward, rel: float = 0.0) -> None:
    assert a.equity.tolist() == b.equity.tolist()
    pd.testing.assert_frame_equal(a.windows, b.windows, rtol=rel, atol=0.0, check_exact=rel == 0.0)
    assert a.verdict.text == b.verdict.text


def test_same_whatever_the_workers() -> None:
    same(walk(made(), workers=1), walk(made(), workers=3))


def test_processes_over_backtrader_give_the_same() -> None:
    same(walk(made(230)), walk(made(230), engine="fast", workers=2), rel=1e-12)


def test_difference_of_the_engines_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = compiled.run

    def wrong(job: Any) -> Any:
        record = honest(job)
        record.value[-1] += 0.01
        return record

    monkeypatch.setattr(compiled, "run", wrong)
    with pytest.raises(ParityError, match="value at"):
        walk(made())


@pytest.mark.parametrize(("engine", "runs"), [("fast", "processes"), ("compiled", "threads")])
def test_training_that_backtrader_does_not_give_here_is_an_error(
    engine: str, runs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers that load modules anew may find other files and globals; a held chunk may be of other ones."""
    honest, more = threads.run, [0.0]

    def elsewhere(*args: Any, **how: Any) -> Iterator[tuple[int, list[Any]]]:
        for number, rows in honest(*args, **how):
            for row in rows:
                row.figures[NAMES.index("final_value")] += more[0]
            yield number, rows

    monkeypatch.setattr(f"quant.research.workers.{runs}.run", elsewhere)
    same(walk(made(230), engine=engine), walk(made(230)), rel=1e-12)
    more[0] = 0.01
    with pytest.raises(
        ParityError, match=r"fast=.*final_value is .* in training and .* in backtrader.*[Ww]orker"
    ):
        walk(made(230), engine=engine)


def test_interrupted_it_goes_on(tmp_path: Path) -> None:
    wanted = walk(made(), data=tmp_path / "whole", save=True)

    def stop(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        walk(made(), data=tmp_path, save=True, progress=stop)
    steps: list[tuple[int, int]] = []
    found = walk(made(), data=tmp_path, save=True, progress=lambda a, b: steps.append((a, b)))
    same(wanted, found)
    assert steps[0][0] > steps[0][1] // 2
    assert steps[-1][0] == steps[-1][1] == 4 * len(found.windows)
    assert any(f.code == "resumed" for f in found.findings)


def test_killed_it_goes_on(tmp_path: Path) -> None:
    script = f"""
        import os, quant as q
        from quant.research.walk_forward.walk_forward import walk_forward
        def die(done, total):
            if done > total // 2:
                os._exit(9)
        bars = q.synthetic("MADE", "1d", "2018-01-02", "2018-12-31", seed=1)
        how = dict(train=100, test=60, workers=1, data={str(tmp_path)!r})
        walk_forward("rsi", bars, dict(period=[5, 7, 9]), progress=die, **how)
        """
    gone = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, check=False)
    assert gone.returncode == 9
    bars = q.synthetic("MADE", "1d", "2018-01-02", "2018-12-31", seed=1)
    grid = {"period": [5, 7, 9]}
    found = walk(bars, "rsi", grid, cash=100_000.0, save=True, data=tmp_path)
    assert next(f for f in found.findings if f.code == "resumed").count >= 2
    same(found, walk(bars, "rsi", grid, cash=100_000.0))


def test_the_outcome_is_kept_and_a_disk_that_refuses_it_loses_nothing_else(tmp_path: Path) -> None:
    found = walk(made(), save=True, data=tmp_path)
    assert found.folder is not None
    ((name, outcome),) = kept(tmp_path)
    assert (name, outcome["sharpe"], outcome["sessions"]) == (
        found.folder.name, found.verdict.sharpe, len(found.returns),
    )  # fmt: skip
    file = found.folder / "walk_forward.json"
    file.unlink()
    file.mkdir()
    again = walk(made(), save=True, data=tmp_path)
    assert "outcome-not-kept" in {f.code for f in again.findings}
    assert again.metrics == found.metrics
    assert kept(tmp_path) == []


def test_damaged_and_lost_chunks_are_computed_again(tmp_path: Path) -> None:
    wanted = walk(made(), save=True, data=tmp_path)
    assert wanted.folder is not None
    one, other, *_ = sorted((wanted.folder / "chunks").iterdir())
    one.unlink()
    other.write_bytes(other.read_bytes()[:-20])
    found = walk(made(), save=True, data=tmp_path)
    same(wanted, found)
    assert [f.code for f in found.findings if "chunk" in f.code] == ["damaged-chunk"]


def test_other_windows_have_a_folder_of_their_own(tmp_path: Path) -> None:
    folders = {walk(made(), save=True, data=tmp_path, test=t).folder for t in (60, 61, 60)}
    assert len(folders) == 2


def test_each_trial_counts_once(tmp_path: Path) -> None:
    for test in (60, 80):
        found = walk(made(), save=True, data=tmp_path, test=test)
    known = ledger.counts(
        tmp_path / "sweeps" / ledger.NAME, f"{Cross.__module__}:Cross",
        ledger.instrument_key([made().instrument]), "1d",
    )  # fmt: skip
    assert known.count == known.measured == found.trials == 4
    assert not list((tmp_path / "sweeps").rglob("*.part"))
    assert walk(made()).trials == 4  # of this one alone


def known_trials(data: Path) -> list[tuple[str, float | None, str, str]]:
    """Return parameters, Sharpe ratio and dates of each trial of the ledger, by parameters."""
    with closing(sqlite3.connect(data / "sweeps" / ledger.NAME)) as db:
        return sorted(db.execute("SELECT params, sharpe, first, last FROM trials").fetchall())


@pytest.mark.parametrize(
    ("after", "windows"), [(2, [0, 0]), (5, [1, 0, 0, 0]), (12, [2, 2, 2, 2])], ids=lambda v: str(v)
)
@pytest.mark.parametrize("end", [KeyboardInterrupt, OSError])
def test_what_was_tried_before_an_interrupt_counts(
    end: type[BaseException], after: int, windows: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A chunk a combination, window by window; each counts with what the last span that it was trained on gave.
    monkeypatch.setattr(
        chunks, "plan_chunks", lambda count, *_, **__: [range(k, k + 1) for k in range(count)]
    )

    def stop(done: int, total: int) -> None:
        assert total == 12
        if done == after:
            raise end

    with pytest.raises(end):
        walk(made(), data=tmp_path, save=True, progress=stop)
    sessions = np.unique(made().session)
    params = [f"begin=0 fast={f} slow={s} stop=0.0" for f, s in itertools.product(GRID["fast"], GRID["slow"])]
    combos = list(itertools.product(GRID["fast"], GRID["slow"]))
    wanted = []
    for text, (fast, slow_), window in zip(params, combos, windows, strict=False):
        first, last = sessions[60 * window], sessions[60 * window + 99]
        one = walk(made()[: 60 * window + 101], grid={"fast": [fast], "slow": [slow_]})
        year = math.sqrt(made()[60 * window : 60 * window + 100].periods_per_year)
        wanted.append((text, float(one.windows["in_sample"].iloc[-1]) / year, str(first), str(last)))
    found = known_trials(tmp_path)
    assert [(p, a, z) for p, _, a, z in found] == [(p, a, z) for p, _, a, z in wanted]
    assert [sharpe for _, sharpe, _, _ in found] == pytest.approx([sharpe for _, sharpe, _, _ in wanted])


def test_trials_are_those_of_the_last_span_whatever_the_order_of_the_windows(tmp_path: Path) -> None:
    found = walk(made(), data=tmp_path, save=True)
    wanted = known_trials(tmp_path)
    assert len(wanted) == 4
    assert {last for *_, last in wanted} == {str(found.windows["train_last"].iloc[-1].date())}
    assert found.folder is not None
    for chunk in sorted((found.folder / "chunks").iterdir()):
        chunk.unlink()  # so it comes after all others
        walk(made(), data=tmp_path, save=True)
        assert known_trials(tmp_path) == wanted


def test_nothing_tried_or_nothing_saved_counts_nothing(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    for save in (True, False):
        with pytest.raises(KeyboardInterrupt):
            walk(made(), data=tmp_path, save=save, progress=stop)
    assert not (tmp_path / "sweeps" / ledger.NAME).exists()


# ---------------------------------------------------------------- several feeds, plain strategies
def test_several_feeds_are_one_account(in_threads: None) -> None:
    a, b = made(), q.synthetic("OTHER", "1d", "2018-01-02", "2020-12-31", seed=9)[:260]
    found = walk([a, b])
    assert set(found.account.fills["symbol"]) == {"MADE", "OTHER"}
    assert found.account.trades["pnl"].sum() == pytest.approx(found.metrics["final_value"] - CASH, abs=0.01)
    assert found.account.position == {"MADE": 0.0, "OTHER": 0.0}
    hold = np.mean([x.close[-1] / x.close[100] - 1.0 for x in (a, b)])
    assert found.metrics["buy_hold_return"] == pytest.approx(hold)
    assert found.verdict.hold_return == pytest.approx(hold)
    # The first window, in q.backtest: chosen from the same four, both feeds to the same bar.
    first = found.windows.iloc[0]
    params = {"fast": int(first["fast"]), "slow": int(first["slow"]), "begin": 100}
    run = q.backtest(Cross, [a[:160], b[:160]], params=params, cash=CASH, save=False)
    assert found.equity.tolist()[:59] == run.equity.tolist()[100:159]


class Plain(bt.Strategy):
    params = (("period", 5),)

    def __init__(self) -> None:
        self.cross = bt.ind.CrossOver(self.data.close, bt.ind.SMA(self.data.close, period=self.p.period))

    def next(self) -> None:
        if self.cross > 0:
            self.buy(size=100)
        elif self.cross < 0 and self.position:
            self.close()


def test_plain_strategies_see_their_span_only(in_threads: None) -> None:
    bars = made(220)
    found = walk(bars, Plain, {"period": [5, 10]})
    assert any(f.code == "cold-start" for f in found.findings)
    period = int(found.windows["period"][0])
    run = q.backtest(Plain, bars[100:160], params={"period": period}, cash=CASH, save=False)
    assert found.equity.tolist()[:59] == run.equity.tolist()[:59]


# ---------------------------------------------------------------- what it proves
def market(seed: int, follows: float, days: int = 2_000) -> Bars:
    """Return daily bars whose returns follow the one before by this share: AR(1); 0 is a random walk."""
    shock = np.random.default_rng(seed).normal(0.0, 0.01, days)
    for t in range(1, days):
        shock[t] += follows * shock[t - 1]
    close = 100.0 * np.cumprod(1.0 + shock)
    opened = np.append(100.0, close[:-1])
    high, low = np.maximum(opened, close), np.minimum(opened, close)
    index = pd.bdate_range("2010-01-04", periods=days)
    columns = {"open": opened, "high": high, "low": low, "close": close, "volume": 1e6}
    return Bars.from_frame(pd.DataFrame(columns, index=index), "MARKET")


def judged(seeds: Iterator[int] | range, follows: float) -> list[Any]:
    grid = {"fast": [2, 3, 5], "slow": [8, 12, 20]}
    how = dict(train=500, test=250, costs="none", cash=1e6)
    return [walk(market(s, follows), grid=grid, **how).verdict for s in seeds]


def test_noise_does_not_survive(full: bool) -> None:
    seeds = range(100) if full else range(8)
    words = [v.word for v in judged(seeds, 0.0)]
    assert words.count("luck") >= 0.9 * len(words)
    assert "edge" not in words[:8]


def test_planted_edge_survives(full: bool) -> None:
    found = judged(range(30) if full else range(5), 0.4)
    words = [v.word for v in found]
    assert words.count("edge") >= 0.8 * len(words)
    assert "luck" not in words
    assert all("better than nothing" in v.text for v in found if v.word == "edge")


def test_one_combination_is_a_backtest_and_not_out_of_sample() -> None:
    known = {"fast": [2], "slow": [8]}
    found = walk(market(1, 0.4), grid=known, train=500, test=250, costs="none", cash=1e6).verdict
    assert found.probabilistic > 0.99
    assert (found.word, found.combinations) == ("unclear", 1)
    assert found.text.startswith("Unclear: only one combination was tried, so this is a backtest")
    assert "choice had seen" not in found.text
    assert "no choice saw" not in found.text
    both = walk(
        market(1, 0.4), grid={**known, "fast": [2, 3]}, train=500, test=250, costs="none", cash=1e6
    ).verdict
    assert (both.word, both.combinations) == ("edge", 2)
    assert "On data that no choice had seen" in both.text


class Dummy(q.Strategy):
    """Follows the day before. `twin` changes nothing, `late` one training span, `hold` all; `fails` it does."""

    params = dict(hold=1, twin=1, late=0, fails=False)

    @staticmethod
    def signals(bars: Bars, p: Any) -> Any:
        if p.fails:
            raise ValueError("it fails")
        target = np.sign(np.diff(bars.close, prepend=bars.close[0]))
        target[p.hold :: 50] = 0.0
        if p.late and len(bars) == 1_250:
            target[1_200:] *= -1.0
        return target


@pytest.mark.parametrize(
    "grid", [{"twin": [1, 2, 3]}, {"fails": [False, True]}, {"twin": [1, 2], "fails": [True, False]}]
)
def test_combinations_that_all_give_the_same_choose_nothing(grid: dict[str, Any]) -> None:
    bars = market(1, 0.4)[:1_400]
    how: dict[str, Any] = {"train": 500, "test": 250, "costs": "none", "cash": 1e6}
    found = walk(bars, Dummy, grid, **how)
    judged = found.verdict
    assert not found.chose
    assert judged.probabilistic > 0.99
    assert judged.word == "unclear"
    assert judged.text.startswith(
        "Unclear: in no training span did two combinations give different results, so"
    )
    for told in ("choice had seen", "no choice saw"):
        assert told not in judged.text
        assert told not in repr(walk_forward_content(found).facts)
    # One window in which two of them differ is a choice.
    for wider in ({"late": [0, 1]}, {"hold": [1, 2]}):
        one = walk(bars, Dummy, {**grid, **wider}, **how)
        assert one.chose
        assert (one.verdict.word, "On data that no choice had seen" in one.verdict.text) == ("edge", True)


def test_whether_anything_was_chosen_is_kept_and_the_same_when_resumed(tmp_path: Path) -> None:
    for grid, chose in ({"twin": [1, 2]}, False), ({"hold": [1, 2]}, True):
        for _ in range(2):
            found = walk(made(), Dummy, grid, save=True, data=tmp_path)
            assert found.chose is chose
            assert found.folder is not None
            assert dict(kept(tmp_path))[found.folder.name]["chose"] is chose


def test_efficiency_is_the_share_kept() -> None:
    by_sharpe = walk(market(1, 0.4, 1_200), train=300, test=200, costs="none")
    wanted = by_sharpe.metrics["sharpe"] / by_sharpe.windows["in_sample"].mean()
    assert by_sharpe.efficiency == pytest.approx(wanted)
    assert f"{100 * wanted:.0f} % was kept" in by_sharpe.verdict.text


# ---------------------------------------------------------------- as text and page
def test_report_is_written_where_it_was_saved(tmp_path: Path) -> None:
    found = walk(made(), save=True, data=tmp_path)
    path = found.report()
    assert path == found.folder / "report.html"  # type: ignore[operator]
    page = path.read_text(encoding="utf-8")
    assert "Walk-forward: Cross on MADE" in page
    assert "Efficiency" in page
    assert found.report(tmp_path / "here.html") == tmp_path / "here.html"
    assert found.report(tmp_path) == tmp_path / "report.html"


def test_report_of_what_was_not_saved_needs_a_path() -> None:
    with pytest.raises(ParameterError, match="name a file"):
        walk(made()).report()


def test_content_is_the_account_by_session() -> None:
    bars = hourly(60)
    found = walk(bars, train=30, test=12)
    content = walk_forward_content(found)
    last = np.append(bars.session[1:] != bars.session[:-1], True)[30 * 7 :]
    assert content.equity.tolist() == found.equity.to_numpy()[last].tolist()
    hold = CASH * bars.close[30 * 7 :][last] / bars.close[30 * 7]
    assert content.hold.tolist() == pytest.approx(hold.tolist(), rel=1e-14)
    assert content.sessions.tolist() == np.unique(bars.session)[30:].tolist()
    assert content.parameters == ["fast", "slow"]


def test_text_says_what_matters() -> None:
    found = walk(made(330))
    for text in (repr(found), found._repr_html_()):
        assert " · SYNTHETIC" in text.split("4 windows")[0]  # where the bars came from
        assert "train 100 rolling, embargo 0, test 60" in text
        assert "buying and holding" in text
        assert "fast changed" in text or "never changed" in text


# ---------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"bars": {"MADE": made()}}, "once for each symbol"),
        ({"metric": "luck"}, "there is total_return"),
        ({"engine": "slow"}, "there is auto"),
        ({"workers": 0}, "1 or more"),
        ({"grid": {}}, "empty"),
        ({"grid": {"fats": [1]}}, "did you mean fast"),
        ({"train": 300}, "too few"),
        ({"train": "ten"}, "number of sessions"),
        ({"cash": -1.0}, "above 0"),
    ],
)
def test_bad_input_is_named(how: dict[str, Any], told: str) -> None:
    with pytest.raises(ParameterError, match=told):
        walk(**({"bars": made()} | how))


class Clash(q.Strategy):
    params = dict(trades=1)

    @staticmethod
    def signals(bars: Bars, p: Any) -> Any:
        return np.ones(len(bars))


def test_parameters_named_as_columns_are_refused() -> None:
    with pytest.raises(ParameterError, match="rename the parameter"):
        walk(made(), Clash, {"trades": [1, 2]})
