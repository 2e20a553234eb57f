"""The picture that a runner leaves: what a command adds without it, and no half of one on a full disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from quant.errors import WriteFailed
from quant.live.run import control, view
from quant.oms.ledger import Ledger

LEDGER = Ledger("macd-spy-1m", "DU1234567", "")


def ended(seen: dict[str, Any], told: str) -> str:
    return str(view.afterwards({"name": "macd-spy-1m", "feeds": [], **seen}, LEDGER, {}, told, None)["ended"])


def test_a_command_that_renews_the_picture_twice_is_told_once() -> None:
    once = ended({}, "me: halt")
    assert once == "me: halt, without it"
    assert ended({"ended": once}, "me: halt") == once


def test_a_second_command_stands_behind_the_first() -> None:
    assert ended({"ended": "interrupted"}, "me: halt") == "interrupted; me: halt, without it"
    assert (
        ended({"ended": "me: halt, without it"}, "me: flatten")
        == "me: halt, without it; me: flatten, without it"
    )


def test_a_picture_that_cannot_be_written_leaves_no_half_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / control.STATUS
    control.renew(path, {"name": "before"})

    def full(part: Path, *_: Any, **__: Any) -> int:
        part.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(WriteFailed, match="No space left"):
        control.renew(path, {"name": "after"})
    assert [p.name for p in tmp_path.iterdir()] == [control.STATUS]
    assert control.get(path)["name"] == "before"
