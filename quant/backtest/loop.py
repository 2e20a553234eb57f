"""The run-once loop of q.Cerebro: what stock's loop does at each bar, less what nobody can see.

Stock moves every line, fills tick attributes, asks the broker and every observer and analyzer at every bar,
by general means. Here the order of the bars is known beforehand, lines are moved by writing their two numbers,
and whoever does not listen is not called.

Source of every rule: backtrader 1.9.78.123, cerebro.py (_runonce) and strategy.py (_oncepost).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import backtrader as bt
import numpy as np
from backtrader.linebuffer import LineBuffer
from backtrader.lineiterator import LineIterator
from backtrader.lineseries import LineSeries

from quant.backtest.lazy import LazyBroker
from quant.backtest.observed import Late, standard
from quant.core.sessions import Floats

_NAN: Final = float("nan")
# An indicator's own asks whether its clock is ahead, which it is wherever _moves looks.
_ADVANCE: Final = (LineSeries.advance, LineBuffer.advance, bt.Indicator.advance)
_BAR_METHODS: Final = ("_next", "_nextstart", "_prenext", "next", "nextstart", "prenext")


class Feed:
    """A feed's lines and how far it is."""

    def __init__(self, data: Any) -> None:
        self.data = data
        self.bars = data.buflen()
        self.lines = list(data.lines)
        self.count = 0

    @property
    def stamps(self) -> Floats:
        """(n,) backtrader's date numbers of the bars."""
        return np.frombuffer(self.data.lines.datetime.array, dtype=np.float64)[: self.bars]


class Step:
    """One strategy at each step of the run: stock's _oncepost."""

    def __init__(self, strategy: Any, feeds: Sequence[Feed]) -> None:
        self.strategy = strategy
        self.broker = strategy.broker
        self.periods = _periods(strategy, feeds)
        self.moves = _moves(strategy, feeds)
        self.clocked = [] if self.moves is not None else strategy._lineiterators[LineIterator.IndType]
        self.stamp = strategy.lines.datetime
        self.lines = [line for line in strategy.lines if line is not self.stamp]
        self.analyzers = analyzers = list(itertools.chain(strategy.analyzers, strategy._slave_analyzers))
        self.plain = type(strategy)._notify is bt.Strategy._notify
        self.called = [a for a in strategy.analyzers if _overrides(a, bt.Analyzer, _BAR_METHODS)]
        names = ("notify_cashvalue", "notify_fund", "_notify_cashvalue", "_notify_fund")
        self.told = [a for a in analyzers if _overrides(a, bt.Analyzer, names)]
        # A broker of one's own is asked at every bar, as stock does.
        self.hears = type(self.broker) is not LazyBroker or _overrides(
            strategy, bt.Strategy, ("notify_cashvalue", "notify_fund")
        )
        self.observed = bool(strategy._lineiterators[LineIterator.ObsType])
        self.watched = bool(self.called or self.observed)
        self.late: Late | None = None

    def __call__(self, moment: float, moved: Sequence[int], feeds: Sequence[Feed]) -> None:
        """Let the strategy see the step whose feeds `moved` have a new bar."""
        strategy = self.strategy
        self._move(moment, moved, feeds)
        if strategy._orderspending or strategy._tradespending:
            self._announce()
        elif self.hears or self.told:
            self._tell()
        status = -math.inf
        for number, period in self.periods:
            left = period - feeds[number].count
            if left > status:
                status = left
        strategy._minperstatus = status
        if status < 0:
            strategy.next()
        elif status == 0:
            strategy.nextstart()
        else:
            strategy.prenext()
        if self.watched or strategy._orderspending or strategy._tradespending:
            self._finish(status)

    def _move(self, moment: float, moved: Sequence[int], feeds: Sequence[Feed]) -> None:
        """Move the indicators and the strategy's own lines."""
        if self.moves is not None:
            for number in moved:
                count = feeds[number].count
                for line in self.moves[number]:
                    line._idx = count - 1
                    line.lencount = count
        else:
            for indicator in self.clocked:
                if len(indicator._clock) > len(indicator):
                    indicator.advance()
        line = self.stamp
        line._idx += 1
        line.lencount += 1
        line.array.append(moment)
        for line in self.lines:
            line.forward()

    def _finish(self, status: float) -> None:
        """Let analyzers and observers see the step, and put its notifications away."""
        strategy = self.strategy
        pending = strategy._orderspending or strategy._tradespending
        if self.called:
            strategy._next_analyzers(status, once=True)
        if self.late is None:
            if self.observed:
                strategy._next_observers(status, once=True)
        elif pending or self.broker.eager:
            self.late.step()
        else:
            self.late.due += 1
        if strategy._orderspending or strategy._tradespending:
            strategy.clear()

    def _announce(self) -> None:
        """Do what strategy._notify() does."""
        strategy = self.strategy
        if not self.plain:
            strategy._notify()
            return
        for order in strategy._orderspending:
            if order.exectype != bt.Order.Historical or order.histnotify:
                strategy.notify_order(order)
            for analyzer in self.analyzers:
                analyzer._notify_order(order)
        for trade in strategy._tradespending:
            strategy.notify_trade(trade)
            for analyzer in self.analyzers:
                analyzer._notify_trade(trade)
        if self.hears or self.told:
            self._tell()

    def _tell(self) -> None:
        broker, strategy = self.broker, self.strategy
        cash, value = broker.getcash(), broker.getvalue()
        fund = cash, value, broker.fundvalue, broker.fundshares
        strategy.notify_cashvalue(cash, value)
        strategy.notify_fund(*fund)
        for analyzer in self.told:
            analyzer._notify_cashvalue(cash, value)
            analyzer._notify_fund(*fund)


class Loop:
    """One run of strategies over preloaded feeds whose stamps increase."""

    def __init__(self, cerebro: bt.Cerebro, strategies: Sequence[Any]) -> None:
        self.cerebro = cerebro
        self.broker = cerebro._broker
        self.feeds = [Feed(d) for d in cerebro.datas]
        self.strategies = [Step(s, self.feeds) for s in strategies]
        self.moments, self.which, self.patterns = _schedule([f.stamps for f in self.feeds])

    def run(self) -> None:
        """Visit every step. What the strategies raise passes through, with the lines where they are."""
        lazy = type(self.broker) is LazyBroker and _countable(self.feeds)
        ticks = [_Ticks(f.data) for f in self.feeds]
        if lazy:
            self.broker.begin()
            for step in self.strategies:
                if step.observed and standard(step.strategy):
                    step.late = Late(step.strategy, self.broker, self._closes)
        try:
            self._visit()
        finally:
            for step in self.strategies:
                if step.late is not None:
                    step.late.end()
            for tick in ticks:
                tick.end()
            if lazy:
                self.broker.end()

    def _closes(self, data: Any, first: int, last: int) -> Floats:
        number = next(n for n, f in enumerate(self.feeds) if f.data is data)
        close = np.frombuffer(data.lines.close.array, dtype=np.float64)
        if len(self.feeds) == 1:
            return close[first:last]
        # The bars over at each step, less one; before the first bar backtrader reads the last value of the line.
        rows = np.searchsorted(self.feeds[number].stamps, self.moments[first:last], "right") - 1
        return close[rows]

    def _visit(self) -> None:
        cerebro, broker, feeds, patterns = self.cerebro, self.broker, self.feeds, self.patterns
        notes = broker.notifs
        own = type(broker) is not LazyBroker
        for moment, pattern in zip(self.moments, self.which, strict=True):
            moved = patterns[pattern]
            for number in moved:
                feed = feeds[number]
                count = feed.count = feed.count + 1
                for line in feed.lines:
                    line._idx = count - 1
                    line.lencount = count
            broker.next()
            if notes or own:
                self._deliver()
            if cerebro._event_stop:
                return
            for step in self.strategies:
                step(moment, moved, feeds)
                if cerebro._event_stop:
                    return

    def _deliver(self) -> None:
        broker = self.broker
        while (order := broker.get_notification()) is not None:
            owner = self.cerebro.runningstrats[0] if order.owner is None else order.owner
            owner._addnotification(order, quicknotify=False)


class _Ticks:
    """The attributes tick_open ... of a feed while the loop runs: read from its lines, not written at every bar.

    backtrader looks for an attribute that a feed lacks in feed.lines; the properties stand there.
    """

    def __init__(self, data: Any) -> None:
        self.data, self.kind = data, type(data.lines)
        self.names = {f"tick_{n}": n for n in data.getlinealiases() if n != "datetime"}
        self.names["tick_last"] = data._getlinealias(0)
        # Indicators without `once` have moved the feed before the run, and left ticks.
        self.before = {n: data.__dict__.pop(n) for n in self.names if n in data.__dict__}
        properties = {name: property(self._tick(name, alias)) for name, alias in self.names.items()}
        # Not through the metaclass: it would register the class.
        data.lines.__class__ = type.__new__(type(self.kind), self.kind.__name__, (self.kind,), properties)

    def _tick(self, name: str, alias: str) -> Any:
        def tick(lines: Any) -> Any:
            if len(lines):
                last = len(lines) == lines.buflen()  # there stock leaves none
                return None if last else getattr(lines, alias)[0]
            if name in self.before:
                return self.before[name]
            raise AttributeError(name)

        return tick

    def end(self) -> None:
        """Write the ticks as stock leaves them."""
        if len(self.data):
            self.before = {name: getattr(self.data.lines, name) for name in self.names}
        self.data.lines.__class__ = self.kind
        self.data.__dict__.update(self.before)


def _countable(feeds: Sequence[Feed]) -> bool:
    """True where a position of 0 units always counts 0: no close is NaN. Stock multiplies flat positions too.

    Before its first bar a feed's close is the last value of the line, which may be room for `lookahead`.
    """
    closes = [np.frombuffer(f.data.lines.close.array, dtype=np.float64) for f in feeds]
    seen = closes if len(feeds) > 1 else [closes[0][: feeds[0].bars]]
    return all(len(c) and bool(np.isfinite(c).all()) for c in seen)


def _schedule(stamps: Sequence[Floats]) -> tuple[list[float], Iterable[int], list[tuple[int, ...]]]:
    """Return the steps' stamps, the number of the pattern of each, and the feeds that move in each pattern."""
    if len(stamps) == 1:
        return stamps[0].tolist(), itertools.repeat(0, len(stamps[0])), [(0,)]
    moments = np.unique(np.concatenate(stamps))
    moves = np.zeros((len(moments), len(stamps)), dtype=bool)
    for number, s in enumerate(stamps):
        moves[np.searchsorted(moments, s), number] = True
    packed = np.packbits(moves, axis=1)
    rows, which = np.unique(packed, axis=0, return_inverse=True)
    patterns = [tuple(np.flatnonzero(np.unpackbits(r)[: len(stamps)]).tolist()) for r in rows]
    return moments.tolist(), which.ravel().tolist(), patterns


def _periods(strategy: Any, feeds: Sequence[Feed]) -> list[tuple[int, int]]:
    numbers = {id(f.data): n for n, f in enumerate(feeds)}
    return [(numbers[id(d)], p) for d, p in zip(strategy.datas, strategy._minperiods, strict=True)]


def _moves(strategy: Any, feeds: Sequence[Feed]) -> list[list[LineBuffer]] | None:
    """Return, per feed, the indicators' lines that move with it; None where only asking at each step tells."""
    clocks = {}
    for number, feed in enumerate(feeds):
        clocks[id(feed.data)] = number
        clocks.update((id(line), number) for line in feed.lines)
    moves: list[list[LineBuffer]] = [[] for _ in feeds]
    seen: set[int] = set()
    for indicator in strategy._lineiterators[LineIterator.IndType]:
        clock = _clock(indicator, clocks)
        if clock is None or type(indicator).advance not in _ADVANCE:
            return None
        lines = [indicator] if isinstance(indicator, LineBuffer) else list(indicator.lines)
        if any(id(line) in seen or len(line) for line in lines):
            return None
        seen.update(map(id, lines))
        clocks[id(indicator)] = clock
        clocks.update((id(line), clock) for line in lines)
        moves[clock].extend(lines)
    return moves


def _clock(indicator: Any, clocks: dict[int, int]) -> int | None:
    clock = indicator._clock
    number = clocks.get(id(clock))
    if number is None and isinstance(clock, bt.lineseries.LineSeriesStub):
        number = clocks.get(id(clock.lines[0]))
    return number


def _overrides(thing: Any, stock: type, names: Iterable[str]) -> bool:
    """True where the thing, or an analyzer inside it, has one of these methods of its own."""
    own = any(n in thing.__dict__ or getattr(type(thing), n) is not getattr(stock, n) for n in names)
    return own or any(_overrides(c, stock, names) for c in getattr(thing, "_children", ()))


__all__ = ["Loop"]
