"""Executions and commissions joined to fills: corrections replace, busts count nothing, commissions may come late.

Pure, and a function of the set of facts: no order of arrival and no repetition can change what comes out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from quant.core.orders import Commission, Execution


@dataclass(frozen=True, slots=True)
class Fill:
    """A fill as it counts now.

    stem: exec id without its last number; revision: that number, 0 where there is none. quantity: signed, 0 for a
    bust. shown: the most, unsigned, that any revision told. commission: None until told. first: False where a
    correction came and what it corrects was never seen. clashes: one exec id or its commission told in two ways.
    """

    account: str
    stem: str
    revision: int
    exec_id: str
    ref: str
    con_id: int
    symbol: str
    time: int
    quantity: Decimal
    price: float
    shown: Decimal
    commission: float | None = None
    currency: str = ""
    realized: float | None = None
    liquidation: bool = False
    first: bool = True
    clashes: bool = False


def exec_key(exec_id: str) -> tuple[str, int]:
    """Return an exec id's stem and revision; corrections differ from what they correct in the revision alone.

    Source: IB's page on executions ("differs only in the digits after the final period"); live-faults §1.2.
    """
    stem, dot, last = exec_id.rpartition(".")
    if dot and last.isascii() and last.isdigit():
        return stem, int(last)
    return exec_id, 0


def join_fills(executions: Iterable[Execution], commissions: Iterable[Commission]) -> tuple[Fill, ...]:
    """Return one fill for each stem and account, by time and stem; commissions of other fills are ignored."""
    groups: dict[tuple[str, str], set[Execution]] = {}
    for execution in executions:
        groups.setdefault((execution.account, exec_key(execution.exec_id)[0]), set()).add(execution)
    charges: dict[str, set[Commission]] = {}
    for commission in commissions:
        charges.setdefault(commission.exec_id, set()).add(commission)
    fills = [_fill(stem, group, charges) for (_, stem), group in groups.items()]
    return tuple(sorted(fills, key=lambda f: (f.time, f.account, f.stem)))


def _fill(stem: str, group: set[Execution], charges: dict[str, set[Commission]]) -> Fill:
    by_revision: dict[int, list[Execution]] = {}
    for execution in group:
        by_revision.setdefault(exec_key(execution.exec_id)[1], []).append(execution)
    revision = max(by_revision)
    # Told in two ways, any will do as long as it is always the same; `clashes` stops the trading.
    last = min(by_revision[revision], key=repr)
    clashes = any(len({(e.quantity, e.price, e.con_id) for e in told}) > 1 for told in by_revision.values())
    charge, differ = _charge(last, by_revision, charges)
    return Fill(
        account=last.account, stem=stem, revision=revision, exec_id=last.exec_id, ref=last.ref, con_id=last.con_id,
        symbol=last.symbol, time=last.time, quantity=last.quantity, price=last.price,
        shown=max(abs(e.quantity) for e in group), commission=None if charge is None else charge.amount,
        currency="" if charge is None else charge.currency, realized=None if charge is None else charge.realized,
        liquidation=any(e.liquidation for e in group), first=min(by_revision) <= 1, clashes=clashes or differ,
    )  # fmt: skip


def _charge(
    last: Execution, by_revision: dict[int, list[Execution]], charges: dict[str, set[Commission]]
) -> tuple[Commission | None, bool]:
    """Return the commission of a fill and whether two were told for it.

    A correction without its own keeps that of what it corrects, but a bust does not: nobody knows what it costs.
    """
    revisions = sorted(by_revision, reverse=True)
    for revision in revisions[:1] if last.quantity == 0 else revisions:
        told = charges.get(by_revision[revision][0].exec_id, set())
        if told:
            amounts = {(c.amount, c.currency) for c in told}
            # With and without `realized` is one commission told twice; the fuller one says more.
            best = max(told, key=lambda c: (c.amount, c.realized is not None, repr(c)))
            return best, len(amounts) > 1
    return None, False
