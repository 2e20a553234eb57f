"""disaster_stop: an entry that has no stop of its own gets one at IB, the way a strategy's own stop goes there."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pytest
from bar_exchange import CAPITAL
from live_run import PATIENCE_S, again, books, draft, ledger, play, position, standings, tws
from tws_market import TwsMarket, tws_market

import quant as q
from quant.app import live as commands
from quant.core.clock import monotonic
from quant.core.orders import Kind
from quant.errors import ParameterError, SignalsError
from quant.live.run.lock_file import read
from quant.live.signals import live_decisions
from quant.oms.state import OrderState
from quant.promotion import live as live_path
from quant.promotion import rehearsal as module
from quant.promotion import rehearse
from quant.promotion.causes import UNEXPLAINED
from quant.strategy import parameters

SAMPLE = Path(__file__).parents[2] / "data"
KILLED = """
import os
from quant.oms import failpoints
sends = 0
def hook(name):
    global sends
    sends += name == "after_send"
    if sends == 2:
        os._exit(9)
failpoints.hook = hook
from quant.app.cli import main
main()
"""


@pytest.fixture(scope="session")
def bars() -> q.Bars:
    """Three made-up sessions of fifteen-minute bars, under SPY's contract."""
    made = q.synthetic("SPY", "15m", "2024-05-15", "2024-05-17", seed=4, volatility=0.6)
    return replace(made, instrument=replace(made.instrument, con_id=756733, tick=0.01))


class InAndOut(q.Strategy):
    """Long, short and flat by the clock, without any stop; a limit where one is asked for."""

    params = dict(limit=0.0)

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> q.Signals:
        wants = np.array([1.0, -1.0, 0.0])[np.arange(len(bars)) // 7 % 3]
        limit = np.round(bars.close * np.where(wants > 0, 1 + p.limit, 1 - p.limit), 2)
        return q.Signals(wants, None, limit) if p.limit else q.Signals(wants)


def trade(market: TwsMarket, percent: float | None, cls: type[q.Strategy] = InAndOut, **params: Any) -> Any:
    found = parameters(cls, params)
    decisions = live_decisions(
        cls, found, market.feeds, began=0, now=lambda: market.now, start_rule="first-target", sizing="shares:10",
        disaster_stop=percent,
    )  # fmt: skip
    return market.run(cls, decisions=decisions, **found)


def fills(market: TwsMarket, *kinds: Kind) -> list[tuple[float, float, float]]:
    told = [
        fill
        for standing in market.desk.orders
        if market.desk.intent(standing.ref).ticket.kind in kinds
        for fill in standing.fills
    ]
    told.sort(key=lambda fill: (fill.time, fill.stem))
    return [(float(f.quantity), f.price, round(f.commission or 0.0, 9)) for f in told]


def stops(market: TwsMarket) -> list[Any]:
    return [s for s in market.desk.orders if market.desk.intent(s.ref).ticket.kind is Kind.STOP]


def backtested(bars: q.Bars, **params: Any) -> q.Run:
    return q.backtest(InAndOut, bars, params=params, cash=CAPITAL, sizing="shares:10", save=False)


# ---------------------------------------------------------------- at the exchange
@pytest.mark.parametrize("limit", [0.0, 0.004])
def test_one_that_is_never_touched_changes_no_fill_and_goes_with_the_position(
    bars: q.Bars, tmp_path: Path, limit: float
) -> None:
    run = backtested(bars, limit=limit)
    told = ["quantity", "price", "commission"]
    with tws_market(bars) as market:
        trade(market.start(tmp_path), 40.0, limit=limit)
        wanted = [(float(n), p, round(c, 9)) for n, p, c in run.fills[told].itertuples(index=False)]
        assert len(wanted) > 8
        assert fills(market, *Kind) == wanted
        assert market.broker.getcash() == pytest.approx(run.final_cash, abs=0.005)
        entries = sum(row.reason == "entry" for row in run.orders.itertuples())
        assert len(stops(market)) == entries
        ended = [s.state for s in stops(market)]
        assert set(ended[:-1]) == {OrderState.CANCELLED}
        assert market.desk.positions.get(756733, 0) == run.position


def test_it_lies_at_the_percentage_and_on_the_step_that_is_further_away(bars: q.Bars, tmp_path: Path) -> None:
    with tws_market(bars) as market:
        trade(market.start(tmp_path), 3.1)
        long, short = (market.desk.intent(s.ref).ticket for s in stops(market)[:2])
        assert (long.quantity, short.quantity) == (-10, 10)
        down, up = bars.close[0] * 0.969, bars.close[7] * 1.031
        assert down - 0.01 < (long.stop or 0.0) <= down
        assert up <= (short.stop or 0.0) < up + 0.01
        assert long.parent
        assert long.tif == "GTC"


def test_the_price_falls_through_it_once_and_nothing_fills_twice(bars: q.Bars, tmp_path: Path) -> None:
    with tws_market(bars) as market:
        trade(market.start(tmp_path), 0.3)
        touched = [s for s in stops(market) if s.filled]
        assert len(touched) > 2
        assert market.desk.halted == ""
        held = 0.0
        for quantity, _, _ in fills(market, *Kind):
            held += quantity
            assert abs(held) <= 10.0
        assert market.desk.positions.get(756733, 0) == held


def test_a_restart_knows_it_again_and_cancels_it_with_the_exit(bars: q.Bars, tmp_path: Path) -> None:
    with tws_market(bars) as market:
        market.stop_after = 4
        trade(market.start(tmp_path), 40.0)
        (first,) = stops(market)
        assert first.state is OrderState.WORKING
        market.again(tmp_path).stop_after = 5
        (feed,) = trade(market, 40.0)._feeds
        assert (feed.stop_reason, len(feed.pair)) == ("disaster", 1)
        assert feed.prices[0] == pytest.approx(bars.close[0] * 0.6)
        trade(market.again(tmp_path), 40.0)
        assert fills(market, *Kind) == [
            (float(n), p, round(c, 9))
            for n, p, c in backtested(bars).fills[["quantity", "price", "commission"]].itertuples(index=False)
        ]
        assert stops(market)[0].ref == first.ref
        assert stops(market)[0].state is OrderState.CANCELLED


def test_a_stop_of_the_strategy_stands_alone(bars: q.Bars, tmp_path: Path) -> None:
    class Own(q.Strategy):
        @staticmethod
        def signals(bars: q.Bars, p: Any) -> q.Signals:
            wants = (np.arange(len(bars)) // 7 % 2 == 0).astype(float)
            return q.Signals(wants, np.round(bars.close * 0.9, 2))

    with tws_market(bars[:20]) as market:
        trade(market.start(tmp_path), 40.0, Own)
        assert {market.desk.intent(s.ref).ticket.stop for s in stops(market)} == {
            float(np.round(bars.close * 0.9, 2)[row]) for row in (0, 14)
        }


def test_a_strategy_whose_size_changes_is_refused(bars: q.Bars, tmp_path: Path) -> None:
    class Grows(q.Strategy):
        @staticmethod
        def signals(bars: q.Bars, p: Any) -> Any:
            return np.minimum(np.arange(len(bars)), 3.0)

    with tws_market(bars[:20]) as market, pytest.raises(SignalsError, match="has a disaster_stop"):
        trade(market.start(tmp_path), 40.0, Grows)


# ---------------------------------------------------------------- against the backtest
def test_parity_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bars = module.in_session(q.bars("SPY", "1m", data=SAMPLE))[:120]
    plain = rehearse(InAndOut, bars, sizing="shares:10", start_rule="first-target")
    assert plain.equal, str(plain)
    with_stop: Any = partial(live_decisions, disaster_stop=0.05)
    monkeypatch.setattr(live_path, "live_decisions", with_stop)
    found = rehearse(InAndOut, bars, sizing="shares:10", start_rule="first-target")
    causes = [difference.cause for difference in found.differences]
    assert any("disaster_stop" in cause for cause in causes), str(found)
    assert UNEXPLAINED not in causes, str(found)


# ---------------------------------------------------------------- a deployment
def test_it_outlives_the_runner_and_the_next_one_takes_it_away(data: Path) -> None:
    job = draft(data)
    with tws() as port:
        words = ["paper", "flip", "SPY", "--bar", "30s", "--port", str(port), "--name", "flip-spy"]
        words += [
            "--sizing",
            "shares:10",
            "--from",
            "2024-05-15",
            "--capital",
            "10000",
            "--disaster-stop",
            "20",
        ]
        env = {n: v for n, v in os.environ.items() if not n.upper().startswith("QUANT_")}
        env["XDG_STATE_HOME"] = str(data.parent / "locks")
        process = subprocess.run(
            [sys.executable, "-c", KILLED, *words],
            env=env,
            timeout=PATIENCE_S,
            capture_output=True,
            text=True,
        )
        assert process.returncode == 9, process.stdout + process.stderr
        job = again(data, job)
        assert job.deployment.disaster_stop == 20.0
        began = monotonic()
        while not books(port).positions:
            assert monotonic() - began < PATIENCE_S
        there = books(port)  # in the one before the entry may have been filled behind the list of orders
        (stop,) = there.echoes
        assert (stop.kind, stop.quantity, there.positions[0].quantity) == ("STP", Decimal(-10), Decimal(10))
        ended, told = play(job, port, data, lambda p: p["settled"] and gone(p, stop.ref))
        there = books(port)
    assert ended.code == 0, told
    held = ledger(data, job)
    (guard,) = [s for s in standings(held) if s.ref == stop.ref]
    assert (guard.state, guard.filled) == (OrderState.CANCELLED, 0)
    assert sum((p.quantity for p in there.positions), Decimal(0)) == position(held)


def gone(picture: dict[str, Any], ref: str) -> bool:
    return any(o["ref"] == ref and o["state"] == "cancelled" for o in picture["orders"])


def test_a_lock_file_keeps_it_and_what_it_was_before_stays_the_same(data: Path) -> None:
    from quant.live.run.lock_file import write

    made = draft(data).deployment
    path = data / "deployments" / "flip-spy.lock.toml"
    traded = replace(made, contracts=again_contracts(), account="DU1", versions={})
    write(replace(traded, disaster_stop=12.5), path)
    assert read(path).disaster_stop == 12.5
    assert read(path).digest == traded.digest
    path.write_text(path.read_text().replace("disaster_stop = 12.5\n", ""))
    assert read(path).disaster_stop is None


def again_contracts() -> tuple[Any, ...]:
    from quant.live.run.deployment import Traded

    return (Traded("SPY", 756733, "STK", "SMART", "USD"),)


def test_another_one_than_the_lock_file_says_is_refused(data: Path) -> None:
    job = draft(data, disaster_stop=12.5)
    assert commands._with_disaster_stop(job, {"disaster_stop": None}) is job
    assert commands._with_disaster_stop(job, {"disaster_stop": 12.5}) is job
    with pytest.raises(
        ParameterError, match=r"says 12[.]5; to change it, write disaster_stop = 20 into flip-spy[.]lock"
    ):
        commands._with_disaster_stop(job, {"disaster_stop": 20.0})


class Plain(bt.Strategy):  # type: ignore[misc]
    """Sends its orders itself."""


@pytest.mark.parametrize(("percent", "told"), [(0.0, "percentage"), (100.0, "percentage"), (5.0, "itself")])
def test_what_cannot_be_is_refused_before_anything_is_sent(data: Path, percent: float, told: str) -> None:
    job = draft(data, disaster_stop=percent)
    if told == "itself":
        job = replace(job, strategy=Plain)
    with pytest.raises(ParameterError, match=told):
        play(job, 1, data, lambda p: False)
