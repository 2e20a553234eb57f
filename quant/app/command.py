"""A command of ours: what every one has in common (--json, --debug, how its result is shown)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from quant.app import output
from quant.app.output import Result

JSON: Final = "quant.json"  # where a context keeps whether JSON is wanted
FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)


class Command(click.Command):
    """A command whose function returns a Result."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += [json_option(), debug_option()]

    def invoke(self, ctx: click.Context) -> int:
        """Run the command, show its result, return its exit code."""
        result: Result = super().invoke(ctx)
        output.show(result, wants_json())
        return result.code


def json_option() -> click.Option:
    """Return --json."""
    told = "Print one JSON document."
    return click.Option(
        ["--json"], is_flag=True, is_eager=True, expose_value=False, callback=_remember, help=told
    )


def debug_option() -> click.Option:
    """Return --debug, which the outermost loop looks for in the words themselves."""
    return click.Option(["--debug"], is_flag=True, expose_value=False, help="Show where an error came from.")


def _remember(ctx: click.Context, option: click.Parameter, value: bool) -> None:
    ctx.meta[JSON] = ctx.meta.get(JSON, False) or value


def wants_json() -> bool:
    """Return whether the running command was called with --json."""
    return bool(click.get_current_context().meta.get(JSON, False))


def command(name: str) -> Callable[[Callable[..., Result]], Command]:
    """Make a command of a function that returns a Result; its docstring is the help."""
    return click.command(name, cls=Command)


def data_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --data."""
    return click.option("--data", type=FOLDER, help="Data folder [the project's, else ./data].")(function)


def series_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose among several series of one symbol."""
    for option in (
        click.option("--source", help="Where the bars came from, if several sources have them."),
        click.option("--rth/--all-hours", default=True, help="Regular trading hours only, or all.  [--rth]"),
        click.option("--what", default="TRADES", show_default=True, help="IB's whatToShow."),
    ):
        function = option(function)
    return function


def range_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --from and --to."""
    for option in (
        click.option("--to", "end", metavar="DATE", help="Last session, included; or an excluded moment."),
        click.option(
            "--from", "start", metavar="DATE", help='First session, or "2017-01-03 09:30" (exchange time).'
        ),
    ):
        function = option(function)
    return function


def as_of_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --as-of."""
    told = "The bars as the store had them then: the end of a date, or a moment (exchange time)."
    return click.option("--as-of", metavar="DATE", help=told)(function)
