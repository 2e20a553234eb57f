"""Promotion on small data: evidence is collected, locks are written whole or not at all, what changed is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from promoted import (
    CROSS,
    GOOD,
    QUICK,
    RULE,
    SLIPPAGE,
    backtest,
    forget,
    locks,
    name_of,
    outcomes,
    paper,
    sentence,
)

import quant as q
from quant.errors import (
    ConfigError,
    DamagedData,
    DataError,
    ParameterError,
    QuantError,
    RunNotFound,
    StrategyError,
)
from quant.live.run.deployment import check_same, check_sealed, lock_path
from quant.live.run.examined import check_history
from quant.live.run.lock_file import read
from quant.promotion.gates import evidence, promote, to_live, to_paper
from quant.promotion.gates.rules import FIRM
from quant.promotion.gates.subject import subject
from quant.promotion.gates.values import Charged, OutOfSample
from quant.research import ledger
from quant.research.walk_forward.kept import kept
from quant.store import Store
from quant.strategy import parameters, strategy


# ---------------------------------------------------------------- evidence
def test_a_run_is_examined_and_what_is_held_leaves_nothing_behind(data: Path) -> None:
    run = backtest(data, bar="1m")
    said: list[str] = []
    found = to_paper(name_of(run), data, thresholds=QUICK, contracts={"SPY": "756733"}, say=said.append)
    assert outcomes(found) == {
        **dict.fromkeys(promote._NAMES["paper"], "pass"), "out-of-sample": "not run", "deflated-sharpe": "held",
    }  # fmt: skip
    assert (found.ok, found.held, found.lock) == (False, ("out-of-sample", "deflated-sharpe"), None)
    assert locks(data) == []
    assert f"{run.metrics['trades']:,} closed trades" in sentence(found, "trades")
    assert "quant walkforward cross SPY --bar 1m" in sentence(found, "out-of-sample")
    assert "equal to the cent over 59 bars" in sentence(found, "rehearsal")  # one begins after the close
    assert said == ["checks", "rehearsal", "rehearsal under faults"]
    assert "NOT PROMOTED, no lock file was written: out-of-sample, deflated-sharpe" in str(found)


def test_evidence_says_what_is_wrong_with_a_careless_run(data: Path) -> None:
    (data.parent / "strategies" / "rule.py").write_text(
        "import numpy as np\ndef above(close, line):\n"
        "    return np.where(np.append(close[1:], close[-1:]) > line, 1.0, -1.0)\n"
    )
    run = backtest(data, "2018-01-01", "2018-06-30", costs="none", slippage=None)
    found = to_paper(name_of(run), data, thresholds=QUICK)
    held = {"look-ahead", "costs", "limits", "contract"}  # the future, nothing paid, shorts, bars of nobody
    assert held <= {name for name, outcome in outcomes(found).items() if outcome == "held"}
    assert "short" in sentence(found, "limits")
    assert "--contract SPY=CON_ID" in sentence(found, "contract")


def test_what_cannot_be_rehearsed_is_not_run(data: Path) -> None:
    (data.parent / "strategies" / "plain.py").write_text(
        "import backtrader as bt\nclass Plain(bt.Strategy):\n    def next(self):\n"
        "        (self.close if self.position else self.buy)()\n"
    )
    run = q.backtest("plain", q.bars("SPY", data=data)[:60], sizing="shares:1", data=data)
    found = to_paper(name_of(run), data, contracts={"SPY": "756733"})
    not_run = {name for name, outcome in outcomes(found).items() if outcome == "not run"}
    assert {"look-ahead", "warm-up", "rehearsal", "faults"} <= not_run
    assert "a plain bt.Strategy" in sentence(found, "rehearsal")


@pytest.mark.parametrize("trials", [40, 4])
def test_deflated_sharpe_counts_the_ledger_of_trials(trials: int, data: Path) -> None:
    """Against Bailey and Lopez de Prado, The Deflated Sharpe Ratio (2014), eq. 1 and 2, written out here.

    Its V of few trials is that of independent ones: 1 / (T - 1), Lo (2002).
    """
    bars = q.bars("SPY", data=data)
    q.sweep("cross", bars, {"days": list(range(12, 12 + trials))}, slippage=SLIPPAGE, data=data, workers=1)
    run = backtest(data, params={"days": 12})
    promotion = to_paper(name_of(run), data, thresholds=QUICK)
    known = ledger.counts(data / "sweeps" / ledger.NAME, "strategies.cross:Cross", "STK/SPY.ARCA", "1d")
    returns = run.returns.to_numpy()
    sr, n = returns.mean() / returns.std(ddof=1), len(returns)
    normal, gamma = NormalDist(), float(np.euler_gamma)
    spread = np.sqrt(known.sharpe_variance if trials >= 10 else 1 / (n - 1))
    luck = spread * (
        (1 - gamma) * normal.inv_cdf(1 - 1 / trials) + gamma * normal.inv_cdf(1 - 1 / (trials * np.e))
    )
    z = (returns - returns.mean()) / returns.std()
    skew, kurtosis = (z**3).mean(), (z**4).mean()
    wanted = normal.cdf(
        float((sr - luck) * np.sqrt(n - 1) / np.sqrt(1 - skew * sr + (kurtosis - 1) / 4 * sr**2))
    )
    gate = next(g for g in promotion.gates if g.name == "deflated-sharpe")
    assert known.count == trials
    assert f"all {trials} trials" in gate.sentence
    assert "how far apart the Sharpe ratios of the trials are" in str(promotion)
    assert gate.value == pytest.approx(wanted, abs=2e-3)  # moments with other corrections for their bias


# ---------------------------------------------------------------- costs
def test_costs_are_held_against_what_ib_would_have_charged(data: Path) -> None:
    """IB's page: 0.005 a share, at least 1.00, at most 1 % (fixed); 0.0035, 0.35 and 1 % (tiered)."""
    run = backtest(data, "2018-01-01", "2018-06-30", costs="percent:0.000001", sizing="shares:100")
    found = charged(data, run)
    sizes = run.fills["quantity"].abs()
    assert (found.plan, found.unknown) == ("ib-tiered", ())
    assert found.amount == pytest.approx(np.maximum(0.35, sizes * 0.0035).sum())
    assert found.paid == pytest.approx((sizes * run.fills["price"]).sum() * 1e-8)
    run = backtest(data, "2018-01-01", "2018-06-30", sizing="shares:300")  # 1.50 and 1.05 an order
    found = charged(data, run)
    assert (found.plan, found.paid / found.amount) == ("ib-tiered", pytest.approx(1.5 / 1.05))


def test_costs_of_what_has_no_plan_are_not_compared(data: Path) -> None:
    sample = q.bars("SPY", data=data)
    changes: tuple[dict[str, Any], ...] = ({"currency": "CHF"}, {"sec_type": "FUT"})
    for number, change in enumerate(changes):
        bars = replace(sample, source=f"mine{number}", instrument=replace(sample.instrument, **change))
        Store(data).write(bars, {"kind": "test", "at": "2024-01-01T00:00:00+00:00"})
        mine = q.bars("SPY", source=f"mine{number}", data=data)
        run = q.backtest("cross", mine, costs="percent:0.01", slippage=SLIPPAGE, data=data)
        found = charged(data, run)
        assert (found.plan, found.unknown, found.paid > 0.0) == ("", ("SPY",), True)


def charged(data: Path, run: q.Run) -> Charged:
    return evidence._charged(subject(name_of(run), data))


# ---------------------------------------------------------------- out of sample
def walked(data: Path, **changes: Any) -> q.WalkForward:
    given = {"grid": {"days": [5, 10]}, "slippage": SLIPPAGE, "test": 100, **changes}
    return q.walk_forward("cross", q.bars("SPY", data=data), train=200, workers=1, data=data, **given)


def outside(data: Path, given: str) -> OutOfSample | None:
    return seen_outside(data, given)[0]


def seen_outside(data: Path, given: str) -> tuple[OutOfSample | None, str]:
    return evidence._outside(subject(given, data), data)


def test_a_walk_forward_of_the_same_is_found(data: Path) -> None:
    given = name_of(backtest(data))
    assert outside(data, given) is None
    walked(data, costs="none")
    walked(data, slippage=None)
    assert outside(data, given) is None, "other costs prove nothing"
    walk = walked(data)
    found = outside(data, given)
    assert walk.folder is not None
    assert found is not None
    assert (found.kind, found.name, found.sharpe) == ("walk-forward", walk.folder.name, walk.verdict.sharpe)
    assert (found.sessions, found.last) == (len(walk.returns), "2018-12-31")
    file = walk.folder / "walk_forward.json"
    file.write_text(file.read_text().replace('"windows": 4', '"windows": 9'))
    assert outside(data, given) is None, "an edited one proves nothing"


@pytest.mark.parametrize(
    ("grid", "told"),
    [
        (
            {"days": [10]},
            "tried one combination alone, so nothing was chosen: it is a backtest of bars that the choice",
        ),
        ({"days": [5, 7]}, "never tried days=10"),
        (
            {"days": [10], "note": [1, 2, 3]},
            "tried 3 combinations, but in no training span did two of them give different results, so nothing was",
        ),
    ],
)
def test_a_walk_forward_that_chose_nothing_or_something_else_proves_nothing(
    grid: dict[str, list[int]], told: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `note` changes nothing.
    (data.parent / "strategies" / "cross.py").write_text(CROSS.replace("(days=10)", "(days=10, note=1)"))
    given = name_of(backtest(data))
    walk = walked(data, grid=grid)
    assert walk.folder is not None
    none, why = seen_outside(data, given)
    assert none is None
    assert why.startswith(f"walk-forward {walk.folder.name} {told}")
    good = walked(data)
    assert good.folder is not None
    # A newer one that proves nothing takes nothing away.
    monkeypatch.setattr(
        evidence, "kept", lambda _: sorted(kept(data), key=lambda one: one[0] != walk.folder.name)
    )
    seen = outside(data, given)
    assert seen is not None
    assert seen.name == good.folder.name


def test_a_later_run_of_the_same_parameters_is_found(data: Path) -> None:
    early = name_of(backtest(data, "2017-01-01", "2017-12-31"))
    backtest(data, "2018-01-01", "2018-12-31", params={"days": 11})
    backtest(data, "2017-06-01", "2018-12-31")  # saw what was chosen on
    assert outside(data, early) is None
    short = backtest(data, "2018-01-01", "2018-02-28")
    later = backtest(data, "2018-01-01", "2018-12-31")
    found = outside(data, early)
    assert found is not None
    assert (found.name, found.sharpe, found.sessions) == (name_of(later), later.metrics["sharpe"], 251)
    assert later.folder is not None
    (later.folder / "metrics.json").write_text((later.folder / "metrics.json").read_text() + " ")
    found = outside(data, early)
    assert found is not None
    assert found.name == name_of(short)


# ---------------------------------------------------------------- the lock
@pytest.mark.usefixtures("good")
def test_the_lock_says_all_that_was_examined(data: Path) -> None:
    run = backtest(data, params={"days": 7}, sizing="shares:10", cash=50_000.0)
    found = to_paper(
        name_of(run), data, contracts={"SPY": "756733:SPY US"}, limits={"shorts": True, "max_gross": 7e4}, name="mine",
    )  # fmt: skip
    assert (found.ok, found.held, found.lock) == (True, (), lock_path(data, "mine"))
    lock = read(lock_path(data, "mine"))
    (contract,) = lock.contracts
    (bars,) = lock.history
    assert (lock.strategy, lock.class_name, lock.params, lock.bar) == ("cross", "Cross", {"days": 7}, "1d")
    assert set(lock.sources) == {"strategies.cross", "strategies.rule"}
    assert (contract.symbol, contract.con_id, contract.currency) == ("SPY US", 756733, "USD")
    assert (lock.account, lock.capital, lock.sizing, lock.costs) == ("", 50_000.0, "shares:10.0", "ib-fixed")
    assert (lock.history_start, lock.start_rule, lock.run) == ("2017-01-03", "next-change", name_of(run))
    assert lock.limits == {"max_notional": 75_000.0, "max_gross": 7e4, "daily_loss": 0.02, "shorts": True}
    assert (bars.symbol, bars.source, bars.rows) == ("SPY", "sample", 502)
    assert bars.fingerprint == q.bars("SPY", data=data).fingerprint
    assert {"backtrader", "TA-Lib", "numpy"} <= set(lock.versions)
    assert [(g.stage, g.name, g.outcome) for g in lock.gates] == [
        ("paper", name, "pass") for name in promote._NAMES["paper"]
    ]
    path = lock_path(data, "mine")
    cls = strategy(lock.strategy)
    check_sealed(lock, path)
    check_history(lock, data, path)
    check_same(lock, cls, parameters(cls, lock.params), path)
    assert found.to_dict()["deployment"] == "mine"


@pytest.mark.usefixtures("good")
def test_a_deployment_is_never_written_over(data: Path) -> None:
    paper(data)
    before = lock_path(data, "cross-spy-1d").read_bytes()
    with pytest.raises(ConfigError, match="--name cross-spy-1d-2"):
        paper(data, capital=1.0)
    assert lock_path(data, "cross-spy-1d").read_bytes() == before


@pytest.mark.usefixtures("good")
def test_a_row_of_a_sweep_becomes_one_run(data: Path) -> None:
    sweep = q.sweep(
        "cross", q.bars("SPY", data=data), {"days": [5, 10]}, slippage=SLIPPAGE, data=data, workers=1
    )
    assert sweep.folder is not None
    given = {"contracts": {"SPY": "1"}}
    first = to_paper(sweep.folder.name, data, row=1, name="a", **given)
    assert first.deployment.params == {"days": 10}
    again = to_paper(sweep.folder.name, data, row=1, name="b", **given)
    assert again.deployment.run == first.deployment.run
    best = to_paper(sweep.folder.name, data, name="c", **given)
    assert best.deployment.params == sweep.best("sharpe")
    with pytest.raises(ParameterError, match="rows 0 to 1"):
        to_paper(sweep.folder.name, data, row=2, name="d", **given)
    there = {path.name for path in (data / "runs").iterdir()}
    assert there == {first.deployment.run, best.deployment.run}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"capital": -1.0}, "positive"), ({"limits": {"max_gros": 1.0}}, "no such limit"),
        ({"name": "A B"}, "orderRef"),
    ],
)  # fmt: skip
def test_of_what_is_mistyped_no_row_becomes_a_run(data: Path, changes: dict[str, Any], told: str) -> None:
    sweep = q.sweep(
        "cross", q.bars("SPY", data=data), {"days": [5, 10]}, slippage=SLIPPAGE, data=data, workers=1
    )
    assert sweep.folder is not None
    with pytest.raises(ParameterError, match=told):
        to_paper(sweep.folder.name, data, row=1, **changes)
    assert not list((data / "runs").glob("*"))


# ---------------------------------------------------------------- overriding
def test_what_held_passes_with_a_reason_that_is_kept(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promote, "collect", lambda *a, **k: replace(GOOD, trades=1, outside=None))
    assert paper(data, overrides={"trades": "a slow one"}).held == ("out-of-sample",)
    assert locks(data) == []
    found = paper(
        data, overrides={"trades": "a slow one", "out-of-sample": "paper is it", "costs": "not needed"}
    )
    assert found.lock is not None
    said = {g.name: (g.outcome, g.override) for g in read(found.lock).gates if g.override}
    assert said == {"trades": ("held", "a slow one"), "out-of-sample": ("not run", "paper is it")}
    assert "overridden: a slow one" in str(found)


@pytest.mark.parametrize("gate", sorted(FIRM))
def test_some_gates_no_reason_opens(gate: str, data: Path) -> None:
    stage: Any = to_live if gate == "halt" else to_paper
    with pytest.raises(ParameterError, match="cannot be overridden"):
        stage("x", data, *(["U1"] if gate == "halt" else []), overrides={gate: "please"})


@pytest.mark.parametrize(
    ("given", "told"), [({"trade": "x"}, "no such gate; there are look-ahead"), ({"trades": " "}, "needs a reason")]
)  # fmt: skip
def test_an_override_that_cannot_be(given: dict[str, str], told: str, data: Path) -> None:
    with pytest.raises(ParameterError, match=told):
        to_paper("x", data, overrides=given)


# ---------------------------------------------------------------- bad input: nothing is written
def refused(data: Path, given: str, **changes: Any) -> QuantError:
    with pytest.raises(QuantError) as e:
        to_paper(given, data, **{"contracts": {"SPY": "756733"}, **changes})
    assert locks(data) == []
    return e.value


@pytest.mark.usefixtures("good")
def test_a_run_that_was_edited(data: Path) -> None:
    run = backtest(data)
    assert run.folder is not None
    file = run.folder / "run.json"
    before = file.read_text()
    file.write_text(before.replace('"days": 10', '"days": 11'))
    found = refused(data, name_of(run))
    assert isinstance(found, DamagedData)
    assert "run.json has changed" in str(found)
    (run.folder / "manifest.json").unlink()  # a run of before there were seals
    assert "it gives other results" in str(refused(data, name_of(run)))
    file.write_text(before)
    assert to_paper(name_of(run), data, contracts={"SPY": "1"}).ok


@pytest.mark.usefixtures("good")
def test_a_strategy_that_changed_or_is_gone(data: Path) -> None:
    given, folder = name_of(backtest(data)), data.parent / "strategies"
    (folder / "rule.py").write_text(RULE + "\n")
    found = refused(data, given)
    assert isinstance(found, StrategyError)
    assert "strategies.rule" in str(found)
    (folder / "rule.py").write_text(RULE)
    (folder / "cross.py").unlink()
    forget()
    assert "there is no module strategies.cross" in str(refused(data, given))


@pytest.mark.usefixtures("good")
def test_a_strategy_that_is_gone_is_not_taken_from_another_project(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = backtest(data)
    other = data.parent / "other" / "strategies"  # a clone whose folder is on Python's path, say
    shutil.copytree(data.parent / "strategies", other)
    monkeypatch.syspath_prepend(str(other.parent))
    (data.parent / "strategies" / "cross.py").unlink()
    (data.parent / "strategies" / "rule.py").unlink()
    forget()
    found = refused(data, name_of(run))
    assert isinstance(found, StrategyError)
    assert "is gone" in str(found)
    assert str(other / "cross.py") in str(found)


@pytest.mark.usefixtures("good")
def test_bars_that_changed_or_are_gone(data: Path) -> None:
    bars = replace(q.bars("SPY", data=data), source="mine")
    Store(data).write(bars, {"kind": "test", "at": "2024-01-01T00:00:00+00:00"})
    run = q.backtest("cross", q.bars("SPY", source="mine", data=data), slippage=SLIPPAGE, data=data)
    found = to_paper(name_of(run), data, contracts={"SPY": "1"}, name="mine")
    assert found.lock is not None
    lock = read(found.lock)
    late = replace(bars[:1], start=bars.start[-1:] + 86_400 * 10**9)
    Store(data).write(late, {"kind": "test", "at": "2024-01-02T00:00:00+00:00"})
    check_history(lock, data, found.lock)  # what comes later is no change
    other = replace(bars[5:6], close=bars.close[5:6] - 0.01)
    Store(data).write(other, {"kind": "test", "at": "2024-01-03T00:00:00+00:00"})
    with pytest.raises(ConfigError, match=r"history.SPY: the 502 bars that were examined have changed since"):
        check_history(lock, data, found.lock)
    found.lock.unlink()
    Store(data).remove(Store(data).find("SPY", "1d", source="mine"))
    with pytest.raises(ConfigError, match="cannot be read any more"):
        check_history(lock, data, found.lock)
    told = refused(data, name_of(run))
    assert isinstance(told, DataError)
    assert "not in the store" in str(told)


@pytest.mark.usefixtures("good")
def test_what_no_deployment_can_be(data: Path) -> None:
    plain = backtest(data)
    own = backtest(data, costs=lambda quantity, price: 1.0)
    assert "are code" in str(refused(data, name_of(own)))
    two = q.backtest(
        "cross", [q.bars("SPY", data=data), q.bars("MSFT", start="2017-01-01", data=data).resample("1w")], data=data
    )  # fmt: skip
    assert "one size and kind" in str(refused(data, name_of(two)))
    given = name_of(plain)
    assert isinstance(refused(data, "nothing"), RunNotFound)
    for changes, told in (
        ({"contracts": {"SPX": "1"}}, "no such symbol"), ({"contracts": {"SPY": "spy"}}, "SYMBOL=756733"),
        ({"account": "U123"}, "is no paper account"), ({"capital": -1.0}, "positive"), ({"name": "A B"}, "orderRef"),
        ({"limits": {"max_gros": 1.0}}, "no such limit"), ({"history_start": "soon"}, "session's date"),
        ({"history_start": "2016-01-01"}, "go from 2017-01-03"), ({"row": 1}, "no sweep"),
    ):  # fmt: skip
        assert told in str(refused(data, given, **changes))
