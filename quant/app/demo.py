"""`quant demo`: all of our own strategies on the sample bars that came with the project."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from quant.app import output
from quant.app.command import command
from quant.app.output import Result

if TYPE_CHECKING:
    from quant.backtest import Run

# What each strategy runs on: (symbol, bar size); minutes are resampled from the sample's one-minute bars.
DAILY: Final = (("SPY", "1d"), ("MSFT", "1d"))
BARS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "opening_range": (("SPY", "5m"),),
    "macd_stochastic": (("SPY", "15m"),),
}
HONEST: Final = (
    "These figures prove nothing: the rules are well known, their parameters are",
    "defaults, and each is tried in-sample, on one symbol at a time. They show that",
    "bars become orders, fills and figures.",
)
ORIGIN: Final = (
    "Bars: the project's sample, see the NOTICE.md of data/sample. SPY is inferred",
    "from the prices; the vendor behind them is not stated.",
)
COLUMNS: Final = ("strategy", "bars", "return", "CAGR", "Sharpe", "drawdown", "trades", "commission")


@command("demo")
def demo() -> Result:
    """Run all strategies on the sample bars, offline. Writes nothing."""
    from quant.backtest import backtest
    from quant.strategy import strategy
    from quant.strategy.lookup import FOLDER, names, template

    folder = template() / FOLDER  # ours, also where the current folder has strategies of its own
    jobs = [(name, symbol, bar) for name in names(folder) for symbol, bar in BARS.get(name, DAILY)]
    runs = []
    with output.progress(len(jobs)) as step:
        for name, symbol, bar in jobs:
            step(f"{name} on {symbol} {bar}")
            run = backtest(strategy(name, folder), _sample(symbol, bar), save=False)
            runs.append((name, symbol, bar, run))
    rows = [_row(*r) for r in runs]
    document = {
        "origin": " ".join(ORIGIN),
        "caveat": " ".join(HONEST),
        "runs": [
            {
                "strategy": name, "symbol": symbol, "bar": bar, "rows": run.settings["bars"][0]["rows"],
                "params": run.settings["params"], "look_ahead_ok": run.settings["look_ahead_ok"],
                "metrics": run.metrics, "findings": [f.to_dict() for f in run.findings],
            }
            for name, symbol, bar, run in runs
        ],
    }  # fmt: skip
    table = output.table(COLUMNS, rows, right="return CAGR Sharpe drawdown trades commission")
    cheats = [name for name, _, _, run in runs if run.settings["look_ahead_ok"] is False]
    seen = (
        f"FOUND in {', '.join(cheats)}"
        if cheats
        else "none seen (signals recomputed on a few prefixes of each)"
    )
    return Result(
        document, [table, "", f"Look-ahead: {seen}.", *HONEST, *ORIGIN, *_next()], int(bool(cheats))
    )


def _sample(symbol: str, bar: str) -> Any:
    """Return bars of the sample, resampled from its one-minute bars where they are intraday."""
    from quant.core.barsize import bar_size
    from quant.store import bars
    from quant.store.folder import SAMPLE
    from quant.strategy.lookup import template

    data = template() / "data"
    if not bar_size(bar).intraday:
        return bars(symbol, bar, source=SAMPLE, data=data)
    minutes = bars(symbol, "1m", source=SAMPLE, data=data)
    return minutes if bar == "1m" else minutes.resample(bar)


def _row(name: str, symbol: str, bar: str, run: Run) -> tuple[str, ...]:
    m = run.metrics
    # A yearly rate of four days says nothing.
    cagr = m["cagr"] if bar == "1d" else math.nan
    return (
        name, f"{symbol} {bar}", output.percent(m["total_return"]), output.percent(cagr),
        output.number(m["sharpe"] if bar == "1d" else math.nan), output.percent(m["max_drawdown"]),
        str(m["trades"]), output.number(m["commission"], ",.2f"),
    )  # fmt: skip


def _next() -> list[str]:
    from quant.store.folder import find_project

    if find_project() is None:
        return ["", "next: quant init myproject", "      cd myproject", "      quant backtest macd SPY"]
    return ["", "next: quant backtest macd SPY"]
