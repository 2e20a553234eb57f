"""What a pull will ask for and how long IB's limits make it take, before anything is asked for. Values; pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from quant.core.barsize import SECOND, BarSize
from quant.core.instrument import Instrument
from quant.errors import ParameterError, QuantError
from quant.ib.contracts import ContractSpec
from quant.ib.download.cells import Cells
from quant.ib.download.chunks import Chunk, check_stretch, cut_up, missing
from quant.ib.download.steps import LONGEST
from quant.ib.pacing import HistoryCost, Pacing
from quant.store.coverage import Interval

ANSWER_S: Final = 0.5  # a guess at IB's time for an answer, where the limits leave room
EXACT: Final = 20_000  # requests whose schedule is computed; of more, the rest goes on at their rate


@dataclass(frozen=True, slots=True)
class Failed:
    """A symbol that is left out, and why."""

    symbol: str
    error: QuantError

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"symbol": self.symbol, "error": type(self.error).__name__, "message": str(self.error)}


@dataclass(frozen=True, slots=True)
class Request:
    """What is pulled of one symbol. spec: the one contract. symbol: as it was given. name: of its bars in the store.

    adjusted: as of Bars.
    """

    symbol: str
    spec: ContractSpec
    instrument: Instrument
    source: str
    bar: BarSize
    what: str
    rth: bool
    adjusted: str

    @property
    def name(self) -> str:
        """What a person calls the series."""
        hours = "rth" if self.rth else "all hours"
        return f"{self.instrument.symbol} {self.bar} {self.what} {hours}"


@dataclass(frozen=True, slots=True)
class Held:
    """What the store has of a series. first, last: starts of bars."""

    coverage: tuple[Interval, ...] = ()
    empty: tuple[Interval, ...] = ()
    rows: int = 0
    first: int = 0
    last: int = 0


@dataclass(frozen=True, slots=True)
class SeriesPlan:
    """What is asked for of one series, newest first; but what checks held bars comes before all else.

    wanted: what will be covered, on the axis of the starts. held: bars in the store. why: in words, for people.
    repull: the held prices are not IB's any more; all is pulled anew beside the series, then put in its place.
    repair: what the answers lack of the sessions becomes "confirmed empty".
    """

    asked: Request
    wanted: Interval
    chunks: tuple[Chunk, ...]
    cells: Cells
    held: int
    why: str
    repull: bool = False
    repair: bool = False

    @property
    def spec(self) -> ContractSpec:
        """The contract."""
        return self.asked.spec

    @property
    def instrument(self) -> Instrument:
        """What the bars are of."""
        return self.asked.instrument

    @property
    def source(self) -> str:
        """The source under which they are stored: "ib", or "simulated"."""
        return self.asked.source

    @property
    def bar(self) -> BarSize:
        """The size."""
        return self.asked.bar

    @property
    def what(self) -> str:
        """IB's whatToShow."""
        return self.asked.what

    @property
    def rth(self) -> bool:
        """Regular trading hours only."""
        return self.asked.rth

    @property
    def name(self) -> str:
        """What a person calls the series."""
        return self.asked.name

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; times as UTC ns."""
        return {
            "name": self.name, "symbol": self.asked.symbol, "contract": str(self.spec), "source": self.source,
            "wanted": list(self.wanted), "requests": len(self.chunks), "held": self.held, "why": self.why,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a pull will do. seconds: by IB's limits."""

    series: tuple[SeriesPlan, ...]
    failed: tuple[Failed, ...] = ()
    seconds: float = 0.0

    @property
    def requests(self) -> int:
        """How many requests for bars that is."""
        return sum(len(s.chunks) for s in self.series)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "requests": self.requests,
            "seconds": round(self.seconds, 1),
            "series": [s.to_dict() for s in self.series],
            "failed": [f.to_dict() for f in self.failed],
        }

    def lines(self) -> list[str]:
        """Return the plan in words, a line for each series."""
        found = [f"{s.name}: {counted(len(s.chunks))}; {s.why}" for s in self.series]
        found += [f"{f.symbol}: left out. {f.error}" for f in self.failed]
        return [*found, f"{counted(self.requests)}, {in_words(self.seconds)} by IB's limits"]

    def __str__(self) -> str:
        return "\n".join(self.lines())


def planned(series: Iterable[SeriesPlan], failed: Iterable[Failed] = ()) -> Plan:
    """Return the plan for these series, with the time that it takes."""
    found = tuple(series)
    return Plan(found, tuple(failed), seconds(found))


def plan_series(
    asked: Request, cells: Cells, wanted: Interval, held: Held, why: str, *, repull: bool = False, look: bool = False
) -> SeriesPlan:  # fmt: skip
    """Return the requests for what `held` lacks of `wanted`.

    Where bars are held and something is asked for, the last ones held are asked for again: with the next newer
    request where that reaches so far, else by a request of their own. They tell of splits and corrections.
    look: ask for them also where nothing else is asked for.
    """
    gaps = missing(wanted, held.coverage)
    if asked.what == "ADJUSTED_LAST":
        return SeriesPlan(asked, wanted, _adjusted(asked, cells, wanted, gaps), cells, held.rows, why)
    return replace(
        SeriesPlan(asked, wanted, (), cells, held.rows, why, repull=repull),
        chunks=with_check(cells, gaps, held, look=look),
    )


def with_check(
    cells: Cells, gaps: Sequence[Interval], held: Held, *, look: bool = False
) -> tuple[Chunk, ...]:
    """Return the requests for `gaps`, and first of all what asks for held bars again."""
    plain = cut_up(cells, gaps)
    around = next((c for c in held.coverage if c[0] <= held.last < c[1]), None)
    if not (plain or look) or not held.rows or around is None:
        return tuple(plain)
    again = check_stretch(cells, held.last, around)
    if not plain:
        chunks = cut_up(cells, [again])
    elif _follows(cells, again, gaps[-1]):
        chunks = cut_up(cells, [*gaps[:-1], (again[0], gaps[-1][1])])
    elif gaps[-1][0] < again[1] and gaps[-1][1] > again[0]:  # a repair there
        chunks = plain
    else:
        chunks = [*cut_up(cells, [again]), *plain]
    marked = [replace(c, checks=c.window[0] < again[1] and c.window[1] > again[0]) for c in chunks]
    return (*(c for c in marked if c.checks), *(c for c in marked if not c.checks))


def _follows(cells: Cells, again: Interval, gap: Interval) -> bool:
    """Return whether `gap` is newer than the held stretch `again`, and no session lies between them."""
    if gap[0] <= again[1]:
        return gap[0] == again[1]
    first, stop = cells.touched(again[1], gap[0])
    return first >= stop


def _adjusted(asked: Request, cells: Cells, wanted: Interval, gaps: Sequence[Interval]) -> tuple[Chunk, ...]:
    """Return the one request for adjusted prices, which IB tells back from now only: all of it or nothing.

    Raises ParameterError where one request does not reach so far.
    """
    first, stop = cells.touched(*wanted)
    rows = [cells.touched(*gap) for gap in gaps]
    if first >= stop or all(i >= j for i, j in rows):
        return ()
    newest = max(cells.row_at(cells.known), first)  # wherever `wanted` ends
    count = newest + 1 - first
    days = int((cells.day[newest] - cells.day[first]).astype(int)) + 8
    if asked.bar.intraday:
        step = LONGEST[asked.bar]
        most = (
            0 if step.seconds is not None else step.days * 5 // 7 if step.sessions is None else step.sessions
        )
        if count > most:
            reach = {0: "not at all", 1: "over one session at most"}.get(
                most, f"over {most} sessions at most"
            )
            told = f"IB tells it back from now only, and bars of {asked.bar} {reach}; take 1d"
            raise ParameterError("what", asked.what, told)
    duration = f"{count + (not asked.bar.intraday)} D" if days < 360 else f"{days // 365 + 1} Y"
    return (Chunk(None, duration, wanted),)


# ---------------------------------------------------------------- time
def cost_of(plan: SeriesPlan, chunk: Chunk) -> HistoryCost:
    """Return what pacing must know of a request."""
    series = (plan.spec, plan.what)
    return HistoryCost(
        series, (*series, chunk.end, chunk.duration), plan.bar.ns / SECOND, 2 if plan.what == "BID_ASK" else 1
    )


def in_turn(series: Sequence[SeriesPlan]) -> list[HistoryCost]:
    """Return the costs of all requests in the order in which they are asked: one of each series in turn."""
    longest = max((len(s.chunks) for s in series), default=0)
    return [cost_of(s, s.chunks[n]) for n in range(longest) for s in series if n < len(s.chunks)]


def schedule(costs: Sequence[HistoryCost]) -> list[float]:
    """Return the moments (s, from 0) at which these requests can be sent in this order, by IB's limits alone."""
    pacing, now, found = Pacing(), 0.0, []
    for cost in costs:
        now = pacing.next_allowed(cost, now)
        pacing.record(cost, now)
        pacing.ended(cost)
        found.append(now)
    return found


def seconds(series: Sequence[SeriesPlan]) -> float:
    """Return how long the requests of these plans take by IB's limits."""
    costs = in_turn(series)
    sent = schedule(costs[:EXACT])
    if not sent:
        return 0.0
    return sent[-1] * len(costs) / len(sent) + ANSWER_S


def in_words(length_s: float) -> str:
    """Return a length of time: "40 s", "12 min", "3 h 20 min"."""
    if length_s < 90:
        return f"{math.ceil(length_s)} s"
    minutes = round(length_s / 60)
    hours, rest = divmod(minutes, 60)
    return f"{minutes} min" if not hours else f"{hours} h {rest} min" if rest else f"{hours} h"


def counted(count: int) -> str:
    """Return "no request", "1 request", "1,200 requests"."""
    return "no request" if count == 0 else "1 request" if count == 1 else f"{count:,} requests"
