"""IB's books that a start cannot read yet: a note, and an alarm only where they do not come soon after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from live_run import draft, play, tws
from live_tws import Patient

from quant.tws.faults import Do, Fault


def said(told: list[str]) -> list[str]:
    """What was told of IB's books, without the time."""
    return [line.split("  ", 1)[1] for line in told if "the broker's books" in line]


def test_books_that_come_late_at_the_start_are_no_alarm(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At this clock the two minutes after which they are missed are two seconds."""
    monkeypatch.setattr("quant.live.run.keeper.STALL_S", 60.0)  # as the machine may have other work
    late = Fault(Do.LATE, on="PositionEnd", late_s=200.0)
    with tws(faults=(late,), outside=Patient()) as port:
        ended, told = play(draft(data), port, data, lambda picture: bool(picture["gate"] == "open"))
    assert ended.code == 0, told
    assert "note: the broker's books cannot be read; TWS may be busy, or show a question" in said(told), told
    assert not [line for line in told if "STOP" in line]


def test_books_that_do_not_come_are_an_alarm(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quant.live.run.keeper.STALL_S", 0.5)
    never = Fault(Do.LATE, on="PositionEnd", count=0, late_s=1e6)

    def alarmed(picture: dict[str, Any]) -> bool:
        return any("STOP: the broker's books" in line for line in picture["notes"])

    with tws(faults=(never,), outside=Patient()) as port:
        ended, told = play(draft(data), port, data, alarmed)
    assert ended.code == 0, told
    first, *_, last = said(told)
    assert first.startswith("note: "), told
    assert last.startswith("STOP: "), told
