"""`quant rehearse`: stored bars traded as live, at a simulated TWS, and compared with the backtest."""

from __future__ import annotations

from pathlib import Path

import click

from quant.app import config
from quant.app.backtest import pair, parameters, with_origin
from quant.app.command import FILE, command, data_option, range_options, series_options
from quant.app.output import Result
from quant.errors import ParameterError


@command("rehearse")
@click.argument("strategy")
@click.argument("symbols", nargs=-1, required=True, metavar="SYMBOL...")
@click.option("--bar", default="1d", show_default=True, metavar="SIZE", help="Bar size: 1m, 5m, 1h, 1d, ...")
@range_options
@click.option("-p", "params", multiple=True, metavar="NAME=VALUE", help="Set a parameter; may be repeated.")
@click.option("--cash", metavar="MONEY", help="Capital of the deployment.")
@click.option("--costs", help="none, percent:0.05, ib-fixed or ib-tiered.")
@click.option("--sizing", help="percent:95, cash:10000, shares:100 or risk:1.")
@click.option(
    "--start-rule",
    default="next-change",
    show_default=True,
    help="next-change as live starts, or first-target.",
)
@click.option(
    "--faults",
    type=FILE,
    metavar="FILE",
    help="A script of faults of the simulated TWS (TOML), or builtin: the one that promotion plays.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of what is drawn for faults."
)
@series_options
@data_option
def rehearse(
    strategy: str,
    symbols: tuple[str, ...],
    bar: str,
    start: str | None,
    end: str | None,
    params: tuple[str, ...],
    cash: str | None,
    costs: str | None,
    sizing: str | None,
    start_rule: str,
    faults: Path | None,
    seed: int,
    what: str,
    rth: bool,
    source: str | None,
    data: Path | None,
) -> Result:
    """Trade STRATEGY over stored bars as live, at a simulated TWS, and compare with the backtest to the cent.

    Ends with 1 where live differs, or, with --faults, where a difference has no known cause or our books are not
    TWS's. Lists what the limits of a deployment would have refused; they refuse nothing here.

    \b
      quant rehearse macd SPY --bar 1m --from 2020-12-15 --to 2020-12-15
      quant rehearse macd SPY --bar 1m --faults builtin
      quant rehearse macd SPY --bar 1m --faults faults.toml --json
    """  # fmt: skip
    words = [pair(p) for p in params]
    given = {"backtest.cash": cash, "backtest.costs": costs, "backtest.sizing": sizing}
    settings = config.load({**given, "project.data": None if data is None else str(data)})

    from quant.promotion import rehearse as run_rehearsal
    from quant.promotion.rehearsal import BUILTIN, FAULTS
    from quant.store import bars
    from quant.strategy import strategy as find_strategy

    cls = find_strategy(strategy)
    chosen = parameters(cls, strategy, settings, words)
    feeds = [bars(s, bar, start, end, what=what, rth=rth, source=source, data=settings.data) for s in symbols]
    section = settings.section("backtest")
    script = () if faults is None else FAULTS if str(faults) == BUILTIN else faults
    try:
        found = run_rehearsal(
            cls, feeds, params=chosen, capital=section["cash"], costs=section["costs"], sizing=section["sizing"],
            start_rule=start_rule, faults=script, seed=seed,
        )  # fmt: skip
    except ParameterError as e:
        raise with_origin(e, settings, strategy) from None
    return Result(found.to_dict(), [str(found)], int(not found.ok))
