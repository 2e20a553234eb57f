"""From a description to one contract: asked once, kept in the data folder, and never a guess between two.

A file of the cache is read and written whole, by one replace; a damaged one is asked for again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from quant.core.instrument import Instrument
from quant.errors import AmbiguousContract, RequestFailed, RequestTimeout, UnknownContract, WriteFailed
from quant.ib import requests
from quant.ib.contracts import ContractFacts, ContractSpec, TickRules, instrument
from quant.ib.session import Session
from quant.store import atomic
from quant.store.folder import quote

SCHEMA: Final = 1
MAX_AGE: Final = timedelta(days=7)  # units change seldom; hours and expiries within weeks

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """A contract that was looked up. asked_at: UTC, when IB told it."""

    facts: ContractFacts
    ticks: TickRules
    asked_at: datetime

    @property
    def instrument(self) -> Instrument:
        """Its units. Raises ContractUnclear if IB left one out."""
        return instrument(self.facts)

    def tick(self, price: float) -> float:
        """Return the price step at `price`."""
        return self.ticks.tick(price, self.facts.min_tick)


class ContractCache:
    """Contracts at rest, in `<data>/contracts`."""

    def __init__(self, data: Path) -> None:
        self.folder = data / "contracts"

    def path(self, spec: ContractSpec) -> Path:
        """Return the file for what `spec` describes; a readable beginning, and a hash of all of it."""
        digest = hashlib.sha256(json.dumps(asdict(spec), sort_keys=True).encode()).hexdigest()[:12]
        who = quote(spec.local_symbol or spec.symbol or str(spec.con_id))
        return self.folder / quote(spec.sec_type) / f"{who}.{digest}.json"

    def get(self, spec: ContractSpec, now: datetime, max_age: timedelta = MAX_AGE) -> Found | None:
        """Return what is held and not older than `max_age`; None for nothing, or a file that cannot be used."""
        path = self.path(spec)
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values["schema"] != SCHEMA or values["asked"] != asdict(spec):
                return None
            found = Found(
                ContractFacts.from_dict(values["facts"]),
                TickRules(*(tuple(v) for v in values["ticks"])),
                datetime.fromisoformat(values["asked_at"]),
            )
            return found if timedelta(0) <= now - found.asked_at <= max_age else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as e:
            _log.warning("%s cannot be used (%s); the contract is asked for again", path, e)
            return None

    def put(self, spec: ContractSpec, found: Found) -> None:
        """Keep an answer. Raises WriteFailed."""
        values: dict[str, Any] = {
            "schema": SCHEMA,
            "asked": asdict(spec),
            "asked_at": found.asked_at.isoformat(),
            "facts": found.facts.to_dict(),
            "ticks": [found.ticks.low_edges, found.ticks.increments],
        }
        path = self.path(spec)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic.put(path, json.dumps(values, indent=1).encode())
        except OSError as e:
            raise WriteFailed(str(path), e.strerror or str(e)) from None


def find_contract(
    session: Session, spec: ContractSpec, now: datetime, cache: ContractCache | None = None
) -> Found:
    """Return the one contract that `spec` describes, from the cache or from IB.

    now: UTC. Raises UnknownContract (with names that are near), AmbiguousContract (with the candidates), and what
    Session.ask raises.
    """
    held = None if cache is None else cache.get(spec, now)
    if held is not None:
        return held
    try:
        facts = choose(spec, session.ask(requests.contract_details(spec)))
    except UnknownContract as e:
        raise UnknownContract(
            str(spec), e.code, e.text, e.mend + _zeros(spec) + _near(session, spec)
        ) from None
    rule = facts.market_rule
    ticks = TickRules() if rule is None else session.ask(requests.market_rule(rule))
    found = Found(facts, ticks, now)
    found.instrument  # noqa: B018  # raises before anything is kept that could not be used
    if cache is not None:
        cache.put(spec, found)
    return found


def choose(spec: ContractSpec, candidates: tuple[ContractFacts, ...]) -> ContractFacts:
    """Return the only contract among `candidates`; the same one on several venues is one.

    Raises AmbiguousContract with each candidate in words, and with what tells them apart.
    """
    by_id: dict[int | None, ContractFacts] = {}
    for facts in candidates:
        held = by_id.get(facts.spec.con_id)
        if held is None or (held.spec.exchange != spec.exchange and facts.spec.exchange == spec.exchange):
            by_id[facts.spec.con_id] = facts
    if len(by_id) == 1:
        return next(iter(by_id.values()))
    found = sorted(by_id.values(), key=lambda f: (f.spec.expiry, f.listing, f.spec.currency))
    options = {
        "--exchange": {f.listing for f in found},
        "--currency": {f.spec.currency for f in found},
        "--expiry": {f.spec.expiry for f in found},
        "--sec-type": {f.spec.sec_type for f in found},
        "--trading-class": {f.spec.trading_class for f in found},
    }
    telling = [name for name, values in options.items() if len(values) > 1]
    mend = f"Say which: add {' or '.join(telling[:3]) or '--con-id'}"
    raise AmbiguousContract(str(spec), [_words(f) for f in found], mend)


def _words(facts: ContractFacts) -> str:
    s = facts.spec
    parts = (
        s.local_symbol or s.symbol,
        s.sec_type,
        s.expiry,
        facts.listing,
        s.currency,
        f"id {s.con_id}",
        facts.long_name,
    )
    return "  ".join(p for p in parts if p)


def _zeros(spec: ContractSpec) -> str:
    """Return a sentence for a number as Hong Kong's exchange writes it, empty for any other symbol."""
    bare = spec.symbol.lstrip("0")
    if bare == spec.symbol or not bare.isdecimal():
        return ""
    return f". IB writes Hong Kong's numbers without leading zeros: {bare} --exchange SEHK"


def _near(session: Session, spec: ContractSpec) -> str:
    """Return a sentence with the symbols that IB finds near, empty if it finds none or does not say."""
    if not spec.symbol:
        return ""
    try:
        found = session.ask(requests.matching_symbols(spec.symbol))
    except (RequestFailed, RequestTimeout):
        return ""
    shown = ", ".join(f"{s.symbol} ({s.sec_type} {s.primary_exchange} {s.currency})" for s in found[:5])
    return f". Near: {shown}" if shown else ""
