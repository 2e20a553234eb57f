"""`quant promote`: the gates to paper and to real money."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from quant.app import config, output
from quant.app.backtest import pair
from quant.app.command import command, data_option
from quant.app.live import DISASTER, limit
from quant.app.output import Result
from quant.app.sweep import Row, check_metric
from quant.errors import ConfigError, ParameterError

if TYPE_CHECKING:
    from quant.promotion.gates import Promotion, Thresholds

COLOURS: Final = {"pass": "green", "held": "red", "not run": "yellow"}
ONLY_PAPER: Final = {
    "row": "--row", "metric": "--by", "contracts": "--contract", "history_start": "--history-from",
}  # fmt: skip


@command("promote")
@click.argument("what", metavar="RUN | SWEEP | DEPLOYMENT")
@click.option("--to", "stage", type=click.Choice(["paper", "live"]), required=True, help="The next stage.")
@click.option("--row", type=Row(), help="Of a sweep: a row's number, or the best one.")
@click.option("--by", "metric", metavar="METRIC", help="Figure that ranks a sweep's rows.  [sweep.metric]")
@click.option(
    "--capital", type=float, metavar="MONEY", help="What it may use.  [the backtest's cash; paper's]"
)
@click.option(
    "--limit", "limits", multiple=True, metavar="NAME=VALUE", help="Of risk, e.g. daily_loss=0.02; may be repeated."
)  # fmt: skip
@click.option("--disaster-stop", type=float, metavar="PERCENT", help=f"{DISASTER}  [none; paper's]")
@click.option(
    "--contract", "contracts", multiple=True, metavar="SYMBOL=CON_ID",
    help="IB's contract of imported bars; may be repeated.",
)  # fmt: skip
@click.option("--history-from", "history_start", metavar="DATE", help="First session that signals see live.")
@click.option("--account", default="", metavar="ID", help="Of paper; to live, the account typed exactly.")
@click.option("--name", metavar="NAME", help="Of the deployment.")
@click.option(
    "--override", "overrides", multiple=True, metavar='GATE="REASON"',
    help="Let a gate pass that did not; the reason is kept.",
)  # fmt: skip
@data_option
def promote(what: str, stage: str, data: Path | None, **given: Any) -> Result:
    """Let a strategy go one stage on, if every gate lets it pass: from a backtest to paper, from paper to real money.

    To paper, a saved run (or the row of a sweep) is checked, rehearsed and judged; to live, a deployment must have
    shown on paper that it does what its backtest says. Each gate says one sentence; where all pass, a lock file is
    written, and `quant paper` or `quant live` trades what it says. Ends with 1 where a gate holds: nothing is written.

    \b
      quant promote macd_cross --to paper
      quant promote macdcross --row best --to paper --override out-of-sample="held back for paper"
      quant promote macd-spy-1m --to live --limit max_notional=20000 --limit max_gross=20000 --limit daily_loss=0.02
    """  # fmt: skip
    settings = config.load({"project.data": None if data is None else str(data)})
    asked = _thresholds(settings)
    shared: dict[str, Any] = {
        "thresholds": asked, "capital": given["capital"], "limits": dict(limit(text) for text in given["limits"]),
        "disaster_stop": given["disaster_stop"], "name": given["name"],
        "overrides": dict(_reason(text) for text in given["overrides"]),
    }  # fmt: skip
    found = (
        _to_paper(what, settings, given, shared)
        if stage == "paper"
        else _to_live(what, settings, given, shared)
    )
    return Result(found.to_dict(), [*_shown(found), *_next(found)], int(not found.ok))


def _to_paper(
    what: str, settings: config.Settings, given: dict[str, Any], shared: dict[str, Any]
) -> Promotion:
    from quant.promotion.gates import to_paper

    metric = str(settings["sweep.metric"]) if given["metric"] is None else given["metric"]
    check_metric(metric)
    contracts = dict(pair_of(text, "--contract", "SPY=756733") for text in given["contracts"])
    return to_paper(
        what, settings.data, row=given["row"], metric=metric, contracts=contracts, account=given["account"],
        history_start=given["history_start"], say=output.note, **shared,
    )  # fmt: skip


def _to_live(
    what: str, settings: config.Settings, given: dict[str, Any], shared: dict[str, Any]
) -> Promotion:
    said = [word for name, word in ONLY_PAPER.items() if given[name]]
    if said:
        raise click.UsageError(f"{', '.join(said)}: the deployment on paper says that.")

    from quant.promotion.gates import to_live

    return to_live(what, settings.data, _account(given["account"], what), **shared)


def can_ask() -> bool:
    """Return whether a person sits at the terminal."""
    return sys.stdin.isatty()


def _account(given: str, what: str) -> str:
    """Return the account of real money, as a person types it: twice, where one can be asked."""
    if given:
        return given
    if not can_ask():
        raise click.UsageError(
            "Real money needs its account typed. Nobody can be asked here: add --account U..."
        )
    told = f"{what} is to trade REAL MONEY. Type the number of the account"
    return str(click.prompt(told, confirmation_prompt="Type it again", err=True)).strip()


# ---------------------------------------------------------------- what is meant
def _thresholds(settings: config.Settings) -> Thresholds:
    from quant.promotion.gates import Thresholds

    try:
        return Thresholds(**settings.section("promote"))
    except ParameterError as e:
        full = f"promote.{e.name}"
        raise ConfigError(settings.values[full].origin, f"{full} = {e.value!r}", e.reason) from None


def _reason(text: str) -> tuple[str, str]:
    return pair_of(text, "--override", 'trades="..."')


def pair_of(text: str, option: str, example: str) -> tuple[str, str]:
    """Return name and value of an option's NAME=VALUE."""
    try:
        return pair(text)
    except click.BadParameter:
        raise click.BadParameter(f"{text!r}: write it as {option} {example}", param_hint=option) from None


# ---------------------------------------------------------------- showing it
def _shown(found: Promotion) -> list[Any]:
    """Return the promotion as lines, the words of the gates in colour."""
    lines: list[Any] = []
    for line in str(found).splitlines():
        word = next((w for w in COLOURS if line.startswith(f"  {w:<8} ")), None)
        lines.append(line if word is None else output.coloured(line, COLOURS[word]))
    return lines


def _next(found: Promotion) -> list[str]:
    name, account = found.deployment.name, found.deployment.account
    if found.lock is None:
        return []
    if found.stage == "paper":
        return ["", f"next: quant paper {name}"]
    return ["", f"next: quant live {name} --account {account}"]
