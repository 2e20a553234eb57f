"""`quant data import`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from quant.app import config, output
from quant.app.command import command, data_option
from quant.app.output import Result

STAMP = click.Choice(["start", "end"])
ADJUSTED = click.Choice(["none", "splits", "all", "unknown"])


@command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--symbol", required=True, help="Whose bars they are.")
@click.option("--bar", required=True, metavar="SIZE", help="Length of a bar: 1m, 5m, 1h, 1d, ...")
@click.option(
    "--tz", metavar="ZONE", help="Zone of the file's times, e.g. America/New_York; intraday needs it."
)
@click.option(
    "--calendar", metavar="NAME", help="Exchange calendar, e.g. XNYS: session closes, missing bars."
)
@click.option(
    "--stamp", type=STAMP, default="start", show_default=True, help="Whether a time is a bar's start or end."
)
@click.option(
    "--adjusted", type=ADJUSTED, default="unknown", show_default=True, help="For what prices are adjusted."
)
@click.option(
    "--columns", metavar="NAMES", help='"close=Last,time=Gmt time", or names for a file without a header.'
)
@click.option(
    "--time-format", metavar="FORMAT", help='Form of the times, as strptime has it: "%d.%m.%Y %H:%M".'
)
@click.option("--sort", is_flag=True, help="Put the rows in order of time.")
@click.option("--drop-duplicates", is_flag=True, help="Of rows with the same time keep the last.")
@click.option("--no-volume", is_flag=True, help="The file has no volume: store 0.")
@click.option("--exchange", default="SMART", show_default=True, help="IB's name of the exchange.")
@click.option("--currency", default="USD", show_default=True, help="Currency of the prices.")
@click.option("--sec-type", default="STK", show_default=True, help="IB's security type: STK, FUT, CASH, IND.")
@click.option("--tick", type=float, help="Least price step; ticks:n slippage needs it.")
@click.option(
    "--multiplier", type=float, default=1.0, show_default=True, help="Currency per price unit and unit."
)
@click.option("--what", default="TRADES", show_default=True, help="IB's whatToShow.")
@click.option("--rth/--all-hours", default=True, help="Regular trading hours only, or all.  [--rth]")
@click.option("--source", default="import", show_default=True, help="Name under which the bars are kept.")
@data_option
def import_(file: Path, columns: str | None, data: Path | None, **options: Any) -> Result:
    """Import bars from FILE, a CSV (also .gz) or Parquet file.

    A file that would make a wrong bar is refused with its lines named, and nothing is written.

    \b
      quant data import spy.csv --symbol SPY --bar 1d --calendar XNYS
      quant data import spy1m.csv --symbol SPY --bar 1m --tz America/New_York --calendar XNYS
    """  # fmt: skip
    from quant.core import clock
    from quant.store import Store
    from quant.store.columns import parse_columns
    from quant.store.importer import import_file

    settings = config.load({"project.data": None if data is None else str(data)})
    named = None if columns is None else parse_columns(columns)
    done = import_file(Store(settings.data), file, columns=named, now=clock.now(), **options)
    written, bars = done.written, done.bars
    document = {
        "file": file, "symbol": bars.symbol, "bar": bars.bar, "source": bars.source, "rows": len(bars),
        "first": bars.session[0], "last": bars.session[-1], "folder": written.folder,
        "added": written.added, "unchanged": written.unchanged, "replaced": written.replaced,
        "findings": [f.to_dict() for f in done.findings],
    }  # fmt: skip
    counts = f"{written.added:,} added, {written.unchanged:,} unchanged, {written.replaced:,} replaced"
    told = "(kept as revisions: quant data show)" if written.replaced else ""
    return Result(
        document,
        [
            f"read     {file}: {bars!r}",
            f"written  {written.folder}: {counts} {told}".rstrip(),
            *(f"{f.level:<8} {output.times(f.message, f.count)}" for f in done.findings),
            f"next     quant backtest STRATEGY {bars.symbol} --bar {bars.bar}",
        ],
    )
