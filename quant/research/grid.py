"""From a grid of parameter values to combinations: full, typed parameters, without those that `valid` refuses.

Knows no bars and no engine. Also how a combination and a value are written as text.
"""

from __future__ import annotations

import decimal
import difflib
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from types import FunctionType, SimpleNamespace
from typing import Any, Final

import backtrader as bt
import numpy as np

from quant.core.finding import Finding
from quant.errors import ParameterError, StrategyError
from quant.strategy import Strategy
from quant.strategy.compute import defaults, typed

MOST: Final = 5_000_000  # combinations; as dicts of five parameters they take about 1.5 GB
BATCH: Final = 4096  # draws at a time; part of what a seed means
DRAWS: Final = 1_000_000  # of a product too large to walk through: so many, and SPARE a wanted one, are tried
SPARE: Final = 50
ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")  # in Python's own repr; another one in each process

Valid = Callable[[Mapping[str, Any]], bool]


@dataclass(frozen=True, slots=True)
class Combinations:
    """What a grid gives.

    names: the grid's parameters, in its order. rows: all parameters of each combination, in the grid's order
    (the last name varies fastest), also where they were drawn at random. dropped: how many of those looked at
    `valid` refused. total: size of the grid, valid or not. findings: fewer random ones than asked for.
    """

    names: tuple[str, ...]
    rows: list[dict[str, Any]]
    dropped: int
    total: int
    findings: tuple[Finding, ...] = ()


def combinations(
    strategy: type[bt.Strategy], grid: Mapping[str, Any], *, samples: int | None = None, seed: int = 0
) -> Combinations:
    """Return the combinations of `grid`, all of them or `samples` random ones, each once.

    grid: name -> list, tuple, range, array, or one value; names that it leaves out keep their default. samples:
    drawn without making the whole product, so its size does not matter; valid ones only. A larger `samples` with
    the same seed holds the smaller one's.
    Raises ParameterError for what cannot be used, for a grid of which nothing is valid, and without samples for
    more than 5 million combinations; StrategyError where `valid` itself fails.
    """
    check_samples(samples, seed)
    values = grid_values(strategy, grid)
    total = math.prod(len(v) for v in values.values())
    valid = validator(strategy)
    if samples is None and total > MOST:
        reason = f"more than {MOST:,}; give fewer values, or samples=1000 for as many random ones"
        raise ParameterError("grid", f"{total:,} combinations", reason)
    base = defaults(strategy)
    if samples is None:
        rows, dropped = _all(base, values, valid)
        looked_at = total
    else:
        rows, dropped = _drawn(base, values, valid, samples, seed)
        looked_at = len(rows) + dropped
    if not rows:
        raise ParameterError("grid", _first(values), _nothing(strategy, looked_at, total))
    findings = _fewer(samples, len(rows), looked_at, total)
    return Combinations(tuple(values), rows, dropped, total, findings)


def check_samples(samples: int | None, seed: int) -> None:
    """Raise ParameterError for numbers that cannot be used."""
    whole = not isinstance(seed, bool) and isinstance(seed, int | np.integer)
    if not whole or seed < 0:
        raise ParameterError("seed", seed, "must be a whole number, 0 or more")
    if samples is None:
        return
    if isinstance(samples, bool) or not isinstance(samples, int | np.integer) or samples < 1:
        raise ParameterError(
            "samples", samples, "must be a whole number, 1 or more; None takes the whole grid"
        )
    if samples > MOST:
        raise ParameterError("samples", samples, f"at most {MOST:,}")


def _nothing(strategy: type[bt.Strategy], looked_at: int, total: int) -> str:
    seen = f"all {total:,}" if looked_at == total else f"each of {looked_at:,} random ones of {total:,}"
    return (
        f"{strategy.__name__}.valid refuses {seen} combinations; see its rule, and give values that keep it"
    )


def _first(values: Mapping[str, Sequence[Any]]) -> str:
    return ", ".join(f"{k}={v[0]!r}{', ...' if len(v) > 1 else ''}" for k, v in values.items())


def _fewer(samples: int | None, found: int, looked_at: int, total: int) -> tuple[Finding, ...]:
    if samples is None or found >= samples:
        return ()
    if looked_at == total:
        told = (
            f"the grid has only {found:,} valid combinations; all of them are taken, not samples={samples:,}"
        )
    else:
        told = f"only {found:,} of samples={samples:,} were found: of {looked_at:,} draws the others were invalid"
    return (Finding("fewer-samples", told, level="note"),)


# ---------------------------------------------------------------- the values of a grid
def grid_values(strategy: type[bt.Strategy], grid: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the typed values of each name. Raises ParameterError."""
    if not isinstance(grid, Mapping):
        raise ParameterError("grid", grid, 'must be a dict, e.g. {"fast": range(5, 30, 5)}')
    known = defaults(strategy)
    if not known:
        raise ParameterError("grid", dict(grid), f"{strategy.__name__} has no parameters that could vary")
    if not grid:
        example = f'{{"{next(iter(known))}": [...]}}'
        raise ParameterError("grid", {}, f"is empty; give at least one parameter and its values, {example}")
    for name in grid:
        if name not in known:
            reason = f"{strategy.__name__} has no such parameter; {_nearest(str(name), known)}"
            raise ParameterError(str(name), grid[name], reason)
    return {name: _values(strategy, name, given, known[name]) for name, given in grid.items()}


def _nearest(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"


def _values(strategy: type[bt.Strategy], name: str, given: Any, default: Any) -> list[Any]:
    """Return the values of one name, typed as its default and each once."""
    items = _listed(name, given)
    if len(items) == 0:
        raise ParameterError(
            name, given, "no values; give at least one, or leave the name out for its default"
        )
    if len(items) > MOST:
        raise ParameterError(name, f"{len(items):,} values", f"more than {MOST:,}; take a larger step")
    values = [typed(strategy, name, item, default) for item in items]
    seen = set()
    for value in values:
        _check_named(name, value)
        text = params_text({name: value})
        if text in seen:
            raise ParameterError(name, value, "is given twice; give each value once")
        seen.add(text)
    return values


def _listed(name: str, given: Any) -> Sequence[Any]:
    if isinstance(given, list | tuple | range):
        return given
    dimensions = getattr(given, "ndim", None)  # arrays, pandas' Series and Index
    if dimensions == 1:
        return list(given)
    if dimensions is not None and dimensions > 1:
        raise ParameterError(name, f"array of shape {given.shape}", "must have one dimension")
    if dimensions == 0:
        return (given.item(),)
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        return (given,)
    kind = type(given).__name__
    raise ParameterError(
        name, kind, "must be a list, a tuple, a range, an array or one value; list(...) makes one"
    )


def _check_named(name: str, value: Any) -> None:
    """Refuse a value that has no text of its own: results at rest could not be told apart by it."""
    if isinstance(value, type | FunctionType):
        if "<" in value.__qualname__:
            reason = "has no name outside of where it was made; put it at the top level of a module"
            raise ParameterError(name, value, reason)
    elif not isinstance(value, str) and ADDRESS.search(repr(value)):
        reason = (
            f"objects of {type(value).__name__} read alike; use numbers or text, or give the class a __repr__"
        )
        raise ParameterError(name, value, reason)


# ---------------------------------------------------------------- valid
def validator(strategy: type[bt.Strategy]) -> Valid | None:
    """Return the strategy's `valid` as a function of the parameters, None where there is nothing to ask."""
    if not issubclass(strategy, Strategy) or strategy.valid is Strategy.valid:
        return None

    def ask(row: Mapping[str, Any]) -> bool:
        try:
            return bool(strategy.valid(SimpleNamespace(**row)))
        except (Exception, SystemExit) as e:  # the user's code; whatever it raises is named, sys.exit() too
            chosen = ", ".join(f"{k}={v!r}" for k, v in row.items())
            raise StrategyError(
                strategy.__name__, f"valid raised {type(e).__name__}: {e} for {chosen}"
            ) from e

    return ask


def _all(
    base: Mapping[str, Any], values: Mapping[str, Sequence[Any]], valid: Valid | None
) -> tuple[list[dict[str, Any]], int]:
    names = tuple(values)
    rows, looked_at = [], 0
    for chosen in product(*values.values()):
        row = dict(base)
        row.update(zip(names, chosen, strict=True))
        looked_at += 1
        if valid is None or valid(row):
            rows.append(row)
    return rows, looked_at - len(rows)


# ---------------------------------------------------------------- random ones
def _drawn(
    base: Mapping[str, Any], values: Mapping[str, Sequence[Any]], valid: Valid | None, samples: int, seed: int
) -> tuple[list[dict[str, Any]], int]:
    names, columns = tuple(values), tuple(values.values())
    found: list[tuple[tuple[int, ...], dict[str, Any]]] = []
    dropped = 0
    for places in places_of([len(c) for c in columns], samples, seed):
        row = dict(base)
        row.update((name, column[k]) for name, column, k in zip(names, columns, places, strict=True))
        if valid is None or valid(row):
            found.append((places, row))
            if len(found) == samples:
                break
        else:
            dropped += 1
    # In the grid's order: neighbours share indicators, and tables read well.
    found.sort(key=lambda one: one[0])
    return [row for _, row in found], dropped


def places_of(sizes: Sequence[int], samples: int, seed: int) -> Iterator[tuple[int, ...]]:
    """Yield distinct places in the product at random: all there are, or enough draws of a large product."""
    rng = np.random.default_rng(seed)
    total = math.prod(sizes)
    if total <= MOST:
        order = rng.permutation(total)
        for first in range(0, total, BATCH):
            yield from zip(
                *(k.tolist() for k in np.unravel_index(order[first : first + BATCH], sizes)), strict=True
            )
        return
    seen: set[tuple[int, ...]] = set()
    for _ in range(0, DRAWS + SPARE * samples, BATCH):
        for drawn in rng.integers(0, sizes, size=(BATCH, len(sizes))).tolist():
            places = tuple(drawn)
            if places not in seen:
                seen.add(places)
                yield places


# ---------------------------------------------------------------- as text
def params_text(params: Mapping[str, Any]) -> str:
    """Return parameters as JSON with sorted names, the same text for the same values; floats are exact.

    A class or function is written as its name, any other object as its repr.
    """
    try:
        return _ENCODER.encode(params)
    except (TypeError, ValueError) as e:  # a dict with mixed keys, a list that holds itself
        raise ParameterError(
            "params", params, f"cannot be written as text ({e}); use numbers and text"
        ) from None


def _object_text(value: Any) -> str:
    if isinstance(value, type | FunctionType):
        return f"{value.__module__}:{value.__qualname__}"
    return ADDRESS.sub("", repr(value))


_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=_object_text)


def parse_values(name: str, text: str, default: Any) -> list[Any]:
    """Return the values that the text of a command line means, as the type of the parameter's default.

    Commas part values: "5,10,20", "true,false", "sma,ema". For numbers also ranges "first:last:step", the last
    included where a step meets it: "5:50:5", "0.5:2:0.5" (decimal arithmetic, so 0.7 is 0.7), "5:9" by 1.
    Of a default None: numbers where they look like it, "none", else text. Raises ParameterError.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise ParameterError(name, text, "has an empty value; write e.g. 5,10,20 or 5:50:5")
    values: list[Any] = []
    for part in parts:
        values += _range(name, part, default) if _is_range(part, default) else [_value(name, part, default)]
    return values


def _value(name: str, text: str, default: Any) -> Any:
    if isinstance(default, bool):
        if text.lower() in ("true", "1", "false", "0"):
            return text.lower() in ("true", "1")
        raise ParameterError(name, text, f"must be true or false, as its default {default!r}")
    if isinstance(default, str):
        return text
    if default is None and text.lower() == "none":
        return None
    if default is not None and not isinstance(default, int | float):
        reason = f"its default is {default!r}, which no text stands for; sweep it in a script"
        raise ParameterError(name, text, reason)
    number = _number(text)
    if number is None:
        if default is None:
            return text
        raise ParameterError(name, text, f"must be a number, as its default {default!r}")
    return _as(name, text, number, default)


def _number(text: str) -> decimal.Decimal | None:
    """Return the finite number that `text` is; None if it is none."""
    try:
        value = decimal.Decimal(text)
    except decimal.InvalidOperation:
        return None
    return value if value.is_finite() and math.isfinite(float(value)) else None


def _as(name: str, text: str, number: decimal.Decimal, default: Any) -> int | float:
    if isinstance(default, float):
        return float(number)
    exponent = number.as_tuple().exponent
    if default is None:  # whole where it is written so
        return int(number) if exponent == 0 else float(number)
    if number != number.to_integral_value():
        raise ParameterError(name, text, f"must be whole numbers, as its default {default!r}")
    return int(number)


def _is_range(text: str, default: Any) -> bool:
    if ":" not in text or isinstance(default, bool | str):
        return False
    return default is not None or all(_number(part) is not None for part in text.split(":"))


def _range(name: str, text: str, default: Any) -> list[Any]:
    parts = [_number(part.strip()) for part in text.split(":")]
    numbers = [p for p in parts if p is not None]
    if len(numbers) != len(parts) or len(parts) not in (2, 3):
        raise ParameterError(name, text, "a range is first:last:step, e.g. 5:50:5")
    first, last, step = (*numbers, decimal.Decimal(1))[:3]
    if len(parts) == 2 and any(n != n.to_integral_value() for n in (first, last)):
        raise ParameterError(name, text, "a range of fractions needs its step, e.g. 0.5:2:0.5")
    if step == 0 or (last - first) * step < 0:
        raise ParameterError(name, text, "holds nothing: the step must lead from the first to the last")
    # The context of the thread is the user's; 50 digits hold every decimal that a float can tell apart.
    with decimal.localcontext(decimal.Context(prec=50)):
        try:
            count = int((last - first) // step) + 1
        except decimal.InvalidOperation:  # more digits than 50
            count = MOST + 1
        if count > MOST:
            raise ParameterError(name, text, f"more than {MOST:,} values; take a larger step")
        numbers = [first + k * step for k in range(count)]
    return [_as(name, text, n, default) for n in numbers]
