"""What the pages of a sweep and of a walk-forward are made of: plain arrays and words. Knows no engine and no files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from quant.core.finding import Finding
from quant.errors import ParameterError
from quant.metrics import NAMES
from quant.report.content import Days, Floats, Table

VERDICTS: Final = ("luck", "unclear", "edge")
Fact = tuple[str, str, str]  # name, value as text, what it means in one sentence


@dataclass(frozen=True, slots=True, eq=False)
class SweepContent:
    """One sweep.

    parameters: names of those that vary. table: columns of k rows each: the parameters, those of quant.metrics.NAMES,
    `error` (object: the message, None where nothing failed) and, of several symbols, `symbol`.
    metric: the one that was searched for. verdict: "luck", "unclear" or "edge"; text: one paragraph in plain words.
    luck: what the best of as many worthless combinations would be expected to show, in units of `metric`; NaN unknown.
    dropped: combinations that `valid` refused; failed: those that raised. verified: how many rows were re-run in which
    engine, and that they are equal. halves: (k, 2) Sharpe ratio of each row in the first and the second half.
    notes: what the page lacks, and why.
    Raises ParameterError where columns lack, lengths differ, or metric or verdict is no known word.
    """

    name: str
    settings: Mapping[str, Any]
    parameters: Sequence[str]
    table: Table
    verdict: str
    text: str
    facts: Sequence[Fact] = ()
    metric: str = "sharpe"
    luck: float = math.nan
    findings: Sequence[Finding] = ()
    dropped: int = 0
    failed: int = 0
    verified: str = ""
    halves: Floats | None = None
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.metric not in NAMES:
            raise ParameterError("metric", self.metric, f"must be one of {', '.join(NAMES)}")
        _check(self.verdict, self.table, (*self.parameters, self.metric), "table")
        if self.halves is not None and self.halves.shape != (self.rows, 2):
            reason = f"must be ({self.rows}, 2), a row for each of the table's"
            raise ParameterError("halves", f"shape {self.halves.shape}", reason)

    @property
    def rows(self) -> int:
        """How many combinations ran or failed."""
        return len(self.table[self.metric])


@dataclass(frozen=True, slots=True, eq=False)
class WalkForwardContent:
    """One walk-forward.

    windows: columns of w rows each: train_first, train_last, test_first, test_last (datetime64[D]), the parameters that
    each window chose, in_sample and out_of_sample (of `metric`, NaN undefined), return (out of sample, a fraction).
    sessions, equity, hold: (n,) of the joined out-of-sample account and of buying and holding with the same cash (NaN
    where unknown), at each session's end. efficiency: out-of-sample over in-sample metric, NaN undefined.
    The rest as of SweepContent.
    Raises ParameterError where columns lack, lengths differ or the verdict is no known word.
    """

    name: str
    settings: Mapping[str, Any]
    parameters: Sequence[str]
    windows: Table
    sessions: Days
    equity: Floats
    hold: Floats
    cash: float
    efficiency: float
    verdict: str
    text: str
    facts: Sequence[Fact] = ()
    metric: str = "sharpe"
    findings: Sequence[Finding] = ()
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        dates = ("train_first", "train_last", "test_first", "test_last")
        needed = (*dates, *self.parameters, "in_sample", "out_of_sample", "return")
        _check(self.verdict, self.windows, needed, "windows")
        if not len(self.sessions):
            raise ParameterError("sessions", "none", "the joined account needs one session or more")
        if not len(self.sessions) == len(self.equity) == len(self.hold):
            lengths = f"{len(self.sessions)}, {len(self.equity)}, {len(self.hold)} values"
            raise ParameterError("sessions, equity, hold", lengths, "must be equally long")


def _check(verdict: str, table: Table, needed: Sequence[str], name: str) -> None:
    if verdict not in VERDICTS:
        raise ParameterError("verdict", verdict, f"must be one of {', '.join(VERDICTS)}")
    lacking = [c for c in needed if c not in table]
    if lacking:
        raise ParameterError(name, sorted(table), f"lacks the column {lacking[0]!r}")
    lengths = {c: len(values) for c, values in table.items()}
    if len(set(lengths.values())) > 1:
        raise ParameterError(name, lengths, "all columns must be equally long")
