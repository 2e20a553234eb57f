"""Between which versions of an order a fill was told: the journal's own order, which no clock skews. Pure."""

from __future__ import annotations

from quant.core.orders import Echo, Execution
from quant.oms.fills import exec_key
from quant.oms.ledger import Fact, Ledger, Mark, What, versions
from quant.promotion.belated import off
from quant.promotion.facts import Span


def told_between(ledger: Ledger) -> dict[str, Span]:
    """Return, by stem, which versions a fill of an order that was modified can be of: the oldest, and the newest.

    One that was told before a change was decided is not of it. One that was told after TWS had shown an order with new
    prices is not of those before: what has filled takes no change.
    """
    told: dict[str, list[Mark | Fact]] = {m.ref: [] for m in ledger.marks if m.what is What.MODIFIED}
    for mark in ledger.marks:
        if mark.what is What.MODIFIED:
            told[mark.ref].append(mark)
    for fact in ledger.facts:
        if isinstance(fact.report, Echo | Execution) and fact.report.ref in told:
            told[fact.report.ref].append(fact)
    found: dict[str, Span] = {}
    for intent in ledger.intents:
        own = sorted(told.get(intent.ref, ()), key=lambda one: one.number)
        asked = list(versions(intent, (one for one in own if isinstance(one, Mark))))
        before: set[tuple[float | None, float | None]] = (
            set()
        )  # prices of older versions: shown again, they tell nothing
        shown = newest = 0
        for one in own:
            ticket = asked[newest].ticket
            if isinstance(one, Mark):
                before.add((ticket.stop, ticket.limit))
                newest += 1
            elif isinstance(one.report, Execution):
                found.setdefault(exec_key(one.report.exec_id)[0], (shown, newest))
            elif isinstance(one.report, Echo) and (ticket.stop, ticket.limit) not in before:
                shown = shown if off(ticket, one.report) else newest
    return found
