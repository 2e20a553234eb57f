"""`quant data list, show, check, export, remove`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from quant.app import config, output
from quant.app.command import FILE, as_of_option, command, data_option, range_options, series_options
from quant.app.output import Result
from quant.errors import DamagedData, SeriesNotFound

if TYPE_CHECKING:
    from quant.core.finding import Finding
    from quant.store import Series, Store

DAMAGED: Final = 4  # exit code: some bars cannot be read
ROWS: Final = 3  # bars shown of each end of a series
BRING: Final = (
    "quant data pull SYMBOL --bar B (from IB), or quant data import FILE --symbol S --bar B --tz ZONE"
)
BAR = click.option("--bar", metavar="SIZE", help="Only this bar size.")


def _store(data: Path | None) -> Store:
    from quant.store import Store

    return Store(config.load({"project.data": None if data is None else str(data)}).data)


def _chosen(store: Store, found: list[Series], symbol: str | None, bar: str | None) -> list[Series]:
    """Return the series of `found` that a person meant; raise the error that names what there is instead."""
    from quant.core.barsize import bar_size

    size = None if bar is None else bar_size(bar)
    exact = [s for s in found if s.symbol == symbol]
    same = (
        exact if exact else [s for s in found if symbol is None or s.symbol.casefold() == symbol.casefold()]
    )
    chosen = [s for s in same if size in (None, s.bar)]
    if not chosen and symbol is not None:
        return [store.find(symbol, bar if bar is not None else "1d")]
    if not chosen:
        mend = f"Bring bars in with: {BRING}"
        raise SeriesNotFound("any symbol" if bar is None else f"size {bar}", str(store.data), mend)
    return chosen


# ---------------------------------------------------------------- list, show
@command("list")
@data_option
def list_(data: Path | None) -> Result:
    """List the bars that there are."""
    store = _store(data)
    found, damaged = store.scan()
    document = {
        "data": store.data,
        "series": [s.to_dict() for s in found],
        "damaged": [str(e) for e in damaged],
    }
    rows = [
        (s.symbol, s.bar, s.what, "rth" if s.rth else "all", f"{s.rows:,}", *s.span.split(" … "), s.source)
        for s in found
    ]
    columns = ("symbol", "bar", "what", "hours", "bars", "from", "to", "source")
    parts: list[Any] = [f"{store.data}"]
    parts += [output.table(columns, rows, right="bars")] if rows else []
    parts += [f"damaged: {e}" for e in damaged]
    if not found:
        parts.append(f"There are no bars. Bring some in: {BRING}")
    return Result(document, parts, DAMAGED if damaged else 0)


@command("show")
@click.argument("symbol")
@BAR
@data_option
def show(symbol: str, bar: str | None, data: Path | None) -> Result:
    """Show what is known about the bars of SYMBOL: facts, first and last rows, coverage, requests, revisions."""
    store = _store(data)
    documents, parts = [], []
    for series in _chosen(store, store.series(), symbol, bar):
        facts, lines = _described(store, series)
        documents.append(facts)
        parts += [*lines, ""]
    return Result({"data": store.data, "series": documents}, parts[:-1])


def _described(store: Store, series: Series) -> tuple[dict[str, Any], list[str]]:
    from quant.store.series import iso

    manifest, bars, revisions = store.manifest(series), store.read(series), store.revisions(series)
    coverage = [[iso(a), iso(b)] for a, b in manifest.coverage]
    facts = {
        **series.to_dict(), "instrument": series.instrument.to_dict(), "fingerprint": bars.fingerprint,
        "coverage": coverage, "empty": [[iso(a), iso(b)] for a, b in manifest.empty],
        "files": [{"name": f.name, "rows": f.rows, "sha256": f.sha256} for f in manifest.files],
        "requests": list(manifest.requests), "revisions": revisions,
        "head": bars[:ROWS].frame().reset_index(), "tail": bars[-ROWS:].frame().reset_index(),
    }  # fmt: skip
    i = series.instrument
    tick = "unknown" if i.tick is None else f"{i.tick:g}"
    lines = [
        f"{series.name}  ({series.source})",
        f"  bars        {series.rows:,}, {series.span}",
        f"  instrument  {i.sec_type} at {i.exchange} in {i.currency}, multiplier {i.multiplier:g}, tick {tick}",
        f"  calendar    {i.calendar or 'unknown'}, {i.timezone}",
        f"  adjusted    {series.adjusted}",
        f"  folder      {series.folder}",
        *(f"  covers      {a} to {b}" for a, b in coverage),
        *(f"  empty       {a} to {b}" for a, b in facts["empty"]),
        *(f"  request     {r['at']} {r['kind']} {_asked(r)}".rstrip() for r in manifest.requests),
        f"  revisions   {_revised(revisions)}",
        f"  fingerprint {bars.fingerprint}",
        *("  " + line for line in _ends(bars)),
    ]
    return facts, lines


def _asked(request: dict[str, Any]) -> str:
    """Return what a request was for: its file, or how many requests to TWS."""
    if "file" in request:
        return str(request["file"])
    return f"{request['asked']:,} asked" if "asked" in request else ""


def _revised(revisions: Any) -> str:
    """Return how many bars gave way to others, and how many came where none was known to be."""
    came = int(revisions["close"].isna().sum())
    return f"{len(revisions) - came:,}" + (f", and {came:,} bars that came later" if came else "")


def _ends(bars: Any) -> list[str]:
    import pandas as pd

    frame = bars.frame() if len(bars) <= 2 * ROWS else pd.concat([bars[:ROWS].frame(), bars[-ROWS:].frame()])
    lines: list[str] = frame.to_string().splitlines()
    if len(bars) > 2 * ROWS:
        lines.insert(len(lines) - ROWS, "...")
    return lines


# ---------------------------------------------------------------- check
@command("check")
@click.argument("symbol", required=False)
@BAR
@data_option
def check(symbol: str | None, bar: str | None, data: Path | None) -> Result:
    """Look for missing and odd bars, of all series or of SYMBOL; nothing is changed.

    Ends with 1 where there are findings other than notes, and with 4 where bars cannot be read.
    """
    store = _store(data)
    found, damaged = store.scan()
    checked: list[tuple[str, dict[str, Any], list[Finding]]] = []
    broken = [str(e) for e in damaged]
    chosen = [] if damaged and not found else _chosen(store, found, symbol, bar)
    with output.progress(len(chosen)) as step:
        for series in chosen:
            step(f"checking {series.name}")
            try:
                checked.append(
                    (f"{series.name} ({series.source})", series.to_dict(), _findings(store, series))
                )
            except (DamagedData, SeriesNotFound) as e:
                broken.append(str(e))
    warned = any(f.level != "note" for _, _, findings in checked for f in findings)
    document = {
        "data": store.data,
        "series": [{**facts, "findings": [f.to_dict() for f in findings]} for _, facts, findings in checked],
        "damaged": broken,
    }
    parts = []
    for name, facts, findings in checked:
        verdict = "see below" if findings else "ok"
        parts.append(f"{name}: {facts['rows']:,} bars, {verdict}")
        parts += [f"  {f.level:<8} {output.times(f.message, f.count)}  [{f.code}]" for f in findings]
    parts += [f"damaged: {text}" for text in broken]
    return Result(document, parts, DAMAGED if broken else int(warned))


def _findings(store: Store, series: Series) -> list[Finding]:
    from quant.store.quality import check as look

    store.revisions(series)  # read, and so compared with its checksum, like the bars
    return look(store.read(series))


# ---------------------------------------------------------------- export, remove
@command("export")
@click.argument("symbol")
@click.argument("file", type=FILE)
@click.option("--bar", metavar="SIZE", default="1d", show_default=True, help="Bar size.")
@range_options
@as_of_option
@series_options
@click.option("--overwrite", is_flag=True, help="Replace FILE if it is there.")
@data_option
def export(
    symbol: str,
    file: Path,
    bar: str,
    start: str | None,
    end: str | None,
    as_of: str | None,
    what: str,
    rth: bool,
    source: str | None,
    overwrite: bool,
    data: Path | None,
) -> Result:
    """Write bars of SYMBOL to FILE: .csv (starts in exchange time) or .parquet (starts in UTC)."""
    from quant.store import bars as read
    from quant.store.export import export as write

    if file.exists() and not overwrite:
        raise click.UsageError(f"{file} is there already; give another name, or --overwrite to replace it.")
    where = _store(data).data
    found = read(symbol, bar, start, end, what=what, rth=rth, source=source, as_of=as_of, data=where)
    write(found, file)
    document = {"file": file, "symbol": found.symbol, "bar": found.bar, "rows": len(found)}
    return Result(document, [f"written  {file}: {found!r}"])  # fmt: skip


@command("remove")
@click.argument("symbol")
@click.option("--bar", metavar="SIZE", required=True, help="Bar size.")
@series_options
@click.option("--yes", is_flag=True, help="Do not ask.")
@data_option
def remove(
    symbol: str, bar: str, what: str, rth: bool, source: str | None, yes: bool, data: Path | None
) -> Result:
    """Remove the bars of SYMBOL of one size, with their history."""
    store = _store(data)
    series = store.find(symbol, bar, what, rth, source)
    agreed = output.confirm(f"Remove {series.name} of {series.source}, {series.rows:,} bars?", yes)
    if agreed:
        store.remove(series)
    document = {**series.to_dict(), "removed": agreed}
    return Result(
        document, [f"removed  {series.name} ({series.source})" if agreed else "nothing was removed"]
    )
