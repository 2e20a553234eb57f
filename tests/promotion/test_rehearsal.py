"""The rehearsal: live at a simulated TWS is the backtest to the cent; under faults it says why not."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quant as q
from quant.core.synthetic import synthetic
from quant.errors import ParameterError
from quant.oms.journal.journal import Journal
from quant.promotion import Rehearsal, rehearse
from quant.promotion import rehearsal as module
from quant.promotion.causes import UNEXPLAINED
from quant.promotion.facts import of_live
from quant.promotion.invariants import broken
from quant.promotion.live import Traded
from quant.promotion.stage import FIVE, make_stage
from quant.tws.exchange.history import History
from quant.tws.faults import Do, Fault
from quant.tws.order_faults import OrderDo, OrderFault

BUNDLED = ("macd", "rsi", "renko", "renko_macd", "macd_stochastic", "opening_range")
SAMPLE = Path(__file__).parents[2] / "data"


def spy(first: int, count: int) -> q.Bars:
    """Minutes of SPY in the sample, inside sessions."""
    bars = module.in_session(q.bars("SPY", "1m", data=SAMPLE))
    return bars[first : first + count]


@pytest.fixture
def lived(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Traded]]:
    """The stage and the live run behind each rehearsal."""
    seen: list[tuple[Any, Traded]] = []
    trade = module.trade

    def keep(stage: Any, *args: Any, **kwargs: Any) -> Traded:
        traded = trade(stage, *args, **kwargs)
        seen.append((stage, traded))
        return traded

    monkeypatch.setattr(module, "trade", keep)
    return seen


def assert_equal(found: Rehearsal, fills: int = 1) -> None:
    assert found.equal, "\n".join(str(d) for d in found.differences)
    assert found.broken == ()
    assert found.ok
    assert found.orders[0] == found.orders[1]
    assert found.fills[0] >= fills
    assert found.fills[0] == found.fills[1] or found.faulty
    assert found.cash[0] == pytest.approx(found.cash[1], abs=0.005)


# ---------------------------------------------------------------- equal to the cent
@pytest.mark.parametrize("strategy", BUNDLED)
def test_bundled_strategy_trades_live_as_in_its_backtest(strategy: str) -> None:
    """A session and a half of the sample, over a night; a month is in test_rehearsal_month.py."""
    assert_equal(rehearse(strategy, spy(195, 585), start_rule="first-target"), fills=2)


def test_live_fills_are_those_of_q_backtest(lived: list[tuple[Any, Traded]]) -> None:
    """Laid beside q.backtest's own tables here, not by the rehearsal's own comparison."""
    bars = spy(0, 200)
    assert_equal(rehearse("macd", bars, sizing="shares:10", start_rule="first-target"))
    stage, traded = lived[0]
    fills = [fill for order in of_live(traded.desk, stage.bars, traded.spans) for fill in order.fills]
    run = q.backtest("macd", bars, sizing="shares:10", save=False)
    assert [f.quantity for f in fills] == run.fills["quantity"].tolist()
    assert [f.price for f in fills] == run.fills["price"].tolist()
    assert [f.commission for f in fills] == run.fills["commission"].tolist()
    times = bars.frame("start").index[[f.bar for f in fills]].tz_convert("UTC")
    assert times.tolist() == run.fills["time"].tolist()
    assert traded.final_cash == pytest.approx(run.final_cash, abs=1e-6)


@pytest.mark.parametrize("sizing", ["percent:40", "cash:20000", "shares:100"])
def test_sizes_follow_from_capital_and_own_profit_only(sizing: str) -> None:
    """The account holds ten times the capital, and shares of the same instrument that are not ours."""
    assert_equal(
        rehearse("macd", spy(0, 200), sizing=sizing, params={"short": True}, costs="percent:0.05"), fills=10
    )


def test_sizes_from_the_distance_to_the_stop() -> None:
    assert_equal(rehearse("macd_stochastic", spy(0, 200), sizing="risk:1", params={"atr_period": 10}))


def test_exits_stand_on_price_steps_and_the_difference_to_q_backtest_is_told() -> None:
    found = rehearse("macd_stochastic", spy(0, 200), params={"atr_period": 10}, sizing="shares:10")
    assert_equal(found, fills=10)
    assert [f.code for f in found.findings] == ["exits-on-price-steps"]


def test_several_feeds_on_one_capital() -> None:
    days = "2020-12-15", "2020-12-15"
    feeds = [
        spy(0, 150),
        synthetic("AAPL", "1m", *days, price=120.0)[:150],
        synthetic("XYZ", "1m", *days, seed=3)[:140],
    ]
    assert_equal(rehearse("macd", feeds), fills=20)


def test_days_are_decided_after_the_close_and_filled_at_the_open() -> None:
    bars = q.bars("SPY", "1d", data=SAMPLE)[:90]
    assert_equal(rehearse("macd", bars, costs="ib-tiered"))


def test_bars_of_5_minutes_are_no_delayed_data() -> None:
    """Their pieces come each minute; all at the END they would be minutes old."""
    bars = synthetic("SPY", "5m", "2020-12-15", "2020-12-15", price=370.0)
    assert_equal(rehearse("macd", bars, sizing="shares:10"))


def test_bars_after_the_close_are_left_out_of_both_and_told() -> None:
    bars = q.bars("SPY", "1m", data=SAMPLE)[380:400]
    found = rehearse("macd", bars, params={"fast": 2, "slow": 4, "signal": 2}, start_rule="first-target")
    assert_equal(found)
    assert [(f.code, f.count) for f in found.findings] == [("bars-outside-sessions", 1)]


def test_bars_of_5_seconds_are_the_simulated_exchange_s_own() -> None:
    """The stage makes those of half an hour at once; the exchange's own history one by one, on paths of its own."""
    bars = spy(0, 40)
    tws, other = (make_stage([bars], 100_000.0, "none").server.tws for _ in range(2))
    listing = next(one for one in tws.catalogue if one.symbol == "SPY")
    names = ("start", "open", "high", "low", "close", "volume", "trades")
    for end in range(int(bars.times.begin[0]) + FIVE, int(bars.end[-1]) + 1, FIVE):
        quick, own = (
            history.live_bar(listing, "TRADES", end) for history in (tws.history, History(other.tape))
        )
        assert quick is not None
        assert own is not None
        assert [getattr(quick, name) for name in names] == [getattr(own, name) for name in names]
        assert quick.wap == pytest.approx(own.wap)


def test_only_a_rehearsal_s_journal_does_not_wait_for_the_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """2 is SQLite's FULL, 0 its OFF (sqlite.org/pragma.html)."""
    found = []
    begin = Journal.begin_run

    def look(journal: Journal, *args: Any, **kwargs: Any) -> Any:
        found.append(journal._db.execute("PRAGMA synchronous").fetchone()[0])
        return begin(journal, *args, **kwargs)

    monkeypatch.setattr(Journal, "begin_run", look)
    rehearse("macd", spy(0, 40))
    with Journal.open(
        tmp_path / "j", deployment="d", account="DU1", strategy_hash="s", create=True
    ) as journal:
        journal.begin_run({}, 1, client_id=1)
    assert found == [0, 2]


# ---------------------------------------------------------------- what differs
def test_difference_of_feeds_before_all_have_a_bar_has_its_cause() -> None:
    slow = synthetic("XYZ", "15m", "2020-12-15", "2020-12-15")
    found = rehearse(
        "macd", [spy(0, 60), slow[:4]], params={"fast": 2, "slow": 4, "signal": 2}, sizing="shares:1"
    )
    assert found.differences
    causes = {d.cause.split(" at ")[0] for d in found.differences}
    assert "live begins to trade once every feed has a bar" in causes
    assert UNEXPLAINED not in causes


def test_backtest_that_lacks_cash_differs_and_says_so() -> None:
    found = rehearse(
        "macd", spy(0, 120), sizing="shares:300", start_rule="first-target"
    )  # 110,000 of 100,000
    assert not found.equal
    assert "too little cash" in found.differences[0].cause


def test_half_a_cent_that_sums_in_another_order_reach_is_printed_as_one_amount() -> None:
    found = rehearse("macd", spy(0, 60))
    dust = replace(found, cash=(5019.445000000001, 5019.444999999999))
    (told,) = [line for line in str(dust).splitlines() if "cash" in line]
    backtest, live = told.split("backtest ")[1].split("live ")
    assert backtest.strip() == live.strip()


def test_fill_at_another_price_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison itself: one bar's open is a cent higher at the exchange than in the stored bars."""
    bars = spy(0, 120)
    make = module.make_stage

    def other(feeds: Any, *args: Any) -> Any:
        stage = make(feeds, *args)
        model = stage.exchange._model
        con_id, held = next(iter(model._bars.items()))
        model._bars[con_id] = replace(held, open=np.minimum(held.open + 0.01, held.high))
        return stage

    monkeypatch.setattr(module, "make_stage", other)
    found = rehearse("macd", bars, sizing="shares:10", start_rule="first-target")
    assert not found.ok
    assert {d.what for d in found.differences} == {"fill"}
    assert found.differences[0].cause == UNEXPLAINED


def test_limits_that_would_refuse_are_listed_and_refuse_nothing() -> None:
    found = rehearse("macd", spy(0, 120), params={"short": True}, start_rule="first-target")
    assert_equal(found)
    assert {r.code for r in found.refused} == {"short"}
    assert all(r.quantity < 0 for r in found.refused)


# ---------------------------------------------------------------- faults
HARMLESS = {
    "the line closes, and is reset": [Fault(Do.CLOSE, after_s=3000.0), Fault(Do.RESET, after_s=5021.0)],
    "the line falls silent": [Fault(Do.SILENCE, after_s=4000.0)],
    "TWS loses IB": [
        Fault(Do.SAY, after_s=4000.0, code=1100, text="lost"), Fault(Do.SAY, after_s=4200.0, code=1101, text="back"),
    ],
    "everything is told twice": [OrderFault(OrderDo.REPEAT, count=0), Fault(Do.REPEAT, on="OrderStatus", count=0)],
    "commissions come late": [OrderFault(OrderDo.LATE_FEE, count=0, seconds=200.0)],
    "fills come in parts": [OrderFault(OrderDo.PARTS, count=0, share=0.4)],
    "pieces of bars are lost": [Fault(Do.LOSE, on="RealTimeBarTick", skip=500, count=20)],
}  # fmt: skip


@pytest.mark.parametrize("name", HARMLESS)
def test_fault_that_changes_nothing(name: str) -> None:
    found = rehearse(
        "macd", spy(0, 110), sizing="shares:10", faults=HARMLESS[name], start_rule="first-target"
    )
    assert_equal(found, fills=6)
    assert found.faulty


HARMFUL = {
    "an order is lost on its way": ([OrderFault(OrderDo.DROP, skip=4)], "not sent"),
    "an order is rejected": ([OrderFault(OrderDo.REJECT, skip=2, code=201, text="no")], "rejected"),
    "a fill is told late": ([OrderFault(OrderDo.LOSE_EXEC, skip=3, count=2)], "was told"),
    "a fill is corrected": ([OrderFault(OrderDo.CORRECT, skip=2, price_by=0.5, seconds=30.0)], "corrected"),
    "TWS restarts": ([OrderFault(OrderDo.NIGHTLY, after_s=5159.0, seconds=100.0)], "in time"),
    "somebody trades by hand": (
        [OrderFault(OrderDo.HAND, after_s=3000.0, symbol="SPY", quantity=5)],
        "halted",
    ),
}


@pytest.mark.parametrize("name", HARMFUL)
def test_fault_that_costs_something_is_named_and_breaks_no_invariant(name: str) -> None:
    script, words = HARMFUL[name]
    found = rehearse("macd", spy(0, 130), sizing="shares:10", faults=script, start_rule="first-target")
    assert found.ok, str(found)
    assert not found.equal
    assert any(words in d.cause for d in found.differences), str(found)


def test_what_is_scripted_for_the_night_happens_in_the_night(lived: list[tuple[Any, Traded]]) -> None:
    """Time leaps from one bar to the next, but not over a restart of TWS, and the next day begins connected anew."""
    bars = spy(330, 120)  # an hour, a night, an hour
    night_s = 10 * 3600.0
    restart = OrderFault(OrderDo.NIGHTLY, after_s=night_s, seconds=120.0)
    found = rehearse("macd", bars, sizing="shares:10", faults=[restart])
    assert_equal(found, fills=2)
    stage, _ = lived[0]
    moments = {text.partition(":")[2].strip(): at for at, text in found.notes if text.startswith("state")}
    lost = next(at for words, at in moments.items() if words.startswith("waiting to connect again"))
    assert lost == stage.begin + night_s * 1e9
    assert 120e9 <= moments["ready"] - lost < 600e9


def test_books_that_part_break_an_invariant(lived: list[tuple[Any, Traded]]) -> None:
    rehearse("macd", spy(0, 60), sizing="shares:10", start_rule="first-target")
    stage, traded = lived[0]
    assert list(broken(stage, traded, 100_000.0)) == []
    traded.final_cash += 0.01
    assert any("our cash changed by" in text for text in broken(stage, traded, 100_000.0))
    traded.final_cash -= 0.01
    listing = next(one for one in stage.server.tws.catalogue if one.symbol == "SPY")
    stage.exchange.account.book(listing, Decimal(1), 0.0, 0.0)
    assert any("beyond what was there before" in text for text in broken(stage, traded, 100_000.0))


@pytest.mark.parametrize("skip", [1, 3])
def test_halves_of_a_reversal_may_fill_in_any_order(skip: int) -> None:
    """What closes is held back for 20 s, and what begins the other side fills before it."""
    stuck = OrderFault(OrderDo.STUCK, skip=skip, seconds=20.0)
    bars = synthetic("SPY", "1m", "2024-03-04", "2024-03-04", price=400.0, seed=208)[:70]
    found = rehearse(
        "macd", bars, params={"short": True}, sizing="shares:10", faults=[stuck], start_rule="first-target"
    )
    assert_equal(found, fills=5)


def test_close_beside_a_stop_that_has_filled_breaks_an_invariant(lived: list[tuple[Any, Traded]]) -> None:
    """TWS keeps the stop's execution to itself for a while, and the position is turned round."""
    lost = OrderFault(OrderDo.LOSE_EXEC, skip=1)
    bars = synthetic("SPY", "1m", "2024-03-04", "2024-03-04", price=400.0, seed=3)[:60]
    rehearse(
        "macd_stochastic", bars, params={"atr_period": 10, "atr_factor": 0.7}, sizing="shares:10", faults=[lost],
        start_rule="first-target",
    )  # fmt: skip
    stage, traded = lived[0]
    turned = any(e.view.request.kind == "MKT" and e.view.request.side < 0 for e in stage.executions())
    told = [text for text in broken(stage, traded, 100_000.0) if "was to make a position smaller" in text]
    assert bool(told) == turned


# ---------------------------------------------------------------- input
def test_input_that_cannot_be_rehearsed_is_refused(tmp_path: Path) -> None:
    bars = spy(0, 30)
    with pytest.raises(ParameterError, match="the simulated TWS bills it"):
        rehearse("macd", bars, costs=lambda quantity, price: 1.0)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="two feeds of one instrument"):
        rehearse("macd", [bars, bars.resample("5m")])
    script = tmp_path / "faults.toml"
    script.write_text("do = ", encoding="utf-8")
    with pytest.raises(ParameterError, match="TOML"):
        rehearse("macd", bars, faults=script)


def test_rehearsal_works_where_an_event_loop_runs() -> None:
    async def notebook() -> Rehearsal:
        return rehearse("macd", spy(0, 40), start_rule="first-target")

    assert_equal(asyncio.run(notebook()))


def test_no_second_exit_takes_its_place_beside_one_that_may_not_go_yet() -> None:
    """An order is lost, so the gate shuts while the strategy moves its stop: the old one stays, alone."""
    drop: list[Fault | OrderFault] = [OrderFault(OrderDo.DROP, skip=4)]
    found = rehearse(
        "macd_stochastic", spy(0, 100), sizing="shares:10", faults=drop, start_rule="first-target"
    )
    assert found.broken == ()
    assert found.ok
