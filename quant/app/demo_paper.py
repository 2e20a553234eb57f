"""The end of `quant demo`: minutes of the sample traded as live at a simulated TWS, and what one would have seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import backtrader as bt

    from quant.core.bars import Bars
    from quant.promotion import Rehearsal

NAME: Final = "macd_stochastic"
PARAMS: Final = {"atr_period": 10}  # the default wants an hour before the first order
SIZING: Final = "shares:10"
MINUTES: Final = 90
SHOWN: Final = 9  # lines, from the first order on


def paper(bars: Bars, folder: Path) -> tuple[Rehearsal, list[str]]:
    """Trade the first minutes of `bars`, one-minute ones; return how it compares, and the session as text.

    folder: where our strategies lie.
    """
    from quant.promotion import rehearse
    from quant.strategy import strategy

    seen: list[str] = []
    cls = _shown(strategy(NAME, folder), seen)
    minutes = bars[bars.times.in_session.argmax() :][:MINUTES] if len(bars) else bars
    found = rehearse(cls, minutes, params=PARAMS, sizing=SIZING)
    first = next((row for row, line in enumerate(seen) if "order:" in line), 0)
    shown = seen[max(first - 1, 0) : first + SHOWN]
    return found, [
        f"Paper session: {NAME} on {minutes.symbol} 1m, {MINUTES} minutes at a simulated TWS.",
        "Each bar, order and fill goes over a socket, as with a real one, and the",
        "orders into a journal first; only the clock runs faster.",
        *(f"  {line}" for line in shown),
        "  ...",
        _verdict(found),
    ]


def _verdict(found: Rehearsal) -> str:
    same = "equal the backtest's to the cent" if found.ok else "are NOT those of the backtest"
    return f"{found.orders[1]} orders, {found.fills[1]} fills; all of them, and the cash, {same}."


def _shown(cls: Any, seen: list[str]) -> Any:
    """Return the strategy with eyes: what it does live is written into `seen`."""

    class Shown(cls):  # type: ignore[misc]  # a class that is looked up
        def next(self) -> None:
            super().next()
            if not _is_live(self):
                return
            held, stops = self.position.size, self.broker.exits(self.data)
            state = f"holds {held:g}" if held else "flat"
            stop = f", stop at {stops[0].created.price:.2f}" if stops and held else ""
            seen.append(f"{_clock(self)}  bar closes at {self.data.close[0]:.2f}: {state}{stop}")
            entries = (o for o in self.broker.get_orders_open() if o.exectype == o.Market)
            seen.extend(f"{_clock(self)}  order: {_words(o)} at the market" for o in entries)

        def notify_order(self, order: bt.Order) -> None:
            if _is_live(self) and order.status == order.Completed:
                what, done = "stop filled" if order.exectype == order.Stop else "filled", order.executed
                money = f"at {done.price:.2f}, commission {done.comm:.2f}"
                seen.append(f"{_clock(self)}  {what}: {_words(order)} {money}")

    Shown.__name__ = cls.__name__
    return Shown


def _words(order: bt.Order) -> str:
    return f"{'buy' if order.size > 0 else 'sell'} {abs(order.size):g}"


def _is_live(strategy: Any) -> bool:
    """Return whether the strategy trades at a TWS, and not in the backtest beside it."""
    return hasattr(strategy.broker, "exits")


def _clock(strategy: Any) -> str:
    return f"{strategy.data.datetime.datetime(0):%H:%M}"
