"""q.sweep: rows are those of q.backtest, whatever the workers, chunks and order; what is asked of them; bad input."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

import quant as q
from quant.errors import ParameterError, QuantError, StrategyError, WriteFailed
from quant.indicators import sma
from quant.metrics import NAMES
from quant.research import chunks, ledger

ROOT = Path(__file__).parents[2]
MONEY = ("commission", "slippage", "avg_trade", "best_trade", "worst_trade", "final_value", "final_cash")
GRIDS: dict[str, dict[str, Any]] = {
    "macd": dict(fast=[5, 12], slow=[20, 26], short=[False, True]),
    "macd_stochastic": dict(above=[30.0, 60.0], atr_factor=[0.5, 2.0], atr_period=[20]),
    "opening_range": dict(minutes=[5, 30], volume=[0.0, 1.2], target=[0.3]),
    "renko": dict(size=[None, 0.5], bricks=[1, 2], reversal=[1], short=[True], atr_period=[20]),
    "renko_macd": dict(bricks=[1, 2], slope=[3, 5], atr_period=[20], short=[True]),
    "rsi": dict(period=[7, 14], low=[30.0, 40.0], short=[True]),
}


@pytest.fixture(scope="module")
def msft() -> q.Bars:
    """400 sessions of the sample."""
    return q.bars("MSFT", data=ROOT / "data")[4000:4400]


@pytest.fixture(scope="module")
def minutes() -> q.Bars:
    """Eight sessions of 5 minutes."""
    return q.synthetic("SYN", "5m", "2020-01-02", "2020-01-13", seed=3)


def swept(strategy: Any, bars: Any, grid: Any, **settings: Any) -> q.Sweep:
    return q.sweep(strategy, bars, grid, **{"save": False, "verify": 0, **settings})


def bits(sweep: q.Sweep) -> list[Any]:
    """All that the sweep found, such that two are equal where every number has the same bits."""
    table = [
        (n, [v.hex() if isinstance(v, float) else v for v in sweep.table[n].tolist()]) for n in sweep.table
    ]
    return [table, sweep.returns.shape, sweep.returns.tobytes()]


def assert_rows_are_backtests(sweep: q.Sweep, strategy: Any, bars: Any, **settings: Any) -> None:
    names = list(sweep.parameters)
    for k, row in enumerate(sweep.table.to_dict("records")):
        run = q.backtest(
            strategy, bars, params={n: sweep.combos[k][n] for n in names}, save=False, **settings
        )
        assert row["error"] is None
        for name in NAMES:
            expected = float(run.metrics[name])
            if name in MONEY:
                assert float(row[name]).hex() == expected.hex(), (name, row)
            else:
                assert row[name] == pytest.approx(expected, rel=1e-12, abs=0.0, nan_ok=True), (name, row)
        assert sweep.returns[:, k].tobytes() == run.returns.to_numpy().tobytes()


# ---------------------------------------------------------------- rows are backtests
SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "percent": dict(
        costs="percent:0.05", sizing="cash:30000", slippage="percent:0.03", start_rule="next-change"
    ),
    "tiered": dict(costs="ib-tiered", sizing="shares:137", slippage="ticks:2", borrow=0.04),
    "short of cash": dict(costs="none", sizing="percent:100", cash=1_000.0, borrow=0.5),
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("name", GRIDS)
def test_rows_are_those_of_backtests(
    name: str, settings: dict[str, Any], msft: q.Bars, minutes: q.Bars
) -> None:
    bars = minutes if name in ("opening_range", "macd_stochastic") else msft
    sweep = swept(name, bars, GRIDS[name], **settings)
    assert sweep.settings["engine"] == "compiled"
    assert sweep.table["trades"].sum() > 0
    assert_rows_are_backtests(sweep, name, bars, **settings)


class WithExits(q.Strategy):
    """Long or short by the bar's number, with stop and limit; session rules."""

    params = dict(every=5, away=0.004)
    session = dict(no_entry_last="30m", flat_before_close="10m")

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> q.Signals:
        side = np.where(np.arange(len(bars)) // p.every % 2 == 0, 1.0, -1.0)
        return q.Signals(side, bars.close * (1.0 - side * p.away), bars.close * (1.0 + side * p.away))


@pytest.mark.parametrize("settings", [dict(sizing="risk:1"), dict(costs="ib-tiered", borrow=0.1)], ids=str)
def test_rows_with_exits_and_session_rules_are_those_of_backtests(
    settings: dict[str, Any], minutes: q.Bars
) -> None:
    grid = dict(every=[3, 11], away=[0.001, 0.01])
    sweep = swept(WithExits, minutes, grid, **settings)
    assert sweep.settings["engine"] == "compiled"
    assert_rows_are_backtests(sweep, WithExits, minutes, **settings)


@pytest.mark.parametrize("engine", ["fast", "plain"])
def test_each_engine_gives_the_same_rows(engine: str, msft: q.Bars) -> None:
    bars = msft[:200]
    sweep = swept("macd", bars, dict(fast=[5, 12], slow=[26]), engine=engine, workers=1)
    assert sweep.settings["engine"] == engine
    assert_rows_are_backtests(sweep, "macd", bars)


# ---------------------------------------------------------------- workers, chunks, order
GRID = dict(fast=range(3, 11), slow=[12, 20, 26], short=[False, True])


@pytest.fixture(scope="module")
def whole(msft: q.Bars) -> q.Sweep:
    """48 combinations in one thread, chunked as ever."""
    return swept("macd", msft, GRID, workers=1)


@pytest.mark.parametrize("size", [1, 5, 48])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_bits_do_not_depend_on_workers_and_chunks(
    workers: int, size: int, whole: q.Sweep, msft: q.Bars, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        chunks,
        "plan_chunks",
        lambda count, *_, **__: [range(k, min(k + size, count)) for k in range(0, count, size)],
    )
    assert bits(swept("macd", msft, GRID, workers=workers)) == bits(whole)


def test_bits_do_not_depend_on_the_order_of_the_grid(whole: q.Sweep, msft: q.Bars) -> None:
    turned = {n: list(values)[::-1] for n, values in reversed(GRID.items())}
    names = list(whole.parameters)
    again = swept("macd", msft, turned)
    order = again.table.sort_values(names, kind="stable").index
    first = whole.table.sort_values(names, kind="stable").index
    pd.testing.assert_frame_equal(
        again.table.loc[order, whole.table.columns].reset_index(drop=True),
        whole.table.loc[first].reset_index(drop=True),
        check_exact=True,
    )
    assert again.returns[:, order].tobytes() == whole.returns[:, first].tobytes()


def test_samples_are_rows_of_the_whole(whole: q.Sweep, msft: q.Bars) -> None:
    some = swept("macd", msft, GRID, samples=10, seed=4)
    rows = [list(whole.combos).index(c) for c in some.combos]
    assert len(set(rows)) == 10
    pd.testing.assert_frame_equal(some.table, whole.table.iloc[rows].reset_index(drop=True), check_exact=True)
    assert swept("macd", msft, GRID, samples=10, seed=5).combos != some.combos


# ---------------------------------------------------------------- strategies that fail or write
class Fails(q.Strategy):
    """Does wrong what `how` says where n is odd."""

    params = dict(n=0, how="raises")

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        target = np.where(np.arange(len(bars)) // (p.n + 2) % 2 == 0, 1.0, 0.0)
        if p.n % 2 == 0:
            return target
        if p.how == "raises":
            raise RuntimeError(f"no {p.n}")
        return {
            "short": target[:-1], "infinite": np.where(target > 0, np.inf, target), "nothing": None, "text": ["a"] * 3,
            "stop": q.Signals(target, stop=-bars.close), "resized": q.Signals(target / 2 + 1, stop=bars.close / 2),
        }[p.how]  # fmt: skip


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("raises", "signals raised RuntimeError: no 1"),
        ("short", "target has 399 values for 400 bars of MSFT"),
        ("infinite", "target is infinite at bar 0"),
        ("nothing", "signals returned nothing"),
        ("text", "that are not numbers"),
        ("stop", "stop is -"),
        ("resized", "the target changes from 1.5 to 1.0"),
    ],
)
def test_row_that_fails_has_its_error_and_the_sweep_goes_on(how: str, said: str, msft: q.Bars) -> None:
    sweep = swept(Fails, msft, dict(n=range(7), how=[how]), verify=9 if how == "raises" else 0)
    assert [e is not None for e in sweep.table["error"]] == [n % 2 == 1 for n in range(7)]
    assert said in sweep.table["error"][1]
    (finding,) = (f for f in sweep.findings if f.code == "failed-combinations")
    assert finding.count == 3
    assert said in finding.message
    assert sweep.table.loc[[1, 3, 5], list(NAMES)].isna().all(axis=None)
    assert np.isnan(sweep.returns[:, [1, 3, 5]]).all()
    assert_rows_are_backtests(swept(Fails, msft, dict(n=[0, 2, 4, 6])), Fails, msft)
    good = sweep.table.loc[[0, 2, 4, 6], "final_value"].tolist()
    assert good == swept(Fails, msft, dict(n=[0, 2, 4, 6])).table["final_value"].tolist()
    assert sweep.verified.fast == (4 if how == "raises" else 0)
    assert "(3)" in repr(sweep)


def test_sweep_of_which_all_fails_says_so(msft: q.Bars) -> None:
    sweep = swept(Fails, msft, dict(n=[1, 3]), verify="auto")
    assert [f.count for f in sweep.findings if f.code == "failed-combinations"] == [2]
    assert "none can be judged" in repr(sweep)
    with pytest.raises(ParameterError, match="none traded, or all failed"):
        sweep.best("sharpe")


class WritesInPlace(q.Strategy):
    """Shifts an indicator's array by hand, as people do."""

    params = dict(period=10, add=0.0, way="item")

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        average = sma(bars.close, p.period)
        if p.way == "item":
            average[p.period :] += p.add
        elif p.way == "nan":
            average[p.period :: 2] = np.nan
            np.nan_to_num(average, copy=False, nan=p.add)
        elif p.way == "caught":
            try:
                average *= 1.0 + p.add / 100.0
            except ValueError as e:
                raise RuntimeError("cannot") from e
        return np.where(bars.close > average, 1.0, 0.0)


@pytest.mark.parametrize("way", ["item", "nan", "caught"])
def test_strategy_that_writes_into_an_indicator_gets_what_a_backtest_gives(way: str, msft: q.Bars) -> None:
    sweep = swept(WritesInPlace, msft, dict(period=[10, 20], add=[0.0, 1.0, 40.0], way=[way]), workers=1)
    assert sweep.table["error"].tolist() == [None] * 6
    assert sweep.table["final_value"].nunique() > 2
    assert_rows_are_backtests(sweep, WritesInPlace, msft)


# ---------------------------------------------------------------- too few bars
@pytest.mark.parametrize("count", [1, 2, 30])
def test_too_few_bars_are_rows_without_trades(count: int, msft: q.Bars) -> None:
    sweep = swept("macd", msft[:count], dict(fast=[5, 12], slow=[40, 50]), verify="auto")
    assert sweep.table["error"].tolist() == [None] * 4
    assert sweep.table["trades"].tolist() == [0] * 4
    assert sweep.table["final_value"].tolist() == [100_000.0] * 4
    assert "none can be judged" in repr(sweep)
    with pytest.raises(ParameterError, match="none traded, or all failed"):
        sweep.best("win_rate")


# ---------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (dict(grid={}), r"grid = \{\}: is empty"),
        (dict(grid=None), "must be a dict"),
        (dict(grid={"fast": []}), "no values"),
        (dict(grid={"fats": [1]}), "did you mean fast"),
        (dict(grid={"fast": [30], "slow": [20]}), "valid refuses all 1 combinations"),
        (dict(grid={"fast": [1.5]}), "must be int"),
        (dict(engine="quick"), "engine = 'quick': there is auto, compiled, fast, plain"),
        (dict(workers=0), "workers = 0: must be a whole number"),
        (dict(workers=True), "workers = True: must be a whole number"),
        (dict(workers=1.5), "workers = 1.5: must be a whole number"),
        (dict(verify="some"), "verify = 'some'"),
        (dict(verify=-1), "verify = -1"),
        (dict(verify=True), "verify = True"),
        (dict(samples=0), "samples = 0"),
        (dict(seed=-1), "seed = -1"),
        (dict(search="annealing"), "search = 'annealing': there is grid, optuna"),
        (dict(cash=0.0), "cash = 0.0"),
        (dict(costs="cheap"), "costs = 'cheap'"),
        (dict(sizing="half"), "sizing = 'half'"),
        (dict(slippage="some"), "slippage = 'some'"),
        (dict(borrow=-0.1), "borrow = -0.1"),
        (dict(start_rule="soon"), "start_rule = 'soon'"),
        (dict(bars=None), "bars = 'NoneType': must be Bars"),
        (dict(bars=[]), "give at least one Bars"),
        (dict(bars={}), "give at least one symbol"),
        (dict(bars={"A": None}), "must be Bars"),
        (dict(strategy="no_such_strategy"), "no_such_strategy"),
    ],
    ids=str,
)
def test_bad_input_is_named(changes: dict[str, Any], said: str, msft: q.Bars) -> None:
    asked = {"strategy": "macd", "bars": msft, "grid": {"fast": [5]}, **changes}
    with pytest.raises(QuantError, match=said):
        swept(asked.pop("strategy"), asked.pop("bars"), asked.pop("grid"), **asked)


def test_nothing_is_written_for_bad_input(msft: q.Bars, tmp_path: Path) -> None:
    with pytest.raises(ParameterError):
        q.sweep("macd", msft, {"fast": []}, data=tmp_path)
    assert list(tmp_path.iterdir()) == []


class Listed(q.Strategy):
    """Has a list as a parameter."""

    params = dict(lengths=[5, 10], error=0)

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        short, long = p.lengths
        return np.where(sma(bars.close, short) > sma(bars.close, long), 1.0, 0.0)


def test_parameter_that_is_a_list(msft: q.Bars) -> None:
    sweep = swept(Listed, msft, dict(lengths=[[5, 10], [5, 20], [10, 50]]), verify="auto")
    assert sweep.settings["grid"] == {"lengths": [[5, 10], [5, 20], [10, 50]]}
    assert_rows_are_backtests(sweep, Listed, msft)
    assert "[5, 20]" in repr(sweep)


def test_parameter_with_the_name_of_a_column_is_refused(msft: q.Bars) -> None:
    with pytest.raises(ParameterError, match="the table has a column of that name"):
        swept(Listed, msft, dict(error=[1, 2]))


# ---------------------------------------------------------------- other shapes of bars, other costs
class Both(q.Strategy):
    """Long what rose over `n` bars, of several."""

    params = dict(n=5)

    @staticmethod
    def signals_all(panel: Any, p: Any) -> Any:
        change = panel.close - np.vstack([panel.close[: p.n], panel.close[: -p.n]])
        return np.where(change > 0.0, 1.0, 0.0)


def test_a_list_is_one_joint_account(msft: q.Bars) -> None:
    bars = [msft, q.synthetic("SYN", "1d", "2005-11-14", "2007-06-04", seed=1)]
    sweep = swept(Both, bars, dict(n=[5, 20]), workers=2, verify=1)
    assert sweep.settings["engine"] == "fast"
    assert any("2 feeds share one account" in f.message for f in sweep.findings)
    assert_rows_are_backtests(sweep, Both, bars)


def test_a_dict_is_one_sweep_each(msft: q.Bars, minutes: q.Bars) -> None:
    grid = dict(fast=[5, 12], slow=[26])
    told: list[tuple[int, int]] = []
    sweep = swept(
        "macd", {"MSFT": msft, "SYN": minutes}, grid, progress=lambda done, total: told.append((done, total))
    )
    assert sweep.table["symbol"].tolist() == ["MSFT", "MSFT", "SYN", "SYN"]
    assert told[-1] == (4, 4)
    assert told == sorted(told)
    for symbol, bars in (("MSFT", msft), ("SYN", minutes)):
        alone = swept("macd", bars, grid)
        own = sweep.table[sweep.table["symbol"] == symbol].drop(columns="symbol").reset_index(drop=True)
        pd.testing.assert_frame_equal(own, alone.table, check_exact=True)
        assert bits(sweep.sweeps[symbol]) == bits(alone)
        assert sweep.best("sharpe", symbol) == alone.best("sharpe")


def test_a_dict_of_one_still_has_its_symbol(msft: q.Bars) -> None:
    sweep = swept("macd", {"": msft}, dict(fast=[5]))
    assert sweep.table["symbol"].tolist() == [""]


def test_symbols_never_lead_out_of_the_folder(msft: q.Bars, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    q.sweep(
        "macd",
        {"../BRK.B": msft, "A/B": msft},
        dict(fast=[5]),
        folder=folder,
        data=tmp_path / "data",
        verify=0,
    )
    assert {p.parent.name for p in tmp_path.rglob("sweep.json")} == {p.name for p in folder.iterdir()}
    assert len(list(folder.iterdir())) == 2


def dear(quantity: float, price: float) -> float:
    return 20.0


def test_costs_as_a_function_go_through_processes(msft: q.Bars) -> None:
    grid = dict(fast=[5, 12], slow=[26])
    sweep = swept("macd", msft, grid, costs=dear, workers=2)
    assert sweep.settings["engine"] == "fast"
    (finding,) = (f for f in sweep.findings if f.code == "not-compiled")
    assert "the costs are a function" in finding.message
    assert_rows_are_backtests(sweep, "macd", msft, costs=dear)
    with pytest.raises(ParameterError, match="engine = 'compiled': the costs are a function"):
        swept("macd", msft, grid, costs=dear, engine="compiled")


class OwnSize(q.Strategy):
    """Long on every second stretch of bars, always ten."""

    params = dict(every=5)

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        return np.where(np.arange(len(bars)) // p.every % 2 == 0, 1.0, 0.0)

    def entry_size(self, *args: Any, **kwargs: Any) -> int:
        return 10


def test_a_size_of_ones_own_is_not_compiled_and_named(msft: q.Bars) -> None:
    with pytest.raises(ParameterError, match="OwnSize overrides entry_size"):
        swept(OwnSize, msft, dict(every=[5]), engine="compiled")
    sweep = swept(OwnSize, msft, dict(every=[5, 9]), workers=1)
    assert sweep.settings["engine"] == "fast"
    assert (
        "OwnSize overrides entry_size" in next(f for f in sweep.findings if f.code == "not-compiled").message
    )
    assert_rows_are_backtests(sweep, OwnSize, msft)


class Plain(bt.Strategy):
    """A strategy as backtrader's users write them."""

    params = dict(period=10)

    def __init__(self) -> None:
        self.average = bt.ind.SMA(period=self.p.period)

    def next(self) -> None:
        if not self.position and self.data.close[0] > self.average[0]:
            self.buy(size=10)
        elif self.position and self.data.close[0] < self.average[0]:
            self.close()


class Killed(Plain):
    """Kills its process the first time that period is 30."""

    params = dict(mark="")

    def __init__(self) -> None:
        super().__init__()
        if self.p.period == 30:
            try:
                Path(self.p.mark).touch(exist_ok=False)
            except FileExistsError:
                return
            import os

            os._exit(9)


def test_plain_strategies_go_through_processes_that_survive_a_death(msft: q.Bars, tmp_path: Path) -> None:
    sweep = swept(Killed, msft, dict(period=[10, 20, 30], mark=[str(tmp_path / "died")]), workers=2, verify=1)
    assert (tmp_path / "died").exists()
    assert "is a plain bt.Strategy" in next(f for f in sweep.findings if f.code == "not-compiled").message
    assert sweep.verified.fast == 1
    assert sweep.table["trades"].min() > 0
    assert_rows_are_backtests(sweep, Killed, msft)


# ---------------------------------------------------------------- what is asked of a sweep
def test_a_row_becomes_a_saved_run(msft: q.Bars, tmp_path: Path) -> None:
    settings: dict[str, Any] = dict(
        costs="percent:0.1", sizing="shares:50", slippage="ticks:1", borrow=0.05, cash=5e4
    )
    sweep = q.sweep("rsi", msft, GRIDS["rsi"], data=tmp_path, start_rule="next-change", verify=0, **settings)
    run = sweep.run(2)
    assert run.folder is not None
    assert run.folder.is_relative_to(tmp_path / "runs")
    for name in NAMES:
        assert sweep.table[name][2] == pytest.approx(run.metrics[name], rel=1e-12, nan_ok=True)
    assert sweep.run("best", save=False).metrics == sweep.run(sweep.best(), save=False).metrics
    for row in (-1, 4, 1.5, "last"):
        with pytest.raises(ParameterError, match="row = "):
            sweep.run(row, save=False)  # type: ignore[arg-type]


def test_heatmap_holds_the_best_over_all_others(whole: q.Sweep) -> None:
    for metric, best in (("sharpe", max), ("volatility", min), ("max_drawdown", max)):
        table = whole.heatmap("fast", "slow", metric)
        assert table.index.tolist() == [12, 20, 26]
        assert table.columns.tolist() == list(range(3, 11))
        for (slow, fast), group in whole.table.groupby(["slow", "fast"]):
            assert table.loc[slow, fast] == best(group[metric])
    with pytest.raises(ParameterError, match="is no parameter of the sweep"):
        whole.heatmap("fast", "signal")
    with pytest.raises(ParameterError, match="metric = 'luck'"):
        whole.heatmap("fast", "slow", "luck")
    with pytest.raises(ParameterError, match="y = 'fast'"):
        whole.heatmap("fast", "fast")


def test_heatmap_of_values_with_none(msft: q.Bars) -> None:
    sweep = swept("renko", msft, dict(size=[None, 0.5, 1.0], bricks=[1, 2], atr_period=[20]))
    assert sweep.heatmap("size", "bricks").shape == (2, 3)


@pytest.mark.parametrize("metric", ["commission", "volatility", "max_drawdown_days"])
def test_best_by_a_metric_of_which_less_is_better(metric: str, whole: q.Sweep) -> None:
    assert whole.table[metric][whole.best_row(metric)] == whole.table[metric].min()


@pytest.mark.parametrize("metric", ["sharpe", "max_drawdown", "final_value", "win_rate"])
def test_best_by_a_metric_of_which_more_is_better(metric: str, whole: q.Sweep) -> None:
    assert whole.table[metric][whole.best_row(metric)] == whole.table[metric].max()
    best = whole.best(metric)
    assert set(best) == {"fast", "slow", "signal", "short"}
    assert best == whole.combos[whole.best_row(metric)]


def test_progress_grows_to_all(msft: q.Bars) -> None:
    told: list[tuple[int, int]] = []
    swept("macd", msft, GRID, workers=2, progress=lambda done, total: told.append((done, total)))
    assert told[0] == (0, 48)
    assert told[-1] == (48, 48)
    assert told == sorted(set(told))


@pytest.mark.parametrize("research", [q.sweep, lambda *a, **k: q.walk_forward(*a, train=200, test=50, **k)])
def test_the_address_of_a_cluster_is_no_client(research: Any, msft: q.Bars) -> None:
    with pytest.raises(
        ParameterError, match=r"client = 'tcp://127.0.0.1:1': must be a Client of dask.distributed"
    ):
        research("macd", msft, {"fast": [5, 12]}, client="tcp://127.0.0.1:1", save=False)


# ---------------------------------------------------------------- a strategy that ends the program
class Exits(q.Strategy):
    params = dict(n=5)

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        if p.n == 6:
            sys.exit("no data for this")
        return bars.close > bars.close[0] + p.n


class PlainExits(bt.Strategy):
    params = dict(n=5)

    def next(self) -> None:
        if self.p.n == 6:
            sys.exit(3)


@pytest.mark.parametrize("engine", ["compiled", "fast", "plain"])
def test_sys_exit_is_an_error_of_its_row(engine: str, msft: q.Bars) -> None:
    found = q.sweep(Exits, msft[:300], {"n": [5, 6, 7]}, engine=engine, save=False, verify=1)
    assert found.table["error"].isna().tolist() == [True, False, True]
    assert "signals raised SystemExit: no data for this" in found.table["error"][1]


def test_sys_exit_of_a_plain_strategy_is_an_error_of_its_row(msft: q.Bars) -> None:
    found = q.sweep(PlainExits, msft[:300], {"n": [5, 6, 7]}, save=False, verify=1)
    assert found.table["error"].isna().tolist() == [True, False, True]
    assert "raised SystemExit: 3" in found.table["error"][1]


def test_sys_exit_in_valid_is_named(msft: q.Bars) -> None:
    class Invalid(Exits):
        @staticmethod
        def valid(p: Any) -> bool:
            sys.exit(3)

    with pytest.raises(StrategyError, match="SystemExit: 3"):
        q.sweep(Invalid, msft[:300], {"n": [5, 6]}, save=False)


def test_ctrl_c_in_signals_stays_what_it_is(msft: q.Bars) -> None:
    class Interrupted(Exits):
        @staticmethod
        def signals(bars: q.Bars, p: Any) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        q.sweep(Interrupted, msft[:300], {"n": [5, 6]}, save=False)


# ---------------------------------------------------------------- the ledger
def test_trials_are_counted_once(msft: q.Bars, tmp_path: Path) -> None:
    def counted(**changes: Any) -> tuple[int, int]:
        sweep = q.sweep("macd", msft, data=tmp_path, verify=0, **changes)
        instrument = ledger.instrument_key([msft.instrument])
        known = ledger.counts(
            tmp_path / "sweeps" / ledger.NAME,
            f"{sweep.settings['strategy']['module']}:MacdCross",
            instrument,
            "1d",
        )
        return sweep.trials, known.count

    assert counted(grid=dict(fast=[5, 6, 7])) == (3, 3)
    assert counted(grid=dict(fast=[5, 6, 7])) == (3, 3)  # held
    assert counted(grid=dict(fast=[5, 6, 7]), costs="none") == (3, 3)  # run anew, and the same trials
    assert counted(grid=dict(fast=[7, 8])) == (4, 4)
    assert counted(grid=dict(fast=[5], slow=[26])) == (4, 4)


# ---------------------------------------------------------------- memory
MEMORY = """
import resource, sys
import numpy as np
import quant as q

class Turns(q.Strategy):
    params = dict(a=1, b=1)
    @staticmethod
    def signals(bars, p):
        return np.sign(q.indicators.sma(bars.close, p.a) - q.indicators.sma(bars.close, p.b))

bars = q.synthetic("SYN", "1m", "2020-01-02", "2021-02-10")[:100_000]
def peak(grid):
    q.sweep(Turns, bars, grid, save=False, verify=0, workers=2)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
few = peak(dict(a=range(5, 15), b=range(20, 24)))
many = peak(dict(a=range(5, 30), b=range(100, 100 + int(sys.argv[1]) // 25)))
print(many - few)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory as Linux tells it")
def test_memory_does_not_grow_with_the_combinations(full: bool) -> None:
    """One result of each would be 0.8 MB: 200 MB here, 800 MB in the long form."""
    count = 1000 if full else 250
    command = [sys.executable, "-c", MEMORY, str(count)]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    assert int(out.stdout) < 100e6


def test_names_of_figures_are_columns(whole: q.Sweep) -> None:
    assert list(whole.table) == ["fast", "slow", "short", *NAMES, "error"]
    assert whole.table["trades"].dtype == np.int64
    assert all(math.isfinite(v) for v in whole.table["final_value"])


def test_sweep_without_a_place_to_write_says_where(msft: q.Bars, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WriteFailed, match=r"cannot write .*file"):
        q.sweep("macd", msft, dict(fast=[5]), data=tmp_path / "file")


def test_strategy_whose_valid_fails_is_named(msft: q.Bars) -> None:
    class Invalid(q.Strategy):
        params = dict(a=1)

        @staticmethod
        def valid(p: Any) -> bool:
            return bool(p.b)

        @staticmethod
        def signals(bars: q.Bars, p: Any) -> Any:
            return np.ones(len(bars))

    with pytest.raises(StrategyError, match="Invalid: valid raised AttributeError"):
        swept(Invalid, msft, dict(a=[1]))
