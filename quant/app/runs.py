"""`quant runs list, show, diff, again, report, export, prune`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from quant.app import config, output
from quant.app.backtest import document, shown
from quant.app.command import command, data_option
from quant.app.output import Result


def _data(data: Path | None) -> Path:
    return config.load({"project.data": None if data is None else str(data)}).data


@command("list")
@click.option("--last", type=click.IntRange(1), metavar="N", help="Only the newest N.")
@data_option
def list_(last: int | None, data: Path | None) -> Result:
    """List the saved backtests, oldest first."""
    from quant.backtest import runs

    folder = _data(data)
    found = runs(folder)
    found = found if last is None else found.tail(last)
    rows = output.plain(found)
    parts: list[Any] = [_table(rows)] if rows else ["There are no runs. Make one: quant backtest macd SPY"]
    return Result({"data": folder, "runs": rows}, parts)


def _table(rows: list[dict[str, Any]]) -> Any:
    columns = ("run", "params", "bars", "return", "Sharpe", "drawdown", "trades")
    cells = [
        (
            r["run"], r.get("params") or r["strategy"], r.get("bars") or "", output.percent(r.get("total_return")),
            output.number(r.get("sharpe")), output.percent(r.get("max_drawdown")),
            output.number(r.get("trades"), ".0f"),
        )
        for r in rows
    ]  # fmt: skip
    return output.table(columns, cells, right="return Sharpe drawdown trades")


@command("show")
@click.argument("run")
@click.option("--trades", is_flag=True, help="All trades too.")
@click.option("--orders", is_flag=True, help="All orders too.")
@click.option("--fills", is_flag=True, help="All fills too.")
@data_option
def show(run: str, trades: bool, orders: bool, fills: bool, data: Path | None) -> Result:
    """Show a saved backtest. RUN is its folder, its name, or a part of the name that only it has."""
    from quant.backtest import load_run

    found = load_run(run, _data(data))
    wanted = {"trades": trades, "orders": orders, "fills": fills}
    tables = [name for name, asked in wanted.items() if asked]
    return Result(document(found, tables), shown(found, tables, last=None))


@command("diff")
@click.argument("a")
@click.argument("b")
@data_option
def diff(a: str, b: str, data: Path | None) -> Result:
    """Tell runs A and B apart: settings, code, data, figures, and the first fill that differs.

    Ends with 0 if their results are equal to the last bit, with 1 if they differ.
    """
    from quant.backtest import compare

    found = compare(a, b, _data(data))
    return Result({"a": a, "b": b, **found.to_dict()}, [repr(found)], int(not found.same))


@command("again")
@click.argument("run")
@data_option
def again(run: str, data: Path | None) -> Result:
    """Run RUN again: on its bars as they were known then, with its settings and its own copy of the strategy.

    Ends with 0 if the results are equal to the last bit, with 1 if they differ. Nothing is saved.
    """
    from quant.backtest import load_run

    folder = _data(data)
    found = load_run(run, folder)
    compared = found.again(folder)
    return Result({"run": found.folder, **compared.to_dict()}, [repr(compared)], int(not compared.same))


@command("report")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--to", type=click.Path(path_type=Path), metavar="FILE", help="The page to write.")
@data_option
def report(runs: tuple[str, ...], to: Path | None, data: Path | None) -> Result:
    """Write the page of a run, or of several runs side by side: one HTML file that needs no network.

    Without --to the page of one run is report.html in its folder. Several runs need --to.

    \b
      quant runs report macd_cross
      quant runs report 0ef4b917 c364ae1b --to compared.html
    """  # fmt: skip
    from quant.backtest import load_run
    from quant.backtest.reporting import compare_report

    if len(runs) > 1 and to is None:
        raise click.UsageError("Several runs make one page: name it with --to FILE.")
    folder = _data(data)
    found = [load_run(name, folder) for name in runs]
    path = found[0].report(to) if to is None or len(found) == 1 else compare_report(found, to)
    return Result({"runs": list(runs), "report": path}, [f"written {output.folder_text(path)}"])


@command("export")
@click.argument("run")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@data_option
def export(run: str, folder: Path, data: Path | None) -> Result:
    """Write a run's trades, orders, fills, account and returns as CSV files into DIR. Times are UTC."""
    from quant.backtest import load_run

    paths = load_run(run, _data(data)).to_csv(folder)
    return Result({"run": run, "files": paths}, [f"written {output.folder_text(p)}" for p in paths])


@command("prune")
@click.option(
    "--keep", type=click.IntRange(0), required=True, metavar="N", help="How many of the newest stay."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@data_option
def prune(keep: int, yes: bool, data: Path | None) -> Result:
    """Remove all but the newest N saved backtests."""
    from quant.backtest import prune as remove
    from quant.backtest import runs

    folder = _data(data)
    old = max(len(runs(folder)) - keep, 0)
    agreed = old > 0 and output.confirm(f"Remove the {old} oldest runs of {folder / 'runs'}?", yes)
    removed = [f.name for f in remove(folder, keep)] if agreed else []
    return Result({"data": folder, "removed": removed, "kept": keep}, [f"removed {len(removed)} runs"])
