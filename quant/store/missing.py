"""What to tell a person whose series is not in the store."""

from __future__ import annotations

import difflib
from pathlib import Path

from quant.core.barsize import BarSize
from quant.errors import SeriesNotFound
from quant.store.series import Series


def not_found(
    held: list[Series], symbol: str, bar: BarSize, what: str, rth: bool, source: str | None, data: Path
) -> SeriesNotFound:
    """Return the error that names the nearest things held and the next command."""
    asked = f"{symbol} {bar} {what} {'rth' if rth else 'all hours'}"
    asked += "" if source is None else f" of source {source}"
    told = [s for s in held if s.symbol.casefold() == symbol.casefold()]
    names = {s.symbol.casefold(): s.symbol for s in held}
    if told:
        hint = f"Of {told[0].symbol} there is: {', '.join(f'{s.name} (source {s.source})' for s in told)}"
    elif near := difflib.get_close_matches(symbol.casefold(), names, n=3, cutoff=0.5):
        hint = f"Near names: {', '.join(names[n] for n in near)}"
    elif names:
        hint = f"It holds: {', '.join(sorted(names.values())[:8])}{', ...' if len(names) > 8 else ''}"
    else:
        hint = "It is empty"
    pull = f"quant data pull {symbol} --bar {bar}"
    from_file = f"quant data import FILE --symbol {symbol} --bar {bar} --tz ZONE"
    mend = f"Bring bars in with: {pull} (from IB), or {from_file}"
    return SeriesNotFound(asked, str(data), f"{hint}. {mend}")
