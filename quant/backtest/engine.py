"""One run through an engine: bars, a strategy class and settings in, a Record out.

`plain` is stock Cerebro, the engine of reference: it decides what is right. `fast` gives the same bits sooner: signals
from one bar at which anything can happen to the next, all else through our Cerebro's loop, which leaves to stock what
it does not cover. `compiled` gives the same bits of one feed's signals without backtrader, and refuses all else.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Final

import backtrader as bt

from quant.backtest.broker import Broker, TargetBroker, commission
from quant.backtest.cerebro import Cerebro
from quant.backtest.fast import QuietBroker, SkippingCerebro, not_covered
from quant.backtest.feed import BarsFeed, feed
from quant.backtest.job import Job
from quant.backtest.recorder import Record, Recorder
from quant.core.bars import Bars
from quant.core.sizing import parse_sizing
from quant.errors import ParameterError, QuantError, StrategyError
from quant.strategy import Decisions

ENGINES: Final = ("fast", "plain", "compiled")


def run(job: Job, engine: str) -> Record:
    """Run `job` through an engine of ENGINES. Raises StrategyError with what the strategy raised."""
    if engine == "compiled":
        from quant.backtest import compiled

        return compiled.run(job)
    recorder = Recorder(job.bars)
    skips = engine == "fast" and not_covered(job.strategy, job.costs, job.borrow) is None
    broker = (QuietBroker if skips else Broker if job.plans is None else TargetBroker)(recorder=recorder)
    broker.setcash(job.cash)
    _slip(broker, job)
    kind: Any = SkippingCerebro if skips else Cerebro if engine == "fast" else bt.Cerebro
    cerebro = kind(stdstats=False)
    cerebro.broker = broker
    feeds = _feeds(job.bars)
    for data in feeds:
        cerebro.adddata(data)
    _charge(broker, recorder, job, feeds)
    recorder.add_feeds(feeds)
    cerebro.addstrategy(job.strategy, **_arguments(job))
    if job.plans is None and job.sizing is not None:
        cerebro.addsizer(bt.sizers.FixedSize, stake=int(job.sizing.amount))
    try:
        cerebro.run()
    except QuantError:
        raise
    except (Exception, SystemExit) as e:  # the user's code; whatever it raises is named, sys.exit() too
        place = f" at {job.bars[0].symbol} bar {len(feeds[0]) - 1}" if len(feeds[0]) else ""
        raise StrategyError(job.strategy.__name__, f"raised {type(e).__name__}: {e}{place}") from e
    if not recorder.record.value:  # backtrader takes a strategy that raised StrategySkipError out in silence
        raise StrategyError(job.strategy.__name__, "skipped itself, or stopped the run before its first bar")
    _take_unbooked_interest(broker, recorder, feeds)
    recorder.record.fell_back = getattr(cerebro, "fell_back", None)
    return recorder.record


def _arguments(job: Job) -> dict[str, Any]:
    if job.plans is None:
        return dict(job.params)
    takes = inspect.signature(job.strategy.__init__).parameters
    if "decisions" not in takes and all(p.kind is not p.VAR_KEYWORD for p in takes.values()):
        reason = "its __init__ must pass `decisions` on: def __init__(self, decisions): super().__init__(decisions)"
        raise StrategyError(job.strategy.__name__, reason)
    sizing = parse_sizing(None, len(job.bars)) if job.sizing is None else job.sizing
    decisions = Decisions(
        job.bars, job.plans, sizing, job.rules, job.start_rule, job.limit_first,
        own_money=isinstance(job.costs, bt.CommInfoBase),
    )  # fmt: skip
    return {**job.params, "decisions": decisions}


def _feeds(bars: Sequence[Bars]) -> list[BarsFeed]:
    """Return the feeds, on the exchange's clock if there is one for all and it never goes back, else in UTC."""
    names = names_of(bars)
    zones = {b.instrument.timezone for b in bars}
    if len(zones) == 1:
        try:
            return [feed(b, name=n) for b, n in zip(bars, names, strict=True)]
        except QuantError:
            pass  # its clock repeats an hour within these bars; UTC cannot
    return [feed(b, tz="UTC", name=n) for b, n in zip(bars, names, strict=True)]


def names_of(bars: Sequence[Bars]) -> list[str]:
    """Return a distinct name for each feed: its symbol, with the bar size where a symbol comes twice."""
    symbols = [b.symbol for b in bars]
    names = [b.symbol if symbols.count(b.symbol) == 1 else f"{b.symbol} {b.bar}" for b in bars]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise ParameterError("bars", twice, "the same bars are given twice")
    return names


def _slip(broker: bt.brokers.BackBroker, job: Job) -> None:
    if job.slippage is None:
        return
    options = {"slip_open": True, "slip_limit": True, "slip_match": True, "slip_out": False}
    if job.slippage.kind == "percent":
        broker.set_slippage_perc(job.slippage.rate, **options)
        return
    points = job.slippage.points({b.symbol: b.instrument.tick for b in job.bars})
    broker.set_slippage_fixed(points, **options)


def _charge(broker: bt.brokers.BackBroker, recorder: Recorder, job: Job, feeds: Sequence[BarsFeed]) -> None:
    if job.borrow is not None:
        broker.set_int2pnl(False)  # stock would add the charge to the commission of the closing fill
    if isinstance(job.costs, bt.CommInfoBase):
        broker.addcommissioninfo(commission(job.costs, job.borrow, _ignore))
        return
    for number, data in enumerate(feeds):

        def charged(amount: float, number: int = number, data: BarsFeed = data) -> None:
            recorder.record.borrowed.append((number, len(data) - 1, amount))

        magnifier = job.bars[number].instrument.price_magnifier
        broker.addcommissioninfo(commission(job.costs, job.borrow, charged, magnifier), name=data._name)


def _take_unbooked_interest(
    broker: bt.brokers.BackBroker, recorder: Recorder, feeds: Sequence[BarsFeed]
) -> None:
    """Record what an own scheme's interest took from the cash of positions still open.

    Stock adds it to the commission of the closing fill, which never came; a borrow rate of ours is recorded day
    by day instead.
    """
    for number, data in enumerate(feeds):
        amount = float(broker.d_credit.get(data, 0.0)) if broker.p.int2pnl else 0.0
        if amount:
            recorder.record.borrowed.append((number, len(data) - 1, amount))


def _ignore(amount: float) -> None:
    """Take a charge of the user's own commission scheme: it stands in the commissions, as stock books it."""


__all__ = ["ENGINES", "names_of", "run"]
