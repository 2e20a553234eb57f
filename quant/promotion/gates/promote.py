"""Promotion: the gates asked one after the other, and a lock file written where all of them let it pass."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Final

from quant.backtest.notes import tag
from quant.core import clock
from quant.core.version import versions_here
from quant.errors import ConfigError, ParameterError
from quant.live.run.deployment import (
    LIVE,
    PAPER,
    PAPER_STAGE,
    ROOM,
    Deployment,
    Examined,
    GateResult,
    Traded,
    check_disaster_stop,
    check_sealed,
    code_as_it_was,
    code_of,
    default_name,
    limits_of,
    lock_path,
    named_lock,
)
from quant.live.run.examined import check_history
from quant.live.run.lock_file import read, write
from quant.oms.limits import Limits
from quant.promotion.gates.evidence import PULLED, Say, collect
from quant.promotion.gates.rules import FIRM, SPREAD, TO_LIVE, TO_PAPER
from quant.promotion.gates.sessions import paper_evidence
from quant.promotion.gates.subject import Subject, subject
from quant.promotion.gates.values import Thresholds, Verdict
from quant.strategy import strategy

START_RULE: Final = "next-change"  # live does not chase a trend that it did not see begin


@dataclass(frozen=True, slots=True, eq=False)
class Promotion:
    """What became of a promotion. stage: "paper" or "live". gates: in order. lock: what was written, None = nothing."""

    stage: str
    deployment: Deployment
    lock: Path | None

    @property
    def ok(self) -> bool:
        """True where every gate was passed or overridden."""
        return not self.held

    @property
    def gates(self) -> tuple[GateResult, ...]:
        """What each gate of this stage said."""
        return tuple(gate for gate in self.deployment.gates if gate.stage == self.stage)

    @property
    def held(self) -> tuple[str, ...]:
        """Names of the gates that let it not pass."""
        return tuple(g.name for g in self.gates if g.outcome != "pass" and not g.override)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        named = ("name", "outcome", "sentence", "threshold", "value", "override")
        return {
            "deployment": self.deployment.name, "stage": self.stage, "ok": self.ok, "held": list(self.held),
            "run": self.deployment.run, "account": self.deployment.account, "lock": self.lock,
            "gates": [{n: getattr(gate, n) for n in named} for gate in self.gates],
        }  # fmt: skip

    def __str__(self) -> str:
        known = self.deployment
        symbols = ", ".join(one.symbol for one in known.history)
        head = f"promotion of {known.class_name} on {symbols} {known.bar} to {self.stage}: {known.name}"
        wide = max(len(g.name) for g in self.gates)
        lines = [head]
        for g in self.gates:
            lines.append(f"  {g.outcome:<8} {g.name:<{wide}}  {g.sentence}")
            if g.name == "deflated-sharpe" and g.value is not None:
                lines.append(f"  {'':<8} {'':<{wide}}  {SPREAD}")
            if g.override:
                lines.append(f"  {'':<8} {'':<{wide}}  overridden: {g.override}")
        return "\n".join([*lines, f"  verdict  {self._verdict()}"])

    def _verdict(self) -> str:
        if self.held:
            return f"NOT PROMOTED, no lock file was written: {', '.join(self.held)}"
        return "promoted" if self.lock is None else f"promoted: {_from_here(self.lock)}"


def _from_here(path: Path) -> Path:
    """Return a path as one would type it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


# ---------------------------------------------------------------- to paper
def to_paper(
    given: str | Path,
    data: Path,
    *,
    row: int | str | None = None,
    metric: str = "sharpe",
    thresholds: Thresholds | None = None,
    capital: float | None = None,
    limits: Mapping[str, Any] | None = None,
    contracts: Mapping[str, str] | None = None,
    disaster_stop: float | None = None,
    account: str = "",
    name: str | None = None,
    history_start: str | None = None,
    overrides: Mapping[str, str] | None = None,
    say: Say = lambda text: None,
) -> Promotion:
    """Ask the gates to paper of a saved run, or of a sweep's row, and write a lock file where all let it pass.

    row: of a sweep, "best" by `metric` or a number. capital: in the symbols' currency, by default the run's cash.
    limits: as Limits, by name; what is not said has 1.5 x capital an order and in all, and the usual daily loss.
    contracts: symbol -> IB's contract id ("756733", or "756733:SPY" where IB spells the symbol otherwise) of bars that
    were not pulled. disaster_stop: percent, see Deployment. account: of paper; by default the one that it first runs
    on. history_start: first session that signals see, by default the run's. overrides: gate -> reason.
    Raises what `subject` does; ConfigError where there is such a deployment, ParameterError.
    """
    _check_overrides(overrides, _NAMES[PAPER_STAGE])
    if account and not account.startswith(PAPER):
        raise ParameterError(
            "account", account, f"is no paper account: their ids begin with {' or '.join(PAPER)}"
        )
    asked = thresholds or Thresholds()
    # What was mistyped is said before a row is made a run.
    limits_of(dict(limits or {}))
    if capital is not None:
        _capital(capital)
    if name is not None:
        _free(data, name)
    found = subject(given, data, row, metric)
    chosen = name or default_name(found.name, [b.symbol for b in found.bars], found.bars[0].bar.name)
    path = _free(data, chosen)
    traded = _contracts(found, contracts or {})
    money = _capital(found.settings["cash"] if capital is None else capital)
    said = _limits(money, limits or {})
    start = _history_start(found, history_start)
    check_disaster_stop(disaster_stop, found.strategy)
    evidence = collect(
        found,
        data,
        traded,
        asked,
        capital=money,
        limits=said,
        history_start=start,
        start_rule=START_RULE,
        say=say,
    )
    gates = _results(PAPER_STAGE, [rule(evidence, asked) for rule in TO_PAPER], overrides or {})
    first = found.bars[0]
    made = Deployment(
        name=chosen, strategy=found.name, class_name=found.strategy.__name__, params=found.params,
        sources=code_of(found.strategy), contracts=tuple(c for c in traded if c is not None), bar=first.bar.name,
        account=account, capital=money, history_start=start, what=first.what, rth=first.rth,
        sizing=found.settings["sizing"], costs=found.settings["costs"], start_rule=START_RULE, limits=said,
        disaster_stop=disaster_stop, versions=versions_here(),
        created=clock.now().isoformat(timespec="seconds"), promoted=PAPER_STAGE,
        run=found.folder.name, history=_examined(found), gates=gates,
    )  # fmt: skip
    written = _written(PAPER_STAGE, made, path)
    if written.lock is not None:
        tag(found.folder, [f"promoted:{made.name}"])  # `quant runs prune` keeps it: the lock names it
    return written


def _contracts(found: Subject, given: Mapping[str, str]) -> list[Traded | None]:
    """Return the contract of each feed, None where nobody knows it. Raises ParameterError."""
    symbols = [b.symbol for b in found.bars]
    for symbol in given:
        if symbol not in symbols:
            raise ParameterError(
                "contract", symbol, f"the run has no such symbol; it has {', '.join(symbols)}"
            )
    result: list[Traded | None] = []
    for bars in found.bars:
        own = bars.instrument
        con_id, symbol = (own.con_id if bars.source in PULLED else None), own.symbol
        if bars.symbol in given:
            con_id, symbol = _contract(bars.symbol, given[bars.symbol])
        made = Traded(symbol, con_id or 0, own.sec_type, own.exchange, own.currency, own.multiplier)
        result.append(None if con_id is None else made)
    return result


def _contract(symbol: str, text: str) -> tuple[int, str]:
    number, colon, other = text.partition(":")
    if not number.strip().isdecimal() or int(number) == 0 or (colon and not other.strip()):
        told = "write IB's contract id, SYMBOL=756733, or SYMBOL=756733:THEIR SYMBOL; TWS shows it under Description"
        raise ParameterError("contract", f"{symbol}={text}", told)
    return int(number), other.strip() or symbol


def _history_start(found: Subject, given: str | None) -> str:
    first, last = (str(pick(b.session[row] for b in found.bars)) for pick, row in ((min, 0), (max, -1)))
    if given is None:
        return first
    try:
        day = date.fromisoformat(given).isoformat()
    except ValueError:
        raise ParameterError("history_start", given, "write a session's date, 2024-01-31") from None
    if not first <= day <= last:
        raise ParameterError("history_start", given, f"the run's bars go from {first} to {last}")
    return day


def _examined(found: Subject) -> tuple[Examined, ...]:
    return tuple(
        Examined(b.symbol, b.source, b.bar.name, int(b.start[0]), int(b.start[-1]), len(b), b.fingerprint)
        for b in found.bars
    )


# ---------------------------------------------------------------- to live
def to_live(
    given: str,
    data: Path,
    account: str,
    *,
    thresholds: Thresholds | None = None,
    capital: float | None = None,
    limits: Mapping[str, Any] | None = None,
    disaster_stop: float | None = None,
    name: str | None = None,
    overrides: Mapping[str, str] | None = None,
) -> Promotion:
    """Ask the gates to real money of a deployment on paper, and write a lock file of its own where all let it pass.

    account: the one of real money, as a person typed it. capital: by default that of paper. limits: for real money;
    max_notional, max_gross and daily_loss must be said anew. disaster_stop: by default that of paper. name: by default
    that of paper with -live. It begins flat with a journal of its own; the paper deployment stays as it is.
    Raises ConfigError (no such deployment, or changed since, or one of that name), ParameterError, JournalError.
    """
    _check_overrides(overrides, _NAMES[LIVE])
    asked = thresholds or Thresholds()
    paper = _on_paper(given, data)
    _check_account(account)
    target = _free(data, name or f"{paper.name[:21]}-live")
    money = _capital(paper.capital if capital is None else capital)
    said = dict(limits or {})
    merged = {**paper.limits, **said}
    limits_of(merged)
    stop = paper.disaster_stop if disaster_stop is None else disaster_stop
    check_disaster_stop(stop, strategy(paper.strategy))
    evidence = paper_evidence(paper, data, said)
    gates = _results(LIVE, [rule(evidence, asked) for rule in TO_LIVE], overrides or {})
    made = replace(
        paper, name=target.name.removesuffix(".lock.toml"), account=account, capital=money, limits=merged,
        delayed_ok=False, disaster_stop=stop, created=clock.now().isoformat(timespec="seconds"), promoted=LIVE,
        gates=(*paper.gates, *gates), versions=versions_here(),
    )  # fmt: skip
    return _written(LIVE, made, target)


def _on_paper(given: str, data: Path) -> Deployment:
    """Return a deployment on paper that is as it was promoted."""
    path = named_lock(given, data, "To paper first: quant promote RUN --to paper")
    found = read(path)
    if found.promoted == LIVE or (found.account and not found.paper):
        raise ConfigError(
            str(path), "account", f"{found.account} is no paper account; what trades on paper is promoted"
        )
    check_sealed(found, path)
    check_history(found, data, path)
    _, params = code_as_it_was(found, path)
    return replace(found, params=params)


def _check_account(account: str) -> None:
    if not account.isalnum() or not account[:1].isupper() or not account[-1:].isdecimal():
        raise ParameterError("account", account, "is no account of IB, such as U1234567")
    if account.startswith(PAPER):
        raise ParameterError(
            "account", account, "is a paper account; real money has another one, such as U1234567"
        )


# ---------------------------------------------------------------- both
_NAMES: Final = {
    PAPER_STAGE: (
        "look-ahead", "warm-up", "determinism", "engines", "data", "out-of-sample", "trades", "deflated-sharpe",
        "rejected", "costs", "rehearsal", "faults", "limits", "contract",
    ),
    LIVE: ("evidence", "parity", "halt", "limits"),
}  # fmt: skip


def _check_overrides(given: Mapping[str, str] | None, names: Sequence[str]) -> None:
    """Raise ParameterError for an override that cannot be."""
    for name, reason in (given or {}).items():
        if name not in names:
            raise ParameterError("override", name, f"there is no such gate; there are {', '.join(names)}")
        if name in FIRM:
            raise ParameterError("override", name, "this gate cannot be overridden: do what it says")
        if not reason.strip():
            raise ParameterError("override", name, f'needs a reason, which is kept: --override {name}="..."')


def _free(data: Path, name: str) -> Path:
    """Return the path of a lock file that is not there yet."""
    path = lock_path(data, name)
    if path.exists():
        told = f"there is such a deployment already; give another name: --name {name[:23]}-2"
        raise ConfigError(str(path), "name", told)
    return path


def _capital(value: float) -> float:
    if isinstance(value, bool) or not 0.0 < value < math.inf:
        raise ParameterError("capital", value, "must be a positive number")
    return float(value)


def _limits(capital: float, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return limits as the lock says them. Raises ParameterError."""
    room = ROOM * capital
    found = {"max_notional": room, "max_gross": room, "daily_loss": Limits().daily_loss, **given}
    limits_of(found)
    return found


def _results(stage: str, said: Sequence[Verdict], overrides: Mapping[str, str]) -> tuple[GateResult, ...]:
    """Return what the lock keeps of the gates; a reason only where a gate did not let it pass."""
    return tuple(
        GateResult(
            stage, v.name, v.outcome, v.sentence, _plain(v.threshold), _plain(v.value),
            "" if v.outcome == "pass" else overrides.get(v.name, "").strip(),
        )
        for v in said
    )  # fmt: skip


def _plain(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def _written(stage: str, made: Deployment, path: Path) -> Promotion:
    """Return the promotion; its lock is written where no gate held."""
    found = Promotion(stage, made, None)
    if found.held:
        return found
    write(made, path)
    return Promotion(stage, made, path)
