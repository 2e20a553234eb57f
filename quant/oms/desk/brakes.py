"""What slows a whole deployment down, or stops it: losses, rejections, a full disk. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from quant.oms.limits import Limits


@dataclass(frozen=True, slots=True)
class Health:
    """What the deployment as a whole is judged by. flat: nothing is held and nothing works.

    equity, day_start, peak: of the deployment, None = not known. rejects: entries that IB rejected in the last
    `rejects_s`. free_bytes: on the journal's disk, None = not known.
    """

    capital: float
    equity: float | None
    day_start: float | None
    peak: float | None
    flat: bool
    rejects: int = 0
    free_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Brake:
    """What must be slowed down, and why. halts: else only reductions are sent from now on."""

    halts: bool
    reason: str


def brakes(health: Health, limits: Limits) -> tuple[Brake, ...]:
    """Return what the deployment's state asks for. A loss leaves the way out open and halts once all is flat."""
    found = []
    if health.equity is not None:
        for name, high, base, share in (
            ("daily loss", health.day_start, health.day_start, limits.daily_loss),
            ("drawdown", health.peak, health.capital, limits.drawdown),
        ):
            if high is not None and base is not None and high - health.equity >= share * base:
                told = f"{name} of {high - health.equity:,.2f}: the limit is {share:.1%} of {base:,.2f}"
                found.append(Brake(health.flat, told))
    if health.rejects > limits.max_rejects:
        found.append(Brake(True, f"IB rejected {health.rejects} entries in {limits.rejects_s:g} s"))
    if health.free_bytes is not None and health.free_bytes < limits.min_free_bytes:
        # Without the figure: it changes at each look, and each change would be told anew.
        told = f"less than {limits.min_free_bytes:,} bytes are left on the journal's disk: make room there"
        found.append(Brake(True, told))
    return tuple(found)
