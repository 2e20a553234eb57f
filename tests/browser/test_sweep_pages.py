"""The pages of sweeps and walk-forwards in a real browser: painted maps, choices, tips, sorting, paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quant.metrics import NAMES
from quant.report import SweepContent, sweep_page, walk_forward_page
from quant.report.words import number, percent
from tests.browser.test_pages import EVIL, PAINTED
from tests.report.made_up import grid, sweep, walk_forward

pytestmark = pytest.mark.browser

Write = Callable[[str, str], Path]
TIP = "return document.getElementById('tip').hidden ? '' : document.getElementById('tip').innerText"
PICTURE = "return document.getElementById(arguments[0]).toDataURL()"
TOLD = "return document.getElementById('map-told').innerText"
# A copy of the map that may be read often, and the place of a cell.
COPY = """
const from = document.getElementById('map'), copy = document.createElement('canvas');
[copy.width, copy.height] = [from.width, from.height];
const c = copy.getContext('2d', { willReadFrequently: true }), [x, y] = drawn.spots[arguments[0]], [w, h] = drawn.size;
c.drawImage(from, 0, 0);
"""
CELL = (
    COPY
    + "return Array.from(c.getImageData(x - w / 2 + 4, y + h / 2 - 4, 1, 1).data)  // a corner, without text"
)
MEAN = (
    COPY
    + """
const d = c.getImageData(x - w / 2 + 2, y - h / 2 + 2, w - 4, h - 4).data, sum = [0, 0, 0];
d.forEach((v, i) => { if (i % 4 < 3) sum[i % 4] += v; });
return sum.map((v) => v / d.length * 4)"""
)
CHOOSE = """
const s = document.getElementById(arguments[0]);
s.value = [...s.options].find((o) => o.text === arguments[1]).value;
s.dispatchEvent(new Event('change'))"""


@pytest.fixture(scope="module")
def content() -> SweepContent:
    return sweep()


@pytest.fixture(scope="module")
def page(content: SweepContent, write: Write) -> Path:
    return write("sweep", sweep_page(content))


@pytest.fixture(scope="module")
def walked(write: Write) -> Path:
    return write("walked", walk_forward_page(walk_forward()))


def cells(content: SweepContent, value: str = "sharpe") -> pd.DataFrame:
    """Return the best of each cell: a row for each slow, lowest first, a column for each fast."""
    frame = pd.DataFrame(dict(content.table))
    return frame.pivot_table(index="slow", columns="fast", values=value, aggfunc="max")


# ---------------------------------------------------------------- the map
def test_every_canvas_is_painted(browser: Any, page: Path) -> None:
    browser.open(page)
    painted = browser.js(PAINTED)
    assert len(painted) == 4  # map, its scale, spread, halves
    assert min(painted) > 3
    assert browser.js("return document.getElementById('trouble').hidden")


def test_the_best_cell_is_the_brightest_and_the_worst_the_darkest(
    browser: Any, page: Path, content: SweepContent
) -> None:
    # The ends of viridis, the colour map of matplotlib, which leaves out its darkest tenth here: #fde725, #482878.
    best = cells(content).to_numpy().ravel()
    browser.open(page)
    assert browser.js(CELL, int(np.argmax(best))) == [253, 231, 37, 255]
    assert browser.js(CELL, int(np.argmin(best))) == [72, 40, 120, 255]
    assert browser.js("return drawn.first") == int(np.argmax(best))


def test_gains_are_blue_losses_orange_and_failures_hatched(
    browser: Any, page: Path, content: SweepContent
) -> None:
    browser.open(page)
    browser.js(CHOOSE, "metric", "Worst trade")
    browser.js(CHOOSE, "fixed2", "7")
    frame = pd.DataFrame(dict(content.table))
    frame = frame[frame["signal"] == 7].sort_values(["slow", "fast"]).reset_index()
    gain, loss = int(frame["worst_trade"].argmax()), int(frame["worst_trade"].argmin())
    red, _, blue, _ = browser.js(CELL, gain)
    assert blue > red + 50
    red, _, blue, _ = browser.js(CELL, loss)
    assert red > blue + 50
    failed = int(frame.index[frame["error"].notna()][0])
    red, _, blue = browser.js(MEAN, failed)
    assert 255 > red > blue + 20
    browser.js(CHOOSE, "metric", "Sharpe ratio")
    undefined = int(frame.index[frame["error"].isna() & frame["sharpe"].isna()][0])
    red, _, blue = browser.js(MEAN, undefined)
    assert abs(red - blue) < 15
    assert red < 220
    x, y = browser.js("return drawn.spots[arguments[0]]", failed)[:2]
    browser.move("#map", x, y)
    assert "1 failed: signals: 501 values for 502 bars" in browser.js(TIP)


def test_pointing_at_a_cell_tells_its_best_combination(
    browser: Any, page: Path, content: SweepContent
) -> None:
    browser.open(page)
    spot = 4 * 20 + 6  # the fifth slow, the seventh fast
    frame = pd.DataFrame(dict(content.table))
    here = frame[(frame["slow"] == 40) & (frame["fast"] == 10)]
    row = here.loc[here["sharpe"].idxmax()]
    total = percent(row["total_return"])
    x, y = browser.js("return drawn.spots[arguments[0]]", spot)[:2]
    browser.move("#map", x, y)
    assert browser.js(TIP).splitlines() == [
        f"Sharpe ratio {number(row['sharpe'])}",
        f"fast = 10, slow = 40, signal = {row['signal']}",
        f"Total return {total}, Deepest drawdown {percent(row['max_drawdown'])}, Trades {row['trades']:.0f}",
        "the best of 5 combinations here",
    ]
    browser.move("#map", x, 2)
    assert browser.js(TIP) == ""


def test_a_tap_and_the_keys_tell_cells_too(browser: Any, page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open(page, width=375, height=700)
    x, y = browser.js("return drawn.spots[25]")[:2]
    browser.press("#map", x, y, "mousePressed")
    assert "fast = 9, slow = 25" in browser.js(TIP)
    canvas = browser.driver.find_element("id", "map")
    canvas.send_keys(Keys.HOME)
    best = browser.js(TIP)
    fast, slow = browser.js("return [drawn.first % 20 + 4, Math.floor(drawn.first / 20) * 5 + 20]")
    assert f"fast = {fast}, slow = {slow}" in best
    canvas.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_UP)
    assert f"fast = {fast + 1}, slow = {slow + 5}" in browser.js(TIP)
    box, ring = browser.js(
        "return ['tip', 'ring'].map((n) => document.getElementById(n).getBoundingClientRect())"
    )
    assert 0 <= box["left"] < box["right"] <= 375
    assert ring["width"] > 0
    canvas.send_keys(Keys.ESCAPE)
    assert browser.js(TIP) == ""


def test_choices_change_the_map(browser: Any, page: Path, content: SweepContent) -> None:
    browser.open(page)
    seen = [browser.js(PICTURE, "map")]
    assert browser.js(TOLD).startswith(
        "Sharpe ratio by fast and slow; each place shows its best over signal. Best: "
    )
    frame = pd.DataFrame(dict(content.table))
    for pick, value, told in (
        ("fixed2", "9", "Sharpe ratio by fast and slow. Best: " + number(frame[frame["signal"] == 9]["sharpe"].max())),
        ("metric", "Volatility a year", "Volatility a year by fast and slow. Lowest: "
         + percent(frame[frame["signal"] == 9]["volatility"].min(), ".2%")),
        ("across", "signal", "Volatility a year by signal and slow; each place shows its lowest over fast."),
        ("up", "signal", "Volatility a year by slow and signal; "),
    ):  # fmt: skip
        browser.js(CHOOSE, pick, value)
        assert browser.js(TOLD).startswith(told)
        seen.append(browser.js(PICTURE, "map"))
    assert len(set(seen)) == 5


def test_a_click_on_a_column_sorts_all_combinations(browser: Any, page: Path, content: SweepContent) -> None:
    browser.open(page)
    frame = pd.DataFrame(dict(content.table))
    column = """
      const t = document.getElementById('best'), head = [...t.tHead.rows[0].cells];
      const k = head.findIndex((c) => c.innerText.startsWith(arguments[0]));
      if (arguments[1]) head[k].querySelector('button').click();
      return [...t.tBodies[0].rows].map((r) => r.cells[k].textContent)"""
    got = browser.js(column, "Deepest drawdown", True)
    wanted = frame.sort_values("max_drawdown", ascending=False, kind="stable").head(50)
    assert got == [percent(v) for v in wanted["max_drawdown"]]
    assert browser.js(column, "fast", False) == [str(v) for v in wanted["fast"]]
    assert (
        browser.js("return document.querySelector('#best caption').textContent")
        == "Deepest drawdown, highest first: 50 of 1,000"
    )
    assert browser.js(column, "Deepest drawdown", True)[0] == percent(frame["max_drawdown"].min())
    assert browser.js("return document.querySelectorAll('#best [aria-sort]').length") == 1
    browser.js(column, "slow", True)
    assert set(browser.js(column, "slow", False)) == {"20"}


# ---------------------------------------------------------------- spread, halves
def test_the_spread_counts_as_numpy_does(browser: Any, page: Path, content: SweepContent) -> None:
    browser.open(page)
    assert "what the best of pure luck would be expected to show, 1.72" in browser.js(
        "return document.getElementById('spread-told').innerText"
    )
    known = content.table["sharpe"][np.isfinite(content.table["sharpe"])].astype(float)
    counts, edges = np.histogram(known, 60, (known.min(), 1.72))
    at = int(np.argmax(counts))
    x = browser.js("return bins.spots[arguments[0]][0]", at)
    browser.move("#spread", x, 100)
    assert browser.js(TIP).splitlines() == [
        f"{counts[at]} combinations", f"Sharpe ratio {number(edges[at])} to {number(edges[at + 1])}",
    ]  # fmt: skip


def test_a_point_of_the_halves_tells_its_combination(browser: Any, page: Path, content: SweepContent) -> None:
    browser.open(page)
    x, y, i = browser.js("return halves.spots[0]")
    assert content.halves is not None
    assert i == int(np.nanargmin(content.halves[:, 0]))
    browser.move("#halves", x, y)
    first, *rest = browser.js(TIP).splitlines()
    assert first == f"First half {number(content.halves[i, 0])}, second half {number(content.halves[i, 1])}"
    assert f"fast = {content.table['fast'][i]}, slow = {content.table['slow'][i]}" in rest[1]


# ---------------------------------------------------------------- many, few, odd, hostile
def test_many_combinations_are_decoded_and_joined_to_groups(browser: Any, write: Write) -> None:
    made = sweep(table=grid(fast=range(130), slow=range(100)))
    browser.open(write("many", sweep_page(made)))
    assert browser.js("return Array.from(figures.final_value.slice(500, 520))") == [
        float(v) for v in made.table["final_value"][500:520].astype(np.float32)
    ]
    assert browser.js("return [dims[0].groups.length, dims[0].groups[1], drawn.spots.length]") == [
        44,
        "3 \u2026 5",
        44 * 50,
    ]
    assert "fast in groups of 3 values, slow in groups of 2 values" in browser.js(TOLD)


def test_one_parameter_is_a_line(browser: Any, write: Write) -> None:
    made = sweep(table=grid(period=range(2, 80)))
    browser.open(write("line", sweep_page(made)))
    best = int(np.nanargmax(made.table["sharpe"]))
    assert browser.js("return drawn.spots.length") == 78
    assert browser.js("return [drawn.first, document.getElementById('scale').offsetHeight]") == [best, 0]
    x, y = browser.js("return drawn.spots[arguments[0]]", best)[:2]
    browser.move("#map", x, y)
    assert f"Sharpe ratio {number(made.table['sharpe'][best])}\nperiod = {best + 2}\n" in browser.js(TIP)


def _odd(name: str) -> str:
    def rows(n: int, value: float = 1.0, **columns: Any) -> SweepContent:
        table = {**columns, **{m: np.full(n, value) for m in NAMES}, "error": np.full(n, None)}
        return sweep(table=table, halves=None, parameters=list(columns))

    draw = np.random.default_rng(1)
    words = np.array(["mean", None, True, "a rather long word " * 5], dtype=object)
    if name.startswith("walk"):
        made = walk_forward(1 if name == "walk of one window" else 120)
        gone = np.full(len(made.hold), np.nan)
        none = np.full(len(made.windows["in_sample"]), np.nan)
        return walk_forward_page(replace(made, hold=gone, windows={**made.windows, "in_sample": none}))
    return sweep_page({
        "no parameter": rows(1), "one row": rows(1, a=np.array([5])), "no row": rows(0, a=np.array([])),
        "all undefined": rows(4, np.nan, a=np.arange(4), b=np.arange(4)), "all equal": rows(4, a=np.arange(4)),
        "words": rows(4, a=words, b=words), "infinite": rows(4, np.inf, a=np.arange(4), b=np.arange(4)),
        "sparse": rows(500, a=draw.uniform(0, 1, 500), b=draw.uniform(0, 1, 500)),
        "hostile": rows(2, a=np.array([EVIL, "b"], dtype=object), b=np.array(["c", EVIL], dtype=object)),
    }[name])  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["no parameter", "one row", "no row", "all undefined", "all equal", "words", "infinite", "sparse", "hostile",
     "walk of one window", "walk of many windows"],
)  # fmt: skip
def test_odd_results_are_drawn_without_a_word_on_the_console(browser: Any, write: Write, name: str) -> None:
    browser.open(write(name, _odd(name)))
    assert browser.js("return document.getElementById('trouble').hidden")
    for canvas in browser.driver.find_elements("css selector", "canvas[tabindex]"):
        canvas.send_keys("\ue011", "\ue014", "\ue013")  # Home, right, up
    browser.js("for (const b of document.querySelectorAll('#best button')) b.click()")
    assert browser.js("return document.images.length") == 0
    assert browser.js("return document.documentElement.scrollWidth") <= 1280


# ---------------------------------------------------------------- walk-forward
def test_the_walk_forward_is_drawn_with_its_windows(browser: Any, walked: Path) -> None:
    browser.open(walked)
    painted = browser.js(PAINTED)
    assert len(painted) == 2 + 2 + 3  # account, drawdown; bars, pairs; three parameters
    assert min(painted) > 3
    readout = browser.js("return document.querySelector('#equity .readout').textContent")
    assert readout.startswith("2015-08-14Window 11Account ")
    # The first window is shaded, the second is not.
    shades = browser.js("""
      const u = charts[0].plot, copy = document.createElement('canvas');
      [copy.width, copy.height] = [u.ctx.canvas.width, u.ctx.canvas.height];
      const c = copy.getContext('2d', { willReadFrequently: true }), y = u.bbox.top + u.bbox.height - 3;
      c.drawImage(u.ctx.canvas, 0, 0);
      return [0.5, 1.5].map((k) => c.getImageData(u.valToPos(63 * k + 3, 'x', true), y, 1, 1).data[3])""")
    assert shades[0] > shades[1] == 0


def test_pointing_at_a_window_tells_what_it_chose_and_got(browser: Any, walked: Path) -> None:
    w = walk_forward().windows
    browser.open(walked)
    for canvas, model in (("bars", "bars"), ("step1", "steps[1]"), ("pairs", "dots")):
        x, y, k = browser.js(f"return {model}.spots[3]")
        browser.move(f"#{canvas}", x, y)
        assert browser.js(TIP).splitlines() == [
            f"Window {k + 1}: {number(w['in_sample'][k])} in sample, {number(w['out_of_sample'][k])} out of sample",
            f"fast = {w['fast'][k]}, slow = {w['slow'][k]}, short = {w['short'][k]}",
            f"trained {w['train_first'][k]} to {w['train_last'][k]}",
            f"tested {w['test_first'][k]} to {w['test_last'][k]}, return {percent(w['return'][k])}",
        ]


def test_the_joined_account_zooms(browser: Any, walked: Path) -> None:
    browser.open(walked)
    lo, hi = browser.view()
    box = browser.driver.find_element("id", "charts")
    box.send_keys("+")
    assert np.diff(browser.view()) == pytest.approx((hi - lo) / 2)
    browser.driver.find_element("css selector", "[data-do=all]").click()
    assert browser.view() == (lo, hi)
    browser.js(
        "const log = document.getElementById('log'); log.checked = true; log.dispatchEvent(new Event('change'))"
    )
    assert browser.js("return charts[0].plot.scales.y.distr") == 3


# ---------------------------------------------------------------- both: theme, width, paper
@pytest.mark.parametrize("name", ["page", "walked"])
@pytest.mark.parametrize("dark", [False, True])
def test_theme_follows_the_system_and_text_is_readable(
    browser: Any, request: pytest.FixtureRequest, name: str, dark: bool
) -> None:
    # Web Content Accessibility Guidelines 2.2, 1.4.3: 4.5 to 1 for text of this size.
    browser.open(request.getfixturevalue(name), dark=dark)
    canvas = {"page": "map", "walked": "bars"}[name]
    before = browser.js(PICTURE, canvas)
    worst = browser.js("""
      const linear = (x) => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
      const lum = (c) => {
        const [r, g, b] = c.match(/[\\d.]+/g).slice(0, 3).map((x) => linear(x / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const back = (e) => {
        for (; e; e = e.parentElement) {
          const c = getComputedStyle(e).backgroundColor;
          if (!c.endsWith(', 0)')) return c;
        }
      };
      let worst = [99, ''];
      const texts = 'h1,h2,p,th,td,dt,dd,button,select,span,b,figcaption,caption,summary,label';
      for (const e of document.querySelectorAll(texts)) {
        if (!e.innerText || !e.getClientRects().length) continue;
        const a = lum(getComputedStyle(e).color), b = lum(back(e));
        const r = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (r < worst[0]) worst = [r, e.tagName + ' ' + e.className + ' ' + e.innerText.slice(0, 20)];
      }
      return worst""")
    assert worst[0] >= 4.5, worst
    browser.driver.find_element("id", "theme").click()
    assert browser.js("return document.documentElement.dataset.theme") == ("light" if dark else "dark")
    assert browser.js(PICTURE, canvas) != before


@pytest.mark.parametrize("name", ["page", "walked"])
@pytest.mark.parametrize("width", [400, 320])
def test_on_a_phone_nothing_is_wider_than_the_screen(
    browser: Any, request: pytest.FixtureRequest, name: str, width: int
) -> None:
    browser.open(request.getfixturevalue(name), width=width, height=700)
    assert browser.js("return document.documentElement.scrollWidth") <= width
    assert min(browser.js(PAINTED)) > 2


@pytest.mark.parametrize("name", ["page", "walked"])
def test_it_prints_light_and_comes_back(browser: Any, request: pytest.FixtureRequest, name: str) -> None:
    browser.open(request.getfixturevalue(name), dark=True)
    canvas = {"page": "map", "walked": "bars"}[name]
    browser.js(
        """const canvas = document.getElementById(arguments[0]);
        addEventListener('beforeprint', () => {
          window.printed = [document.documentElement.dataset.theme, canvas.clientWidth <= 680];
        })""",
        canvas,
    )
    pdf = browser.pdf()
    assert pdf.count(b"/Type /Page\n") in range(2, 6)
    assert browser.js("return window.printed") == ["light", True]
    assert browser.js("return document.documentElement.dataset.theme") == "dark"
