"""What IB says about a halt of the exchange's; asked only while no bar comes.

Quotes tell it, and take a market data line, of which a login has about a hundred; the bars of a feed take one already.
"""

from __future__ import annotations

from typing import Final

from quant.ib import requests
from quant.ib.asking import Subscription
from quant.ib.codec import Event
from quant.ib.contracts import ContractSpec
from quant.ib.session import Session

HALTED: Final = 49  # IB's tick type; it comes with any quotes, unasked
NOT_HALTED: Final = 0
# IB's tick types page. -1 is not known; IB says 0 only of contracts that are in a watchlist of TWS.
HALTS: Final = {1: "general halt", 2: "volatility halt"}


class ExchangeHalt:
    """Of one contract. told: IB's value, None = it has said nothing."""

    def __init__(self, session: Session, spec: ContractSpec) -> None:
        self._session, self._spec = session, spec
        self._line: Subscription | None = None
        self.told: int | None = None

    def look(self, silent: bool) -> None:
        """Ask from when no bar comes until one does; a refusal is not asked about again meanwhile."""
        if silent and self._line is None:
            self._line = self._session.subscribe(requests.quotes(self._spec), self._heard)
        elif not silent and self._line is not None:
            self._session.unsubscribe(self._line)
            self._line = self.told = None

    def _heard(self, event: Event) -> None:
        if event.name == "tickGeneric" and event.args[1] == HALTED:
            self.told = int(event.args[2])
        elif event.name in ("restarted", "failed"):
            self.told = None
