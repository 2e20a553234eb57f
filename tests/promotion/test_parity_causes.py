"""Each scripted cause is named by parity, its money stands in the right part, and the parts add up to the cent.

What the simulated TWS can do by itself it does; the rest (a runner that did not run, bars that are others afterwards)
is written into what a clean day has left.
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
from parity_days import (
    Past,
    asleep,
    decided_at,
    heard_later,
    lived_through,
    spy,
    times,
    with_close,
    without_bar,
)

from quant.core.barsize import MINUTE, SECOND
from quant.core.synthetic import synthetic
from quant.live.tape import BarLine, DecisionLine
from quant.oms.setup import Surroundings
from quant.promotion import causes
from quant.promotion import live as live_path
from quant.promotion.causes import UNEXPLAINED
from quant.promotion.parity import Parity
from quant.promotion.stage import Stage
from quant.tws.faults import Fault
from quant.tws.order_faults import OrderDo, OrderFault

Faulty = tuple[Fault | OrderFault, ...]


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


def otherwise(bars: Callable[[Any], Any], past: Past | None = None) -> Past:
    """A past whose bars are others afterwards."""
    past = clean() if past is None else past
    return replace(past, bars=(bars(past.bars[0]),))


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


def missed_bar() -> Past:
    """Live never saw the minute on which it would have bought."""
    whole = spy(0, 130)
    past = day(feeds=_Bars(without_bar(whole, 63)))
    return replace(past, bars=(replace(whole, instrument=past.bars[0].instrument),))


class _Bars(list[Any]):
    """Feeds as an argument that a cache can keep."""

    def __init__(self, *bars: Any) -> None:
        super().__init__(bars)

    def __hash__(self) -> int:  # type: ignore[override]  # it is never changed
        return hash(tuple(b.fingerprint for b in self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Bars) and hash(self) == hash(other)


def two_days() -> Past:
    return day(feeds=_Bars(spy(195, 330)))


def revised_bar() -> Past:
    return otherwise(lambda bars: with_close(bars, 64, -1.0))


def restart() -> Past:
    past = clean()
    ends = decisions(past)
    return asleep(past, ends[2] - SECOND, ends[3] + 100 * SECOND)


def delayed_data() -> Past:
    """The bars from the third decision to the fourth came as delayed data."""
    past = clean()
    ends = decisions(past)
    past = asleep(past, ends[2] - SECOND, ends[3] + 100 * SECOND)
    lines = tuple(
        replace(line, delayed=not line.live) if isinstance(line, BarLine) else line for line in past.lines
    )
    return replace(past, lines=lines, ledger=replace(past.ledger, runs=past.ledger.runs[:1]))


def carried() -> Past:
    """The second entry of the day was decided on the day before, and sat there."""
    past = two_days()
    night = int(past.bars[0].end[194])
    refs = [i.ref for i in past.ledger.intents if i.at > night + MINUTE]
    return decided_at(past, refs[1], int(past.bars[0].end[190]))


def half_step() -> Past:
    past = day(strategy="macd_stochastic", feeds=_Bars(spy(0, 100)), params=_Params(atr_period=10))
    return replace(past, steps={"SPY": _Steps()})


class _Params(dict[str, Any]):
    def __hash__(self) -> int:  # type: ignore[override]  # it is never changed
        return hash(tuple(sorted(self.items())))


class _Steps:
    def tick(self, price: float) -> float:
        return 0.05


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
    "late bar": Row(
        lambda: heard_later(day(staged=a_step), 30 * SECOND), "sent 30 s after its bar's END", "sent late", ("price",)
    ),
    "revised bar": Row(
        revised_bar, "the bar of 2020-12-15T15:35:00: its bar came with low", "data", ("revised data",), 4
    ),
    "missed bar": Row(
        missed_bar, "the bar of 2020-12-15T15:34:00: its bar never came live", "data", ("revised data",), 2
    ),
    "bar taken back": Row(
        lambda: otherwise(lambda b: without_bar(b, 63)), "live had a bar that IB does not have now", "data",
        ("revised data",), 2,
    ),
    "revised close of a sizing": Row(
        lambda: otherwise(lambda b: with_close(b, 33, 0.01), day(sizing="cash:20182")),
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
    "split while it runs": Row(
        lambda: faulty(OrderFault(OrderDo.SPLIT, after_s=4000.0, symbol="SPY", times=4)), "not sent: halted", "not sent"
    ),
    "split over night": Row(
        lambda: otherwise(lambda b: times(b, 0.25, 195), two_days()), "a split: live's earlier bars were 4 times",
        "data", ("revised data",), 12,
    ),
    "split since": Row(lambda: otherwise(lambda b: times(b, 0.25)), "a split since", "", ()),
    "half day": Row(half_day, "", "", ()),
    "delayed data": Row(delayed_data, "IB sent delayed data", "delayed"),
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
    "filled in a later bar": Row(
        lambda: faulty(OrderFault(OrderDo.STUCK, skip=2, seconds=130.0)), "+2 bars from the model's", "later",
        ("timing",),
    ),
    "price on another step": Row(
        half_step, "less than a step of 0.05", "price step", ("extra", "missed", "price")
    ),
    "too little cash": Row(lambda: day(sizing="shares:300"), "too little cash", "cash", ("extra",)),
    "from an earlier day": Row(carried, "decided on an earlier day", "carried", ()),
}  # fmt: skip


def named(found: Parity) -> list[str]:
    """All that parity says of why."""
    return [*(d.cause for d in found.differences), *found.findings]


def without(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a rule out of the table; put back by delitem it would come last."""
    monkeypatch.setattr(causes, "RULES", {n: r for n, r in causes.RULES.items() if n != rule})


def assert_adds_up(found: Parity) -> None:
    model, live = found.pnl
    assert found.unexplained == 0.0
    assert sum(part.amount for part in found.split) == pytest.approx(live - model, abs=0.005)


@pytest.mark.parametrize("name", TABLE)
def test_cause_is_named_and_the_split_adds_up(name: str) -> None:
    row = TABLE[name]
    found = row.past().parity()
    assert any(row.words in text for text in named(found)) or row.words == "", named(found)
    assert UNEXPLAINED not in named(found)
    assert found.diverged == row.diverged
    assert_adds_up(found)
    assert {p.name for p in found.split if round(p.amount, 2)} == set(row.parts)
    assert bool(found.differences) == bool(row.rule)


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.rule])
def test_without_its_rule_a_cause_is_not_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row = TABLE[name]
    without(row.rule, monkeypatch)
    found = row.past().parity()
    orders = [d.cause for d in found.differences if d.what not in ("bars", "decision")]
    assert not any(row.words in text for text in orders), orders
    assert_adds_up(found)  # the money does not depend on what we say of it


def test_every_rule_that_a_market_needs_is_tried() -> None:
    """The rest are of a rehearsal alone (test_rehearsal.py), or name what follows from another cause."""
    tried = {row.rule for row in TABLE.values()}
    elsewhere = {
        "began",
        "disaster stop",
        "unknown",
        "other end",
        "unwanted",
        "withheld",
        "follows",
        "sized",
        "untold",
        "mixed",
        "told",
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
