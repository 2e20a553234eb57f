"""Texts of the files that `quant init` and `quant new` write. No logic."""

from __future__ import annotations

from typing import Final

QUANT_TOML: Final = """\
# Settings of this project; quant.toml is found from any folder below it. quant.local.toml beside it (your own
# values, not committed), QUANT__SECTION__KEY and the command line win over it.
# `quant config show` lists every setting, its value and where that came from.

[project]
data = "data"

[ib]  # where TWS or IB Gateway is, for `quant data pull` and `quant doctor`
{ib}

[sweep]  # what `quant sweep` and `quant walkforward` use beside those of [backtest]
{sweep}

[promote]  # where the gates of `quant promote` stand
{promote}

[notify]  # who is told of `quant paper` and `quant live`; addresses that hold a secret belong into quant.local.toml
{notify}

[backtest]  # what `quant backtest` uses; scripts give these as arguments
{backtest}

# [params.macd]  # parameters of one strategy
# fast = 10
"""

GITIGNORE: Final = """\
/data/*
!/data/sample/
.lock
*.tmp
quant.local.toml
__pycache__/
.pytest_cache/
"""

README: Final = """\
# {name}

    quant backtest macd SPY                      # a strategy of strategies/ on bars of data/
    quant backtest macd SPY -p fast=10 --trades  # with another parameter, and its last trades
    python scripts/backtest.py                   # the same as a script
    quant runs list                              # what has been run; quant runs diff A B
    quant data pull SPY --bar 1d                 # bars from TWS or IB Gateway; --sim: from a simulated one
    quant data import my.csv --symbol XYZ --bar 1d --calendar XNYS
    quant new my_idea                            # a strategy with its test
    pip install pytest && python -m pytest       # the strategies' tests
    quant doctor                                 # is all as it should be?

data/sample holds a few bars to begin with (see its NOTICE.md); `quant data list` shows what there is.
Settings stand in quant.toml.
"""

TEST_STRATEGIES: Final = '''\
"""Each strategy of strategies/ runs on the sample bars, and sees no future: python -m pytest"""

from pathlib import Path

import pytest

import quant as q

ROOT = Path(__file__).resolve().parents[1]
NAMES = sorted(file.stem for file in (ROOT / "strategies").glob("[!_]*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_strategy_runs_and_sees_no_future(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # strategies are looked up from the current folder
    bars = q.bars("SPY", "1m", source="sample", data=ROOT / "data").resample("5m")
    run = q.backtest(name, bars, save=False)
    assert run.settings["look_ahead_ok"] is not False  # None: a plain backtrader strategy, which has no signals
'''

STRATEGY: Final = '''\
"""{title}."""

from __future__ import annotations

from typing import Any

import numpy as np

import quant as q
from quant.indicators import sma


class {class_name}(q.Strategy):
    """Long while the close is above its average of the last `period` bars, else flat.

    Replace this rule, and name here where yours comes from.
    """

    # Each can be set: quant backtest {name} SPY -p period=20
    params = dict(period=50)

    @staticmethod
    def valid(p: Any) -> bool:
        """Parameters for which this is False are refused."""
        return bool(p.period >= 2)

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the wanted exposure after each bar's close: 1 long, 0 flat, -1 short, NaN no opinion.

        bars.open, high, low, close and volume are arrays. Row i may depend on bars up to i only: an order
        that follows from it fills at the open of bar i + 1.
        """
        average = sma(bars.close, p.period)
        wanted = np.where(bars.close > average, 1.0, 0.0)
        return np.where(np.isnan(average), np.nan, wanted)
'''

TEST_STRATEGY: Final = '''\
"""{class_name} on the sample bars: python -m pytest tests/test_{name}.py"""

from pathlib import Path

import pytest

import quant as q

ROOT = Path(__file__).resolve().parents[1]


def test_{name}_trades_and_sees_no_future(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # strategies are looked up from the current folder
    run = q.backtest("{name}", q.bars("SPY", "1d", source="sample", data=ROOT / "data"), save=False)
    assert run.settings["look_ahead_ok"]
    assert len(run.fills) > 0
'''
