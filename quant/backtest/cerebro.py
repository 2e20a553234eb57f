"""q.Cerebro: backtrader's Cerebro with the same bits, sooner. It runs whatever Cerebro runs.

Where a feature is in use that the fast loop does not cover, stock's own loop runs, and `fell_back` says why.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

import backtrader as bt
import numpy as np
from backtrader.feed import AbstractDataBase

from quant.backtest.lazy import LazyBroker
from quant.backtest.loop import Loop
from quant.backtest.once import once
from quant.errors import ParameterError

_log = logging.getLogger(__name__)

# Internal methods that the fast loop stands in for: it must not run where a subclass has its own.
_CEREBRO: Final = ("_brokernotify", "_check_timers", "_next_writers")
_STRATEGY: Final = (
    "__len__", "_addnotification", "_getminperstatus", "_next_analyzers", "_next_observers", "_oncepost",
    "advance", "clear", "forward",
)  # fmt: skip
_FEED: Final = ("__len__", "_tick_fill", "_tick_nullify", "advance", "advance_peek", "buflen", "rewind")


class Cerebro(bt.Cerebro):  # type: ignore[misc]  # backtrader has no types
    """Drop-in for backtrader.Cerebro: same orders, fills, cash and values to the last bit.

    fell_back: after a run None where the fast loop made it, else why stock's loop did.
    """

    fell_back: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.broker = LazyBroker()

    def setbroker(self, broker: bt.broker.BrokerBase) -> bt.broker.BrokerBase:
        """Set the broker, as stock does."""
        if type(broker) is bt.brokers.BackBroker:
            broker.__class__ = LazyBroker
            broker.cash = broker.__dict__.pop("cash")
        return super().setbroker(broker)

    broker = property(bt.Cerebro.getbroker, setbroker)

    # ------------------------------------------------------------ the four loops of stock
    def _runonce(self, runstrats: Sequence[Any]) -> None:
        self.fell_back = None
        reason = self._not_covered(runstrats)
        if reason is not None:
            self._fall_back(reason)
            super()._runonce(runstrats)
            return
        for strategy in runstrats:
            once(strategy)
            strategy.reset()
        Loop(self, runstrats).run()

    def _runnext(self, runstrats: Sequence[Any]) -> None:
        self._fall_back(self._why_not_once())
        super()._runnext(runstrats)

    def _runonce_old(self, runstrats: Sequence[Any]) -> None:
        self._fall_back("oldsync is set")
        super()._runonce_old(runstrats)

    def _runnext_old(self, runstrats: Sequence[Any]) -> None:
        self._fall_back("oldsync is set")
        super()._runnext_old(runstrats)

    def _fall_back(self, reason: str) -> None:
        self.fell_back = reason
        _log.info("stock's loop runs: %s", reason)

    def _why_not_once(self) -> str:
        p = self.p
        if self._dolive or p.live:
            return "a feed is live"
        if self._doreplay:
            return "a feed is resampled or replayed"
        if self._exactbars:
            return "exactbars is set"
        return "runonce or preload is off, or an indicator switched runonce off"

    def _not_covered(self, strategies: Sequence[Any]) -> str | None:
        """Return why stock's loop must run, None where the fast one gives the same bits."""
        p, broker = self.p, self._broker
        features = {
            "a writer is in use": self.runwriters,
            "a timer is in use": self._timers or self._timerscheat,
            "cheat_on_open is set": p.cheat_on_open,
            "quicknotify is set": p.quicknotify,
            "an order history is given": self._ohistory,
            "a fund history is given": self._fhistory is not None,
            "the broker is not backtrader's": not isinstance(broker, bt.brokers.BackBroker),
        }
        reason = next((r for r, used in features.items() if used), None)
        reason = reason or _own(self, bt.Cerebro, _CEREBRO)
        for strategy in strategies:
            reason = reason or _strategy(strategy, self.datas)
        for data in self.datas:
            reason = reason or _own(data, AbstractDataBase, _FEED)
        return reason or _stamps(self.datas)


def _strategy(strategy: Any, datas: Sequence[Any]) -> str | None:
    known = {id(d) for d in datas}
    if any(id(d) not in known for d in strategy.datas):
        return f"{type(strategy).__name__} was given data that the run does not have"
    if type(strategy)._notify not in (bt.Strategy._notify, bt.SignalStrategy._notify) or any(
        line.bindings for line in strategy.lines
    ):
        return f"{type(strategy).__name__} has internal methods of its own"
    return _own(strategy, bt.Strategy, _STRATEGY)


def _own(thing: Any, stock: type, names: Sequence[str]) -> str | None:
    kind = type(thing)
    mine = [n for n in names if n in thing.__dict__ or getattr(kind, n, None) is not getattr(stock, n, None)]
    return f"{type(thing).__name__} has its own {', '.join(mine)}" if mine else None


def _stamps(datas: Sequence[Any]) -> str | None:
    for data in datas:
        stamps = np.frombuffer(data.lines.datetime.array, dtype=np.float64)[: data.buflen()]
        if not np.isfinite(stamps).all() or (len(datas) > 1 and bool((np.diff(stamps) <= 0).any())):
            return f"the times of feed {data._name or type(data).__name__} do not increase"
    return None


# ---------------------------------------------------------------- proof on a script of one's own
class _Witness(bt.Analyzer):  # type: ignore[misc]  # backtrader has no types
    """Writes down all that a run tells its analyzers."""

    def start(self) -> None:
        self.rows: list[str] = []
        self.orders = self.trades = 0  # refs count over the whole process

    def _say(self, *row: Any) -> None:
        at = len(self.strategy), self.strategy.datetime[0] if len(self.strategy) else None
        self.rows.append(repr((*at, *row)))

    def notify_order(self, order: bt.Order) -> None:
        self.orders = self.orders or order.ref
        bits = [sorted(vars(b).items()) for b in order.executed.exbits]
        created = {n: v for n, v in vars(order.created).items() if n != "exbits"}
        name = order.getordername(), order.getstatusname()
        self._say("order", order.ref - self.orders, *name, order.size, sorted(created.items()), bits)

    def notify_trade(self, trade: bt.Trade) -> None:
        hidden = ("ref", "data", "history")
        self._say("trade", [(n, v) for n, v in sorted(vars(trade).items()) if n not in hidden])

    def notify_fund(self, cash: float, value: float, fundvalue: float, shares: float) -> None:
        self._say("account", cash, value, fundvalue, shares)

    def stop(self) -> None:
        broker = self.strategy.broker
        self._say("end", broker.getcash(), broker.getvalue(), [len(d) for d in self.datas])

    def get_analysis(self) -> list[str]:
        return self.rows


def first_difference(build: Callable[[type[bt.Cerebro]], bt.Cerebro]) -> str | None:
    """Make a run with backtrader's Cerebro and with ours, and return where they first differ; None where nowhere.

    build: takes the class and returns a Cerebro of it, set up but not run. Compared to the last bit are the
    account at every bar, every notification of an order or trade, and the end.
    Raises ParameterError where build makes a Cerebro of another class.
    """
    runs = []
    for kind in (bt.Cerebro, Cerebro):
        cerebro = build(kind)
        if type(cerebro) is not kind:
            reason = "must make its Cerebro from the class that it is given: cerebro = Cerebro()"
            raise ParameterError("build", build, reason)
        cerebro.addanalyzer(_Witness, _name="_witness")
        results = cerebro.run()
        strategies = [s for r in results for s in (r if isinstance(r, list) else [r])]
        runs.append([row for s in strategies for row in s.analyzers.getbyname("_witness").get_analysis()])
    for ours, stock in itertools.zip_longest(*reversed(runs)):
        if ours != stock:
            return f"backtrader: {stock}\nq.Cerebro:  {ours}"
    return None


__all__ = ["Cerebro", "first_difference"]
