"""`quant status`, `stop`, `halt`, `reduce-only`, `flatten`: a runner seen and steered from elsewhere."""

from __future__ import annotations

import getpass
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from quant.app import config, output
from quant.app.command import command, data_option
from quant.app.output import Result
from quant.core import clock
from quant.errors import SafetyStop

ANSWER_S: Final = 10.0  # a runner looks each second; one that does not answer by then hangs
SAFETY: Final = 6
EACH_S: Final = 1.0


def _data(data: Path | None) -> Path:
    return config.load({"project.data": None if data is None else str(data)}).data


def _name(given: str, data: Path, *, shadow: bool = False) -> str:
    """Return the name of a deployment that was given by it or by its lock file. Raises ConfigError.

    The file is not read, and one that runs needs none: whatever became of it, a runner can be stopped.
    shadow: NAME.shadow is taken too; it is the deployment's shadow, under that name.
    """
    from quant.live.run import control
    from quant.live.run import deployment as locks
    from quant.live.run.shadow import SUFFIX

    plain = given.removesuffix(SUFFIX) if shadow else given
    if locks.NAME.fullmatch(plain) and control.is_running(locks.live_folder(data, given)):
        return given
    return locks.named_lock(plain, data).name.removesuffix(".lock.toml") + given[len(plain) :]


# ---------------------------------------------------------------- looking
def state_of(folder: Path) -> str:
    """Return in words whether a deployment runs."""
    from quant.live.run import control, view

    seen = control.get(folder / control.STATUS)
    if not control.is_running(folder):
        ended = seen.get("ended", "")
        return "not running" + (f"; ended: {ended}" if ended else "; it ended without a word" if seen else "")
    who = control.running(folder)
    if not seen or who is None or seen.get("pid") != who.pid:
        return "running, it begins"
    age = clock.now().timestamp() - float(seen.get("written", 0.0))
    if age > view.SILENT_S:
        return f"HANGS: process {seen.get('pid')} has said nothing for {age:.0f} s; see: quant halt"
    return f"running, gate {seen['gate']}"


@command("status")
@click.argument("name", required=False)
@click.option("--watch", is_flag=True, help="Go on showing it, until Ctrl-C.")
@data_option
def status(name: str | None, watch: bool, data: Path | None) -> Result:
    """Show what a deployment does, and why nothing happens: NAME, or all that have run."""
    folder = _data(data)
    names = names_of_all(folder) if name is None else [_name(name, folder, shadow=True)]
    if watch:
        _watch(lambda: _shown(names, folder)[1])
    documents, lines = _shown(names, folder)
    return Result(
        {"deployments": documents}, lines or ["there is none; begin one: quant paper macd SPY --bar 1m"]
    )


def names_of_all(data: Path) -> list[str]:
    """Return the names of all deployments, and of those shadows that have run."""
    from quant.live.run import deployment as locks
    from quant.live.run.shadow import SUFFIX

    found = [[name, f"{name}{SUFFIX}"] for name in locks.deployments(data)]
    return [n for pair in found for n in pair if n == pair[0] or locks.live_folder(data, n).is_dir()]


def _shown(names: list[str], data: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the last pictures, as documents and as lines."""
    from quant.live.run import control, view
    from quant.live.run.deployment import live_folder

    documents: list[dict[str, Any]] = []
    lines: list[str] = []
    for name in names:
        folder = live_folder(data, name)
        seen, state = control.get(folder / control.STATUS), state_of(folder)
        documents.append({"name": name, "state": state, "status": seen or None})
        lines += ["", *(view.lines(seen, state) if "gate" in seen else [f"{name} · {state}"])]
    return documents, lines[1:]


def _watch(lines: Callable[[], list[str]]) -> None:
    """Show lines anew each second until Ctrl-C, which is the ordinary end."""
    from rich.live import Live
    from rich.text import Text

    try:
        if not sys.stdout.isatty():
            while True:
                click.echo("\n".join(lines()))
                time.sleep(EACH_S)
        with Live(Text("\n".join(lines())), auto_refresh=False, transient=True) as screen:
            while True:
                time.sleep(EACH_S)
                screen.update(Text("\n".join(lines())), refresh=True)
    except KeyboardInterrupt:
        return


# ---------------------------------------------------------------- steering
def _steering(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what all commands to a runner share."""
    told = "Why; it is kept in the journal."
    option = click.option("--reason", default="", metavar="TEXT", help=told)
    return click.argument("name")(option(data_option(function)))


@command("stop")
@_steering
def stop(name: str, reason: str, data: Path | None) -> Result:
    """End a deployment's runner: entries are cancelled, protective orders stay at IB. One that hangs is ended."""
    from quant.live.run import control
    from quant.live.run.deployment import live_folder

    folder = _data(data)
    known = _name(name, folder, shadow=True)
    where = live_folder(folder, known)
    if not control.is_running(where):
        return _result(known, "stop", f"{known} is not running")
    told = _told(where, "stop", reason)
    if told is None and not control.is_running(where):  # it waited for a TWS that never came, and gave up
        told = "it has ended by itself"
    if told is None:
        _end(where)
        mend = f"its entries may still work: quant halt {known}"
        return _result(
            known,
            "stop",
            f"the runner did not answer within {ANSWER_S:g} s and was ended; {mend}",
            SAFETY,
        )
    until = clock.monotonic() + ANSWER_S
    while control.is_running(where) and clock.monotonic() < until:
        time.sleep(0.05)
    return _result(known, "stop", told)


@command("halt")
@click.option("--clear", is_flag=True, help="End halt and reduce-only, once you have looked; needs --reason.")
@click.option(
    "--everything",
    is_flag=True,
    help="Cancel every order of the login too, protective ones and others' included.",
)
@_steering
def halt(name: str, reason: str, clear: bool, everything: bool, data: Path | None) -> Result:
    """Cancel entries and send nothing more until it is cleared; protective orders stay. Works without a runner."""
    if clear and not reason.strip():
        raise click.UsageError("--clear needs --reason TEXT: what you have seen.")
    if clear and everything:
        raise click.UsageError("--clear and --everything do not go together.")
    return _steer(name, "clear" if clear else "halt", reason, data, everything)


@command("reduce-only")
@_steering
def reduce_only(name: str, reason: str, data: Path | None) -> Result:
    """Send only what makes positions smaller, until: quant halt NAME --clear."""
    return _steer(name, "reduce-only", reason, data)


@command("flatten")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_steering
def flatten(name: str, reason: str, yes: bool, data: Path | None) -> Result:
    """Halt, and close all that the deployment holds at the market. Works without the runner too."""
    if not output.confirm(f"Close all that {name} holds, at the market?", yes):
        return _result(name, "flatten", "nothing was done")
    return _steer(name, "flatten", reason, data)


def _steer(name: str, what: str, reason: str, data: Path | None, everything: bool = False) -> Result:
    """Tell the runner; where there is none, or it hangs, do it in its place."""
    from quant.live.run import control, takeover
    from quant.live.run.deployment import live_folder, named_lock
    from quant.live.run.job import Address
    from quant.live.run.lock_file import read

    folder = _data(data)
    known = _name(name, folder)
    where = live_folder(folder, known)
    who = getpass.getuser()
    if control.is_running(where) and not everything:
        told = _told(where, what, reason)
        if told is not None:
            return _result(known, what, told)
        output.note(f"the runner does not answer within {ANSWER_S:g} s")
    if control.is_running(where):
        _end(where)
    found = read(named_lock(name, folder))
    if what == "clear":
        done = takeover.clear(found, folder, who, reason)
    else:
        last = control.last_address(where)
        if last is None:
            raise SafetyStop(f"{known} has never run, so there is nothing of it at IB")
        reach = Address(last.host, last.port, last.client_id)
        done = takeover.take_over(
            what, found, folder, reach, who, reason, tell=output.note, everything=everything
        )
    return _result(known, what, done.text, done.code)


def _told(folder: Path, what: str, reason: str) -> str | None:
    """Return the runner's answer to a command, None if it gives none in time."""
    from quant.live.run import control

    order = control.Order(what, getpass.getuser(), reason)
    key = control.ask(folder, order, int(clock.now().timestamp() * 1e6) * 1000)
    until = clock.monotonic() + ANSWER_S
    while clock.monotonic() < until and control.is_running(folder):
        told = control.answered(folder, key)
        if told is not None:
            return told
        time.sleep(0.05)
    control.withdraw(folder, key)
    return control.answered(folder, key)


def _end(folder: Path) -> None:
    """End a runner that hangs. Raises SafetyStop where that fails."""
    from quant.live.run import control

    who = control.running(folder)
    pid = "unknown" if who is None else who.pid
    output.note(f"ending process {pid}, which has the journal")
    if not control.end(folder, time.sleep):
        told = f"process {pid} has the journal of {folder.name} and could not be ended"
        raise SafetyStop(f"{told}. End it yourself, cancel its orders in TWS, and call again")


def _result(name: str, what: str, told: str, code: int = 0) -> Result:
    return Result(
        {"deployment": name, "command": what, "answer": told, "code": code}, [f"{name}: {told}"], code
    )
