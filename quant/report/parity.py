"""The page of a day's parity: one sentence, the money part by part, bars, decisions, orders and fills side by side.

Takes plain values, as `Parity.to_dict` gives them, and the running record, as lines of parity.jsonl. Pictures are part
of the page; its script only switches the theme.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

from quant.report.document import _inlined, document, policy
from quant.report.words import NONE, number, price

CENT: Final = 0.005  # money nearer to nothing than this is 0.00
ROWS: Final = 500  # of a table; the rest is in the day's JSON
SESSIONS: Final = 60  # of the table of sessions, the newest; the chart has all
BARS: Final = ("equal", "revised", "missing", "extra")
STEP: Final = 10  # width of a session in the charts' own units
Row = Mapping[str, Any]
Cells = tuple[bool, list[str]]  # whether live and backtest differ, and the texts


def parity_page(parity: Row, record: Sequence[Row] = ()) -> str:
    """Return the page of one day as HTML. record: a line a session, any order; the day's own one counts as it is."""
    styles, scripts = ((_inlined(f"templates/{name}"),) for name in ("page.css", "parity.js"))
    day = str(parity["day"])
    sessions = {str(line["day"]): line for line in record} | {day: parity["record"]}
    lines = [sessions[name] for name in sorted(sessions)]
    badge, word, sentence = verdict(parity)
    values = {
        "title": f"Parity: {parity['deployment']}, {day}", "day": day, "zone": "UTC", "head": _head(parity),
        "badge": badge, "word": word, "sentence": sentence, "findings": parity["findings"],
        "pnl_model": money(_printed(parity, "model")), "pnl_live": money(_printed(parity, "live")),
        "split": _split(parity), "learnt": _learnt(parity["slippage"]),
        "differences": _rows(parity["differences"], lambda row: _difference(row, day), lambda row: False),
        "bar_counts": [(name.capitalize(), f"{parity['bars'][name]:,}") for name in BARS],
        "bars": _rows(parity["bars"]["rows"], lambda row: _bar(row, day), lambda row: False),
        "decisions": _rows(parity["decisions"], lambda row: _decision(row, day), lambda row: not row["same"]),
        "orders": _rows(parity["orders"], lambda row: _order(row, day), lambda row: not row["same"]),
        "fills": _rows(parity["fills"], lambda row: _fill(row, day), lambda row: not _nothing(row["difference"])),
        "course": _course(lines), "record": _record(lines, day),
        "notes": [(_clock(note["at"], day), note["words"]) for note in parity["notes"]],
        "page_styles": styles, "page_scripts": scripts, "page_policy": policy(styles, scripts),
    }  # fmt: skip
    return document("parity.html", values, {}, [])


# ---------------------------------------------------------------- in a sentence
def verdict(parity: Row) -> tuple[str, str, str]:
    """Return what a day comes to: the badge's class, its word, and one or two sentences."""
    made, apart = len(parity["decisions"]), int(parity["diverged"])
    less = _printed(parity, "difference")
    without = int(parity["record"].get("without_cause", 0))
    if apart:
        first = next(row for row in parity["decisions"] if not row["same"])
        why = (
            f" The first, at {_clock(first['at'], str(parity['day']))}: {first['why']}."
            if first["why"]
            else ""
        )
        told = f"{apart:,} of {_count(made, 'decision')} {'is' if apart == 1 else 'are'} not the backtest's.{why}"
        return "apart", "diverged", f"{told} {_money_words(less)}"
    all_ = "Neither made a decision." if not made else f"{_all(made)} the backtest's."
    if not _nothing(parity["unexplained"]):
        rest = f"{money(_printed(parity, 'unexplained'))} of the difference is accounted for by no fill."
        return "apart", "unexplained", f"{all_} {_money_words(less)} {rest}"
    if without:
        rest = f"{_count(without, 'difference')} {'has' if without == 1 else 'have'} no known cause."
        return "apart", "unexplained", f"{all_} {rest} {_money_words(less)}"
    if not parity["differences"] and _nothing(less):
        return "same", "equal", f"{all_} Its orders, fills and profit are equal to the cent."
    return (
        "same",
        "explained",
        f"{all_} {_money_words(less)} Every difference has a known cause{_most(parity)}.",
    )


def _all(made: int) -> str:
    return "The one decision is" if made == 1 else f"All {made:,} decisions are"


def _count(n: int, name: str) -> str:
    return f"{n:,} {name}" if n == 1 else f"{n:,} {name}s"


def _money_words(less: float) -> str:
    if _nothing(less):
        return "Live made as much as the backtest, to the cent."
    return f"Live made {money(abs(less))} {'more' if less > 0.0 else 'less'} than the backtest."


def _most(parity: Row) -> str:
    """Return what weighs most in the split."""
    parts = parity["printed"]["parts"]
    if not parts:
        return ""
    most = max(parts, key=lambda name: abs(parts[name]))
    return f"; what weighs most is {most} ({_signed(parts[most])})"


def _head(parity: Row) -> list[tuple[str, str]]:
    live, model, less = (_printed(parity, name) for name in ("live", "model", "difference"))
    return [
        ("Deployment", parity["deployment"]), ("Strategy", parity["strategy"]),
        ("Symbols", ", ".join(parity["symbols"])), ("Session", str(parity["day"])),
        ("Profit live", _signed(live)), ("Profit of the backtest", _signed(model)),
        ("Live less backtest", _signed(less)), ("Unexplained", money(_printed(parity, "unexplained"))),
    ]  # fmt: skip


def _learnt(slippage: Row | None) -> str:
    if slippage is None:
        return ""
    fills = _count(int(slippage["n"]), "market fill")
    told = (
        f"{fills} cost {number(slippage['mean_bps'], '+.2f')} basis points on average against the backtest's prices "
        f"(median {number(slippage['median_bps'], '+.2f')})."
    )
    if round(float(slippage["mean_bps"]), 2) <= 0.0:
        return told
    return f"{told} For the next backtest: --slippage {slippage['setting']}"


# ---------------------------------------------------------------- money
def _printed(parity: Row, name: str) -> float:
    """Return an amount as it is printed everywhere, rounded so that all of them add up to the cent."""
    return float(parity["printed"][name])


def money(value: float) -> str:
    """Return an amount to the cent; a tiny one has no sign."""
    return number(0.0 if _nothing(value) else value)


def _signed(value: float) -> str:
    return number(0.0, ",.2f") if _nothing(value) else number(value, "+,.2f")


def _nothing(value: float) -> bool:
    return abs(value) < CENT


def _split(parity: Row) -> list[tuple[str, str, float, str, str]]:
    """Return name, words, length of the bar from -1 to 1, amount, and kind of each part, what is left last."""
    shown = parity["printed"]["parts"]
    amounts = [float(shown.get(part["name"], 0.0)) for part in parity["split"]]
    most = max([abs(a) for a in amounts if math.isfinite(a)], default=0.0)

    def share(amount: float) -> float:
        return 0.0 if _nothing(amount) or not math.isfinite(amount) else amount / most

    rows = [
        (
            part["name"].capitalize(),
            "" if _nothing(a) else part["words"],
            share(a),
            _signed(a),
            "nothing" if _nothing(a) else "part",
        )
        for part, a in zip(parity["split"], amounts, strict=True)
    ]
    rest = _printed(parity, "unexplained")
    words = (
        "" if _nothing(rest) else "A fill of live is not accounted for: look at the journal before you go on."
    )
    return [*rows, ("Unexplained", words, 0.0, _signed(rest), "rest" if _nothing(rest) else "wrong")]


# ---------------------------------------------------------------- tables
def _rows(
    found: Sequence[Row], cells: Callable[[Row], list[str]], differs: Callable[[Row], bool]
) -> dict[str, Any]:
    """Return rows as texts, those that differ first, each kind in the order in which it came."""
    ordered = sorted(found, key=lambda row: not differs(row))
    return {"rows": [(differs(row), cells(row)) for row in ordered[:ROWS]], "total": len(found)}


def _clock(text: str | None, day: str) -> str:
    """Return a moment without the date that the page is of, and without seconds that are 00."""
    if text is None:
        return NONE
    found = text.replace("T", " ").removesuffix(" UTC").removeprefix(f"{day} ")
    return found.removesuffix(":00") if found.count(":") > 1 else found


def _word(row: Row) -> str:
    return "same" if row["same"] else "differs"


def _difference(row: Row, day: str) -> list[str]:
    sides = [row[side] or "none" for side in ("backtest", "live")]
    return [_clock(row["at"], day), row["symbol"], row["what"], *sides, row["cause"]]


def _bar(row: Row, day: str) -> list[str]:
    return [_clock(row["at"], day), row["symbol"], row["state"], row["words"]]


def _decision(row: Row, day: str) -> list[str]:
    targets = [
        "unchanged" if row[side] is None else number(row[side], "+g" if row[side] else "g")
        for side in ("model", "live")
    ]
    return [_word(row), _clock(row["at"], day), row["symbol"], *targets, row["why"]]


def _order(row: Row, day: str) -> list[str]:
    sides = [row[side] or "none" for side in ("model", "live")]
    return [_word(row), _clock(row["at"], day), row["symbol"], row["reason"], *sides, row["why"]]


def _fill(row: Row, day: str) -> list[str]:
    sides: list[str] = []
    for side in ("model", "live"):
        quantity, at, paid = (row[f"{side}_{name}"] for name in ("quantity", "price", "commission"))
        sides += ["none" if quantity is None else f"{number(quantity, '+,g')} at {price(at)}", number(paid)]
    return [
        _clock(row["at"], day),
        row["symbol"],
        row["reason"],
        *sides,
        _signed(row["difference"]),
        row["why"],
    ]


# ---------------------------------------------------------------- all sessions
def _record(lines: Sequence[Row], day: str) -> dict[str, Any]:
    rows: list[Cells] = []
    for line in reversed(lines[-SESSIONS:]):
        less = line["pnl_live"] - line["pnl_model"]
        decisions = line.get("decisions")
        rows.append((
            not line["ok"],
            [
                "ok" if line["ok"] else "not ok", f"{line['day']}{', this one' if line['day'] == day else ''}",
                NONE if decisions is None else f"{decisions:,}", f"{line['decisions_diverged']:,}",
                money(line["unexplained"]), _signed(line["pnl_model"]), _signed(line["pnl_live"]), _signed(less),
                number(line.get("slippage_bps"), "+.2f"),
            ],
        ))  # fmt: skip
    return {"rows": rows, "total": len(rows)}


def _course(lines: Sequence[Row]) -> dict[str, Any] | None:
    """Return the charts of all sessions in their own units; None for one session, of which there is nothing to see."""
    if len(lines) < 2:
        return None
    sums = {
        side: list(accumulate((float(line[f"pnl_{side}"]) for line in lines), initial=0.0))
        for side in ("live", "model")
    }
    low, high = min(map(min, sums.values())), max(map(max, sums.values()))
    span = high - low if high > low else 1.0

    def y(value: float) -> float:
        return round(96.0 - 92.0 * (value - low) / span, 2)

    def points(side: str) -> str:
        return " ".join(f"{STEP * n},{y(value)}" for n, value in enumerate(sums[side]))

    total = sums["live"][-1] - sums["model"][-1]
    gaps = [float(line["pnl_live"]) - float(line["pnl_model"]) for line in lines]
    return {
        "sessions": len(lines), "width": STEP * len(lines), "live": _signed(sums["live"][-1]),
        "model": _signed(sums["model"][-1]), "live_points": points("live"), "model_points": points("model"),
        "zero": y(0.0), "low": _signed(low), "high": _signed(high), "total": _signed(total),
        "first": str(lines[0]["day"]), "last": str(lines[-1]["day"]),
        "bad": [STEP * n for n, line in enumerate(lines) if not line["ok"]],
        "bars": _gaps(lines, gaps), "most": money(max(map(abs, gaps))),
    }  # fmt: skip


def _gaps(lines: Sequence[Row], gaps: Sequence[float]) -> list[tuple[float, float, float, str, str]]:
    """Return place, height, kind and words of a bar for each session with a difference."""
    most = max(map(abs, gaps))
    found = []
    for n, (line, gap) in enumerate(zip(lines, gaps, strict=True)):
        if not _nothing(gap):
            height = round(28.0 * abs(gap) / most, 2)
            kind, top = ("better", 30.0 - height) if gap > 0.0 else ("worse", 30.0)
            found.append((STEP * n + 1.0, round(top, 2), height, kind, f"{line['day']}: {_signed(gap)}"))
    return found
