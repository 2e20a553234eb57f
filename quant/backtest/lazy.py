"""backtrader's broker with its work put off: the account is valued when somebody asks, not at every bar.

Between two fills cash stands still and the account's value follows from the closes, so a bar on which no order
waits needs no work at all; what stock computes there is computed by stock's own code on the first question.
Only the fast loop (loop.py) switches this on; in every other loop the broker is stock's.

Source of every rule: backtrader 1.9.78.123, brokers/bbroker.py.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any, Final

import backtrader as bt
import numpy as np

from quant.backtest import orders
from quant.core.sessions import Floats

# What _get_value writes. While it is put off these are no attributes, and asking for one makes them (__getattr__).
VALUES: Final = (
    "_value", "_valuemkt", "_valuelever", "_valuemktlever", "_leverage", "_unrealized", "_fundval",
)  # fmt: skip
# A commission scheme is quiet where these are backtrader's own: then a bar without orders moves no cash.
_QUIET: Final = (
    "cashadjust", "get_credit_interest", "_get_credit_interest", "get_leverage", "get_margin", "getvalue",
    "getvaluesize", "margin", "profitandloss", "stocklike",
)  # fmt: skip
_STOPS: Final = (bt.Order.Stop, bt.Order.StopTrail)
_STOP_LIMITS: Final = (bt.Order.StopLimit, bt.Order.StopTrailLimit)
_OURS: Final = ("backtrader.", "quant.")


class LazyPosition(bt.Position):  # type: ignore[misc]  # backtrader has no types
    """A position whose `datetime` is read from its feed while it is held, not copied at every bar."""

    _data: Any = None
    _datetime: Any

    @property
    def datetime(self) -> Any:
        """The time of the feed's bar at the last pass of the broker, None before the first fill."""
        if self._data is not None:
            return self._data.datetime.datetime()
        try:
            return self._datetime
        except AttributeError:
            raise AttributeError("datetime") from None

    @datetime.setter
    def datetime(self, value: Any) -> None:
        self._data, self._datetime = None, value


class Children(defaultdict[int, deque[Any]]):
    """Orders that wait for their parent, by its ref. An entry left empty is kept as a number alone.

    Stock keeps an empty deque of 600 bytes for every order ever filled, and asks only whether it is there.
    """

    def __init__(self) -> None:
        super().__init__(deque)
        self.emptied: set[int] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        # A defaultdict's own way gives __init__ its factory; optstrategy sends the broker to other processes.
        return Children, (), {"emptied": self.emptied}, None, iter(self.items())

    def __contains__(self, ref: object) -> bool:
        return super().__contains__(ref) or ref in self.emptied

    def __missing__(self, ref: int) -> deque[Any]:
        self.emptied.discard(ref)
        return super().__missing__(ref)

    def __delitem__(self, ref: int) -> None:
        if super().__contains__(ref):
            super().__delitem__(ref)
        self.emptied.discard(ref)

    def drop(self, ref: int) -> None:
        """Forget the deque of `ref` if it is empty, but not that it was there."""
        if super().__contains__(ref) and not self[ref]:
            super().__delitem__(ref)
            self.emptied.add(ref)


class LazyBroker(bt.brokers.BackBroker):  # type: ignore[misc]  # backtrader has no types
    """Stock's broker, bit for bit; inside the fast loop it values the account only when asked."""

    _lazy = False  # the fast loop is running, and no close is NaN
    _stale = False  # VALUES are put off
    _plain: bool | None = None  # every position held is quiet; None = unknown
    _passing = False
    changed = False  # cash or a position may have changed in the last pass or since
    eager = False  # at this step the account's value does not follow from its positions, cash and the closes
    _exact = False  # a filler or commission of the user's may ask for values in the middle of a pass

    def __getattr__(self, name: str) -> Any:
        if name in VALUES and self.__dict__.get("_stale"):
            self._settle()
            return self.__dict__[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def init(self) -> None:
        """Begin a run as stock does."""
        self._stale, self._plain = False, None
        super().init()
        self.positions.default_factory = LazyPosition
        self._pchildren = Children()

    # ------------------------------------------------------------ the fast loop's switch
    def begin(self) -> None:
        """Put valuations off from now on."""
        self._lazy, self._plain = True, None
        self.before_change: list[Callable[[], None]] = []
        schemes = self.comminfo.values()
        own = not all(type(s).__module__.startswith(_OURS) for s in schemes)
        filler = self.p.filler
        self._exact = own or (filler is not None and not type(filler).__module__.startswith(_OURS))

    def end(self) -> None:
        """Be stock's broker again."""
        self._settle()
        for position in self.positions.values():
            if isinstance(position, LazyPosition) and position._data is not None:
                position.datetime = position.datetime
        self._lazy = False

    # ------------------------------------------------------------ valuation put off
    def _settle(self) -> None:
        """Value the account as of the last pass."""
        if self._stale:
            self._stale = False
            self._get_value()

    def _put_off(self) -> None:
        if not self._stale:
            self._stale = True
            for name in VALUES:
                self.__dict__.pop(name, None)

    def _interfere(self) -> None:
        """Bring everything put off up to date: somebody is about to change the account between two passes."""
        if self._lazy and not self._passing:
            self._settle()
            self.changed, self.eager = False, True
            self._bring()

    def _bring(self) -> None:
        if not self.changed:
            self.changed = True
            for bring in self.before_change:
                bring()

    @property
    def cash(self) -> Any:
        """The account's cash."""
        return self._cash

    @cash.setter
    def cash(self, value: Any) -> None:
        self._interfere()
        self._cash = value

    def set_cash(self, cash: float) -> None:
        """Set the cash, as stock does."""
        self._interfere()
        super().set_cash(cash)

    setcash = set_cash

    def add_cash(self, cash: float) -> None:
        """Add to the cash at the next bar, as stock does."""
        self._interfere()  # the shares of the fund are counted by its value before
        super().add_cash(cash)

    def _get_value(self, datas: Any = None, lever: bool = False) -> Any:
        if datas is not None and len(datas) != 1:
            self._interfere()  # stock takes the value of these feeds for the account's until the next bar
        return super()._get_value(datas=datas, lever=lever)

    def setcommission(self, *args: Any, **kwargs: Any) -> None:
        """Set a commission scheme, as stock does."""
        self._interfere()
        super().setcommission(*args, **kwargs)
        self._plain = None

    def addcommissioninfo(self, *args: Any, **kwargs: Any) -> None:
        """Add a commission scheme, as stock does."""
        self._interfere()
        super().addcommissioninfo(*args, **kwargs)
        self._plain = None

    # ------------------------------------------------------------ a pass
    def next(self) -> None:
        """Make stock's pass over one step, without the parts of it that change nothing."""
        if not self._lazy:
            super().next()
        elif self.pending or self.submitted or self._toactivate or self._cash_addition or not self._plain:
            self._passing, self.changed = True, False
            try:
                self._pass()
            finally:
                self._passing = False
        else:
            self.changed = self.eager = False
            for position, close in self._held:
                position.adjbase = close.array[close._idx]
            if not self._stale:
                self._put_off()

    def _pass(self) -> None:
        if self._cash_addition or not self._plain:
            self._bring()
            self._stale = False
            super().next()
            self._look()
            self.eager = not self._plain
            return
        while self._toactivate:
            self._toactivate.popleft().activate()
        if self.p.checksubmit:
            self.check_submitted()
        self._try_all()
        if self.changed:
            self._look()
        self.eager = not self._plain
        if self.eager:  # a position that is not quiet was opened just now
            self._adjust()
        for position, close in self._held:
            position.adjbase = close.array[close._idx]
        if self._plain and not self._exact:
            self._put_off()
        else:
            self._stale = False
            self._get_value()

    def _try_all(self) -> None:
        """Try every waiting order once, as stock does."""
        pending = self.pending
        pending.append(None)
        while (order := pending.popleft()) is not None:
            if order.expire():
                self.notify(order)
                self._ococheck(order)
                self._bracketize(order, cancel=True)
            elif not order.active():
                pending.append(order)
            else:
                self._try_exec(order)
                if order.alive():
                    pending.append(order)
                elif order.status == bt.Order.Completed:
                    self._bracketize(order)
                    self._pchildren.drop(order.ref)

    def _try_exec(self, order: bt.Order) -> None:
        """Try an order on the present bar. The loop's ticks are the lines' values, which are nearer."""
        if not self._lazy:
            super()._try_exec(order)
            return
        lines = order.data.lines
        at = lines.close._idx
        popen, close = lines.open.array[at], lines.close.array[at]
        high, low = lines.high.array[at], lines.low.array[at]
        kind, price, limit = order.exectype, order.created.price, order.created.pricelimit
        if kind == bt.Order.Market:
            self._try_exec_market(order, popen, high, low)
        elif kind == bt.Order.Close:
            self._try_exec_close(order, close)
        elif kind == bt.Order.Limit:
            self._try_exec_limit(order, popen, high, low, price)
        elif kind in _STOP_LIMITS:
            if order.triggered:
                self._try_exec_limit(order, popen, high, low, limit)
            else:
                self._try_exec_stoplimit(order, popen, high, low, close, price, limit)
        elif kind in _STOPS:
            self._try_exec_stop(order, popen, high, low, price, close)
        elif kind == bt.Order.Historical:
            self._try_exec_historical(order)

    def _adjust(self) -> None:
        for data, position in self.positions.items():
            if position:
                close = data.close[0]
                self.cash += self.getcommissioninfo(data).cashadjust(position.size, position.adjbase, close)
                position.adjbase = close

    def _execute(self, order: bt.Order, ago: int | None = None, *args: Any, **kwargs: Any) -> Any:
        if ago is not None and self._lazy:
            self._bring()
        return super()._execute(order, ago, *args, **kwargs)

    # ------------------------------------------------------------ orders
    def buy(self, *args: Any, **kwargs: Any) -> bt.Order:
        """Take a buy order, as stock does."""
        if not self._lazy:
            return super().buy(*args, **kwargs)
        return self._take(bt.order.BuyOrder, *args, **kwargs)

    def sell(self, *args: Any, **kwargs: Any) -> bt.Order:
        """Take a sell order, as stock does."""
        if not self._lazy:
            return super().sell(*args, **kwargs)
        return self._take(bt.order.SellOrder, *args, **kwargs)

    def _take(
        self, kind: type[bt.Order], owner: Any, data: Any, size: Any, price: Any = None, plimit: Any = None,
        exectype: Any = None, valid: Any = None, tradeid: Any = 0, oco: Any = None, trailamount: Any = None,
        trailpercent: Any = None, parent: Any = None, transmit: Any = True, histnotify: Any = False,
        _checksubmit: Any = True, **info: Any,
    ) -> bt.Order:  # fmt: skip
        order = orders.make(
            kind, owner=owner, data=data, size=size, price=price, pricelimit=plimit, exectype=exectype, valid=valid,
            tradeid=tradeid, trailamount=trailamount, trailpercent=trailpercent, parent=parent, transmit=transmit,
            histnotify=histnotify,
        )  # fmt: skip
        if info:
            order.addinfo(**info)
        self._ocoize(order, oco)
        return self.submit(order, check=_checksubmit)

    def notify(self, order: bt.Order) -> None:
        """Queue a copy of the order for its owner."""
        self.notifs.append(orders.clone(order))

    def transmit(self, order: bt.Order, check: bool = True) -> bt.Order:
        """Send an order, as stock does."""
        if self._exact:
            self._settle()
        return super().transmit(order, check=check)

    def _look(self) -> None:
        """Note the positions held, and whether they are all quiet."""
        held = [(data, p) for data, p in self.positions.items() if p.size]
        schemes = {id(s): s for s in (self.getcommissioninfo(data) for data, _ in held)}
        self._plain = all(map(self._is_quiet, schemes.values()))
        self._held = [(p, data.lines.close) for data, p in held]
        if self._plain:
            for data, position in held:
                if isinstance(position, LazyPosition):
                    position._data = data

    def _is_quiet(self, scheme: bt.CommInfoBase) -> bool:
        kind, stock = type(scheme), bt.CommInfoBase
        return bool(
            scheme._stocklike
            and scheme._creditrate == 0.0
            and all(getattr(kind, n) is getattr(stock, n) for n in _QUIET)
        )

    # ------------------------------------------------------------ values of steps gone by
    def values(self, close: Callable[[Any], Floats], steps: int, fund: bool) -> Floats:
        """Return (steps,) the account's values at steps over which nothing changed; fund: of a share of it.

        close(data): (steps,) its closes. The order of operations is that of stock's _get_value.
        """
        if not self._held:
            alone = self.cash + 0.0
            return np.full(steps, alone / self._fundshares if fund else alone)
        worth: Any = 0.0
        for data, position in self.positions.items():
            if not position.size:
                continue  # it adds 0.0, which changes no sum
            scheme, size, price = self.getcommissioninfo(data), position.size, close(data)
            value = size * price
            if not self.p.shortcash:
                value = abs(value if size >= 0 else position.price * size + (position.price - price) * size)
            profit = size * (price - position.price) * scheme.p.mult
            long = worth + (value - profit) / scheme.p.leverage + profit
            worth = np.where(value > 0, long, worth + value)
        result: Floats = self.cash + worth + np.zeros(steps)
        return result / self._fundshares if fund else result
