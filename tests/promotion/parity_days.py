"""Days that were traded on the stage of a rehearsal, with what parity is made from: bars, journal and tape."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import quant as q
from quant.backtest.job import make_job
from quant.ib.session import Session
from quant.live.run import tape
from quant.live.run.deployment import Deployment
from quant.live.run.deployment import Traded as Contract
from quant.live.run.tape import Line
from quant.oms.journal.reading import read_ledger
from quant.oms.ledger import Ledger
from quant.oms.limits import Limits
from quant.promotion import live as live_path
from quant.promotion.lockstep import Lockstep
from quant.promotion.parity import Parity
from quant.promotion.parity.compare import Traded, compare
from quant.promotion.parity.parity import from_tws
from quant.promotion.rehearsal import in_session
from quant.promotion.stage import ACCOUNT, AnyFault, Stage, make_stage

SAMPLE = Path(__file__).parents[2] / "data"
CAPITAL = 100_000.0


def spy(first: int, count: int) -> q.Bars:
    """Minutes of SPY in the sample, inside sessions."""
    return in_session(q.bars("SPY", "1m", data=SAMPLE))[first : first + count]


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """What was traded, and all that is left of it. bars: as they are asked for afterwards. days: of the tape."""

    traded: Traded
    bars: tuple[q.Bars, ...]
    ledger: Ledger
    lines: tuple[Line, ...]
    days: tuple[str, ...]
    steps: dict[str, Any] = field(default_factory=dict)

    def parity(self, day: str | None = None) -> Parity:
        """Return the parity of a day, the last one by default."""
        date = self.days[-1] if day is None else day
        return compare(self.traded, self.bars, self.ledger, self.lines, date, self.steps)


def lived_through(
    strategy: str = "macd",
    feeds: q.Bars | Sequence[q.Bars] | None = None,
    *,
    faults: Iterable[AnyFault] = (),
    params: dict[str, Any] | None = None,
    sizing: str | None = "shares:10",
    costs: str = "ib-fixed",
    billed: str | None = None,
    start_rule: str = "first-target",
    capital: float = CAPITAL,
    staged: Callable[[Stage], None] | None = None,
    gone: Sequence[tuple[int, int]] = (),
    since: Callable[[Stage], None] | None = None,
) -> Past:
    """Trade bars on the stage. billed: the table of costs that TWS has, if another. staged: changes the stage.

    gone: from when to when no process is there, UTC ns. since: changes the stage once all is traded; then bars and
    price steps are asked of TWS anew, as `quant parity` does.
    """
    given = [spy(0, 130)] if feeds is None else [feeds] if isinstance(feeds, q.Bars) else list(feeds)
    script = list(faults)
    stage = make_stage(given, capital, costs if billed is None else billed, script)
    if staged is not None:
        staged(stage)
    job = make_job(
        strategy, stage.bars, params=params, cash=capital, costs=costs, sizing=sizing, start_rule=start_rule
    )[0]  # fmt: skip
    last = max(int(bars.end[-1]) for bars in stage.bars)
    lockstep = live_path.lockstep_of(stage, [at for both in gone for at in both if stage.begin < at < last])
    every_s = 60.0 if script else 3600.0
    with tempfile.TemporaryDirectory(prefix="parity-") as place, lockstep.served():
        folder = Path(place)
        for until, again in gone:
            if lockstep.moment < until:
                done = live_path.run(lockstep, stage, job, Limits(), folder, every_s, until)
            lockstep.go_to(min(again, lockstep.last))
        if not lockstep.over:
            done = live_path.run(lockstep, stage, job, Limits(), folder, every_s)
        ledger = read_ledger(folder / live_path.JOURNAL, "rehearsal")
        days = tuple(tape.days(folder))
        lines = tuple(line for day in days for line in tape.read(folder, day))
        bars, steps = stage.bars, {found.instrument.symbol: found for found in done.found}
        if since is not None:
            since(stage)
            bars, steps = asked_anew(lockstep, stage, folder, days[-1])
    traded = Traded("rehearsal", job.strategy, job.params, capital, costs, sizing, job.start_rule)
    return Past(traded, bars, ledger, lines, days, dict(steps))


def asked_anew(lockstep: Lockstep, stage: Stage, data: Path, day: str) -> tuple[tuple[q.Bars, ...], Any]:
    """Return bars and price steps as the simulated TWS has them now."""
    units = [bars.instrument for bars in stage.bars]
    contracts = tuple(
        Contract(i.symbol, i.con_id or 0, i.sec_type, i.exchange, i.currency, i.multiplier) for i in units
    )
    found = Deployment(
        name="rehearsal", strategy="", class_name="", params={}, sources={}, contracts=contracts,
        bar=str(stage.bars[0].bar), account=ACCOUNT, capital=CAPITAL, history_start=str(stage.bars[0].session[0]),
    )  # fmt: skip
    with Session(open_link=lockstep.open_link, timer=lockstep, client_id=9) as session:
        session.connect()
        fresh = from_tws(session, data)(found, day)
    return fresh.bars, fresh.steps


# ---------------------------------------------------------------- what is asked for afterwards is otherwise
def without_bar(bars: q.Bars, row: int) -> q.Bars:
    """Return bars of which one lacks."""
    return with_rows(bars, np.delete(np.arange(len(bars)), row))


def with_rows(bars: q.Bars, rows: Any) -> q.Bars:
    """Return chosen bars."""
    names = ("start", "open", "high", "low", "close", "volume")
    columns: dict[str, Any] = {name: getattr(bars, name)[rows] for name in names}
    return replace(bars, **columns)


def with_close(bars: q.Bars, row: int, by: float) -> q.Bars:
    """Return bars of which one closes otherwise."""
    close, low, high = (np.array(getattr(bars, name)) for name in ("close", "low", "high"))
    close[row] += by
    low[row], high[row] = min(low[row], close[row]), max(high[row], close[row])
    return replace(bars, close=close, low=low, high=high)


def times(bars: q.Bars, ratio: float, upto: int | None = None) -> q.Bars:
    """Return bars whose first rows have prices `ratio` times as high, as after a split."""
    scale = np.ones(len(bars))
    scale[:upto] = ratio
    columns: dict[str, Any] = {name: getattr(bars, name) * scale for name in ("open", "high", "low", "close")}
    return replace(bars, **columns, volume=bars.volume / scale)
