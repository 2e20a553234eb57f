"""The difference of two profits by cause: each amount from a replay of the books with that one thing as live had it.

Pure. A world is a list of deals on what was held at the beginning, valued at the same marks; sums are decimal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from quant.promotion.parity.value import PARTS, Part

ZERO = Decimal(0)
_SAME: Final = 1e-9  # of commissions: nearer to one another they differ by their sums as floats alone


@dataclass(frozen=True, slots=True)
class Deal:
    """A quantity at a price. commission: NaN counts as none, as in the journal's books."""

    feed: int
    quantity: float
    price: float
    commission: float

    @property
    def fee(self) -> float:
        """The commission as it counts."""
        return 0.0 if math.isnan(self.commission) else self.commission


@dataclass(frozen=True, slots=True)
class Dealt:
    """What the two orders of a pair dealt. model: as one deal, None for none. live: its fills.

    then: the model's price in the bars in which live was filled. part: where a deal that only one has counts, or a
    quantity that differs; "" = missed or extra.
    """

    model: Deal | None
    live: tuple[Deal, ...]
    then: float = math.nan
    part: str = ""

    @property
    def mean(self) -> Deal | None:
        """Live's fills as one deal."""
        quantity = math.fsum(d.quantity for d in self.live)
        if not self.live or quantity == 0.0:
            return None
        price = math.fsum(d.price * d.quantity for d in self.live) / quantity
        return Deal(self.live[0].feed, quantity, price, math.fsum(d.fee for d in self.live))

    @property
    def missed(self) -> float:
        """How much less live dealt, unsigned."""
        ours, mean = (0.0 if d is None else abs(d.quantity) for d in (self.model, self.mean))
        return max(ours - mean, 0.0)

    @property
    def extra(self) -> float:
        """How much more live dealt, unsigned."""
        ours, mean = (0.0 if d is None else abs(d.quantity) for d in (self.model, self.mean))
        return max(mean - ours, 0.0)


@dataclass(frozen=True, slots=True)
class Held:
    """What a world begins with. By feed: position and its price at the beginning, price at the end, money a point."""

    positions: Mapping[int, float]
    before: Mapping[int, float]
    after: Mapping[int, float]
    worth: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Split:
    """model, live: profits of the model's world and of the one with all that live had. parts: in the order of PARTS."""

    model: Decimal
    live: Decimal
    parts: tuple[Part, ...]


def split(pairs: Sequence[Dealt], held: Held) -> Split:
    """Return what makes live's profit another than the model's."""
    pairs = [half for pair in pairs for half in _one_sided(pair)]
    base = profit([_model(p) for p in pairs], held)
    whole = profit([list(p.live) for p in pairs], held)
    amounts = {name: profit([world(p) for p in pairs], held) - base for name, world in WORLDS.items()}
    amounts["interaction"] = whole - base - sum(amounts.values(), ZERO)
    counts = _counts(pairs)
    return Split(base, whole, tuple(Part(name, float(amounts[name]), counts[name]) for name in PARTS))


def profit(deals: Sequence[Sequence[Deal]], held: Held) -> Decimal:
    """Return what a world earns."""
    total = ZERO
    for feed, quantity in held.positions.items():
        if quantity:
            gain = _exact(held.after[feed]) - _exact(held.before[feed])
            total += _exact(quantity) * gain * _exact(held.worth[feed])
    for deal in (d for group in deals for d in group):
        gain = _exact(held.after[deal.feed]) - _exact(deal.price)
        total += _exact(deal.quantity) * gain * _exact(held.worth[deal.feed]) - _exact(deal.fee)
    return total


def _exact(value: float) -> Decimal:
    return Decimal(repr(float(value)))


def _one_sided(pair: Dealt) -> list[Dealt]:
    """Cut a pair of opposite deals in two: neither is a form of the other."""
    mean = pair.mean
    if pair.model is None or mean is None or pair.model.quantity * mean.quantity > 0.0:
        return [pair]
    return [replace(pair, live=()), replace(pair, model=None)]


# ---------------------------------------------------------------- worlds
def _model(pair: Dealt) -> list[Deal]:
    return [] if pair.model is None else [pair.model]


def _price(pair: Dealt) -> list[Deal]:
    mean = pair.mean
    if pair.model is None or mean is None:
        return _model(pair)
    return [replace(pair.model, price=pair.model.price + (mean.price - pair.then))]


def _timing(pair: Dealt) -> list[Deal]:
    if pair.model is None or pair.mean is None:
        return _model(pair)
    return [replace(pair.model, price=pair.then)]


def _commission(pair: Dealt) -> list[Deal]:
    """Take live's commission, also that of a fill which was taken back."""
    mean = pair.mean
    if pair.model is None or mean is None:
        return [*_model(pair), *(d for d in pair.live if not d.quantity)]
    return [replace(pair.model, commission=mean.commission)]


def _quantity(pair: Dealt) -> list[Deal]:
    """Take live's quantity; a deal that the model lacks comes with live's price and commission."""
    mean = pair.mean
    if pair.model is None:
        return [d for d in pair.live if d.quantity]
    return [] if mean is None else [replace(pair.model, quantity=mean.quantity)]


def _where(part: str, does: Callable[[Dealt], bool]) -> Callable[[Dealt], list[Deal]]:
    return lambda pair: _quantity(pair) if pair.part == part and does(pair) else _model(pair)


WORLDS: Mapping[str, Callable[[Dealt], list[Deal]]] = {
    "price": _price,
    "commission": _commission,
    "timing": _timing,
    "missed": _where("", lambda pair: pair.missed > 0.0),
    "extra": _where("", lambda pair: pair.extra > 0.0),
    "revised data": _where("revised data", lambda pair: True),
    "carried": _where("carried", lambda pair: True),
}


def _fees(deals: Sequence[Deal]) -> float:
    return math.fsum(d.fee for d in deals)


def _counts(pairs: Sequence[Dealt]) -> dict[str, str]:
    """Return in words how much each part holds."""
    both = [(p, mean) for p in pairs if p.model is not None and (mean := p.mean) is not None]
    deals = {
        "price": sum(p.model is not None and mean.price != p.then for p, mean in both),
        "commission": sum(abs(_fees(_commission(p)) - _fees(_model(p))) > _SAME for p in pairs),
        "timing": sum(p.model is not None and p.then != p.model.price for p, _ in both),
        "missed": sum(p.part == "" and p.missed > 0.0 for p in pairs),
        "extra": sum(p.part == "" and p.extra > 0.0 for p in pairs),
        "revised data": sum(p.part == "revised data" for p in pairs),
        "carried": sum(p.part == "carried" for p in pairs),
    }
    words = {
        "price": "filled at other prices",
        "commission": "billed otherwise",
        "timing": "filled in other bars",
        "missed": "not filled live, or less",
        "extra": "filled live only, or more",
        "revised data": "from bars that live had otherwise",
        "carried": "from an earlier day",
    }
    told = {name: f"{deals[name]} orders {words[name]}" if deals[name] else "" for name in words}
    return {**told, "interaction": "of two or more of these on one order"}
