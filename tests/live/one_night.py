"""Two sessions, the night between them, and a strategy that decides on the last bar before it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
from tws_market import TwsMarket

import quant as q
from quant.core.barsize import MINUTE, SECOND
from quant.live.signals import live_decisions
from quant.strategy import parameters

LAST = 25  # the last row of the first session
Hook = Callable[[TwsMarket], None]


class Wants(q.Strategy):
    """Wants what `wishes` says at a row, with a stop at so much of the close, or none."""

    wishes: dict[int, float] = {}
    guard: float | None = None

    @classmethod
    def signals(cls, bars: q.Bars, p: Any) -> q.Signals:  # type: ignore[override]  # a class method may stand in
        found = np.full(len(bars), np.nan)
        for row, target in cls.wishes.items():
            found[row : row + 1] = target
        return q.Signals(found, None if cls.guard is None else np.round(bars.close * cls.guard, 2))


def trade(market: TwsMarket, wishes: dict[int, float], stop: float | None = None) -> Any:
    cls = type("Wanting", (Wants,), {"wishes": wishes, "guard": stop})
    found = parameters(cls, {})
    decisions = live_decisions(
        cls, found, market.feeds, began=0, now=lambda: market.now, start_rule="first-target", sizing="shares:10"
    )  # fmt: skip
    return market.run(cls, decisions=decisions, **found)


def overnight(market: TwsMarket, *steps: tuple[int, Hook]) -> None:
    """At moments before the second session's open, by minutes, let something happen."""
    opens = int(market.bars[0].times.begin[LAST + 1])

    def night(step: int) -> None:
        if step != LAST + 1:
            return
        for minutes, hook in steps:
            market.now = opens - minutes * MINUTE
            market.exchange.run_to(market.now)
            for _ in range(3):  # a snapshot, if one is due, and its answer
                market.broker.poll()
                market.exchange.catch_up()
            hook(market)

    market.before_bar.append(night)


def alarms(market: TwsMarket) -> str:
    return " ".join(alarm.text for alarm in market.broker.alarms())


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND
