"""A day's parity as text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from typing import Final

from quant.promotion.causes import UNEXPLAINED, moment
from quant.promotion.difference import CENT, Difference
from quant.promotion.parity.value import BarRow, Parity

SHOWN: Final = 20  # differences


def lines(found: Parity) -> list[str]:
    """Return it as lines for a terminal."""
    return list(_lines(found))


def _lines(found: Parity) -> Iterator[str]:
    bars, money = found.bars, found.printed
    words = {part.name: part.words for part in found.split}
    yield f"parity of {found.deployment} on {found.day}: {found.strategy} on {', '.join(found.symbols)}"
    yield f"  bars       {bars.equal:,} equal, {bars.revised} revised, {bars.missing} missing, {bars.extra} extra"
    yield f"  decisions  {len(found.decisions)}, {found.diverged} diverged"
    same = sum(row.same for row in found.orders)
    yield f"  orders     {len(found.orders)}, {same} alike; fills {len(found.fills)}"
    yield f"  profit     model {money.model:+,.2f}   live {money.live:+,.2f}   difference {money.difference:+,.2f}"
    for name, amount in money.parts.items():
        yield f"    {name:<13}{amount:+12,.2f}  {words[name]}"
    yield f"    {'unexplained':<13}{money.unexplained:+12,.2f}"
    yield f"  verdict    {_verdict(found)}"
    apart = differences(found)
    apart.sort(key=lambda text: not text.endswith(UNEXPLAINED))  # what nobody knows first, then by time
    yield from (f"  {text}" for text in apart[:SHOWN])
    if len(apart) > SHOWN:
        yield f"  ... and {len(apart) - SHOWN} more; the page has all"
    yield from (f"  note       {text}" for text in found.findings)
    slippage = found.slippage
    if slippage is not None and slippage.mean_bps > 0.0:
        told = f"{slippage.mean_bps:.2f} bps on average, {slippage.median_bps:.2f} in the middle, of {slippage.n} fills"
        yield f"  slippage   {told}. For the next backtest: --slippage {slippage.setting}"


def _verdict(found: Parity) -> str:
    wrong = []
    if found.diverged:
        wrong.append(f"{found.diverged} decisions diverged")
    if abs(found.unexplained) >= CENT:
        wrong.append(f"{found.printed.unexplained:.2f} is unexplained")
    if found.without_cause:
        wrong.append(f"{found.without_cause} differences have no known cause")
    count = len(found.differences)
    equal = f"{count} differences, the cause of each is known" if count else "equal"
    idle = found.not_running_s
    ran = f"; of the session it did not run for {_long(idle)}" if idle else ""
    return (f"NOT OK: {', '.join(wrong)}" if wrong else equal) + ran


def _long(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60.0), 60)
    return " ".join(f"{n} {unit}" for n, unit in ((hours, "h"), (minutes, "min")) if n) or f"{seconds:.0f} s"


def differences(found: Parity) -> list[str]:
    """Return the differences as text, by time; bars in a row that differ in one way are one line."""
    told = {(row.at, row.symbol): row for row in found.bars.rows}
    bars = [
        (d, told[d.at, d.symbol]) for d in found.differences if d.what == "bars" and (d.at, d.symbol) in told
    ]
    lines = [(d.at, str(d)) for d in found.differences if d.what != "bars" or (d.at, d.symbol) not in told]
    bars.sort(key=lambda pair: (pair[1].symbol, pair[0].at))

    def way(numbered: tuple[int, tuple[Difference, BarRow]]) -> tuple[object, ...]:
        place, (one, row) = numbered
        columns = tuple(re.findall(r"(open|high|low|close|volume) \S+ in place of", row.words))
        return row.symbol, row.state, columns, one.cause, row.row - place if row.row >= 0 else row

    for _, group in groupby(enumerate(bars), way):
        run = [pair for _, pair in group]
        (one, first), (_, last) = run[0], run[-1]
        if len(run) == 1:
            lines.append((one.at, str(one)))
            continue
        names = re.findall(r"(open|high|low|close|volume) \S+ in place of", first.words)
        what = f"{first.state}: {', '.join(names)}" if names else first.state
        times = f"{moment(first.at)} to {moment(last.at)[11:]}"
        lines.append((one.at, f"{times} {first.symbol} {len(run)} bars {what}; {one.cause}"))
    return [text for _, text in sorted(lines, key=lambda line: line[0])]
