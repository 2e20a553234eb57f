"""Where TWS is and which contract is meant, as the command line and the settings say it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import click

from quant.app.config import Settings
from quant.errors import ConfigError

# TWS and IB Gateway, paper before live: what is tried first is what can do the least harm. Source: IB's defaults,
# interactivebrokers.github.io/tws-api/initial_setup.html.
PORTS: Final = (7497, 4002, 7496, 4001)
LAST_PORT: Final = 65_535


@dataclass(frozen=True, slots=True)
class Address:
    """Where to look for TWS. port: None = the first of PORTS on which one answers."""

    host: str
    port: int | None
    client_id: int

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports to look at, in this order."""
        return PORTS if self.port is None else (self.port,)


def given_address(given: dict[str, Any]) -> dict[str, Any]:
    """Take the options of `address_options` out of `given`; return them as settings by full name."""
    return {f"ib.{name}": given.pop(name) for name in ("host", "port", "client_id")}


def address(settings: Settings) -> Address:
    """Return where the settings say that TWS is. Raises ConfigError for a number that is no port or client id."""
    limits = {"ib.port": (1, LAST_PORT), "ib.client_id": (0, 2**31 - 1)}
    for name, (low, high) in limits.items():
        found = settings.values[name]
        if found.value is not None and not low <= found.value <= high:
            raise ConfigError(found.origin, name, f"must be {low} to {high:,}, not {found.value}")
    return Address(settings["ib.host"], settings["ib.port"], settings["ib.client_id"])


def address_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where TWS is; `given_address` takes them out again."""
    ports = ", ".join(map(str, PORTS))
    for option in (
        click.option("--client-id", metavar="N", help="Number under which TWS knows this program [11]."),
        click.option("--port", metavar="PORT", help=f"Its socket port [the first of {ports}]."),
        click.option("--host", metavar="NAME", help="Machine on which TWS or IB Gateway runs [127.0.0.1]."),
    ):
        function = option(function)
    return function


def contract_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that tell one contract from others of the same symbol."""
    for option in (
        click.option("--trading-class", default="", metavar="NAME", help="IB's trading class."),
        click.option("--con-id", type=click.IntRange(1), metavar="N", help="IB's contract id."),
        click.option("--expiry", default="", metavar="YYYYMM[DD]", help="Of a future."),
        click.option("--currency", default="", metavar="CODE", help="Currency of the prices, e.g. USD."),
        click.option("--exchange", default="", metavar="NAME", help="IB's name of the exchange, e.g. NYSE."),
        click.option(
            "--sec-type", default="STK", show_default=True, metavar="TYPE",
            help="IB's security type: STK, FUT, CASH, IND, ...",
        ),
    ):  # fmt: skip
        function = option(function)
    return function
