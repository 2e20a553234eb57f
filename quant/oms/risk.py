"""The risk gate: what an order is for, and why it may not be sent. Pure; it stands behind the strategy.

What only makes a position smaller is never refused here (DESIGN §5.8): getting out must always be possible. Whether
anything may be sent at all is the gate's (quant/oms/gate.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from typing import Final

from quant.core.orders import Kind, Ticket, TimeInForce
from quant.errors import ParameterError
from quant.oms.gate import Gate, Purpose
from quant.oms.limits import SECOND, Context, Limits, Market, Refusal

TRAILS: Final = frozenset({Kind.TRAIL, Kind.TRAIL_LIMIT})
STOPS: Final = frozenset({Kind.STOP, Kind.STOP_LIMIT}) | TRAILS
AUCTIONS: Final = frozenset({Kind.MARKET_ON_CLOSE, Kind.LIMIT_ON_CLOSE})
WITH_LIMIT: Final = frozenset({Kind.LIMIT, Kind.STOP_LIMIT, Kind.LIMIT_ON_CLOSE})
WITH_STOP: Final = frozenset({Kind.STOP, Kind.STOP_LIMIT, Kind.TRAIL_LIMIT})
MAX_REF: Final = 40  # characters; longer orderRefs are cut by TWS


# ---------------------------------------------------------------- what an order is
def check_ticket(ticket: Ticket) -> None:
    """Raise ParameterError for a ticket that no broker could work: the program that made it is at fault."""
    if not (ticket.ref and ticket.ref.isascii() and ticket.ref.isprintable() and len(ticket.ref) <= MAX_REF):
        raise ParameterError("ref", ticket.ref, f"must be 1 to {MAX_REF} printable characters of ASCII")
    if not (ticket.quantity.is_finite() and ticket.quantity != 0):
        raise ParameterError(
            "quantity", ticket.quantity, "must be a finite number other than 0; below 0 sells"
        )
    needs = {
        "limit": ticket.kind in WITH_LIMIT,
        "stop": ticket.kind in WITH_STOP,
        "trail": ticket.kind in TRAILS and ticket.percent is None,
        "percent": ticket.kind in TRAILS and ticket.trail is None,
        "offset": ticket.kind is Kind.TRAIL_LIMIT,
        "good_till": ticket.tif is TimeInForce.GTD,
    }
    for name, needed in needs.items():
        value = getattr(ticket, name)
        if needed and value is None:
            raise ParameterError(name, value, f"is needed for {ticket.kind} {ticket.tif}")
        least = value == 0 and name == "offset"
        if value is not None and not (math.isfinite(value) and (value > 0 or least)):
            raise ParameterError(name, value, "must be a positive number")
        if value is not None and not needed and not (name == "stop" and ticket.kind is Kind.TRAIL):
            raise ParameterError(name, value, f"has no meaning for {ticket.kind} {ticket.tif}")
    if ticket.percent is not None and ticket.percent >= 100:
        raise ParameterError("percent", ticket.percent, "must be below 100")


def purpose(ticket: Ticket, context: Context) -> Purpose:
    """Return what the order is for, given what is held and what is on its way.

    A reduction closes at most what other reductions leave. Protective orders do not count as such, nor, for a market
    order, limits that wait for their price: none of them must stand in the way of getting out, and what they would
    close beyond what is left then is taken back from them (desk/fitting.py). A child protects what its entry opens.
    """
    position = context.position(ticket.con_id)
    guards = ticket.kind in STOPS or bool(ticket.oca)
    if context.parent is not None:
        covered = closes(ticket.quantity, context.parent.quantity)
        return Purpose.PROTECTION if covered else Purpose.ENTRY
    if guards and closes(ticket.quantity, position):
        return Purpose.PROTECTION
    leaving = (w for w in context.working if w.con_id == ticket.con_id and _leaves(w.purpose))
    under_way = sum((w.remaining for w in leaving if w.price is None or ticket.limit is not None), Decimal(0))
    left = position + under_way if under_way * position < 0 else position
    return Purpose.REDUCTION if left * position > 0 and closes(ticket.quantity, left) else Purpose.ENTRY


def closes(quantity: Decimal, held: Decimal) -> bool:
    """Return whether an order of that signed quantity only makes `held` smaller."""
    return quantity * held < 0 and abs(quantity) <= abs(held)


def common(one: Decimal, other: Decimal) -> Decimal:
    """Return what two counts of a position have in common: the smaller, 0 where they lie on different sides."""
    return min(one, other, key=abs) if one * other > 0 else Decimal(0)


def _leaves(purpose: Purpose) -> bool:
    return purpose in (Purpose.REDUCTION, Purpose.FLATTEN)


def rounded(ticket: Ticket, tick: float | None) -> Ticket:
    """Return the ticket with prices on the instrument's steps, away from the market: never a worse fill than asked.

    A limit is moved to the side that waits, a stop to the one that is touched later, distances to the nearest step.
    """
    if tick is None:
        return ticket
    up, down = ROUND_CEILING, ROUND_FLOOR
    buys = ticket.quantity > 0
    limit = _step(ticket.limit, tick, down if buys else up)
    stop = _step(ticket.stop, tick, up if buys else down)
    trail = None if ticket.trail is None else max(_step(ticket.trail, tick, ROUND_HALF_EVEN) or 0.0, tick)
    offset = _step(ticket.offset, tick, ROUND_HALF_EVEN)
    if (limit, stop, trail, offset) == (ticket.limit, ticket.stop, ticket.trail, ticket.offset):
        return ticket
    return replace(ticket, limit=limit, stop=stop, trail=trail, offset=offset)


@lru_cache(maxsize=256)  # the prices of an order come here several times before it is sent
def _step(price: float | None, tick: float, rounding: str) -> float | None:
    if price is None:
        return None
    step = Decimal(str(tick))
    # repr of the nearest 12 digits: 100.1 came as 100.10000000000001 and must not go a whole tick away.
    steps = (Decimal(f"{price:.12g}") / step).quantize(Decimal(1), rounding=rounding)
    return float(steps * step)


# ---------------------------------------------------------------- why it is not sent
def refusals(ticket: Ticket, context: Context, limits: Limits) -> tuple[Refusal, ...]:
    """Return all reasons against sending the order; none = it may go.

    Reductions, protective orders and a person's command to get out are never refused by a limit, a collar, a rate or
    the health of data.
    """
    if purpose(ticket, context) is not Purpose.ENTRY:
        return ()
    market = context.markets.get(ticket.con_id)
    if ticket.con_id not in context.allowed or market is None:
        why = f"{ticket.symbol} ({ticket.con_id}) is not an instrument of this deployment"
        return (Refusal("instrument", why),)
    checks = (_permission, _session, _health, _size, _price, _exposure, _counts, _money)
    return tuple(refusal for check in checks for refusal in check(ticket, context, limits, market))


Found = Iterator[Refusal]


def _set(name: str) -> str:
    """Return which limit refuses, and where a person sets it."""
    return f"({name}: in [limits] of the lock file, or getbroker's limits)"


def _permission(ticket: Ticket, context: Context, limits: Limits, market: Market) -> Found:
    if context.gate is Gate.REDUCING:
        yield Refusal("reducing", "only reductions are sent now")
    if context.gate is Gate.HALTED:
        yield Refusal("halted", "halted; a person must look and clear it")
    halted = (context.halted or {}).get(ticket.con_id)
    if halted is not None:
        yield Refusal("instrument-halted", f"{ticket.symbol} is halted: {halted}")
    if ticket.kind not in limits.kinds:
        known = ", ".join(sorted(limits.kinds))
        yield Refusal("kind", f"orders of kind {ticket.kind} are not allowed; {known} are {_set('kinds')}")
    after = context.position(ticket.con_id) + _coming(ticket.con_id, context) + ticket.quantity
    if after < 0 and ticket.quantity < 0:
        if context.account.is_cash:
            yield Refusal(
                "short-in-cash-account", f"would be {after} {ticket.symbol}; a cash account cannot be short"
            )
        elif not limits.shorts:
            yield Refusal(
                "short", f"would be {after} {ticket.symbol}; shorts are not declared (limits: shorts)"
            )
    side = 1 if ticket.quantity > 0 else -1
    if (ticket.con_id, side, context.bar) in context.decided:
        yield Refusal(
            "duplicate", f"an order of that side for {ticket.symbol} was decided on this bar before"
        )


def _coming(con_id: int, context: Context) -> Decimal:
    """Return what working orders would add to the position; protective ones wait and are left out."""
    waits = Purpose.PROTECTION
    return sum(
        (w.remaining for w in context.working if w.con_id == con_id and w.purpose is not waits), Decimal(0)
    )


def _session(ticket: Ticket, context: Context, limits: Limits, market: Market) -> Found:
    if market.blackout:
        yield Refusal("blackout", "TWS restarts about now; entries wait until it is back")
    at_auction = ticket.tif is TimeInForce.OPG or ticket.kind in AUCTIONS
    if not market.is_open and ticket.tif is not TimeInForce.OPG:
        yield Refusal("closed", f"the session of {ticket.symbol} is closed")
    if at_auction and market.cutoff is not None and context.now > market.cutoff - limits.cutoff_s * SECOND:
        told = f"less than {limits.cutoff_s:g} s are left to the auction's cut-off"
        yield Refusal("cut-off", f"{told} {_set('cutoff_s')}")


def _health(ticket: Ticket, context: Context, limits: Limits, market: Market) -> Found:
    if market.delayed:
        yield Refusal("delayed-data", f"data of {ticket.symbol} are delayed; subscribe to live data at IB")
    if market.late:
        yield Refusal("late-data", f"bars of {ticket.symbol} do not come on time")
    offset = context.clock_offset_s
    if offset is None or not abs(offset) < limits.clock_offset_s:
        told = "not known" if offset is None else f"{offset:g} s away from IB's"
        most = f"at most {limits.clock_offset_s:g} s are allowed {_set('clock_offset_s')}"
        yield Refusal("clock", f"this machine's clock is {told}; {most}")
    if market.price is None or not math.isfinite(market.price):
        yield Refusal("no-price", f"no price of {ticket.symbol} is known")
        return
    age_s = (context.now - market.at) / SECOND
    oldest_s = limits.bar_periods * market.bar_ns / SECOND if market.bar_ns else limits.quote_age_s
    if age_s > oldest_s:
        most = f"{oldest_s:g} s are allowed {_set('bar_periods' if market.bar_ns else 'quote_age_s')}"
        yield Refusal("old-price", f"the last price of {ticket.symbol} is {age_s:.0f} s old; {most}")


def _size(ticket: Ticket, context: Context, limits: Limits, market: Market) -> Found:
    size = abs(ticket.quantity)
    if size < market.min_size or size % market.size_step != 0:
        steps = f"at least {market.min_size}, in steps of {market.size_step}"
        yield Refusal("size", f"{size} {ticket.symbol}: quantities must be {steps}")
    if limits.max_quantity is not None and size > limits.max_quantity:
        told = f"{size} {ticket.symbol}: more than {limits.max_quantity} in one order"
        yield Refusal("max-quantity", f"{told} {_set('max_quantity')}")
    notional = cost(ticket, market)
    if notional is None:
        yield Refusal(
            "no-value", f"what {size} {ticket.symbol} cost cannot be told: price or exchange rate unknown"
        )
    elif limits.max_notional is not None and notional > limits.max_notional:
        told = f"one order of {notional:,.0f}; at most {limits.max_notional:,.0f} are allowed"
        yield Refusal("max-notional", f"{told} {_set('max_notional')}")


def cost(ticket: Ticket, market: Market) -> float | None:
    """Return what the order may cost in base currency, by the highest of its own and the market's price."""
    prices = [p for p in (ticket.limit, ticket.stop, market.price) if p is not None]
    return market.notional(ticket.quantity, max(prices, default=None))


def _price(ticket: Ticket, context: Context, limits: Limits, market: Market) -> Found:
    if market.price is None:
        return  # refused by _health
    for name, price in (("limit", ticket.limit), ("stop", ticket.stop)):
        if price is None:
            continue
        away = abs(price - market.price) / market.price if market.price > 0 else math.inf
        if away > limits.collar * (1 + 1e-9):  # 97 is 3 % from 100, whatever floats say
            told = f"{name} {price:g} is {away:.1%} from the last price {market.price:g}"
            yield Refusal("collar", f"{told}; {limits.collar:.1%} are allowed {_set('collar')}")


def _exposure(ticket: Ticket, context: Context, limits: Limits, market: Market) -> Found:
    held = _values(context)
    own = held.pop(ticket.con_id, 0.0)
    coming = context.position(ticket.con_id) + _coming(ticket.con_id, context) + ticket.quantity
    after = market.notional(coming, market.price)
    if after is None or own is None or any(value is None for value in held.values()):
        if limits.max_position is not None or limits.max_gross is not None:
            yield Refusal("no-exposure", "what is held cannot be valued: a price or exchange rate is unknown")
        return
    if limits.max_position is not None and after > limits.max_position:
        told = f"{ticket.symbol} would be {after:,.0f}"
        told += f"; at most {limits.max_position:,.0f} are allowed {_set('max_position')}"
        yield Refusal("max-position", told)
    gross = after + sum(value for value in held.values() if value is not None)
    if limits.max_gross is not None and gross > limits.max_gross:
        told = f"all positions would be {gross:,.0f}; at most {limits.max_gross:,.0f} are allowed"
        yield Refusal("max-gross", f"{told} {_set('max_gross')}")
    if limits.max_holdings is not None and len(held) + 1 > limits.max_holdings:
        told = f"{len(held) + 1} instruments would be held; {limits.max_holdings} are allowed"
        yield Refusal("max-holdings", f"{told} {_set('max_holdings')}")


def _values(context: Context) -> dict[int, float | None]:
    """Return the notional of what is held or comes, by instrument; None where it cannot be told."""
    coming = {w.con_id for w in context.working} | set(context.positions)
    values: dict[int, float | None] = {}
    for con_id in coming:
        quantity = context.position(con_id) + _coming(con_id, context)
        if quantity != 0:
            market = context.markets.get(con_id)
            values[con_id] = None if market is None else market.notional(quantity, market.price)
    return values


def _counts(ticket: Ticket, context: Context, limits: Limits, market: Market) -> Found:
    entries = [w for w in context.working if w.purpose is Purpose.ENTRY]
    here = sum(w.con_id == ticket.con_id for w in entries)
    if here >= limits.max_working:
        told = (
            f"entries of {ticket.symbol} at work: {here}; {limits.max_working} allowed {_set('max_working')}"
        )
        yield Refusal("working", told)
    if len(entries) >= limits.max_working_total:
        told = (
            f"entries at work: {len(entries)}; {limits.max_working_total} allowed {_set('max_working_total')}"
        )
        yield Refusal("working-total", told)
    if context.entries_minute >= limits.orders_per_minute:
        told = f"{context.entries_minute} entries in the last minute; {limits.orders_per_minute} are allowed"
        yield Refusal("rate-minute", f"{told} {_set('orders_per_minute')}", halts=True)
    if context.entries_day >= limits.orders_per_day:
        told = f"{context.entries_day} entries in the last day; {limits.orders_per_day} are allowed"
        yield Refusal("rate-day", f"{told} {_set('orders_per_day')}", halts=True)


def _money(ticket: Ticket, context: Context, limits: Limits, market: Market) -> Found:
    if context.account.is_cash and ticket.quantity > 0:
        yield from _settled(ticket, context, market)
    if not limits.what_if or context.traded:
        return
    if context.what_if is None:
        yield Refusal(
            "margin-unknown", f"IB was not asked what an order of {ticket.symbol} would need (what-if)"
        )
        return
    left = context.what_if.equity_after - context.what_if.margin_after
    if not left >= limits.margin_floor * context.what_if.equity_after:
        told = f"excess liquidity would be {left:,.0f} of {context.what_if.equity_after:,.0f}"
        yield Refusal("margin", f"{told}; {limits.margin_floor:.0%} must be left {_set('margin_floor')}")


def _settled(ticket: Ticket, context: Context, market: Market) -> Found:
    if context.account.settled is None:
        yield Refusal(
            "settled-unknown", "a cash account, and IB did not tell how much of its cash has settled"
        )
        return
    needs = [cost(ticket, market)]
    for order in context.working:
        if order.remaining > 0 and order.purpose is Purpose.ENTRY:
            other = context.markets.get(order.con_id)
            price = None if other is None else (other.price if order.price is None else order.price)
            needs.append(None if other is None else other.notional(order.remaining, price))
    known = [need for need in needs if need is not None]
    if len(known) < len(needs) or sum(known) > context.account.settled:
        told = f"needs {sum(known):,.0f} of settled cash; {context.account.settled:,.0f} are there"
        yield Refusal("unsettled-cash", f"{ticket.symbol}: {told}")
