"""`quant data pull` and `quant data repair`: bars from TWS, or from our simulated one, into the store."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from quant.app import config, output
from quant.app.address import Address, address, address_options, contract_options, given_address
from quant.app.command import command, data_option, range_options, wants_json
from quant.app.output import Result
from quant.app.simulator import simulator
from quant.errors import NoData, ParameterError, QuantError, SeriesNotFound

if TYPE_CHECKING:
    from quant.core.barsize import BarSize
    from quant.core.finding import Finding
    from quant.ib.contracts import ContractSpec
    from quant.ib.download import Plan, Progress, PullReport
    from quant.ib.download.plan import SeriesPlan
    from quant.ib.download.report import Pulled
    from quant.ib.session import Session
    from quant.store import Series, Store

NO_DATA: Final = 4  # exit codes, as those of quant.app.cli
INTERRUPTED: Final = 130
ASKED_S: Final = 900.0  # a plan that takes longer is agreed on first, where somebody can be asked
GO_ON: Final = "what arrived is kept: the same command again goes on from there"
ODD: Final = ("price-not-positive", "bars-missing")  # told after a pull; `quant data check` tells all
SOURCES: Final = ("ib", "simulated")  # under which pulled bars are kept


def pull_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what `pull` and `repair` share."""
    resume = "Go on from what is held. It is what always happens; the word may be given."
    for option in (
        click.option("--resume", is_flag=True, expose_value=False, help=resume),
        click.option("--yes", is_flag=True, help="Do not ask, however long it takes."),
        click.option("--plan", "only_plan", is_flag=True, help="Say what it would ask for, and end."),
        click.option(
            "--sim", is_flag=True, help="Pull from a simulated TWS in this process, without an account."
        ),
    ):
        function = option(function)
    return address_options(function)


@command("pull")
@click.argument("symbols", nargs=-1, required=True, metavar="SYMBOL...")
@click.option(
    "--bar", default="1d", show_default=True, metavar="SIZE", help="Bar size: 1s, 5s, 1m, 1h, 1d, ..."
)
@range_options
@click.option("--what", default="TRADES", show_default=True, help="IB's whatToShow; of currencies MIDPOINT.")
@click.option("--rth/--all-hours", default=True, help="Regular trading hours only, or all.  [--rth]")
@contract_options
@pull_options
@data_option
def pull(
    symbols: tuple[str, ...],
    bar: str,
    start: str | None,
    end: str | None,
    what: str,
    rth: bool,
    sim: bool,
    only_plan: bool,
    yes: bool,
    data: Path | None,
    **contract: Any,
) -> Result:
    """Pull bars of each SYMBOL from TWS or IB Gateway into the data folder, within IB's limits.

    What is held is not asked for again: called again it goes on where it was, whatever stopped it, and later it
    brings what is new. Without --from it begins where the held bars end; the first time with all that IB has of
    bars of 1h and more, the last year of 1m to 30m, the last 5 sessions of less.

    \b
      quant data pull SPY MSFT --bar 1d
      quant data pull SPY --bar 1m --from 2024-01-02 --plan
      quant data pull EUR.USD --sec-type CASH --bar 1h
      quant data pull AAPL --bar 1d --sim
    """  # fmt: skip
    settings, where = _settings(contract, sim, data)

    from quant.core.barsize import bar_size
    from quant.ib import requests
    from quant.ib.download import describe, plan_pull
    from quant.ib.download.pull import WHAT
    from quant.ib.download.ranges import check_range
    from quant.store import Store

    size, store = bar_size(bar), Store(settings.data)
    if what not in WHAT:
        raise ParameterError("what", what, f"one of {', '.join(WHAT)}")
    if contract["con_id"] is not None and len(symbols) > 1:
        raise click.UsageError("--con-id is of one contract, so give one SYMBOL.")
    specs = [describe(symbol, **contract) for symbol in symbols]
    check_range(start, end)
    with _session(where, settings, sim) as session:
        now = session.ask(requests.current_time())
        plan = plan_pull(session, specs, size, start, end, what=what, rth=rth, now=now, store=store)
        return _carried_out(session, plan, store, only_plan, yes)


@command("repair")
@click.argument("symbol", required=False)
@click.option("--bar", metavar="SIZE", help="Only this bar size.")
@pull_options
@data_option
def repair(
    symbol: str | None,
    bar: str | None,
    sim: bool,
    only_plan: bool,
    yes: bool,
    data: Path | None,
    **given: Any,
) -> Result:
    """Ask again for the bars that pulled series lack by their exchange's calendar; of all, or of SYMBOL.

    What IB has not got either is noted as confirmed empty, and never asked for again.
    """
    settings, where = _settings(given, sim, data)

    from quant.ib import requests
    from quant.store import Store

    store = Store(settings.data)
    held = _pulled_before(store, symbol, bar)
    with _session(where, settings, sim) as session:
        plan = _repair_plan(session, store, held, session.ask(requests.current_time()))
        return _carried_out(session, plan, store, only_plan, yes, then=False)


# ---------------------------------------------------------------- which TWS
def _settings(given: dict[str, Any], sim: bool, data: Path | None) -> tuple[config.Settings, Address]:
    """Take the address out of `given`; return it with the settings."""
    named = given_address(given)
    if sim and any(named[f"ib.{name}"] is not None for name in ("host", "port")):
        raise click.UsageError("--sim brings its own TWS, so leave --host and --port out.")
    settings = config.load({**named, "project.data": None if data is None else str(data)})
    return settings, address(settings)


@contextmanager
def _session(where: Address, settings: config.Settings, sim: bool) -> Iterator[Session]:
    """Give an open session with the TWS that is meant. Raises CannotConnect."""
    from quant.ib.download import connect

    with ExitStack() as stack:
        host, port = where.host, where.port
        if sim:
            host, port = "127.0.0.1", stack.enter_context(simulator(settings.data))
        session = stack.enter_context(connect(host, port, where.client_id))
        output.note(f"TWS at {host}:{session.port}, {', '.join(session.accounts)}")
        yield session


# ---------------------------------------------------------------- repair
def _pulled_before(store: Store, symbol: str | None, bar: str | None) -> list[Series]:
    """Return the series that came from TWS. Raises SeriesNotFound where there is none of what is meant."""
    from quant.core.barsize import bar_size

    size = None if bar is None else bar_size(bar)
    found = [
        s for s in store.series()
        if s.source in SOURCES and s.what != "ADJUSTED_LAST" and size in (None, s.bar)
        and (symbol is None or s.symbol.casefold() == symbol.casefold())
    ]  # fmt: skip
    if not found:
        what = " ".join(("any symbol" if symbol is None else symbol, *([] if size is None else [str(size)])))
        mend = f"Pull them first: quant data pull {symbol or 'SYMBOL'} --bar {bar or 'B'}"
        raise SeriesNotFound(f"{what} from TWS", str(store.data), mend)
    return found


def _repair_plan(session: Session, store: Store, held: list[Series], now: datetime) -> Plan:
    """Return one plan for all held series. Those that came from the other kind of TWS are left alone, and told."""
    from quant.ib.download import plan_pull
    from quant.ib.download.plan import planned

    kinds: dict[tuple[BarSize, str, bool], dict[int | None, ContractSpec]] = {}
    for s in held:
        kinds.setdefault((s.bar, s.what, s.rth), {})[s.instrument.con_id] = _spec_of(s)
    plans = [
        plan_pull(session, list(specs.values()), bar, what=what, rth=rth, repair=True, now=now, store=store)
        for (bar, what, rth), specs in kinds.items()
    ]
    found = [s for plan in plans for s in plan.series]
    failed = [f for plan in plans for f in plan.failed if not isinstance(f.error, SeriesNotFound)]
    there = {s.source for s in found}
    for source in {s.source for s in held} - there if there else ():
        output.note(f"series of source {source} are left alone: they did not come from such a TWS")
    return planned(found, failed)


def _spec_of(series: Series) -> ContractSpec:
    from quant.ib.contracts import ContractSpec

    i = series.instrument
    share = i.sec_type in ("STK", "IND")
    return ContractSpec(
        symbol=i.symbol if share else "", local_symbol="" if share else i.symbol, sec_type=i.sec_type,
        exchange="SMART" if i.sec_type == "STK" else i.exchange, con_id=i.con_id,
        include_expired=i.sec_type in ("FUT", "FOP", "OPT"),
    )  # fmt: skip


# ---------------------------------------------------------------- carrying out and showing
def _carried_out(
    session: Session, plan: Plan, store: Store, only_plan: bool, yes: bool, then: bool = True
) -> Result:
    """Pull what is planned, after the plan was told. then: whether the next command is told at the end."""
    from quant.ib.download import run_pull
    from quant.ib.download.plan import in_words

    if only_plan:
        return Result({"plan": plan.to_dict()}, [str(plan)], _code([f.error for f in plan.failed]))
    if plan.requests:  # what is left out is told at the end
        output.note(str(replace(plan, failed=())))
    question = f"That takes {in_words(plan.seconds)}; Ctrl-C ends it at any time. Begin?"
    if plan.seconds > ASKED_S and _somebody() and not output.confirm(question, yes):
        return Result({"plan": plan.to_dict(), "series": []}, ["nothing was pulled"])
    with _bar(plan.requests) as progress:
        report = run_pull(session, plan, store, progress=progress)
    return _shown(plan, report, store, then)


def _somebody() -> bool:
    """Return whether anybody can be asked; a job of the night goes on without."""
    return sys.stdin.isatty()


def _shown(plan: Plan, report: PullReport, store: Store, then: bool) -> Result:
    """Return what came as a result, and say the errors on stderr."""
    errors = [e for p in report.series if (e := p.error) is not None] + [f.error for f in report.failed]
    if not wants_json():
        for told in dict.fromkeys(map(str, errors)):  # a full disk or a lost line ends every series alike
            output.note(f"error: {told}")
    held = [p for p in report.series if p.first is not None]
    if report.interrupted:
        output.note(f"stopped; {GO_ON}")
    elif any(p.error is not None for p in held):
        output.note(GO_ON)
    document = {"plan": plan.to_dict(), **report.to_dict()}
    parts = []
    for p, s, facts in zip(report.series, plan.series, document["series"], strict=True):
        odd = _odd(store, p, s)
        facts["findings"] = [f.to_dict() for f in odd]
        if p.first is not None:  # why one ended early is told above
            parts.append(str(replace(p, error=None)))
            parts += [f"  {f.level:<8} {output.times(f.message, f.count)}  [{f.code}]" for f in odd]
    parts.append(f"requests {report.requests:,}, {report.seconds:.1f} s")
    if plan.series and not plan.requests:
        parts[-1] = "nothing to ask for: what is held is complete"
    if then and held and not errors and not report.interrupted:
        s = next(s for p, s in zip(report.series, plan.series, strict=True) if p.first is not None)
        options = ("" if s.rth else " --all-hours") + ("" if s.what == "TRADES" else f" --what {s.what}")
        parts += ["", f"next: quant backtest STRATEGY {s.instrument.symbol} --bar {s.bar}{options}"]
    return Result(document, parts, INTERRUPTED if report.interrupted else _code(errors))


def _odd(store: Store, pulled: Pulled, plan: SeriesPlan) -> list[Finding]:
    """Return what a person should know at once of the bars that were asked for, where any came."""
    if pulled.folder is None or not pulled.added + pulled.revised:
        return []
    from quant.store.quality import check
    from quant.store.series import read_series

    series = read_series(pulled.folder, pulled.source)
    bars = store.read(series, *plan.wanted)
    return [f for f in check(bars) if f.code in ODD] if len(bars) else []


def _code(errors: list[QuantError]) -> int:
    """Return the exit code of the first error: 4 where IB has no data, else that of its kind."""
    if not errors:
        return 0
    return NO_DATA if isinstance(errors[0], NoData) else errors[0].exit_code


# ---------------------------------------------------------------- while it runs
@contextmanager
def _bar(total: int) -> Iterator[Callable[[Progress], None]]:
    """Give a progress bar on stderr with the time left; nothing is shown where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    from quant.ib.download.plan import in_words

    console = Console(stderr=True)
    text = TextColumn("{task.description}", markup=False)
    with Bar(
        BarColumn(),
        MofNCompleteColumn(),
        text,
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as shown:
        task = shown.add_task("", total=total)

        def update(now: Progress) -> None:
            left = f", {in_words(now.eta_s)} left" if now.done else ""
            told = f"{now.symbol}, {now.bars:,} bars{left}" + (f" ({now.note})" if now.note else "")
            shown.update(task, completed=now.done, total=now.requests, description=told)

        yield update
