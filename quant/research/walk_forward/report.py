"""WalkForward: what a walk-forward gives back: windows, the joined account, what they prove, the page.

How it judges. No test span took part in the choice that it tests, so the joined account is one record and not the
best of many: its Sharpe ratio is held against 0 (probabilistic Sharpe ratio) and has to reach the t-statistic that
stands in for all that was tried before and never written down (verdict.py). The deflated Sharpe ratio, which counts
every trial of the ledger as if the account were the best of them, is told and not judged by.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from quant.backtest.result import Run
from quant.core.finding import Finding
from quant.core.sessions import Floats
from quant.errors import ParameterError, WriteFailed
from quant.metrics.bootstrap import FEWEST
from quant.report import WalkForwardContent, walk_forward_page
from quant.report.sweep_content import Fact
from quant.research.proof.stats import deflated_sharpe, moments, probabilistic_sharpe
from quant.research.proof.verdict import CONFIDENCE, LEAST_KEPT, T_STATISTIC, Word
from quant.research.result import LOW_IS_GOOD, UNCOUNTED
from quant.store import atomic

DATES: Final = ("train_first", "train_last", "test_first", "test_last")
# Figures that grow with the length of a span; growth a year stands for them where two spans are compared.
GROWING: Final = frozenset({"total_return", "final_value", "final_cash"})
COUNTS: Final = frozenset({"trades", "buy_hold_return", *LOW_IS_GOOD})  # no share of them is kept or lost
JUMPS: Final = 0.25  # of a parameter's range, a window; a choice: random picks among many values give a third
SHOWN: Final = 12  # windows in the text
NAME: Final = "report.html"


@dataclass(eq=False, repr=False)
class WalkForward:
    """A finished walk-forward.

    windows: a row each: train_first, train_last, test_first, test_last (session dates, both ends included), the
    parameters chosen, in_sample and out_of_sample (of the metric), return and trades out of sample. parameters: all
    of those chosen, ready for q.backtest(params=), None for a window that stayed flat. account: the joined
    out-of-sample account as a Run. in_sample: mean over the windows of what was chosen, in the figure that
    `efficiency` compares. chose: whether two combinations gave different results in any training span; where none did
    nothing was chosen. settings: all that made it. folder: where training is kept.
    """

    settings: dict[str, Any]
    windows: pd.DataFrame
    parameters: tuple[dict[str, Any] | None, ...]
    account: Run
    in_sample: float
    chose: bool
    folder: Path | None = None

    @property
    def metric(self) -> str:
        """What the best was chosen by."""
        return str(self.settings["walk_forward"]["metric"])

    @property
    def equity(self) -> pd.Series[float]:
        """The joined account's value by END, UTC."""
        return self.account.equity

    @property
    def returns(self) -> pd.Series[float]:
        """The joined account's simple return of each session, by naive session date."""
        return self.account.returns

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of the joined account, as those of q.backtest."""
        return self.account.metrics

    @property
    def findings(self) -> list[Finding]:
        """What a person should know besides the figures."""
        return self.account.findings

    @property
    def trials(self) -> int:
        """How many combinations were ever tried of this strategy on this instrument and bar."""
        return int(self.settings["trials"])

    @property
    def efficiency(self) -> float:
        """The metric of the joined account over its mean in training: the share that was kept on data not seen.

        NaN where training did not give more than 0, and for metrics of which no share can be kept. Metrics that grow
        with the length of a span are compared by growth a year.
        Source: walk-forward efficiency, R. Pardo, The Evaluation and Optimization of Trading Strategies (2008), ch. 11.
        """
        if not self.in_sample > 0.0:
            return math.nan
        return self.metrics["cagr" if self.metric in GROWING else self.metric] / self.in_sample

    @cached_property
    def verdict(self) -> Judgement:
        """What the walk-forward proves: .word (luck, unclear, edge), .text in plain words, and the facts behind it."""
        return _judged(self)

    def report(self, path: str | Path | None = None) -> Path:
        """Write the walk-forward as one HTML page and return where: `path`, by default report.html in its folder.

        Raises WriteFailed.
        """
        return _write(self, path)

    def __repr__(self) -> str:
        head, table, tail = _lines(self)
        return "\n".join([*head, table.to_string(index=False), *tail])

    def _repr_html_(self) -> str:
        head, table, tail = _lines(self)
        a, b = ("<br>".join(map(html.escape, part)) for part in (head, tail))
        return f"<p>{a}</p>{table.to_html(index=False)}<p>{b}</p>"


def walk_forward_content(result: WalkForward) -> WalkForwardContent:
    """Return the walk-forward as the plain values that its page is made of."""
    w, found, known = result.windows, result.verdict, result.settings
    sessions, equity, hold = _by_session(result.account)
    table: dict[str, Any] = {name: w[name].to_numpy().astype("datetime64[D]") for name in DATES}
    names = _parameters(result)
    table |= {
        n: w[n].to_numpy(dtype=object) if w[n].dtype.kind not in "iufb" else w[n].to_numpy() for n in names
    }
    table |= {n: w[n].to_numpy(dtype=np.float64) for n in ("in_sample", "out_of_sample", "return")}
    return WalkForwardContent(
        name=f"{known['strategy']['class']} on {_bars(result)}", settings=known, parameters=names, windows=table,
        sessions=sessions, equity=equity, hold=hold, cash=float(known["cash"]), efficiency=result.efficiency,
        verdict=found.word, text=found.text, facts=_facts(found), metric=result.metric, findings=result.findings,
    )  # fmt: skip


def _write(result: WalkForward, path: str | Path | None) -> Path:
    if path is None and result.folder is None:
        raise ParameterError("path", None, f"nothing was saved, so name a file: result.report('{NAME}')")
    target = Path(path) if path is not None else Path(str(result.folder))
    target = target / NAME if path is None or target.is_dir() else target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic.put(target, walk_forward_page(walk_forward_content(result)).encode())
    except OSError as e:
        raise WriteFailed(str(target), e.strerror or str(e)) from e
    return target


# ---------------------------------------------------------------- judging
@dataclass(frozen=True, slots=True)
class Judgement:
    """What a walk-forward proves; NaN where a figure could not be had.

    word: luck, unclear or edge. text: the paragraph. reasons: why not edge. sharpe: of the joined account, a year.
    probabilistic: probability that the true one is above 0; deflated: that it is above what the best of `trials`
    without an edge is expected to show. t_statistic: sharpe against 0. won: share of the windows that made money.
    efficiency: share of the metric that was kept. hold_return, hold_sharpe: of buying and holding over the same
    sessions. combinations: those of the grid; chose: whether any two of them differed, so that there was a choice.
    moves: of each parameter that had several values, how often the choice changed between windows, and by which share
    of its range in the mean, NaN for words.
    """

    word: Word
    text: str
    reasons: tuple[str, ...]
    sharpe: float
    probabilistic: float
    deflated: float
    t_statistic: float
    trials: int
    won: float
    efficiency: float
    hold_return: float
    hold_sharpe: float
    combinations: int
    chose: bool
    moves: Mapping[str, tuple[int, float]]

    def __str__(self) -> str:
        return self.text


def _judged(result: WalkForward) -> Judgement:
    run = result.account
    returns = run.returns.to_numpy()
    year = math.sqrt(_per_year(run))
    sample, n = moments(returns), len(returns)
    probabilistic = deflated = math.nan
    if math.isfinite(sample.sharpe):
        skew, kurtosis = sample.skew, sample.kurtosis
        probabilistic = probabilistic_sharpe(sample.sharpe, 0.0, n, skew=skew, kurtosis=kurtosis)
        if all(f.code != UNCOUNTED for f in result.findings):
            # The spread that luck gives to independent trials, as in verdict.py.
            deflated = deflated_sharpe(
                sample.sharpe, n, variance=1.0 / (n - 1), trials=result.trials, skew=skew, kurtosis=kurtosis
            )
    _, _, hold = _by_session(run)
    start = float(result.settings["cash"])
    held = moments(np.diff(hold, prepend=start) / np.append(start, hold[:-1]))
    facts: dict[str, Any] = {
        "sharpe": sample.sharpe * year, "probabilistic": probabilistic, "deflated": deflated,
        "t_statistic": sample.sharpe * math.sqrt(n), "trials": result.trials,
        "won": float((result.windows["return"] > 0.0).mean()), "efficiency": result.efficiency,
        "hold_return": hold[-1] / start - 1.0, "hold_sharpe": held.sharpe * year,
        "combinations": int(result.settings["combinations"]), "chose": result.chose, "moves": _moves(result),
    }  # fmt: skip
    word, reasons = _word(Judgement("unclear", "", (), **facts), result)
    bare = Judgement(word, "", reasons, **facts)
    return Judgement(word, _text(bare, result), reasons, **facts)


def _word(j: Judgement, result: WalkForward) -> tuple[Word, tuple[str, ...]]:
    """Return the word and what speaks against an edge."""
    if result.metrics["final_value"] <= 0.0:
        return "luck", ("out of sample all was lost",)
    sessions = len(result.returns)
    if sessions < FEWEST:
        return "unclear", (
            f"{sessions} sessions out of sample are too few to say anything; {FEWEST} are the least",
        )
    if not math.isfinite(j.sharpe):
        return "unclear", ("nothing was traded out of sample",)
    if j.sharpe <= 0.0:
        return "luck", ("out of sample it made no money",)
    if not j.probabilistic >= CONFIDENCE:
        return "luck", ("what it made out of sample is no more than chance gives",)
    reasons = []
    if not j.t_statistic >= T_STATISTIC:
        told = (
            f"a t-statistic of {j.t_statistic:.1f} is below the {T_STATISTIC:g} that a finding has to reach"
        )
        reasons.append(told)
    if j.efficiency < LEAST_KEPT:
        reasons.append(f"less than half of the {result.metric} in training was kept")
    if not j.won > 0.5:
        reasons.append("no more than half of the windows made money")
    if j.combinations == 1:
        reasons.insert(0, "only one combination was tried, so this is a backtest and not out of sample")
    elif not j.chose:
        told = "in no training span did two combinations give different results"
        reasons.insert(0, f"{told}, so nothing was chosen, and this is a backtest and not out of sample")
    return ("unclear", tuple(reasons)) if reasons else ("edge", ())


def _moves(result: WalkForward) -> dict[str, tuple[int, float]]:
    """Return how often, and by which mean share of its range, each parameter's choice changed between windows."""
    chosen = [p for p in result.parameters if p is not None]
    found = {}
    for name, values in result.settings["grid"].items():
        if len(values) < 2:
            continue
        series = [p[name] for p in chosen]
        pairs = list(pairwise(series))
        far = math.nan
        if pairs and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
            place = {v: k for k, v in enumerate(sorted(values))}
            far = float(np.mean([abs(place[a] - place[b]) for a, b in pairs])) / (len(values) - 1)
        found[name] = sum(a != b for a, b in pairs), far
    return found


# ---------------------------------------------------------------- words
def _text(j: Judgement, result: WalkForward) -> str:
    """Return the paragraph; a trader who knows no statistics is meant to follow it."""
    windows, years = len(result.windows), len(result.returns) / _per_year(result.account)
    made = result.metrics["total_return"]
    account = f"{_made(made)} with a Sharpe ratio of {_number(j.sharpe)} a year"
    holding = f"buying and holding {_made(j.hold_return)} with {_number(j.hold_sharpe)}"
    told = f"over {years:.1f} years, the account {account}; {holding}"
    seen = f"On data that no choice had seen, {told}."
    if not j.chose:
        told = (
            f"{told}. Nothing was chosen here: whoever took these parameters from a search has seen its bars"
        )
        seen = f"In the test spans, {told}."
    parts = [
        f"{j.word.capitalize()}" + (f": {'; '.join(j.reasons)}." if j.reasons else "."),
        seen,
        f"{round(j.won * windows)} of {_count(windows, 'window')} made money.",
    ]
    if math.isfinite(j.efficiency):
        kept = f"{100.0 * j.efficiency:.0f} %" if j.efficiency > 0.0 else "nothing"
        parts.append(f"Of the {result.metric} in training {kept} was kept (walk-forward efficiency).")
    if math.isfinite(j.probabilistic):
        every = _count(j.trials, "combination")
        stricter = "; it is not, as no choice saw the test that followed" if j.chose else ""
        deflated = (
            f"Were the account the best of all {every} ever tried on these data, this would be {_percent(j.deflated)} "
            f"(deflated Sharpe ratio){stricter}."
        )
        if not math.isfinite(j.deflated):
            deflated = "How many were ever tried cannot be told, so neither can its deflated Sharpe ratio."
        parts.append(
            f"That the true Sharpe ratio is above 0 has a probability of {_percent(j.probabilistic)} (probabilistic "
            f"Sharpe ratio; {_percent(CONFIDENCE)} is asked for). " + deflated
        )
    parts.append(_steadiness(j.moves, sum(p is not None for p in result.parameters) - 1))
    if j.word == "edge":
        parts.append("This says better than nothing, not better than holding, and not that it lasts.")
    return " ".join(p for p in parts if p)


def _steadiness(moves: Mapping[str, tuple[int, float]], chances: int) -> str:
    if not moves or chances < 1:
        return ""
    if not any(changes for changes, _ in moves.values()):
        return "The chosen parameters never changed."
    told = [f"{name} changed {n} of {chances} times" for name, (n, _) in moves.items()]
    jumping = [name for name, (_, far) in moves.items() if far >= JUMPS]
    text = f"From window to window {', '.join(told)}"
    if jumping:
        text += (
            f"; {', '.join(jumping)} jump{'s' if len(jumping) == 1 else ''} by a quarter of the range or more in the "
            "mean, as choices by noise do"
        )
    return f"{text}."


def _facts(j: Judgement) -> list[Fact]:
    stricter = f"The same, were the account the best of all {_count(j.trials, 'combination')} ever tried"
    if math.isfinite(j.probabilistic) and not math.isfinite(j.deflated):
        stricter = "How many were ever tried cannot be told"
    elif j.chose:
        stricter += "; stricter than needed, as no choice saw the test that followed"
    return [
        ("Sharpe ratio", _number(j.sharpe), "Of the joined account out of sample, a year."),
        ("Probabilistic Sharpe ratio", _percent(j.probabilistic), "Probability that the true Sharpe ratio is above 0."),
        ("Deflated Sharpe ratio", _percent(j.deflated), f"{stricter}."),
        ("Windows that made money", _percent(j.won), "Share of the test spans with a return above 0."),
        (
            "Buying and holding", f"{j.hold_return:+.1%}",
            f"Over the same sessions, with a Sharpe ratio of {_number(j.hold_sharpe)}.",
        ),
    ]  # fmt: skip


def _lines(result: WalkForward) -> tuple[list[str], pd.DataFrame, list[str]]:
    how, m = result.settings["walk_forward"], result.metrics
    kind = "anchored" if how["anchored"] else "rolling"
    more = f", the last {SHOWN} shown" if len(result.windows) > SHOWN else ""
    spans = f"train {how['train']} {kind}, embargo {how['embargo']}, test {how['test']}"
    figures = {
        "return": f"{m['total_return']:+.2%}", "Sharpe": _number(m["sharpe"]),
        "max drawdown": f"{m['max_drawdown']:.2%}", "trades": f"{m['trades']:,}",
        "buy & hold": f"{m['buy_hold_return']:+.2%}", "efficiency": _number(result.efficiency),
    }  # fmt: skip
    sources = ", ".join(sorted({b["source"] for b in result.settings["bars"]}))
    head = [
        f"{result.settings['strategy']['class']} · {_bars(result)} · {sources}",
        f"{_count(len(result.windows), 'window')}{more} · {spans} · by {how['metric']}",
        f"out of sample: {' · '.join(f'{k} {v}' for k, v in figures.items())}",
    ]
    tail = [f"{f.level}: {f.message}" + (f" ({f.count:,})" if f.count != 1 else "") for f in result.findings]
    tail.append(f"verdict: {result.verdict.text}")
    if result.folder is not None:
        tail.append(f"saved: {result.folder}")
    shown = result.windows.tail(SHOWN)
    figures_of = [n for n in shown if shown[n].dtype.kind == "f"]
    return head, shown.round(dict.fromkeys(figures_of, 4)), tail


def _bars(result: WalkForward) -> str:
    known = result.settings["bars"]
    return ", ".join(f"{b['name']} {b['bar']} {b['first']} … {b['last']}" for b in known)


def _parameters(result: WalkForward) -> list[str]:
    return list(result.settings["grid"])


def _per_year(run: Run) -> float:
    return min(run.bars or (), key=lambda b: b.bar.ns).periods_per_year


def _by_session(run: Run) -> tuple[Any, Floats, Floats]:
    """Return session dates, the account, and buying and holding with the same cash, at each session's end."""
    sessions = run.returns.index.to_numpy().astype("datetime64[D]")
    end = run.equity.index.as_unit("ns").asi8  # type: ignore[attr-defined]  # the stubs say Index
    over, grown = np.full(len(sessions), -1, dtype=np.int64), np.zeros(len(sessions))
    bars: Sequence[Any] = run.bars or ()
    for b in bars:
        at = np.searchsorted(b.session, sessions, side="right") - 1
        over = np.maximum(over, np.where(at >= 0, b.end[np.maximum(at, 0)], -1))
        first = float(b.close[0])
        grown += b.close[np.maximum(at, 0)] / first if first > 0.0 else math.nan
    equity: Floats = np.asarray(run.equity, dtype=np.float64)[np.searchsorted(end, over)]
    return sessions, equity, grown / len(bars) * float(run.settings["cash"])


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _made(fraction: float) -> str:
    return f"{'lost' if fraction < 0.0 else 'made'} {100.0 * abs(fraction):.1f} %"


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "-"


def _percent(share: float) -> str:
    if not math.isfinite(share):
        return "-"
    if 0.0 < share < 0.01:
        return "under 1 %"
    if 0.99 < share < 1.0:
        return "over 99 %"
    return f"{100.0 * share:.0f} %"
