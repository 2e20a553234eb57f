"""The gates as pure rules: evidence in, a verdict and one plain sentence out. Nothing is read or run here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from quant.live.run.deployment import MUST_SAY
from quant.promotion.gates.values import (
    Evidence,
    Outcome,
    PaperEvidence,
    Rehearsed,
    Session,
    Thresholds,
    Verdict,
)

NONE: Final = "none"
PART_S: Final = 3600.0  # a session that did not run for longer than that is a part of one
SHOWN: Final = 3  # sessions that do not count, each with its reason
# Said with the deflated Sharpe ratio: from the same trials a sweep's verdict may have another.
SPREAD: Final = (
    "luck is judged by how far apart the Sharpe ratios of the trials are; a sweep's verdict judges by how alike their "
    "returns are"
)
# No reason opens these: without them nothing could trade, or nobody could stop it.
FIRM: Final = frozenset({"contract", "limits", "halt"})


# ---------------------------------------------------------------- to paper
def _part(name: str, gate: str) -> Callable[[Evidence, Thresholds], Verdict]:
    """Return the gate that a part of q.check is."""

    def rule(found: Evidence, asked: Thresholds) -> Verdict:
        part = found.checks.get(name)
        if part is None or part.verdict == "not applicable":
            told = "it is no part of this check" if part is None else part.told
            return Verdict(gate, "not run", f"{name} could not be checked: {told}")
        held = part.verdict == "failed"
        return Verdict(gate, "held" if held else "pass", part.told)

    return rule


def warm_up(found: Evidence, asked: Thresholds) -> Verdict:
    """Live's history holds what signals need until they forget its start."""
    part = found.checks.get("warm-up")
    if part is None or part.verdict == "not applicable":
        return Verdict(
            "warm-up", "not run", "warm-up could not be measured, so nobody knows how much history is needed"
        )
    if found.warmup is None:
        if found.whole:
            return Verdict(
                "warm-up",
                "pass",
                "signals depend on the whole history, and live begins where the backtest did",
            )
        told = "signals depend on the whole history, and live would begin later than the backtest"
        return Verdict("warm-up", "held", told)
    enough = found.ahead >= found.warmup
    told = f"signals need {found.warmup:,} bars of history, live has {found.ahead:,}"
    return Verdict("warm-up", "pass" if enough else "held", told, float(found.warmup), float(found.ahead))


def data_complete(found: Evidence, asked: Thresholds) -> Verdict:
    """The bars that the calendar has are there."""
    unknown = [b.symbol for b in found.bars if b.missing is None]
    if unknown:
        told = f"no calendar is known for {', '.join(unknown)}, so missing bars cannot be told"
        return Verdict("data", "not run", told, asked.missing)
    lacking = {b.symbol: (b.missing or 0) / max(b.held + (b.missing or 0), 1) for b in found.bars}
    worst = max(lacking, key=lambda symbol: lacking[symbol])
    share, count = lacking[worst], sum(b.missing or 0 for b in found.bars)
    held = share > asked.missing
    told = (
        "no bar of the calendar is missing"
        if count == 0
        else f"{count:,} bars of the calendar are missing, {share:.2%} of {worst}; up to {asked.missing:.2%} may"
    )
    return Verdict("data", "held" if held else "pass", told, asked.missing, share)


def out_of_sample(found: Evidence, asked: Thresholds) -> Verdict:
    """It also made money on data that no choice of parameters had seen."""
    name, wanted, seen = "out-of-sample", asked.out_of_sample, found.outside
    if seen is None:
        why = f": {found.not_outside}" if found.not_outside else ""
        told = f"there is no result on data that no choice had seen{why}; make one: {found.how_outside}"
        return Verdict(name, "not run", told, wanted)
    if math.isnan(seen.sharpe):
        return Verdict(name, "held", f"{seen.kind} {seen.name} has no Sharpe ratio: it did not trade", wanted)
    if seen.sessions < asked.out_of_sample_sessions:
        told = f"{seen.kind} {seen.name} has {seen.sessions:,} sessions, too few to say anything: at least "
        return Verdict(
            name, "held", f"{told}{asked.out_of_sample_sessions:,} are asked for", wanted, seen.sharpe
        )
    told = f"{seen.kind} {seen.first} to {seen.last}: Sharpe ratio {seen.sharpe:.2f}, at least {wanted:g} is asked for"
    return Verdict(name, "pass" if seen.sharpe >= wanted else "held", told, wanted, seen.sharpe)


def trades(found: Evidence, asked: Thresholds) -> Verdict:
    """There are enough trades to say anything."""
    told = f"{found.trades:,} closed trades, at least {asked.trades:,} are asked for"
    outcome: Outcome = "pass" if found.trades >= asked.trades else "held"
    return Verdict("trades", outcome, told, float(asked.trades), float(found.trades))


def deflated(found: Evidence, asked: Thresholds) -> Verdict:
    """The result is more than luck gives to the best of all that was tried."""
    name, wanted = "deflated-sharpe", asked.deflated_sharpe
    if math.isnan(found.deflated):
        return Verdict(name, "not run", "the returns give no Sharpe ratio that could be judged", wanted)
    tried = f"all {found.trials:,} trials on these data" if found.trials > 1 else "one trial"
    told = (
        f"deflated Sharpe ratio {found.deflated:.2f} (probability of more than luck, {tried} counted), at least "
        f"{wanted:g} is asked for"
    )
    return Verdict(name, "pass" if found.deflated >= wanted else "held", told, wanted, found.deflated)


def rejected(found: Evidence, asked: Thresholds) -> Verdict:
    """Few orders of the backtest were rejected for lack of cash."""
    if found.orders == 0:
        return Verdict("rejected", "not run", "the backtest gave no order", asked.rejected)
    share = found.rejected / found.orders
    told = (
        f"{found.rejected:,} of {found.orders:,} orders were rejected ({share:.1%}), below {asked.rejected:.1%} is "
        "asked for"
    )
    return Verdict("rejected", "pass" if share < asked.rejected else "held", told, asked.rejected, share)


def costs(found: Evidence, asked: Thresholds) -> Verdict:
    """Commissions were charged, not far below IB's own, and slippage was stated."""
    kind, _, amount = found.costs.partition(":")
    if kind == NONE or (kind == "percent" and float(amount) == 0.0):
        return Verdict(
            "costs", "held", f'costs were "{found.costs}": nobody trades for nothing; take --costs ib-fixed'
        )
    if found.slippage is None:
        told = f"costs were {found.costs}, but no slippage was stated; say it, even as --slippage percent:0"
        return Verdict("costs", "held", told)
    paid = found.charged
    share = paid.paid / paid.amount if paid.amount else None
    told = f"costs {found.costs}"
    if share is not None and share < asked.costs:
        told += f" made {paid.paid:,.2f} in all, {share:.0%} of the {paid.amount:,.2f} that {paid.plan} charges for the"
        told += f" same fills, at least {asked.costs:.0%} is asked for; take --costs {paid.plan}"
        return Verdict("costs", "held", told, asked.costs, share)
    if paid.unknown:
        told += f" (no plan of IB's is known here for {', '.join(paid.unknown)} to compare them with)"
    elif share is not None and kind == "percent":
        told += f", {share:.0%} of what {paid.plan} charges"
    told += f", slippage {found.slippage}"
    told += " (none)" if float(found.slippage.partition(":")[2]) == 0.0 else ""
    return Verdict("costs", "pass", told, asked.costs, share)


def _rehearsed(name: str, found: Rehearsed, good: str) -> Verdict:
    if found.failed:
        return Verdict(name, "not run", f"it cannot be rehearsed: {found.failed}")
    if found.fills == 0:
        told = f"nothing was traded in the last {found.bars:,} bars; rehearse more: promote.rehearsal_bars"
        return Verdict(name, "not run", told)
    if found.ok:
        return Verdict(
            name,
            "pass",
            f"{good} over {found.bars:,} bars and {found.fills:,} fills",
            0.0,
            float(found.differences),
        )
    often = "once" if found.differences == 1 else f"{found.differences:,} times"
    told = f"live and backtest differ {often} over {found.bars:,} bars, first: {found.first}; see all: {found.see}"
    return Verdict(name, "held", told, 0.0, float(found.differences))


def rehearsal(found: Evidence, asked: Thresholds) -> Verdict:
    """The live path gave the backtest's orders, fills and money at a simulated TWS."""
    return _rehearsed("rehearsal", found.rehearsal, "equal to the cent")


def faults(found: Evidence, asked: Thresholds) -> Verdict:
    """The same while lines broke, reports came twice and an order was lost."""
    return _rehearsed("faults", found.faults, "under faults nothing unexplained")


def limits(found: Evidence, asked: Thresholds) -> Verdict:
    """Capital and limits are set, and the limits let the strategy trade."""
    lacking = _unsaid(found.limits)
    if lacking:
        return Verdict(
            "limits", "held", f"{', '.join(lacking)} must be a number: --limit {lacking[0]}=NUMBER"
        )
    if found.rehearsal.refused:
        often = "once" if found.rehearsal.refused == 1 else f"{found.rehearsal.refused:,} times"
        told = f"the limits would have stepped in {often} in the rehearsal, first: "
        return Verdict("limits", "held", f"{told}{found.rehearsal.first_refused}; set them with --limit")
    return Verdict("limits", "pass", f"capital {found.capital:,.0f}, {_said(found.limits)}")


def contract(found: Evidence, asked: Thresholds) -> Verdict:
    """Each symbol has IB's contract, also where the bars came from elsewhere."""
    unknown = [o for o in found.origins if o.con_id is None]
    if unknown:
        first = unknown[0]
        told = f"bars of {first.symbol} are of source {first.source}, which names no contract of IB"
        return Verdict("contract", "held", f"{told}; say it: --contract {first.symbol}=CON_ID")
    named = ", ".join(f"{o.symbol} is {o.con_id}" for o in found.origins)
    return Verdict("contract", "pass", f"IB's contracts: {named}")


def _unsaid(given: Mapping[str, Any]) -> list[str]:
    """Return limits that are no numbers."""
    return [
        n for n in MUST_SAY if isinstance(given.get(n), bool) or not isinstance(given.get(n), int | float)
    ]


def _said(given: Mapping[str, Any]) -> str:
    order, held, loss = (given[name] for name in MUST_SAY)
    return f"an order up to {order:,.0f}, all held up to {held:,.0f}, {loss:.1%} lost in a day"


# ---------------------------------------------------------------- to live
def evidence(found: PaperEvidence, asked: Thresholds) -> Verdict:
    """The gates to paper were passed."""
    if not found.gates:
        told = "it was begun without the gates to paper; promote its backtest: quant promote RUN --to paper"
        return Verdict("evidence", "not run", told)
    held = [name for name, outcome, override in found.gates if outcome != "pass" and not override]
    overridden = [name for name, outcome, override in found.gates if outcome != "pass" and override]
    if held:
        return Verdict("evidence", "held", f"gates to paper held: {', '.join(held)}")
    told = f"all {len(found.gates)} gates to paper were passed"
    told += f", {len(overridden)} of them overridden: {', '.join(overridden)}" if overridden else ""
    return Verdict("evidence", "pass", told)


def parity(found: PaperEvidence, asked: Thresholds) -> Verdict:
    """The last sessions of paper were what the backtest says, each; one that proves too little does not count."""
    wanted, good, quiet, left, end = asked.sessions, 0, 0, [], ""
    ask = "1 is asked for" if wanted == 1 else f"{wanted} are asked for"
    known = {one.day: one for one in found.sessions}
    if not known:
        told = f"no session of paper was compared, {ask}; after each: quant parity {found.name}"
        return Verdict("parity", "held", told, float(wanted), 0.0)
    for day in sorted({*known, *found.uncompared}, reverse=True):
        one = known.get(day)
        if one is not None and not one.ok:
            end = f"{day} had a difference"
        elif one is None or day in found.uncompared:
            end = f"{day} was traded and not compared since it ended: quant parity {found.name} --day {day}"
        elif why := _too_little(one, asked):
            left.append(f"{day} ({why})")
        else:
            good += 1
            quiet += not one.decisions
        if end:
            break
    held = good < wanted or quiet == good
    told = f"{good} session{'' if good == 1 else 's'} with parity one after the other, {ask}"
    if quiet:  # bars and signals were compared all the same: a daily strategy decides once in some weeks
        told += f"; nothing was decided in {quiet} of them" + ", and one decision must be seen" * (
            quiet == good
        )
    if held and end:
        told += f"; {end}"
    if left:
        more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
        told += f"; not counted: {', '.join(left[:SHOWN])}{more}"
    return Verdict("parity", "held" if held else "pass", told, float(wanted), float(good))


def _too_little(one: Session, asked: Thresholds) -> str:
    """Return why a session with parity proves too little, "" where it counts."""
    if not one.taped:
        return "no tape shows that it was traded"
    if one.over is None:
        return "its record does not say that it was over when it was compared"
    if not one.over:
        return "it was not over when it was compared"
    if one.not_running_s > PART_S:
        return "over an hour of it was not run"
    if one.missed > asked.missed_orders * one.orders:
        return f"{one.missed:,} of {one.orders:,} orders were missed, up to {asked.missed_orders:.0%} may"
    return ""


def halt(found: PaperEvidence, asked: Thresholds) -> Verdict:
    """Nothing is halted that nobody has looked at."""
    if not found.ran:
        return Verdict("halt", "held", "it has never run on paper")
    if found.halted:
        return Verdict(
            "halt", "held", f"halted: {found.halted}; look, then: quant halt NAME --clear --reason TEXT"
        )
    return Verdict("halt", "pass", "no halt is open")


def real_limits(found: PaperEvidence, asked: Thresholds) -> Verdict:
    """A person has said the limits for real money, anew."""
    lacking = _unsaid(found.said)
    if lacking:
        words = " ".join(f"--limit {name}=NUMBER" for name in lacking)
        return Verdict(
            "limits", "held", f"limits for real money are said anew, those of paper do not count: {words}"
        )
    return Verdict("limits", "pass", _said(found.said))


TO_PAPER: Final[tuple[Callable[[Evidence, Thresholds], Verdict], ...]] = (
    _part("look-ahead", "look-ahead"), warm_up, _part("determinism", "determinism"), _part("engines", "engines"),
    data_complete, out_of_sample, trades, deflated, rejected, costs, rehearsal, faults, limits, contract,
)  # fmt: skip
TO_LIVE: Final[tuple[Callable[[PaperEvidence, Thresholds], Verdict], ...]] = (
    evidence,
    parity,
    halt,
    real_limits,
)
