"""What programs tell backtrader's simulated broker: live IB decides it, so it is refused, unless it changes nothing."""

from __future__ import annotations

from typing import Any, Final

from quant.errors import ParameterError

MONEY: Final = "the money is what store.getbroker(name, capital=...) was given; say it there"
_FILLS: Final = "fills are IB's; leave it out of the live program"
_CHECKED: Final = (
    "the risk limits look at each order before it is sent: store.getbroker(name, capital=..., limits={...})"
)
_HISTORY: Final = "only IB's executions count; leave it out of the live program"
_FUND: Final = "live counts money, not shares of a fund; leave it out of the live program"
_OPEN: Final = (
    "no order is sent before its bar is over; leave it and Cerebro's cheat_on_open out of the live program"
)


class Settings:
    """The setters of backtrader's own broker. What asks for nothing else than live is anyway is taken in silence."""

    startingcash: float

    def setcash(self, cash: float) -> None:
        """Take the capital; raise ParameterError for another amount."""
        if cash != self.startingcash:
            raise ParameterError("broker.setcash", cash, f"the capital is {self.startingcash:,.2f}: {MONEY}")

    set_cash = setcash

    def add_cash(self, cash: float) -> None:
        """Raise ParameterError unless it is nothing."""
        _only(cash, 0, "add_cash", MONEY)

    def set_coc(self, coc: bool) -> None:
        """Raise ParameterError for cheat-on-close."""
        at_close = "no order fills at the close that it was decided on; leave it out, or send bt.Order.Close"
        _only(coc, False, "set_coc", at_close)

    def set_coo(self, coo: bool) -> None:
        """Raise ParameterError for cheat-on-open; cerebro calls it for its own cheat_on_open."""
        _only(coo, False, "set_coo", _OPEN)

    def set_slippage_perc(self, perc: float, *more: Any, **flags: Any) -> None:
        """Raise ParameterError unless it is nothing."""
        _only(perc, 0, "set_slippage_perc", _FILLS)

    def set_slippage_fixed(self, fixed: float, *more: Any, **flags: Any) -> None:
        """Raise ParameterError unless it is nothing."""
        _only(fixed, 0, "set_slippage_fixed", _FILLS)

    def set_filler(self, filler: Any) -> None:
        """Raise ParameterError unless it is None."""
        _only(filler, None, "set_filler", _FILLS)

    def set_eosbar(self, eosbar: bool) -> None:
        """Raise ParameterError for a bar of the session's end."""
        _only(eosbar, False, "set_eosbar", _FILLS)

    seteosbar = set_eosbar

    def set_fundmode(self, fundmode: bool, fundstartval: float | None = None) -> None:
        """Raise ParameterError for the mode of a fund."""
        _only(fundmode, False, "set_fundmode", _FUND)

    def set_fundstartval(self, fundstartval: float) -> None:
        """Raise ParameterError."""
        raise ParameterError("broker.set_fundstartval", fundstartval, _FUND)

    def set_checksubmit(self, checksubmit: bool) -> None:
        """Raise ParameterError where orders should go unchecked."""
        _only(checksubmit, True, "set_checksubmit", _CHECKED)

    def set_shortcash(self, shortcash: bool) -> None:
        """Raise ParameterError unless a short sale brings cash."""
        _only(shortcash, True, "set_shortcash", "a short sale brings cash at IB; leave it out")

    def set_int2pnl(self, int2pnl: bool) -> None:
        """Raise ParameterError unless interest is part of the profit."""
        _only(
            int2pnl,
            True,
            "set_int2pnl",
            "IB books interest to the account, not to the program; leave it out",
        )

    def add_order_history(self, orders: Any, notify: bool = True) -> None:
        """Raise ParameterError."""
        raise ParameterError("broker.add_order_history", type(orders).__name__, _HISTORY)

    def set_fund_history(self, fund: Any) -> None:
        """Raise ParameterError."""
        raise ParameterError("broker.set_fund_history", type(fund).__name__, _HISTORY)


def _only(value: Any, live: Any, name: str, why: str) -> None:
    if value != live:
        raise ParameterError(f"broker.{name}", value, why)
