"""backtrader's orders, made and copied for less: the same classes with the same values.

Stock makes an order through general machinery for parameters and copies it by `copy`; an order is copied three
times before it is filled. Here the values are written directly. What is asked often stands on the order itself
(stock: in its params), and `created` shares one empty list of executions, which nobody fills.

Source: backtrader 1.9.78.123, order.py (OrderBase.__init__, OrderData) and metabase.py (MetaParams.donew).
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from typing import Any, Final

import backtrader as bt
from backtrader.order import BuyOrder, OrderBase, OrderData
from backtrader.utils import AutoOrderedDict

_NO_BITS: Final[deque[Any]] = deque()
_TRAILS: Final = (bt.Order.StopTrail, bt.Order.StopTrailLimit)
_LAST = dt.time(23, 59, 59, 9999)


def make(kind: type[bt.Order], **given: Any) -> bt.Order:
    """Return kind(**given), an order as stock's broker makes it. given: every parameter but oco and simulated."""
    order = object.__new__(kind)
    params = object.__new__(kind.params)
    params.oco = None
    params.simulated = False
    for name, value in given.items():
        setattr(params, name, value)
    order.params = order.p = params
    order.ref = next(OrderBase.refbasis)
    order.broker = None
    order.info = AutoOrderedDict()
    order.comminfo = None
    order.triggered = False
    order._active = params.parent is None
    order.status = 0  # Created
    order.plimit = params.pricelimit
    order.exectype = 0 if params.exectype is None else params.exectype  # Market
    data = order.data = params.data
    order.owner, order.tradeid, order.parent = params.owner, params.tradeid, params.parent
    buying = kind is BuyOrder
    order.size = size = params.size if buying else -params.size
    close, stamp = data.lines.close[0], data.lines.datetime[0]
    price, limit = params.price, params.pricelimit
    order.created = created = _quantities(
        close, _NO_BITS, stamp, size, 0, close if not price and not limit else price, limit, params.trailamount,
        params.trailpercent,
    )  # fmt: skip
    order._limitoffset = 0.0
    if order.exectype in _TRAILS:
        order._limitoffset = created.price - created.pricelimit
        price, created.price = created.price, float("inf" if buying else "-inf")
        order.trailadjust(price)
    order.executed = _quantities(0.0, deque(), None, 0, size, 0.0, 0.0, 0.0, 0.0)
    order.position = 0
    now = data.datetime.datetime()
    order.valid = _valid(params.valid, data, now, stamp)
    end = data.p.sessionend
    over = now.replace(hour=end.hour, minute=end.minute, second=end.second, microsecond=end.microsecond)
    order.dteos = data.date2num(over if over >= now else over + dt.timedelta(days=1))
    return order


def _quantities(
    pclose: Any, bits: deque[Any], moment: Any, size: Any, left: Any, price: Any, limit: Any, amount: Any,
    percent: Any,
) -> OrderData:  # fmt: skip
    data = object.__new__(OrderData)
    data.pclose = pclose
    data.exbits = bits
    data.p1 = data.p2 = 0
    data.dt = moment
    data.size = size
    data.remsize = left
    data.price = limit if limit and not price else price
    data.pricelimit = limit if limit else price
    data.trailamount = amount
    data.trailpercent = percent
    data.plimit = limit
    data.value = data.comm = 0.0
    data.margin = None
    data.pnl = 0.0
    data.psize = data.pprice = 0
    return data


def _valid(valid: Any, data: Any, now: dt.datetime, stamp: float) -> Any:
    """Return what stock compares with the time: a number is left as it is, and so is 0, by a fault of stock's."""
    if isinstance(valid, dt.date):
        return data.date2num(valid)
    if isinstance(valid, dt.timedelta):
        return data.date2num(dt.datetime.combine(now.date(), _LAST) if not valid else now + valid)
    if valid is not None and valid:
        _ = stamp + valid  # stock's sum, which it forgets: what is no number raises here
    return valid


def clone(order: bt.Order) -> bt.Order:
    """Return order.clone()."""
    executed = order.executed
    executed.p1, executed.p2 = executed.p2, len(executed.exbits)
    copy = order.__class__.__new__(order.__class__)
    for name, value in vars(order).items():
        setattr(copy, name, value)
    copy.executed = kept = object.__new__(OrderData)
    for name, value in vars(executed).items():
        setattr(kept, name, value)
    return copy
