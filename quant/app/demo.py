"""`quant demo`: the sample bars over the wire from a simulated TWS, our strategies on them, and a paper session."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from quant.app import output
from quant.app.command import command
from quant.app.output import Result

if TYPE_CHECKING:
    from quant.backtest import Run
    from quant.core.bars import Bars

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
    """Pull the sample bars from a simulated TWS, run all strategies on them, trade one. Offline. Writes nothing.

    The simulated TWS runs in this process and serves the sample; the bars come over a socket, in IB's protocol, as
    they would from a real one.
    """
    from quant.app.demo_paper import paper
    from quant.backtest import backtest
    from quant.strategy import strategy
    from quant.strategy.lookup import FOLDER, names, template

    folder = template() / FOLDER  # ours, also where the current folder has strategies of its own
    jobs = [(name, symbol, bar) for name in names(folder) for symbol, bar in BARS.get(name, DAILY)]
    runs = []
    with (
        tempfile.TemporaryDirectory(prefix="quant-demo-", ignore_cleanup_errors=True) as aside,
        output.progress(len(jobs) + 2) as step,
    ):
        step("pulling the sample bars from a simulated TWS")
        pulled = _pull(Path(aside), {(symbol, bar) for _, symbol, bar in jobs})
        for name, symbol, bar in jobs:
            step(f"{name} on {symbol} {bar}")
            run = backtest(strategy(name, folder), _bars(symbol, bar, Path(aside)), save=False)
            runs.append((name, symbol, bar, run))
        step("a paper session at a simulated TWS")
        traded, session = paper(_bars("SPY", "1m", Path(aside)), folder)
    rows = [_row(*r) for r in runs]
    document = {
        "pulled": dataclasses.asdict(pulled),
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
        "paper": traded.to_dict(),
    }  # fmt: skip
    table = output.table(COLUMNS, rows, right="return CAGR Sharpe drawdown trades commission")
    cheats = [name for name, _, _, run in runs if run.settings["look_ahead_ok"] is False]
    seen = (
        f"FOUND in {', '.join(cheats)}"
        if cheats
        else "none seen (signals recomputed on a few prefixes of each)"
    )
    told = [*pulled.lines(), "", table, "", f"Look-ahead: {seen}.", *HONEST, *ORIGIN, "", *session, *_next()]
    return Result(document, told, int(bool(cheats) or not pulled.equal or not traded.ok))


# ---------------------------------------------------------------- bars over the wire
@dataclass(frozen=True, slots=True)
class Pulled:
    """What came from the simulated TWS. equal: the bars are the stored ones, to the last bit."""

    bars: int
    requests: int
    seconds: float
    server_version: int
    equal: bool

    def lines(self) -> list[str]:
        """Return it in words."""
        verdict = (
            "They equal the stored ones to the last bit."
            if self.equal
            else "They DIFFER from the stored ones."
        )
        return [
            f"Pulled {self.bars:,} bars from a simulated TWS over a socket: protocol version {self.server_version},",
            f"{self.requests} requests, {self.seconds:.1f} s. {verdict}",
        ]


def _pull(data: Path, wanted: set[tuple[str, str]]) -> Pulled:
    """Pull what the wanted bars are made of into a data folder."""
    import numpy as np

    from quant.app.simulator import simulator
    from quant.ib.download import connect
    from quant.ib.download import pull as pull_bars
    from quant.store import Store
    from quant.store.folder import SAMPLE
    from quant.strategy.lookup import template

    stored = Store(template() / "data")
    held = [stored.find(s, b, source=SAMPLE) for s, b in sorted({(s, _made_of(b)) for s, b in wanted})]
    count, requests, seconds, equal = 0, 0, 0.0, True
    with simulator(stored.data) as port, connect("127.0.0.1", port, 1) as session:
        for series in held:
            first, last = series.span.split(" … ")
            report = pull_bars(series.symbol, series.bar, first, last, data=data, session=session)
            if report.error is not None:
                raise report.error
            requests, seconds = requests + report.requests, seconds + report.seconds
            own = Store(data)
            came, was = own.read(own.find(series.symbol, series.bar)), stored.read(series)
            regular = was.minutes_to_close >= 0  # the sample has a bar after each close, too
            names = ("start", "open", "high", "low", "close", "volume")
            equal &= all(np.array_equal(getattr(came, n), getattr(was, n)[regular]) for n in names)
            count += len(came)
        version = session.server_version
    return Pulled(count, requests, seconds, version, equal)


def _made_of(bar: str) -> str:
    """Return the size that is stored: intraday bars are resampled from the sample's one-minute bars."""
    from quant.core.barsize import bar_size

    return "1m" if bar_size(bar).intraday else bar


def _bars(symbol: str, bar: str, data: Path) -> Bars:
    from quant.store import bars

    made_of = _made_of(bar)
    found = bars(symbol, made_of, data=data)
    return found if made_of == bar else found.resample(bar)


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
