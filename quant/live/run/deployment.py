"""A deployment: what trades where, as a lock file that nothing may differ from afterwards.

`data/deployments/<name>.lock.toml` says all of it; `data/live/<name>/` holds what becomes of it. It is written once.
A person may change its limits, costs, delayed_ok, disaster_stop and positions; whatever else changes makes another
deployment. One that was promoted also says which run and which bars were examined, and what each gate said; without
that of the step to live nothing trades real money.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import backtrader as bt

from quant.backtest.source import hashes
from quant.core.near import near
from quant.core.orders import Kind
from quant.core.version import versions_here
from quant.errors import ConfigError, ParameterError, StrategyError
from quant.oms.limits import Limits
from quant.strategy import Strategy, parameters, strategy

PAPER: Final = ("DU", "DF")  # how ids of paper accounts begin; a port says nothing, as anyone can change it
NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,25}")  # it stands in every orderRef
DECIDE: Final = ("backtrader", "TA-Lib", "numpy")  # libraries whose version a signal depends on
# What a limit for real money must say; defaults are not enough there.
MUST_SAY: Final = ("max_notional", "max_gross", "daily_loss")
# Of a draft's limits, in its capital: profits and a reversal must fit, a slip of a digit must not.
ROOM: Final = 1.5
# What a person may change in a lock file; everything else is sealed.
OPEN: Final = ("limits", "costs", "delayed_ok", "disaster_stop", "positions")
OPEN_WORDS: Final = f"{', '.join(OPEN[:-1])} and {OPEN[-1]}"
# No part of the journal's identity.
FREE: Final = (*OPEN, "created", "versions", "promoted", "run", "seal", "history", "gates")
LIVE: Final = "live"
PAPER_STAGE: Final = "paper"


@dataclass(frozen=True, slots=True)
class Traded:
    """A contract of a deployment, by IB's id; the rest is for people, and compared."""

    symbol: str
    con_id: int
    sec_type: str
    exchange: str
    currency: str
    multiplier: float = 1.0


@dataclass(frozen=True, slots=True)
class Examined:
    """The bars that a promotion looked at. first, last: starts of the first and last one, UTC ns."""

    symbol: str
    source: str
    bar: str
    first: int
    last: int
    rows: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class GateResult:
    """What a gate said. stage: "paper" or "live". override: why it was overridden, "" = it was not."""

    stage: str
    name: str
    outcome: str
    sentence: str
    threshold: float | None = None
    value: float | None = None
    override: str = ""


@dataclass(frozen=True, slots=True)
class Deployment:
    """What trades where. capital, limits: in the contracts' currency. history_start: a session date, ISO.

    strategy: as one names it. sources: sha256 by module. limits: as Limits, by name; what lacks has its default.
    disaster_stop: percent from its bar's close at which an entry without a stop gets one; None = it gets none.
    promoted: to which stage, "" = it was begun without; the rest of a promotion: the run that was promoted, history
    and gates. seal: over all that a lock file says and a person may not change.
    """

    name: str
    strategy: str
    class_name: str
    params: Mapping[str, Any]
    sources: Mapping[str, str]
    contracts: tuple[Traded, ...]
    bar: str
    account: str
    capital: float
    history_start: str
    what: str = "TRADES"
    rth: bool = True
    sizing: str | None = None
    costs: str = "ib-fixed"
    start_rule: str = "next-change"
    positions: str = "baseline"
    delayed_ok: bool = False
    disaster_stop: float | None = None
    limits: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    promoted: str = ""
    run: str = ""
    seal: str = ""
    history: tuple[Examined, ...] = ()
    gates: tuple[GateResult, ...] = ()

    @property
    def paper(self) -> bool:
        """True where the account's id is one of a paper account."""
        return self.account.startswith(PAPER)

    @property
    def digest(self) -> str:
        """What the journal knows it by: all that decides an order, limits apart."""
        return self._hash_without(FREE)

    def sealed(self) -> str:
        """Return the seal that its lock file gets: over all it says but what a person may change.

        The account of a promotion to paper is not in it either: it is known when that first runs.
        """
        own = replace(self, account="") if self.promoted == PAPER_STAGE else self
        return own._hash_without((*OPEN, "seal"))

    def _hash_without(self, names: Collection[str]) -> str:
        facts = dataclasses.asdict(self)
        facts["params"] = {
            name: value for name, value in self.params.items() if value is not None
        }  # as in the file
        text = json.dumps({k: v for k, v in facts.items() if k not in names}, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def risk(self) -> Limits:
        """Return the limits. Raises ParameterError."""
        return limits_of(self.limits)


# ---------------------------------------------------------------- where it lies
def lock_path(data: Path, name: str) -> Path:
    """Return a deployment's lock file. Raises ParameterError for a name that no orderRef can hold."""
    if not NAME.fullmatch(name):
        reason = (
            'must be 1 to 26 of a-z, 0-9, "-" and "_": it stands in every orderRef. Give another: --name NAME'
        )
        raise ParameterError("name", name, reason)
    return data / "deployments" / f"{name}.lock.toml"


def live_folder(data: Path, name: str) -> Path:
    """Return the folder of its journal, status, log and commands."""
    return data / "live" / name


def deployments(data: Path) -> list[str]:
    """Return the names of all deployments."""
    found = (data / "deployments").glob("*.lock.toml")
    return sorted(f.name.removesuffix(".lock.toml") for f in found)


def find_lock(given: str, data: Path) -> Path | None:
    """Return the lock file that a name or path means, None if it means none."""
    path = Path(given)
    if path.name.endswith(".lock.toml"):
        return path
    return lock_path(data, given) if NAME.fullmatch(given) and lock_path(data, given).is_file() else None


def named_lock(given: str, data: Path, mend: str = "") -> Path:
    """Return the lock file that a name or path means. Raises ConfigError if it means none. mend: what else to do."""
    path = find_lock(given, data)
    if path is None or not path.is_file():
        there = deployments(data)
        close = near(given, there)
        known = f"did you mean {close[0]}?" if close else f"there are {', '.join(there) or 'none yet'}."
        raise ConfigError(str(data / "deployments"), given, f"no such deployment; {known} {mend}".strip())
    return path


def default_name(strategy: str, symbols: Sequence[str], bar: str) -> str:
    """Return a name for what trades; a long one ends in a hash."""
    plain = re.sub(r"[^a-z0-9]+", "-", "-".join([strategy.rpartition(":")[2], *symbols, bar]).lower()).strip(
        "-"
    )
    return (
        plain if NAME.fullmatch(plain) else f"{plain[:19]}-{hashlib.sha256(plain.encode()).hexdigest()[:6]}"
    )


# ---------------------------------------------------------------- what it is made of
def code_of(strategy: type[bt.Strategy]) -> dict[str, str]:
    """Return the sha256 of the strategy's own modules."""
    return hashes(strategy)


def limits_of(values: Mapping[str, Any]) -> Limits:
    """Return limits out of plain values. Raises ParameterError for what is no limit."""
    known = {f.name: f for f in dataclasses.fields(Limits)}
    made: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise ParameterError(
                f"limits.{name}", value, f"there is no such limit; there are {', '.join(known)}"
            )
        made[name] = _limit(name, value, known[name].default)
    return Limits(**made)


def _limit(name: str, value: Any, default: Any) -> Any:
    if name == "kinds":
        try:
            return frozenset(Kind(kind) for kind in value)
        except ValueError as e:
            raise ParameterError("limits.kinds", value, f"{e}; there are {', '.join(Kind)}") from None
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ParameterError(f"limits.{name}", value, "must be true or false")
        return value
    if value == "none":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ParameterError(f"limits.{name}", value, "must be a number")
    return Decimal(str(value)) if name == "max_quantity" else value


def check_disaster_stop(percent: float | None, cls: type[bt.Strategy]) -> None:
    """Raise ParameterError for a disaster_stop that is no percentage, or of a strategy that sends its orders itself."""
    if percent is None:
        return
    if not 0.0 < percent < 100.0:
        raise ParameterError("disaster_stop", percent, "must be a percentage above 0 and below 100, e.g. 20")
    if not issubclass(cls, Strategy):
        told = f"{cls.__name__} is no q.Strategy and sends its orders itself; let it send the stop with its entry"
        raise ParameterError("disaster_stop", percent, told)


# ---------------------------------------------------------------- what changed since
def check_same(deployment: Deployment, cls: type[bt.Strategy], params: Mapping[str, Any], path: Path) -> None:
    """Raise ConfigError if the strategy is not the one of the lock.

    params: all of them. Also for another version of a library that signals depend on.
    """
    origin = str(path)
    mend = f"Put it back, or begin another deployment: --name {deployment.name[:23]}-2"
    if cls.__name__ != deployment.class_name:
        raise ConfigError(
            origin, "strategy", f"the class was {deployment.class_name}, it is {cls.__name__} now. {mend}"
        )
    now = code_of(cls)
    for name in sorted({*now, *deployment.sources}):
        if now.get(name) != deployment.sources.get(name):
            what = (
                "is gone"
                if name not in now
                else "is new"
                if name not in deployment.sources
                else "has changed"
            )
            raise ConfigError(
                origin, f"sources.{name}", f"the file {what} since this deployment began. {mend}"
            )
    for name in sorted({*params, *deployment.params}):
        if params.get(name) != deployment.params.get(name):
            told = f"was {deployment.params.get(name)!r} when this deployment began, it is {params.get(name)!r} now"
            raise ConfigError(origin, f"params.{name}", f"{told}. {mend}")
    here = versions_here()
    for name in DECIDE:
        was = deployment.versions.get(name)
        if was is not None and here[name] != was:
            told = f"was {was} when this deployment began, {here[name]} is installed"
            raise ConfigError(
                origin, f"versions.{name}", f"{told}. Install {name}=={was}, or begin another deployment"
            )


def code_as_it_was(deployment: Deployment, path: Path) -> tuple[type[bt.Strategy], dict[str, Any]]:
    """Return the strategy of a lock file, and all its parameters. Raises ConfigError where they have changed."""
    mend = f"Put it back, or begin another deployment: --name {deployment.name[:23]}-2"
    try:
        cls = strategy(deployment.strategy)
        params = parameters(cls, deployment.params)
    except StrategyError as e:
        raise ConfigError(str(path), "strategy", f"{e.strategy}: {e.reason}. {mend}") from e
    except ParameterError as e:
        raise ConfigError(str(path), f"params.{e.name}", f"{e.reason}. {mend}") from None
    check_same(deployment, cls, params, path)
    return cls, dict(params)


def check_sealed(deployment: Deployment, path: Path) -> None:
    """Raise ConfigError for a lock that was edited where it may not be."""
    if deployment.seal != deployment.sealed():
        told = f"a line was edited, added or taken out since this was written; only {OPEN_WORDS} may be"
        mend = "Put it back as it was, or begin another: quant promote RUN --to paper --name NAME"
        raise ConfigError(str(path), "seal", f"{told}. {mend}")


def check_live(deployment: Deployment, path: Path) -> None:
    """Raise ConfigError for a lock that does not say all that real money needs, or was not promoted to it."""
    lacking = [name for name in MUST_SAY if deployment.limits.get(name, "none") == "none"]
    if lacking:
        told = f"say {', '.join(lacking)} in [limits]: defaults are not enough for real money"
        raise ConfigError(str(path), "limits", told)
    if not is_promoted_to_live(deployment):
        told = f"it was not promoted to real money: quant promote {deployment.name} --to live"
        raise ConfigError(str(path), "promoted", told)


def is_promoted_to_live(deployment: Deployment) -> bool:
    """Return whether each gate of the step to live was passed, or overridden with a reason."""
    gates = [gate for gate in deployment.gates if gate.stage == LIVE]
    passed = all(gate.outcome == "pass" or gate.override for gate in gates)
    return deployment.promoted == LIVE and bool(gates) and passed and deployment.seal == deployment.sealed()
