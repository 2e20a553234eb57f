"""`quant walkforward`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quant.app import output
from quant.app.command import command, data_option, range_options, series_options
from quant.app.output import Result
from quant.app.sweep import (
    at_work,
    bars_of,
    check_metric,
    choices,
    client_of,
    search_options,
    strategy_and_grid,
    told,
)
from quant.errors import WriteFailed

if TYPE_CHECKING:
    from quant.research.walk_forward.report import WalkForward


class Length(click.ParamType[int | str]):
    """A number of sessions, or an offset of pandas."""

    name = "N|OFFSET"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Return the length; whether an offset is one is said where it is used."""
        text = str(value).strip()
        return int(text) if text.lstrip("-").isdecimal() else text


@command("walkforward")
@click.argument("strategy")
@click.argument("symbols", nargs=-1, required=True, metavar="SYMBOL...")
@search_options
@range_options
@click.option(
    "--train", type=Length(), required=True, help='Length of a training span: 504 sessions, or "2YE".'
)
@click.option("--test", type=Length(), required=True, help="Length of the test span after it.")
@click.option("--anchored", is_flag=True, help="Every training span begins with the first session.")
@click.option("--embargo", type=Length(), default=0, show_default=True, help="Left out between the two.")
@click.option("--report", is_flag=True, help="Write report.html into the walk-forward's folder too.")
@series_options
@data_option
def walkforward(
    strategy: str,
    symbols: tuple[str, ...],
    bar: str,
    start: str | None,
    end: str | None,
    grid: tuple[str, ...],
    params: tuple[str, ...],
    train: int | str,
    test: int | str,
    anchored: bool,
    embargo: int | str,
    cluster: str | None,
    no_save: bool,
    report: bool,
    what: str,
    rth: bool,
    source: str | None,
    data: Path | None,
    **given: Any,
) -> Result:
    """Choose the best parameters of STRATEGY on each training span and trade them on the span after it.

    The test spans together are one account, in which no parameter has seen its own data. Several SYMBOLS
    share the account. Stopped and called again, it goes on where it was.

    \b
      quant walkforward macd MSFT -g fast=5:20:5 -g slow=20,30,40 --train 504 --test 126
      quant walkforward macd MSFT -g fast=5:20:5 --train 5YE --test 1YE --anchored --report
    """  # fmt: skip
    if report and no_save:
        raise click.UsageError("--report writes into the walk-forward's folder, so leave --no-save out.")
    settings, chosen = choices(given, data)
    cls, values = strategy_and_grid(strategy, settings, grid, params)
    feeds = bars_of(symbols, bar, start, end, what=what, rth=rth, source=source, data=settings.data)

    from quant.research.walk_forward.walk_forward import walk_forward

    with told(settings, strategy):
        check_metric(chosen["metric"])
        with at_work("walk-forward", not no_save) as progress, client_of(cluster) as client:
            found = walk_forward(
                cls, list(feeds.values()), values, train=train, test=test, anchored=anchored, embargo=embargo,
                **chosen, client=client, save=not no_save, data=settings.data, progress=progress,
            )  # fmt: skip
    document, parts, code = _document(found), [str(found)], 0
    if report:
        try:
            path = found.report()
        except WriteFailed as e:
            output.note(f"error: {e}")
            document["report_error"], code = str(e), e.exit_code
        else:
            document["report"] = path
            parts.append(f"report: {output.folder_text(path)}")
    return Result(document, parts, code)


def _document(found: WalkForward) -> dict[str, Any]:
    judged = found.verdict
    told = ("word", "text", "reasons", "sharpe", "probabilistic", "deflated", "t_statistic", "trials", "won")
    return {
        "settings": found.settings, "folder": found.folder, "windows": found.windows,
        "parameters": list(found.parameters), "metrics": found.metrics, "efficiency": found.efficiency,
        "verdict": {name: getattr(judged, name) for name in told},
        "findings": [f.to_dict() for f in found.findings],
    }  # fmt: skip
