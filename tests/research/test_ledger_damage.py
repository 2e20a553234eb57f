"""A ledger of trials that cannot be read: rows are kept, and nothing is said that needs the number of trials."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quant as q
from quant.errors import StoreBusy
from quant.research import ledger


class Planted(q.Strategy):
    """Long on days that rise, which here come by the calendar: an edge that no search made up."""

    params = dict(n=8)

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        day = np.arange(len(bars))
        return np.where(((day - 1) % 4 < 2) & (day // 4 % p.n != 0), 1.0, 0.0)  # leaves one wave in n out


@pytest.fixture(scope="module")
def bars() -> q.Bars:
    """Ten years, two days up and two down, with noise."""
    found = q.synthetic("SYN", "1d", "2010-01-04", "2019-12-31", seed=1)
    noise = np.random.default_rng(1).normal(0.0, 0.004, len(found))
    wave = np.where((np.arange(len(found)) - 2) % 4 < 2, 0.01, -0.01)
    close = 100.0 * np.exp(np.cumsum(wave + noise))
    opened = np.append(close[0], close[:-1])
    return replace(
        found, open=opened, high=np.maximum(opened, close), low=np.minimum(opened, close), close=close
    )


def swept(bars: q.Bars, data: Path) -> q.Sweep:
    return q.sweep(Planted, bars, {"n": [6, 7, 8]}, data=data, verify=0, costs="none")


def damage(data: Path) -> Path:
    """Lose a trial, as a changed page would: its total tells."""
    path = data / "sweeps" / ledger.NAME
    with closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM trials WHERE identity IN (SELECT identity FROM trials LIMIT 1)")
        db.commit()
    return path


def test_a_damaged_ledger_leaves_the_rows_and_takes_the_verdict(bars: q.Bars, tmp_path: Path) -> None:
    whole = swept(bars, tmp_path)
    assert whole.verdict().word == "edge"
    path = damage(tmp_path)
    for found in (swept(bars, tmp_path), q.load_sweep(str(whole.folder))):
        assert found.table.equals(whole.table)
        told = found.verdict()
        assert told.word == "unclear"
        assert math.isnan(told.deflated)
        assert math.isnan(told.expected)
        assert str(path) in told.text
        assert "move it away" in told.text
        assert [f.level for f in found.findings if f.code == "trials-unknown"] == ["warning"]
        page = found.report(tmp_path / "page.html").read_text(encoding="utf-8")
        assert str(path.name) in page


def test_after_the_mend_the_same_call_tells_again_without_computing(bars: q.Bars, tmp_path: Path) -> None:
    whole = swept(bars, tmp_path).verdict()
    path = damage(tmp_path)
    swept(bars, tmp_path)
    path.rename(tmp_path / "away")
    again = swept(bars, tmp_path)
    assert "resumed" in {f.code for f in again.findings}
    told = again.verdict()
    assert (told.text, told.word, told.deflated) == (whole.text, whole.word, whole.deflated)


def test_luck_stays_luck(bars: q.Bars, tmp_path: Path) -> None:
    class Late(Planted):
        @staticmethod
        def signals(bars: q.Bars, p: Any) -> Any:
            return np.where((np.arange(len(bars)) + p.n) % 2 < 1, 1.0, 0.0)

    def late() -> q.Sweep:
        return q.sweep(Late, bars, {"n": [1, 2]}, data=tmp_path, verify=0)

    assert late().verdict().word == "luck"
    damage(tmp_path)
    told = late().verdict()
    assert told.word == "luck"
    assert math.isnan(told.deflated)


def test_several_symbols_are_not_judged_either(bars: q.Bars, tmp_path: Path) -> None:
    def both() -> q.Sweep:
        return q.sweep(
            Planted, {"A": bars, "B": bars}, {"n": [6, 7, 8]}, data=tmp_path, verify=0, costs="none"
        )

    assert both().verdict().word == "edge"
    damage(tmp_path)
    assert both().verdict().word == "unclear"


def test_a_walk_forward_tells_no_deflated_ratio(bars: q.Bars, tmp_path: Path) -> None:
    def walked() -> q.WalkForward:
        return q.walk_forward(
            Planted, bars, {"n": [6, 7, 8]}, train=500, test=250, data=tmp_path, costs="none"
        )

    whole = walked()
    assert math.isfinite(whole.verdict.deflated)
    path = damage(tmp_path)
    found = walked()
    assert math.isnan(found.verdict.deflated)
    assert found.metrics == whole.metrics
    assert "cannot be told" in found.verdict.text
    assert any(f.code == "trials-unknown" and str(path) in f.message for f in found.findings)
    assert "ever tried on these data" not in found.verdict.text


def test_a_busy_ledger_is_said_too(bars: q.Bars, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(path: Path, *_: Any, **__: Any) -> Any:
        raise StoreBusy(str(path))

    monkeypatch.setattr(ledger, "counts", busy)
    found = swept(bars, tmp_path)
    assert found.verdict().word == "unclear"
    assert "try again" in found.verdict().text
