"""From a strategy class, bars and parameters to checked plans; and whether these plans look ahead."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import backtrader as bt
import numpy as np

from quant.core.bars import Bars
from quant.core.finding import Finding
from quant.core.sessions import Floats
from quant.errors import ParameterError, QuantError, SignalsError, StrategyError
from quant.strategy.base import Strategy
from quant.strategy.panel import Panel
from quant.strategy.signals import Plan, Signals, plan

PREFIXES = 6  # of the quick look-ahead test; the thorough one is a check of its own


def defaults(strategy: type[bt.Strategy]) -> dict[str, Any]:
    """Return the strategy's parameters and their defaults."""
    return dict(strategy.params._getpairs())


def parameters(strategy: type[bt.Strategy], given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return all parameters of a run: the defaults, replaced by `given`.

    Raises ParameterError for a name that the strategy does not have, a value of another type than the
    default's, and a combination that `valid` refuses.
    """
    known = defaults(strategy)
    merged = dict(known)
    if given is not None and not isinstance(given, Mapping):
        raise ParameterError("params", given, 'must be a dict, e.g. {"fast": 10}')
    for name, value in ({} if given is None else given).items():
        if name not in known:
            raise ParameterError(name, value, f"{strategy.__name__} has no such parameter; {_listed(known)}")
        merged[name] = typed(strategy, name, value, known[name])
    if issubclass(strategy, Strategy) and not strategy.valid(SimpleNamespace(**merged)):
        chosen = ", ".join(f"{k}={v!r}" for k, v in merged.items())
        raise ParameterError("params", chosen, f"{strategy.__name__}.valid refuses this combination")
    return merged


def _listed(known: Mapping[str, Any]) -> str:
    return "it has " + (", ".join(known) if known else "none")


def typed(strategy: type[bt.Strategy], name: str, value: Any, default: Any) -> Any:
    """Return `value` as the default's type; whole numbers may be written as floats. Raises ParameterError."""
    if isinstance(value, np.generic):
        value = value.item()
    # Of a plain strategy a default says little (period=None, a callable): only ours are checked.
    if not issubclass(strategy, Strategy) or default is None:
        return value
    wanted = type(default)
    if wanted is bool and isinstance(value, bool):
        return value
    if wanted is int and _is_number(value) and value == int(value):
        return int(value)
    if wanted is float and _is_number(value):
        return float(value)
    if wanted not in (bool, int, float) and isinstance(value, wanted):
        return value
    raise ParameterError(name, value, f"must be {wanted.__name__}, as its default {default!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# ---------------------------------------------------------------- signals
def plans(
    strategy: type[Strategy], bars: Sequence[Bars], params: Mapping[str, Any], *, copied: bool = True
) -> list[Plan]:
    """Return the checked plan of each feed. Raises SignalsError, and what the strategy raises as StrategyError.

    copied: see `plan`.
    """
    p = SimpleNamespace(**params)
    name = strategy.__name__
    try:
        if strategy.signals_all is not Strategy.signals_all:
            panel = Panel(bars)
            results = _columns(name, panel, strategy.signals_all(panel, p))
        elif strategy.signals is not Strategy.signals:
            results = [strategy.signals(b, p) for b in bars]
        else:
            raise StrategyError(name, "gives neither signals(bars, p) nor signals_all(panel, p)")
    except QuantError:
        raise
    except (Exception, SystemExit) as e:  # the user's code; whatever it raises is named, sys.exit() too
        raise StrategyError(name, f"signals raised {type(e).__name__}: {e}") from e
    return [plan(name, b, r, copied=copied) for b, r in zip(bars, results, strict=True)]


def _columns(strategy: str, panel: Panel, result: Any) -> list[Signals]:
    """Cut the (n, k) result of signals_all into one result per feed, at the feed's own bars."""
    given = result if isinstance(result, Signals) else Signals(result)
    shape = (len(panel), len(panel.feeds))

    def table(name: str, values: Any) -> Floats:
        found = np.asarray(values, dtype=np.float64)
        if found.shape != shape:
            raise SignalsError(strategy, f"{name} of signals_all has shape {found.shape}, not {shape}")
        return found

    target = table("target", given.target)
    stop = None if given.stop is None else table("stop", given.stop)
    limit = None if given.limit is None else table("limit", given.limit)
    parts = []
    for k, bars in enumerate(panel.feeds):
        rows = np.searchsorted(panel.end, bars.end)
        own_stop, own_limit = (None if prices is None else prices[rows, k] for prices in (stop, limit))
        parts.append(Signals(target[rows, k], own_stop, own_limit, given.follow_stop))
    return parts


# ---------------------------------------------------------------- look-ahead
def look_ahead(
    strategy: type[Strategy], bars: Sequence[Bars], params: Mapping[str, Any], full: Sequence[Plan]
) -> tuple[int, Finding | None]:
    """Compute the signals again on a few prefixes of the bars.

    Return how many prefixes could be compared, and a finding where a row changed. A row that was decided from its
    own and earlier bars stays what it was when later bars are missing.
    Signals may refuse prefixes that are too short for them, but none that is longer than one that they took.
    """
    length = max(len(b) for b in bars)
    longest = bars[int(np.argmax([len(b) for b in bars]))]
    # Spread over the run, the last cut close to its end; each a different remainder, so that cheats that
    # hide at multiples of some number show too.
    cuts = sorted({int(length * (k + 1) / (PREFIXES + 1)) + k for k in range(PREFIXES)} | {length - 1})
    taken, refused = 0, ""
    for cut in (c for c in cuts if 0 < c < length):
        moment = int(longest.end[cut - 1])
        parts = [b[: int(np.searchsorted(b.end, moment, side="right"))] for b in bars]
        if not all(len(part) for part in parts):
            continue
        try:
            again = plans(strategy, parts, params)
        except QuantError as e:
            refused = f"signals fail on the first {cut} of {length} bars alone: {getattr(e, 'reason', e)}"
            if taken:
                break
            continue
        taken, refused = taken + 1, ""
        for part, old, new in zip(parts, full, again, strict=True):
            row = _first_change(old, new, len(part))
            if row is not None:
                message = (
                    f"{strategy.__name__} looks ahead: its signal for bar {row} of {part.symbol} "
                    f"({part.frame('end').index[row]}) changes with bars after bar {len(part) - 1}"
                )
                return taken, Finding("look-ahead", message)
    return taken, Finding("look-ahead", refused) if refused else None


def _first_change(old: Plan, new: Plan, n: int) -> int | None:
    rows = []
    for name in ("target", "stop", "limit"):
        a, b = getattr(old, name), getattr(new, name)
        if a is None or b is None:
            if a is not b:
                return 0
            continue
        # Sums over arrays of another length may differ in their last bits; a decision does not.
        changed = np.flatnonzero(~np.isclose(a[:n], b, rtol=1e-9, atol=0.0, equal_nan=True))
        rows += [int(changed[0])] if len(changed) else []
    return min(rows) if rows else None
