"""What the gates are about, as values: thresholds, verdicts, and the evidence for paper and for real money."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from quant.errors import ParameterError

Outcome = Literal["pass", "held", "not run"]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Where the gates stand; quant.toml sets them under [promote].

    missing: share of the calendar's bars that may lack. out_of_sample: least Sharpe ratio a year on data that no
    choice has seen, over out_of_sample_sessions of it at least. trades: least number of closed ones. deflated_sharpe:
    least probability that the Sharpe ratio is more than luck gives to the best of all trials. rejected: share of
    orders that must not be reached. costs: least share of what the cheaper of IB's plans charges for the same fills.
    rehearsal_bars: how many of the last bars are rehearsed. sessions: of paper, one
    after the other with parity. missed_orders: of a session's, the share that live may lack for it to count.
    """

    missing: float = 0.001
    out_of_sample: float = 0.3
    out_of_sample_sessions: int = 30
    trades: int = 30
    deflated_sharpe: float = 0.95
    rejected: float = 0.05
    costs: float = 0.5
    rehearsal_bars: int = 500
    sessions: int = 20
    missed_orders: float = 0.05

    def __post_init__(self) -> None:
        for field in fields(self):
            value, least = getattr(self, field.name), int(field.name in ("rehearsal_bars", "sessions"))
            if not (math.isfinite(value) and (value >= least or field.name == "out_of_sample")):
                raise ParameterError(field.name, value, f"must be a number, {least} or more")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a gate says. threshold, value: what was asked for and what there is, None where it is no number."""

    name: str
    outcome: Outcome
    sentence: str
    threshold: float | None = None
    value: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


# ---------------------------------------------------------------- evidence
@dataclass(frozen=True, slots=True)
class Checked:
    """A part of q.check. verdict: "ok", "note", "failed" or "not applicable"."""

    verdict: str
    told: str


@dataclass(frozen=True, slots=True)
class Completeness:
    """Bars of a symbol. missing: those that its calendar has and the data lack; None without a calendar."""

    symbol: str
    held: int
    missing: int | None


@dataclass(frozen=True, slots=True)
class OutOfSample:
    """A result on data that no choice of parameters had seen. kind: what it is. name: where it is kept.

    sharpe: a year, NaN where it did not trade. sessions: returns behind it.
    """

    kind: str
    name: str
    sharpe: float
    sessions: int
    first: str
    last: str


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """A rehearsal. ok: nothing is wrong. differences: of one under faults those without a known cause.

    refused: how often the limits would have stepped in. first: the first of the differences, in words; see: the
    command that shows them all.

    failed: why there was none, "" = there was one.
    """

    bars: int = 0
    fills: int = 0
    ok: bool = False
    differences: int = 0
    refused: int = 0
    first_refused: str = ""
    failed: str = ""
    first: str = ""
    see: str = ""


@dataclass(frozen=True, slots=True)
class Charged:
    """What a run's fills cost. paid: in commissions. plan: the cheaper of IB's plans for them, and amount: its bill.

    unknown: symbols of whose kind no plan of IB is known here; then there is no bill.
    """

    paid: float
    plan: str = ""
    amount: float = 0.0
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a symbol's bars came from. con_id: IB's contract they are traded as, None = nobody knows."""

    symbol: str
    source: str
    con_id: int | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the gates to paper look at.

    checks: parts of q.check, by name. warmup: bars until signals forget where the history began; None: never.
    ahead: bars that live's history holds. whole: it begins where the backtest did. outside: None = there is none;
    not_outside: what looks like one and is none, "" = nothing does. how_outside: the command that makes one.
    deflated: probability, NaN where it cannot be had. slippage: None = not stated. limits: as the lock has them.
    """

    checks: Mapping[str, Checked]
    warmup: int | None
    ahead: int
    whole: bool
    bars: tuple[Completeness, ...]
    outside: OutOfSample | None
    how_outside: str
    trades: int
    orders: int
    rejected: int
    deflated: float
    trials: int
    costs: str
    charged: Charged
    slippage: str | None
    rehearsal: Rehearsed
    faults: Rehearsed
    capital: float
    limits: Mapping[str, Any]
    origins: tuple[Origin, ...]
    not_outside: str = ""


@dataclass(frozen=True, slots=True)
class Session:
    """A day of paper as parity found it.

    not_running_s: for how long of the session nobody ran it. decisions: live's and the model's. orders: those that the
    model filled; missed: of them, those that live filled nothing of. over: the session was over when it was compared;
    None = the record does not say. taped: the tape shows that it was traded.
    """

    day: str
    ok: bool
    not_running_s: float = 0.0
    decisions: int = 0
    orders: int = 0
    missed: int = 0
    over: bool | None = None
    taped: bool = True


@dataclass(frozen=True, slots=True)
class PaperEvidence:
    """All that the gates to real money look at.

    name: the deployment's. gates: outcome of each gate to paper, and why it was overridden. sessions: by day.
    uncompared: days that were traded, are over, and were not compared since. halted: the open halts, "" = none;
    ran: there is a journal. said: limits that a person said for real money.
    """

    name: str

    gates: tuple[tuple[str, str, str], ...]
    sessions: tuple[Session, ...]
    uncompared: tuple[str, ...]
    halted: str
    ran: bool
    said: Mapping[str, Any]
