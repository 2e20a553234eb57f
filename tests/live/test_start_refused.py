"""A start that is refused leaves nothing behind, and one of a simulated TWS whose time has gone back says so."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from live_run import START, again, draft, filled, ledger, play, standings, tws

from quant.core.barsize import SECOND
from quant.errors import QuantError, SafetyStop
from quant.ib.contracts import ContractSpec
from quant.live.run.job import Job
from quant.live.run.lock_file import write

DAY = 86_400 * SECOND


def settled(picture: dict[str, Any]) -> bool:
    return bool(picture["settled"])


def named(job: Job, account: str) -> Job:
    """Return the job of a lock file that names an account, as a promotion may."""
    return replace(job, deployment=replace(job.deployment, account=account))


@pytest.mark.parametrize(
    ("account", "there", "told"),
    [
        ("DU1234568", "DU1234567", "TWS is logged in to DU1234567, not to DU1234568"),
        ("U7654321", "U7654321", "U7654321 is no paper account"),
    ],
)
def test_a_refused_start_leaves_nothing_and_a_corrected_one_begins(
    data: Path, account: str, there: str, told: str
) -> None:
    job = draft(data)
    with tws(account=there) as port, pytest.raises(SafetyStop, match=told):
        play(named(job, account), port, data, settled)
    assert not (data / "live").exists()
    job = named(job, "DU1234567")
    write(job.deployment, data / "deployments" / "flip-spy.lock.toml")
    with tws() as port:
        ended, lines = play(job, port, data, settled)
        assert ended.code == 0, lines
        ended, lines = play(job, port, data, settled)  # what the first run wrote is the deployment's
        assert ended.code == 0, lines


def test_a_start_without_its_contract_leaves_nothing(data: Path) -> None:
    job = replace(draft(data), specs=(ContractSpec("NOSUCH", currency="USD"),))
    with tws() as port, pytest.raises(QuantError, match="NOSUCH"):
        play(named(job, "DU1234567"), port, data, settled)
    assert not (data / "live").exists()


def test_a_tws_started_again_for_a_later_day_repeats_no_id(data: Path) -> None:
    job = draft(data)
    with tws() as port:
        first, told = play(job, port, data, filled(4))
    assert first.code == 0, told
    job = again(data, job)
    job = replace(job, deployment=replace(job.deployment, positions="adopt"))  # the new TWS holds nothing
    job = replace(job, adopt_prices=((job.deployment.contracts[0].con_id, 400.0),))
    with tws(start=START + DAY) as port:
        second, told = play(job, port, data, filled(8))
    assert (second.code, second.why) == (0, "stopped"), told
    held = standings(ledger(data, job))
    assert not any(s.oddities for s in held)
    perms = [perm for s in held for perm in s.perm_ids]
    stems = [fill.stem for s in held for fill in s.fills]
    assert len(perms) == len(set(perms)) >= 8
    assert len(stems) == len(set(stems)) >= 8


def test_a_tws_started_again_for_the_same_day_is_refused(data: Path) -> None:
    job = draft(data)
    with tws() as port:
        play(job, port, data, filled(4))
    job = again(data, job)
    before = len(ledger(data, job).runs)
    with tws() as port, pytest.raises(SafetyStop, match="It was started again") as e:
        play(job, port, data, settled)
    began = datetime.fromtimestamp(START // SECOND, UTC)
    assert f"the simulated TWS is at {began:%Y-%m-%d %H}" in str(e.value)
    assert "--start" in str(e.value)
    assert len(ledger(data, job).runs) == before
