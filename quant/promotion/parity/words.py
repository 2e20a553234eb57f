"""A day's parity as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from quant.promotion.parity.value import Parity

SHOWN: Final = 20  # differences


def lines(found: Parity) -> list[str]:
    """Return it as lines for a terminal."""
    return list(_lines(found))


def _lines(found: Parity) -> Iterator[str]:
    bars, model, live = found.bars, *found.pnl
    yield f"parity of {found.deployment} on {found.day}: {found.strategy} on {', '.join(found.symbols)}"
    yield f"  bars       {bars.equal:,} equal, {bars.revised} revised, {bars.missing} missing, {bars.extra} extra"
    yield f"  decisions  {len(found.decisions)}, {found.diverged} diverged"
    same = sum(row.same for row in found.orders)
    yield f"  orders     {len(found.orders)}, {same} alike; fills {len(found.fills)}"
    yield f"  profit     model {model:+,.2f}   live {live:+,.2f}   difference {live - model:+,.2f}"
    for part in found.split:
        if round(part.amount, 2):
            yield f"    {part.name:<13}{part.amount:+12,.2f}  {part.words}"
    yield f"    {'unexplained':<13}{found.unexplained:+12,.2f}"
    yield f"  verdict    {_verdict(found)}"
    yield from (f"  {difference}" for difference in found.differences[:SHOWN])
    if len(found.differences) > SHOWN:
        yield f"  ... and {len(found.differences) - SHOWN} more"
    yield from (f"  note       {text}" for text in found.findings)
    slippage = found.slippage
    if slippage is not None and slippage.mean_bps > 0.0:
        told = f"{slippage.mean_bps:.2f} bps on average, {slippage.median_bps:.2f} in the middle, of {slippage.n} fills"
        yield f"  slippage   {told}. For the next backtest: --slippage {slippage.setting}"


def _verdict(found: Parity) -> str:
    wrong = []
    if found.diverged:
        wrong.append(f"{found.diverged} decisions diverged")
    if abs(found.unexplained) >= 0.005:
        wrong.append(f"{found.unexplained:.2f} is unexplained")
    if found.without_cause:
        wrong.append(f"{found.without_cause} differences have no known cause")
    if wrong:
        return f"NOT OK: {', '.join(wrong)}"
    return (
        f"{len(found.differences)} differences, the cause of each is known" if found.differences else "equal"
    )
