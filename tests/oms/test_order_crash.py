"""kill -9 of a deployment at every failpoint and at random: nothing lost, nothing doubled, one position.

The bulk dies inside this process (Joined.kill: the next process gets a copy of the files as they were); a share are
processes of their own that trade over sockets and are killed by the system. CI / --full: 220 and 12 / 10,000 and 200.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from crash_play import AT_RANDOM, modifying, play

from quant.core.orders import Commission
from quant.oms import failpoints
from quant.oms.journal.journal import Journal
from tests.oms.supervisor import supervise
from tests.oms.trader import OWNER


@pytest.mark.parametrize("place", failpoints.NAMES)
def test_nothing_is_lost_or_doubled_killed_at(place: str, tmp_path: Path, full: bool) -> None:
    wanted = 200 if full else 10
    done = 0
    for seed in range(wanted):
        joined = play(tmp_path / str(seed), seed, min(10, wanted - done), place)
        done += joined.kills[place]
        if done >= wanted:
            break
    assert done >= wanted


def test_nothing_is_lost_or_doubled_killed_anywhere(tmp_path: Path, full: bool) -> None:
    wanted, done, seed = (10_000 if full else 140), 0, 1000
    while done < wanted:
        joined = play(tmp_path / str(seed), seed, 20)
        done += sum(joined.kills.values())
        seed += 1


@pytest.mark.parametrize("seed", [5187, 5241])  # once: exits sent again and again for an entry that was over
def test_seeds_that_once_failed(seed: int, tmp_path: Path) -> None:
    play(tmp_path / str(seed), seed, 20)


@pytest.mark.parametrize("exits", [1, 2])
def test_one_order_at_the_price_wanted_last_wherever_a_modification_is_killed(
    exits: int, tmp_path: Path
) -> None:
    places = modifying(tmp_path, exits)
    begun = ["before_commit", "after_commit"]  # of both exits together
    each = ["before_send", "after_send", "before_commit", "after_commit"]
    told = ["callback_before_commit", "callback_after_commit"]  # what TWS says of it
    assert places[: 2 + 4 * exits + 2] == [*begun, *exits * each, *told]


@pytest.mark.parametrize("again", [1, 2, 3, 5, 8])
def test_the_same_where_the_next_process_is_killed_too(again: int, tmp_path: Path) -> None:
    assert len(modifying(tmp_path, 1, again=again)) >= 8


def test_nothing_is_lost_or_doubled_when_the_system_kills_a_process(tmp_path: Path, full: bool) -> None:
    told = supervise(tmp_path, seed=1, kills=200 if full else 12)
    assert told.wrong == []
    assert told.kills >= (200 if full else 12)
    assert told.orders > 0


def test_what_is_known_in_memory_is_what_a_restart_reads(tmp_path: Path) -> None:
    """Found by row O4: a corrected fill told a profit of -0.0, which the disk has as 0.0."""
    with Journal.open(tmp_path / "j", **OWNER, create=True) as journal:
        journal.begin_run({}, 0, client_id=7)
        facts = journal.add_reports([Commission("a.01", 1.0, "USD", -0.0)], 1)
        assert repr(facts) == repr(journal.load().facts)
    assert AT_RANDOM not in failpoints.NAMES
