"""`quant sweep`, how a sweep is shown, and the options that `quant walkforward` shares."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from quant.app import config, output
from quant.app.backtest import pair, parameters, with_origin
from quant.app.command import command, data_option, range_options, series_options
from quant.app.output import Result
from quant.errors import ConfigError, ParameterError, WriteFailed

if TYPE_CHECKING:
    from distributed import Client

    from quant.core.bars import Bars
    from quant.research.estimate import Estimate
    from quant.research.result import Sweep

TOLD_S: Final = 2.0  # a sweep that takes longer is announced with its estimate
ROWS: Final = 5  # of the best that are shown


class Row(click.ParamType[int | str]):
    """A row's number, or "best"."""

    name = "N|best"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Return the row."""
        text = str(value)
        if text != "best" and not text.isdecimal():
            self.fail(f'{text!r}: write a row\'s number or "best"', param, ctx)
        return text if text == "best" else int(text)


def search_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what says which combinations are run, by whom, and on what account."""
    for option in (
        click.option("--start-rule", help="first-target, or next-change as live starts."),
        click.option("--borrow", metavar="RATE", help="Yearly rate on shorts, 0.03 = 3 %."),
        click.option("--slippage", help="percent:0.02 or ticks:1."),
        click.option("--sizing", help="percent:95, cash:10000, shares:100 or risk:1."),
        click.option("--costs", help="none, percent:0.05, ib-fixed or ib-tiered."),
        click.option("--cash", metavar="MONEY", help="Starting cash."),
        click.option("--no-save", is_flag=True, help="Keep nothing on disk, so nothing to go on from."),
        click.option("--cluster", metavar="ADDRESS", help="A dask scheduler, tcp://host:8786 (extra cluster)."),
        click.option("--workers", metavar="N", help="Threads or processes at a time [one a core]."),
        click.option("--engine", help="auto, compiled, fast or plain; the same bits."),
        click.option("--metric", metavar="NAME", help="What the best is chosen by [sharpe]."),
        click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the samples."),
        click.option("--samples", type=click.IntRange(1), metavar="N", help="So many random combinations."),
        click.option("-p", "params", multiple=True, metavar="NAME=VALUE", help="Set a parameter that does not vary."),
        click.option(
            "-g", "grid", multiple=True, required=True, metavar="NAME=VALUES",
            help="Values of a parameter: 5,10,20 or first:last:step; may be repeated.",
        ),
        click.option("--bar", default="1d", show_default=True, metavar="SIZE", help="Bar size: 1m, 5m, 1h, 1d, ..."),
    ):  # fmt: skip
        function = option(function)
    return function


@command("sweep")
@click.argument("strategy")
@click.argument("symbols", nargs=-1, required=True, metavar="SYMBOL...")
@search_options
@range_options
@click.option("--joint", is_flag=True, help="All symbols on one account; else a sweep of each.")
@click.option("--search", type=click.Choice(("grid", "optuna")), default="grid", show_default=True,
              help="optuna picks the --samples by what the ones before gave.")  # fmt: skip
@click.option("--verify", metavar="auto|N", help="Combinations run again in backtrader [auto]; 0 for none.")
@click.option(
    "--rows", type=click.IntRange(1), default=ROWS, show_default=True, help="Best rows that are shown."
)
@click.option("--estimate", "only_estimate", is_flag=True, help="Say what it will take, and end.")
@click.option("--report", is_flag=True, help="Write report.html into the sweep's folder too.")
@click.option("--save-run", type=Row(), help="Make a saved backtest of a row too.")
@series_options
@data_option
def sweep(
    strategy: str,
    symbols: tuple[str, ...],
    bar: str,
    start: str | None,
    end: str | None,
    grid: tuple[str, ...],
    params: tuple[str, ...],
    cluster: str | None,
    no_save: bool,
    joint: bool,
    rows: int,
    only_estimate: bool,
    report: bool,
    save_run: int | str | None,
    what: str,
    rth: bool,
    source: str | None,
    data: Path | None,
    **given: Any,
) -> Result:
    """Run STRATEGY with every combination of values, and say what the best of them proves.

    A sweep is kept by what it is: stopped and called again, it goes on where it was. Several SYMBOLs are
    a sweep each, or with --joint one account.

    \b
      quant sweep macd SPY -g fast=5:20:5 -g slow=20,30,40
      quant sweep macd SPY MSFT -g fast=5:20 -g slow=20:60:2 -p signal=9 --samples 200 --report
    """  # fmt: skip
    if no_save and (report or save_run is not None):
        raise click.UsageError("--report and --save-run need the sweep's folder, so leave --no-save out.")
    settings, chosen = choices(given, data)
    cls, values = strategy_and_grid(strategy, settings, grid, params)
    feeds = bars_of(symbols, bar, start, end, what=what, rth=rth, source=source, data=settings.data)
    bars: Any = list(feeds.values()) if joint else feeds if len(feeds) > 1 else feeds[symbols[0]]
    with told(settings, strategy):
        _check_early(chosen)
        expected = _estimate(cls, bars, values, chosen, None if no_save else settings.data)
        if only_estimate:
            return Result(dataclasses.asdict(expected), [str(expected)])
        if expected.seconds > TOLD_S:
            output.note(f"quant: {expected}")
        found = _run(cls, bars, values, chosen, cluster, None if no_save else settings.data)
    metric = chosen["metric"]
    document, parts, code = sweep_document(found, metric, rows), [found.text(metric, rows)], 0
    if report:
        code = _report(found, metric, document, parts)
    if save_run is not None:
        run = found.run(save_run, metric=metric)
        document["run"] = None if run.folder is None else run.folder.name
        parts.append(f"run: quant runs show {document['run']}")
    return Result(document, [*parts, *_next(found)], code)


def _run(
    cls: type, bars: Any, grid: dict[str, Any], chosen: dict[str, Any], cluster: str | None, data: Path | None
) -> Sweep:
    from quant.research.sweep import sweep as run_sweep

    with at_work("sweep", data is not None) as progress, client_of(cluster) as client:
        return run_sweep(
            cls, bars, grid, **chosen, client=client, save=data is not None, data=data, progress=progress
        )


def _estimate(
    cls: type, bars: Any, grid: dict[str, Any], chosen: Mapping[str, Any], data: Path | None
) -> Estimate:
    from quant.research.estimate import estimate, rate_of, together
    from quant.research.sweep import plan_sweep

    money = {name: chosen[name] for name in ("cash", "costs", "sizing", "slippage", "borrow", "start_rule")}
    how = {name: chosen[name] for name in ("engine", "samples", "seed")}
    every = bars.values() if isinstance(bars, Mapping) else [bars]
    plans = [plan_sweep(cls, b, grid, money, **how) for b in every]
    found = [estimate(plans[0], chosen["workers"], data=data)]
    rate = rate_of(plans[0]) if len(plans) > 1 else None
    return together([*found, *(estimate(p, chosen["workers"], data=data, rate=rate) for p in plans[1:])])


def _check_early(chosen: dict[str, Any]) -> None:
    """Refuse what q.sweep would refuse, before anything is timed for it."""
    from quant.research.sweep import check_arguments

    check_metric(chosen["metric"])
    chosen["verify"] = _verify(chosen["verify"])
    check_arguments(chosen["engine"], chosen["workers"], chosen["verify"], chosen["search"])
    if chosen["search"] == "optuna" and chosen["samples"] is None:
        raise click.UsageError("--search optuna needs --samples N: how many combinations it may try.")


def _verify(text: str) -> str | int:
    if text == "auto":
        return text
    if text.isdecimal():
        return int(text)
    raise ParameterError("verify", text, "is auto, or how many combinations are run again, 0 for none")


# ---------------------------------------------------------------- what the words mean
def choices(given: Mapping[str, Any], data: Path | None) -> tuple[config.Settings, dict[str, Any]]:
    """Return the settings, and the arguments of q.sweep that they and the command line give.

    given: options by name; those of [sweep] and [backtest] are settings, the others go on as they are.
    """
    of = {name: f"sweep.{name}" for name in ("engine", "workers", "verify", "metric") if name in given}
    money = ("cash", "costs", "sizing", "slippage", "borrow", "start_rule")
    of |= {name: f"backtest.{name}" for name in money}
    layers = {full: given[name] for name, full in of.items()}
    settings = config.load({**layers, "project.data": None if data is None else str(data)})
    rest = {name: value for name, value in given.items() if name not in of}
    return settings, {**{name: settings[full] for name, full in of.items()}, **rest}


def strategy_and_grid(
    name: str, settings: config.Settings, grid: tuple[str, ...], params: tuple[str, ...]
) -> tuple[type, dict[str, list[Any]]]:
    """Return the strategy's class and the values of each parameter, those that do not vary included."""
    given, fixed = [pair(text) for text in grid], [pair(text) for text in params]
    names = [n for n, _ in given]
    for n in names:
        if names.count(n) > 1 or n in (f for f, _ in fixed):
            raise click.UsageError(f"{n} is given twice; write all its values in one -g.")

    from quant.research.grid import parse_values
    from quant.strategy import defaults
    from quant.strategy import strategy as find_strategy

    cls = find_strategy(name)
    known = defaults(cls)
    values = {}
    for n, text in given:
        if n not in known:
            has = config.nearest(n, known) if known else "it has none"
            raise ParameterError(n, text, f"{cls.__name__} has no such parameter; {has}")
        values[n] = parse_values(n, text, known[n])
    constant = {n: [v] for n, v in parameters(cls, name, settings, fixed).items() if n not in values}
    return cls, {**values, **constant}


def bars_of(
    symbols: tuple[str, ...], bar: str, start: str | None, end: str | None, **series: Any
) -> dict[str, Bars]:
    """Return the bars of each symbol."""
    twice = next((s for s in symbols if symbols.count(s) > 1), None)
    if twice is not None:
        raise click.UsageError(f"{twice} is given twice.")

    from quant.store import bars

    return {symbol: bars(symbol, bar, start, end, **series) for symbol in symbols}


def check_metric(metric: str) -> None:
    """Raise ParameterError for a figure that there is not; before anything has run for it."""
    from quant.metrics import NAMES

    if metric not in NAMES:
        raise ParameterError("metric", metric, f"no such figure; {config.nearest(metric, list(NAMES))}")


@contextmanager
def told(settings: config.Settings, strategy: str) -> Iterator[None]:
    """Let an error about a setting name the file and line that set it."""
    try:
        yield
    except ParameterError as e:
        setting = settings.values.get(f"sweep.{e.name}")
        elsewhere = setting is not None and setting.origin not in (config.DEFAULT, config.COMMAND_LINE)
        if setting is not None and elsewhere and str(setting.value) == str(e.value):
            raise ConfigError(setting.origin, f"sweep.{e.name} = {e.value!r}", e.reason) from None
        raise with_origin(e, settings, strategy) from None


# ---------------------------------------------------------------- while it runs
@contextmanager
def at_work(what: str, kept: bool) -> Iterator[Callable[[int, int], None]]:
    """Give a progress bar on stderr, and say after Ctrl-C how to go on."""
    from quant.research.progress import bar

    try:
        with bar(what) as progress:
            yield progress
    except KeyboardInterrupt:
        if kept:
            output.note("stopped; what was done is kept: the same command again goes on from there")
        raise


@contextmanager
def client_of(address: str | None) -> Iterator[Client | None]:
    """Give a client of the cluster at the address, None for none, and close it."""
    if address is None:
        yield None
        return
    from quant.research.workers.cluster import connect

    client = connect(address)
    try:
        yield client
    finally:
        client.close()


# ---------------------------------------------------------------- showing a sweep
def sweep_document(found: Sweep, metric: str, rows: int | None) -> dict[str, Any]:
    """Return a sweep as plain values. rows: so many of the best by the metric, None = all of the table."""
    verdict = found.verdict(metric)
    best = found.top(metric, rows) if rows is not None else found.table
    told = (
        "word", "text", "reasons", "metric", "row", "parameters", "sharpe", "expected", "deflated", "t_statistic",
        "combinations", "failed", "trials", "years", "years_needed",
    )  # fmt: skip
    each: list[tuple[str | None, Sweep]] = [*found.sweeps.items()] if found.sweeps else [(None, found)]
    return {
        "sweeps": [
            {
                "symbol": symbol, "sweep": None if s.folder is None else s.folder.name, "folder": s.folder,
                "combinations": len(s.table), "dropped": s.dropped, "verdict": s.verdict(metric).word,
            }
            for symbol, s in each
        ],
        "settings": found.settings, "parameters": list(found.parameters), "metric": metric, "seconds": found.seconds,
        "combinations": len(found.table), "dropped": found.dropped,
        "failed": int(found.table["error"].notna().sum()), "verified": dataclasses.asdict(found.verified),
        "verdict": {name: getattr(verdict, name) for name in told}
        | {"pbo": None if verdict.pbo is None else verdict.pbo.probability},
        "findings": [f.to_dict() for f in found.findings], "rows": best.reset_index(names="row"),
    }  # fmt: skip


def _next(found: Sweep) -> list[str]:
    first = next(iter(found.sweeps.values()), found)
    if first.folder is None:
        return []
    name = first.folder.name
    return [
        "", f"next: quant sweeps report {name}", f"      quant sweeps run {name} --row best",
        f"      quant promote {name} --row best --to paper",
    ]  # fmt: skip


def _report(found: Sweep, metric: str, document: dict[str, Any], parts: list[str]) -> int:
    """Write the page of each sweep and say where; where one cannot be written, say why, and show the sweep."""
    document["reports"] = []
    for own in found.sweeps.values() if found.sweeps else (found,):
        try:
            path = own.report(metric=metric)
        except WriteFailed as e:
            output.note(f"error: {e}")
            document["report_error"] = str(e)
            return e.exit_code
        document["reports"].append(path)
        parts.append(f"report: {output.folder_text(path)}")
    return 0
