"""The command `quant`: which commands there are, and what becomes of an error. Each loads when it is called."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

import click

from quant.app import output
from quant.app.command import debug_option, json_option, wants_json
from quant.errors import QuantError

USAGE: Final = 2
DATA: Final = 4
UNEXPECTED: Final = 70  # EX_SOFTWARE of sysexits.h: a fault of ours
INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141  # what a shell reports of a program that SIGPIPE ended
REPORT: Final = (
    "This is a fault of quant. Please report it with the lines above and the command that you gave."
)

# name -> (where it is, one line of help); a mapping is a group of its own.
Table = Mapping[str, "tuple[str, str] | tuple[Table, str]"]
COMMANDS: Table = {
    "demo": ("quant.app.demo:demo", "Run all strategies on bars from a simulated TWS, offline."),
    "doctor": ("quant.app.doctor:doctor", "Check this installation, the project, and TWS."),
    "init": ("quant.app.project:init", "Lay out a project in a folder."),
    "new": ("quant.app.project:new", "Write a new strategy with its test."),
    "data": (
        {
            "pull": ("quant.app.data_pull:pull", "Pull bars from TWS or IB Gateway."),
            "repair": ("quant.app.data_pull:repair", "Ask again for bars that pulled series lack."),
            "import": ("quant.app.data_import:import_", "Import bars from a CSV or Parquet file."),
            "list": ("quant.app.data:list_", "List the bars that there are."),
            "show": ("quant.app.data:show", "Show what is known about a symbol's bars."),
            "check": ("quant.app.data:check", "Look for missing and odd bars."),
            "export": ("quant.app.data:export", "Write bars to a CSV or Parquet file."),
            "remove": ("quant.app.data:remove", "Remove bars from the store."),
        },
        "Bring bars in, look at them, check them.",
    ),
    "backtest": ("quant.app.backtest:backtest", "Run a strategy over bars of the store."),
    "runs": (
        {
            "list": ("quant.app.runs:list_", "List the saved backtests."),
            "show": ("quant.app.runs:show", "Show a saved backtest."),
            "diff": ("quant.app.runs:diff", "Tell two backtests apart."),
            "tag": ("quant.app.runs:tag", "Give a saved backtest tags."),
            "note": ("quant.app.runs:note", "Write a note to a saved backtest."),
            "again": ("quant.app.runs:again", "Run a saved backtest again and compare."),
            "report": ("quant.app.runs:report", "Write the HTML page of a run, or of several side by side."),
            "export": ("quant.app.runs:export", "Write a run's tables as CSV."),
            "prune": ("quant.app.runs:prune", "Remove all but the newest backtests."),
        },
        "Saved backtests.",
    ),
    "sweep": ("quant.app.sweep:sweep", "Run a strategy with many sets of parameters."),
    "sweeps": (
        {
            "list": ("quant.app.sweeps:list_", "List the saved sweeps."),
            "show": ("quant.app.sweeps:show", "Show a saved sweep."),
            "report": ("quant.app.sweeps:report", "Write the HTML page of a saved sweep."),
            "run": ("quant.app.sweeps:run", "Make a saved backtest of one combination."),
            "remove": ("quant.app.sweeps:remove", "Remove saved sweeps."),
        },
        "Saved sweeps.",
    ),
    "walkforward": ("quant.app.walkforward:walkforward", "Choose on the past, trade what follows."),
    "check": ("quant.app.check:check", "Check a strategy for look-ahead and other faults."),
    "rehearse": ("quant.app.rehearse:rehearse", "Trade stored bars as live, and compare with the backtest."),
    "promote": ("quant.app.promote:promote", "Ask the gates, and let a strategy trade on paper or for real."),
    "tws": ("quant.app.tws:tws", "Serve a simulated TWS on this machine."),
    "paper": ("quant.app.live:paper", "Trade on a paper account, or on the simulated TWS."),
    "live": ("quant.app.live:live", "Trade real money with a deployment."),
    "deployments": ("quant.app.deployments:deployments", "List the deployments."),
    "status": ("quant.app.live_control:status", "Show what deployments do."),
    "stop": ("quant.app.live_control:stop", "Stop a deployment; protective orders stay."),
    "halt": ("quant.app.live_control:halt", "Cancel entries and send nothing more until cleared."),
    "reduce-only": ("quant.app.live_control:reduce_only", "Send only what makes positions smaller."),
    "flatten": ("quant.app.live_control:flatten", "Halt, and close all that is held."),
    "parity": ("quant.app.parity:parity", "Explain a day's difference to its backtest."),
    "config": (
        {"show": ("quant.app.config_show:show", "Show every setting and where it came from.")},
        "Settings of quant.toml.",
    ),
}


class Group(click.Group):
    """A group whose commands are imported when they are called, and never for its help."""

    def __init__(self, table: Table, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(self.table)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return the command of that name, None if there is none."""
        if name not in self.table:
            return None
        where, told = self.table[name]
        if not isinstance(where, str):
            return Group(where, name=name, help=told, params=[json_option(), debug_option()])
        module, _, attribute = where.partition(":")
        found: click.Command = getattr(importlib.import_module(module), attribute)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first word names; name the nearest one if it names none."""
        if args and not args[0].startswith("-") and args[0] not in self.table:
            near = difflib.get_close_matches(args[0], self.table, 1)
            hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(self.table)}."
            ctx.fail(f"No such command: {args[0]}. {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, told) for name, (_, told) in self.table.items()])


class Root(Group):
    """The command `quant` itself: errors become one message and an exit code (DESIGN §4)."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run and exit with the code."""
        argv = list(sys.argv[1:] if args is None else args)
        output.prepare()
        code = self._run(argv, prog_name or "quant", extra)
        if standalone_mode:
            sys.exit(code)
        return code

    def _run(self, argv: list[str], prog_name: str, extra: dict[str, Any]) -> int:
        as_json, debug = _flag("--json", argv), _flag("--debug", argv)
        try:
            code = super().main(argv, prog_name, standalone_mode=False, **extra)
        except (KeyboardInterrupt, click.Abort):
            return _fail("Interrupted", "interrupted", INTERRUPTED, as_json)
        except click.exceptions.NoArgsIsHelpError as e:
            output.note(e.format_message())
            return USAGE
        except click.UsageError as e:
            return _fail("UsageError", _usage(e), USAGE, as_json)
        except QuantError as e:
            _trace(debug)
            return _fail(type(e).__name__, str(e), e.exit_code, as_json)
        except OSError as e:  # a folder without rights, a full disk: no fault of ours
            _trace(debug)
            where = "" if e.filename is None else f"{e.filename}: "
            return _fail(type(e).__name__, f"{where}{e.strerror or e}", DATA, as_json)
        except Exception as e:  # noqa: BLE001  # the outermost loop of the process
            traceback.print_exc()
            return _fail(type(e).__name__, f"{type(e).__name__}: {e}\n{REPORT}", UNEXPECTED, as_json)
        return code if isinstance(code, int) else 0

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a reader that went away (`| head`) ends it quietly."""
        try:
            code = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # Python would complain once more when it closes stdout.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return PIPE_CLOSED
        return code


def _flag(name: str, argv: Sequence[str]) -> bool:
    """Return whether a flag was given; errors may come up before the words are understood."""
    return name in argv[: argv.index("--")] if "--" in argv else name in argv


def _usage(e: click.UsageError) -> str:
    help_ = "" if e.ctx is None else f"\nTry: {e.ctx.command_path} --help"
    return e.format_message() + help_


def _trace(debug: bool) -> None:
    from quant.app.config import wants_traceback

    if debug or wants_traceback():
        traceback.print_exc()


def _fail(kind: str, message: str, code: int, as_json: bool) -> int:
    if as_json:
        output.write_json({"error": {"type": kind, "message": message, "exit_code": code}})
    else:
        output.note(f"error: {message}")
    return code


def _version(ctx: click.Context, option: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from quant.core.version import version

    if wants_json():
        output.write_json({"version": version()})
    else:
        click.echo(f"quant {version()}")
    ctx.exit()


cli = Root(
    COMMANDS,
    name="quant",
    help="Backtest strategies with backtrader on bars that you keep yourself.\n\nStart with: quant demo",
    params=[
        json_option(),
        debug_option(),
        click.Option(["--version"], is_flag=True, expose_value=False, callback=_version, help="Show the version."),
    ],
    epilog="Exit codes: 0 ok, 1 findings or a difference, 2 usage, 3 configuration or strategy, 4 data, "
    "5 broker or connection, 6 safety stop, 70 a fault of quant, 130 interrupted.",
)  # fmt: skip


def main() -> NoReturn:
    """Run the command line and exit."""
    cli.main()
    raise AssertionError("main exits")
