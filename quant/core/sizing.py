"""How many units a target means (DESIGN §5.3): whole units, in the order of float operations that all engines copy.

Pure functions of numbers; the units are what backtrader's order_target_size, _value and _percent order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from quant.errors import ParameterError

KINDS: Final = ("percent", "cash", "shares", "risk")


@dataclass(frozen=True, slots=True)
class Sizing:
    """Units of a target of 1.

    kind, amount: percent of the equity, cash, shares, or percent of the equity at risk between close and
    stop. cap: most that `risk` may buy, as a fraction of the equity.
    """

    kind: Literal["percent", "cash", "shares", "risk"]
    amount: float
    cap: float = 0.95

    def __str__(self) -> str:
        return f"{self.kind}:{self.amount!r}"

    def entry(self, target: float, equity: float, close: float, stop: float = math.nan) -> int:
        """Return the unsigned units of an entry from flat, or of the second order of a reversal.

        equity: account value at the decision's close, 0 where negative. stop: NaN = none (`risk`: no entry).
        """
        t = abs(target)
        if self.kind == "shares":
            return int(self.amount * t)
        if self.kind == "percent":
            return int(self.amount / 100.0 * t * equity // close)
        if self.kind == "cash":
            return int(self.amount * t // close)
        most = int(self.cap * equity // close)
        distance = abs(close - stop)
        if math.isnan(distance):
            return 0
        if distance == 0.0:
            return most
        return min(int(self.amount / 100.0 * t * equity / distance), most)

    def change(self, position: int, target: float, equity: float, close: float) -> int:
        """Return the signed change of a held position for another target of its sign.

        `risk` needs a stop, and with exits a held position's size is never changed: it has no change.
        """
        if self.kind == "shares":
            return int(self.amount * target) - position
        value = position * close
        wanted = self.amount / 100.0 * target * equity if self.kind == "percent" else self.amount * target
        if wanted == 0.0:
            return -position
        if wanted > value:
            return int((wanted - value) // close)
        return -int((value - wanted) // close)


def parse_sizing(text: str | None, feeds: int = 1) -> Sizing:
    """Return the sizing that `text` names: "percent:95", "cash:10000", "shares:100" or "risk:1".

    None: percent:95 of the equity, shared by `feeds`. Raises ParameterError.
    """
    cap = 95.0 / feeds / 100.0
    if text is None:
        return Sizing("percent", 95.0 / feeds, cap)
    kind, _, number = str(text).partition(":")
    known = 'write "percent:95", "cash:10000", "shares:100" or "risk:1"'
    if kind not in KINDS:
        raise ParameterError("sizing", text, known)
    try:
        amount = float(number)
    except ValueError:
        raise ParameterError("sizing", text, known) from None
    if not (math.isfinite(amount) and amount > 0.0):
        raise ParameterError("sizing", text, "the number must be above 0")
    return Sizing(kind, amount, cap)  # type: ignore[arg-type]  # kind is one of KINDS
