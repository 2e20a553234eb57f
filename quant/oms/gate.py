"""The gate: whether anything may be sent, and what. One table of states, one of what may pass in each."""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Final


class Gate(StrEnum):
    """Whether orders may be sent."""

    CLOSED = "closed"  # no connection to IB
    RECONCILING = "reconciling"  # connected; journal and broker are being compared
    OPEN = "open"
    REDUCING = "reducing"  # only what makes positions smaller
    HALTED = "halted"  # cancels and reads only, until a person clears it


class Turn(Enum):
    """What moves the gate."""

    LINKED = "the connection to IB is there (start, reconnect, 1101, 1102)"
    LOST = "the socket broke, or TWS lost IB (1100, 2110)"
    DOUBT = "an order is unknown, or a snapshot is not what the journal says"
    AGREED = "two complete snapshots are what the journal says"
    AGREED_REDUCING = "the same, while only reductions are wanted"
    REDUCE = "a limit of loss was reached, or a person asked"
    LIFT = "a person wants entries again"
    HALT = "a rule that only a person may lift was broken, or a person asked"
    CLEAR = "a person has looked, and clears the halt"


class Purpose(StrEnum):
    """What an order is for; it decides what may hold it back."""

    ENTRY = "entry"
    REDUCTION = "reduction"
    PROTECTION = (
        "protection"  # stop or target that only closes what is held, or a child that waits for its entry
    )
    FLATTEN = "flatten"  # a person's command


G, T = Gate, Turn

TABLE: Final[dict[tuple[Gate, Turn], Gate]] = {
    (G.CLOSED, T.LINKED): G.RECONCILING,
    (G.CLOSED, T.LOST): G.CLOSED,  # 1100, then the socket
    (G.CLOSED, T.DOUBT): G.CLOSED,
    (G.CLOSED, T.REDUCE): G.CLOSED,  # remembered by the journal; AGREED_REDUCING comes of it
    (G.CLOSED, T.LIFT): G.CLOSED,
    (G.CLOSED, T.HALT): G.HALTED,
    (G.RECONCILING, T.LINKED): G.RECONCILING,  # 1101 in the middle of it: begun again
    (G.RECONCILING, T.LOST): G.CLOSED,
    (G.RECONCILING, T.DOUBT): G.RECONCILING,
    (G.RECONCILING, T.AGREED): G.OPEN,
    (G.RECONCILING, T.AGREED_REDUCING): G.REDUCING,
    (G.RECONCILING, T.REDUCE): G.RECONCILING,
    (G.RECONCILING, T.LIFT): G.RECONCILING,
    (G.RECONCILING, T.HALT): G.HALTED,
    (G.OPEN, T.LINKED): G.RECONCILING,  # 1101 or 1102 without the 1100, which came before we did
    (G.OPEN, T.LOST): G.CLOSED,
    (G.OPEN, T.DOUBT): G.RECONCILING,
    (G.OPEN, T.AGREED): G.OPEN,  # the check of each minute
    (G.OPEN, T.REDUCE): G.REDUCING,
    (G.OPEN, T.LIFT): G.OPEN,
    (G.OPEN, T.HALT): G.HALTED,
    (G.REDUCING, T.LINKED): G.RECONCILING,
    (G.REDUCING, T.LOST): G.CLOSED,
    (G.REDUCING, T.DOUBT): G.RECONCILING,
    (G.REDUCING, T.AGREED_REDUCING): G.REDUCING,
    (G.REDUCING, T.REDUCE): G.REDUCING,
    (G.REDUCING, T.LIFT): G.OPEN,
    (G.REDUCING, T.HALT): G.HALTED,
    # A halt outlasts everything: connections come and go below it.
    (G.HALTED, T.LINKED): G.HALTED,
    (G.HALTED, T.LOST): G.HALTED,
    (G.HALTED, T.DOUBT): G.HALTED,
    (G.HALTED, T.AGREED): G.HALTED,
    (G.HALTED, T.AGREED_REDUCING): G.HALTED,
    (G.HALTED, T.REDUCE): G.HALTED,
    (G.HALTED, T.LIFT): G.HALTED,
    (G.HALTED, T.HALT): G.HALTED,
    (G.HALTED, T.CLEAR): G.CLOSED,  # never open at once: LINKED and two snapshots come first
}

PASSES: Final[dict[Gate, frozenset[Purpose]]] = {
    G.CLOSED: frozenset(),
    G.RECONCILING: frozenset(),  # what is held is not known; see RECOVERS
    G.OPEN: frozenset(Purpose),
    G.REDUCING: frozenset({Purpose.REDUCTION, Purpose.PROTECTION, Purpose.FLATTEN}),
    G.HALTED: frozenset({Purpose.FLATTEN}),  # protective orders stay where they are
}

# Sent again under its own id, or put right: a reduction or protective order that two agreeing snapshots show missing.
RECOVERS: Final = frozenset({G.RECONCILING, G.OPEN, G.REDUCING})

CANCELS: Final = frozenset({G.RECONCILING, G.OPEN, G.REDUCING, G.HALTED})  # a cancel never adds exposure


def turned(gate: Gate, turn: Turn) -> Gate:
    """Return the gate after `turn`. A turn that the table does not know is a fault of ours: KeyError."""
    return TABLE[gate, turn]


def passes(gate: Gate, purpose: Purpose) -> bool:
    """Return whether an order of that purpose may be sent now."""
    return purpose in PASSES[gate]


def recovers(gate: Gate) -> bool:
    """Return whether what reconciliation found missing may be sent now."""
    return gate in RECOVERS


def cancels(gate: Gate) -> bool:
    """Return whether cancels may be sent now."""
    return gate in CANCELS
