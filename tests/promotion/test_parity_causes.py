"""Each scripted cause is named by parity, its money stands in the right part, and the parts add up to the cent.

All of them are lived: the live path trades against the simulated TWS, whose faults bring what goes wrong, whose process
is stopped and begun again, and who is asked anew for its bars where those are others afterwards. Nothing is written
into the records. Two figures are put in by hand, for a rehearsal's clock and limits cannot be off: see the desk below.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np
import pytest
from parity_days import Past, lived_through, spy, times, with_close, without_bar

from quant.core.bars import Bars
from quant.core.barsize import SECOND
from quant.core.synthetic import synthetic
from quant.live.run.tape import DecisionLine
from quant.oms.desk.setup import Surroundings
from quant.promotion import causes
from quant.promotion import live as live_path
from quant.promotion.causes import UNEXPLAINED, moment
from quant.promotion.parity import Parity
from quant.promotion.stage import Stage
from quant.tws.exchange.history import History
from quant.tws.exchange.shelf import held_bars
from quant.tws.exchange.tape import Tape
from quant.tws.exchange.ticks import TickRule
from quant.tws.faults import Do, Fault, Faults
from quant.tws.order_faults import SNAPSHOTS, OrderDo, OrderFault

Bent = Callable[[Bars], Bars]
FIVE = 5 * SECOND  # between two pieces of a bar


# ---------------------------------------------------------------- days
@cache
def day(**options: Any) -> Past:
    """A day that was traded; of the same options the same one."""
    return lived_through(**options)


def clean() -> Past:
    return day()


def faulty(*faults: Fault | OrderFault, **options: Any) -> Past:
    return day(faults=faults, **options)


def decisions(past: Past) -> list[int]:
    """The ENDs on which live decided, but for the first ones."""
    return sorted(line.end for line in past.lines if isinstance(line, DecisionLine))


def otherwise(bars: Bent, **options: Any) -> Past:
    """A day after which TWS has other bars."""
    return lived_through(since=has_now(bars), **options)


def has_now(change: Bent) -> Callable[[Stage], None]:
    """Return what makes TWS's history another one."""

    def since(stage: Stage) -> None:
        held = {b.instrument.con_id or 0: held_bars([change(b)]) for b in stage.bars}
        stage.server.tws.history = History(Tape(held))

    return since


def pieces_before(end: int) -> int:
    """How many pieces of bars TWS sends on the usual day before the last one of the bar that ends then."""
    return (end - int(spy(0, 1).start[0])) // FIVE - 1


def a_step(stage: Stage) -> None:
    """Fill a cent above the open."""
    model: Any = stage.exchange._model
    con_id, held = next(iter(model._bars.items()))
    model._bars[con_id] = replace(held, open=np.minimum(held.open + 0.01, held.high))


def a_part(stage: Stage) -> None:
    """Fill 4 of the third order, and the rest half a minute later."""
    seen: Counter[Any] = Counter()

    def cut(view: Any, left: Decimal) -> Decimal:
        seen[view.request.key] += 1
        if len(seen) == 3 and seen[view.request.key] == 1:
            working = stage.exchange.books.find(view.request.key)
            assert working is not None
            working.held_until = (working.since or 0) + 30 * SECOND
            return Decimal(4)
        return left

    stage.exchange.cut = cut


def late_bar() -> Past:
    """The last piece of the bar comes 10 s late, and history is no faster."""
    late = Fault(Do.LATE, on="RealTimeBarTick", skip=pieces_before(decisions(clean())[2]), late_s=10.0)
    return faulty(late, Fault(Do.LATE, on="HistoricalDataRequest", late_s=25.0), staged=a_step)


def missed_bar() -> Past:
    """No piece comes of the minute on which it would have bought, and history has no answer on that day."""

    def well_again(stage: Stage) -> None:
        stage.server.faults = Faults(())

    first = pieces_before(decisions(clean())[2]) - 11
    lost = Fault(Do.LOSE, on="RealTimeBarTick", skip=first, count=12)
    mute = Fault(Do.REFUSE, on="HistoricalDataRequest", count=0, code=162, text="HMDS query returned no data")
    return lived_through(faults=(lost, mute), since=well_again)


class _Bars(list[Any]):
    """Feeds as an argument that a cache can keep."""

    def __init__(self, *bars: Any) -> None:
        super().__init__(bars)

    def __hash__(self) -> int:  # type: ignore[override]  # it is never changed
        return hash(tuple(b.fingerprint for b in self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Bars) and hash(self) == hash(other)


def restart() -> Past:
    """Nobody is there from right before the third decision to some time after the fourth."""
    ends = decisions(clean())
    return lived_through(gone=[(ends[2] - SECOND, ends[3] + 100 * SECOND)])


def killed_with_an_order_on_its_way() -> Past:
    """The third order comes to TWS, and fills, when its process is gone already."""
    third = decisions(clean())[2]
    late = OrderFault(OrderDo.LATE, skip=2, seconds=20.0)
    return lived_through(faults=[late], gone=[(third + 5 * SECOND, third + 130 * SECOND)])


def delayed_data() -> Past:
    """TWS says 10167 right before the third decision, and the line is sound again after the fourth."""
    ends = decisions(clean())
    told = "Requested market data is not subscribed. Displaying delayed market data."
    back = (ends[3] - int(spy(0, 1).start[0])) / SECOND + 600.0 + 100.0  # the stage begins 600 s earlier
    return faulty(
        Fault(Do.REFUSE, on="RealTimeBarTick", skip=pieces_before(ends[2]) - 1, code=10167, text=told),
        Fault(Do.SAY, after_s=back, code=1101, text="Connectivity has been restored - data lost."),
    )


@cache
def stream_15_minutes_old() -> Past:
    """The same without a word: for 40 minutes each piece comes a quarter of an hour late."""
    first = pieces_before(decisions(clean())[0]) - 1
    return faulty(Fault(Do.LATE, on="RealTimeBarTick", skip=first, count=480, late_s=900.0))


def carried() -> Past:
    """The last order of the first day comes to TWS after the close, and its process is gone until the next morning.

    A market order that comes then waits for the open.
    """
    two = spy(195, 240)
    close, opens = int(two.end[194]), int(two.start[195])
    on_day = day(feeds=_Bars(two))
    sent = [i.at for i in on_day.ledger.intents if i.at < close]
    late = OrderFault(OrderDo.LATE, skip=len(sent) - 1, seconds=(close - sent[-1]) / SECOND + 30.0)
    return lived_through(feeds=two, faults=[late], gone=[(sent[-1] + 5 * SECOND, opens - 300 * SECOND)])


def split_over_night(first: int = 585, **options: Any) -> Past:
    """TWS's prices are a quarter in the second session, and afterwards its history has the first one so too."""
    raw = times(spy(first, 330), 4.0, 195)
    return otherwise(lambda b: times(b, 0.25, 195), feeds=raw, **options)


def split_of_what_is_held() -> Past:
    """Ten are held over the night, and 37 of somebody else's: TWS has four times as many in the morning."""
    return split_over_night(
        195, faults=[OrderFault(OrderDo.SPLIT, after_s=15 * 3600.0, symbol="SPY", times=4)]
    )


def nothing_else_held(stage: Stage) -> None:
    """Sell what the stage holds of others."""
    account = stage.exchange.account
    for held in list(account.holdings):
        account.book(held.listing, -held.quantity, held.listing.first_price, 0.0)


def half_step() -> Past:
    """Prices moved in cents on the day; since then they move in steps of 0.05."""

    def coarser(stage: Stage) -> None:
        listings: Any = stage.server.tws.catalogue._listings
        for con_id in [b.instrument.con_id for b in stage.bars]:
            listings[con_id] = replace(listings[con_id], rule=TickRule(990, ((0.0, "0.05"),)))

    return lived_through("macd_stochastic", spy(0, 100), params={"atr_period": 10}, since=coarser)


class _Params(dict[str, Any]):
    def __hash__(self) -> int:  # type: ignore[override]  # it is never changed
        return hash(tuple(sorted(self.items())))


def half_day() -> Past:
    return day(feeds=_Bars(synthetic("SPY", "1m", "2020-12-24", "2020-12-24", price=370.0)))


# ---------------------------------------------------------------- the table
@dataclass(frozen=True)
class Row:
    """past: what was. words: in a cause. rule: of causes.RULES that must name it, "" = no order differs.

    parts: those that are not 0. diverged: how many decisions.
    """

    past: Callable[[], Past]
    words: str
    rule: str
    parts: tuple[str, ...] = ("missed",)
    diverged: int = 0


TABLE = {
    "late bar": Row(late_bar, "sent 10 s after its bar's END", "sent late", ("price",)),
    "revised bar": Row(
        lambda: otherwise(lambda b: with_close(b, 64, -1.0)),
        "the bar of 2020-12-15T15:35:00: its bar came with low", "data", ("revised data",), 4,
    ),
    "missed bar": Row(
        missed_bar, "the bar of 2020-12-15T15:34:00: its bar never came live", "data", ("revised data",), 2
    ),
    "bar taken back": Row(
        lambda: otherwise(lambda b: without_bar(b, 63)), "live had a bar that IB does not have now", "data",
        ("revised data",), 2,
    ),
    "revised close of a sizing": Row(
        lambda: otherwise(lambda b: with_close(b, 33, 0.01), sizing="cash:20182"),
        "its bar came with", "bar", ("revised data",),
    ),
    "partial fill": Row(
        lambda: faulty(OrderFault(OrderDo.CANCELLED, skip=2, seconds=5.0), staged=a_part),
        "TWS filled a part of it", "part",
    ),
    "slippage": Row(lambda: day(staged=a_step), "slippage: +0.27 bps", "slippage", ("price",)),
    "reject": Row(lambda: faulty(OrderFault(OrderDo.REJECT, skip=2, code=201, text="no")), "rejected: no", "rejected"),
    "commission change": Row(
        lambda: day(billed="ib-tiered"), "TWS billed another commission", "commission", ("commission",)
    ),
    "halt": Row(
        lambda: faulty(OrderFault(OrderDo.HAND, after_s=3000.0, symbol="SPY", quantity=5)),
        "not sent: SPY is halted: SPY: the broker holds 52", "not sent",
    ),
    "manual close": Row(
        lambda: faulty(OrderFault(OrderDo.HAND_CLOSE, after_s=4330.0, symbol="SPY")),
        "not sent: SPY is halted: SPY: the broker holds 0", "not sent",
    ),
    "restart": Row(restart, "not running from 2020-12-15T15:33:00 to 2020-12-15T15:40:40", "gap"),
    "killed with an order on its way": Row(
        killed_with_an_order_on_its_way, "not running from 2020-12-15T15:34:00 to 2020-12-15T15:36:10", "", ()
    ),
    "split while it runs": Row(
        lambda: faulty(OrderFault(OrderDo.SPLIT, after_s=4000.0, symbol="SPY", times=4)), "not sent: halted", "not sent"
    ),
    "split over night": Row(
        lambda: split_over_night(staged=nothing_else_held), "a split: live's earlier bars were 4 times",
        "data", ("revised data",), 10,
    ),
    "split of what is held": Row(
        split_of_what_is_held, "a split: live's earlier bars were 4 times", "data", ("revised data",), 11
    ),
    "split since": Row(lambda: otherwise(lambda b: times(b, 0.25)), "a split since", "", ()),
    "half day": Row(half_day, "", "", ()),
    "delayed data": Row(delayed_data, "IB sent delayed data", "delayed"),
    "stream a quarter of an hour old": Row(
        stream_15_minutes_old, "IB sent delayed data", "delayed", ("extra", "missed")
    ),
    "exit that a quarter of an hour hid": Row(
        stream_15_minutes_old, "closes what was not wanted any more since", "unwanted", ("extra", "missed")
    ),
    "sizes after a correction": Row(
        lambda: faulty(OrderFault(OrderDo.CORRECT, skip=2, price_by=2.0, seconds=30.0), sizing=None),
        "sizes follow from the account's value", "sized", ("commission", "missed", "price"),
    ),
    "late fill report": Row(
        lambda: faulty(
            OrderFault(OrderDo.LOSE_EXEC, skip=3, count=2), sizing=None, params=_Params(fast=2, slow=4, signal=2)
        ),
        "was told 60 s late", "told late",
    ),
    "cancelled by TWS": Row(
        lambda: faulty(
            OrderFault(OrderDo.STUCK, skip=2, seconds=30.0), OrderFault(OrderDo.CANCELLED, skip=2, seconds=5.0)
        ),
        "TWS cancelled it", "cancelled",
    ),
    "corrected fill": Row(
        lambda: faulty(OrderFault(OrderDo.CORRECT, skip=2, price_by=0.5, seconds=30.0)), "TWS corrected the fill",
        "corrected", ("price",),
    ),
    "fill taken back": Row(
        lambda: faulty(OrderFault(OrderDo.BUST, skip=2, seconds=30.0)), "TWS took the fill back", "corrected",
        ("commission", "missed"),
    ),
    "lost connection": Row(
        lambda: faulty(OrderFault(OrderDo.NIGHTLY, after_s=5159.0, seconds=100.0)),
        "its bar could not be traded in time: state: waiting to connect again: the connection to TWS broke", "late",
    ),
    "order lost on its way": Row(
        lambda: faulty(OrderFault(OrderDo.DROP, skip=4)), "not sent: in none of the broker's lists", "not sent"
    ),
    "order of which nobody knows": Row(
        lambda: faulty(
            OrderFault(OrderDo.DROP, skip=2),
            *(OrderFault(OrderDo.NO_END, on=name, skip=15, count=0) for name in SNAPSHOTS),
        ),
        "unknown: no answer from the broker in 10 s", "unknown",
    ),
    "filled in a later bar": Row(
        lambda: faulty(OrderFault(OrderDo.STUCK, skip=2, seconds=130.0)), "+2 bars from the model's", "later",
        ("timing",),
    ),
    "order sent again": Row(
        lambda: faulty(OrderFault(OrderDo.DROP, skip=5)), "no answer from the broker in 10 s; sent again at 2020-12",
        "belated", ("timing",),
    ),
    "price on another step": Row(
        half_step, "less than a step of 0.05", "price step", ("extra", "missed", "price")
    ),
    "too little cash": Row(lambda: day(sizing="shares:300"), "too little cash", "cash", ("extra",)),
    "from an earlier day": Row(carried, "decided on an earlier day", "carried", ("carried",)),
}  # fmt: skip


def named(found: Parity) -> list[str]:
    """All that parity says of why."""
    return [*(d.cause for d in found.differences), *found.findings]


def of_orders(found: Parity) -> list[str]:
    """The causes of what orders and fills differ in."""
    return [d.cause for d in found.differences if d.what not in ("bars", "decision")]


def without(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a rule out of the table; put back by delitem it would come last."""
    monkeypatch.setattr(causes, "RULES", {n: r for n, r in causes.RULES.items() if n != rule})


def assert_adds_up(found: Parity) -> None:
    model, live = found.pnl
    assert found.unexplained == 0.0
    assert sum(part.amount for part in found.split) == pytest.approx(live - model, abs=0.005)
    said = found.printed
    assert said.model + sum(said.parts.values()) + said.unexplained == said.live
    assert all(part.words for part in found.split if part.name in said.parts)


@cache
def lived(name: str) -> Past:
    """A cause's day."""
    return TABLE[name].past()


@pytest.mark.parametrize("name", TABLE)
def test_cause_is_named_and_the_split_adds_up(name: str) -> None:
    row = TABLE[name]
    found = lived(name).parity()
    told = of_orders(found) if row.rule else [*named(found), ""]
    assert any(row.words in text for text in told), named(found)
    assert UNEXPLAINED not in named(found)
    assert found.diverged == row.diverged
    assert_adds_up(found)
    assert {p.name for p in found.split if round(p.amount, 2)} == set(row.parts)
    assert bool(found.differences) == bool(row.rule)


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.rule])
def test_without_its_rule_a_cause_is_not_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row = TABLE[name]
    without(row.rule, monkeypatch)
    found = lived(name).parity()
    assert not any(row.words in text for text in of_orders(found)), of_orders(found)
    assert_adds_up(found)  # the money does not depend on what we say of it


def test_every_rule_that_a_market_needs_is_tried() -> None:
    """The rest are of a rehearsal (test_rehearsal.py, test_builtin_faults.py, test_modified_exits.py), or follow."""
    tried = {row.rule for row in TABLE.values()}
    elsewhere = {
        "began",
        "disaster stop",
        "other end",
        "withheld",
        "follows",
        "untold",
        "mixed",
        "outlived",
        "waited",
        "ended late",
        "in parts",
    }
    assert set(causes.RULES) == (tried | elsewhere) - {""}


# ---------------------------------------------------------------- limits of the desk
@pytest.mark.parametrize(
    ("limits", "around", "words"),
    [
        ({"max_notional": 3000.0}, {}, "not sent: one order of 3,669; at most 3,000"),
        ({"clock_offset_s": 2.0}, {"clock_offset_s": -5.0}, "not sent: this machine's clock is -5 s away"),
    ],
    ids=["limit refusal", "clock behind"],
)
def test_refusal_of_the_desk_is_named(
    limits: dict[str, float], around: dict[str, float], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_path, "WIDE", replace(live_path.WIDE, **limits))
    if around:
        monkeypatch.setattr(live_path, "Surroundings", lambda **_: Surroundings(**around))
    past = lived_through(feeds=spy(0, 80))
    found = past.parity()
    assert any(words in text for text in named(found)), named(found)
    assert UNEXPLAINED not in named(found)
    assert_adds_up(found)
    without("not sent", monkeypatch)
    assert not any(words in d.cause for d in past.parity().differences)


# ---------------------------------------------------------------- the comparison itself
def test_fill_that_no_order_of_the_comparison_has_is_unexplained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unexplained is live's own books less what was laid side by side: an order forgotten there shows."""
    from quant.promotion.parity import lived as module

    orders = module._orders

    def forgetful(*args: Any) -> Any:
        found, carried_ = orders(*args)
        return found[1:], carried_

    monkeypatch.setattr(module, "_orders", forgetful)
    found = clean().parity()
    assert abs(found.unexplained) > 0.5
    assert not found.ok


def test_decision_without_a_known_reason_is_no_parity() -> None:
    past = clean()
    lost = decisions(past)[2]
    lines = tuple(x for x in past.lines if not (isinstance(x, DecisionLine) and x.end == lost))
    found = replace(past, lines=lines).parity()
    assert found.diverged == 1
    assert found.without_cause == 1
    assert not found.ok


def test_an_exit_that_came_late_names_the_bar_at_which_it_was_wanted_no_more() -> None:
    """Not the last bar that could not be traded, which may have changed nothing."""
    found = lived("exit that a quarter of an hour hid").parity()
    words = "closes what was not wanted any more since "
    late = [d for d in found.differences if d.cause.startswith(words)]
    for one in late:
        wanted = max(d.at for d in found.decisions if d.at < one.at)
        assert one.cause == f"{words}{moment(wanted)}"
    assert late
