"""Determinism, engines, edges, and what is told outside of the signals' arrays."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import cheats
import numpy as np
import pytest
from cheats import Honest, Remembers, Rule, SetOrder, ruled

import quant as q
from quant.backtest import engine as engines
from quant.backtest.recorder import Record
from quant.backtest.records import difference
from quant.errors import BarsError, ParameterError
from quant.research.check.determinism import determinism
from quant.research.check.edges import at_edges, edges
from quant.research.check.engines import equal_engines, job_of, recent
from quant.research.check.second import Unreachable, second_process
from quant.research.check.subject import Subject

BARS = q.synthetic("AAA", "1d", "2015-01-02", "2017-12-29", seed=5)


def subject(cls: Any, *bars: q.Bars, **params: Any) -> Subject:
    job = job_of(cls, bars or BARS, params)
    assert job.plans is not None
    return Subject(job.strategy, job.params, job.bars, job.plans)


# ---------------------------------------------------------------- determinism
def global_numbers(b: q.Bars) -> Any:
    return np.random.random(len(b)) > 0.5  # noqa: NPY002


def own_numbers(b: q.Bars) -> Any:
    return np.random.default_rng().random(len(b)) > 0.5


def python_numbers(b: q.Bars) -> Any:
    return np.full(len(b), random.random())


def counts_calls() -> Rule:
    calls = iter(range(1000))
    return lambda b: np.full(len(b), float(next(calls)))


def after_what_came_before() -> Rule:
    means: list[float] = []

    def rule(b: q.Bars) -> Any:
        means.append(float(np.mean(b.close)))
        return b.close > means[-2:][0]

    return rule


def by_identity(b: q.Bars) -> Any:
    return np.full(len(b), float(id(b) % 1009))


@pytest.mark.parametrize(
    "rule",
    [global_numbers, own_numbers, python_numbers, counts_calls(), after_what_came_before(), by_identity],
    ids=["numpy", "own", "python", "calls", "memory", "identity"],
)
def test_chance_and_state_are_caught(rule: Rule) -> None:
    part, found, _ = determinism(subject(ruled(rule)), 0)
    assert part.verdict == "failed"
    assert [(f.code, f.level) for f in found] == [("not-deterministic", "warning")]
    assert "signals for bar " in found[0].message


def test_seeded_chance_is_none() -> None:
    rule = ruled(lambda b: np.random.default_rng(7).random(len(b)) > 0.5)
    part, found, _ = determinism(subject(rule), 0)
    assert (part.verdict, found) == ("ok", [])
    assert "no second process: the class is not in a module" in part.told


@pytest.mark.parametrize("cls", [Remembers, SetOrder])
def test_second_process_sees_what_one_process_cannot(cls: type[q.Strategy]) -> None:
    part, found, _ = determinism(subject(cls), 0)
    assert part.verdict == "failed"
    assert "in a second process, where a shorter history came first" in found[0].message


def test_second_process_gives_the_same_bits() -> None:
    whole = subject(Honest, period=7)
    (plan,), _ = second_process(whole)
    assert plan.target.tobytes() == whole.plans[0].target.tobytes()
    assert plan.stop is None


def test_parameter_that_cannot_be_sent_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = subject(Honest)
    with pytest.raises(Unreachable, match="its parameters cannot be sent"):
        second_process(replace(whole, params={"period": lambda: 1}))
    monkeypatch.setattr(Honest, "__module__", "gone")
    with pytest.raises(Unreachable, match="No module named 'gone'"):
        second_process(whole)


def test_global_random_numbers_go_on_as_they_were() -> None:
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    wanted = random.random(), np.random.random()  # noqa: NPY002
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    determinism(subject(ruled(cheats.always)), 5)
    assert (random.random(), np.random.random()) == wanted  # noqa: NPY002


def test_writing_into_the_bars_is_caught() -> None:
    close = np.array(BARS.close)
    loose = q.Bars.trusted(**{**{n: getattr(BARS, n) for n in BARS.__dataclass_fields__}, "close": close})

    def writes(b: q.Bars) -> Any:
        close[0] += 0.001
        return np.ones(len(b))

    _, found, _ = determinism(subject(ruled(writes), loose), 0)
    assert [f.code for f in found] == ["bars-changed"]


# ---------------------------------------------------------------- engines
class Crossing(q.Strategy):
    """Long above the mean of ten closes, else short."""

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        c = cheats.close(bars)
        return np.where(c.rolling(10).mean().isna(), np.nan, np.where(c > c.rolling(10).mean(), 1.0, -1.0))


def test_engines_are_equal_on_orders_fills_and_account() -> None:
    part, found = equal_engines(job_of(Crossing, BARS, None))
    assert (part.verdict, found) == ("ok", [])
    assert part.told.startswith("fast = ")
    assert "orders, " in part.told
    assert f"cash and value of {len(BARS)} bars, to the last bit" in part.told


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let the engine fast do to its record what the test puts into the list."""
    does: list[Any] = []
    stock = engines.run

    def run(job: Any, engine: str) -> Record:
        record = stock(job, engine)
        for change in does if engine == "fast" else ():
            change(record)
        return record

    monkeypatch.setattr(engines, "run", run)
    return does


def last_bit(values: list[float]) -> None:
    values[100] = float(np.nextafter(values[100], np.inf))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda r: setattr(r.orders[4], "reason", "exit"), "fast differs from plain: order 5 is market "),
        (lambda r: r.orders.pop(), " there. This is"),
        (lambda r: r.fills.__setitem__(7, replace(r.fills[7], price=np.nextafter(r.fills[7].price, 0))), "fill 8 is "),
        (lambda r: last_bit(r.cash), "cash at "),
        (lambda r: last_bit(r.value), "value at "),
        (lambda r: r.value.pop(), f"value has {len(BARS)} steps in plain and {len(BARS) - 1} there"),
    ],
    ids=["order", "missing order", "fill", "cash", "value", "steps"],
)  # fmt: skip
def test_engine_that_differs_by_a_bit_is_named(faulty: list[Any], change: Any, told: str) -> None:
    faulty.append(change)
    part, found = equal_engines(job_of(Crossing, BARS, None))
    assert part.verdict == "failed"
    assert [(f.code, f.level) for f in found] == [("engines-differ", "warning")]
    assert told in found[0].message


def test_missing_order_is_named(faulty: list[Any]) -> None:
    faulty.append(lambda r: r.orders.pop())
    message = equal_engines(job_of(Crossing, BARS, None))[1][0].message
    assert "in plain and missing there" in message


def test_engine_that_does_not_cover_a_job_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    stock = engines.run

    def run(job: Any, engine: str) -> Record:
        if engine == "narrow":
            raise ParameterError("engine", "narrow", "it runs one feed only")
        return stock(job, engine)

    monkeypatch.setattr(engines, "ENGINES", ("fast", "narrow", "plain"))
    monkeypatch.setattr(engines, "run", run)
    part, found = equal_engines(job_of(Crossing, BARS, None))
    assert found == []
    assert part.told.startswith("fast = plain: ")
    assert part.told.endswith("; narrow does not cover it: it runs one feed only")


def test_instruments_that_the_default_costs_do_not_fit_run_with_others() -> None:
    future = replace(BARS, instrument=replace(BARS.instrument, sec_type="FUT", multiplier=50.0))
    assert equal_engines(job_of(Crossing, future, None))[0].verdict == "ok"
    below = replace(BARS, **{n: getattr(BARS, n) - 100.0 for n in ("open", "high", "low", "close")})
    assert equal_engines(job_of(Crossing, below, None))[0].verdict == "ok"


def test_long_history_is_compared_on_its_last_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quant.research.check.engines.BARS", 200)
    job = job_of(Crossing, BARS, None)
    short = recent(job)
    assert short.bars[0].end.tolist() == BARS.end[-200:].tolist()
    assert short.plans is not None
    assert job.plans is not None
    assert short.plans[0].target.tobytes() == job.plans[0].target[-200:].tobytes()


def test_equal_records_have_no_difference() -> None:
    job = job_of(Crossing, BARS, None)
    assert difference(job, engines.run(job, "plain"), engines.run(job, "plain")) is None


# ---------------------------------------------------------------- edges
@pytest.mark.parametrize(
    ("value", "tried"),
    [
        (20, [0, 1, -1, 19, 21, 5000]),
        (1, [0, -1, 2, 5000]),
        (0.5, [0.0, 1.0, -1.0, -0.5, 1.5, 1e6]),
        (True, [False]),
        ("a", []),
        (None, []),
    ],
)
def test_edges_of_a_value(value: Any, tried: list[Any]) -> None:
    assert at_edges(value, 500) == tried


def with_period(rule: Any, check: Any = lambda p: True) -> type[q.Strategy]:
    class WithPeriod(q.Strategy):
        params = dict(period=20)

        @staticmethod
        def valid(p: Any) -> bool:
            return bool(check(p))

        @staticmethod
        def signals(bars: q.Bars, p: Any) -> Any:
            return rule(bars, p.period)

    return WithPeriod


def above_mean(b: q.Bars, period: int) -> Any:
    return cheats.close(b) > cheats.close(b).rolling(period).mean()


def told(cls: type[q.Strategy], honest: bool = True) -> list[tuple[str, str]]:
    return [(f.code, f.message) for f in edges(subject(cls), honest)[1]]


def test_values_that_valid_refuses_are_as_they_should_be() -> None:
    part, found = edges(subject(Honest), True)
    assert (part.verdict, found) == ("ok", [])
    assert part.told == "6 values of 1 parameters, 2 of them refused; histories from 1 bar on"


def test_crash_names_parameter_and_value() -> None:
    found = told(with_period(above_mean))
    assert [code for code, _ in found] == ["parameter-crash"]
    assert "with period=-1 signals raised ValueError: " in found[0][1]
    assert "Refuse such values in `valid`" in found[0][1]


def test_parameter_error_is_no_crash() -> None:
    def refuses(b: q.Bars, period: int) -> Any:
        if period < 1:
            raise ParameterError("period", period, "wants at least one bar")
        return above_mean(b, period)

    assert told(with_period(refuses)) == []


def test_illegal_signals_are_named() -> None:
    found = told(with_period(lambda b, n: np.full(len(b), 1.0 / n if n else np.inf)))
    assert [code for code, _ in found] == ["parameter-crash"]
    assert "with period=0 target is infinite at bar 0; use NaN for no opinion" in found[0][1]


def test_valid_that_crashes_is_named() -> None:
    found = told(with_period(above_mean, lambda p: 20 / p.period > 0))
    assert "with period=0 valid raised ZeroDivisionError" in found[0][1]


def test_value_at_which_signals_look_ahead_is_named() -> None:
    cls = with_period(lambda b, n: cheats.sign(cheats.close(b) - cheats.close(b).shift(n)))
    assert [(c, m[:40]) for c, m in told(cls)] == [
        ("look-ahead-with-parameter", "with period=-1 signals look ahead. Refus")
    ]
    assert told(cls, honest=False) == []


def test_crash_on_a_short_history_is_told() -> None:
    def needs(b: q.Bars) -> Any:
        return np.append(np.zeros(4), cheats.sign(np.diff(b.close, n=4))) + b.close[4] * 0.0

    found = told(ruled(needs))
    assert [code for code, _ in found] == ["short-history-crash"]
    assert "on a history of 3 bars signals raised IndexError" in found[0][1]


def test_short_history_refused_in_plain_words_is_as_it_should_be() -> None:
    def needs(b: q.Bars) -> Any:
        if len(b) < 20:
            raise BarsError(b.symbol, f"needs 20 bars, has {len(b)}")
        return np.ones(len(b))

    assert told(ruled(needs)) == []


def test_all_edges_are_notes() -> None:
    found = edges(subject(with_period(above_mean)), True)[1]
    assert {f.level for f in found} == {"note"}
