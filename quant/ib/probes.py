"""What the account may see of a contract, as values for `quant doctor`: a refusal is an answer here, not an error."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from quant.errors import CompetingSession, NoData, NoPermission, RequestFailed, RequestTimeout
from quant.ib import requests
from quant.ib.codes import Kind
from quant.ib.contracts import ContractSpec
from quant.ib.session import Session


@dataclass(frozen=True, slots=True)
class Probe:
    """answer: granted, delayed, refused, competing, none (nothing to see now) or unclear. told: IB's words."""

    answer: str
    told: str = ""
    mend: str = ""


def live_data(session: Session, spec: ContractSpec) -> Probe:
    """Tell whether quotes of the contract come, and whether they are delayed. Raises NotConnected, LinkLost."""
    pending = session.begin(requests.snapshot(spec))
    while not pending.done:
        session.poll(1.0)
    if pending.error is not None:
        return _refused(pending.error)
    quote = pending.result()
    late = [n for n in pending.notes if n.kind is Kind.DELAYED]
    if late or (quote.data_type or "").startswith("delayed"):
        return Probe(
            "delayed",
            late[0].text if late else "",
            "Live quotes need a subscription (Client Portal > Settings > Market Data)",
        )
    if quote.bid is None and quote.ask is None and quote.last is None and quote.close is None:
        return Probe("none", "no price came", "Try again while the market is open")
    return Probe("granted")


def history(session: Session, spec: ContractSpec, what: str = "TRADES") -> Probe:
    """Tell whether daily bars of the contract come. Raises NotConnected, LinkLost."""
    pending = session.begin(requests.historical_bars(spec, "1d", "5 D", what=what))
    while not pending.done:
        session.poll(1.0)
    if pending.error is not None:
        return _refused(pending.error)
    empty = pending.result().empty
    return (
        Probe("granted")
        if empty is None
        else Probe("none", empty, "Check the contract, or ask for other data (--what)")
    )


def clock_skew_s(session: Session, now: datetime) -> float:
    """Return by how many seconds TWS's clock is ahead of `now`, taken before the call; TWS tells whole seconds."""
    before = session.timer.now()
    told = session.ask(requests.current_time())
    took = session.timer.now() - before
    return (told - now).total_seconds() - took / 2


def _refused(error: Exception) -> Probe:
    match error:
        case CompetingSession(text=text, mend=mend):
            return Probe("competing", text, mend)
        case NoPermission(text=text, mend=mend):
            return Probe("refused", text, mend)
        case NoData(text=text, mend=mend):
            return Probe("none", text, mend)
        case RequestFailed(text=text, code=code, mend=mend):
            return Probe("unclear", f"{text} (IB code {code})", mend)
        case RequestTimeout():
            return Probe("unclear", str(error))
    raise error
