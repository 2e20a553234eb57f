"""`quant tws`: the simulated TWS on loopback, until somebody stops it."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from quant.app import config, output
from quant.app.command import FILE, data_option, debug_option, json_option, wants_json
from quant.app.output import Result
from quant.app.tws_record import record, wait
from quant.errors import ParameterError

if TYPE_CHECKING:
    from quant.tws.program import Tws
    from quant.tws.server import Server

PORT: Final = 7497  # TWS's own for paper accounts


class _Tws(click.Group):
    """A command of ours that has another one below it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += [json_option(), debug_option()]
        self.add_command(record)

    def invoke(self, ctx: click.Context) -> int:
        """Run it, or the one below it; return the exit code."""
        result: Result | int = super().invoke(ctx)
        if isinstance(result, Result):
            output.show(result, wants_json())
            return result.code
        return result


@click.command("tws", cls=_Tws, invoke_without_command=True, subcommand_metavar="[record ...]")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0: any free one."
)
@click.option("--account", default="DU1234567", show_default=True, help="Account id that clients are told.")
@click.option("--symbols", metavar="A,B,...", help="Only these symbols [built-in ones and the store's].")
@click.option(
    "--clock", default="real", show_default=True, help='"real", "x60" (60 times as fast), or "step".'
)
@click.option("--start", metavar="TIME", help='Begin at "2024-05-15 16:00" (UTC, or "...-04:00") [now].')
@click.option("--faults", type=FILE, help="What goes wrong and when, a TOML file.")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of made-up bars and ticks, and of faults."
)
@data_option
@click.pass_context
def tws(
    ctx: click.Context,
    port: int,
    account: str,
    symbols: str | None,
    clock: str,
    start: str | None,
    faults: Path | None,
    seed: int,
    data: Path | None,
) -> Result | None:
    """Serve a simulated TWS on this machine until Ctrl-C. It trades nothing and speaks the real protocol.

    Bars come from the data folder; what it lacks is made up and marked SYNTHETIC. With --clock step, time stands still:
    each line on standard input moves it on by that many seconds, and the end of input ends the program.
    """
    if ctx.invoked_subcommand is not None:
        return None
    from quant.store import Store
    from quant.tws.exchange.clock import Clock, parse_speed
    from quant.tws.faults import Faults, read
    from quant.tws.program import simulated
    from quant.tws.server import HOST, Server, outside_ns, running

    speed = parse_speed(clock)
    script = Faults([] if faults is None else read(faults), seed)
    store = Store(config.load({"project.data": None if data is None else str(data)}).data)
    chosen = None if symbols is None else [s.strip() for s in symbols.split(",") if s.strip()]
    # A clock that stands still would never let more than 50 messages through.
    served = simulated(store, symbols=chosen, account=account, seed=seed, rate_limited=speed > 0.0)
    _check_symbols(served, chosen)
    began = Clock(outside_ns, speed=speed, start=None if start is None else _moment(start))
    server = Server(served, began, faults=script)
    with running(server, port) as found:
        output.note(
            f"simulated TWS at {HOST}:{found}, account {account}, {_time(server)}. Stop it with Ctrl-C."
        )
        if os.name == "posix" and speed > 0.0:  # Ctrl-C does not reach what a shell began with &
            output.note(f"in the background: kill {os.getpid()}")
        try:
            _wait(server, speed)
        except KeyboardInterrupt:  # the ordinary end of a server
            output.note("stopped")
        ended = _time(server)
    return _summary(server, found, ended)


def _check_symbols(served: Tws, chosen: list[str] | None) -> None:
    known = {listing.symbol.upper() for listing in served.catalogue}
    lacking = [s for s in chosen or [] if s.upper() not in known]
    if chosen is not None and (lacking or not chosen):
        told = "is neither built in nor in the store; see: quant data list"
        raise ParameterError("symbols", ",".join(lacking), told)


def _moment(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ParameterError("start", text, 'is no time such as "2024-05-15 16:00"') from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    if not 1980 <= moment.year <= 2100:
        raise ParameterError("start", text, "must lie in the years 1980 to 2100")
    return int(moment.timestamp()) * 1_000_000_000


def _time(server: Server) -> str:
    from quant.tws.exchange.hours import utc

    return f"{utc(server.clock.now()):%Y-%m-%d %H:%M:%S} UTC"


def _wait(server: Server, speed: float) -> None:
    if speed > 0.0:
        wait()
    for line in sys.stdin:
        try:
            seconds = float(line)
            if not 0.0 <= seconds <= 1e9:
                raise ValueError
        except ValueError:
            output.note(f"{line.strip()!r} is no number of seconds")
            continue
        server.step(server.clock.now() + round(seconds * 1e9))
        output.note(_time(server))


def _summary(server: Server, port: int, ended: str) -> Result:
    served = server.tws
    broken = dict(served.pacing.violations)
    broken["open history requests"] = served.open_history.violations
    fills = len(served.exchange.executions)
    document = {
        "port": port, "ended": ended, "orders": len(served.exchange.orders), "fills": fills,
        "violations": broken, "dropped": server.refused,
    }  # fmt: skip
    told = ", ".join(f"{name} {count:,}x" for name, count in broken.items() if count) or "none"
    parts = [f"orders {document['orders']:,}, fills {fills:,}; IB's limits broken: {told}"]
    parts += [f"dropped a connection: it {what}" for what in server.refused]
    return Result(document, parts)
