"""What parity says of one day of a deployment. Values only; nothing here computes more than counts and verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from quant.core.barsize import SECOND
from quant.promotion.causes import UNEXPLAINED, moment
from quant.promotion.difference import CENT, Difference
from quant.promotion.parity.statement import Statement, statement

PARTS: Final = (
    "price", "commission", "timing", "missed", "extra", "revised data", "carried", "interaction",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class BarRow:
    """A bar that live had otherwise. at: END, UTC ns. state: revised, missing (live never had it in time), extra.

    row: its place among the symbol's bars as they are now, -1 for none.
    """

    at: int
    symbol: str
    state: str
    words: str
    row: int = -1


@dataclass(frozen=True, slots=True)
class BarCount:
    """How the day's bars compare, and those that are not equal, by time."""

    equal: int
    revised: int
    missing: int
    extra: int
    rows: tuple[BarRow, ...] = ()


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """A change of target. at: END of its bar, UTC ns. model, live: the new target, None where it did not change.

    same: both wanted the same, or nothing ran that could have wanted it. why: what became of it, or why they differ,
    "" where there is nothing to say.
    """

    at: int
    symbol: str
    model: float | None
    live: float | None
    same: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class OrderRow:
    """An order of both. at: END of the bar it was decided on. model, live: in words, "" for none. ref: live's.

    same: they differ in nothing, or in what the fill was paid alone, which the fill's row tells.
    """

    at: int
    symbol: str
    reason: str
    model: str
    live: str
    same: bool
    why: str = ""
    ref: str = ""


@dataclass(frozen=True, slots=True)
class FillRow:
    """Fills of one order. at: as its order's. Quantities are signed, prices means; None for no fill.

    difference: by how much live's cash is better for it, at equal marks and with commissions. time: of live's last
    fill, UTC ns, else 0.
    """

    at: int
    symbol: str
    reason: str
    model_quantity: float | None
    model_price: float | None
    model_commission: float | None
    live_quantity: float | None
    live_price: float | None
    live_commission: float | None
    difference: float
    why: str = ""
    time: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the difference of profits. amount: live better by it. words: what it holds."""

    name: str
    amount: float
    words: str = ""


@dataclass(frozen=True, slots=True)
class Slippage:
    """What own market fills cost against the model's price, in 1/10,000 of it; above 0 is worse. n: fills."""

    median_bps: float
    mean_bps: float
    n: int

    @property
    def setting(self) -> str:
        """The slippage to give to the next backtest."""
        return f"percent:{max(self.mean_bps, 0.0) / 100.0:.4f}"


@dataclass(frozen=True, slots=True)
class Parity:
    """A day beside its model. day: session date, ISO.

    pnl: (model, live), of the day, positions at the same closes. split: what the difference is made of, in the order
    of PARTS. unexplained: what is left, 0.00 where every fill of live's is accounted for. differences: with a cause
    each. slippage: None without a market fill of both. notes: what live said of itself, (UTC ns, words). findings:
    what a reader must know of the figures. session: from the beginning of its first bar to the END of its last;
    compared: what of it was, as the runner ran; gaps: when nothing ran in between; all UTC ns, (0, 0) = not known.
    over: when the session ends by its calendar; at: the moment as of which the bars stand; UTC ns, 0 = not known.
    """

    deployment: str
    strategy: str
    symbols: tuple[str, ...]
    day: str
    bars: BarCount
    decisions: tuple[DecisionRow, ...]
    orders: tuple[OrderRow, ...]
    fills: tuple[FillRow, ...]
    pnl: tuple[float, float]
    split: tuple[Part, ...]
    unexplained: float
    differences: tuple[Difference, ...]
    slippage: Slippage | None = None
    notes: tuple[tuple[int, str], ...] = ()
    findings: tuple[str, ...] = ()
    session: tuple[int, int] = (0, 0)
    compared: tuple[int, int] = (0, 0)
    gaps: tuple[tuple[int, int], ...] = ()
    over: int = 0
    at: int = 0

    @property
    def not_running_s(self) -> float:
        """For how long of the session nothing ran."""
        (begin, end), (first, last) = self.session, self.compared
        return ((first - begin) + (end - last) + sum(two - one for one, two in self.gaps)) / SECOND

    @property
    def diverged(self) -> int:
        """How many decisions differ."""
        return sum(not row.same for row in self.decisions)

    @property
    def without_cause(self) -> int:
        """How many differences nobody knows a cause for."""
        return sum(d.cause == UNEXPLAINED for d in self.differences)

    @property
    def ok(self) -> bool:
        """True where all decisions are the model's, every cent is accounted for, and every difference has a cause."""
        return not self.diverged and abs(self.unexplained) < CENT and not self.without_cause

    @property
    def _filled(self) -> list[FillRow]:
        """What the model filled."""
        return [row for row in self.fills if row.model_quantity is not None]

    @property
    def printed(self) -> Statement:
        """The money as it is printed: it adds up to the cent."""
        return statement(*self.pnl, {part.name: part.amount for part in self.split}, self.unexplained)

    @property
    def line(self) -> dict[str, Any]:
        """The day in the running record, which the step to live asks for."""
        money = self.printed
        return {
            "day": self.day, "decisions": len(self.decisions), "decisions_diverged": self.diverged,
            "differences": len(self.differences), "without_cause": self.without_cause,
            "unexplained": float(money.unexplained), "ok": self.ok, "pnl_live": float(money.live),
            "pnl_model": float(money.model),
            "not_running_s": round(self.not_running_s, 1),
            "session_end": _told(self.over), "compared_at": _told(self.at),
            "orders": len(self._filled), "missed": sum(row.live_quantity is None for row in self._filled),
            "slippage_bps": None if self.slippage is None else self.slippage.mean_bps,
        }  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; times as UTC text. Amounts are exact; `printed` has them to the cent."""
        slippage = self.slippage
        learnt = None if slippage is None else {**asdict(slippage), "setting": slippage.setting}
        bars = {name: getattr(self.bars, name) for name in ("equal", "revised", "missing", "extra")}
        return {
            "deployment": self.deployment, "strategy": self.strategy, "symbols": list(self.symbols), "day": self.day,
            "ok": self.ok, "diverged": self.diverged, "bars": {**bars, "rows": [_plain(r) for r in self.bars.rows]},
            "decisions": [_plain(r) for r in self.decisions], "orders": [_plain(r) for r in self.orders],
            "fills": [_plain(r) for r in self.fills], "pnl": dict(zip(("model", "live"), self.pnl, strict=True)),
            "split": [asdict(p) for p in self.split], "unexplained": self.unexplained,
            "printed": self.printed.to_dict(), "slippage": learnt,
            "differences": [d.to_dict() for d in self.differences],
            "notes": [{"at": moment(at), "words": words} for at, words in self.notes],
            "findings": list(self.findings), "session": _span(self.session), "compared": _span(self.compared),
            "not_running": [_span(gap) for gap in self.gaps], "record": self.line,
        }  # fmt: skip

    def part(self, name: str) -> float:
        """Return the amount of one of PARTS."""
        return next(part.amount for part in self.split if part.name == name)


def _span(moments: tuple[int, int]) -> dict[str, str | None]:
    return dict(zip(("from", "to"), map(_told, moments), strict=True))


def _told(at: int) -> str | None:
    return moment(at) if at else None


def _plain(row: BarRow | DecisionRow | OrderRow | FillRow) -> Mapping[str, Any]:
    """Return a row with its times as text; 0 is none."""
    values = asdict(row)
    for name in ("at", "time"):
        if name in values:
            values[name] = moment(values[name]) if values[name] else None
    return values
