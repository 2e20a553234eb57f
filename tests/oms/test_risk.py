"""The risk gate: each control of live-faults §2 has a test that it refuses, and one that reductions pass."""

from __future__ import annotations

from dataclasses import fields, replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.core.orders import Kind, Ticket, TimeInForce
from quant.errors import ParameterError
from quant.oms.desk.brakes import Health, brakes
from quant.oms.gate import Gate, Purpose
from quant.oms.limits import SECOND, Account, Context, Limits, Market, WhatIf, Working
from quant.oms.risk import check_ticket, purpose, refusals, rounded

SPY, QQQ = 1, 2
NOW = 1_700_000_000 * SECOND
MARKET = Market(tick=0.01, price=100.0, at=NOW)
LIMITS = Limits(shorts=True)


def ticket(quantity: int | str = 10, **fields: object) -> Ticket:
    return Ticket("q1:t:1", "DU1", SPY, "SPY", Decimal(quantity), **fields)  # type: ignore[arg-type]


def context(position: int = 0, market: Market = MARKET, **fields: object) -> Context:
    values: dict[str, object] = dict(
        now=NOW, gate=Gate.OPEN, account=Account(), allowed=frozenset({SPY, QQQ}), markets={SPY: market, QQQ: MARKET},
        positions={SPY: Decimal(position)},
    )  # fmt: skip
    return Context(**{**values, **fields})  # type: ignore[arg-type]


def working(quantity: int, aim: Purpose = Purpose.ENTRY, con_id: int = SPY) -> Working:
    return Working(con_id, Decimal(quantity), aim)


def codes(order: Ticket, around: Context, limits: Limits = LIMITS) -> set[str]:
    return {refusal.code for refusal in refusals(order, around, limits)}


def test_ordinary_entry_passes() -> None:
    assert codes(ticket(), context()) == set()


# ---------------------------------------------------------------- what an order is for
@pytest.mark.parametrize(
    ("order", "around", "aim"),
    [
        (ticket(10), context(), Purpose.ENTRY),
        (ticket(10), context(5), Purpose.ENTRY),
        (ticket(-5), context(5), Purpose.REDUCTION),
        (ticket(-4), context(5), Purpose.REDUCTION),
        (ticket(-6), context(5), Purpose.ENTRY),  # would turn it over
        (ticket(5), context(-5), Purpose.REDUCTION),
        (ticket(-5, kind=Kind.STOP, stop=95.0), context(5), Purpose.PROTECTION),
        (ticket(-5, kind=Kind.LIMIT, limit=105.0, oca="pair"), context(5), Purpose.PROTECTION),
        (ticket(5, kind=Kind.STOP, stop=105.0), context(5), Purpose.ENTRY),
        # the close of a reversal is on its way: what follows it opens
        (ticket(-5), context(5, working=(working(-5, Purpose.REDUCTION),)), Purpose.ENTRY),
        (ticket(-2), context(5, working=(working(-3, Purpose.REDUCTION),)), Purpose.REDUCTION),
        (ticket(-3), context(5, working=(working(-3, Purpose.REDUCTION),)), Purpose.ENTRY),
        # a stop that waits must not stand in the way of getting out
        (ticket(-5), context(5, working=(working(-5, Purpose.PROTECTION),)), Purpose.REDUCTION),
        (ticket(-5), context(0, parent=ticket(5)), Purpose.PROTECTION),
        (ticket(-6), context(0, parent=ticket(5)), Purpose.ENTRY),
    ],
)
def test_purpose(order: Ticket, around: Context, aim: Purpose) -> None:
    assert purpose(order, around) is aim


@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(-50, 50))
def test_reductions_never_turn_a_position_over(position: int, quantity: int, under_way: int) -> None:
    if quantity == 0:
        return
    ways = (
        (working(under_way, Purpose.REDUCTION),)
        if under_way * position < 0 and abs(under_way) <= abs(position)
        else ()
    )
    around = context(position, working=ways)
    if purpose(ticket(quantity), around) is Purpose.REDUCTION:
        after = position + quantity + (under_way if ways else 0)
        assert after * position >= 0
        assert abs(after) < abs(position)


# ---------------------------------------------------------------- each control refuses
LONG = dict(now=NOW + 60 * SECOND)
REFUSED: list[tuple[str, Ticket, Context, Limits]] = [
    ("instrument", replace(ticket(), con_id=9), context(), LIMITS),
    ("reducing", ticket(), context(gate=Gate.REDUCING), LIMITS),
    ("halted", ticket(), context(gate=Gate.HALTED), LIMITS),
    ("instrument-halted", ticket(), context(halted={SPY: "a foreign order"}), LIMITS),
    ("kind", ticket(kind=Kind.TRAIL, trail=1.0), context(), LIMITS),
    ("short", ticket(-10), context(), Limits()),
    ("short", ticket(-11), context(10), Limits()),
    ("short-in-cash-account", ticket(-10), context(account=Account(is_cash=True, settled=1e6)), LIMITS),
    ("duplicate", ticket(), context(bar=5, decided=frozenset({(SPY, 1, 5)})), LIMITS),
    ("blackout", ticket(), context(market=replace(MARKET, blackout=True)), LIMITS),
    ("closed", ticket(), context(market=replace(MARKET, is_open=False)), LIMITS),
    ("cut-off", ticket(tif=TimeInForce.OPG), context(market=replace(MARKET, cutoff=NOW + 59 * SECOND)), LIMITS),
    ("delayed-data", ticket(), context(market=replace(MARKET, delayed=True)), LIMITS),
    ("late-data", ticket(), context(market=replace(MARKET, late=True)), LIMITS),
    ("clock", ticket(), context(clock_offset_s=2.0), LIMITS),
    ("clock", ticket(), context(clock_offset_s=-3.0), LIMITS),
    ("clock", ticket(), context(clock_offset_s=None), LIMITS),
    ("no-price", ticket(), context(market=replace(MARKET, price=None)), LIMITS),
    ("no-price", ticket(), context(market=replace(MARKET, price=float("nan"))), LIMITS),
    ("old-price", ticket(), context(market=replace(MARKET, at=NOW - 11 * SECOND)), LIMITS),
    ("old-price", ticket(), context(market=replace(MARKET, at=NOW - 121 * SECOND, bar_ns=60 * SECOND)), LIMITS),
    ("size", ticket("0.5"), context(), LIMITS),
    ("size", ticket(5), context(market=replace(MARKET, min_size=Decimal(10))), LIMITS),
    ("max-quantity", ticket(11), context(), replace(LIMITS, max_quantity=Decimal(10))),
    ("max-notional", ticket(1001), context(), LIMITS),
    ("max-notional", ticket(-999, kind=Kind.LIMIT, limit=101.0), context(), LIMITS),
    ("max-notional", ticket(600), context(market=replace(MARKET, rate=2.0)), LIMITS),
    ("max-notional", ticket(21), context(market=replace(MARKET, multiplier=50.0)), LIMITS),
    ("no-value", ticket(), context(market=replace(MARKET, rate=None)), LIMITS),
    ("collar", ticket(kind=Kind.LIMIT, limit=96.9), context(), LIMITS),
    ("collar", ticket(kind=Kind.STOP, stop=103.1), context(), LIMITS),
    ("max-position", ticket(60), context(50), replace(LIMITS, max_position=10_000.0)),
    ("max-position", ticket(60), context(working=(working(50),)), replace(LIMITS, max_position=10_000.0)),
    ("max-gross", ticket(60), context(positions={QQQ: Decimal(-50)}), replace(LIMITS, max_gross=10_000.0)),
    ("max-holdings", ticket(), context(positions={QQQ: Decimal(1)}), replace(LIMITS, max_holdings=1)),
    ("working", ticket(), context(working=(working(1),)), LIMITS),
    ("working-total", ticket(), context(working=(working(1, con_id=QQQ),)), replace(LIMITS, max_working_total=1)),
    ("rate-minute", ticket(), context(entries_minute=10), LIMITS),
    ("rate-day", ticket(), context(entries_day=200), LIMITS),
    ("margin-unknown", ticket(), context(), replace(LIMITS, what_if=True)),
    ("margin", ticket(), context(what_if=WhatIf(100_000.0, 90_001.0)), replace(LIMITS, what_if=True)),
    ("settled-unknown", ticket(), context(account=Account(is_cash=True)), LIMITS),
    ("unsettled-cash", ticket(), context(account=Account(is_cash=True, settled=999.0)), LIMITS),
    (
        "unsettled-cash", ticket(),
        context(account=Account(is_cash=True, settled=1999.0), working=(working(10, con_id=QQQ),)), LIMITS,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("code", "order", "around", "limits"), REFUSED)
def test_entry_is_refused(code: str, order: Ticket, around: Context, limits: Limits) -> None:
    assert code in codes(order, around, limits)


@pytest.mark.parametrize(("code", "order", "around", "limits"), REFUSED)
def test_what_a_limit_refuses_names_the_limit_and_where_it_is_set(
    code: str, order: Ticket, around: Context, limits: Limits
) -> None:
    facts = {
        "instrument", "reducing", "halted", "instrument-halted", "short-in-cash-account", "duplicate", "blackout",
        "closed", "delayed-data", "late-data", "no-price", "size", "no-value", "margin-unknown", "settled-unknown",
        "unsettled-cash",
    }  # fmt: skip
    for found in refusals(order, around, limits):
        named = [field.name for field in fields(Limits) if f"({field.name}: " in found.text]
        named += ["shorts"] * ("limits: shorts" in found.text)
        assert len(named) == (found.code not in facts), found.text


PASSED: list[tuple[Ticket, Context, Limits]] = [
    (ticket(10), context(account=Account(is_cash=True, settled=1000.0)), LIMITS),
    (ticket(-10), context(10), Limits()),
    (ticket(1000), context(), LIMITS),
    (ticket(kind=Kind.LIMIT, limit=97.0), context(), LIMITS),
    (ticket(), context(market=replace(MARKET, at=NOW - 120 * SECOND, bar_ns=60 * SECOND)), LIMITS),
    (
        ticket(tif=TimeInForce.OPG),
        context(market=replace(MARKET, is_open=False, cutoff=NOW + 60 * SECOND)),
        LIMITS,
    ),
    (ticket(), context(what_if=WhatIf(100_000.0, 90_000.0)), replace(LIMITS, what_if=True)),
    (ticket(), context(traded=True), replace(LIMITS, what_if=True)),
    (
        ticket(),
        context(working=(working(-5, Purpose.PROTECTION),)),
        LIMITS,
    ),  # replacing an exit is no new order
    (
        ticket("0.5"),
        context(market=replace(MARKET, size_step=Decimal("0.1"), min_size=Decimal("0.1"))),
        LIMITS,
    ),
    (ticket(-10), context(5, working=(working(-5, Purpose.REDUCTION),)), LIMITS),  # a reversal's second half
]


@pytest.mark.parametrize(("order", "around", "limits"), PASSED)
def test_entry_passes_at_the_limit(order: Ticket, around: Context, limits: Limits) -> None:
    assert codes(order, around, limits) == set()


@pytest.mark.parametrize(("code", "order", "around", "limits"), REFUSED)
def test_no_control_refuses_a_reduction(code: str, order: Ticket, around: Context, limits: Limits) -> None:
    """DESIGN §5.8. The same order, with enough held that it only makes the position smaller."""
    held = {**around.positions, order.con_id: -order.quantity * 3}
    assert refusals(order, replace(around, positions=held, working=()), limits) == ()


def test_rates_halt() -> None:
    assert [r.halts for r in refusals(ticket(), context(entries_minute=10), LIMITS)] == [True]


# ---------------------------------------------------------------- steps of prices
@pytest.mark.parametrize(
    ("order", "limit", "stop", "trail"),
    [
        (ticket(1, kind=Kind.LIMIT, limit=100.019), 100.01, None, None),
        (ticket(-1, kind=Kind.LIMIT, limit=100.011), 100.02, None, None),
        (ticket(1, kind=Kind.STOP, stop=100.011), None, 100.02, None),
        (ticket(-1, kind=Kind.STOP, stop=99.999), None, 99.99, None),
        (ticket(-1, kind=Kind.TRAIL, trail=0.001), None, None, 0.01),
        (ticket(-1, kind=Kind.TRAIL, percent=1.5, stop=98.511), None, 98.51, None),
        (ticket(1, kind=Kind.LIMIT, limit=100.10000000000001), 100.1, None, None),
        (ticket(-1, kind=Kind.LIMIT, limit=0.1 + 0.2), 0.3, None, None),
    ],
)
def test_prices_are_moved_to_a_step_that_waits(
    order: Ticket, limit: float | None, stop: float | None, trail: float | None
) -> None:
    there = rounded(order, 0.01)
    assert (there.limit, there.stop, there.trail) == (limit, stop, trail)
    assert rounded(order, None) == order


def test_limit_of_a_trailing_stop_is_at_whole_steps_from_it() -> None:
    order = ticket(-1, kind=Kind.TRAIL_LIMIT, percent=1.5, stop=98.511, offset=0.051)
    assert rounded(order, 0.01) == replace(order, stop=98.51, offset=0.05)
    check_ticket(replace(order, offset=0.0))


@given(st.floats(1, 1e5), st.sampled_from([0.01, 0.05, 0.25, 1 / 32, 0.0001]), st.booleans())
def test_rounded_limit_is_never_worse(price: float, tick: float, buys: bool) -> None:
    there = rounded(ticket(1 if buys else -1, kind=Kind.LIMIT, limit=price), tick).limit
    assert there is not None
    assert (there <= price * (1 + 1e-11)) if buys else (there >= price * (1 - 1e-11))
    assert abs(there - price) <= tick * 1.0001


# ---------------------------------------------------------------- the deployment as a whole
HEALTH = Health(capital=100_000.0, equity=100_000.0, day_start=100_000.0, peak=100_000.0, flat=False)


@pytest.mark.parametrize(
    ("health", "halts"),
    [
        (HEALTH, []),
        (replace(HEALTH, equity=98_000.01), []),
        (replace(HEALTH, equity=98_000.0), [False]),  # the way out stays open
        (replace(HEALTH, equity=98_000.0, flat=True), [True]),
        (replace(HEALTH, equity=99_000.0, day_start=99_500.0, peak=109_000.0), [False]),
        (replace(HEALTH, equity=None), []),
        (replace(HEALTH, rejects=5), []),
        (replace(HEALTH, rejects=6), [True]),
        (replace(HEALTH, free_bytes=199_999_999), [True]),
    ],
)
def test_brakes(health: Health, halts: list[bool]) -> None:
    assert [brake.halts for brake in brakes(health, LIMITS)] == halts


# ---------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    "fields",
    [
        {"quantity": Decimal(0)}, {"quantity": Decimal("inf")}, {"ref": ""}, {"ref": "x" * 41}, {"ref": "q1:\n"},
        {"kind": Kind.LIMIT}, {"kind": Kind.STOP}, {"kind": Kind.STOP_LIMIT, "limit": 1.0}, {"kind": Kind.TRAIL},
        {"limit": 5.0}, {"tif": TimeInForce.GTD}, {"kind": Kind.LIMIT, "limit": float("nan")},
        {"kind": Kind.LIMIT, "limit": -1.0}, {"kind": Kind.TRAIL, "trail": 1.0, "percent": 1.0},
        {"kind": Kind.TRAIL, "percent": 100.0}, {"kind": Kind.TRAIL, "trail": 1.0, "offset": 0.1},
        {"kind": Kind.TRAIL_LIMIT, "percent": 1.0, "offset": 0.1}, {"kind": Kind.STOP, "stop": 1.0, "percent": 1.0},
        {"kind": Kind.TRAIL_LIMIT, "stop": 9.0, "percent": 1.0},
        {"kind": Kind.TRAIL_LIMIT, "stop": 9.0, "percent": 1.0, "offset": -0.1},
    ],
)  # fmt: skip
def test_impossible_ticket_is_an_error(fields: dict[str, object]) -> None:
    with pytest.raises(ParameterError, match=r"must be|is needed|has no meaning"):
        check_ticket(replace(ticket(), **fields))  # type: ignore[arg-type]


@pytest.mark.parametrize("fields", [{"collar": -0.1}, {"daily_loss": float("nan")}, {"max_notional": None}])
def test_impossible_limits_are_an_error(fields: dict[str, object]) -> None:
    with pytest.raises(ParameterError):
        Limits(**fields)  # type: ignore[arg-type]
