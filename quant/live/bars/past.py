"""The bars before a live session: the data folder's, after a pull of what it lacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np

from quant.core.bars import Bars
from quant.core.barsize import BarSize
from quant.errors import NoData
from quant.ib.download.ask import plan_pull
from quant.ib.download.held import find_held
from quant.ib.download.run import run_pull
from quant.ib.lookup import Found
from quant.ib.session import Session
from quant.live.bars.wanted import Wanted, no_bars
from quant.live.clock import APART
from quant.store import Store
from quant.store.query import Moment, cut, parse

# Days of history where nobody says from when on: some hundred bars, and quick to pull.
_DAYS: Final = {"s": 2, "m": 7, "h": 60, "d": 730, "w": 3650, "mo": 7300}


def past_bars(
    session: Session, found: Sequence[Found], wanted: Sequence[Wanted], data: Path, now: datetime
) -> list[Bars]:
    """Return the bars of each contract that are over; what the data folder lacks comes there first.

    The newest ones are asked for again in any case: a decision of an earlier process may have been made on others.
    now: IB's time. Raises what a pull ends with, for the first contract that it could not bring, and KeyboardInterrupt.
    """
    store = Store(data)
    result: list[Bars] = []
    for one, ask in zip(found, wanted, strict=True):
        if ask.history is not None:
            result.append(replace(ask.history, instrument=one.instrument))
            continue
        start = begin(ask, now)
        plan = plan_pull(
            session, [one.facts.spec], ask.bar, start, None, what=ask.what, rth=ask.rth, look=True, now=now, store=store
        )  # fmt: skip
        report = run_pull(session, plan, store)
        if report.interrupted:  # a pull ends in good order at Ctrl-C; what it was for must end too
            raise KeyboardInterrupt
        error = report.error
        if error is not None and not isinstance(error, NoData):
            raise error
        series = find_held(store, plan.series[0].asked) if plan.series else None
        bars = (
            no_bars(one, ask) if series is None else cut(store, series, parse("history_start", start), None)
        )
        result.append(bars)
    return result


def over(bars: Bars, now: int) -> Bars:
    """Return the bars that end at `now` or before: of what ends later nobody can know its close. UTC ns."""
    return bars[: int(np.searchsorted(bars.end, now, side="right"))]


def ahead(bars: Bars, now: int) -> str:
    """Return what a person is to know of bars that end later than IB's time, by more than its seconds; else ""."""
    count = len(bars) - len(over(bars, now + APART))
    if not count:
        return ""
    last, here = (
        str(np.datetime64(at, "ns").astype("datetime64[s]")).replace("T", " ")
        for at in (int(bars.end[-1]), now)
    )
    told = f"{count} bars end after IB's time, {here} UTC, the last one at {last}: they are left out. They were stored "
    told += "by another clock or in a wrong zone; bring them in anew"
    which = f"--bar {bars.bar} --source {bars.source}"
    which += f" --what {bars.what}" if bars.what != "TRADES" else ""
    return f"{told}: quant data remove {bars.symbol} {which}" + ("" if bars.rth else " --all-hours")


def begin(wanted: Wanted, now: datetime) -> Moment:
    """Return from when on history is wanted."""
    if wanted.history_start is not None:
        return wanted.history_start
    return (now - timedelta(days=_days(wanted.bar))).date()


def _days(bar: BarSize) -> int:
    return _DAYS[bar.unit]
