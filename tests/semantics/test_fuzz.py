"""Random runs: every engine equals the oracle, and backtrader's own order calls, to the last bit.

2,000 runs in CI over all tests here; `--full` makes 100,000. A failing run names its seed.
"""

from __future__ import annotations

import dataclasses
import math
import random
import struct
from typing import Any

import backtrader as bt
import numpy as np
import pytest
from engines import ENGINES
from oracle import simulate
from random_cases import random_case

from quant.backtest.job import Job
from quant.backtest.recorder import Record
from quant.core.bars import Bars
from quant.core.barsize import bar_size
from quant.core.costs import Slippage, costs
from quant.core.instrument import Instrument
from quant.core.sizing import parse_sizing
from quant.core.targets import SessionRules
from quant.strategy import Signals, Strategy
from quant.strategy.signals import plan

MINUTE = 60_000_000_000
FIRST = int(np.datetime64("2020-01-01", "ns").astype(np.int64))
COSTS = {"none": "none", "per-order": "ib-fixed"}


def as_bars(rows: list, settings: dict, every: int = 1, offset: int = 0, symbol: str = "AAA") -> Bars:
    o, h, l, c = (np.array(x) for x in zip(*rows, strict=True))  # noqa: E741
    start = FIRST + (offset + every * np.arange(len(o))) * MINUTE
    bars = Bars(Instrument(symbol), bar_size("1m"), start, o, h, l, c, np.zeros(len(o)))
    if settings.get("minutes_to_close"):
        # A made-up session: what matters to the rules are the distances to its close.
        size = dataclasses.replace(bars.bar, ns=int(settings["bar_minutes"] * MINUTE))
        made_up = dataclasses.replace(bars.times, minutes_to_close=np.array(settings["minutes_to_close"]))
        bars.__dict__.update(times=made_up, bar=size)
    return bars


def as_job(case: Any) -> Job:
    rows, target, stop, limit, s = case
    bars = as_bars(rows, s)
    name = COSTS.get(s["costs"][0]) or f"percent:{s['costs'][1]!r}"
    return Job(
        strategy=Strategy, params={}, bars=(bars,),
        plans=(plan("fuzz", bars, Signals(target, stop, limit, s["follow_stop"])),), cash=s["cash"], costs=costs(name),
        sizing=parse_sizing("{}:{!r}".format(*s["sizing"])),
        slippage=Slippage("fuzz", "percent", s["slippage"]) if s["slippage"] else None, borrow=None,
        rules=SessionRules(s.get("no_entry_last"), s.get("flat_before_close")), start_rule=s["start_rule"],
        limit_first=s["limit_first"],
    )  # fmt: skip


def bits(fills: list, cash: list, value: list, rejected: int, ambiguous: int) -> tuple:
    def pack(*x: float) -> bytes:
        return struct.pack(f"{len(x)}d", *x)

    exact = [(bar, int(q), pack(price, fee), why) for bar, q, price, fee, why in fills]
    return exact, pack(*cash), pack(*value), int(rejected), int(ambiguous)


def of_record(r: Record) -> tuple:
    fills = [(f.bar, f.quantity, f.price, f.commission, f.reason) for f in r.fills]
    rejected = sum(o.status == "rejected" for o in r.orders)
    return bits(fills, r.cash, r.value, rejected, sum(f.ambiguous for f in r.fills))


def of_oracle(case: Any) -> tuple:
    rows, target, stop, limit, s = case
    account, cash, value, ambiguous = simulate(rows, target, stop, limit, **s)
    return bits(account.fills, cash, value, account.rejected, ambiguous)


@pytest.mark.parametrize("part", range(8))
@pytest.mark.parametrize("engine", ENGINES)
def test_one_feed_equals_the_oracle(engine: str, part: int, full: bool) -> None:
    count = 10_000 if full else 200
    for seed in range(part * count, (part + 1) * count):
        case = random_case(seed)
        assert of_record(ENGINES[engine](as_job(case))) == of_oracle(case), f"seed {seed}"


class StockCalls(Strategy):
    """Leaves the sizes to backtrader's order_target calls, for entries from flat and within one sign."""

    def _market(self, feed: Any, size: int, reason: str, **kwargs: Any) -> bt.Order:
        target, held = feed.target.last, self.getposition(feed.data).size
        if reason == "close" or held * target < 0:
            return super()._market(feed, size, reason, **kwargs)
        sizing = self._decisions.sizing
        if sizing.kind == "percent":
            percent = sizing.amount / 100.0 * target
            return self.order_target_percent(feed.data, target=percent, reason=reason)
        if sizing.kind == "cash":
            return self.order_target_value(feed.data, target=sizing.amount * target, reason=reason)
        return self.order_target_size(feed.data, target=int(sizing.amount * target), reason=reason)


def test_sizes_equal_backtraders_own_order_calls(full: bool) -> None:
    compared = 0
    for seed in range(10_000 if full else 200):
        rows, target, _, _, s = random_case(seed)
        s = {**s, "follow_stop": False, "limit_first": False}
        if s["sizing"][0] == "risk":
            s["sizing"] = ("percent", 95.0)
        job = as_job((rows, target, None, None, s))
        ours = ENGINES["plain"](job)
        if min(ours.value) < 0.0:
            continue  # stock turns the sign of a percent target below zero equity
        stock = ENGINES["plain"](dataclasses.replace(job, strategy=StockCalls))
        assert of_record(ours) == of_record(stock), f"seed {seed}"
        compared += len(ours.fills)
    assert compared > 1000


@pytest.mark.parametrize("engine", [e for e in ENGINES if e != "compiled"])  # it runs one feed
def test_feeds_on_one_large_account_trade_as_if_alone(engine: str, full: bool) -> None:
    for seed in range(10_000 if full else 200):
        r = random.Random(seed)
        jobs = []
        follow = r.random() < 0.7
        for k in range(r.randint(2, 4)):
            rows, target, stop, limit, _ = random_case(r.randrange(10**9))
            exits = stop is not None or limit is not None
            bars = as_bars(rows, {}, r.choice([1, 1, 5, 15, 60]), r.choice([0, 0, 7, 23]), f"S{k}")
            jobs.append((bars, plan("fuzz", bars, Signals(target, stop, limit, follow and exits))))
        together = _run(engine, jobs)
        for k, (bars, of_feed) in enumerate(jobs):
            alone = _run(engine, [(bars, of_feed)])
            mine = [dataclasses.replace(f, feed=0, order=0) for f in together.fills if f.feed == k]
            assert mine == [dataclasses.replace(f, order=0) for f in alone.fills], f"seed {seed} feed {k}"


def test_fast_equals_plain_on_several_feeds_short_of_cash(full: bool) -> None:
    rejected = 0
    for seed in range(20_000 if full else 150):
        r = random.Random(seed)
        feeds = []
        for k in range(r.randint(2, 4)):
            rows, target, stop, limit, _ = random_case(r.randrange(10**9))
            exits = stop is not None or limit is not None
            bars = as_bars(rows, {}, r.choice([1, 1, 5, 15, 60]), r.choice([0, 0, 7, 23]), f"S{k}")
            feeds.append((bars, plan("fuzz", bars, Signals(target, stop, limit, exits and r.random() < 0.7))))
        sizing = parse_sizing(r.choice([None, "shares:10", "percent:60", "cash:900"]), len(feeds))
        job = Job(
            strategy=Strategy, params={}, bars=tuple(b for b, _ in feeds), plans=tuple(p for _, p in feeds),
            cash=r.choice([1e5, 3000.0, 800.0]), costs=costs(r.choice(["ib-fixed", "percent:0.3"])), sizing=sizing,
            slippage=None, borrow=None, rules=SessionRules(), start_rule=r.choice(["first-target", "next-change"]),
        )  # fmt: skip
        plain, fast = ENGINES["plain"](job), ENGINES["fast"](job)
        assert fast.fell_back is None
        for name in ("orders", "fills", "cash", "value", "wrong_side"):
            assert repr(getattr(fast, name)) == repr(getattr(plain, name)), f"seed {seed}: {name}"
        rejected += sum(o.status == "rejected" for o in plain.orders)
    assert rejected > 500


def _run(engine: str, feeds: list) -> Record:
    job = Job(
        strategy=Strategy, params={}, bars=tuple(b for b, _ in feeds), plans=tuple(p for _, p in feeds), cash=1e9,
        costs=costs("ib-fixed"), sizing=parse_sizing("shares:10"), slippage=Slippage("fuzz", "percent", 0.02),
        borrow=None, rules=SessionRules(), start_rule="first-target",
    )  # fmt: skip
    return ENGINES[engine](job)


def test_the_fuzz_visits_the_corners() -> None:
    """A fuzz that never meets a rule proves nothing about it."""
    records = [(random_case(seed), ENGINES["plain"](as_job(random_case(seed)))) for seed in range(150)]
    reasons = {f.reason for _, r in records for f in r.fills}
    assert reasons == {"entry", "reduce", "close", "stop", "limit"}
    assert sum(o.status == "rejected" for _, r in records for o in r.orders) > 20
    assert any(f.ambiguous for _, r in records for f in r.fills)
    assert any(min(r.value) < 0 for _, r in records)
    assert any(c[4].get("flat_before_close") for c, _ in records)
    assert not any(math.isnan(v) for _, r in records for v in r.value)
