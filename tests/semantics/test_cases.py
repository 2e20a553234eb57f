"""Every engine gives what the table of cases says by hand; the oracle agrees."""

from __future__ import annotations

import math

import pytest
from cases import CASES, Case
from engines import ENGINES, by_oracle, job, outcome

from quant.errors import ParameterError

ORACLE = [
    c for c in CASES if len(c.feeds) == 1 and c.borrow is None and not str(c.slippage).startswith("ticks")
]


def near(a: float, b: float) -> bool:
    """Hand-made decimals against binary sums: to the hundredth of a cent."""
    return math.isclose(a, b, abs_tol=1e-4)


def assert_fills(got: list, wanted: list) -> None:
    assert [(*f[:3], f[5]) for f in got] == [(*f[:3], f[5]) for f in wanted]
    for g, w in zip(got, wanted, strict=True):
        assert near(g[3], w[3])
        assert near(g[4], w[4])


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
@pytest.mark.parametrize("engine", ENGINES)
def test_engine_gives_what_the_table_says(engine: str, case: Case) -> None:
    if engine == "compiled" and len(case.feeds) > 1:
        with pytest.raises(ParameterError, match="feeds share one account"):
            ENGINES[engine](job(case))
        return
    got = outcome(ENGINES[engine](job(case)))
    assert_fills(got["fills"], case.fills)
    assert near(got["cash"][-1], case.cash)
    assert (got["rejected"], got["ambiguous"], got["wrong_side"]) == (
        case.rejected,
        case.ambiguous,
        case.wrong_side,
    )
    if case.orders is not None:
        assert got["orders"] == case.orders


@pytest.mark.parametrize("case", ORACLE, ids=lambda c: c.name)
def test_oracle_agrees_to_the_last_bit(case: Case) -> None:
    wanted = outcome(ENGINES["plain"](job(case)))
    assert by_oracle(case) == {k: wanted[k] for k in ("fills", "cash", "value", "rejected", "ambiguous")}


def test_names_of_cases_are_distinct() -> None:
    assert len({c.name for c in CASES}) == len(CASES)
