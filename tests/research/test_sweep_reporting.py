"""The page of a sweep: its figures are those of the sweep, and what lacks is said."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import quant as q
from quant.errors import ParameterError, WriteFailed
from quant.metrics import NAMES
from quant.report.sweep import METRICS
from quant.report.words import number
from quant.research.reporting import sweep_content, write_sweep_report
from quant.research.result import LOW_IS_GOOD

GRID = {"fast": [5, 8, 12], "slow": [20, 26], "signal": [9]}


class Fussy(q.Strategy):
    params = dict(length=10)

    @staticmethod
    def signals(bars: q.Bars, p: object) -> np.ndarray:
        if p.length != 10:  # type: ignore[attr-defined]
            raise ValueError("ten or nothing")
        return bars.close > q.indicators.sma(bars.close, 10)


@pytest.fixture(scope="module")
def bars() -> q.Bars:
    return q.synthetic("AAA", "1d", "2019-01-01", "2021-06-30", seed=1)


@pytest.fixture(scope="module")
def made(bars: q.Bars) -> q.Sweep:
    return q.sweep("macd", bars, GRID, save=False, verify=1)


@pytest.fixture(scope="module")
def several(bars: q.Bars) -> q.Sweep:
    other = q.synthetic("BBB", "1d", "2020-01-01", "2021-06-30", seed=5)
    return q.sweep("macd", {"AAA": bars, "BBB": other}, GRID, save=False, verify=0)


def test_content_is_the_sweep(made: q.Sweep) -> None:
    found = sweep_content(made)
    assert found.name == "MacdCross on AAA 1d, 2019-01-02 to 2021-06-30"
    assert set(found.table) == {*GRID, *NAMES, "error"}
    for name in (*GRID, *NAMES):
        assert found.table[name].tobytes() == made.table[name].to_numpy().tobytes()
    verdict = made.verdict()
    assert (found.verdict, found.luck) == (verdict.word, verdict.expected)
    assert found.text.lower() in verdict.text.lower()
    assert not found.text.lower().startswith(verdict.word)  # the badge says it
    facts = {name: value for name, value, _ in found.facts}
    assert facts["Trials"] == "6 here"
    assert facts["Expected best of pure luck"] == f"{verdict.expected:.2f}"
    assert facts["t-statistic"] == number(verdict.t_statistic, ".1f")
    assert facts["Record"].startswith("2.5 years, ")
    assert "1 combination run again by backtrader" in found.verified
    assert all(told.endswith(".") and told[0].isupper() for _, _, told in found.facts)


def test_halves_are_sharpe_ratios_of_the_two_halves(made: q.Sweep) -> None:
    halves = sweep_content(made).halves
    assert halves is not None
    sessions = len(made.returns)  # odd: the second half has the one in the middle
    assert sessions % 2 == 1
    for column, part in enumerate((made.returns[: sessions // 2], made.returns[sessions // 2 :])):
        # The definition, on one row: mean over standard deviation (n - 1), by the root of periods a year.
        wanted = np.mean(part[:, 4]) / np.std(part[:, 4], ddof=1) * math.sqrt(made.periods_per_year)
        assert halves[4, column] == pytest.approx(wanted, rel=1e-9)


def test_ranks_of_page_and_best_row_agree_for_every_figure(made: q.Sweep) -> None:
    assert {n for n, m in METRICS.items() if m.best == "lowest"} == LOW_IS_GOOD
    for metric in NAMES:
        if np.isfinite(made.table[metric]).any():
            assert made.top(metric).index[0] == made.best_row(metric)


def test_another_metric_has_no_line_of_luck_and_says_so(made: q.Sweep, tmp_path: Path) -> None:
    found = sweep_content(made, "calmar")
    assert (found.metric, math.isnan(found.luck)) == ("calmar", True)
    assert "not of calmar" in found.notes[0]
    with pytest.raises(ParameterError, match="metric = 'sharp'"):
        made.report(tmp_path / "x.html", metric="sharp")


def test_several_symbols_are_judged_together(several: q.Sweep) -> None:
    found = sweep_content(several)
    best = several.table["sharpe"].idxmax()
    symbol = several.table["symbol"][best]
    assert found.text.startswith(f"The best of 2 symbols is {symbol}; the trials on all of them count.")
    assert list(found.table["symbol"]) == ["AAA"] * 6 + ["BBB"] * 6
    facts = {name: value for name, value, _ in found.facts}
    assert facts["Trials"] == "12 here"
    assert {facts["AAA"], facts["BBB"]} <= {"luck", "unclear", "edge"}
    assert several.verdict().trials == 12
    assert several.verdict().expected > several.sweeps[symbol].verdict().expected  # more was tried
    assert math.isnan(found.luck)
    assert "records differ in length" in found.notes[0]
    assert found.halves is not None
    assert found.halves.shape == (12, 2)


def test_trials_of_every_symbol_and_of_earlier_sweeps_count(bars: q.Bars, tmp_path: Path) -> None:
    other = q.synthetic("BBB", "1d", "2020-01-01", "2021-06-30", seed=5)
    q.sweep("macd", other, {"fast": [3, 4], "slow": [40, 50]}, data=tmp_path, verify=0)
    made = q.sweep("macd", {"AAA": bars, "BBB": other}, GRID, data=tmp_path, verify=0)
    assert [s.trials for s in made.sweeps.values()] == [6, 4 + 6]
    assert made.trials == made.verdict().trials == 6 + 4 + 6
    assert [f[1] for f in sweep_content(made).facts if f[0] == "Trials"] == ["12 here, 16 ever"]


def test_rows_of_several_symbols_know_whose_they_are(several: q.Sweep) -> None:
    assert several.best("sharpe", "BBB") == several.sweeps["BBB"].best("sharpe")
    for call in (lambda: several.best("sharpe"), lambda: several.run({"fast": 5})):
        with pytest.raises(ParameterError, match=r"symbol"):
            call()
    with pytest.raises(ParameterError, match="name one of AAA, BBB"):
        several.best("sharpe", "CCC")
    run = several.run(7, save=False)  # the second of BBB
    assert run.settings["bars"][0]["name"] == "BBB"
    assert run.metrics["final_value"] == several.table["final_value"][7]


def test_all_failed_is_a_page_too(bars: q.Bars, tmp_path: Path) -> None:
    made = q.sweep(Fussy, bars, {"length": [3, 4]}, save=False)
    found = sweep_content(made)
    assert (found.failed, found.verdict, found.halves) == (2, "unclear", None)
    assert "ten or nothing" in found.table["error"][0]
    assert made.report(tmp_path).read_text(encoding="utf-8").count("ten or nothing") > 1
    assert "no combination has a sharpe" in repr(made)


def test_one_combination_is_a_page_too(bars: q.Bars, tmp_path: Path) -> None:
    made = q.sweep("macd", bars, {"fast": 5}, save=False, verify=0)
    assert "Probabilistic Sharpe ratio" in made.report(tmp_path / "x.html").read_text(encoding="utf-8")
    assert sweep_content(made).verified == "No row was run again in backtrader."


# ---------------------------------------------------------------- the file
def test_the_page_goes_into_the_folder_or_where_it_is_wanted(bars: q.Bars, tmp_path: Path) -> None:
    made = q.sweep("macd", bars, GRID, data=tmp_path / "data", verify=0)
    assert made.folder is not None
    assert made.report() == made.folder / "report.html"
    before = made.report().read_bytes()
    assert made.report(tmp_path / "x.html") == tmp_path / "x.html"
    assert q.load_sweep(made.folder).report().read_bytes() == before
    with pytest.raises(WriteFailed, match="cannot write"):
        made.report(tmp_path / "nowhere" / "x.html")


def test_without_a_folder_a_file_has_to_be_named(made: q.Sweep, several: q.Sweep) -> None:
    with pytest.raises(ParameterError, match=r"name a file: sweep.report\('sweep.html'\)"):
        write_sweep_report(made)
    with pytest.raises(ParameterError, match=r"sweep.sweeps\[symbol\].report"):
        write_sweep_report(several)
