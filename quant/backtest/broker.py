"""backtrader's broker, recorded; with the one named override for exits (DESIGN §5.4) and our costs.

Source of every rule that is not ours: backtrader 1.9.78.123, brokers/bbroker.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import backtrader as bt
import numpy as np

from quant.backtest.recorder import Recorder, open_reaches
from quant.core.costs import Costs
from quant.errors import LookAheadOrder, ParameterError


class Broker(bt.brokers.BackBroker):  # type: ignore[misc]  # backtrader has no types
    """Stock broker that tells a Recorder what happens and refuses an order that would fill in the past."""

    params: tuple[tuple[str, Any], ...] = (("recorder", None),)

    def notify(self, order: bt.Order) -> None:
        """Record, then notify as stock does."""
        self.p.recorder.order(order)
        super().notify(order)

    def next(self) -> None:
        """Make stock's pass over a step, then record the account."""
        super().next()
        self.p.recorder.step(float(self.cash), float(self._value))

    def _try_exec(self, order: bt.Order) -> None:
        self._refuse_the_past(order)
        super()._try_exec(order)

    def _refuse_the_past(self, order: bt.Order) -> None:
        """With feeds of different pace stock matches an order against a bar that began before the order."""
        recorder: Recorder = self.p.recorder
        if len(recorder.record.bars) == 1:
            return
        if order.exectype == bt.Order.Market and order.data.datetime[0] <= order.created.dt:
            return  # stock waits for the next bar itself
        number = recorder.number(order.data)
        bars, decided = recorder.record.bars[number], recorder.decided(order)
        begin = int(bars.times.begin[len(order.data) - 1])
        if begin < decided:
            at = np.datetime64(decided, "ns").astype("datetime64[s]")
            # Only market orders wait for a new bar; others are tried on the present one at each step of any feed.
            market = order.exectype == bt.Order.Market
            mend = f"Decide for {bars.symbol} only when its own bar ends, or trade" if market else "Trade"
            mend += " it on the faster feed"
            reason = (
                f"a {order.getordername()} order for {bars.symbol} decided at {at} UTC could fill in a bar of "
                f"{bars.bar} that began before, at {np.datetime64(begin, 'ns').astype('datetime64[s]')}. "
                + mend
            )
            raise LookAheadOrder(type(order.owner).__name__, reason)

    def _bracketize(self, order: bt.Order, cancel: bool = False) -> None:
        if not cancel and order.parent is None:
            children = list(self._pchildren[order.ref])[1:]
            self.p.recorder.record.entry_touches += sum(map(_touched, children))
        super()._bracketize(order, cancel)


class TargetBroker(Broker):
    """The broker of q.Strategy. The named override, all of it about exits:

    1. they are active with the fill of their entry (stock: one bar later);
    2. they are tried only on bars later than their decision (stock asks that of market orders only);
    3. an exit waits while the open has already settled that the other one of the pair fills (stock: queue
       order).
    """

    params = (("checksubmit", False),)

    def _bracketize(self, order: bt.Order, cancel: bool = False) -> None:
        bt.brokers.BackBroker._bracketize(self, order, cancel)
        # Stock empties this at the start of the next pass. The children stand behind their parent in the
        # queue, so they are still tried in this pass.
        while self._toactivate:
            self._toactivate.popleft().activate()

    def _try_exec(self, order: bt.Order) -> None:
        if order.data.datetime[0] > order.created.dt and not _other_fills_at_open(order):
            bt.brokers.BackBroker._try_exec(self, order)


def _other_fills_at_open(order: bt.Order) -> bool:
    if order.info.get("pair") is None:
        return False
    stop, limit = open_reaches(order)
    return stop != limit and (limit if order.exectype == bt.Order.Stop else stop)


_STOPS = (bt.Order.Stop, bt.Order.StopLimit, bt.Order.StopTrail, bt.Order.StopTrailLimit)


def _touched(order: bt.Order) -> bool:
    """True where a stop or limit order's price lies within reach of the present bar."""
    high, low, price = order.data.high[0], order.data.low[0], order.created.price
    if order.exectype in _STOPS:
        return bool(high >= price if order.isbuy() else low <= price)
    if order.exectype == bt.Order.Limit:
        return bool(low <= price if order.isbuy() else high >= price)
    return False


# ---------------------------------------------------------------- commission
class Commission(bt.CommInfoBase):  # type: ignore[misc]  # backtrader has no types
    """Our cost tables, or a function f(quantity, price), as backtrader's commission scheme of stocks.

    borrow: yearly rate on shorts. charged: called with the amount of each charge.
    """

    params: tuple[tuple[str, Any], ...] = (
        ("stocklike", True),
        ("commtype", bt.CommInfoBase.COMM_FIXED),
        ("commission_of", None),
        ("charged", None),
    )

    def _getcommission(self, size: float, price: float, pseudoexec: bool) -> float:
        fee: float = self.p.commission_of(size, price)
        return fee

    def get_credit_interest(self, data: Any, pos: Any, dt: Any) -> float:
        """Return stock's charge for a short, and report it."""
        amount: float = super().get_credit_interest(data, pos, dt)
        if amount and self.p.charged is not None:
            self.p.charged(amount)
        return amount


class Magnified(Commission):
    """The same where prices are in 1/magnifier of the currency: London's pence. Money is in the currency.

    Every price is divided before it meets a quantity, in stock's order of operations otherwise.
    """

    params: tuple[tuple[str, Any], ...] = (("magnifier", 100),)

    def getsize(self, price: float, cash: float) -> int:
        """Return how many units so much cash buys."""
        return int(super().getsize(price / self.p.magnifier, cash))

    def getoperationcost(self, size: float, price: float) -> float:
        """Return what `size` units cost, unsigned."""
        return float(super().getoperationcost(size, price / self.p.magnifier))

    def getvaluesize(self, size: float, price: float) -> float:
        """Return what `size` units are worth, signed."""
        return float(super().getvaluesize(size, price / self.p.magnifier))

    def getvalue(self, position: bt.Position, price: float) -> float:
        """Return what a position is worth where shorts bring no cash."""
        return float(super().getvalue(position, price) / self.p.magnifier)

    def profitandloss(self, size: float, price: float, newprice: float) -> float:
        """Return the profit of `size` units between two prices."""
        return float(super().profitandloss(size, price / self.p.magnifier, newprice / self.p.magnifier))

    def _getcommission(self, size: float, price: float, pseudoexec: bool) -> float:
        return super()._getcommission(size, price / self.p.magnifier, pseudoexec)

    def _get_credit_interest(self, data: Any, size: float, price: float, *args: Any) -> float:
        return float(super()._get_credit_interest(data, size, price / self.p.magnifier, *args))


CostFunction = Callable[[float, float], float]


def commission(
    costs: Costs | bt.CommInfoBase | CostFunction,
    borrow: float | None,
    charged: Callable[[float], None],
    magnifier: int = 1,
) -> bt.CommInfoBase:
    """Return the commission scheme for `costs` on an instrument of this price magnifier; an own one as it is.

    Raises ParameterError where borrow cannot be added.
    """
    if isinstance(costs, bt.CommInfoBase):
        if borrow is not None:
            reason = "give it as interest= of your own commission scheme"
            raise ParameterError("borrow", borrow, reason)
        return costs
    function = costs.commission if isinstance(costs, Costs) else _checked(costs)
    rate = 0.0 if borrow is None else borrow
    if magnifier != 1:
        return Magnified(commission_of=function, charged=charged, interest=rate, magnifier=magnifier)
    return Commission(commission_of=function, charged=charged, interest=rate)


def _checked(function: CostFunction) -> CostFunction:
    def call(quantity: float, price: float) -> float:
        try:
            fee = float(function(quantity, price))
        except Exception as e:  # the function is the user's code; whatever it raises is named
            reason = f"raised {type(e).__name__} for {quantity} at {price}: {e}"
            raise ParameterError("costs", function, reason) from e
        if not math.isfinite(fee):
            raise ParameterError("costs", fee, f"the function gave no number for {quantity} at {price}")
        return fee

    return call
