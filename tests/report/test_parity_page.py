"""What the page of a day's parity says, and what it can never do."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from dataclasses import replace
from typing import Any

import pytest
from made_up_parity import DAY, at, equal_day, odd_day, record, split
from test_page import EVIL, Parsed

from quant.promotion.parity.value import BarCount, DecisionRow, Parity
from quant.report import parity_page
from quant.report.parity import ROWS, SESSIONS, verdict
from quant.report.words import MINUS, NONE

CELL = r"<t[hd][^>]*>(.*?)</t[hd]>"


@pytest.fixture(scope="module")
def odd() -> str:
    return parity_page(odd_day().to_dict(), record(30, bad=(4, 17)))


def table(page: str, name: str) -> list[list[str]]:
    """Return the texts of a table's body."""
    found = re.search(rf'<table[^>]* id="{name}">.*?</table>', page, re.DOTALL)
    assert found is not None, f"no table {name}"
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", found[0].partition("<tbody>")[2], re.DOTALL)
    return [
        [html.unescape(re.sub(r"<[^>]+>", "", cell)).strip() for cell in re.findall(CELL, row, re.DOTALL)]
        for row in rows
    ]


# ---------------------------------------------------------------- in a sentence
def test_a_day_without_a_difference_is_equal() -> None:
    assert verdict(equal_day().to_dict()) == (
        "same", "equal", "The one decision is the backtest's. Its orders, fills and profit are equal to the cent.",
    )  # fmt: skip
    idle = replace(equal_day(), decisions=(), orders=(), fills=(), pnl=(0.0, 0.0))
    assert verdict(idle.to_dict())[2].startswith("Neither made a decision.")


def test_a_day_whose_differences_have_causes_names_what_weighs_most() -> None:
    day = replace(odd_day(), decisions=tuple(d for d in odd_day().decisions if d.same))
    badge, word, text = verdict(day.to_dict())
    assert (badge, word) == ("same", "explained")
    assert text == (
        "All 2 decisions are the backtest's. Live made 24.14 less than the backtest. Every difference has a known "
        f"cause; what weighs most is missed ({MINUS}12.40)."
    )


def test_a_decision_of_its_own_comes_before_all_else() -> None:
    badge, word, text = verdict(replace(odd_day(), unexplained=5.0).to_dict())
    assert (badge, word) == ("apart", "diverged")
    assert text.startswith(
        "1 of 3 decisions is not the backtest's. The first, at 14:02: its bar came 71 s late;"
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"unexplained": -0.35, "pnl": (100.0, 99.65)},
            f"{MINUS}0.35 of the difference is accounted for by no fill.",
        ),
        (
            {"differences": (replace(odd_day().differences[0], cause="unexplained"),)},
            "1 difference has no known cause.",
        ),
    ],
)
def test_what_nobody_can_explain_is_said(change: dict[str, Any], told: str) -> None:
    day = replace(equal_day(), **change)
    badge, word, text = verdict(day.to_dict())
    assert (badge, word) == ("apart", "unexplained")
    assert told in text
    assert not day.ok


@pytest.mark.parametrize("day", [equal_day(), odd_day()])
def test_the_badge_is_good_for_a_day_that_is_ok_only(day: Parity) -> None:
    assert (verdict(day.to_dict())[0] == "same") == day.ok


# ---------------------------------------------------------------- money
def test_parts_add_up_from_the_backtests_profit_to_that_of_live(odd: str) -> None:
    rows = table(odd, "split")
    amounts = [float(row[2].replace(MINUS, "-").replace(",", "")) for row in rows]
    assert amounts[0] + sum(amounts[1:-1]) == pytest.approx(amounts[-1], abs=1e-9)
    assert [row[0].partition("3 ")[0] for row in rows[:2]] == ["Profit of the backtest", "Price"]
    assert rows[-2][0] == "Unexplained"


def test_bars_are_as_long_as_their_amounts_and_on_their_side(odd: str) -> None:
    bars = [
        (kind, float(x), float(width))
        for x, width, kind in re.findall(
            r'<rect x="([\d.]+)" width="([\d.]+)"[^>]*class="(better|worse)"', odd
        )
    ]
    assert [(kind, width) for kind, _, width in bars] == [
        ("worse", pytest.approx(100 * 10.74 / 12.4, abs=0.01)), ("worse", pytest.approx(100 / 12.4, abs=0.01)),
        ("worse", 100.0), ("better", pytest.approx(25 / 12.4, abs=0.01)), ("worse", pytest.approx(25 / 12.4, abs=0.01)),
    ]  # fmt: skip
    for kind, x, width in bars:
        assert x == pytest.approx(100.0 if kind == "better" else 100.0 - width, abs=0.01)


def test_no_amount_is_minus_nothing() -> None:
    day = replace(equal_day(), split=split(price=-0.001), unexplained=-0.0, pnl=(-0.004, 0.0))
    assert f"{MINUS}0.00" not in parity_page(day.to_dict())


def test_a_part_that_moved_no_money_has_no_words() -> None:
    parts = tuple(replace(part, words="of two or more") for part in split(price=1.0))
    rows = table(parity_page(replace(equal_day(), split=parts).to_dict()), "split")
    assert [row[0] for row in rows if "of two or more" in row[0]] == ["Priceof two or more"]


def test_slippage_learnt_is_offered_only_where_it_costs(odd: str) -> None:
    assert "For the next backtest: --slippage percent:0.0062" in odd
    assert "--slippage" not in parity_page(equal_day().to_dict())
    assert "market fill" not in parity_page(replace(equal_day(), slippage=None).to_dict())


# ---------------------------------------------------------------- tables
def test_decisions_that_differ_come_first(odd: str) -> None:
    assert [row[:5] for row in table(odd, "decisions")] == [
        ["differs", "14:02", "MSFT", f"{MINUS}1", "unchanged"],
        ["same", "13:31", "SPY", "+1", "+1"],
        ["same", "19:59", "SPY", "0", "0"],
    ]


def test_bars_orders_fills_and_differences_are_side_by_side(odd: str) -> None:
    assert [row[2] for row in table(odd, "bars")] == ["revised", "revised", "missing", "extra"]
    order, fill = table(odd, "orders")[0], table(odd, "fills")[1]
    assert order[:4] == ["differs", "14:02", "MSFT", "entry"]
    assert order[4:] == ["market -112 (filled)", "none", "the target was too old to be traded"]
    assert fill[:5] == ["14:02", "MSFT", "entry", f"{MINUS}112 at 421.98", "1.00"]
    assert fill[5:] == ["none", NONE, f"{MINUS}12.40", "the target was too old"]
    assert table(odd, "differences")[0][-1] == "its bar came 71 s late"
    assert "The bars were pulled again at 21:00; IB may still correct them." in odd
    assert table(odd, "notes") == [["14:03:11", "MSFT: bar of 14:02:00 came 71 s late"]]


def test_a_moment_of_another_day_keeps_its_date() -> None:
    day = replace(
        equal_day(), decisions=(DecisionRow(at("14:31:00") - 86_400 * 10**9, "ES", 1.0, 1.0, True),)
    )
    assert table(parity_page(day.to_dict()), "decisions")[0][1] == "2024-05-14 14:31"


def test_a_long_table_shows_what_differs_and_says_that_there_is_more() -> None:
    many = tuple(DecisionRow(at("14:31:00"), "SPY", 1.0, 1.0, n != 700) for n in range(ROWS + 300))
    page = parity_page(replace(equal_day(), decisions=many, bars=BarCount(0, 0, 0, 0)).to_dict())
    rows = table(page, "decisions")
    assert len(rows) == ROWS
    assert rows[0][0] == "differs"
    assert f"The first {ROWS} of {ROWS + 300}" in page


# ---------------------------------------------------------------- the record
def test_sessions_add_up_and_this_one_counts_as_it_is_now(odd: str) -> None:
    lines = record(30, bad=(4, 17))
    live = sum(line["pnl_live"] for line in lines) + 140.59
    assert f"live {live:,.2f}".replace("-", MINUS) in html.unescape(odd)
    rows = table(odd, "record")
    assert (len(rows), rows[0][:2]) == (31, ["not ok", f"{DAY}, this one"])
    assert sum(row[0] == "not ok" for row in rows) == odd.count('<rect class="bad" x="') - 1 == 3
    old = {**lines[0], "day": DAY, "pnl_live": 9e9}  # what the record said before this replay
    assert parity_page(odd_day().to_dict(), [*lines, old]) == odd
    assert parity_page(odd_day().to_dict(), lines[::-1]) == odd


def test_one_session_has_no_chart_and_many_have_a_table_of_the_newest() -> None:
    assert '<svg class="course' not in parity_page(equal_day().to_dict())
    page = parity_page(equal_day().to_dict(), record(SESSIONS + 40))
    assert len(table(page, "record")) == SESSIONS
    assert page.count("<title>2") == SESSIONS + 40  # the chart has all; this day has no gap


def test_a_record_of_nothing_but_zeros_is_drawn() -> None:
    lines = [{**line, "pnl_live": 0.0, "pnl_model": 0.0} for line in record(3)]
    page = parity_page(replace(equal_day(), pnl=(0.0, 0.0)).to_dict(), lines)
    assert "nan" not in page.partition("<main")[2].partition("</main>")[0]


# ---------------------------------------------------------------- what it can never do
def test_the_policy_allows_exactly_the_scripts_and_styles_of_the_page(odd: str) -> None:
    found = Parsed(odd)
    policy = next(a["content"] for _, a in found.tags if a.get("http-equiv") == "Content-Security-Policy")
    texts = found.scripts() + found.inside["style"]
    wanted = [base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() for t in texts]
    assert re.findall(r"'sha256-([^']+)'", policy or "") == wanted
    assert "unsafe" not in (policy or "")
    assert all(not name.startswith("on") and name != "style" for _, a in found.tags for name in a)


def test_words_of_others_stay_words_in_parity(odd: str) -> None:
    def spoilt(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: spoilt(v) for key, v in value.items()}
        if isinstance(value, list):
            return [spoilt(v) for v in value]
        return EVIL if isinstance(value, str) else value

    found = Parsed(parity_page(spoilt(odd_day().to_dict()), [{**record(1)[0], "day": EVIL}]))
    assert "img" not in {tag for tag, _ in found.tags}
    assert found.scripts() == Parsed(odd).scripts()
