"""Numbers, times and settings as the page writes them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

MINUS: Final = "\N{MINUS SIGN}"
NONE: Final = "\N{EN DASH}"  # a figure that is undefined
DAY_S: Final = 86_400


def number(value: float | None, form: str = ",.2f") -> str:
    """Return a number with a true minus sign; an en dash where it is undefined."""
    if value is None or not math.isfinite(value):
        return NONE
    return format(value, form).replace("-", MINUS)


def percent(value: float | None, form: str = "+.2%") -> str:
    """Return a fraction as a percentage, signed unless `form` says otherwise."""
    return number(value, form)


def price(value: float | None) -> str:
    """Return a price with the digits that it has, two decimals or more; from 10 on at most four, else ten digits."""
    if value is None or not math.isfinite(value):
        return NONE
    value = round(value, 4) if abs(value) >= 10.0 else value
    text = f"{value:,.10g}" if abs(value) < 1e10 else f"{value:,.0f}"
    whole, _, rest = text.partition(".")
    return (text if "e" in text else f"{whole}.{rest:0<2}").replace("-", MINUS)


def moment(clock: float) -> str:
    """Return a wall clock's time; a date alone at 00:00. clock: seconds since 1970."""
    if not math.isfinite(clock):
        return NONE
    at = np.datetime64(int(clock), "s")
    if int(clock) % DAY_S == 0:
        return str(at.astype("datetime64[D]"))
    text = str(at).replace("T", " ")
    return text.removesuffix(":00") if int(clock) % 60 == 0 else text


def settings(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield each setting by its full name: {"a": {"b": 1}} is a.b = 1."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from settings(value, f"{name}.")
        elif isinstance(value, list | tuple) and any(isinstance(v, Mapping) for v in value):
            for n, item in enumerate(value):
                yield from settings(item, f"{name}[{item.get('name', n)}].")
        else:
            yield name, "none" if value is None or value == {} or value == [] else str(value)
