"""`quant runs list, show, diff, tag, note, again, report, export, prune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quant.app import config, output
from quant.app.backtest import document, shown
from quant.app.command import command, data_option
from quant.app.output import Result

if TYPE_CHECKING:
    from quant.backtest.notes import Notes


def _data(data: Path | None) -> Path:
    return config.load({"project.data": None if data is None else str(data)}).data


@command("list")
@click.option("--last", type=click.IntRange(1), metavar="N", help="Only the newest N.")
@click.option("--tag", metavar="TAG", help="Only runs with this tag.")
@click.option("--symbol", metavar="SYMBOL", help="Only runs over this symbol.")
@click.option("--strategy", metavar="NAME", help="Only runs of this strategy: macd, or its class.")
@data_option
def list_(
    last: int | None, tag: str | None, symbol: str | None, strategy: str | None, data: Path | None
) -> Result:
    """List the saved backtests, oldest first. What is in the folders counts; there is no index to rebuild."""
    from quant.backtest import runs

    folder = _data(data)
    found = runs(folder, tag=tag, symbol=symbol, strategy=strategy)
    found = found if last is None else found.tail(last)
    rows = output.plain(found)
    asked = any(given is not None for given in (tag, symbol, strategy))
    none = "No run is like that." if asked else "There are no runs. Make one: quant backtest macd SPY"
    documents = [{**row, "tags": row["tags"].split(", ") if row["tags"] else []} for row in rows]
    return Result({"data": folder, "runs": documents}, _listed(rows) if rows else [none])


def _listed(rows: list[dict[str, Any]]) -> list[Any]:
    edited = [f"edited since it was saved: {r['run']}: {r['edited']}" for r in rows if r["edited"]]
    return [_table(rows), *edited]


def _table(rows: list[dict[str, Any]]) -> Any:
    said = [(name, key) for name, key in (("tags", "tags"), ("note", "note")) if any(r[key] for r in rows)]
    columns = ("run", "params", "bars", "return", "Sharpe", "drawdown", "trades", *(name for name, _ in said))
    cells = [
        (
            r["run"], r.get("params") or r["strategy"], r.get("bars") or "", output.percent(r.get("total_return")),
            output.number(r.get("sharpe")), output.percent(r.get("max_drawdown")),
            output.number(r.get("trades"), ".0f"), *(r[key] for _, key in said),
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
    from quant.backtest.folder import find_run
    from quant.backtest.notes import read_notes
    from quant.backtest.seal import edited

    path = find_run(run, _data(data))
    said = read_notes(path)
    found = load_run(path)
    wanted = {"trades": trades, "orders": orders, "fills": fills}
    tables = [name for name, asked in wanted.items() if asked]
    more = {**_said(said), "edited": edited(path)}
    return Result({**document(found, tables), **more}, [*shown(found, tables, last=None), *_remarks(said)])


def _said(said: Notes) -> dict[str, Any]:
    return {"tags": list(said.tags), "notes": [{"at": n.at, "text": n.text} for n in said.notes]}


def _remarks(said: Notes) -> list[str]:
    """Return tags and notes as lines."""
    tags = [f"  tags        {', '.join(said.tags)}"] if said.tags else []
    return [*tags, *(f"  note        {n.text}  ({n.at[:10]})" for n in said.notes)]


@command("diff")
@click.argument("a")
@click.argument("b")
@data_option
def diff(a: str, b: str, data: Path | None) -> Result:
    """Tell runs A and B apart: settings, code, data, figures, and the first order and fill that differ.

    Ends with 0 if their results are equal to the last bit, with 1 if they differ.
    """
    from quant.backtest import compare, load_run
    from quant.backtest.seal import edited

    folder = _data(data)
    first, second = load_run(a, folder), load_run(b, folder)
    found = compare(first, second)
    seals = {one.folder.name: edited(one.folder) for one in (first, second) if one.folder is not None}
    told = [f"  edited    {name}: {', '.join(what)}" for name, what in seals.items() if what]
    document = {"a": a, "b": b, **found.to_dict(), "edited": {k: v for k, v in seals.items() if v}}
    return Result(document, [repr(found), *told], int(not found.same))


# ---------------------------------------------------------------- tags and notes
@command("tag")
@click.argument("run")
@click.argument("tags", nargs=-1, required=True, metavar="TAG...")
@click.option("--remove", is_flag=True, help="Take these tags away.")
@data_option
def tag(run: str, tags: tuple[str, ...], remove: bool, data: Path | None) -> Result:
    """Give a saved backtest tags. They lie beside its results, and `prune` leaves a run with a tag alone.

    \b
      quant runs tag macd_cross candidate
      quant runs list --tag candidate
    """  # fmt: skip
    from quant.backtest import notes
    from quant.backtest.folder import find_run

    path = find_run(run, _data(data))
    found = notes.tag(path, tags, remove=remove)
    return Result({"run": path.name, **_said(found)}, [path.name, *_remarks(found)])


@command("note")
@click.argument("run")
@click.argument("text", required=False)
@click.option("--remove", is_flag=True, help="Take all its notes away.")
@data_option
def note(run: str, text: str | None, remove: bool, data: Path | None) -> Result:
    """Write a note to a saved backtest; without TEXT show its notes."""
    from quant.backtest import notes
    from quant.backtest.folder import find_run
    from quant.core import clock

    if remove and text is not None:
        raise click.UsageError("--remove takes all notes away; it goes without TEXT.")
    path = find_run(run, _data(data))
    if remove:
        found = notes.forget_notes(path)
    else:
        found = notes.read_notes(path) if text is None else notes.note(path, text, clock.now())
    return Result({"run": path.name, **_said(found)}, [path.name, *_remarks(found)])


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
    """Remove all but the newest N saved backtests. Those with a tag stay, and are not counted."""
    from quant.backtest import prune as remove
    from quant.backtest.folder import prunable

    folder = _data(data)
    old = len(prunable(folder, keep))
    agreed = old > 0 and output.confirm(f"Remove the {old} oldest runs of {folder / 'runs'}?", yes)
    removed = [f.name for f in remove(folder, keep)] if agreed else []
    return Result({"data": folder, "removed": removed, "kept": keep}, [f"removed {len(removed)} runs"])
