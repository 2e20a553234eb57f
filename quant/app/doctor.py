"""`quant doctor`: is everything here that a backtest needs? Each check is one line, with what mends it."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from quant.app import config, output
from quant.app.address import address, address_options, contract_options, given_address
from quant.app.command import command, data_option
from quant.app.doctor_line import Line
from quant.app.output import Result
from quant.errors import QuantError, StrategyNotFound

if TYPE_CHECKING:
    from quant.store import Store

PYTHON: Final = ((3, 11), (3, 14))  # from, below; pyproject.toml names the same range
BACKTRADER: Final = "1.9.78.123"  # the engine of reference: another release may fill differently
VERIFIED: Final = 5_000_000  # bars whose checksums are compared here; the rest is left to `quant data check`
LITTLE_DISK, NO_DISK = 2**30, 2**26  # bytes
# package -> (extra, what it gives)
EXTRAS: Final = {
    "distributed": ("cluster", "sweeps on several machines"),
    "arch": ("stats", "reality check and SPA"),
    "optuna": ("optuna", "a search that learns from what it tried"),
}
STYLES: Final = {"ok": "green", "warn": "yellow", "fail": "red"}


@command("doctor")
@click.argument("symbol", required=False)
@address_options
@contract_options
@data_option
def doctor(symbol: str | None, data: Path | None, **given: Any) -> Result:
    """Check this installation, the project, and TWS if one runs. Ends with 1 if something fails.

    With SYMBOL, what IB may show of it: is it one contract, is there history, are there live quotes.
    No order is sent, no setting changed. Without TWS this is no failure, as backtests need none; of a SYMBOL it
    is one, as it is where IB knows no such contract, or several.
    """
    options = given_address(given)
    lines = [*_python(), *_libraries(), *_extras(), *_ibapi(), *_zones(), *_engine(), *_project(data)]
    lines += _tws(options, symbol, given)
    failed = any(line.status == "fail" for line in lines)
    checks = [{"name": x.name, "status": x.status, "message": x.told, "mend": x.mend or None} for x in lines]
    parts: list[Any] = []
    for x in lines:
        text = output.coloured(f"{x.status:<5}", STYLES[x.status])
        text.append(f"{x.name:<18} {x.told}", style="default")
        parts.append(text)
        parts += [f"{'':<5}mend: {x.mend}"] if x.mend else []
    return Result({"ok": not failed, "checks": checks}, parts, int(failed))


# ---------------------------------------------------------------- the installation
def _python() -> Iterator[Line]:
    low, high = f"{PYTHON[0][0]}.{PYTHON[0][1]}", f"{PYTHON[1][0]}.{PYTHON[1][1] - 1}"
    told = f"{platform.python_version()} ({low} to {high} are supported), {sys.executable}"
    good = PYTHON[0] <= sys.version_info[:2] < PYTHON[1]
    yield (
        Line("ok", "Python", told)
        if good
        else Line("fail", "Python", told, f"install Python {high} and use it")
    )


def _libraries() -> Iterator[Line]:
    from quant.core.version import versions

    for name, found in versions().items():
        if name == "python":
            continue
        if "not installed" in found:
            # Of a clone that runs without being installed nothing is missing.
            status = "warn" if name == "quant-ib" else "fail"
            yield Line(
                status, name, found, "python -m pip install -e ." if status == "warn" else _install(name)
            )
        elif name == "backtrader" and found != BACKTRADER:
            yield Line("fail", name, f"{found}, results may differ", _install(f"backtrader=={BACKTRADER}"))
        else:
            yield Line("ok", name, found)


def _install(name: str) -> str:
    return f'python -m pip install "{name}"'


def _extras() -> Iterator[Line]:
    """What a sweep can use but does not need."""
    for name, (extra, gives) in EXTRAS.items():
        try:
            told = metadata.version(name)
        except metadata.PackageNotFoundError:
            told = f"not installed; {_install(f'quant-ib[{extra}]')} gives {gives}"
        yield Line("ok", name, told)


def _engine() -> Iterator[Line]:
    """The compiled engine: whether it is made, where it lies, and whether it equals backtrader here."""
    from quant.kernel.compiling import cache_folder, is_compiled

    if not is_compiled():
        told = f"not compiled yet: the first sweep does it, once, into {cache_folder()}"
        yield Line("ok", "compiled engine", told)
        return
    from quant.backtest import parity

    differs = parity.difference_here()
    if differs is None:
        told = f"equals backtrader here in {parity.CASES} runs; in {cache_folder()}"
        yield Line("ok", "compiled engine", told)
    else:
        told = f"switched off here, where it differs from backtrader: {differs}"
        mend = "none is needed, as sweeps take the fast engine instead; please report it with these lines"
        yield Line("warn", "compiled engine", told, mend)


def _ibapi() -> Iterator[Line]:
    """The package called ibapi is from 2020; installed with ibapi-stable, the later one wins the shared folder."""
    try:
        found = metadata.version("ibapi")
    except metadata.PackageNotFoundError:
        return
    told = f"{found}: this is the one of 2020, which shares its folder with ibapi-stable"
    mend = "python -m pip uninstall -y ibapi ibapi-stable, then python -m pip install ibapi-stable"
    yield Line("fail", "ibapi", told, mend)


def _zones() -> Iterator[Line]:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo("America/New_York")
    except ZoneInfoNotFoundError:
        yield Line("fail", "time zones", "there is no time zone database", _install("tzdata"))
        return
    yield Line("ok", "time zones", "found")


# ---------------------------------------------------------------- the project
def _project(data: Path | None) -> Iterator[Line]:
    from quant.store import Store

    try:
        settings = config.load({"project.data": None if data is None else str(data)})
    except QuantError as e:
        yield Line("fail", "settings", str(e), "correct it, then: quant config show")
        return
    if settings.project is None:
        yield Line("warn", "project", f"no quant.toml in {Path.cwd()} or above", "quant init myproject")
    else:
        yield Line("ok", "project", str(settings.project))
    yield _disk(settings.data)
    if settings.data.is_dir():
        yield from _bars(Store(settings.data))
    else:
        mend = (
            "quant data pull SYMBOL --bar B makes it, or quant data import FILE --symbol S --bar B --tz ZONE"
        )
        yield Line("warn", "data folder", f"{settings.data} is not there", mend)
    yield from _strategies()


def _disk(data: Path) -> Line:
    there = next(p for p in (data.absolute(), *data.absolute().parents) if p.exists())
    free = shutil.disk_usage(there).free
    status = "ok" if free > LITTLE_DISK else "warn" if free > NO_DISK else "fail"
    return Line(status, "disk", f"{free / 2**30:,.1f} GiB free", "" if status == "ok" else "make room")


def _bars(store: Store) -> Iterator[Line]:
    found, damaged = store.scan()
    broken, verified, rows = [str(e) for e in damaged], 0, 0
    with output.progress(len(found)) as step:
        for series in found:
            if rows + series.rows > VERIFIED:
                continue
            step(f"verifying {series.name}")
            try:
                store.read(series)
            except QuantError as e:
                broken.append(str(e))
            verified, rows = verified + 1, rows + series.rows
    told = f"{store.data}, {len(found)} series, {verified} of them read and verified"
    if verified < len(found):
        yield Line("ok", "data folder", told, "quant data check verifies all")
    else:
        yield Line("ok", "data folder", told)
    for text in broken:
        yield Line("fail", "damaged bars", text)
    if any(s.sample for s in found):
        yield Line("ok", "sample bars", "found")
    else:
        yield Line("warn", "sample bars", "not in this data folder; `quant demo` has its own")


def _strategies() -> Iterator[Line]:
    from quant.strategy.lookup import names, strategy, strategy_folder

    folder = strategy_folder()
    good = []
    for name in names(folder):
        try:
            strategy(name, folder)
        except StrategyNotFound as e:
            yield Line("warn", "strategy", str(e))
        except QuantError as e:
            yield Line("fail", "strategy", str(e), f"correct {folder / f'{name}.py'}")
        else:
            good.append(name)
    yield Line("ok" if good else "warn", "strategies", f"{folder}: {', '.join(good) or 'none'}")


# ---------------------------------------------------------------- TWS
def _tws(options: dict[str, Any], symbol: str | None, contract: dict[str, Any]) -> Iterator[Line]:
    from quant.app import doctor_tws

    library = doctor_tws.library()
    yield library
    if library.status != "ok":
        return
    try:
        where = address(config.load(options))
    except QuantError as e:
        yield Line("fail", "TWS", str(e), "correct it, then: quant config show")
        return
    asked = None if symbol is None else partial(doctor_tws.asked_of, symbol, **contract)
    yield from doctor_tws.lines(where, asked)
