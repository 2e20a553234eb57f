"""What the pages of sweeps and walk-forwards say, what they can never do, and pages of odd results."""

from __future__ import annotations

import base64
import hashlib
import html
import math
import re
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_up import grid, sweep, walk_forward
from reading import blobs_of, data_of, floats, level
from test_page import EVIL, Parsed

from quant.core.finding import Finding
from quant.errors import ParameterError
from quant.metrics import NAMES
from quant.report import SweepContent, WalkForwardContent, sweep_page, walk_forward_page
from quant.report.sweep import FULL, rank_correlation, ranked
from quant.report.words import NONE, number, percent


@pytest.fixture(scope="module")
def content() -> SweepContent:
    return sweep()


@pytest.fixture(scope="module")
def page(content: SweepContent) -> str:
    return sweep_page(content)


@pytest.fixture(scope="module")
def walked() -> WalkForwardContent:
    return walk_forward()


@pytest.fixture(scope="module")
def walked_page(walked: WalkForwardContent) -> str:
    return walk_forward_page(walked)


def tables(page: str) -> dict[str, pd.DataFrame]:
    """Return the tables by their captions, all cells as text."""
    out = {}
    for body in re.findall(r"<table.*?</table>", page, re.DOTALL):
        caption = re.search(r"<caption[^>]*>(?:<span>)?(.*?)(?:</span>)?</caption>", body)
        assert caption is not None, "a table without a caption"
        rows = [
            [html.unescape(c) for c in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", r)]
            for r in re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
        ]
        out[html.unescape(caption.group(1))] = pd.DataFrame(rows[1:], columns=rows[0])
    return out


def ints(blob: str, columns: int, rows: int) -> list[np.ndarray[Any, Any]]:
    """Return columns of 32 bits as quant/report/levels.py describes them."""
    raw = np.frombuffer(zlib.decompress(base64.b64decode(blob)), np.uint8).reshape(columns, 4, rows)
    coded = np.ascontiguousarray(raw.transpose(0, 2, 1)).view("<u4")[..., 0]
    signs = np.uint32(0) - (coded & np.uint32(1))
    return list(((coded >> np.uint32(1)) ^ signs).view(np.int32))


# ---------------------------------------------------------------- one file, no network, inert
@pytest.mark.parametrize("name", ["page", "walked_page"])
def test_a_page_names_nothing_that_a_browser_would_fetch(name: str, request: pytest.FixtureRequest) -> None:
    page = request.getfixturevalue(name)
    for tag, attributes in Parsed(page).tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "img", "form")
        assert "src" not in attributes
        assert not attributes.get("href", "#").startswith("http")
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|WebSocket|sendBeacon", page)


@pytest.mark.parametrize("name", ["page", "walked_page"])
def test_the_policy_allows_exactly_the_scripts_and_styles(name: str, request: pytest.FixtureRequest) -> None:
    found = Parsed(request.getfixturevalue(name))
    policy = next(a["content"] for _, a in found.tags if a.get("http-equiv") == "Content-Security-Policy")
    texts = found.scripts() + found.inside["style"]
    wanted = [base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() for t in texts]
    assert re.findall(r"'sha256-([^']+)'", policy or "") == wanted
    assert "unsafe" not in (policy or "")
    assert all(not name.startswith("on") and name != "style" for _, a in found.tags for name in a)


def test_words_of_others_stay_words(page: str, walked_page: str) -> None:
    evil = np.array([EVIL, "b"], dtype=object)
    table = {EVIL: evil, "symbol": evil, **{n: np.array([1.0, np.nan]) for n in NAMES}, "error": evil[::-1]}
    settings, words = {EVIL: {EVIL: EVIL}}, dict(text=EVIL, facts=[(EVIL, EVIL, EVIL)], notes=[EVIL])
    findings = [Finding(EVIL, EVIL, 2, EVIL)]
    swept = sweep_page(
        SweepContent(
            EVIL,
            settings,
            [EVIL],
            table,
            "edge",
            findings=findings,
            verified=EVIL,
            halves=np.ones((2, 2)),
            **words,
        )
    )
    w = walk_forward(2)
    stepped = walk_forward_page(
        replace(
            w, name=EVIL, settings=settings, parameters=[EVIL], windows={**w.windows, EVIL: evil}, findings=findings,
            **words,
        )
    )  # fmt: skip
    for made, plain in ((swept, page), (stepped, walked_page)):
        found = Parsed(made)
        assert "img" not in {t for t, _ in found.tags}
        assert found.scripts() == Parsed(plain).scripts()
        assert "\u2028" not in "".join(found.inside["script"])
        assert data_of(made)["dims"][0]["name"] == EVIL
    assert data_of(swept)["dims"][0]["labels"] == [EVIL, "b"]


def test_the_same_content_gives_the_same_bytes(page: str, walked_page: str) -> None:
    assert sweep_page(sweep()) == page
    assert walk_forward_page(walk_forward()) == walked_page


# ---------------------------------------------------------------- figures
def test_the_charts_have_every_figure_to_the_last_bit(page: str, content: SweepContent) -> None:
    data, blobs = data_of(page), blobs_of(page)
    assert sorted(m["name"] for m in data["metrics"]) == sorted(NAMES)
    assert data["columns"][0] == data["metric"] == "sharpe"
    assert data["luck"] == 1.72
    found = dict(zip(data["columns"], floats(blobs[1], len(data["columns"]), data["rows"]), strict=True))
    for name in NAMES:
        np.testing.assert_array_equal(found[name], content.table[name].astype(np.float64))
    assert content.halves is not None
    np.testing.assert_array_equal(
        np.column_stack([found["first half"], found["second half"]]), content.halves
    )


def test_the_charts_have_every_parameter_and_error(page: str, content: SweepContent) -> None:
    data = data_of(page)
    *codes, errors = ints(blobs_of(page)[0], len(data["dims"]) + 1, data["rows"])
    for dim, code in zip(data["dims"], codes, strict=True):
        assert [dim["labels"][c] for c in code] == [str(v) for v in content.table[dim["name"]]]
    wanted = ["" if e is None else e for e in content.table["error"]]
    assert [data["errors"][e] if e >= 0 else "" for e in errors] == wanted


def test_many_combinations_keep_seven_digits_and_few_bytes() -> None:
    made = sweep(table=grid(fast=range(130), slow=range(100)))
    page = sweep_page(made)
    data, blobs = data_of(page), blobs_of(page)
    assert made.rows > FULL
    found = dict(zip(data["columns"], ints(blobs[1], len(data["columns"]), data["rows"]), strict=True))
    for name in ("sharpe", "final_value", "trades"):
        np.testing.assert_array_equal(found[name].view(np.float32), made.table[name].astype(np.float32))
    assert "seven" in page
    # 15 MB for 100,000 combinations.
    assert len("".join(blobs)) < 150 * made.rows


def test_a_thousand_combinations_take_less_than_a_megabyte(page: str) -> None:
    assert len(page.encode()) < 1_000_000


def test_a_hundred_thousand_combinations_take_at_most_15_mb(full: bool) -> None:
    if not full:
        pytest.skip("--full")
    page = sweep_page(sweep(table=grid(a=range(100), b=range(100), c=range(10))))
    assert len(page.encode()) < 15_000_000


def test_the_tables_list_the_best_and_the_worst_as_pandas_sorts_them(
    page: str, content: SweepContent
) -> None:
    found = tables(page)
    frame = pd.DataFrame(dict(content.table)).dropna(subset="sharpe")
    best = frame.sort_values("sharpe", ascending=False, kind="stable")
    got = found["Best by Sharpe ratio: 50 of 1,000"]
    assert got["fast"].tolist() == best["fast"].head(50).astype(str).tolist()
    assert got["Sharpe ratio"].tolist() == [number(v) for v in best["sharpe"].head(50)]
    assert got["Total return"].tolist() == [percent(v, "+,.2%") for v in best["total_return"].head(50)]
    assert got["Won"].tolist() == [percent(v, ",.2%") for v in best["win_rate"].head(50)]
    assert got["Trades"].tolist() == [number(v, ",.0f") for v in best["trades"].head(50)]
    worst = best["sharpe"].tail(5)[::-1]
    assert found["Worst by Sharpe ratio"]["Sharpe ratio"].tolist() == [number(v) for v in worst]
    assert [c for c in got if c not in content.parameters][:2] == ["Sharpe ratio", "Total return"]


def test_less_is_better_where_it_is() -> None:
    made = sweep(table={"n": np.arange(3), **{m: np.array([3.0, 1.0, 2.0]) for m in NAMES},
                        "error": np.full(3, None)}, metric="volatility")  # fmt: skip
    assert tables(sweep_page(made))["Best by Volatility a year: 3 of 3"]["n"].tolist() == ["1", "2", "0"]
    np.testing.assert_array_equal(ranked(np.array([1.0, np.nan, 2.0, 2.0, np.inf])), [2, 3, 0])


def test_errors_are_counted_and_the_first_combination_is_named(page: str, content: SweepContent) -> None:
    row = tables(page)["Errors, the most frequent first"].iloc[0]
    failed = pd.DataFrame(dict(content.table)).dropna(subset="error")
    assert row["Times"] == str(len(failed)) == str(content.failed)
    assert row["Error"] == "signals: 501 values for 502 bars"
    first = failed.iloc[0]
    assert row["First for"] == f"fast = {first['fast']}, slow = {first['slow']}, signal = {first['signal']}"


@pytest.mark.parametrize("verdict", ["luck", "unclear", "edge"])
def test_the_verdict_stands_on_top_with_its_facts(verdict: str) -> None:
    made = sweep(verdict=verdict)
    text = html.unescape(sweep_page(made))
    at = [text.index(f'<b class="badge {verdict}">{verdict}</b> {made.text}')]
    at += [
        text.index(f"<dt>{name}</dt><dd><b>{value}</b> <span>{told}</span>")
        for name, value, told in made.facts
    ]
    at += [text.index(made.verified), text.index('id="map"'), text.index(made.findings[0].message)]
    assert at == sorted(at)


def test_rank_correlation_is_that_of_pandas(content: SweepContent) -> None:
    draw = np.random.default_rng(1)
    x, y = draw.integers(0, 9, 200).astype(float), draw.normal(0, 1, 200)
    x[3], y[8] = np.nan, np.inf
    known = np.isfinite(x) & np.isfinite(y)
    wanted = pd.DataFrame({"x": x[known], "y": y[known]}).corr(method="spearman").iloc[0, 1]
    assert rank_correlation(x, y) == pytest.approx(wanted, rel=1e-12)
    assert math.isnan(rank_correlation(x[:2], y[:2]))
    assert math.isnan(rank_correlation(np.ones(5), np.arange(5.0)))


# ---------------------------------------------------------------- values of parameters
@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([3, 1, 2], ["1", "2", "3"]),
        ([0.1 + 0.2, 0.1], ["0.1", "0.3"]),
        ([0.3, 0.1 + 0.2], ["0.3", "0.30000000000000004"]),
        ([True, False], ["False", "True"]),
        (["slow", "fast", None], ["slow", "fast", "none"]),
        ([1, "1"], ["1", "'1'"]),
    ],
)
def test_numbers_are_sorted_words_keep_their_order_and_labels_differ(
    values: list[Any], labels: list[str]
) -> None:
    column = np.array(values, dtype=object)
    table = {
        "a": column,
        **{m: np.arange(float(len(values))) for m in NAMES},
        "error": np.full(len(values), None),
    }
    assert data_of(sweep_page(sweep(table=table)))["dims"][0]["labels"] == labels


def test_several_symbols_are_one_more_axis() -> None:
    table = {
        "a": np.array([1, 1]),
        "symbol": np.array(["SPY", "QQQ"], dtype=object),
        **{m: np.ones(2) for m in NAMES},
    }
    page = sweep_page(sweep(table={**table, "error": np.full(2, None)}))
    assert [d["name"] for d in data_of(page)["dims"]] == ["a", "symbol"]
    assert tables(page)["Best by Sharpe ratio: 2 of 2"]["symbol"].tolist() == ["SPY", "QQQ"]


# ---------------------------------------------------------------- walk-forward
def test_windows_are_listed_with_what_they_chose_and_got(
    walked_page: str, walked: WalkForwardContent
) -> None:
    rows = tables(walked_page)["Windows, with the Sharpe ratio in and out of sample"]
    w = walked.windows
    assert rows["Trained on"][0] == "2012-01-02 to 2012-12-18"
    assert rows["Tested on"].tolist() == [
        f"{a} to {b}" for a, b in zip(w["test_first"], w["test_last"], strict=True)
    ]  # fmt: skip
    for name in walked.parameters:
        assert rows[name].tolist() == [str(v) for v in w[name]]
    assert rows["In sample"].tolist() == [number(v) for v in w["in_sample"]]
    assert rows["Out of sample"].tolist() == [number(v) for v in w["out_of_sample"]]
    assert rows["Return out of sample"].tolist() == [percent(v) for v in w["return"]]


def test_the_joined_account_and_its_windows_are_in_the_charts(
    walked_page: str, walked: WalkForwardContent
) -> None:
    data = data_of(walked_page)
    found = level(data["account"]["levels"][0], blobs_of(walked_page))
    assert found["equity"] == pytest.approx(walked.equity.tolist(), rel=1e-5)
    assert found["hold"] == pytest.approx(walked.hold.tolist(), rel=1e-4)
    assert data["windows"]["first"] == [63 * k for k in range(11)]
    assert data["windows"]["last"] == [63 * k + 62 for k in range(11)]
    assert data["windows"]["out"] == walked.windows["out_of_sample"].tolist()


def test_how_often_a_parameter_changes_is_told() -> None:
    w = walk_forward(4)
    w = replace(w, windows={**w.windows, "fast": np.array([5, 5, 8, 5]), "slow": np.array([20] * 4)})
    page = walk_forward_page(w)
    assert "<b>fast</b> by window: changed 2 of 3 times, 2 values" in page
    assert "<b>slow</b> by window: changed 0 of 3 times, always the same" in page


def test_an_efficiency_that_is_undefined_is_a_dash() -> None:
    assert f"<dt>Efficiency</dt><dd><b>{NONE}</b>" in walk_forward_page(walk_forward(2, efficiency=math.nan))


# ---------------------------------------------------------------- bad input
def test_content_that_does_not_fit_together_is_refused_by_name() -> None:
    base, walked = sweep(), walk_forward(2)
    with pytest.raises(ParameterError, match="must be one of luck, unclear, edge"):
        replace(base, verdict="sure")
    with pytest.raises(ParameterError, match="metric = 'profit': must be one of total_return, "):
        replace(base, metric="profit")
    with pytest.raises(ParameterError, match="lacks the column 'size'"):
        replace(base, parameters=["size"])
    with pytest.raises(ParameterError, match="equally long"):
        replace(base, table={**base.table, "fast": np.arange(3)})
    with pytest.raises(ParameterError, match=r"must be \(1000, 2\)"):
        replace(base, halves=np.ones((3, 2)))
    with pytest.raises(ParameterError, match="lacks the column 'in_sample'"):
        replace(walked, windows={k: v for k, v in walked.windows.items() if k != "in_sample"})
    with pytest.raises(ParameterError, match="equally long"):
        replace(walked, hold=walked.hold[1:])
    with pytest.raises(ParameterError, match="one session or more"):
        replace(walked, sessions=walked.sessions[:0], equity=walked.equity[:0], hold=walked.hold[:0])
