"""What a page says, what it can never do, and pages of odd runs."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import empyrical
import numpy as np
import pandas as pd
import pytest
from reading import blobs_of, data_of, floats, level

import quant as q
from quant.backtest.reporting import content
from quant.core.finding import Finding
from quant.report import compare_page, document, framed, run_page, sections
from quant.report.words import moment, number, percent, price

HERE = Path(document.__file__).parent
EVIL = "<!--<script </script x></script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028\"'&"


class Parsed(HTMLParser):
    """Collects elements, their attributes and the texts of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": []}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in self.inside:
            self.inside[tag].append("")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem in self.inside:
            self.inside[self.cdata_elem][-1] += data

    def scripts(self) -> list[str]:
        """Return those that a browser runs."""
        kinds = [a.get("type") for t, a in self.tags if t == "script"]
        return [text for kind, text in zip(kinds, self.inside["script"], strict=True) if kind is None]


@pytest.fixture(scope="module")
def page(run: q.Run) -> str:
    return run_page(content(run))


# ---------------------------------------------------------------- one file, no network, inert
def test_a_page_names_nothing_that_a_browser_would_fetch(page: str) -> None:
    for tag, attributes in Parsed(page).tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "img", "form")
        assert "src" not in attributes
        assert not attributes.get("href", "#").startswith("http")
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|WebSocket|sendBeacon", page)


def test_a_page_without_its_data_is_smaller_than_asked_for(page: str) -> None:
    assert len(page.encode()) - sum(len(b) for b in blobs_of(page)) < 800_000


def test_the_policy_allows_exactly_the_scripts_and_styles_of_the_page(page: str) -> None:
    found = Parsed(page)
    policy = next(a["content"] for t, a in found.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    wanted = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in found.scripts() + found.inside["style"]
    ]
    assert re.findall(r"'sha256-([^']+)'", policy) == wanted
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert all(not name.startswith("on") and name != "style" for _, a in found.tags for name in a)


def test_words_of_others_stay_words(run: q.Run) -> None:
    base = content(run)
    settings = json.loads(json.dumps(base.settings, default=str))
    settings["params"] = {EVIL: EVIL}
    settings["bars"][0]["name"] = settings["strategy"]["class"] = EVIL
    evil = np.full(len(base.fills["symbol"]), EVIL, dtype=object)
    made = replace(
        base, name=EVIL, settings=settings, notes=[EVIL], findings=[Finding(EVIL, EVIL, 2, EVIL)],
        symbols=[replace(base.symbols[0], name=EVIL, panes={EVIL: {EVIL: base.symbols[0].close}})],
        fills={**base.fills, "symbol": evil, "reason": evil},
        trades={**base.trades, "symbol": np.full(len(base.trades["symbol"]), EVIL, dtype=object)},
    )  # fmt: skip
    plain = Parsed(run_page(base))
    for text in (run_page(made), compare_page([made, made])):
        found = Parsed(text)
        assert "img" not in {t for t, _ in found.tags}
        assert not [s for s in found.scripts() if "alert" in s]
        assert "\u2028" not in "".join(found.inside["script"])
    assert plain.scripts() == Parsed(run_page(made)).scripts()
    assert data_of(run_page(made))["symbols"][0]["name"] == EVIL
    inner = Parsed(framed(run_page(made), 400))
    assert [t for t, _ in inner.tags] == ["iframe"]
    assert inner.tags[0][1]["srcdoc"] == run_page(made)


def test_json_is_strict_and_cannot_end_its_element() -> None:
    made = document.as_json(
        {EVIL: [float("nan"), np.float64("inf"), np.int64(3), None, True, np.array([1.5])]}
    )
    assert not set(made) & set("<>&\u2028")
    assert json.loads(made) == {EVIL: [None, None, 3, None, True, [1.5]]}


def test_vendored_files_are_those_of_the_note() -> None:
    note = (HERE / "vendor" / "VENDORED.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\S+) \|.*\| ([0-9a-f]{64}) \|$", note, re.MULTILINE)
    assert [name for name, _ in rows] == ["uPlot.iife.min.js", "uPlot.min.css"]
    for name, sha in rows:
        assert hashlib.sha256((HERE / "vendor" / name).read_bytes()).hexdigest() == sha


# ---------------------------------------------------------------- what it says
def test_the_charts_have_the_account_the_bars_and_the_strategys_lines(page: str, run: q.Run) -> None:
    data, blobs = data_of(page), blobs_of(page)
    account = level(data["account"]["levels"][0], blobs)
    assert account["equity"] == pytest.approx(run.equity.tolist(), rel=1e-5)
    bars = run.bars[0]  # type: ignore[index]
    assert account["hold"] == pytest.approx((100_000 * bars.close / bars.close[0]).tolist(), rel=1e-4)
    peak = np.maximum(np.maximum.accumulate(run.equity.to_numpy()), 100_000)
    assert account["drawdown"] == pytest.approx((run.equity.to_numpy() / peak - 1).tolist(), abs=1e-4)
    clock = [data["origin"] + (v or 0) for v in account["clock"]]
    assert pd.to_datetime(clock, unit="s").strftime("%F").tolist() == [str(s) for s in bars.session]
    symbol = data["symbols"][0]
    finest = level(symbol["block"]["levels"][0], blobs)
    assert finest["close"] == bars.close.tolist()
    panes = {p["name"]: [line["name"] for line in p["lines"]] for p in symbol["panes"]}
    assert panes == {"price": ["average"], "Distance": ["close less average"]}
    average = finest[symbol["panes"][0]["lines"][0]["column"]]
    assert average[:4] == [None] * 4
    wanted = pd.Series(bars.close).rolling(5).mean().dropna().tolist()
    assert average[4:] == pytest.approx(wanted, rel=1e-6)


def test_each_fill_has_its_order_and_when_it_was_decided(page: str, run: q.Run) -> None:
    data, spec = data_of(page), data_of(page)["fills"]
    columns = dict(
        zip(
            spec["columns"],
            floats(blobs_of(page)[spec["blob"]], len(spec["columns"]), spec["rows"]),
            strict=True,
        )
    )
    assert columns["price"] == run.fills["price"].tolist()
    assert columns["commission"] == run.fills["commission"].tolist()
    bars = run.bars[0]  # type: ignore[index]
    days = run.fills["time"].dt.tz_localize(None)
    assert [int(s) for s in columns["step"]] == np.searchsorted(bars.frame().index, days).tolist()
    decided = run.orders.set_index("order")["time"].loc[run.fills["order"]].dt.tz_convert("America/New_York")
    assert [int(v) for v in columns["decided"]] == [int(t.tz_localize(None).timestamp()) for t in decided]
    reasons = [spec["words"]["reason"][int(k)] for k in columns["reason"]]
    assert reasons == run.fills["reason"].tolist()
    assert data["fills"]["rows"] == len(run.fills) > 10


def test_months_compound_as_empyrical_has_them(run: q.Run) -> None:
    wanted = empyrical.aggregate_returns(run.returns, "monthly")
    rows = dict(sections.months(run.returns.to_numpy(), run.returns.index.to_numpy().astype("datetime64[D]")))
    assert [c.text for c in rows["2020"][:12]] == [percent(v, "+.1%") for v in wanted.loc[2020]]
    assert rows["2020"][12].text == percent((1 + run.returns).prod() - 1, "+.1%")


def test_months_without_returns_are_empty_and_losses_are_shaded_as_losses() -> None:
    days = np.array(["2020-11-30", "2021-02-01", "2021-02-02"], dtype="datetime64[D]")
    rows = sections.months(np.array([0.1, -0.1, -0.1]), days)
    assert [year for year, _ in rows] == ["2020", "2021"]
    assert rows[0][1][10] == sections.Cell("+10.0%", 4)
    assert rows[1][1][1] == sections.Cell("\u221219.0%", -5)
    assert rows[1][1][0] == sections.Cell("")


def test_costs_add_up_to_the_metrics(daily: q.Bars, turns: type[q.Strategy]) -> None:
    run = q.backtest(turns, daily, save=False, slippage="percent:0.1", costs="percent:0.05")
    row = sections.costs(content(run)).rows[0]
    m = run.metrics
    assert row[1:6] == (
        str(len(run.fills)), number((run.fills["quantity"] * run.fills["price"]).abs().sum(), ",.0f"),
        number(m["commission"]), number(m["slippage"]), "0.00",
    )  # fmt: skip


def test_costs_of_several_symbols_begin_with_their_sum(daily: q.Bars, turns: type[q.Strategy]) -> None:
    feeds = [daily, q.synthetic("BBB", "1d", "2020-01-01", "2020-12-31", seed=2)]
    run = q.backtest(turns, feeds, save=False, costs="percent:0.05")
    rows = sections.costs(content(run)).rows
    assert [r[0] for r in rows] == ["All", "AAA", "BBB"]
    assert rows[0][3] == number(run.metrics["commission"])
    assert rows[2][3] == number(run.fills.loc[run.fills["symbol"] == "BBB", "commission"].sum())


def test_rejected_orders_are_listed_with_their_number(daily: q.Bars) -> None:
    class Greedy(q.Strategy):
        params = dict(x=0)

        @staticmethod
        def signals(bars: q.Bars, p: Any) -> Any:
            return np.arange(len(bars)) % 2

    run = q.backtest(Greedy, daily, save=False, sizing="shares:100000")
    assert run.metrics["rejected"] > sections.ROWS
    page = run_page(content(run))
    assert f"The first {sections.ROWS} of {run.metrics['rejected']}" in page
    assert "The run made no trade." in page


def test_the_bands_hang_on_settings_and_not_on_the_engine(run: q.Run) -> None:
    settings = dict(run.settings)
    assert sections.seed(settings) == sections.seed({**settings, "engine": "plain", "versions": {}})
    assert sections.seed(settings) != sections.seed({**settings, "cash": 1.0})


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (number(-1234.5), "\u22121,234.50"), (number(float("nan")), "\u2013"), (number(None), "\u2013"),
        (number(float("-inf")), "\u2013"), (percent(0.1), "+10.00%"), (price(0.00012345), "0.00012345"),
        (price(101.5), "101.50"), (price(-37.63), "\u221237.63"), (moment(1_577_836_800.0), "2020-01-01"),
        (moment(1_577_871_000.0), "2020-01-01 09:30"), (moment(1_577_871_005.0), "2020-01-01 09:30:05"),
        (moment(float("nan")), "\u2013"),
    ],
)  # fmt: skip
def test_numbers_and_times_as_a_reader_expects_them(text: str, wanted: str) -> None:
    assert text == wanted


# ---------------------------------------------------------------- odd runs
class Never(q.Strategy):
    params = dict(x=float("nan"))

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        return np.zeros(len(bars))


@pytest.mark.parametrize("count", [1, 2, 40])
def test_a_run_without_trades_says_so(daily: q.Bars, count: int) -> None:
    page = run_page(content(q.backtest(Never, daily[:count], save=False)))
    assert "The run made no trade." in page
    assert ("Too few returns" in page) == (count < 30)
    assert data_of(page)["steps"] == count


def test_figures_that_are_undefined_are_dashes_and_never_nan(run: q.Run) -> None:
    base = content(run)
    made = replace(base, metrics=dict.fromkeys(base.metrics, float("nan")))
    text = html.unescape(re.sub(r"<script.*?</script>", "", run_page(made), flags=re.DOTALL))
    assert not re.search(r">[^<]*\b(nan|inf|NaN|Infinity|NaT)\b", text.partition("Settings, versions")[0])


def test_an_account_that_went_below_zero_has_a_page(run: q.Run) -> None:
    base = content(run)
    fallen = base.equity.copy()
    fallen[100:] = -5.0
    returns = base.returns.copy()
    returns[101:] = np.nan
    page = run_page(replace(base, equity=fallen, returns=returns))
    assert "Some returns are undefined" in page
    assert data_of(page)["log"] is False


def test_several_feeds_lie_on_one_axis(turns: type[q.Strategy], daily: q.Bars) -> None:
    late = q.synthetic("BBB", "1d", "2020-06-01", "2021-03-31", seed=2)
    run = q.backtest(turns, [daily, late], save=False)
    page = run_page(content(run))
    data, blobs = data_of(page), blobs_of(page)
    assert [s["name"] for s in data["symbols"]] == ["AAA", "BBB"]
    assert "<option>BBB</option>" in page
    first = level(data["symbols"][0]["block"]["levels"][0], blobs)["bucket"]
    second = level(data["symbols"][1]["block"]["levels"][0], blobs)["bucket"]
    ends = np.unique(np.concatenate([daily.end, late.end]))
    assert data["steps"] == len(ends)
    assert first == np.searchsorted(ends, daily.end).tolist()
    assert second == np.searchsorted(ends, late.end).tolist()
    assert level(data["account"]["levels"][0], blobs)["hold"][-1] == pytest.approx(
        100_000 * (1 + run.metrics["buy_hold_return"]), rel=1e-4
    )


def test_two_sizes_of_bars_of_one_symbol(turns: type[q.Strategy]) -> None:
    fine = q.synthetic("MMM", "1m", "2020-01-02", "2020-01-03", seed=4)
    run = q.backtest(turns, [fine, fine.resample("15m")], save=False)
    data = data_of(run_page(content(run)))
    assert [(s["name"], s["stride"]) for s in data["symbols"]] == [("MMM 1m", 1), ("MMM 15m", 15)]


def test_a_page_is_the_same_each_time(run: q.Run, page: str) -> None:
    assert run_page(content(run)) == page


# ---------------------------------------------------------------- several runs
def test_a_comparison_has_figures_side_by_side_and_only_what_differs(
    run: q.Run, daily: q.Bars, turns: Any
) -> None:
    other = q.backtest(turns, daily[50:], params={"days": 9}, costs="percent:0.1", save=False)
    made = [content(r, drawn=False) for r in (run, other)]
    page = compare_page(made)
    data, blobs = data_of(page), blobs_of(page)
    finest = level(data["account"]["levels"][0], blobs)
    assert finest["run0"][-1] == pytest.approx(run.final_value / 100_000, rel=1e-6)
    assert finest["run1"][:50] == [None] * 50
    assert finest["run1"][-1] == pytest.approx(other.final_value / 100_000, rel=1e-6)
    from quant.report.compare import differing

    names = [name for name, _ in differing(made)]
    assert names == ["params.days", "costs", "bars[AAA].rows", "bars[AAA].first", "bars[AAA].fingerprint"]
    assert percent(other.metrics["total_return"]) in page


def test_a_plain_strategy_that_stops_early_is_drawn_up_to_there(daily: q.Bars) -> None:
    import backtrader as bt

    class Once(bt.Strategy):
        def next(self) -> None:
            if len(self) == 5:
                self.buy(size=10)
            if len(self) == 30:
                self.env.runstop()

    run = q.backtest(Once, daily, save=False)
    page = run_page(content(run))
    data, blobs = data_of(page), blobs_of(page)
    assert data["steps"] == len(run.equity) < len(daily)
    bars = level(data["symbols"][0]["block"]["levels"][0], blobs)
    assert bars["close"] == daily.close[: data["steps"]].tolist()
    spec = data["trades"]
    columns = floats(blobs[spec["blob"]], len(spec["columns"]), spec["rows"])
    trade = dict(zip(spec["columns"], (c[0] for c in columns), strict=True))
    held = slice(5, data["steps"])  # bought at the open of bar 5, held to the last bar that the run saw
    entry = daily.open[5]
    assert (trade["entry_step"], trade["exit_step"]) == (5, data["steps"] - 1)
    assert trade["mfe"] == pytest.approx(daily.high[held].max() / entry - 1)
    assert trade["mae"] == pytest.approx(daily.low[held].min() / entry - 1)


def test_stops_and_limits_touched_in_one_bar_are_listed_with_both_outcomes(daily: q.Bars) -> None:
    class Tight(q.Strategy):
        params = dict(x=0)

        @staticmethod
        def signals(bars: q.Bars, p: Any) -> q.Signals:
            return q.Signals(np.arange(len(bars)) % 3 > 0, bars.close * 0.999, bars.close * 1.001)

    run = q.backtest(Tight, daily, save=False)
    count = int(run.fills["ambiguous"].sum())
    assert count > 0
    assert sections.ambiguous(content(run)).total == count
    page = run_page(content(run))
    assert page.count("limit first") == 2  # among the findings, and where the exits are listed
