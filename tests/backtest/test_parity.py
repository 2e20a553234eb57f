"""The engine's trial on a machine: what its 20 cases cover, what a difference does, where the answer is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quant as q
from quant.backtest import compiled, engine, parity
from quant.backtest.job import Job
from quant.backtest.recorder import Record
from quant.core.costs import Costs
from quant.errors import ParameterError


@pytest.fixture(scope="module")
def jobs() -> list[Job]:
    return [parity.case(seed) for seed in range(parity.CASES)]


@pytest.fixture(scope="module")
def records(jobs: list[Job]) -> list[Record]:
    return [compiled.run(job) for job in jobs]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine on which nothing was tried yet, and as before afterwards."""
    monkeypatch.setattr(parity, "cache_folder", lambda: tmp_path / "kernel")
    parity.difference_here.cache_clear()
    yield tmp_path / "kernel"
    parity.difference_here.cache_clear()


def kept(folder: Path) -> list[Path]:
    return list(folder.glob("parity-*.json"))


# ---------------------------------------------------------------- what the cases cover
def test_there_are_twenty_cases_of_which_each_can_run(jobs: list[Job]) -> None:
    assert len(jobs) == 20
    assert [compiled.not_covered(job) for job in jobs] == [None] * 20


@pytest.mark.parametrize(
    ("what", "values"),
    [
        (lambda j: j.sizing.kind, {"percent", "shares", "cash", "risk"}),
        (lambda j: j.costs.name.partition(":")[0], {"ib-fixed", "ib-tiered", "none", "percent"}),
        (lambda j: j.slippage is not None, {True, False}),
        (lambda j: j.borrow is not None, {True, False}),
        (lambda j: j.bars[0].bar.intraday, {True, False}),
        (
            lambda j: j.rules.no_entry_last is not None and j.rules.flat_before_close is not None,
            {True, False},
        ),
        (lambda j: j.start_rule, {"first-target", "next-change"}),
        (lambda j: (j.plans[0].exits, j.plans[0].follow_stop), {(False, False), (True, False), (True, True)}),
        (lambda j: {-1.0, 0.0, 1.0} <= set(j.plans[0].target.tolist()), {True}),
        (lambda j: bool(np.isnan(j.plans[0].target).any()), {True}),
    ],
    ids=[
        "sizing",
        "costs",
        "slippage",
        "borrow",
        "bars",
        "session",
        "start",
        "exits",
        "targets",
        "no opinion",
    ],
)
def test_every_rule_comes_up(what: Callable[[Job], Any], values: set[Any], jobs: list[Job]) -> None:
    assert {what(job) for job in jobs} == values


def test_every_kind_of_event_comes_up(records: list[Record]) -> None:
    orders = [o for r in records for o in r.orders]
    assert {o.kind for o in orders} == {"market", "stop", "limit"}
    assert {o.reason for o in orders} >= {"entry", "close", "stop", "limit"}
    assert {o.status for o in orders} >= {"filled", "cancelled", "rejected"}
    assert {o.quantity > 0 for o in orders} == {True, False}
    assert any(f.ambiguous for r in records for f in r.fills)
    assert any(r.wrong_side for r in records)
    assert any(r.borrowed for r in records)
    assert min(len(r.orders) for r in records) > 5


def test_cases_are_the_same_each_time(jobs: list[Job]) -> None:
    for seed in (0, 7, 19):
        again, job = parity.case(seed), jobs[seed]
        assert again.bars[0].fingerprint == job.bars[0].fingerprint
        assert isinstance(again.costs, Costs)
        assert (again.costs, again.sizing, again.rules, again.borrow) == (
            job.costs,
            job.sizing,
            job.rules,
            job.borrow,
        )
        for a, b in zip(again.plans or (), job.plans or (), strict=True):
            assert np.array_equal(a.target, b.target, equal_nan=True)


# ---------------------------------------------------------------- differences
def test_engine_that_is_right_has_no_difference() -> None:
    assert parity.first_difference(compiled.run) is None


@pytest.mark.parametrize(
    ("seed", "change", "named"),
    [
        (0, lambda f: replace(f, price=np.nextafter(f.price, np.inf)), "fill 5 is"),
        (7, lambda f: replace(f, commission=f.commission + 1e-9), "fill 5 is"),
        (19, lambda f: replace(f, bar=f.bar + 1), "fill 5 is"),
        (11, lambda f: replace(f, quantity=f.quantity + 1.0), "fill 5 is"),
    ],
)
def test_one_bit_in_one_fill_is_found(seed: int, change: Callable[[Any], Any], named: str) -> None:
    """The case is known by its bars, which are another random walk in each."""
    wrong = parity.case(seed).bars[0].fingerprint

    def run(job: Job) -> Record:
        record = engine.run(job, "compiled" if job.bars[0].fingerprint == wrong else "fast")
        if job.bars[0].fingerprint == wrong:
            record.fills[4] = change(record.fills[4])
        return record

    found = parity.first_difference(run)
    assert found is not None
    assert found.startswith(f"case {seed}: {named}")
    assert " in fast and " in found


@pytest.mark.parametrize("name", ["cash", "value"])
def test_one_bit_of_the_account_is_found(name: str) -> None:
    def run(job: Job) -> Record:
        record = compiled.run(job)
        column = list(getattr(record, name))
        column[-1] = float(np.nextafter(column[-1], 0.0))
        setattr(record, name, column)
        return record

    assert str(parity.first_difference(run)).startswith(f"case 0: {name} at ")


# ---------------------------------------------------------------- the answer
def counting(monkeypatch: pytest.MonkeyPatch, answer: str | None) -> list[int]:
    calls: list[int] = []

    def tried(_: Any) -> str | None:
        calls.append(1)
        return answer

    monkeypatch.setattr(parity, "first_difference", tried)
    return calls


def test_answer_is_kept_for_later_processes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counting(monkeypatch, None)
    for _ in range(3):
        assert parity.difference_here() is None
        parity.difference_here.cache_clear()  # as in a new process
    assert len(calls) == 1
    assert [json.loads(p.read_text()) for p in kept(folder)] == [{"difference": None}]


def test_another_processor_is_another_machine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counting(monkeypatch, None)
    parity.difference_here()
    parity.difference_here.cache_clear()
    monkeypatch.setattr(parity.llvm, "get_host_cpu_name", lambda: "another")
    parity.difference_here()
    assert len(calls) == len(kept(folder)) == 2


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"null", b"\xff\xfe"])
def test_damaged_answer_is_asked_again(content: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counting(monkeypatch, "fill 1")
    parity.difference_here()
    (file,) = kept(folder)
    file.write_bytes(content)
    parity.difference_here.cache_clear()
    assert parity.difference_here() == "fill 1"
    assert len(calls) == 2
    assert json.loads(file.read_text()) == {"difference": "fill 1"}


def test_folder_that_cannot_be_written_is_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write_text("in the way")
    calls = counting(monkeypatch, None)
    assert parity.difference_here() is None
    assert len(calls) == 1


# ---------------------------------------------------------------- a machine on which it differs
def test_difference_switches_compiled_off_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counting(monkeypatch, "case 3: fill 5 is another")
    bars = q.synthetic("SYN", "1d", "2020-01-02", "2020-06-30")
    with pytest.raises(
        ParameterError, match=r"engine = 'compiled': is switched off on this machine.*case 3: fill 5"
    ):
        q.sweep("macd", bars, dict(fast=[5]), engine="compiled", save=False)
    with pytest.raises(ParameterError, match=r"switched off on this machine.*Use \"fast\""):
        parity.require()


def test_difference_sends_auto_through_backtrader_with_a_finding(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = q.synthetic("SYN", "1d", "2020-01-02", "2020-06-30")
    grid = dict(fast=[5, 6], slow=[20])
    usual = q.sweep("macd", bars, grid, save=False, verify=0)
    assert usual.settings["engine"] == "compiled"
    parity.difference_here.cache_clear()
    for file in kept(folder):
        file.unlink()
    counting(monkeypatch, "case 3: fill 5 is another")
    sweep = q.sweep("macd", bars, grid, save=False, verify=0, workers=1)
    assert sweep.settings["engine"] == "fast"
    (finding,) = (f for f in sweep.findings if f.code == "not-compiled")
    assert "it differs from backtrader on this machine: case 3: fill 5 is another" in finding.message
    assert sweep.table["final_value"].tolist() == usual.table["final_value"].tolist()
