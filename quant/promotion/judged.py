"""An order desk that also asks what narrower limits would have said of each order, and lets it pass all the same."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from quant.core.barsize import DAY
from quant.core.orders import Ticket
from quant.oms.desk.brakes import brakes
from quant.oms.desk.counter import Counter
from quant.oms.desk.desk import OrderDesk
from quant.oms.desk.setup import Answer, Broker, Setup, Surroundings, Why
from quant.oms.journal.journal import Journal
from quant.oms.limits import Limits

_SIZES: Final = re.compile(r"[\d.,%]+")


@dataclass(frozen=True, slots=True)
class Refused:
    """What limits are against. at: UTC ns. ref, symbol, quantity: of the order; "" and 0 for the deployment as a whole.

    code: of the refusal. halts: trading would have stopped there, or gone on with reductions only.
    """

    at: int
    code: str
    text: str
    ref: str = ""
    symbol: str = ""
    quantity: float = 0.0
    halts: bool = False


class JudgedDesk(OrderDesk):
    """A desk with a second pair of eyes. limits: theirs; those of `setup` decide. refused: in order of time."""

    def __init__(self, journal: Journal, broker: Broker, setup: Setup, now: int, *, limits: Limits) -> None:
        super().__init__(journal, broker, setup, now)
        self.refused: list[Refused] = []
        self._limits = limits
        self._second = Counter(self._floor.record, replace(setup, limits=limits))
        self._braked: dict[str, int] = {}  # a brake's reason without its figures -> the day it was told on

    def observe(self, around: Surroundings) -> None:
        """Take what is known of markets, account and machine."""
        super().observe(around)
        self._second.around = around

    def _take_in(self, tickets: tuple[Ticket, ...], why: Why, now: int) -> list[Answer]:
        """Take the orders of a group, and note what the limits say of them."""
        first = tickets[0]
        _, refusals = self._second.judge(self._second.rounded(tickets), why, self.gate, now)
        self.refused += [
            Refused(now, r.code, r.text, first.ref, first.symbol, float(first.quantity), r.halts)
            for r in refusals
        ]
        answers = super()._take_in(tickets, why, now)
        for answer in answers if not refusals else ():
            if answer.taken:
                self._second.sent(answer.ref, now)
        return answers

    def tick(self, now: int) -> None:
        """Do what is due; note once a day which limit of losses would have been reached."""
        super().tick(now)
        for brake in brakes(self._second.health(now), self._limits):
            kind, day = _SIZES.sub("", brake.reason), now // DAY
            if self._braked.get(kind) != day:
                self._braked[kind] = day
                self.refused.append(Refused(now, "brake", brake.reason, halts=True))
