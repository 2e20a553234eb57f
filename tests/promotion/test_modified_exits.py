"""Exits that are modified where they lie: each version is an order of its own, and what TWS made of it is named."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from parity_days import Past, lived_through

import quant as q
from quant.core.barsize import SECOND
from quant.core.orders import Echo, Execution, Kind, Report, Ticket, Told
from quant.core.synthetic import synthetic
from quant.oms.desk.standings import Standings
from quant.oms.ledger import MOVED, Fact, Intent, Ledger, Mark, What
from quant.oms.reconcile.outcome import REPAIR
from quant.promotion import causes, rehearse
from quant.promotion import rehearsal as module
from quant.promotion.belated import Belated, belated, held_back
from quant.promotion.causes import UNEXPLAINED, Evidence
from quant.promotion.crossing import told_between
from quant.promotion.difference import compared
from quant.promotion.facts import FILLED_BEFORE, TAKEN_BACK, FillFact, OrderFact, asked, of_live
from quant.promotion.live import Traded
from quant.promotion.parity import Parity
from quant.promotion.rehearsal import Rehearsal
from quant.promotion.said import said
from quant.tws.faults import Fault
from quant.tws.order_faults import OrderDo, OrderFault

CLOSELY = {"atr_period": 10, "atr_factor": 0.7}  # so that the stop fills often
REFUSED = "The price does not conform to the minimum price variation"


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    """What breaks on purpose is logged."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def lived(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Traded]]:
    """The stage and the live run behind each rehearsal."""
    seen: list[tuple[Any, Traded]] = []
    trade = module.trade

    def keep(stage: Any, *args: Any, **kwargs: Any) -> Traded:
        seen.append((stage, trade(stage, *args, **kwargs)))
        return seen[-1][1]

    monkeypatch.setattr(module, "trade", keep)
    return seen


def followed(*faults: Fault | OrderFault, bar: str = "1m", count: int = 60) -> Rehearsal:
    """A strategy whose stop follows each close."""
    bars = synthetic("SPY", bar, "2024-03-04", "2024-03-06", price=400.0, seed=3)[:count]
    return rehearse(
        "macd_stochastic", bars, params=CLOSELY, sizing="shares:10", start_rule="first-target", faults=faults
    )


def without(monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    """Take a rule out of the table."""
    monkeypatch.setattr(causes, "RULES", {n: r for n, r in causes.RULES.items() if n != rule})


# ---------------------------------------------------------------- rehearsals
def test_each_price_of_a_stop_is_an_order_of_the_backtest_and_one_order_at_tws(
    lived: list[tuple[Any, Traded]],
) -> None:
    found = followed(count=150)
    stage, traded = lived[0]
    assert found.equal, str(found)
    assert found.broken == ()
    assert found.orders[0] == found.orders[1]
    assert found.fills[0] == found.fills[1] >= 10
    at_tws = [view for view in stage.exchange.orders if stage.server.tws.order_of(view).orderRef]
    entries = sum(
        order.parent == "" for order in (traded.desk.intent(s.ref).ticket for s in traded.desk.orders)
    )
    assert len(at_tws) == 2 * entries  # each entry with its stop
    assert found.orders[1] > len(at_tws) + 10


TABLE: dict[str, tuple[OrderFault, str]] = {
    "swallowed": (OrderFault(OrderDo.DROP, on="modify", skip=4), "TWS never showed its new price"),
    "swallowed as it was to come nearer": (
        OrderFault(OrderDo.DROP, on="modify", skip=5), "TWS never showed its new price"
    ),
    "refused": (
        OrderFault(OrderDo.REJECT, on="modify", skip=4, code=110, text=REFUSED),
        f"TWS never showed its new price: {REFUSED} (110)",
    ),
    "late, and the order has filled": (
        OrderFault(OrderDo.LATE, on="modify", skip=4, seconds=90.0),
        "TWS never showed its new price: Can't modify a filled order. (104)",
    ),
    "late, behind the next one": (
        OrderFault(OrderDo.LATE, on="modify", skip=3, seconds=90.0),
        "TWS showed it otherwise at 2024-03-04T15:10:00: stop is 401.42, not 401.2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_price_that_tws_did_not_take_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fault, words = TABLE[name]
    found = followed(fault)
    assert found.ok, str(found)
    assert found.broken == ()
    assert [(d.what, d.cause) for d in found.differences[:2]] == [("end", words), ("fill", words)]
    without(monkeypatch, "belated")
    assert UNEXPLAINED in {d.cause for d in followed(fault).differences[:2]}


def test_price_that_is_put_right_before_its_bar_is_over_makes_no_difference(
    lived: list[tuple[Any, Traded]],
) -> None:
    """Bars of 5 minutes: the books are read, and the order is sent again, within the first of them."""
    for skip in (0, 3, 5):
        found = followed(OrderFault(OrderDo.DROP, on="modify", skip=skip), bar="5m", count=60)
        assert found.equal, str(found)
        (one,) = [known for known in lived[-1][1].belated.values() if known.moved]
        assert one.words.startswith("TWS did not take its new price; sent again at 2024-03-0")


# ---------------------------------------------------------------- the journal alone
MADE = synthetic("SPY", "1m", "2024-03-04", "2024-03-04", price=400.0)[:40]
BARS = replace(MADE, instrument=replace(MADE.instrument, con_id=756733))
T = int(BARS.end[9])  # the order is sent; its second price a minute later, its third two
REF = "q1:d:2"


def at(seconds: float) -> int:
    return T + round(seconds * SECOND)


def ticket(stop: float) -> Ticket:
    con_id = BARS.instrument.con_id or 0
    return Ticket(REF, "DU1", con_id, "SPY", Decimal(-10), kind=Kind.STOP, stop=stop)


def echo(stop: float, seconds: float) -> Fact:
    t = ticket(stop)
    return _fact(
        seconds,
        Echo(t.account, t.con_id, "SPY", 2, 1, 77, REF, t.quantity, "STP", None, stop, "DAY", "PreSubmitted"),
    )


def refused(code: int, seconds: float) -> Fact:
    return _fact(seconds, Told(2, code, "no", at(seconds)))


def filled(price: float, seconds: float) -> Fact:
    t = ticket(price)
    execution = Execution(
        "e.01", t.account, t.con_id, "SPY", 2, 1, 77, REF, at(seconds), t.quantity, price, -t.quantity, price
    )
    return _fact(seconds, execution)


def _fact(seconds: float, report: Report) -> Fact:
    return Fact(round(seconds * 10) + 5, at(seconds), report)


def moved(stop: float, seconds: float) -> list[Mark]:
    """The stop got another price, and was sent with it."""
    n = round(seconds * 10)
    return [
        Mark(n, REF, What.MODIFIED, at(seconds), "protection", ticket(stop)),
        Mark(n + 1, REF, What.SENT, at(seconds), MOVED),
    ]


def put_right(seconds: float) -> Mark:
    return Mark(round(seconds * 10) + 2, REF, What.SENT, at(seconds), f"{REPAIR}: order {REF}: stop is other")


def ledger(marks: Sequence[Mark], *facts: Fact) -> Ledger:
    """A stop at 390 that TWS has, then what happens."""
    first = Mark(1, REF, What.SENT, at(0))
    intent = Intent(0, ticket(390.0), 2, 1, at(0), "protection")
    return Ledger("d", "DU1", "", intents=(intent,), marks=(first, *marks), facts=(echo(390.0, 0.1), *facts))


NEVER = len(BARS)
JOURNALS: dict[str, tuple[Ledger, dict[str, Belated]]] = {
    "taken": (ledger(moved(391.0, 60), echo(391.0, 60.4)), {}),
    "swallowed": (
        ledger(moved(391.0, 60)), {f"{REF}/2": Belated(NEVER, "TWS never showed its new price", moved=True)}
    ),
    "put right": (
        ledger([*moved(391.0, 60), put_right(75)], echo(391.0, 75.3)),
        {f"{REF}/2": Belated(12, "TWS did not take its new price; sent again at 2024-03-04T14:41:15", moved=True)},
    ),
    "refused and put right": (
        ledger([*moved(391.0, 60), put_right(66)], refused(201, 60.2), echo(391.0, 66.3)),
        {f"{REF}/2": Belated(
            12, "TWS did not take its new price: no (201); sent again at 2024-03-04T14:41:06", moved=True)},
    ),
    "refused for good": (
        ledger(moved(391.0, 60), refused(201, 60.2)),
        {f"{REF}/2": Belated(NEVER, "TWS never showed its new price: no (201)", moved=True)},
    ),
    "a notice is no refusal": (
        ledger(moved(391.0, 60), refused(399, 60.2)),
        {f"{REF}/2": Belated(NEVER, "TWS never showed its new price", moved=True)},
    ),
    "late": (
        ledger(moved(391.0, 60), echo(391.0, 90.0)),
        {f"{REF}/2": Belated(
            12, "TWS did not take its new price at once; it showed it at 2024-03-04T14:41:30 first", moved=True)},
    ),
    "not sent at once": (
        ledger([moved(391.0, 60)[0], put_right(80)], echo(391.0, 80.2)),
        {f"{REF}/2": Belated(12, "it could not be sent at once; sent again at 2024-03-04T14:41:20", moved=True)},
    ),
    "the next is refused": (
        ledger([*moved(391.0, 60), *moved(392.0, 120)], echo(391.0, 60.2), refused(110, 120.2)),
        {f"{REF}/3": Belated(NEVER, "TWS never showed its new price: no (110)", moved=True)},
    ),
    "the next one takes its place": (
        ledger([*moved(391.0, 60), *moved(392.0, 120)], echo(392.0, 120.2)),
        {f"{REF}/2": Belated(NEVER, "TWS never showed its new price", moved=True)},
    ),
    "the price of before gives no new report": (
        ledger([*moved(391.0, 60), *moved(390.0, 120)], echo(391.0, 60.2)), {}
    ),
    "the price of before, put right": (
        ledger([*moved(391.0, 60), *moved(390.0, 120), put_right(135)], echo(391.0, 60.2)),
        {f"{REF}/3": Belated(13, "TWS did not take its new price; sent again at 2024-03-04T14:42:15", moved=True)},
    ),
    "the same price once more is as late": (
        ledger([*moved(391.0, 60), moved(391.0, 120)[0], put_right(130)], echo(391.0, 130.3)),
        {
            f"{REF}/2": Belated(
                13, "TWS did not take its new price at once; it showed it at 2024-03-04T14:42:10 first", moved=True),
            f"{REF}/3": Belated(
                13, "TWS did not take its new price; sent again at 2024-03-04T14:42:10", moved=True),
        },
    ),
    "somebody gave it another price": (
        ledger(moved(391.0, 60), echo(391.0, 60.2), echo(380.0, 80.0)),
        {f"{REF}/2": Belated(
            NEVER, "TWS showed it otherwise at 2024-03-04T14:41:20: stop is 380.0, not 391.0", moved=True)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", JOURNALS)
def test_when_tws_had_a_price_follows_from_the_journal(name: str) -> None:
    made, wanted = JOURNALS[name]
    assert belated(made, [BARS]) == wanted


@pytest.mark.parametrize("word", ["PreSubmitted", "Submitted"])
def test_market_order_that_tws_held_back_is_named_by_its_word(word: str) -> None:
    order = replace(ticket(390.0), kind=Kind.MARKET, stop=None)
    shown: Any = echo(390.0, 0.1).report
    facts = [_fact(0.1, replace(shown, status=word)), _fact(75.0, replace(shown, status="Filled"))]
    made = ledger([], *facts)
    made = replace(made, intents=(replace(made.intents[0], ticket=order),), facts=tuple(facts))
    words = f"TWS held it back as {word}, and told otherwise at 2024-03-04T14:41:15"
    assert held_back(made, [BARS]) == ({} if word == "Submitted" else {REF: Belated(12, words)})


class Books:
    """A journal's orders, as `of_live` asks for them."""

    def __init__(self, made: Ledger) -> None:
        self._standings = Standings(made)
        self.orders = tuple(self._standings)
        self.versions = self._standings.versions


def test_fill_that_a_change_crosses_on_its_way_ends_the_order_as_it_was_before() -> None:
    """The execution is of the second before the change: with its new prices the order never was."""
    made = ledger([*moved(391.0, 60), *moved(392.0, 120)], echo(391.0, 60.2), filled(391.0, 119.0))
    facts = of_live(Books(made), [BARS], told_between(made))
    assert [f.ref for f in facts] == [REF, f"{REF}/2", f"{REF}/3"]
    assert [(f.status, len(f.fills), f.why) for f in facts] == [
        ("cancelled", 0, ""), ("filled", 1, ""), ("cancelled", 0, FILLED_BEFORE),
    ]  # fmt: skip
    assert [f.price for f in facts] == [390.0, 391.0, 392.0]
    assert asked(made) == {REF: at(60), f"{REF}/2": at(120)}
    (pair,) = compared([], facts[2:], Evidence(["SPY"]))
    assert pair.found[0][4] == FILLED_BEFORE


def test_price_that_is_turned_down_on_this_side_leaves_the_version_before_it() -> None:
    """The desk takes it back at once; it is no order of its own that the order is as before again."""
    back = Mark(602, REF, What.MODIFIED, at(60), "protection", ticket(390.0))
    made = ledger([moved(391.0, 60)[0], back])
    facts = of_live(Books(made), [BARS], told_between(made))
    assert [(f.ref, f.status, f.why) for f in facts] == [
        (REF, "open", ""), (f"{REF}/2", "not sent", TAKEN_BACK),
    ]  # fmt: skip
    assert asked(made) == {f"{REF}/2": at(60)}
    wanted = [exit_of(f.decided, s, price=f.price) for f, s in zip(facts, ("cancelled", "open"), strict=True)]
    wanted[1].decided = at(60)
    facts = [replace(f, reason="stop", decided=one.decided) for f, one in zip(facts, wanted, strict=True)]
    named = [
        row[4] for pair in compared(wanted, facts, Evidence(["SPY"], asked=asked(made))) for row in pair.found
    ]
    assert named == [
        f"what ended it in the model, at 2024-03-04T14:41:00, came otherwise: {named[1]}",
        named[1],
    ]
    assert named[1] == f"not sent: {TAKEN_BACK}"
    again = ledger([moved(391.0, 60)[0], back, *moved(392.0, 120)], echo(392.0, 120.2), filled(392.0, 150.0))
    assert [(f.ref, f.status) for f in of_live(Books(again), [BARS], told_between(again))] == [
        (REF, "cancelled"), (f"{REF}/2", "not sent"), (f"{REF}/4", "filled"),
    ]  # fmt: skip
    assert asked(again) == {REF: at(120), f"{REF}/2": at(60)}


@pytest.mark.parametrize(("price", "version"), [(391.0, 1), (392.0, 2)])
def test_fill_of_the_second_of_a_change_belongs_to_the_price_that_could_fill(
    price: float, version: int
) -> None:
    made = ledger([*moved(391.0, 60), *moved(392.0, 120.4)], filled(price, 120.0))
    assert [n for n, fact in enumerate(of_live(Books(made), [BARS], told_between(made))) if fact.fills] == [
        version
    ]


class Close(q.Strategy):
    """Long with a stop close behind each close."""

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> q.Signals:
        row = np.arange(len(bars))
        return q.Signals(row >= 10, np.round(bars.close * 0.9992, 2), follow_stop=True)


@pytest.mark.parametrize("row", [13, 19])  # the stop has risen, and fallen, on the bar before
def test_stop_that_moves_and_fills_at_the_next_open_is_the_backtests(
    row: int, lived: list[tuple[Any, Traded]]
) -> None:
    bars = synthetic("SPY", "1m", "2024-03-04", "2024-03-04")[:30]
    columns = {
        name: np.where(np.arange(len(bars)) >= row, 90.0 + by, getattr(bars, name))
        for name, by in (("open", 0.0), ("high", 0.5), ("low", -0.5), ("close", 0.0))
    }
    found = rehearse(Close, replace(bars, **columns), sizing="shares:10", start_rule="first-target")
    assert found.equal, str(found)
    ((_, live),) = lived
    assert 90.0 in [fill.price for standing in live.desk.orders for fill in standing.fills]


def test_what_tws_said_of_a_change_is_no_reason_for_the_end_of_a_later_version() -> None:
    marks = [*moved(391.0, 60), put_right(66), *moved(392.0, 120)]
    made = ledger(marks, refused(201, 60.2))
    facts = of_live(Books(made), [BARS], told_between(made))
    assert facts[2].why == ""
    made = ledger(marks[:3], refused(201, 60.2))
    facts = of_live(Books(made), [BARS], told_between(made))
    assert facts[1].why == "no (201)"


# ---------------------------------------------------------------- what ended it
def exit_of(end: int, status: str, *fills: FillFact, ref: str = "", **more: Any) -> OrderFact:
    made = OrderFact(0, end, "stop", "stop", -10.0, 390.0, status, list(fills), end, ref=ref)
    return replace(made, **more)


def close_of(end: int, *, sent_s: float = 0.0, bar: int = 5) -> OrderFact:
    fill = FillFact(bar, -10.0, 395.0, 1.0, end + round(sent_s * SECOND))
    sent = end + round(sent_s * SECOND)
    return OrderFact(0, end, "close", "market", -10.0, math.nan, "filled", [fill], sent)


def causes_of(wanted: Sequence[OrderFact], got: Sequence[OrderFact], known: Evidence) -> list[str]:
    """The causes of what the first order differs in."""
    return [row[4] for row in compared(wanted, got, known)[0].found]


@pytest.mark.parametrize(("late_s", "named"), [(40.0, True), (0.0, False)])
def test_close_that_is_sent_late_explains_the_end_of_the_stop_that_it_was_to_end(
    late_s: float, named: bool
) -> None:
    stop = exit_of(at(0), "filled", FillFact(6, -10.0, 390.0, 1.0, at(90)), ref="a")
    limit = exit_of(at(0), "cancelled", reason="limit", kind="limit", price=400.0)  # of the same decision
    wanted = [exit_of(at(0), "cancelled"), limit, close_of(at(60))]
    got = [stop, limit, close_of(at(60), sent_s=late_s)]
    words = (
        "what ended it in the model, at 2024-03-04T14:41:00, came otherwise: sent 40 s after its bar's END"
    )
    assert causes_of(wanted, got, Evidence(["SPY"])) == [words if named else UNEXPLAINED] * 2


def test_close_whose_bar_was_too_late_explains_the_end_of_the_stop() -> None:
    stop = exit_of(at(0), "filled", FillFact(6, -10.0, 390.0, 1.0, at(90)), ref="a")
    known = Evidence(["SPY"], late=frozenset({(0, at(60))}))
    (first, second) = causes_of([exit_of(at(0), "cancelled"), close_of(at(60))], [stop], known)
    assert first == second
    assert first.endswith("came otherwise: its bar could not be traded in time")
    # Not where something else had ended it: the model's next order is another one.
    between = [exit_of(at(0), "cancelled"), exit_of(at(30), "cancelled", price=391.0), close_of(at(60))]
    assert causes_of(between, [stop], known) == [UNEXPLAINED] * 2


@pytest.mark.parametrize(
    ("filled_s", "asked_s", "words"),
    [
        (66.0, 72.0, "its end was asked for 12 s after the model's"),
        (60.2, 60.4, UNEXPLAINED),
        (66.0, 60.4, "its cancellation was asked for at 2024-03-04T14:41:00, and it filled all the same"),
    ],
    ids=["late", "at once, and it had filled", "at once, and it fills"],
)
def test_end_that_was_asked_for_late_is_named(filled_s: float, asked_s: float, words: str) -> None:
    stop = exit_of(at(0), "filled", FillFact(6, -10.0, 390.0, 1.0, at(filled_s)), ref="a")
    known = Evidence(["SPY"], asked={"a": at(asked_s)})
    wanted = [exit_of(at(0), "cancelled"), exit_of(at(60), "cancelled", price=391.0)]
    assert causes_of(wanted, [stop], known) == [words] * 2


@pytest.mark.parametrize(
    ("notes", "why"),
    [
        ([(50, "gate: halted")], "gate: halted, 2024-03-04T14:40:50"),
        ([(-9000, "gate: halted")], "gate: halted, 2024-03-04T12:10:00"),
        ([(-9000, "gate: halted"), (-8000, "gate: open")], ""),
        ([], ""),
    ],
    ids=["since", "shut already", "open again", "silence"],
)
def test_exit_that_lives_on_as_nothing_could_take_its_place_is_named(
    notes: list[tuple[int, str]], why: str
) -> None:
    known = Evidence(["SPY"], said=said([(at(seconds), words) for seconds, words in notes], ["SPY"]))
    wanted = [exit_of(at(0), "cancelled"), exit_of(at(60), "cancelled", price=391.0)]
    words = f"nothing could take its place: {why}" if why else UNEXPLAINED
    assert causes_of(wanted, [exit_of(at(0), "open", ref="a")], known) == [words]


def test_exit_that_went_with_the_other_exit_has_that_one_s_cause() -> None:
    """Somebody cancels the limit in TWS, and live ends the stop with it, as a backtest's bracket does."""
    words = "nobody here asked for it, and TWS cancelled it: Order Canceled - reason:"
    wanted = [exit_of(at(0), "filled"), exit_of(at(0), "open", reason="limit", kind="limit")]
    got = [
        exit_of(at(0), "cancelled", ref="a"),
        exit_of(at(0), "cancelled", reason="limit", kind="limit", ref="b"),
    ]
    got[1].why = "Order Canceled - reason:"  # TWS gives none, whoever did it
    pairs = compared(wanted, got, Evidence(["SPY"], asked={"a": at(30)}))
    assert [row[4] for pair in pairs for row in pair.found] == [f"its limit ended: {words}", words]
    alone = compared(wanted[:1], got[:1], Evidence(["SPY"], asked={"a": at(30)}))
    assert alone[0].found[0][4] == UNEXPLAINED


# ---------------------------------------------------------------- days
def two_days(*faults: Fault | OrderFault, seed: int = 3, **params: Any) -> Past:
    """An hour of a session, and an hour of the next; a stop that follows is held over the night."""
    bars = synthetic("SPY", "1m", "2024-03-04", "2024-03-05", price=400.0, seed=seed)[330:450]
    return lived_through(
        "macd_stochastic", bars, faults=faults, params={"atr_period": 20, "atr_factor": 2.0} | params
    )


def assert_adds_up(found: Parity) -> None:
    model, live = found.pnl
    assert found.unexplained == 0.0
    assert sum(part.amount for part in found.split) == pytest.approx(live - model, abs=0.005)
    assert UNEXPLAINED not in {d.cause for d in found.differences}


@dataclass(frozen=True)
class Night:
    """What is known of the stop as the second day begins. number: of its version that was held over the night."""

    past: Past
    ref: str
    number: int


@pytest.fixture(scope="module")
def night() -> Night:
    past = two_days()
    standings = Standings(past.ledger)
    stop = next(s for s in standings if len(standings.versions(s.ref)) > 1)
    over = int(past.bars[0].end[59])  # what is decided on the last bar belongs to the day on which it works
    return Night(past, stop.ref, sum(v.at < over for v in standings.versions(stop.ref)))


def test_stop_that_was_moved_and_held_over_a_night_is_no_extra_order(night: Night) -> None:
    assert night.number > 1
    for day in night.past.days:
        found = night.past.parity(day)
        assert found.ok
        assert found.differences == ()
        assert [round(part.amount, 2) for part in found.split] == [0.0] * len(found.split)
        assert_adds_up(found)


def test_each_version_is_an_order_of_the_day_on_which_it_was_decided(night: Night) -> None:
    first, second = ([row.ref for row in night.past.parity(day).orders] for day in night.past.days)
    carried = f"{night.ref}/{night.number}"
    assert first[-1] == second[0] == carried
    assert len(set(first + second)) == len(first + second) - 1  # that one alone is of both
    numbers = [int(ref.rpartition("/")[2]) for ref in second if ref.startswith(f"{night.ref}/")]
    assert numbers == list(range(night.number, numbers[-1] + 1))


def test_fills_of_a_day_belong_to_the_versions_that_were_asked_for_then() -> None:
    """A stop that fills often: each fill stands beside the model's, at the price of its version."""
    past = two_days(atr_factor=0.7)
    fills = 0
    for day in past.days:
        found = past.parity(day)
        assert found.differences == ()
        assert_adds_up(found)
        exits = [f for f in found.fills if f.reason == "stop"]
        assert all(f.live_price == f.model_price for f in exits)
        fills += len(exits)
    assert fills >= 4


def test_gate_that_was_shut_on_an_earlier_day_is_the_cause_still() -> None:
    """A change becomes a second order at TWS: live halts on the first day, and moves its stop no more."""
    past = two_days(OrderFault(OrderDo.TWIN, on="modify", skip=2))
    first, second = (past.parity(day) for day in past.days)
    assert past.ledger.halts
    assert past.ledger.halts[0].at < int(past.bars[0].end[59])
    assert any("gate: halted" in d.cause for d in second.differences), [str(d) for d in second.differences]
    assert_adds_up(first)
    assert_adds_up(second)


SWALLOWED = OrderFault(OrderDo.DROP, on="modify", skip=4)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (SWALLOWED, "TWS never showed its new price"),
        (OrderFault(OrderDo.REJECT, on="modify", skip=4, code=110, text=REFUSED), f"price: {REFUSED} (110)"),
    ],
    ids=["swallowed", "refused"],
)
def test_day_on_which_a_price_was_not_taken_names_it_and_adds_up(
    fault: OrderFault, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = synthetic("SPY", "1m", "2024-03-04", "2024-03-05", price=400.0, seed=3)[:60]
    found = lived_through("macd_stochastic", bars, faults=[fault], params=CLOSELY).parity()
    assert any(d.cause.endswith(words) for d in found.differences), [str(d) for d in found.differences]
    assert_adds_up(found)
    assert round(sum(abs(part.amount) for part in found.split), 2) > 0.0
