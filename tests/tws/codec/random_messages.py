"""Messages of IB's protobuf with random values in random fields."""

from __future__ import annotations

import random
from typing import Any

from wire_peers import DECIMALS

WORDS = [
    "",
    "SMART",
    "a b",
    "x=y",
    "Zürich",
    "東京",
    "back\\slash",
    '"quoted"',
    "PEG BENCH",
    "PEG BEST",
    "BAG",
    "IBKRATS",
]
NUMBERS = [0.0, -0.0, 1.0, 0.1, -2.5, 1e-9, 1e17, 5e-324, 1.7e308, float("inf"), float("-inf")]
WHOLE = [0, 1, -1, 7, 2**31 - 2, -(2**31)]
OPTIONS = {"chartOptions", "miscOptions", "realTimeBarsOptions", "marketDataOptions", "orderMiscOptions"}
CHOICES = {"OrderCondition.type": [1, 3, 4, 5, 6, 7], "TickByTickData.tickType": [1, 2, 3, 4]}


def random_message(kind: Any, rng: random.Random, share: float = 0.5) -> Any:
    """Return a message in which each field is set with the probability `share`."""
    message = kind()
    _fill(message, rng, share)
    return message


def _fill(message: Any, rng: random.Random, share: float) -> None:
    for field in message.DESCRIPTOR.fields:
        choices = CHOICES.get(f"{message.DESCRIPTOR.name}.{field.name}")
        if choices:
            setattr(message, field.name, rng.choice(choices))
        elif rng.random() < share:
            _set(message, field, rng, share)


def _set(message: Any, field: Any, rng: random.Random, share: float) -> None:
    count = rng.choice([0, 1, 2])
    if field.is_repeated and field.message_type is not None:
        items = getattr(message, field.name)
        for i in range(count):
            if field.message_type.GetOptions().map_entry:
                items[f"tag{i}"] = "plain" if field.name in OPTIONS else rng.choice(WORDS)
            else:
                _fill(items.add(), rng, share)
    elif field.is_repeated:
        getattr(message, field.name).extend(_value(field, rng) for _ in range(count))
    elif field.message_type is not None:
        part = getattr(message, field.name)
        part.SetInParent()
        _fill(part, rng, share)
    else:
        setattr(message, field.name, _value(field, rng))


def _value(field: Any, rng: random.Random) -> Any:
    if field.type == field.TYPE_STRING:
        if field.name in DECIMALS:
            return rng.choice(["0", "1", "100", "0.0001", "-12.50", "123456789012345678"])
        return rng.choice(WORDS)
    if field.type == field.TYPE_BOOL:
        return rng.random() < 0.5
    if field.type == field.TYPE_DOUBLE:
        return rng.choice(NUMBERS)
    return rng.choice([2**62, 1783330200000] if field.type == field.TYPE_INT64 else WHOLE)
