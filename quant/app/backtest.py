"""`quant backtest`, and how a run is shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from quant.app import config, output
from quant.app.command import as_of_option, command, data_option, range_options, series_options
from quant.app.output import Result
from quant.errors import ConfigError, ParameterError, WriteFailed

if TYPE_CHECKING:
    from quant.backtest import Run

LAST: Final = 10  # rows of orders and trades that are shown


@command("backtest")
@click.argument("strategy")
@click.argument("symbols", nargs=-1, required=True, metavar="SYMBOL...")
@click.option("--bar", default="1d", show_default=True, metavar="SIZE", help="Bar size: 1m, 5m, 1h, 1d, ...")
@range_options
@as_of_option
@click.option("-p", "params", multiple=True, metavar="NAME=VALUE", help="Set a parameter; may be repeated.")
@click.option("--cash", metavar="MONEY", help="Starting cash.")
@click.option("--costs", help="none, percent:0.05, ib-fixed or ib-tiered.")
@click.option("--sizing", help="percent:95, cash:10000, shares:100 or risk:1.")
@click.option("--slippage", help="percent:0.02 or ticks:1.")
@click.option("--borrow", metavar="RATE", help="Yearly rate on shorts, 0.03 = 3 %.")
@click.option("--engine", help="fast, or plain = stock backtrader; the same bits.")
@click.option("--start-rule", help="first-target, or next-change as live starts.")
@click.option("--no-save", is_flag=True, help="Write no run folder.")
@click.option("--orders", is_flag=True, help="Show the last orders too.")
@click.option("--trades", is_flag=True, help="Show the last trades too.")
@click.option("--report", is_flag=True, help="Write report.html into the run folder too.")
@series_options
@data_option
def backtest(
    strategy: str,
    symbols: tuple[str, ...],
    bar: str,
    start: str | None,
    end: str | None,
    as_of: str | None,
    params: tuple[str, ...],
    no_save: bool,
    orders: bool,
    trades: bool,
    report: bool,
    what: str,
    rth: bool,
    source: str | None,
    data: Path | None,
    **given: Any,
) -> Result:
    """Run STRATEGY over bars of the store; several SYMBOLs share one cash account.

    STRATEGY is a file of strategies/ ("macd") or "package.module:Class". What is not given here comes from
    quant.toml, else from the defaults: quant config show.

    \b
      quant backtest macd SPY
      quant backtest macd SPY MSFT --from 2017-06-01 -p fast=10 -p slow=30 --trades
    """  # fmt: skip
    if report and no_save:
        raise click.UsageError("--report writes into the run folder, so leave --no-save out.")
    words = [pair(p) for p in params]
    layers = {f"backtest.{name}": value for name, value in given.items()}
    settings = config.load({**layers, "project.data": None if data is None else str(data)})

    from quant.backtest import backtest as run_backtest
    from quant.store import bars
    from quant.strategy import strategy as find_strategy

    cls = find_strategy(strategy)
    chosen = parameters(cls, strategy, settings, words)
    chosen_bars: dict[str, Any] = {
        "what": what,
        "rth": rth,
        "source": source,
        "as_of": as_of,
        "data": settings.data,
    }
    feeds = [bars(s, bar, start, end, **chosen_bars) for s in symbols]
    try:
        run = run_backtest(
            cls, feeds, params=chosen, **settings.section("backtest"), save=not no_save, data=settings.data
        )
    except ParameterError as e:
        raise with_origin(e, settings, strategy) from None
    tables = [name for name, wanted in (("orders", orders), ("trades", trades)) if wanted]
    parts = [*shown(run, tables), *_next(run)]
    code, told = int(run.settings["look_ahead_ok"] is False), document(run, tables)
    if report:
        parts, told, code = _with_report(run, parts, told, code)
    return Result(told, parts, code)


def _with_report(
    run: Run, parts: list[str], told: dict[str, Any], code: int
) -> tuple[list[str], dict[str, Any], int]:
    """Write the page and say where; where it cannot be written, say why, and show the run all the same."""
    try:
        path = run.report()
    except WriteFailed as e:
        output.note(f"error: {e}")
        return parts, {**told, "report": None, "report_error": str(e)}, e.exit_code
    return [*parts, f"report: {output.folder_text(path)}"], {**told, "report": path}, code


# ---------------------------------------------------------------- parameters
def pair(text: str) -> tuple[str, str]:
    """Return name and value of NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise click.BadParameter(f"{text!r}: write NAME=VALUE, e.g. -p fast=10", param_hint="-p")
    return name.strip(), value.strip()


def parameters(
    cls: type, strategy: str, settings: config.Settings, words: list[tuple[str, str]]
) -> dict[str, Any]:
    """Return the parameters that settings and the command line give, as values of the right type."""
    from quant.strategy import defaults

    known = defaults(cls)
    chosen = {}
    for name, setting in settings.params.get(strategy, {}).items():
        if name not in known:
            reason = f"{cls.__name__} has no such parameter; {config.nearest(name, known)}"
            raise ConfigError(setting.origin, f"params.{strategy}.{name}", reason)
        from_environment = setting.origin.startswith(config.PREFIX)
        chosen[name] = parse(name, setting.value, known[name]) if from_environment else setting.value
    for name, text in words:
        if name not in known:
            has = config.nearest(name, known) if known else "it has none"
            raise ParameterError(name, text, f"{cls.__name__} has no such parameter; {has}")
        chosen[name] = parse(name, text, known[name])
    return chosen


def parse(name: str, text: str, default: Any) -> Any:
    """Return the value that `text` means, of the type of the parameter's default. Raises ParameterError.

    Of a default None: a number if it looks like one, "none", else the text.
    """
    if isinstance(default, bool):
        if text.lower() in ("true", "1", "false", "0"):
            return text.lower() in ("true", "1")
        raise ParameterError(name, text, f"must be true or false, as its default {default!r}")
    if isinstance(default, str):
        return text
    if default is None:
        return None if text.lower() == "none" else next((v for v in _numbers(text)), text)
    if isinstance(default, int | float):
        for value in _numbers(text):
            if isinstance(default, float) or value == int(value):
                return value
        kind = "a whole number" if isinstance(default, int) else "a number"
        raise ParameterError(name, text, f"must be {kind}, as its default {default!r}")
    raise ParameterError(
        name, text, f"its default is {default!r}, which no text stands for; set it in a script"
    )


def _numbers(text: str) -> list[float]:
    """Return the finite number that `text` is, as int where it is written as one; [] if it is none."""
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        return [value] if abs(value) != float("inf") and value == value else []
    return []


def with_origin(e: ParameterError, settings: config.Settings, strategy: str) -> ParameterError | ConfigError:
    """Return the error with the file and line that set the value, where a file or variable did."""
    named = {
        f"params.{strategy}.{e.name}": settings.params.get(strategy, {}).get(e.name),
        f"backtest.{e.name}": settings.values.get(f"backtest.{e.name}"),
    }
    for full, setting in named.items():
        elsewhere = setting is not None and setting.origin not in (config.DEFAULT, config.COMMAND_LINE)
        if setting is not None and elsewhere and setting.value == e.value:
            return ConfigError(setting.origin, f"{full} = {e.value!r}", e.reason)
    return e


# ---------------------------------------------------------------- showing a run
def document(run: Run, tables: list[str]) -> dict[str, Any]:
    """Return a run as plain values; tables: "orders", "fills", "trades", all rows of each."""
    return {
        "run": None if run.folder is None else run.folder.name, "folder": run.folder, **run.settings,
        "positions": run.positions, "metrics": run.metrics, "findings": [f.to_dict() for f in run.findings],
        **{name: getattr(run, name) for name in tables},
    }  # fmt: skip


def shown(run: Run, tables: list[str], last: int | None = LAST) -> list[str]:
    """Return a run as text, with the last rows of tables."""
    parts = [str(run)]
    for name in tables:
        frame = getattr(run, name)
        rows = (
            f"last {last} of {len(frame):,}" if last is not None and len(frame) > last else f"{len(frame):,}"
        )
        parts += ["", f"{name} ({rows}; times in UTC)", output.frame_text(frame, last)]
    return parts


def _next(run: Run) -> list[str]:
    if run.folder is None:
        return []
    return ["", f"next: quant runs show {run.folder.name} --trades"]
