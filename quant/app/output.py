"""What goes out: one JSON document or text on stdout, progress on stderr. Loads rich only to draw with it."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final

import click

SCHEMA: Final = 1  # of every JSON document; a field may be added, but none changes its meaning
NARROWEST: Final = 80  # columns that a table is made for; a narrower terminal breaks its lines
WIDE: Final = 1000  # columns of a table that goes into a pipe: nothing is cut there


@dataclass(frozen=True, slots=True)
class Result:
    """What a command has to say. document: plain values for --json. parts: text and tables for a person."""

    document: dict[str, Any]
    parts: Sequence[Any] = field(default=())
    code: int = 0


def prepare() -> None:
    """Let characters that the terminal's encoding lacks come out as "?" instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def show(result: Result, as_json: bool) -> None:
    """Write a result to stdout."""
    if as_json:
        write_json(result.document)
        return
    for part in result.parts:
        if isinstance(part, str):
            click.echo(part)
        else:
            _console().print(part)


def write_json(document: dict[str, Any]) -> None:
    """Write one document to stdout; numbers that JSON does not have are null."""
    click.echo(json.dumps(plain({"schema": SCHEMA, **document}), indent=1, allow_nan=False))


def plain(value: Any) -> Any:
    """Return `value` as JSON can hold it: a table as rows, a time as ISO text, NaN and NaT as None."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        return [plain(row) for row in value.to_dict("records")]
    if hasattr(value, "item"):  # a number of numpy
        value = value.item()
    if value != value or (
        isinstance(value, float) and not math.isfinite(value)
    ):  # NaN and NaT differ from themselves
        return None
    if isinstance(value, date):
        return value.isoformat()
    return value if isinstance(value, int | float) else str(value)


# ---------------------------------------------------------------- for a person
def table(columns: Sequence[str], rows: Iterable[Sequence[object]], right: str = "") -> Any:
    """Return a table to print. right: the names of columns of numbers, with spaces between."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0), header_style="")
    numbers = right.split()
    for name in columns:
        # In a narrow terminal words are folded; a number cut in two is none.
        counts = name in numbers
        drawn.add_column(name, justify="right" if counts else "left", overflow="fold", no_wrap=counts)
    for row in rows:
        # Text, for a "[" in a cell is no mark-up.
        drawn.add_row(*(v if isinstance(v, Text) else Text(str(v)) for v in row))
    return drawn


def frame_text(frame: Any, last: int | None = None) -> str:
    """Return a DataFrame as text, all columns, times in UTC. last: only so many rows of its end."""
    shown = frame if last is None else frame.tail(last)
    utc = [name for name, kind in shown.dtypes.items() if hasattr(kind, "tz")]
    shown = shown.assign(**{name: shown[name].dt.tz_convert(None) for name in utc})
    if not len(shown):
        return "(none)"
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    return str(shown.to_string(index=False, line_width=width))


def coloured(text: str, style: str) -> Any:
    """Return text in a colour where the terminal has any and NO_COLOR does not forbid it."""
    from rich.text import Text

    return Text(text, style=style)


def percent(value: float | None) -> str:
    """Return a fraction as a signed percentage, "-" where it is missing."""
    return "-" if value is None or math.isnan(value) else f"{value:+.2%}"


def number(value: float | None, form: str = ".2f") -> str:
    """Return a number, "-" where it is missing."""
    return "-" if value is None or math.isnan(value) else f"{value:{form}}"


def times(message: str, count: int) -> str:
    """Return a finding's message with how often it holds."""
    return f"{message} ({count:,}x)" if count > 1 else message


def _console() -> Any:
    from rich.console import Console

    console = Console(highlight=False)
    console.width = max(console.width, NARROWEST) if sys.stdout.isatty() else WIDE
    return console


def note(text: str) -> None:
    """Say something on stderr."""
    click.echo(text, err=True)


@contextlib.contextmanager
def progress(total: int) -> Iterator[Callable[[str], None]]:
    """Give a function to call with the name of each step as it begins: a bar on a terminal, else lines."""
    if not sys.stderr.isatty():
        yield note
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        begun = False

        def step(name: str) -> None:
            nonlocal begun
            bar.update(task, description=name, advance=int(begun))
            begun = True

        yield step


def confirm(question: str, yes: bool, option: str = "--yes") -> bool:
    """Return True if the person agrees; where none can be asked, refuse without `option`."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Nobody can be asked here: add {option} to do it.")
    return click.confirm(question, err=True)


def folder_text(path: Path) -> str:
    """Return a folder as one would type it from here."""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)
