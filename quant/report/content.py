"""What a page is made of: plain arrays and dicts that a run fills. Knows no engine and no files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant.core.finding import Finding

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Days = NDArray[np.datetime64]
Table = Mapping[str, NDArray[Any]]  # name -> column
Panes = Mapping[str, Mapping[str, Floats]]  # "price" or the name of a pane -> name of a line -> (n,) values


@dataclass(frozen=True, slots=True, eq=False)
class Symbol:
    """The bars of one feed. step: (n,) at which of the run's steps each bar ends, strictly increasing."""

    name: str
    step: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    panes: Panes = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """One run.

    clock: (m,) int64, the wall clock at each step's bar, in seconds since 1970 as if it were UTC; dates at 00:00.
    zone: whose wall clock. equity, hold: (m,) of the account, and of buying and holding with the starting cash.
    returns, sessions: per session. metrics, settings: as of the run.
    symbols: empty where the bars are not at hand. fills: step, symbol, quantity, price, commission, reason, order,
    slippage, ambiguous, filled (clock), value (|quantity| x price x multiplier).
    orders: order, decided (clock), symbol, kind, quantity, price, limit_price,
    status, reason. trades: symbol, quantity, entered, left (clock), entry_step, exit_step, entry_price, exit_price,
    pnl, return, commission, borrow, reason, open, mfe, mae (fractions of the entry price, NaN where unknown).
    notes: what the page lacks, and why.
    """

    name: str
    settings: Mapping[str, Any]
    metrics: Mapping[str, float]
    findings: Sequence[Finding]
    clock: Ints
    zone: str
    equity: Floats
    hold: Floats
    returns: Floats
    sessions: Days
    periods_per_year: float
    symbols: Sequence[Symbol]
    fills: Table
    orders: Table
    trades: Table
    notes: Sequence[str] = ()

    @property
    def cash(self) -> float:
        """The starting cash."""
        return float(self.settings["cash"])
