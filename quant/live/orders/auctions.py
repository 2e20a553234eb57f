"""Until when exchanges take orders for their opening auction (market-on-open, IB's OPG), and let them be withdrawn.

Data with its sources; says nothing of the days an exchange is open. What stands here is what the exchange takes; how
much earlier an order must leave this machine is a limit (`cutoff_s`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from quant.core.barsize import MINUTE, SECOND
from quant.core.instrument import Instrument


@dataclass(frozen=True, slots=True)
class Auction:
    """Ends of an opening auction's phases, in ns before the open. entry: of new market orders; withdrawal: of cancels.

    source: who says so, and when that was said or read.
    """

    entry: int
    withdrawal: int
    source: str


# By the listing exchange, as IB names it. IB's own pages on market- and limit-on-open orders name Nasdaq alone: "must
# be submitted prior to 09:28 ET", no cancel or change after 9:25 (interactivebrokers.com, f=590, undated copy).
OPENINGS: Final = {
    "NASDAQ": Auction(
        2 * MINUTE, 5 * MINUTE, "Nasdaq Equity Trader Alert 2021-15 (2021-03-04), from 2021-04-26 on; 86 FR 18330"
    ),
    "ARCA": Auction(
        5 * SECOND, MINUTE, "nyse.com/markets/nyse-arca/trading-info, undated copy: freeze 9:29:55, cancels until 9:29"
    ),
    "NYSE": Auction(
        0, 0, "NYSE Opening and Closing Auctions fact sheet, Pillar (2019 or later): until the security is opened"
    ),
    "LSE": Auction(0, 0, "order entry 07:50 to 08:00, then a random end; from secondary pages (ppro8wiki, 2023-02-27)"),
    "TSE": Auction(0, 0, "TMX Order Types Guide, section 2.2, undated copy: the whole pre-open"),
}  # fmt: skip
# Of an exchange that is not here, e.g. AMEX, BATS, IBIS: no source was found, so the earliest times that are known.
UNKNOWN: Final = Auction(2 * MINUTE, 5 * MINUTE, "none: as the earliest that is known, Nasdaq's")


def opening(instrument: Instrument) -> Auction:
    """Return the opening auction of an instrument's listing exchange."""
    return OPENINGS.get(instrument.exchange, UNKNOWN)
