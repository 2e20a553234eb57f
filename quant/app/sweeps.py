"""`quant sweeps list, show, report, run, remove`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from quant.app import config, output
from quant.app.backtest import _next, document, shown
from quant.app.command import command, data_option
from quant.app.output import Result
from quant.app.sweep import ROWS, Row, check_metric, sweep_document


def _data(data: Path | None) -> Path:
    return config.load({"project.data": None if data is None else str(data)}).data


def _by(metric: str | None) -> str:
    """Return the figure that was asked for, by default the one of the settings."""
    found = str(config.load()["sweep.metric"]) if metric is None else metric
    check_metric(found)
    return found


def by_option(function: Any) -> Any:
    """Add --by."""
    return click.option("--by", "metric", metavar="METRIC", help="Figure that ranks the rows [sharpe].")(
        function
    )


@command("list")
@data_option
def list_(data: Path | None) -> Result:
    """List the saved sweeps, oldest first."""
    from quant.research.saved import sweeps

    folder = _data(data)
    rows = output.plain(sweeps(folder))
    none = "There are no sweeps. Make one: quant sweep macd SPY -g fast=5:20:5 -g slow=20,30,40"
    return Result({"data": folder, "sweeps": rows}, [_table(rows)] if rows else [none])


def _table(rows: list[dict[str, Any]]) -> Any:
    columns = ("sweep", "bars", "parameters", "combinations", "state", "Sharpe")
    cells = [
        (
            r["sweep"], r["bars"] or r["strategy"], r["parameters"] or "", f"{r['combinations']:,}",
            "done" if r["done"] else f"{r['held']:,} chunks, not finished", output.number(r["sharpe"]),
        )
        for r in rows
    ]  # fmt: skip
    return output.table(columns, cells, right="combinations Sharpe")


@command("show")
@click.argument("sweep")
@click.option(
    "--rows", type=click.IntRange(1), default=ROWS, show_default=True, help="Best rows that are shown."
)
@click.option("--all", "every", is_flag=True, help="All rows, in the order of the grid.")
@by_option
@data_option
def show(sweep: str, rows: int, every: bool, metric: str | None, data: Path | None) -> Result:
    """Show a saved sweep. SWEEP is its folder, its name, or a part of the name that only it has."""
    from quant.research.saved import load_sweep

    by = _by(metric)
    found = load_sweep(sweep, _data(data))
    parts = [found.text(by, rows)]
    if every:
        parts += ["", output.frame_text(found.table.reset_index(names="row"))]
    return Result(sweep_document(found, by, None if every else rows), parts)


@command("report")
@click.argument("sweep")
@click.option("--to", type=click.Path(path_type=Path), metavar="FILE", help="The page to write.")
@by_option
@data_option
def report(sweep: str, to: Path | None, metric: str | None, data: Path | None) -> Result:
    """Write the page of a saved sweep: one HTML file that needs no network.

    Without --to it is report.html in the sweep's folder.
    """
    from quant.research.saved import load_sweep

    by = _by(metric)
    path = load_sweep(sweep, _data(data)).report(to, metric=by)
    return Result({"sweep": sweep, "report": path}, [f"written {output.folder_text(path)}"])


@command("run")
@click.argument("sweep")
@click.option("--row", type=Row(), default="best", show_default=True, help="A row's number, or the best one.")
@by_option
@data_option
def run(sweep: str, row: int | str, metric: str | None, data: Path | None) -> Result:
    """Make a saved backtest of one combination: with the strategy and the bars of the sweep, if they are the same."""
    from quant.research.saved import load_sweep

    by = _by(metric)
    found = load_sweep(sweep, _data(data)).run(row, metric=by)
    return Result(document(found, []), [*shown(found, []), *_next(found)])


@command("remove")
@click.argument("sweeps", nargs=-1, required=True, metavar="SWEEP...")
@click.option("--yes", is_flag=True, help="Do not ask.")
@data_option
def remove(sweeps: tuple[str, ...], yes: bool, data: Path | None) -> Result:
    """Remove saved sweeps. What they tried stays counted: a trial was made, whether its rows are kept or not."""
    from quant.research.chunks import find_sweep
    from quant.research.saved import remove_sweep

    folder = _data(data)
    # All of them before any is gone, each once.
    found = list(dict.fromkeys(find_sweep(name, folder) for name in sweeps))
    agreed = output.confirm(f"Remove {', '.join(f.name for f in found)}?", yes)
    removed = [remove_sweep(f).name for f in found] if agreed else []
    told = [f"removed {name}" for name in removed] or ["removed nothing"]
    return Result({"data": folder, "removed": removed}, told)
