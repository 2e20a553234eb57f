"""Made-up results of sweeps and walk-forwards: a smooth hill with noise, some undefined, some failed."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from quant.core.finding import Finding
from quant.metrics import NAMES
from quant.report import SweepContent, WalkForwardContent

TEXT = (
    "The best of 1,000 combinations has a Sharpe ratio of 1.9. Of as many worthless ones the best would be expected "
    "to show 1.7, so most of it is what a search of this size finds by chance. In the second half of the data the "
    "combinations that were good in the first half were no better than the others."
)
FACTS = [
    (
        "Trials",
        "1,000 here, 3,412 ever",
        "Every combination that was ever tried on these bars counts, not only these.",
    ),
    (
        "Expected best of pure luck",
        "1.72",
        "The Sharpe ratio that the best of as many worthless combinations shows.",
    ),
    (
        "Deflated Sharpe",
        "0.61",
        "How likely the best one is better than that; 0.95 and more would be convincing.",
    ),
    (
        "Probability of overfitting",
        "48%",
        "How often the best of one half of the data is below average in the other.",
    ),
    (
        "Minimum track record",
        "4.2 years",
        "How long the best one must run before it can be told from 0 at 95 %.",
    ),
    ("Stability", "0.74", "What neighbours of the best one keep of its figure, on average."),
]
FOUND = [
    Finding("open-at-end", "12 combinations end with an open position, valued at the last close", 12, "note"),
    Finding(
        "per-share-adjusted", "per-share costs on adjusted prices: commissions of early years are too high"
    ),
]


def grid(**values: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Return the columns of all combinations."""
    rows = list(product(*values.values()))
    return {n: np.array([r[k] for r in rows], dtype=_kind(v)) for k, (n, v) in enumerate(values.items())}


def _kind(values: Any) -> Any:
    return object if any(isinstance(v, str | bool) or v is None for v in values) else None


def figures(hill: Any, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Return the 23 columns, with a Sharpe ratio near `hill`."""
    n, draw = len(hill), np.random.default_rng(seed)
    sharpe = hill + draw.normal(0, 0.15, n)
    found = {
        "sharpe": sharpe, "total_return": np.exp(sharpe * 0.3) - 1, "cagr": sharpe * 0.08,
        "volatility": draw.uniform(0.1, 0.2, n), "max_drawdown": -draw.uniform(0.05, 0.4, n),
        "max_drawdown_days": draw.integers(10, 900, n).astype(float), "trades": draw.integers(0, 80, n).astype(float),
        "win_rate": draw.uniform(0.3, 0.7, n), "exposure": draw.uniform(0.2, 0.9, n),
        "final_value": 1e5 * np.exp(sharpe * 0.3), "final_cash": 1e5 * np.exp(sharpe * 0.3) / 2,
        "buy_hold_return": np.full(n, 0.42), "rejected": np.zeros(n),
    }  # fmt: skip
    return {name: found.get(name, draw.normal(5, 20, n)) for name in NAMES}


def sweep(**changes: Any) -> SweepContent:
    """Return a sweep of three parameters, 1,000 combinations: some undefined, some failed."""
    table = changes.pop("table", None) or grid(
        fast=range(4, 24), slow=range(20, 70, 5), signal=(5, 7, 9, 11, 13)
    )
    parameters = changes.pop("parameters", [n for n in table if n not in (*NAMES, "error", "symbol")])
    if "sharpe" not in table:
        table = {**table, **broken(figures(surface(table)))}
    n, draw = len(table["sharpe"]), np.random.default_rng(3)
    halves = table["sharpe"].astype(float)[:, None] * [0.9, 0.4] + draw.normal(0, 0.35, (n, 2))
    base: dict[str, Any] = dict(
        name="MacdCross on SPY", settings={"strategy": {"class": "MacdCross"}, "cash": 100_000.0, "seed": 0},
        parameters=parameters, table=table, verdict="luck", text=TEXT, facts=FACTS, luck=1.72, findings=FOUND,
        dropped=24, failed=int(sum(e is not None for e in table["error"])), halves=halves,
        verified="12 rows were re-run: the best 6 and 6 at random in fast, the best one in plain too. All figures "
        "are equal to the last bit.",
    )  # fmt: skip
    return SweepContent(**base | changes)


def surface(table: dict[str, Any]) -> Any:
    """Return a hill over the numeric parameters."""
    n, hill = len(next(iter(table.values()))), 0.4
    for values in table.values():
        if values.dtype == object:
            continue
        at = (values - np.min(values)) / max(float(np.ptp(values)), 1.0)
        hill = hill + 0.5 * np.sin(2.5 * at) - 1.1 * (at - 0.4) ** 2
    return np.broadcast_to(hill, n) - 0.3


def broken(table: dict[str, Any]) -> dict[str, Any]:
    """Return the table with every 41st row undefined and every 97th one failed."""
    n = len(table["sharpe"])
    undefined, failed = np.arange(n) % 41 == 7, np.arange(n) % 97 == 11
    error = np.full(n, None, dtype=object)
    error[failed] = "signals: 501 values for 502 bars"
    out = {
        k: np.where(undefined & (k in ("sharpe", "sortino")) | failed, np.nan, v) for k, v in table.items()
    }
    return {**out, "error": error}


def walk_forward(windows: int = 11, **changes: Any) -> WalkForwardContent:
    """Return a walk-forward of daily sessions, a quarter each."""
    draw, length = np.random.default_rng(5), 63
    days = np.arange("2012-01-02", "2052-01-01", dtype="datetime64[D]")
    days = days[np.is_busday(days)]
    train, n = 4 * length, windows * length
    tested = days[train : train + n]
    begin = np.arange(windows) * length
    equity = 1e5 * np.cumprod(1 + draw.normal(0.0003, 0.008, n))
    hold = 1e5 * np.cumprod(1 + draw.normal(0.0004, 0.011, n))
    ends = np.append(1e5, equity[length - 1 :: length])
    base: dict[str, Any] = dict(
        name="MacdCross on SPY", settings={"strategy": {"class": "MacdCross"}, "train": 252, "test": 63},
        parameters=["fast", "slow", "short"], sessions=tested, equity=equity, hold=hold, cash=100_000.0,
        windows={
            "train_first": days[begin], "train_last": days[begin + train - 1], "test_first": tested[begin],
            "test_last": tested[begin + length - 1], "fast": draw.choice([5, 8, 12, 16], windows),
            "slow": draw.choice([20, 26, 30], windows), "short": draw.choice([True, False], windows),
            "in_sample": draw.normal(1.4, 0.3, windows), "out_of_sample": draw.normal(0.3, 0.9, windows),
            "return": ends[1:] / ends[:-1] - 1,
        },
        efficiency=0.24, verdict="unclear", text=TEXT, facts=FACTS[:3], findings=FOUND[:1],
    )  # fmt: skip
    return WalkForwardContent(**base | changes)
