"""What is to run, and what must hold before it may: account, contracts, history."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import backtrader as bt

from quant.core.barsize import bar_size
from quant.errors import ConfigError, SafetyStop
from quant.ib import requests
from quant.ib.contracts import ContractSpec
from quant.ib.download.ask import MADE_UP
from quant.ib.lookup import Found
from quant.ib.session import Session
from quant.live.bars.incoming import Wanted
from quant.live.bars.past import begin
from quant.live.run.deployment import PAPER, Deployment, Traded, is_promoted_to_live
from quant.live.run.shadow import SUFFIX
from quant.live.store import Store
from quant.oms.desk.setup import Setup
from quant.oms.reconcile.outcome import Policy, Start


@dataclass(frozen=True, slots=True)
class Address:
    """Where TWS is. port: None = the first usual one that answers."""

    host: str
    port: int | None
    client_id: int


@dataclass(frozen=True, slots=True)
class Job:
    """What is to run. deployment: one without account is a draft, which becomes a lock file here.

    specs: of a draft's contracts. account: typed, "" = the deployment's, or the only one of the login. real: for money.
    shadow: decide, and send nothing; then the account need not be the deployment's. adopt_prices: by contract id, at
    which what is adopted was traded, where IB does not tell.
    """

    deployment: Deployment
    strategy: type[bt.Strategy]
    specs: tuple[ContractSpec, ...] = ()
    account: str = ""
    real: bool = False
    once: bool = False
    shadow: bool = False
    adopt_prices: tuple[tuple[int, float], ...] = ()

    @property
    def folder_name(self) -> str:
        """Of the folder of its journal, status, log and commands."""
        return self.deployment.name + (SUFFIX if self.shadow else "")


def with_account(job: Job, there: Sequence[str]) -> Deployment:
    """Return the deployment with its account, which must be one of the login, and of the kind that was asked for."""
    deployment = job.deployment
    wanted = (job.shadow and job.account) or deployment.account or job.account
    listed = ", ".join(there)
    if not wanted:
        if len(there) != 1:
            raise SafetyStop(f"TWS is logged in to {listed}. Say which: --account {there[0]}")
        wanted = there[0]
    if job.account and job.account != wanted:
        raise SafetyStop(f"account {job.account} is not that of {deployment.name}, {wanted}. Type that one")
    if wanted not in there:
        raise SafetyStop(
            f"TWS is logged in to {listed}, not to {wanted}. Log in there, or give the other port: --port N"
        )
    if not job.real and not wanted.startswith(PAPER):
        told = f"account {wanted} is no paper account: ids of those begin with {' or '.join(PAPER)}, whatever the port"
        raise SafetyStop(f"{told}. Log in to paper trading, or use: quant live LOCK --account {wanted}")
    if job.real and wanted.startswith(PAPER):
        raise SafetyStop(f"account {wanted} is a paper account; use: quant paper {deployment.name}")
    if job.real and not job.shadow and not is_promoted_to_live(deployment):
        raise SafetyStop(f"{deployment.name} was not promoted to real money: quant promote NAME --to live")
    return replace(deployment, account=wanted)


def first_day(deployment: Deployment, specs: Sequence[ContractSpec], session: Session) -> str:
    """Return since when history counts where nobody says: some days before now."""
    first = begin(Wanted(specs[0], bar_size(deployment.bar)), session.ask(requests.current_time()))
    return str(first)


def store_of(deployment: Deployment, specs: Sequence[ContractSpec], session: Session, data: Path) -> Store:
    """Return a store with a feed for each contract: by IB's id alone where the lock has one."""
    store = Store(account=deployment.account, data=data, session=session)
    named = [(one.symbol, spec_of(one)) for one in deployment.contracts]
    named = named or [(spec.local_symbol or spec.symbol, spec) for spec in specs]
    for symbol, spec in named:
        store.data(
            spec, deployment.bar, history_start=deployment.history_start, what=deployment.what, rth=deployment.rth,
            delayed_ok=deployment.delayed_ok, name=symbol,
        )  # fmt: skip
    return store


def with_contracts(deployment: Deployment, found: Sequence[Found], path: Path) -> Deployment:
    """Return the deployment with its contracts as IB has them. Raises ConfigError where they are others now."""
    units = [one.instrument for one in found]
    now = tuple(
        Traded(i.symbol, i.con_id or 0, i.sec_type, i.exchange, i.currency, i.multiplier) for i in units
    )
    if not deployment.contracts:
        return replace(deployment, contracts=now)
    for was, here in zip(deployment.contracts, now, strict=True):
        if replace(here, exchange=was.exchange) != was:
            told = f"IB has {here} now, the deployment began with {was}. Begin another one: --name NAME"
            raise ConfigError(str(path), "contracts", told)
    return deployment


def mode_of(job: Job) -> str:
    """Return what a run is, in a word."""
    return "shadow" if job.shadow else "live" if job.real else "paper"


def con_ids(deployment: Deployment) -> frozenset[int]:
    """Return IB's ids of its contracts."""
    return frozenset(c.con_id for c in deployment.contracts)


def is_made_up(found: Sequence[Found]) -> bool:
    """Return whether TWS is a simulated one: its clock is its own, and says nothing of this machine's."""
    return any(MADE_UP in one.facts.long_name for one in found)


def spec_of(one: Traded) -> ContractSpec:
    """Return how a contract of a deployment is asked for: by IB's id alone."""
    return ContractSpec(sec_type=one.sec_type, exchange=one.exchange, con_id=one.con_id)


def setup_of(
    deployment: Deployment, client_id: int, found: Iterable[Found], *, shadow: bool = False,
    adopt_prices: tuple[tuple[int, float], ...] = (), urgent: bool = False,
) -> Setup:  # fmt: skip
    """Return the settings of the deployment's order desk. shadow: what the account holds is left alone.

    found: its contracts. adopt_prices: as of a Job. urgent: as of a Policy.
    """
    units = (one.instrument for one in found)
    policy = Policy(
        start=Start.BASELINE if shadow else Start(deployment.positions),
        worth=tuple((i.con_id, i.multiplier / i.price_magnifier) for i in units if i.con_id is not None),
        prices=adopt_prices,
        urgent=urgent,
    )
    return Setup(client_id, con_ids(deployment), deployment.capital, deployment.risk(), policy)
