"""Why an order was decided, as the journal keeps it beside the intent: what it is for, on which bar, and till when."""

from __future__ import annotations

from dataclasses import dataclass, replace

from quant.oms.gate import Purpose
from quant.oms.ledger import Intent


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an order was decided.

    bar: end of the bar that was decided on, UTC ns. expires: an entry not sent by then is too late; 0 = no end.
    """

    purpose: Purpose
    bar: int = 0
    expires: int = 0
    text: str = ""

    def __str__(self) -> str:
        return f"{self.purpose} {self.bar} {self.expires} {self.text}".rstrip()


def read_reason(why: str) -> Reason:
    """Return the reason that was written; what cannot be read counts as an entry, the most narrowly held kind."""
    purpose, _, rest = why.partition(" ")
    bar, _, rest = rest.partition(" ")
    expires, _, text = rest.partition(" ")
    known = purpose in set(Purpose) and bar.isdigit() and expires.isdigit()
    return (
        Reason(Purpose(purpose), int(bar), int(expires), text) if known else Reason(Purpose.ENTRY, text=why)
    )


def reason_of(intent: Intent) -> Reason:
    """Return why an order was decided. A child shares what its entry's says, and protects."""
    reason = read_reason(intent.why)
    return replace(reason, purpose=Purpose.PROTECTION) if intent.ticket.parent else reason
