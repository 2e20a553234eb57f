"""A month of the live path in virtual time: TWS restarts each night and wants a log-in each week; nobody does more.

It is a rehearsal, so that orders and account are also compared with the backtest, which knows no restart.
"""

from __future__ import annotations

import gc
import logging
from typing import Any

import quant as q
from quant.promotion import rehearse
from quant.strategy import strategy
from quant.tws.order_faults import OrderDo, OrderFault
from tests.bench.portfolio import peak_gb

FIRST_NIGHT_S = 14.4 * 3600.0  # from ten minutes before the open of the first session to 23:44 in New York
DAY_S = 86_400.0
TRIES = 40  # of the client, until somebody has logged in: some 20 minutes
OURS = ("quant.ib", "quant.oms", "quant.live", "quant.core.orders")


def run(full: bool) -> list[dict[str, Any]]:
    """Growth of what the live path holds, and what asked for a person. full: four weeks, else one."""
    first, last, nights, logins = (
        ("2024-03-01", "2024-03-28", 27, (2, 9, 16, 23)) if full else ("2024-03-01", "2024-03-07", 6, (2,))
    )
    seen: list[tuple[int, int]] = []  # objects, orders; after each week

    class Watched(strategy("macd")):  # type: ignore[misc]  # a class that is looked up
        """MACD that counts what there is at the end of each week's sessions."""

        def next(self) -> None:
            """Trade; then count."""
            super().next()
            if hasattr(self.broker, "flush") and len(self) % (5 * 390 - 10) == 0:  # not in the backtest
                seen.append((held(), len(self.broker._desk.orders)))

    bars = q.synthetic("SPY", "1m", first, last, price=400.0)
    logging.disable(logging.WARNING)  # each try to connect is told
    try:
        found = rehearse(Watched, bars, faults=script(nights, logins), start_rule="first-target")
    finally:
        logging.disable(logging.NOTSET)
    notes = [text for _, text in found.notes]
    asked = [text for text in notes if _asks(text)]
    back = sum(text == "state: ready" for text in notes) - 1
    objects, orders = zip(*seen, strict=True)
    each = (objects[-1] - objects[0]) / max(orders[-1] - orders[0], 1)
    told = (
        f"{found.bars:,} bars, {found.orders[1]:,} orders; {nights} restarts, {len(logins)} log-ins, connected anew "
        f"{back} times; {len(found.differences)} differences to the backtest, invariants broken: {len(found.broken)}, "
        f"asked for: {asked[:3]}"
    )
    return [
        figure("what a person had to do but log in", len(asked) + len(found.broken), "", 0, 0, told),
        figure(
            "growth of what the live path holds", each, " objects an order", 100.0, 20.0,
            f"objects after each week: {', '.join(f'{n:,}' for n in objects)}; {peak_gb():.2f} GB at most, "
            f"simulated TWS included; {found.bars_per_s:,.0f} bars/s",
        ),
    ]  # fmt: skip


def _asks(note: str) -> bool:
    """Return whether a person should look. At the start he is told of what is not ours: that asks for nothing."""
    # A rehearsal's time leaps the hours without bars, and with them the snapshots that are due each minute.
    leaps = "books cannot be read" in note
    return note == "gate: halted" or (
        note.startswith("alarm") and not leaps and "taken as: baseline" not in note
    )


def figure(what: str, measured: float, unit: str, most: float, aim: float, baseline: str) -> dict[str, Any]:
    """One figure that must not be above `most`."""
    return {
        "what": what, "measured": measured, "unit": unit, "at_most": most, "aim": aim, "baseline": baseline,
    }  # fmt: skip


def script(nights: int, logins: tuple[int, ...]) -> list[OrderFault]:
    """Return the restarts, and which of them end in a log-in that takes a while. logins: numbers of nights."""
    restarts = [
        OrderFault(OrderDo.NIGHTLY, after_s=FIRST_NIGHT_S + n * DAY_S, seconds=120.0) for n in range(nights)
    ]
    # Each night takes one start of the API, one with a log-in TRIES more; the first start is the run's own.
    waits = [
        OrderFault(OrderDo.RELOGIN, skip=1 + night + TRIES * before, count=TRIES, seconds=7200.0)
        for before, night in enumerate(logins)
    ]
    return [*restarts, *waits]


def held() -> int:
    """Return how many objects of the live path there are."""
    gc.collect()
    return sum(str(type(thing).__module__).startswith(OURS) for thing in gc.get_objects())
