"""What other processes see of a runner, and tell it: status, commands, whether it lives, and its end.

All by files in `data/live/<name>/`: status.json (replaced each second), runner.json (who runs), control/ (a file a
command, one for its answer), journal.sqlite.lock, which the system gives back however a process ends.
"""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from quant.errors import ParameterError, WriteFailed
from quant.store import atomic

JOURNAL: Final = "journal.sqlite"
STATUS: Final = "status.json"
RUNNER: Final = "runner.json"
LOG: Final = "log.txt"
CONTROL: Final = "control"
COMMANDS: Final = ("stop", "halt", "reduce-only", "flatten", "clear")
SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class Running:
    """The process that runs a deployment, and how it reaches TWS."""

    pid: int
    host: str
    port: int | None
    client_id: int
    account: str


@dataclass(frozen=True, slots=True)
class Order:
    """A command for a runner. who: the person. key: of its files."""

    command: str
    who: str
    reason: str
    key: str = ""


# ---------------------------------------------------------------- files
def put(path: Path, values: Mapping[str, Any]) -> None:
    """Write a small file, whole or not at all. Raises WriteFailed."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.put(path, json.dumps({"schema": SCHEMA, **values}, indent=1, default=str).encode())
    except OSError as e:
        raise WriteFailed(str(path), e.strerror or str(e)) from e


def renew(path: Path, values: Mapping[str, Any]) -> None:
    """Replace a small file that is of no use after a power cut: without waiting for the disk. Raises WriteFailed."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_text(json.dumps({"schema": SCHEMA, **values}, indent=1, default=str), encoding="utf-8")
        os.replace(part, path)
    except OSError as e:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if os.name == "nt" and isinstance(e, PermissionError):
            return  # somebody reads it; the next second comes
        raise WriteFailed(str(path), e.strerror or str(e)) from e


def get(path: Path) -> dict[str, Any]:
    """Return what a small file holds; nothing where there is none, or one that is no JSON of ours."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and found.get("schema") == SCHEMA else {}


# ---------------------------------------------------------------- who runs
def is_running(folder: Path) -> bool:
    """Return whether a process has the deployment's journal."""
    from filelock import FileLock, Timeout

    path = folder / f"{JOURNAL}.lock"
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0, is_singleton=False):
            return False
    except Timeout:
        return True


def running(folder: Path) -> Running | None:
    """Return who has the journal now; None if nobody has, or nobody said so."""
    found = get(folder / RUNNER)
    found.pop("schema", None)
    try:
        return Running(**found) if is_running(folder) else None
    except TypeError:
        return None


def last_address(folder: Path) -> Running | None:
    """Return how the last runner reached TWS, also one that is gone."""
    found = get(folder / RUNNER)
    found.pop("schema", None)
    try:
        return Running(**found)
    except TypeError:
        return None


def announce(folder: Path, who: Running, *, first: bool = False) -> None:
    """Say who runs, at once after the journal was opened; only its holder may. pid 0: nobody any more.

    first: commands of an earlier time are void.
    """
    for path in (folder / CONTROL).glob("*.json") if first else ():
        path.unlink(missing_ok=True)
    put(folder / RUNNER, asdict(who))


def end(folder: Path, wait: Callable[[float], None], patience_s: float = 3.0) -> bool:
    """End the process that has the journal, first kindly. wait: sleeps. Returns whether the journal is free.

    Only who has the journal's lock is ended, so no other program that got the same number.
    """
    for how in (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
        found = running(folder)
        if found is None or found.pid <= 0 or found.pid == os.getpid():  # 0 would mean us and all around us
            break
        with suppress(OSError):  # gone meanwhile, or not ours; the lock tells
            os.kill(found.pid, how)
        for _ in range(round(patience_s / 0.05)):
            if not is_running(folder):
                return True
            wait(0.05)
    return not is_running(folder)


# ---------------------------------------------------------------- commands
def _requests(folder: Path) -> list[Path]:
    return sorted((folder / CONTROL).glob("*.ask.json"))


def ask(folder: Path, order: Order, at: int) -> str:
    """Leave a command for the runner; return its key. at: UTC ns, so that commands are taken in order."""
    if order.command not in COMMANDS:
        raise ParameterError("command", order.command, f"one of {', '.join(COMMANDS)}")
    key = f"{at}-{uuid.uuid4().hex[:8]}"
    values = {"command": order.command, "who": order.who, "reason": order.reason}
    put(folder / CONTROL / f"{key}.ask.json", values)
    return key


def asked(folder: Path) -> Iterator[Order]:
    """Give the commands that wait, oldest first; each is taken once."""
    for path in _requests(folder):
        found = get(path)
        path.unlink(missing_ok=True)
        if found.get("command") in COMMANDS:
            key = path.name.removesuffix(".ask.json")
            yield Order(found["command"], str(found.get("who")), str(found.get("reason")), key)


def answer(folder: Path, order: Order, text: str) -> None:
    """Tell what became of a command."""
    put(folder / CONTROL / f"{order.key}.answer.json", {"command": order.command, "answer": text})


def answered(folder: Path, key: str) -> str | None:
    """Return the answer to a command, once; None while there is none."""
    path = folder / CONTROL / f"{key}.answer.json"
    found = get(path)
    if not found:
        return None
    path.unlink(missing_ok=True)
    return str(found.get("answer", ""))


def withdraw(folder: Path, key: str) -> None:
    """Take back a command that nobody took."""
    (folder / CONTROL / f"{key}.ask.json").unlink(missing_ok=True)
