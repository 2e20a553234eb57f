"""`quant parity`: a day of a deployment laid beside its backtest on the bars as IB has them now."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quant.app import config, output
from quant.app.address import address, address_options, given_address
from quant.app.command import command, data_option
from quant.app.output import Result
from quant.app.simulator import simulator

if TYPE_CHECKING:
    from quant.live.run.deployment import Deployment
    from quant.promotion.parity.parity import Fresh, Pull


@command("parity")
@click.argument("deployment")
@click.option("--day", metavar="DATE", help="The session.  [the last one that was traded]")
@click.option("--no-pull", is_flag=True, help="Take the bars of the data folder as they are.")
@click.option("--sim", is_flag=True, help="Pull from a simulated TWS in this process.")
@address_options
@data_option
def parity(
    deployment: str, day: str | None, no_pull: bool, sim: bool, data: Path | None, **given: str | int | None
) -> Result:
    """Explain every difference between a day of DEPLOYMENT and its backtest.

    Pulls the day's bars anew, replays the strategy on them from where live stood as the day began, and says what was
    different and why; the difference of the profits is split by cause to the cent. Writes a document and a page to
    data/live/DEPLOYMENT/parity/ and a line to the running record. DEPLOYMENT may trade meanwhile. Ends with 1 where a
    decision diverged, or where something is not explained.

    \b
      quant parity macd-spy-1m
      quant parity macd-spy-1m --day 2026-01-30 --no-pull
    """  # fmt: skip
    named = given_address(dict(given))
    if (sim or no_pull) and any(named[f"ib.{name}"] is not None for name in ("host", "port")):
        raise click.UsageError("--sim and --no-pull ask no TWS of yours, so leave --host and --port out.")
    if sim and no_pull:
        raise click.UsageError("--no-pull asks no TWS, so leave --sim out.")
    settings = config.load({**named, "project.data": None if data is None else str(data)})

    from quant.live.run.deployment import live_folder
    from quant.promotion.parity import parity as compare
    from quant.promotion.parity.record import put, save
    from quant.promotion.parity.words import lines
    from quant.report.parity import parity_page

    with ExitStack() as stack:
        pull = None if no_pull else _pull(stack, settings, sim)
        found = compare(settings.data, deployment, day, pull=pull)
    path, record = save(found, live_folder(settings.data, found.deployment))
    page = path.with_suffix(".html")
    put(page, parity_page(found.to_dict(), record))
    told = [*lines(found), "", f"page: {page}"]
    return Result({**found.to_dict(), "page": str(page)}, told, int(not found.ok))


def _pull(stack: ExitStack, settings: config.Settings, sim: bool) -> Pull:
    """Return what brings the bars. It connects when it is called: by then all else has been looked at."""

    def pull(found: Deployment, day: str) -> Fresh:
        from quant.ib.download import connect
        from quant.promotion.parity.parity import from_tws

        where = address(settings)
        host, port = where.host, where.port
        if sim:
            host, port = "127.0.0.1", stack.enter_context(simulator(settings.data))
        session = stack.enter_context(connect(host, port, where.client_id))
        output.note(f"TWS at {host}:{session.port}, {', '.join(session.accounts)}")
        fresh = from_tws(session, settings.data)(found, day)
        # The simulator's clock says nothing of bars that the data folder lacks.
        return replace(fresh, at=None) if sim else fresh

    return pull
