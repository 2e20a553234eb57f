"""The states of a session with TWS, and the one table of what leads from one to the next."""

from __future__ import annotations

from enum import Enum
from typing import Final


class State(Enum):
    """Where the session stands."""

    IDLE = "not connected yet"
    LOGIN = "connected, waiting for accounts and the next order id"
    READY = "ready"
    CUT = "TWS has lost its own connection to IB"
    WAITING = "waiting to connect again"
    CLOSED = "closed"


class Turn(Enum):
    """What changes the state."""

    OPENED = "the handshake is done"
    LOGGED_IN = "accounts and next order id are there"
    LOST = "the socket broke"
    CUT = "1100 or 2110"
    DATA_LOST = "1101"
    DATA_KEPT = "1102"
    GIVE_UP = "no reconnection is wanted"
    CLOSE = "closed by us"


S, T = State, Turn

TABLE: Final[dict[tuple[State, Turn], State]] = {
    (S.IDLE, T.OPENED): S.LOGIN,
    (S.IDLE, T.CLOSE): S.CLOSED,
    (S.LOGIN, T.LOGGED_IN): S.READY,
    (S.LOGIN, T.CUT): S.LOGIN,  # TWS may tell it at once; it is CUT as soon as the login is done
    (S.LOGIN, T.DATA_LOST): S.LOGIN,  # nothing is subscribed yet
    (S.LOGIN, T.DATA_KEPT): S.LOGIN,
    (S.LOGIN, T.LOST): S.WAITING,
    (S.LOGIN, T.GIVE_UP): S.IDLE,  # the first login failed: who asked for it is told, and may ask again
    (S.LOGIN, T.CLOSE): S.CLOSED,
    (S.READY, T.CUT): S.CUT,
    (S.READY, T.DATA_LOST): S.READY,  # 1100 came before we did; subscriptions are gone all the same
    (S.READY, T.DATA_KEPT): S.READY,
    (S.READY, T.LOST): S.WAITING,
    (S.READY, T.GIVE_UP): S.IDLE,
    (S.READY, T.CLOSE): S.CLOSED,
    (S.CUT, T.CUT): S.CUT,  # 1100 and 2110 may both come
    (S.CUT, T.DATA_LOST): S.READY,
    (S.CUT, T.DATA_KEPT): S.READY,
    (S.CUT, T.LOST): S.WAITING,
    (S.CUT, T.GIVE_UP): S.IDLE,
    (S.CUT, T.CLOSE): S.CLOSED,
    (S.WAITING, T.OPENED): S.LOGIN,
    (S.WAITING, T.CLOSE): S.CLOSED,
}
