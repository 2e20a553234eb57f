"""A day of live laid beside its model: bars, decisions, orders, fills, and the profit of both. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import backtrader as bt

from quant.backtest.job import Job, make_job
from quant.core.bars import Bars
from quant.errors import ParameterError
from quant.live.run.tape import BarLine, Line
from quant.oms.ledger import Ledger
from quant.promotion.causes import UNEXPLAINED, Evidence, Slow, moment
from quant.promotion.difference import Difference, Pair, compared, differences_of, order_words
from quant.promotion.expected import Stepped
from quant.promotion.facts import OrderFact
from quant.promotion.parity.bars import Laid, lay, split_before, unsplit
from quant.promotion.parity.day import Day, day_of
from quant.promotion.parity.lived import JournalBooks, Lived, fills_of, lived
from quant.promotion.parity.model import Modelled, decisions_on, model
from quant.promotion.parity.running import Ran, idle, ran, spans
from quant.promotion.parity.split import Deal, Dealt, Held, split
from quant.promotion.parity.value import BarRow, DecisionRow, FillRow, OrderRow, Parity, Slippage
from quant.promotion.said import said
from quant.promotion.session_end import session_end
from quant.strategy import Strategy, plans

_PARTS: Final = {
    "data": "revised data",
    "bar": "revised data",
    "carried": "carried",
}  # of rules; else missed, extra


@dataclass(frozen=True, slots=True, eq=False)
class Traded:
    """What was deployed: name, strategy with all its parameters, and the settings that decide sizes and costs."""

    name: str
    strategy: type[bt.Strategy]
    params: Mapping[str, Any]
    capital: float
    costs: str = "ib-fixed"
    sizing: str | None = None
    start_rule: str = "next-change"


def check_covered(cls: type[bt.Strategy]) -> None:
    """Raise ParameterError for a strategy whose day cannot be replayed."""
    if not issubclass(cls, Strategy):
        told = "is a plain bt.Strategy, whose orders come from a state of its own that no day can begin with"
        raise ParameterError("strategy", cls.__name__, f"{told}. Parity is of a q.Strategy: docs/parity.md")


def compare(
    traded: Traded,
    bars: Sequence[Bars],
    ledger: Ledger,
    lines: Sequence[Line],
    date: str,
    steps: Mapping[str, Stepped] | None = None,
) -> Parity:
    """Return the parity of a day. bars: as they stand now, since the history's start. lines: of the tape.

    steps: of prices, by symbol. Raises ParameterError, EmptyRange, NotTraded, StrategyError.
    """
    cls = traded.strategy
    check_covered(cls)
    whole = day_of(bars, date)
    told = [[x for x in lines if isinstance(x, BarLine) and x.symbol == b.symbol] for b in bars]
    lasted = ran(traded.name, whole, bars, told, spans(ledger, lines))
    day = lasted.day
    own, findings = _as_then(bars, lines, day)
    own = [
        b[: last if first < last else _upto(b, day)] for b, (first, last) in zip(own, day.rows, strict=True)
    ]
    books = JournalBooks(ledger)
    past = lived(books, lines, own, day, traded.capital)
    job = make_job(
        cls, own, params=traded.params, cash=traded.capital, costs=traded.costs, sizing=traded.sizing,
        start_rule=traded.start_rule,
    )[0]  # fmt: skip
    made = model(job, day, past.began, float(past.before.cash), past.stood, steps or {})
    laid = lay(own, past.bars, day, past.began, lasted.at)
    evidence = _evidence(job, past, made, laid, lasted, steps or {})
    pairs = compared(made.orders, past.orders, evidence)
    outside = len(fills_of(books, bars, whole)) - len(past.fills)
    return _Told(
        traded, job, past, made, laid, lasted, evidence, pairs, [*findings, *idle(lasted, outside)]
    ).parity()


def _upto(bars: Bars, day: Day) -> int:
    return int((bars.end <= day.end).sum())


def _lines_of(lines: Sequence[Line], symbol: str, day: Day) -> list[BarLine]:
    """Return the bars of the day's session."""
    return [
        line
        for line in lines
        if isinstance(line, BarLine) and line.symbol == symbol and day.begin < line.end <= day.end
    ]


def _as_then(bars: Sequence[Bars], lines: Sequence[Line], day: Day) -> tuple[list[Bars], list[str]]:
    """Return the bars in the units of the day, and what was done to them."""
    own, findings = [], []
    for n, b in enumerate(bars):
        there, ratio = unsplit(b, _lines_of(lines, b.symbol, day), day, n)
        own.append(there)
        if ratio != 1.0:
            text = f"a split since: IB's prices of {b.symbol} times {ratio:g} are those that live had; so they count"
            findings.append(text)
    return own, findings


# ---------------------------------------------------------------- evidence
def _evidence(
    job: Job, past: Lived, made: Modelled, laid: Laid, lasted: Ran, steps: Mapping[str, Stepped]
) -> Evidence:
    day, symbols = past.day, [b.symbol for b in job.bars]
    untimely = {
        (n, line.end)
        for n, told in enumerate(past.bars)
        for line in told
        if not line.live and day.decides(line.end)
    }
    ticks = [steps[b.symbol].tick(float(b.close[-1])) if b.symbol in steps else 0.0 for b in job.bars]
    return Evidence(
        symbols,
        late=past.late,
        untimely=frozenset(untimely),
        missing=laid.apart,
        slow=tuple(_slow(past, job.bars)),
        said=said([*past.gate, *past.notes], symbols),
        mixed=len({b.bar for b in job.bars}) > 1,
        market=True,
        data=_data(job, past, made, laid),
        carried=past.carried,
        asked=past.asked,
        belated=past.belated,
        withheld={(symbols.index(r.symbol), r.end): r.why for r in past.refused if r.symbol in symbols},
        gaps=lasted.gaps,
        delayed=frozenset(
            (n, line.end)
            for n, told in enumerate(past.bars)
            for line in told
            if line.delayed and not line.live
        ),
        ticks=ticks,
        whole_from=max((int(b.end[0]) for b in job.bars), default=0),
    )


def _slow(past: Lived, bars: Sequence[Bars]) -> Iterator[Slow]:
    for order in past.orders:
        for fill in order.fills:
            # At its bar's END what rested is told in time, and what was filled at the beginning is not.
            heard = past.heard.get(fill.exec_id, 0) + (order.kind == "market")
            if heard > bars[order.feed].end[fill.bar]:
                yield Slow(fill.time, heard, f"{fill.quantity:+g} at {fill.price:g}")


def _data(job: Job, past: Lived, made: Modelled, laid: Laid) -> dict[tuple[int, int], str]:
    """Return the decisions that live made otherwise because its bars were others: those bars give them again."""
    if not laid.apart or not all(len(b) for b in laid.came):
        return {}
    assert issubclass(job.strategy, Strategy)  # noqa: S101  # `compare` has refused others
    again = decisions_on(
        job, laid.came, plans(job.strategy, laid.came, job.params), past.day, past.began, past.stood
    )
    found = {}
    for at in {*made.decisions, *past.decisions, *again}:
        if made.decisions.get(at) != past.decisions.get(at) == again.get(at):
            found[at] = _of_bars(at, job.bars, past, laid)
    return found


def _of_bars(at: tuple[int, int], bars: Sequence[Bars], past: Lived, laid: Laid) -> str:
    """Return which bars made a decision another one."""
    feed, end = at
    ratio = split_before(bars[feed], past.bars[feed], past.day, feed)
    if ratio != 1.0:
        return f"a split: live's earlier bars were {ratio:g} times what they are now"
    last = max((e for n, e in laid.apart if n == feed and e <= end), default=None)
    if last is None:
        last = max((e for _, e in laid.apart if e <= end), default=end)
    words = next(
        (laid.apart[n, last] for n in range(len(bars)) if (n, last) in laid.apart), "its bars were others"
    )
    return words if last == end else f"the bar of {moment(last)}: {words}"


# ---------------------------------------------------------------- all of it
@dataclass(frozen=True, slots=True, eq=False)
class _Told:
    traded: Traded
    job: Job
    past: Lived
    made: Modelled
    laid: Laid
    ran: Ran
    evidence: Evidence
    pairs: Sequence[Pair]
    findings: Sequence[str]

    def parity(self) -> Parity:
        """Put it together."""
        past, marks = self.past, [float(b.close[-1]) for b in self.job.bars]
        held = self._held(marks)
        found = split([*self._dealt(), *self._taken_over()], held)
        prices = {b.instrument.con_id or 0: mark for b, mark in zip(self.job.bars, marks, strict=True)}
        first = {b.instrument.con_id or 0: held.before[n] for n, b in enumerate(self.job.bars)}
        live = past.after.equity(prices) - past.before.equity(first)
        decisions = self._decisions()
        differences = [
            *differences_of(self.pairs, self.evidence),
            *(self._parted(row) for row in decisions if not row.same),
            *(Difference(r.at, r.symbol, "bars", "as IB has it now", r.words, self._of_bar(r))
              for r in self.laid.count.rows),
        ]  # fmt: skip
        return Parity(
            deployment=self.traded.name, strategy=self.job.strategy.__name__,
            symbols=tuple(b.symbol for b in self.job.bars), day=past.day.date, bars=self.laid.count,
            decisions=decisions, orders=tuple(self._orders()), fills=tuple(self._fills(marks)),
            pnl=(float(found.model), live), split=found.parts, unexplained=round(live - float(found.live), 6) + 0.0,
            differences=tuple(sorted(differences, key=lambda d: d.at)), slippage=self._slippage(), notes=past.notes,
            findings=tuple(self._found()), session=self.ran.session, compared=self.ran.compared,
            gaps=tuple((gap.begin, gap.end) for gap in self.ran.gaps),
            over=session_end(past.day.date, (b.instrument for b in self.job.bars), rth=self.job.bars[0].rth),
        )  # fmt: skip

    # ------------------------------------------------------------ money
    def _worth(self, feed: int) -> float:
        instrument = self.job.bars[feed].instrument
        return instrument.multiplier / instrument.price_magnifier

    def _held(self, marks: Sequence[float]) -> Held:
        day, bars = self.past.day, self.job.bars
        before = {}
        for n, b in enumerate(bars):
            row = int((b.end <= day.begin).sum()) - 1
            before[n] = float(b.close[row]) if row >= 0 else marks[n]
        return Held(
            {n: stood.position for n, stood in enumerate(self.past.stood)}, before, dict(enumerate(marks)),
            {n: self._worth(n) for n in range(len(bars))},
        )  # fmt: skip

    def _dealt(self) -> Iterator[Dealt]:
        parts: dict[int, str] = {}  # of what follows, by feed: as what it follows from
        for pair in self.pairs:
            rule = next((r for what, _, _, r, _ in pair.found if what in ("order", "end", "fill")), "")
            feed = pair.order.feed
            part = parts.get(feed, "") if rule in ("follows", "sized") else _PARTS.get(rule, "")
            if pair.found and rule not in ("follows", "sized", "slippage", "later", "belated"):
                parts[feed] = part
            model, live = (_deals(order) for order in (pair.one, pair.two))
            if model or live:
                ours = Dealt(None, tuple(model)).mean
                yield Dealt(ours, tuple(live), self._then(pair, ours), part)

    def _then(self, pair: Pair, model: Deal | None) -> float:
        """Return the model's price in the bars in which live was filled."""
        if pair.one is None or pair.two is None or model is None or not pair.two.fills:
            return math.nan
        known = {fill.bar: fill.price for fill in pair.one.fills}
        opens, prices = self.job.bars[pair.two.feed].open, []
        for fill in pair.two.fills:
            price = known.get(fill.bar)
            if price is None:  # where an exit had filled in another bar, nobody but live can say
                price = float(opens[fill.bar]) if pair.two.kind == "market" else fill.price
            prices.append(price)
        if len(set(prices)) == 1:
            return prices[0]
        size = math.fsum(f.quantity for f in pair.two.fills)
        paid = math.fsum(p * f.quantity for p, f in zip(prices, pair.two.fills, strict=True))
        return paid / size if size else math.nan

    def _taken_over(self) -> Iterator[Dealt]:
        """Give what no order made: holdings that were adopted or put right by a person."""
        numbers = {b.instrument.con_id: n for n, b in enumerate(self.job.bars)}
        for holding in self.past.holdings:
            price = 0.0 if holding.price is None else holding.price
            yield Dealt(None, (Deal(numbers[holding.con_id], float(holding.quantity), price, 0.0),))

    # ------------------------------------------------------------ rows
    def _decisions(self) -> tuple[DecisionRow, ...]:
        past, made = self.past, self.made
        withheld = {(r.symbol, r.end): r.why for r in past.refused}
        refused = {
            (o.feed, o.decided): f"{o.status}: {o.why}"
            for o in past.orders
            if o.status in ("not sent", "rejected")
        }
        rows = []
        for at in sorted({*made.decisions, *past.decisions}, key=lambda at: (at[1], at[0])):
            ours, live = made.decisions.get(at), past.decisions.get(at)
            symbol = self.evidence.symbols[at[0]]
            gap = self.evidence.gap_at(at[1])
            same = ours == live or (bool(gap) and live is None)
            why = ""
            if gap and same:
                why = gap
            elif not same:
                why = self._why(at)
            elif at in past.late:
                why = self._untimely(at)
            else:
                why = withheld.get((symbol, at[1])) or refused.get(at, "")
            rows.append(DecisionRow(at[1], symbol, ours, live, same, why))
        return tuple(rows)

    def _why(self, at: tuple[int, int]) -> str:
        """Return why a decision is not the model's."""
        evidence = self.evidence
        if at in evidence.data:
            return evidence.data[at]
        if at in evidence.missing:
            return evidence.missing[at]
        return self._untimely(at) if at in evidence.late | evidence.untimely else UNEXPLAINED

    def _untimely(self, at: tuple[int, int]) -> str:
        """Return why a bar could not be traded on."""
        wanted = OrderFact(at[0], at[1], "", "market", 0.0, math.nan, "filled")
        return compared([wanted], [], self.evidence)[0].found[0][4]

    def _parted(self, row: DecisionRow) -> Difference:
        model, live = ("" if v is None else f"target {v:g}" for v in (row.model, row.live))
        return Difference(row.at, row.symbol, "decision", model, live, row.why)

    def _of_bar(self, row: BarRow) -> str:
        if row.state == "revised":
            return "IB changed the bar after it came live"
        if row.state == "extra":
            return "IB took the bar back after it came live"
        feed = self.evidence.symbols.index(row.symbol)
        return self.evidence.of_bar(feed, row.at, self.job.bars[feed].bar.ns) or "IB's live bars lacked it"

    def _orders(self) -> Iterator[OrderRow]:
        for pair in self.pairs:
            why = "; ".join(
                dict.fromkeys(why for what, *_, why in pair.found if not _is_of_price(pair, what))
            )
            order = pair.order
            yield OrderRow(
                order.decided, self.evidence.symbols[order.feed], order.reason, order_words(pair.one),
                order_words(pair.two), not why, why, "" if pair.two is None else pair.two.ref,
            )  # fmt: skip

    def _fills(self, marks: Sequence[float]) -> Iterator[FillRow]:
        for pair in self.pairs:
            old, new = (Dealt(None, tuple(_deals(order))).mean for order in (pair.one, pair.two))
            if old is None and new is None:
                continue
            order = pair.order
            gains = [self._gain(deal, marks) for deal in (old, new)]
            why = "; ".join(dict.fromkeys(why for what, _, _, _, why in pair.found if what != "commission"))
            yield FillRow(
                order.decided, self.evidence.symbols[order.feed], order.reason, *_figures(old), *_figures(new),
                difference=gains[1] - gains[0],
                why=why or next((why for *_, why in pair.found), ""),
                time=pair.two.fills[-1].time if pair.two is not None and pair.two.fills else 0,
            )  # fmt: skip

    def _gain(self, deal: Deal | None, marks: Sequence[float]) -> float:
        if deal is None:
            return 0.0
        return deal.quantity * (marks[deal.feed] - deal.price) * self._worth(deal.feed) - deal.fee

    def _slippage(self) -> Slippage | None:
        costs = []
        for order in (o for o in self.past.orders if o.kind == "market"):
            for fill in (f for f in order.fills if f.quantity):
                fair = float(self.job.bars[order.feed].open[fill.bar])
                costs.append(math.copysign(1.0, fill.quantity) * (fill.price - fair) / fair * 1e4)
        return Slippage(statistics.median(costs), statistics.fmean(costs), len(costs)) if costs else None

    def _found(self) -> Iterator[str]:
        yield from self.findings
        untold = sum(math.isnan(f.commission) for o in self.past.orders for f in o.fills)
        if untold:
            yield f"{untold} fills whose commission IB has not told yet count without"
        if self.past.holdings:
            yield f"{len(self.past.holdings)} holdings that no order made were taken over; they count as extra"
        if not any(self.past.bars):
            yield "there is no tape of the day: what live saw and decided is not known"
        stood = [s.target is None and not s.waiting for s in self.past.stood]
        if any(stood) and sum(span.begin < self.past.day.since for span in self.ran.spans) > 1:
            yield "the tape does not say what live wanted as the day began; the model's own target stands for it"


def _deals(order: OrderFact | None) -> list[Deal]:
    if order is None:
        return []
    return [Deal(order.feed, fill.quantity, fill.price, fill.commission) for fill in order.fills]


def _is_of_price(pair: Pair, what: str) -> bool:
    """Return whether a difference is of what the fill was paid alone."""
    if what != "fill" or pair.one is None or pair.two is None:
        return what == "commission"
    one, two = ([(f.bar, f.quantity) for f in order.fills] for order in (pair.one, pair.two))
    return one == two


def _figures(deal: Deal | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if deal is None else (deal.quantity, deal.price, deal.commission)


__all__ = ["Traded", "compare"]
