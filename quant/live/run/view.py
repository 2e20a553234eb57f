"""What a runner shows: a picture of itself as plain values each second, and that picture in words. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import numpy as np

from quant.ib.session import Session
from quant.ib.states import State
from quant.live.broker import LiveBroker
from quant.live.feed import LiveFeed
from quant.live.moments import is_open, next_open, trades_since
from quant.live.orders.held import words
from quant.live.run.deployment import Deployment
from quant.live.run.exchange_halt import HALTS, NOT_HALTED
from quant.oms.desk.desk import OrderDesk
from quant.oms.gate import Gate
from quant.oms.ledger import Ledger, Stop
from quant.oms.state import OrderStanding

LAST_ORDERS: Final = 8
SILENT_BARS: Final = 2  # a bar that may come is not missed before that many lengths
SILENT_S: Final = 15.0  # a status that is older: the runner hangs, or is gone


# ---------------------------------------------------------------- a picture
def picture(
    deployment: Deployment, session: Session, desk: OrderDesk, broker: LiveBroker, feeds: Sequence[LiveFeed],
    wants: Mapping[int, float], halts: Mapping[int, int | None], now: int, notes: Iterable[str],
) -> dict[str, Any]:  # fmt: skip
    """Return what there is to see now, for JSON. wants: last target by contract id, of a q.Strategy. now: UTC ns.

    halts: what IB says about a halt of the exchange's, by contract id.
    """
    shown = [_feed(feed, desk, broker, wants, now) for feed in feeds]
    return {
        "name": deployment.name, "mode": "paper" if deployment.paper else "live", "account": deployment.account,
        "strategy": deployment.class_name, "params": dict(deployment.params), "bar": deployment.bar,
        "time": moment(now), "connection": session.state.value, "gate": desk.gate.value, "halted": desk.halted,
        "reducing": desk.reducing, "settled": desk.settled, "capital": deployment.capital,
        "equity": broker.getvalue(), "cash": broker.getcash(), "feeds": shown,
        "orders": [order_of(desk, s) for s in (*_open(desk), *_ended(desk))],
        "why": [*map(words, broker.held), *idle(deployment.name, session, desk, feeds, wants, halts, now)],
        "notes": list(notes),
    }  # fmt: skip


def _feed(
    feed: LiveFeed, desk: OrderDesk, broker: LiveBroker, wants: Mapping[int, float], now: int
) -> dict[str, Any]:
    held, last = broker.getposition(feed), None
    bars = feed.bars
    if len(bars):
        end, close = int(bars[len(bars) - 1 :].end[0]), float(bars.close[-1])
        last = {"end": moment(end), "close": close, "age_s": (now - end) / 1e9}
    gain = None if last is None or not held.size else (last["close"] - held.price) * held.size * _worth(feed)
    return {
        "symbol": feed.instrument.symbol, "con_id": feed.con_id, "status": feed._getstatusname(feed.status),
        "bars": len(bars), "last": last, "position": held.size, "price": held.price if held.size else None,
        "gain": gain, "wants": wants.get(feed.con_id), "gaps": len(feed.gaps),
        "gap": str(feed.gaps[-1]) if feed.gaps else "",
        "halted": desk.halted_instruments.get(feed.con_id, ""),
    }  # fmt: skip


def _worth(feed: LiveFeed) -> float:
    return feed.instrument.multiplier / feed.instrument.price_magnifier


def _open(desk: OrderDesk) -> list[OrderStanding]:
    return list(desk.open_orders)


def _ended(desk: OrderDesk) -> list[OrderStanding]:
    return list(islice((s for s in desk.newest_orders() if s.is_final), LAST_ORDERS))


def order_of(desk: OrderDesk, standing: OrderStanding) -> dict[str, Any]:
    """Return an order as plain values."""
    intent = desk.intent(standing.ref)
    ticket = intent.ticket
    return {
        "ref": standing.ref, "symbol": ticket.symbol, "quantity": str(ticket.quantity), "kind": ticket.kind.value,
        "tif": ticket.tif.value, "price": ticket.stop if ticket.limit is None else ticket.limit,
        "purpose": desk.purpose(standing.ref).value, "state": standing.state.value, "filled": str(standing.filled),
        "fill_price": standing.average, "at": moment(intent.at), "reason": standing.reason,
    }  # fmt: skip


def idle(
    name: str,
    session: Session,
    desk: OrderDesk,
    feeds: Sequence[LiveFeed],
    wants: Mapping[int, float],
    halts: Mapping[int, int | None],
    now: int,
) -> list[str]:
    """Return why nothing happens now, what weighs most first."""
    halted = desk.halted_instruments
    symbols = {feed.con_id: feed.instrument.symbol for feed in feeds}
    found = stopped(name, desk.halted, desk.reducing, halted, symbols)
    if session.state is not State.READY:
        trouble = "" if session.trouble is None else f": {session.trouble}"
        return [*found, f"no connection to IB ({session.state.value}){trouble}"]
    if not desk.settled or desk.gate is Gate.RECONCILING:
        found.append("journal and IB's books are being compared; nothing is sent until they agree twice")
    for feed in feeds:
        if not desk.halted and (feed.con_id not in halted or not is_open(feed.instrument, now)):
            found += _waits(feed, wants, halts, now)
    waiting = [s.ref for s in _open(desk) if s.state.value in ("decided", "unknown")]
    if waiting:
        found.append(f"not settled at IB: {', '.join(waiting)}")
    return found


def stopped(
    name: str, halted: str, reducing: str, instruments: Mapping[int, str], symbols: Mapping[int, str]
) -> list[str]:
    """Return what the journal's stops keep from being sent, and how to end them. instruments: why, by contract id."""
    clear = f"quant halt {name} --clear --reason TEXT"
    if halted:
        return [f"halted: {halted}. Once you have looked: {clear}"]
    found = [f"only what reduces is sent: {reducing}. Until: {clear}"] if reducing else []
    for con_id, why in instruments.items():
        symbol = symbols.get(con_id, str(con_id))
        found.append(f"{symbol} is halted, only what reduces is sent: {why}. Once you have looked: {clear}")
    return found


def afterwards(
    seen: Mapping[str, Any], ledger: Ledger, symbols: Mapping[int, str], told: str, desk: OrderDesk | None
) -> dict[str, Any]:
    """Return what changes in a picture by a command that was carried out without the runner.

    told: by whom and what. desk: who carried it out; None where only the journal knows of it.
    """
    halted = "" if ledger.halted is None else ledger.halted.reason
    reducing = "" if ledger.reducing is None else ledger.reducing.reason
    instruments = ledger.by_instrument(Stop.INSTRUMENT)
    gate = Gate.HALTED if halted else Gate.REDUCING if reducing else Gate.CLOSED
    ended, last = str(seen.get("ended", "")), f"{told}, without it"
    found: dict[str, Any] = {  # money and prices stay those of its time
        "gate": gate.value, "halted": halted, "reducing": reducing,
        "why": [*stopped(seen["name"], halted, reducing, instruments, symbols), "nobody runs it"],
        "ended": ended if ended.endswith(last) else "; ".join(filter(None, (ended, last))),  # each is told twice
        "connection": "no runner",
        "feeds": [{**feed, "halted": instruments.get(feed["con_id"], "")} for feed in seen["feeds"]],
    }  # fmt: skip
    if desk is not None:
        found["orders"] = [order_of(desk, s) for s in (*_open(desk), *_ended(desk))]
        for feed in found["feeds"]:
            feed["position"] = float(desk.positions.get(feed["con_id"], 0))
            feed["gain"] = None
    return found


def _waits(
    feed: LiveFeed, wants: Mapping[int, float], halts: Mapping[int, int | None], now: int
) -> list[str]:
    symbol, status = feed.instrument.symbol, feed.status
    if status == feed.NOTSUBSCRIBED:
        return [f"{symbol}: IB gives no bars: {feed.incoming.refused}"]
    if not is_open(feed.instrument, now):
        opens = next_open(feed.instrument, now)
        return [f"{symbol}: the market is closed" + ("" if opens is None else f" until {moment(opens)}")]
    if feed.incoming.delayed and not feed.wanted.delayed_ok:
        return [f"{symbol}: IB sends delayed data only; subscribe to live data at IB"]
    if status != feed.LIVE:
        return [f"{symbol}: history comes; no order before the newest closed bar"]
    if (since := silent_since(feed, now)) is not None:
        told = f"{symbol}: no bar since {moment(since)}: {_halt(halts.get(feed.con_id))}"
        return [f"{told}. Decided at the next bar's close; orders at IB stay"]
    wanted = wants.get(feed.con_id)
    if wanted is None:
        return [f"{symbol}: the strategy has not wanted anything yet"]
    return [f"{symbol}: it wants {wanted:g} and waits for that to change; decided at each bar's close"]


def silent_since(feed: LiveFeed, now: int) -> int | None:
    """Return since when a live feed lacks bars that the time of day would bring, UTC ns; None while they come."""
    since = trades_since(feed.instrument, now)
    known = feed.live and feed.bar.intraday and not feed.incoming.delayed and len(feed.bars) > 0
    if since is None or not known:
        return None
    last = max(int(feed.bars[len(feed.bars) - 1 :].end[0]), since)
    return None if now < last + SILENT_BARS * feed.bar.ns else last


def _halt(told: int | None) -> str:
    """Return why no bar comes, by what IB says about a halt."""
    if told in HALTS:
        return f"trading in it is halted, says IB ({HALTS[told]})"
    if told == NOT_HALTED:
        return "nobody trades it; it is not halted, says IB"
    return "nobody trades it, as in a halt of the exchange's, or IB sends nothing"


def moment(ns: int) -> str:
    """Return a UTC time as text, to the second."""
    return f"{str(np.datetime64(ns, 'ns').astype('datetime64[s]')).replace('T', ' ')} UTC"


# ---------------------------------------------------------------- in words
def lines(seen: Mapping[str, Any], alive: str = "") -> list[str]:
    """Return a picture as lines of text. alive: what is known of the process, "" = it is this one."""
    params = " ".join(f"{key}={value}" for key, value in seen["params"].items())
    gain = seen["equity"] - seen["capital"]
    found = [
        f"{seen['name']} · {seen['mode']} · {seen['account']} · {seen['strategy']} {params}".rstrip(),
        f"  time      {seen['time']}" + (f"   {alive}" if alive else ""),
        f"  gate      {seen['gate']}, {seen['connection']}",
        f"  money     {seen['equity']:,.2f} of {seen['capital']:,.2f} ({gain:+,.2f}), cash {seen['cash']:,.2f}",
    ]
    found += [f"  {feed['symbol']:<9} {_feed_words(feed, seen['bar'])}" for feed in seen["feeds"]]
    found += [f"  order     {order_words(order)}" for order in seen["orders"]]
    found += [f"  why       {text}" for text in seen["why"]]
    found += [f"  {text}" for text in seen["notes"]]
    return found


def _feed_words(feed: Mapping[str, Any], bar: str) -> str:
    last = feed["last"]
    told = f"{bar} {feed['status'].lower()}, {feed['bars']:,} bars"
    if last is not None:
        told += f", last {last['end'][11:16]} close {last['close']:,.2f}"
    if feed["position"]:
        gain = "" if feed["gain"] is None else f" ({feed['gain']:+,.2f})"
        at = "" if feed["price"] is None else f" at {feed['price']:,.2f}"  # who took over knows no price
        told += f"; holds {feed['position']:+,g}{at}{gain}"
    else:
        told += "; flat"
    told += "" if feed["wants"] is None else f"; wants {feed['wants']:g}"
    if feed["gaps"] and "gap" not in feed:  # a status of an earlier release
        told += f"; no bars in {feed['gaps']} stretches"
    elif feed["gaps"]:
        told += f"; {feed['gap']}" + (f", and {feed['gaps'] - 1} before" if feed["gaps"] > 1 else "")
    return told + (f"; halted: {feed['halted']}" if feed["halted"] else "")


def order_words(order: Mapping[str, Any]) -> str:
    """Return an order of a picture in words."""
    quantity = float(order["quantity"])
    side = "buy" if quantity > 0 else "sell"
    price = "" if order["price"] is None else f" at {order['price']:g}"
    told = (
        f"{order['ref']} {side} {abs(quantity):,g} {order['symbol']} {order['kind']}{price}: {order['state']}"
    )
    if float(order["filled"]):
        at = "" if order["fill_price"] is None else f" at {order['fill_price']:,.4f}"
        told += f", {abs(float(order['filled'])):,g} filled{at}"
    return told + (f" ({order['reason']})" if order["reason"] else "")
