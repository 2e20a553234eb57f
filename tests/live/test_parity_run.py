"""`quant parity` of a deployment that traded at the simulated TWS: the bars are pulled anew while it might run."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from live_run import SPEED, Jumping, again, draft, filled, play, tws

from quant.app.cli import cli
from quant.core.barsize import SECOND
from quant.ib import pacing
from quant.live.run import tape
from quant.live.run.control import JOURNAL
from quant.live.run.deployment import live_folder
from quant.live.run.shadow import WITHHELD
from quant.live.run.tape import DecisionLine
from quant.oms.journal.journal import Journal
from quant.promotion.gates.sessions import sessions

DAY = "2024-05-15"
NAME = "flip-spy"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The data folder of a project; no strategy module of one test is left for another."""
    path = list(sys.path)
    before = {n: m for n, m in sys.modules.items() if n.partition(".")[0] == "strategies"}
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "locks"))
    monkeypatch.setattr("quant.live.run.keeper.EACH_S", 0.1)
    monkeypatch.setattr(pacing, "IDENTICAL_S", 0.1)  # this TWS counts nothing, and the test need not wait
    for name in [n for n in os.environ if n.upper().startswith("QUANT_")]:
        monkeypatch.delenv(name)
    (tmp_path / "quant.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "data"
    sys.path[:] = path
    for name in [n for n in sys.modules if n.partition(".")[0] == "strategies"]:
        del sys.modules[name]
    sys.modules.update(before)


def parity(*words: object) -> Result:
    return CliRunner().invoke(cli, ["parity", *(str(w) for w in words)])


def compared(fills: int) -> Callable[[dict[str, Any]], bool]:
    """Return whether so many orders are filled, and a bar closed since.

    A day lasts up to the last bar that live had: what is decided on that one, and filled after it, is left out.
    """
    last: list[str] = []

    def done(picture: dict[str, Any]) -> bool:
        if filled(fills)(picture):
            last.append(picture["feeds"][0]["last"]["end"])
        return bool(last) and last[-1] > last[0]

    return done


def traded(data: Path, port: int, fills: int = 4) -> None:
    ended, told = play(draft(data, history_start="2024-05-10"), port, data, compared(fills))
    assert ended.code == 0, told


def left(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("parity*"))


def test_day_is_explained_to_the_cent_while_another_process_has_the_journal(data: Path) -> None:
    with tws(speed=20.0) as port:  # else a busy machine misses a bar of half a second
        traded(data, port)
        found = again(data, draft(data)).deployment
        folder = live_folder(data, NAME)
        with Journal.open(
            folder / JOURNAL, deployment=NAME, account=found.account, strategy_hash=found.digest
        ):
            result = parity(NAME, "--port", port, "--json")
    seen = json.loads(result.stdout)
    assert (seen["day"], seen["unexplained"]) == (DAY, 0.0)
    # The session went on without the runner, and had begun before it; as long as it ran, all is the model's.
    assert (seen["diverged"], seen["ok"], result.exit_code) == (0, True, 0), seen["differences"]
    assert sum(row["same"] for row in seen["decisions"]) >= 4, seen["decisions"]
    assert seen["bars"]["rows"] == []
    assert seen["session"]["from"] < seen["compared"]["from"] < seen["compared"]["to"]
    assert any("nothing ran" in text for text in seen["findings"])
    assert len(seen["fills"]) >= 4
    # The simulated market is a cent or so off the bars' opens: that is all there is.
    assert sum(p["amount"] for p in seen["split"]) == pytest.approx(
        seen["pnl"]["live"] - seen["pnl"]["model"]
    )
    document = json.loads((folder / "parity" / f"{DAY}.json").read_text())
    assert document["record"] == json.loads((folder / "parity.jsonl").read_text())
    assert (document["record"]["day"], document["record"]["unexplained"]) == (DAY, 0.0)
    # Asked while the session lasts: it says so, and is worth nothing yet on the way to real money.
    assert document["record"]["session_end"] == f"{DAY}T20:00:00"
    assert seen["compared"]["to"] <= document["record"]["compared_at"] < f"{DAY}T20:00:00"
    assert (document["record"]["orders"], document["record"]["missed"]) == (len(seen["fills"]), 0)
    assert [one.over for one in sessions(folder)] == [False]
    assert "<html" in (folder / "parity" / f"{DAY}.html").read_text(encoding="utf-8")
    assert _diverged(data, folder)


def _diverged(data: Path, folder: Path) -> bool:
    """A decision that live took out of nothing: exit 1, and the day's line is replaced, with the data folder's bars."""
    path = folder / "tape" / f"{DAY}.jsonl"
    lines = path.read_text().splitlines()
    wrong = next(i for i, line in enumerate(lines) if '"kind":"decision"' in line and '"decided"' in line)
    lines[wrong] = json.dumps({**json.loads(lines[wrong]), "target": 0.5})
    path.write_text("\n".join(lines) + "\n")
    result = parity(NAME, "--no-pull", "--json")
    assert result.exit_code == 1, result.output
    record = [json.loads(line) for line in (folder / "parity.jsonl").read_text().splitlines()]
    return len(record) == 1 and record[0]["decisions_diverged"] >= 1 and record[0]["ok"] is False


def test_shadow_misses_every_order_and_no_decision(data: Path) -> None:
    job, folder = (
        replace(draft(data, history_start="2024-05-10"), shadow=True),
        live_folder(data, f"{NAME}.shadow"),
    )

    def enough(picture: dict[str, Any]) -> bool:
        withheld = [x for x in tape.read(folder, DAY) if isinstance(x, tape.RefusedLine)]
        return len(withheld) >= 3 and picture["settled"]

    with tws(speed=20.0) as port:  # else a busy machine misses a bar of half a second
        ended, told = play(job, port, data, enough)
        assert ended.code == 0, told
        result = parity(f"{NAME}.shadow", "--port", port, "--json")
    seen = json.loads(result.stdout)
    assert (result.exit_code, seen["ok"], seen["diverged"], seen["unexplained"]) == (0, True, 0, 0.0), seen
    assert len(seen["orders"]) >= 3
    assert {order["why"] for order in seen["orders"] if "entry" in order["model"]} == {WITHHELD}
    assert all(o["why"].startswith("follows") for o in seen["orders"] if "entry" not in o["model"])
    assert seen["pnl"]["live"] == 0.0
    assert {p["name"] for p in seen["split"] if round(p["amount"], 2)} <= {"missed"}


def test_what_cannot_be_compared_is_refused_and_nothing_is_written(data: Path) -> None:
    result = parity("nothing", "--no-pull")
    assert result.exit_code == 3
    assert "no such deployment" in result.output
    with tws() as port:
        traded(data, port, 2)
    folder = live_folder(data, NAME)
    lock = data / "deployments" / f"{NAME}.lock.toml"
    good, source = lock.read_text(), data.parent / "strategies" / "flip.py"
    strategy = source.read_text()

    def refused(*words: str, code: int, says: str) -> None:
        told = parity(NAME, "--no-pull", *words)
        assert told.exit_code == code, told.output
        assert says in " ".join(told.output.split()), told.output
        assert left(folder) == []

    refused("--day", "2024-05-18", code=4, says="2024-05-18")  # a Saturday
    (later := folder / "tape" / "2024-05-20.jsonl").touch()
    refused("--day", "2024-05-20", code=4, says="pull its bars: leave --no-pull out")
    later.unlink()
    refused("--day", "yesterday", code=3, says="must be a session date")
    no_tape = "no session was held, or it was not running yet, or any more; the newest days of the tape are 2024-05-15"
    for day, code, says in (("yesterday", 3, "session date"), ("2024-05-14", 4, no_tape)):
        told = parity(NAME, "--day", day, "--port", "1")  # where no TWS is, which is asked last
        assert (told.exit_code, says in " ".join(told.output.split())) == (code, True), told.output
    lock.write_text(good.replace("schema = 2", "schema = 99"))
    refused(code=3, says="reads 2")
    lock.write_text(good.replace("capital = 10000.0", "capital = 20000.0"))
    refused(code=6, says="another form of flip-spy.lock.toml")
    lock.write_text(good)
    source.unlink()
    for name in [n for n in sys.modules if n.partition(".")[0] == "strategies"]:
        del sys.modules[name]
    refused(code=3, says="flip")
    source.write_text(strategy + "\n# changed\n")
    refused(code=3, says="has changed")
    source.write_text(strategy)
    held = folder / "tape"
    held.rename(folder / "away")
    refused(code=4, says="it has not seen a bar yet")
    (folder / "away").rename(held)
    (folder / JOURNAL).rename(folder / "kept")
    refused(code=6, says="there is none")


def test_tape_goes_on_over_a_restart(data: Path) -> None:
    with tws() as port:
        traded(data, port, 2)
        job = again(data, draft(data))
        folder = live_folder(data, NAME)
        first = tape.read(folder, DAY)
        ended, told = play(replace(job), port, data, filled(4))
    assert ended.code == 0, told
    lines = tape.read(folder, DAY)
    signs = [line.what for line in lines if isinstance(line, tape.LifeLine)]
    assert signs.count(tape.ENDED) == 2
    assert signs.count(tape.ALIVE) >= 2
    assert lines[: len(first)] == first
    ends = [line.end for line in lines if isinstance(line, tape.BarLine)]
    assert ends == sorted(set(ends))
    decided: list[Any] = [line.end for line in lines if isinstance(line, DecisionLine)]
    assert len(decided) == len(set(decided))


def test_gap_between_two_runs_is_named_and_what_it_cost_is_missed(data: Path) -> None:
    """The runner ends, ten minutes pass, and the same deployment begins again."""
    clock = Jumping()
    with tws(outside=clock) as port:
        traded(data, port, 2)
        clock.more += round(600 / SPEED) * SECOND
        ended, told = play(again(data, draft(data)), port, data, filled(4))
        assert ended.code == 0, told
        result = parity(NAME, "--port", port, "--json")
    seen = json.loads(result.stdout)
    assert (result.exit_code, seen["ok"], seen["diverged"], seen["unexplained"]) == (0, True, 0, 0.0), seen
    gaps = [text for text in seen["findings"] if text.startswith("not running from")]
    assert len(gaps) == 1
    words = gaps[0].partition(";")[0]
    missed = [order for order in seen["orders"] if not order["live"] and order["why"] == words]
    assert len(missed) >= 15  # it changes its mind at each of twenty bars
