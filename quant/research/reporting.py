"""From a Sweep to its page: gathers what quant/report draws, explains each figure, and writes the file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from quant.errors import ParameterError, WriteFailed
from quant.metrics import NAMES
from quant.report import SweepContent, sweep_page
from quant.report.content import Floats
from quant.report.sweep_content import Fact
from quant.report.words import number
from quant.research.proof.stats import sharpe_ratios
from quant.research.proof.verdict import CONFIDENCE, T_STATISTIC, Verdict
from quant.store import atomic

if TYPE_CHECKING:
    from quant.research.result import Sweep

REPORT: Final = "report.html"
SYMBOLS: Final = 12  # of which each has a line among the facts
NO_VERIFICATION: Final = "No row was run again in backtrader."


def write_sweep_report(sweep: Sweep, path: str | Path | None = None, metric: str = "sharpe") -> Path:
    """Write the sweep's page and return its path: `path`, by default report.html in the sweep's folder.

    A folder as `path` takes a report.html. Raises ParameterError where there is no default; WriteFailed.
    """
    if path is None and sweep.folder is None:
        reason = "the sweep was not saved, so name a file: sweep.report('sweep.html')"
        if sweep.sweeps:
            reason = "symbols are saved apart, so name a file for all; or sweep.sweeps[symbol].report()"
        raise ParameterError("path", None, reason)
    target = sweep.folder if path is None else Path(path)
    assert target is not None  # noqa: S101  # for mypy: said above
    target = target / REPORT if target.is_dir() else target
    page = sweep_page(sweep_content(sweep, metric))
    try:
        atomic.put(target, page.encode())
    except OSError as e:
        raise WriteFailed(str(target), e.strerror or str(e)) from e
    return target


def sweep_content(sweep: Sweep, metric: str = "sharpe") -> SweepContent:
    """Return the sweep as plain values. Of several symbols: one page, judged by the best row of all of them."""
    found = sweep.verdict(metric)
    names = [*(["symbol"] if sweep.sweeps else []), *sweep.parameters]
    columns = [*names, *(n for n in NAMES if n not in names), "error"]
    table = {n: sweep.table[n].to_numpy() for n in columns}
    # Missing text is None on the page; pandas may keep it as NaN.
    table["error"] = np.array([e if isinstance(e, str) else None for e in table["error"]], dtype=object)
    text = _without_word(found)
    if sweep.sweeps:
        best = sweep.best_symbol(metric)
        text = f"The best of {len(sweep.sweeps)} symbols is {best}; the trials on all of them count. {text}"
    return SweepContent(
        name=_name(sweep), settings=_settings(sweep), parameters=sweep.parameters, table=table, verdict=found.word,
        text=text, facts=[*_facts(found, len(sweep.table)), *_symbols(sweep, metric)], metric=metric,
        luck=math.nan if _notes(sweep, metric) else found.expected, findings=sweep.findings, dropped=sweep.dropped,
        failed=sum(e is not None for e in table["error"]), verified=_verified(sweep), halves=_halves(sweep),
        notes=_notes(sweep, metric),
    )  # fmt: skip


def _without_word(found: Verdict) -> str:
    """Return the paragraph without the word that it begins with: the page has it on a badge."""
    rest = found.text.removeprefix(found.word.capitalize()).lstrip(":. ")
    return rest[:1].upper() + rest[1:]


def _name(sweep: Sweep) -> str:
    known = sweep.settings
    bars = [b["name"] for b in known["bars"]]
    of = ", ".join(bars) if len(bars) <= 3 else f"{', '.join(bars[:3])} and {len(bars) - 3} more"
    size = known["bars"][0]["bar"]
    first, last = min(b["first"] for b in known["bars"]), max(b["last"] for b in known["bars"])
    return f"{known['strategy']['class']} on {of}{'' if size in of else f' {size}'}, {first} to {last}"


def _settings(sweep: Sweep) -> dict[str, object]:
    """Return what made the sweep; the grid as text, for a list of a thousand values is none to read."""
    grid = {name: _values(values) for name, values in sweep.settings.get("grid", {}).items()}
    return {**sweep.settings, "grid": grid, "folder": None if sweep.folder is None else sweep.folder.name}


def _values(values: list[object]) -> str:
    if len(values) <= 20:
        return ", ".join(map(str, values))
    return f"{', '.join(map(str, values[:5]))}, ..., {values[-1]} ({len(values):,} values)"


def _verified(sweep: Sweep) -> str:
    return f"Checked against backtrader: {sweep.verified}." if sweep.verified.fast else NO_VERIFICATION


def _notes(sweep: Sweep, metric: str) -> list[str]:
    """Return why the chart of all combinations has no line for luck, nothing where it has one."""
    if metric != "sharpe":
        return [
            f"No line for luck in the chart, for what luck gives is known of the Sharpe ratio only, not of {metric}."
        ]
    if len({s.held.shape[0] for s in sweep.sweeps.values()}) > 1:
        return [
            "No line for luck in the chart, for the symbols' records differ in length and luck gives more to less."
        ]
    return []


def _halves(sweep: Sweep) -> Floats | None:
    """Return each row's Sharpe ratio a year in the first and the second half of its sessions; None if too short."""
    parts = [*sweep.sweeps.values()] if sweep.sweeps else [sweep]
    found = []
    for part in parts:
        middle = part.held.shape[0] // 2
        if middle < 2:
            return None
        year = math.sqrt(part.periods_per_year)
        for columns in part.held.parts():
            halves = (columns[:middle], columns[middle:])
            found.append(np.column_stack([sharpe_ratios(half) * year for half in halves]))
    return np.vstack(found)


# ---------------------------------------------------------------- what the figures mean
def _facts(v: Verdict, here: int) -> list[Fact]:
    """Return the figures behind the verdict, each with what it means in one sentence. here: rows of the table."""
    if v.row < 0:
        return [_trials(v, here)]
    return [_trials(v, here), *_search(v), *_pbo(v), *_around(v)]


def _trials(v: Verdict, here: int) -> Fact:
    value = f"{here:,} here" + (f", {v.trials:,} ever" if v.trials > here else "")
    meaning = (
        "The more is tried, the better the best looks by luck alone; all that was ever tried of this strategy on "
        "this instrument and bar size counts."
    )
    return "Trials", value, meaning


def _search(v: Verdict) -> list[Fact]:
    of = f"A year, of the combination that is best by {v.metric}."
    facts: list[Fact] = [("Sharpe ratio of the best", number(v.sharpe), of)]
    asked = f"{100 * CONFIDENCE:.0f} % is asked for."
    if v.trials > 1:
        luck = (
            "The Sharpe ratio that the best of so many without any edge is expected to show on such a record."
        )
        deflated = (
            "How probable it is that the true Sharpe ratio beats what luck gives to so many, as alike as their returns "
            f"are; {asked}"
        )
        facts.append(("Expected best of pure luck", number(v.expected), luck))
        facts.append(("Deflated Sharpe ratio", _share(v.deflated), deflated))
    else:
        above = f"How probable it is that the true Sharpe ratio is above 0; {asked}"
        facts.append(("Probabilistic Sharpe ratio", _share(v.deflated), above))
    errors = f"How many standard errors the Sharpe ratio is above 0; {T_STATISTIC:g} after a search."
    length = "How long the data are, and how long they would have to be to prove such a Sharpe ratio."
    return [
        *facts,
        ("t-statistic", number(v.t_statistic, ".1f"), errors),
        ("Record", f"{_years(v.years)}, {_years(v.years_needed)} needed", length),
    ]


def _pbo(v: Verdict) -> list[Fact]:
    if v.pbo is None:
        return []
    meaning = (
        "How often the best of one half of the time was no better than the middle of the field on the other half, "
        f"over {len(v.pbo.logits):,} ways to halve it; above 50 % choosing did harm."
    )
    return [("Probability of overfitting", _share(v.pbo.probability), meaning)]


def _around(v: Verdict) -> list[Fact]:
    n = v.neighbourhood
    if n is None or n.neighbours == 0:
        return []
    kept = "nothing to keep" if math.isnan(n.kept) else f"{_share(n.kept)} kept"
    meaning = (
        f"What the {n.neighbours:,} combinations one step away keep of its {v.metric} in the median, and how many of "
        "them are above 0: a plateau can be traded, a lonely peak is chance."
    )
    facts: list[Fact] = [("Neighbours of the best", f"{kept}, {_share(n.positive)} above 0", meaning)]
    if n.at_edge:
        beyond = "Its value is the lowest or highest one that was tried; what lies beyond is not known."
        facts.append(("At the edge of the grid", ", ".join(n.at_edge), beyond))
    return facts


def _symbols(sweep: Sweep, metric: str) -> list[Fact]:
    """Return a line for each symbol of several: the verdict on its own sweep, and its best parameters."""
    facts: list[Fact] = []
    for symbol, own in list(sweep.sweeps.items())[:SYMBOLS]:
        v = own.verdict(metric)
        chosen = ", ".join(f"{k}={value}" for k, value in v.parameters.items()) or "none"
        facts.append((symbol, v.word, f"On its own: Sharpe ratio {number(v.sharpe)} with {chosen}."))
    return facts


def _share(value: float) -> str:
    if 0.99 < value < 1.0:
        return "over 99 %"
    return "under 1 %" if 0.0 < value < 0.01 else number(100.0 * value, ".0f") + " %"


def _years(value: float) -> str:
    if math.isnan(value):
        return "an unknown time"
    return f"{value:,.1f} years" if math.isfinite(value) else "endless years"
