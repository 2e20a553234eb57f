"""`quant paper` and `quant live`: a strategy trades, in front of one's eyes or from cron."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from quant.app import config, output
from quant.app.address import address, address_options, contract_options, given_address
from quant.app.backtest import pair, parameters
from quant.app.command import command, data_option, wants_json
from quant.app.output import Result
from quant.errors import ConfigError, ParameterError, QuantError

if TYPE_CHECKING:
    from quant.live.run.deployment import Deployment
    from quant.live.run.job import Address, Job
    from quant.live.run.runner import Notify

FIRST_CLIENT: Final = 100  # client ids of deployments, by their names; below are those that a person gives
LOW: Final = 4  # characters of a bar in a name

Tell = Callable[[str], None]
Show = Callable[[dict[str, Any]], None]


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what `paper` and `live` share."""
    once = "Decide on the newest bar, send, take the answers, end: for cron and daily strategies."
    shadow = (
        "Live bars and the same decisions, kept on the tape, and no order; may run beside the deployment."
    )
    adopt = (
        "At which it was traded what positions = adopt takes over and IB tells no price of; may be repeated."
    )
    function = click.option("--shadow", is_flag=True, help=shadow)(address_options(data_option(function)))
    function = click.option("--adopt-price", "adopted", multiple=True, metavar="SYMBOL=PRICE", help=adopt)(
        function
    )
    return click.option("--once", is_flag=True, help=once)(function)


DISASTER: Final = "Stop at IB with each entry that has none, so far from its bar's close."


@command("paper")
@click.argument("what_", metavar="LOCK | STRATEGY")
@click.argument("symbols", nargs=-1, metavar="[SYMBOL...]")
@click.option("--bar", metavar="SIZE", help="Bar size: 5s, 1m, 5m, 1h, 1d, ...  [1m]")
@click.option(
    "-p", "--param", "params", multiple=True, metavar="NAME=VALUE", help="Set a parameter; may be repeated."
)
@click.option(
    "--capital",
    type=float,
    metavar="MONEY",
    help="What it may use, in the symbols' currency.  [backtest.cash]",
)
@click.option("--sizing", help="percent:95, cash:10000, shares:100 or risk:1.  [backtest.sizing]")
@click.option("--costs", help="Commissions until IB tells them.  [backtest.costs]")
@click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="NAME=VALUE",
    help="Of risk, e.g. shorts=true; may be repeated.",
)
@click.option("--disaster-stop", type=float, metavar="PERCENT", help=f"{DISASTER}  [none]")
@click.option("--from", "start", metavar="DATE", help="First session of the history that signals see.")
@click.option("--account", default="", metavar="ID", help="The account, where the login has several.")
@click.option("--name", metavar="NAME", help="Of the deployment.  [STRATEGY-SYMBOL-SIZE]")
@click.option("--what", default="TRADES", show_default=True, help="IB's whatToShow.")
@click.option("--rth/--all-hours", default=True, help="Regular trading hours only, or all.  [--rth]")
@click.option("--delayed-ok", is_flag=True, help="Trade on delayed data too; only to try it out.")
@contract_options
@_options
def paper(
    what_: str, symbols: tuple[str, ...], once: bool, shadow: bool, data: Path | None, **given: Any
) -> Result:  # fmt: skip
    """Trade on a paper account, or on the simulated TWS, until Ctrl-C.

    STRATEGY SYMBOL... begins a deployment and writes its lock file; called again, or with LOCK (its name or file), it
    goes on. What has changed since is refused. The account's id decides what is paper, never the port.

    \b
      quant tws --clock x60 --start "2024-05-15 14:00"
      quant paper macd SPY --bar 1m
      quant paper macd-spy-1m
    """  # fmt: skip
    settings = _settings(given, data)
    if symbols:
        job = _begun(what_, symbols, settings, given)
    else:
        _only_with_symbols(given)
        job = _with_disaster_stop(_locked(what_, settings, _how_to_begin(what_)), given)
    job = _with_prices(replace(job, once=once, account=given["account"], shadow=shadow), given)
    return _run(job, settings)


TO_LIVE: Final = "What has proved itself on paper goes on: quant promote DEPLOYMENT --to live"


@command("live")
@click.argument("lock", metavar="LOCK")
@click.option("--account", required=True, metavar="U...", help="The account, typed exactly.")
@click.option("--disaster-stop", type=float, metavar="PERCENT", help=f"{DISASTER}  [the lock file's]")
@_options
def live(lock: str, account: str, once: bool, shadow: bool, data: Path | None, **given: Any) -> Result:
    """Trade REAL MONEY with a deployment whose lock file names this account and its limits, until Ctrl-C.

    With --shadow it only watches: any deployment may, on a live account, before it was promoted to it.
    """
    settings = _settings(given, data)
    job = _with_disaster_stop(_locked(lock, settings, TO_LIVE, real=not shadow), given)
    job = _with_prices(replace(job, once=once, account=account, real=True, shadow=shadow), given)
    return _run(job, settings)


# ---------------------------------------------------------------- what is meant
def _settings(given: dict[str, Any], data: Path | None) -> config.Settings:
    return config.load({**given_address(given), "project.data": None if data is None else str(data)})


def _only_with_symbols(given: dict[str, Any]) -> None:
    """Refuse options that a lock file answers."""
    words = {"bar": "--bar", "params": "-p", "capital": "--capital", "sizing": "--sizing", "costs": "--costs",
             "limits": "--limit", "start": "--from", "name": "--name"}  # fmt: skip
    said = [word for name, word in words.items() if given[name]]
    if said:
        raise click.UsageError(
            f"{', '.join(said)}: the lock file says that. To begin another deployment, give SYMBOL..."
        )


def _locked(given: str, settings: config.Settings, mend: str, *, real: bool = False) -> Job:
    """Return the job of a lock file, which must be as it was. Raises ConfigError.

    mend: what to do where there is no such file.
    """
    from quant.live.run import deployment as locks
    from quant.live.run.examined import check_history
    from quant.live.run.job import Job
    from quant.live.run.lock_file import read

    path = locks.named_lock(given, settings.data, mend)
    found = read(path)
    locks.check_sealed(found, path)
    if real:
        locks.check_live(found, path)
    check_history(found, settings.data, path)
    cls, params = locks.code_as_it_was(found, path)
    return Job(replace(found, params=params), cls)


def _how_to_begin(given: str) -> str:
    """Return the command that begins a deployment of what was given, if that is a strategy."""
    from quant.strategy.lookup import names

    if given in names():
        return f"{given} is a strategy; begin a deployment of it: quant paper {given} SYMBOL --bar 1m"
    return "Begin one: quant paper STRATEGY SYMBOL --bar 1m, or quant promote RUN --to paper"


def _with_disaster_stop(job: Job, given: dict[str, Any]) -> Job:
    """Return the job, which has the disaster_stop that was typed. Raises ParameterError where the lock has another."""
    asked, was = given["disaster_stop"], job.deployment.disaster_stop
    if asked is not None and asked != was:
        told = "has none" if was is None else f"says {was:g}"
        mend = f"to change it, write disaster_stop = {asked:g} into {job.deployment.name}.lock.toml; else leave it out"
        raise ParameterError("disaster_stop", asked, f"the lock file {told}; {mend}")
    return job


def _with_prices(job: Job, given: dict[str, Any]) -> Job:
    """Return the job with the prices of what is adopted. Raises ParameterError where nothing would be."""
    positions, ids = job.deployment.positions, {c.symbol: c.con_id for c in job.deployment.contracts}
    below_0 = {c.symbol for c in job.deployment.contracts if c.sec_type not in ("STK", "CASH", "CRYPTO")}
    prices: dict[int, float] = {}
    for text in given["adopted"]:
        symbol, value = (part.strip() for part in text.partition("=")[::2])
        name = f"adopt-price {symbol}"
        if job.shadow or positions not in ("adopt", "flatten"):
            told = "a shadow adopts nothing" if job.shadow else f"the lock file says positions = {positions}"
            raise ParameterError(name, value, f'{told}; it is for positions = "adopt". Leave it out')
        if symbol not in ids:
            raise ParameterError(name, value, f"is not traded here; {', '.join(ids)} is")
        try:
            prices[ids[symbol]] = float(value)
        except ValueError:
            prices[ids[symbol]] = math.nan
        least = -math.inf if symbol in below_0 else 0.0
        if not least < prices[ids[symbol]] < math.inf:
            raise ParameterError(name, value, "must be a price, a number as in --adopt-price SPY=431.20")
    return replace(job, adopt_prices=tuple(prices.items()))


def _begun(what: str, symbols: tuple[str, ...], settings: config.Settings, given: dict[str, Any]) -> Job:
    """Return the job that the words describe: a draft, or a deployment that is as they say."""
    from quant.core.barsize import bar_size
    from quant.ib.download import describe
    from quant.live.run import deployment as locks
    from quant.live.run.examined import check_history
    from quant.live.run.job import Job
    from quant.live.run.lock_file import read
    from quant.strategy import parameters as all_parameters
    from quant.strategy import strategy

    cls = strategy(what)
    params = all_parameters(cls, parameters(cls, what, settings, [pair(p) for p in given["params"]]))
    bar = bar_size(given["bar"] or "1m")
    contract = {
        name: given[name]
        for name in ("sec_type", "exchange", "currency", "expiry", "con_id", "trading_class")
    }
    specs = tuple(describe(symbol, **contract) for symbol in symbols)
    name = given["name"] or locks.default_name(what, symbols, bar.name)
    path = locks.lock_path(settings.data, name)
    if path.exists():
        found = read(path)
        locks.check_sealed(found, path)
        check_history(found, settings.data, path)
        _as_asked(found, path, what, symbols, bar.name, given)
        locks.check_same(found, cls, params, path)
        return Job(replace(found, params=params), cls)
    return Job(_draft(name, what, cls, params, bar.name, settings, given), cls, specs)


def _draft(
    name: str,
    what: str,
    cls: type,
    params: dict[str, Any],
    bar: str,
    settings: config.Settings,
    given: dict[str, Any],
) -> Deployment:
    from quant.core import clock
    from quant.core.costs import costs
    from quant.core.sizing import parse_sizing
    from quant.core.version import versions_here
    from quant.live.run import deployment as locks
    from quant.store.query import parse

    capital = settings["backtest.cash"] if given["capital"] is None else given["capital"]
    if not 0.0 < capital < float("inf"):
        raise ParameterError("capital", capital, "must be a positive number")
    sizing = given["sizing"] or settings["backtest.sizing"]
    parse_sizing(sizing)
    parse("--from", given["start"])
    charged = given["costs"] or settings["backtest.costs"]
    costs(charged)
    limits = {
        "max_notional": locks.ROOM * capital,
        "max_gross": locks.ROOM * capital,
        **dict(limit(text) for text in given["limits"]),
    }
    locks.limits_of(limits)
    locks.check_disaster_stop(given["disaster_stop"], cls)
    return locks.Deployment(
        name=name, strategy=what, class_name=cls.__name__, params=params, sources=locks.code_of(cls), contracts=(),
        bar=bar, account="", capital=float(capital), history_start=given["start"] or "", what=given["what"],
        rth=given["rth"], sizing=sizing, costs=charged, delayed_ok=given["delayed_ok"], limits=limits,
        disaster_stop=given["disaster_stop"], versions=versions_here(),
        created=clock.now().isoformat(timespec="seconds"),
    )  # fmt: skip


def limit(text: str) -> tuple[str, Any]:
    """Return name and value of a limit, as TOML would have it."""
    name, value = pair(text)
    if value.lower() in ("true", "false", "none"):
        return name, value.lower() == "true" if value.lower() != "none" else "none"
    if name == "kinds":
        return name, [kind.strip() for kind in value.split(",")]
    try:
        return name, float(value)
    except ValueError:
        raise ParameterError(f"limits.{name}", value, "must be a number, true, false or none") from None


def _as_asked(
    found: Deployment, path: Path, what: str, symbols: tuple[str, ...], bar: str, given: dict[str, Any]
) -> None:
    """Raise ConfigError where a deployment of that name is another one than the words say."""
    there = {
        "strategy": (found.strategy, what),
        "contracts": (sorted(c.symbol for c in found.contracts), sorted(s.upper() for s in symbols)),
        "bar": (found.bar, bar if given["bar"] else found.bar),
        "capital": (found.capital, found.capital if given["capital"] is None else given["capital"]),
        "sizing": (found.sizing, given["sizing"] or found.sizing),
        "costs": (found.costs, given["costs"] or found.costs),
        "history_start": (found.history_start, given["start"] or found.history_start),
        "disaster_stop": (
            found.disaster_stop,
            found.disaster_stop if given["disaster_stop"] is None else given["disaster_stop"],
        ),
    }
    if found.contracts and any(c.sec_type != "STK" for c in found.contracts):
        del there["contracts"]  # IB has other names for them; its ids are compared when it is connected
    for key, (was, asked) in there.items():
        if was != asked:
            mend = f"Leave it out to go on, or begin another one: --name {found.name[:23]}-2"
            raise ConfigError(
                str(path), key, f"was {was!r} when this deployment began, {asked!r} is asked for now. {mend}"
            )


# ---------------------------------------------------------------- the run
def _run(job: Job, settings: config.Settings) -> Result:
    from quant.live.run.messages import Message
    from quant.live.run.runner import run

    name = job.deployment.name
    with _notified(settings) as notify, _screen() as (tell, show):
        address = _address(settings, job.folder_name)
        try:
            ended = run(job, address, settings.data, tell=tell, show=show, notify=notify)
        except QuantError as e:
            if notify.courier is not None:
                notify.courier.tell(Message(f"{job.folder_name}: it could not run", str(e)))
            raise
    document = {"deployment": name, "ended": ended.why, "code": ended.code, "status": dict(ended.picture)}
    return Result(document, [f"ended: {ended.why}"], ended.code)


@contextmanager
def _notified(settings: config.Settings) -> Iterator[Notify]:
    """Give who is told of a run. Raises ParameterError for an address that cannot be, before anything begins."""
    from quant.live.run.courier import Courier, by_apprise, by_get
    from quant.live.run.runner import Notify

    send, ping = by_apprise(settings["notify.urls"]), by_get(settings["notify.ping"])
    courier = None if send is None and ping is None else Courier(send, ping)
    try:
        yield Notify(courier, settings["notify.disconnect_s"], settings["notify.fills"])
    finally:
        if courier is not None:
            courier.close()


def _address(settings: config.Settings, name: str) -> Address:
    """Return where TWS is, and the deployment's own client id: IB lets only that one cancel its orders."""
    from quant.live.run import control
    from quant.live.run.deployment import live_folder
    from quant.live.run.job import Address

    where = address(settings)
    last = control.last_address(live_folder(settings.data, name))
    client_id = where.client_id
    if settings.values["ib.client_id"].origin != config.COMMAND_LINE:
        client_id = FIRST_CLIENT + zlib.crc32(name.encode()) % 900 if last is None else last.client_id
    return Address(where.host, where.port, client_id)


def _reasons(tell: Tell) -> Show:
    """Return what tells why nothing happens, where that has changed."""
    told: list[str] = []

    def show(picture: dict[str, Any]) -> None:
        nonlocal told
        for why in picture["why"]:
            if why not in told:
                tell(f"{picture['time']}  why: {why}")
        told = picture["why"]

    return show


@contextmanager
def _screen() -> Iterator[tuple[Tell, Show]]:
    """Give what shows lines and pictures: one picture that stays on a terminal, lines elsewhere."""
    import sys

    if wants_json() or not sys.stdout.isatty():
        line: Tell = output.note if wants_json() else click.echo
        yield line, _reasons(line)
        return
    from rich.live import Live
    from rich.text import Text

    from quant.live.run.view import lines

    told: list[str] = []
    with Live(Text("connecting"), auto_refresh=False) as screen:

        def show(picture: dict[str, Any]) -> None:
            screen.update(Text("\n".join(lines(picture))), refresh=True)

        def tell(line: str) -> None:
            told.append(line)
            if len(told) < 3:  # before there is a picture
                screen.update(Text("\n".join(told)), refresh=True)

        yield tell, show
