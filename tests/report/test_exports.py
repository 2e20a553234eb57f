"""run.returns goes straight into quantstats and pyfolio-reloaded, and they find our figures."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import pytest

import quant as q

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def spy() -> q.Run:
    """Two years of the sample: 251 sessions each."""
    return q.backtest("macd", q.bars("SPY", data=ROOT / "data"), params={"short": True}, save=False)


@pytest.fixture
def others(request: pytest.FixtureRequest) -> None:
    """Leave the test out where the programs are not installed, unless they are required."""
    absent = [n for n in ("quantstats", "pyfolio") if importlib.util.find_spec(n) is None]
    if absent and request.config.getoption("--exports") == "auto":
        pytest.skip(f"not installed: {', '.join(absent)}")


@pytest.mark.exports
@pytest.mark.usefixtures("others")
def test_quantstats_finds_our_figures(spy: q.Run) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other people's code and its libraries
        import quantstats

        r = spy.returns
        assert quantstats.stats.sharpe(r, periods=251) == pytest.approx(spy.metrics["sharpe"], rel=1e-12)
        assert quantstats.stats.sortino(r, periods=251) == pytest.approx(spy.metrics["sortino"], rel=1e-12)
        assert quantstats.stats.comp(r) == pytest.approx(spy.metrics["total_return"], rel=1e-9)
        assert quantstats.stats.max_drawdown(r) == pytest.approx(spy.metrics["max_drawdown"], rel=1e-9)
        table = quantstats.reports.metrics(r, mode="full", display=False)
    assert str(table.loc["Start Period"].iloc[0]) == "2017-01-03"
    assert str(table.loc["End Period"].iloc[0]) == "2018-12-31"


@pytest.mark.exports
@pytest.mark.usefixtures("others")
def test_pyfolio_finds_our_figures(spy: q.Run) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pyfolio

        found = pyfolio.timeseries.perf_stats(spy.returns)
        worst = pyfolio.timeseries.gen_drawdown_table(spy.returns, top=1)
    assert found["Cumulative returns"] == pytest.approx(spy.metrics["total_return"], rel=1e-9)
    assert found["Max drawdown"] == pytest.approx(spy.metrics["max_drawdown"], rel=1e-9)
    of_252_days = spy.metrics["sharpe"] * (252 / 251) ** 0.5  # its year; New York had 251 sessions in both
    assert found["Sharpe ratio"] == pytest.approx(of_252_days, rel=1e-9)
    assert worst["Net drawdown in %"].iloc[0] == pytest.approx(-100 * spy.metrics["max_drawdown"], rel=1e-9)
