"""The one table of cases: bars, targets and settings, and by hand what must come of them (DESIGN §5).

Every engine, and the oracle, must give these orders, fills and this cash. Prices are small round numbers, so
that each expectation can be checked with pencil and paper; the sum stands beside it where it is not obvious.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quant.core.bars import Bars
from quant.core.barsize import bar_size
from quant.core.instrument import Instrument

NAN = float("nan")
DAY = 86_400_000_000_000
Row = tuple[float, float, float, float]

FLAT: Row = (10.0, 10.0, 10.0, 10.0)
# Half-hour bars of New York, 2020-11-27 (the day after Thanksgiving, close 13:00): starts 09:30 ... 12:30.
HALF_DAY = int(np.datetime64("2020-11-27T14:30", "ns").astype(np.int64))
NEXT_DAY = int(np.datetime64("2020-11-30T14:30", "ns").astype(np.int64))
HALF_HOUR = 30 * 60 * 1_000_000_000


@dataclass
class Feed:
    """Bars and wishes of one symbol. starts: None = days in a row from 2020-01-01, without a calendar."""

    target: list[float]
    rows: list[Row]
    stop: list[float] | None = None
    limit: list[float] | None = None
    follow_stop: bool = False
    symbol: str = "AAA"
    bar: str = "1d"
    starts: list[int] | None = None
    calendar: str | None = None
    tick: float | None = None

    def bars(self) -> Bars:
        first = int(np.datetime64("2020-01-01", "ns").astype(np.int64))
        starts = self.starts if self.starts is not None else [first + i * DAY for i in range(len(self.rows))]
        zone = "America/New_York" if self.calendar else "UTC"
        instrument = Instrument(self.symbol, tick=self.tick, calendar=self.calendar, timezone=zone)
        o, h, l, c = (np.array(x) for x in zip(*self.rows, strict=True))  # noqa: E741
        return Bars(instrument, bar_size(self.bar), np.array(starts), o, h, l, c, np.zeros(len(o)))


@dataclass
class Case:
    """Settings are those of q.backtest. fills: (feed, bar, quantity, price, commission, reason).

    orders: (feed, quantity, kind, reason, status) in the order in which they were sent; None = not stated.
    """

    name: str
    feeds: list[Feed]
    fills: list[tuple[int, int, int, float, float, str]]
    cash: float
    orders: list[tuple[int, int, str, str, str]] | None = None
    rejected: int = 0
    ambiguous: int = 0
    sizing: str | None = "shares:10"
    start: float = 1000.0
    costs: str = "none"
    slippage: str | None = None
    borrow: float | None = None
    start_rule: str = "first-target"
    session: dict[str, Any] = field(default_factory=dict)
    wrong_side: int = 0

    @property
    def feed(self) -> Feed:
        return self.feeds[0]


def one(name: str, target: list[float], rows: list[Row] | None = None, **more: Any) -> Case:
    """A case of one feed; `rows` default to flat bars at 10."""
    of_feed = ("stop", "limit", "follow_stop", "bar", "starts", "calendar", "tick")
    feed_args = {k: more.pop(k) for k in list(more) if k in of_feed}
    return Case(name, [Feed(target, rows if rows is not None else [FLAT] * len(target), **feed_args)], **more)


def flat(price: float) -> Row:
    return (price, price, price, price)


def half_day(target: list[float], **more: Any) -> dict[str, Any]:
    """Seven half-hour bars of the half day, then as many of the next session as targets are left."""
    starts = [HALF_DAY + i * HALF_HOUR for i in range(7)]
    starts += [NEXT_DAY + i * HALF_HOUR for i in range(len(target) - 7)]
    return dict(target=target, bar="30m", starts=starts, calendar="XNYS", **more)


TARGETS = [
    one("a target acts at the next open", [1, 1, 1], fills=[(0, 1, 10, 10.0, 0.0, "entry")], cash=900.0,
        orders=[(0, 10, "market", "entry", "filled")]),
    one("the fill is at the open, whatever the bar does later", [1, 1], [flat(10), (12, 15, 8, 9)],
        fills=[(0, 1, 10, 12.0, 0.0, "entry")], cash=880.0),
    one("an order of the last bar stays open", [0, 0, 1], fills=[], cash=1000.0,
        orders=[(0, 10, "market", "entry", "open")]),
    one("NaN is no opinion", [NAN, 1, NAN, 0, NAN], cash=1000.0,
        fills=[(0, 2, 10, 10.0, 0.0, "entry"), (0, 4, -10, 10.0, 0.0, "close")]),
    one("the same target again does nothing", [1, 1, 1, 1], fills=[(0, 1, 10, 10.0, 0.0, "entry")], cash=900.0),
    one("a target of 0 at the start does nothing", [0, 0, 0], fills=[], cash=1000.0, orders=[]),
    one("next-change only remembers the first number", [1, 1, 0, 1, 1], start_rule="next-change", cash=900.0,
        fills=[(0, 4, 10, 10.0, 0.0, "entry")]),
    one("next-change skips NaN until the first number", [NAN, 1, NAN, -1, -1], start_rule="next-change", cash=1100.0,
        fills=[(0, 4, -10, 10.0, 0.0, "entry")]),
    one("a reversal is two orders, each billed its minimum", [1, 1, -1, -1], costs="ib-fixed", cash=1097.0,
        fills=[(0, 1, 10, 10.0, 1.0, "entry"), (0, 3, -10, 10.0, 1.0, "close"), (0, 3, -10, 10.0, 1.0, "entry")],
        orders=[(0, 10, "market", "entry", "filled"), (0, -10, "market", "close", "filled"),
                (0, -10, "market", "entry", "filled")]),  # 1000 - 100 - 1 + 100 - 1 + 100 - 1
    one("a short falls and is bought back", [-1, -1, 0, 0], [flat(10), flat(10), flat(10), flat(6)], cash=1040.0,
        fills=[(0, 1, -10, 10.0, 0.0, "entry"), (0, 3, 10, 6.0, 0.0, "close")]),
]  # fmt: skip

SIZES = [
    one("percent of the equity, floor", [1, 1], [flat(10), flat(10)], sizing="percent:95", cash=50.0,
        fills=[(0, 1, 95, 10.0, 0.0, "entry")]),
    one("the default is percent:95", [1, 1], [flat(10), flat(10)], sizing=None, cash=50.0,
        fills=[(0, 1, 95, 10.0, 0.0, "entry")]),
    one("the size comes from the close, the price from the open", [1, 1], [flat(10), flat(9)], sizing="percent:50",
        cash=550.0, fills=[(0, 1, 50, 9.0, 0.0, "entry")]),
    one("a larger target of the same sign adds", [0.5, 0.5, 1, 1], sizing="percent:80", cash=200.0,
        fills=[(0, 1, 40, 10.0, 0.0, "entry"), (0, 3, 40, 10.0, 0.0, "entry")]),
    one("a smaller target of the same sign reduces", [1, 1, 0.5, 0.5], sizing="percent:80", cash=600.0,
        fills=[(0, 1, 80, 10.0, 0.0, "entry"), (0, 3, -40, 10.0, 0.0, "reduce")]),
    one("cash is a fixed amount", [1, 1], [flat(10), flat(10)], sizing="cash:555", cash=450.0,
        fills=[(0, 1, 55, 10.0, 0.0, "entry")]),
    one("shares times target is cut to whole units", [0.55, 0.55], [flat(10), flat(10)], sizing="shares:3", cash=990.0,
        fills=[(0, 1, 1, 10.0, 0.0, "entry")]),
    one("a size of 0 sends nothing, and the target counts as acted upon", [0.1, 0.1, 0.1], sizing="shares:3",
        fills=[], cash=1000.0, orders=[]),
    # 1 % of 1000 is 10 at risk, 0.5 a share: 20
    one("risk is equity at risk over the distance to the stop", [1, 1], [flat(10), flat(10)], sizing="risk:1",
        stop=[9.5, 9.5], cash=800.0, fills=[(0, 1, 20, 10.0, 0.0, "entry")]),
    one("risk without a stop sends nothing", [1, 1, 1], sizing="risk:1", stop=[NAN, 9.5, 9.5], fills=[], cash=1000.0),
    # 1 % over 0.01 would be 1,000 shares; the cap is 95 % of 1000 at 10
    one("risk is capped at 95 % of the equity", [1, 1], [flat(10), flat(10)], sizing="risk:1", stop=[9.99, 9.99],
        cash=50.0, fills=[(0, 1, 95, 10.0, 0.0, "entry")]),
]  # fmt: skip

CASH = [
    one("an entry that the open makes too dear is rejected whole", [1, 1, 1], [flat(10), flat(11), flat(11)],
        sizing="percent:100", fills=[], cash=1000.0, rejected=1,
        orders=[(0, 100, "market", "entry", "rejected")]),
    one("a rejected target waits for the next change", [1, 1, 1, 0, 1, 1],
        [flat(10), flat(11), flat(10), flat(10), flat(10), flat(10)], sizing="percent:100", cash=0.0, rejected=1,
        fills=[(0, 5, 100, 10.0, 0.0, "entry")]),
    # 100 sold at 20 for 2000; then 100 / 2000 at 20: 100 short; nothing to refuse: shorts bring cash
    one("in a rejected reversal the close stands", [-1, -1, 1, 1], [flat(10), flat(10), flat(5), flat(8)],
        sizing="percent:100", cash=1200.0, rejected=1,
        # short 100 at 10: cash 2000. At 5 the equity is 1500: 300 wanted. At 8: 800 to cover leaves 1200 < 2400.
        fills=[(0, 1, -100, 10.0, 0.0, "entry"), (0, 3, 100, 8.0, 0.0, "close")]),
    one("a reducing fill is never refused; cash may go negative", [-1, -1, 0, 0],
        [flat(10), flat(10), flat(10), flat(25)], sizing="shares:100", cash=-500.0,
        fills=[(0, 1, -100, 10.0, 0.0, "entry"), (0, 3, 100, 25.0, 0.0, "close")]),
    # short 100 at 10 (cash 2000), close 25: equity -500 counts as 0, so the entry has no size; only the close goes out
    one("equity below 0 counts as 0", [-1, -1, 1, 1], [flat(10), flat(10), flat(25), flat(25)], sizing="percent:100",
        cash=-500.0, fills=[(0, 1, -100, 10.0, 0.0, "entry"), (0, 3, 100, 25.0, 0.0, "close")]),
    one("the commission counts in the cash check", [1, 1], [flat(10), flat(10)], sizing="percent:100",
        costs="percent:0.1", fills=[], cash=1000.0, rejected=1),
]  # fmt: skip

COSTS = [
    one("percent of the value", [1, 1], [flat(10), flat(10)], costs="percent:0.5", cash=899.5,
        fills=[(0, 1, 10, 10.0, 0.5, "entry")]),
    one("ib-fixed: at most 1 % of the value", [1, 1], [flat(10), flat(10)], sizing="shares:5", costs="ib-fixed",
        cash=949.5, fills=[(0, 1, 5, 10.0, 0.5, "entry")]),
    one("ib-fixed: 0.005 a share", [1, 1], [flat(10), flat(10)], sizing="shares:1000", start=20_000.0,
        costs="ib-fixed", cash=9_995.0, fills=[(0, 1, 1000, 10.0, 5.0, "entry")]),
    one("ib-tiered: 0.35 an order at least", [1, 1], [flat(10), flat(10)], costs="ib-tiered", cash=899.65,
        fills=[(0, 1, 10, 10.0, 0.35, "entry")]),
    one("slippage moves a market order against us", [1, 1, 0, 0],
        [flat(10), (10, 11, 9, 10), flat(10), (10, 11, 9, 10)], slippage="percent:1", cash=998.0,
        fills=[(0, 1, 10, 10.1, 0.0, "entry"), (0, 3, -10, 9.9, 0.0, "close")]),
    one("slippage never leaves the bar", [1, 1], [flat(10), (10, 10.05, 9, 10)], slippage="percent:1", cash=899.5,
        fills=[(0, 1, 10, 10.05, 0.0, "entry")]),
    one("slippage in ticks", [1, 1], [flat(10), (10, 11, 9, 10)], slippage="ticks:2", tick=0.25, cash=895.0,
        fills=[(0, 1, 10, 10.5, 0.0, "entry")]),
    one("a stop slips too", [1, 1, 1], [flat(10), (10, 10, 10, 10), (10, 10, 9, 9)], stop=[9.5] * 3,
        slippage="percent:2", cash=993.1,  # in at 10 (the bar's high), out at 9.31 = 9.5 x 0.98
        fills=[(0, 1, 10, 10.0, 0.0, "entry"), (0, 2, -10, 9.31, 0.0, "stop")]),
    one("a limit that the open has reached slips no further than the limit", [1, 1, 1],
        [flat(10), flat(10), (10.3, 10.5, 10.3, 10.4)], limit=[10.25] * 3, slippage="percent:2", cash=1002.5,
        fills=[(0, 1, 10, 10.0, 0.0, "entry"), (0, 2, -10, 10.25, 0.0, "limit")]),
    # 36.5 % a year = 0.1 % a day of 10 x 10; charged for each night after the entry's bar
    one("a borrow rate is charged on shorts by the day", [-1, -1, -1, -1], borrow=0.365, cash=1099.8,
        fills=[(0, 1, -10, 10.0, 0.0, "entry")]),
]  # fmt: skip

UP_AND_DOWN: Row = (10.0, 12.0, 8.0, 10.0)

EXITS = [
    one("a stop is active on its entry's bar", [1, 1, 1], [flat(10), (10, 10.5, 9, 10.2), flat(10)], stop=[9.5] * 3,
        cash=995.0, fills=[(0, 1, 10, 10.0, 0.0, "entry"), (0, 1, -10, 9.5, 0.0, "stop")],
        orders=[(0, 10, "market", "entry", "filled"), (0, -10, "stop", "stop", "filled")]),
    one("beyond the stop at the open: the open", [1, 1, 1], [flat(10), flat(10), (9, 9.2, 8.8, 9)], stop=[9.5] * 3,
        cash=990.0, fills=[(0, 1, 10, 10.0, 0.0, "entry"), (0, 2, -10, 9.0, 0.0, "stop")]),
    one("a limit fills at its price", [1, 1, 1], [flat(10), flat(10), (10, 11, 10, 10.5)], limit=[10.8] * 3,
        cash=1008.0, fills=[(0, 1, 10, 10.0, 0.0, "entry"), (0, 2, -10, 10.8, 0.0, "limit")]),
    one("a limit that the open has passed fills at the open", [1, 1, 1], [flat(10), flat(10), flat(11)],
        limit=[10.8] * 3, cash=1010.0,
        fills=[(0, 1, 10, 10.0, 0.0, "entry"), (0, 2, -10, 11.0, 0.0, "limit")]),
    one("both touched and the open reached neither: the stop, ambiguous", [1, 1, 1], [flat(10), flat(10), UP_AND_DOWN],
        stop=[9.0] * 3, limit=[11.0] * 3, cash=990.0, ambiguous=1,
        fills=[(0, 1, 10, 10.0, 0.0, "entry"), (0, 2, -10, 9.0, 0.0, "stop")],
        orders=[(0, 10, "market", "entry", "filled"), (0, -10, "stop", "stop", "filled"),
                (0, -10, "limit", "limit", "cancelled")]),
    one("both touched and the open reached the limit: the limit", [1, 1, 1], [flat(10), flat(10), (11.5, 12, 8, 10)],
        stop=[9.0] * 3, limit=[11.0] * 3, cash=1015.0,
        fills=[(0, 1, 10, 10.0, 0.0, "entry"), (0, 2, -10, 11.5, 0.0, "limit")]),
    one("both touched and the open reached the stop: the stop", [1, 1, 1], [flat(10), flat(10), (8.5, 12, 8, 10)],
        stop=[9.0] * 3, limit=[11.0] * 3, cash=985.0,
        fills=[(0, 1, 10, 10.0, 0.0, "entry"), (0, 2, -10, 8.5, 0.0, "stop")]),
    one("exits of a short are mirrored", [-1, -1, -1], [flat(10), flat(10), (10, 11.5, 10, 10)], stop=[11.0] * 3,
        limit=[9.0] * 3, cash=990.0, fills=[(0, 1, -10, 10.0, 0.0, "entry"), (0, 2, 10, 11.0, 0.0, "stop")]),
    one("a stop on the wrong side fills at the entry's open", [1, 1, 1], [flat(10), flat(9), flat(9)],
        stop=[9.5] * 3, cash=1000.0, wrong_side=1,
        fills=[(0, 1, 10, 9.0, 0.0, "entry"), (0, 1, -10, 9.0, 0.0, "stop")]),
    one("a stopped-out target waits for the next change", [1, 1, 1, 1, 0, 1, 1],
        [flat(10), flat(10), (10, 10, 9, 10), flat(10), flat(10), flat(10), flat(10)], stop=[9.5] * 7, cash=895.0,
        fills=[(0, 1, 10, 10.0, 0.0, "entry"), (0, 2, -10, 9.5, 0.0, "stop"), (0, 6, 10, 10.0, 0.0, "entry")]),
    one("a change of target cancels the exits in the same step", [1, 1, 0, 0], [flat(10), flat(10), flat(10),
        (10, 10, 9, 9)], stop=[9.5] * 4, cash=1000.0,
        fills=[(0, 1, 10, 10.0, 0.0, "entry"), (0, 3, -10, 10.0, 0.0, "close")],
        orders=[(0, 10, "market", "entry", "filled"), (0, -10, "stop", "stop", "cancelled"),
                (0, -10, "market", "close", "filled")]),
    one("the exits of a rejected entry are gone", [1, 1, 1], [flat(10), flat(11), (11, 11, 8, 8)], sizing="percent:100",
        stop=[9.5] * 3, fills=[], cash=1000.0, rejected=1),
    one("without follow_stop later prices do nothing", [1, 1, 1], [flat(10), flat(10), (10, 10, 9.7, 9.8)],
        stop=[9.5, 9.8, 9.8], cash=900.0, fills=[(0, 1, 10, 10.0, 0.0, "entry")]),
    one("follow_stop: a new price holds from the next bar on", [1, 1, 1], [flat(10), flat(10), (10, 10, 9.7, 9.8)],
        stop=[9.5, 9.8, 9.8], follow_stop=True, cash=998.0,
        fills=[(0, 1, 10, 10.0, 0.0, "entry"), (0, 2, -10, 9.8, 0.0, "stop")]),
    one("follow_stop: NaN keeps the old price", [1, 1, 1], [flat(10), flat(10), (10, 10, 9, 9)],
        stop=[9.5, NAN, NAN], follow_stop=True, cash=995.0,
        fills=[(0, 1, 10, 10.0, 0.0, "entry"), (0, 2, -10, 9.5, 0.0, "stop")]),
    one("a reversal takes its exits along", [1, 1, -1, -1, -1], [flat(10), flat(10), flat(10), flat(10),
        (10, 10.6, 10, 10)], stop=[9.5, 9.5, 10.5, 10.5, 10.5], cash=995.0,
        fills=[(0, 1, 10, 10.0, 0.0, "entry"), (0, 3, -10, 10.0, 0.0, "close"), (0, 3, -10, 10.0, 0.0, "entry"),
               (0, 4, 10, 10.5, 0.0, "stop")]),
]  # fmt: skip

SESSIONS = [
    # closes at minutes_to_close 180 150 120 90 60 30 0; flat 5 minutes before: the last close for it has 30 left
    one("flat_before_close: out at the last close that is in time", session={"flat_before_close": "5m"}, cash=1000.0,
        fills=[(0, 1, 10, 10.0, 0.0, "entry"), (0, 6, -10, 10.0, 0.0, "close")], **half_day([1.0] * 7)),
    one("flat_before_close: the forced 0 is a change, the next session enters again", cash=900.0,
        session={"flat_before_close": "5m"},
        fills=[(0, 1, 10, 10.0, 0.0, "entry"), (0, 6, -10, 10.0, 0.0, "close"), (0, 8, 10, 10.0, 0.0, "entry")],
        **half_day([1.0] * 9)),
    one("flat_before_close overrides NaN", session={"flat_before_close": "5m"}, cash=1000.0,
        fills=[(0, 1, 10, 10.0, 0.0, "entry"), (0, 6, -10, 10.0, 0.0, "close")], **half_day([1.0] + [NAN] * 6)),
    # closes with 60, 30 and 0 minutes left are closed to entries; still wanted at the next session's first close
    one("no_entry_last: an entry still wanted is made after the window", session={"no_entry_last": "60m"}, cash=900.0,
        fills=[(0, 8, 10, 10.0, 0.0, "entry")], **half_day([0.0] * 4 + [1.0] * 5)),
    one("no_entry_last: exposure may fall", session={"no_entry_last": "60m"}, cash=1000.0,
        fills=[(0, 1, 10, 10.0, 0.0, "entry"), (0, 6, -10, 10.0, 0.0, "close")],
        **half_day([1.0] * 5 + [0.0] * 2)),
    one("no_entry_last: a reversal only closes, and opens after the window", session={"no_entry_last": "60m"},
        cash=1100.0, fills=[(0, 1, 10, 10.0, 0.0, "entry"), (0, 6, -10, 10.0, 0.0, "close"),
                            (0, 8, -10, 10.0, 0.0, "entry")], **half_day([1.0] * 5 + [-1.0] * 4)),
]  # fmt: skip

TWO_HALF_HOURS = [NEXT_DAY, NEXT_DAY + HALF_HOUR, NEXT_DAY + 2 * HALF_HOUR, NEXT_DAY + 3 * HALF_HOUR]

SEVERAL = [
    Case("reductions of all feeds go out before entries", [
        Feed([0, 0, 1, 1], [FLAT] * 4, symbol="AAA"), Feed([1, 1, 0, 0], [FLAT] * 4, symbol="BBB")],
        sizing="percent:100", cash=0.0,
        fills=[(1, 1, 100, 10.0, 0.0, "entry"), (1, 3, -100, 10.0, 0.0, "close"), (0, 3, 100, 10.0, 0.0, "entry")]),
    # 95 % / 3 of 1000 at 10: 31 each
    Case("the default size is shared", [Feed([1, 1], [FLAT] * 2, symbol=s) for s in ("AAA", "BBB", "CCC")],
        sizing=None, cash=70.0, fills=[(k, 1, 31, 10.0, 0.0, "entry") for k in range(3)]),
    # both fill at 11:00: BBB, decided at 10:00 and filled over 10:00-11:00, stands before AAA, decided at 10:30
    Case("each feed decides at its own closes, and fills at its own opens", [
        Feed([0, 1, 1, 1], [flat(10), flat(11), flat(12), flat(13)], symbol="AAA", bar="30m", starts=TWO_HALF_HOURS,
             calendar="XNYS"),
        Feed([1, 1], [flat(20), flat(22)], symbol="BBB", bar="1h", starts=[NEXT_DAY, NEXT_DAY + HALF_HOUR],
             calendar="XNYS")],
        cash=660.0, fills=[(1, 1, 10, 22.0, 0.0, "entry"), (0, 2, 10, 12.0, 0.0, "entry")]),
    # BBB is sold at the open of 11:00-12:00, booked at 12:00: too late for AAA's entry, booked at 11:30
    Case("a fill is booked at the END of its bar", [
        Feed([0, 0, 1, 1, 1], [FLAT] * 5, symbol="AAA", bar="30m", starts=[NEXT_DAY + i * HALF_HOUR for i in range(5)],
             calendar="XNYS"),
        Feed([1, 0, 0], [FLAT] * 3, symbol="BBB", bar="1h",
             starts=[NEXT_DAY, NEXT_DAY + HALF_HOUR, NEXT_DAY + 3 * HALF_HOUR], calendar="XNYS")],
        sizing="shares:100", cash=1000.0, rejected=1,
        fills=[(1, 1, 100, 10.0, 0.0, "entry"), (1, 2, -100, 10.0, 0.0, "close")]),
]  # fmt: skip

CASES = [*TARGETS, *SIZES, *CASH, *COSTS, *EXITS, *SESSIONS, *SEVERAL]
