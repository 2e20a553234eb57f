"""`quant check`, and how a check is shown."""

from __future__ import annotations

from pathlib import Path

import click

from quant.app import config
from quant.app.backtest import pair, parameters, with_origin
from quant.app.command import command, data_option, range_options, series_options
from quant.app.output import Result
from quant.errors import ParameterError


@command("check")
@click.argument("strategy")
@click.argument("symbols", nargs=-1, required=True, metavar="SYMBOL...")
@click.option("--bar", default="1d", show_default=True, metavar="SIZE", help="Bar size: 1m, 5m, 1h, 1d, ...")
@range_options
@click.option("-p", "params", multiple=True, metavar="NAME=VALUE", help="Set a parameter; may be repeated.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the random cuts.")
@series_options
@data_option
def check(
    strategy: str,
    symbols: tuple[str, ...],
    bar: str,
    start: str | None,
    end: str | None,
    params: tuple[str, ...],
    seed: int,
    what: str,
    rth: bool,
    source: str | None,
    data: Path | None,
) -> Result:
    """Check STRATEGY for look-ahead and other faults on bars of the store; ends with 1 where it finds one.

    STRATEGY is a file of strategies/ ("macd") or "package.module:Class". Signals are computed again on shorter
    histories and with other futures, on histories that start later, and in a second process; every engine
    must give the same fills, and parameters at their edges must be refused or work.

    \b
      quant check macd SPY
      quant check opening_range SPY --bar 1m -p minutes=15 --json
    """  # fmt: skip
    words = [pair(p) for p in params]
    settings = config.load({"project.data": None if data is None else str(data)})

    from quant.research.check import check as run_check
    from quant.store import bars
    from quant.strategy import strategy as find_strategy

    cls = find_strategy(strategy)
    chosen = parameters(cls, strategy, settings, words)
    feeds = [bars(s, bar, start, end, what=what, rth=rth, source=source, data=settings.data) for s in symbols]
    try:
        found = run_check(cls, feeds, chosen, seed=seed)
    except ParameterError as e:
        raise with_origin(e, settings, strategy) from None
    return Result(found.to_dict(), [str(found)], int(not found.ok))
