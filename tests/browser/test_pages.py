"""Pages in a real browser: they draw, zoom, answer the pointer and the keys, and ask the network for nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quant as q
from quant.backtest.reporting import content
from quant.core.finding import Finding
from quant.report import compare_page, run_page
from tests.bench.report import made_up_run, minutes

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
EVIL = "</script><script>console.error('x')</script><img src=x onerror=console.error(1)>"
Write = Callable[[str, str], Path]
# How many colours each canvas has.
PAINTED = """
return [...document.querySelectorAll('canvas')].map((c) => {
  const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data, seen = new Set();
  for (let i = 0; i < d.length; i += 4) if (d[i + 3]) seen.add(d[i] << 16 | d[i + 1] << 8 | d[i + 2]);
  return seen.size;
})"""
PICTURE = "return document.querySelector(arguments[0] + ' canvas').toDataURL()"


@pytest.fixture(scope="module")
def spy() -> q.Run:
    """The sample's two years."""
    return q.backtest("macd", q.bars("SPY", data=ROOT / "data"), params={"short": True}, save=False)


@pytest.fixture(scope="module")
def page(spy: q.Run, write: Write) -> Path:
    return write("spy", run_page(content(spy)))


@pytest.fixture(scope="module")
def long_run() -> q.Run:
    """Sixty thousand one-minute bars: several chunks and levels."""
    return made_up_run(minutes(60_000), 0.01)


@pytest.fixture(scope="module")
def long_page(long_run: q.Run, write: Write) -> Path:
    return write("long", run_page(content(long_run)))


def test_every_chart_is_drawn(browser: Any, page: Path) -> None:
    browser.open(page)
    painted = browser.js(PAINTED)
    assert len(painted) == 4 + 1 + 2  # price, MACD, account, drawdown; the strip; two scatters
    assert min(painted) > 3
    assert browser.js("return document.getElementById('trouble').hidden")
    readouts = browser.js("return [...document.querySelectorAll('.readout')].map((r) => r.textContent)")
    assert readouts[0].startswith("2018-12-31SPYO 244.92H 245.54L 242.87C 245.28")
    assert readouts[2].startswith("2018-12-31Account 98,015")


def test_dragging_looks_closer_and_a_double_click_shows_all(browser: Any, page: Path) -> None:
    browser.open(page)
    before, all_ = browser.js(PICTURE, "#price"), browser.view()
    browser.press("#price .u-over", 300, 100, "mousePressed")
    browser.move("#price .u-over", 500, 120, press=True)
    browser.press("#price .u-over", 500, 120, "mouseReleased")
    browser.frame()
    lo, hi = browser.view()
    width = browser.js("return document.querySelector('#price .u-over').clientWidth")
    assert [lo, hi] == pytest.approx([all_[0] + at / width * 502 for at in (300, 500)], abs=1)
    assert (
        browser.js("return charts.map((c) => [c.plot.scales.x.min, c.plot.scales.x.max])") == [[lo, hi]] * 4
    )
    assert browser.js(PICTURE, "#price") != before
    browser.js("document.querySelector('#price .u-over').dispatchEvent(new MouseEvent('dblclick'))")
    browser.frame()
    assert browser.view() == all_
    assert browser.js(PICTURE, "#price") == before


def test_pointing_at_a_fill_shows_its_order(browser: Any, page: Path, spy: q.Run) -> None:
    browser.open(page)
    fill, order = spy.fills.iloc[0], spy.orders.iloc[0]
    x, y = browser.js(
        "const u = charts[0].plot; return [u.valToPos(fills.step[0], 'x'), u.valToPos(fills.price[0], 'y')]"
    )
    browser.move("#price .u-over", x, y)
    browser.wait("return !document.getElementById('tip').hidden")
    text = browser.js("return document.getElementById('tip').innerText")
    assert f"Buy {fill['quantity']:.0f} at {fill['price']:.2f}" in text
    assert fill["reason"] in text
    assert f"filled in the bar of {fill['time']:%Y-%m-%d}" in text
    decided = order["time"].tz_convert("America/New_York")
    assert f"order {order['order']} (market), decided {decided:%Y-%m-%d %H:%M}" in text
    assert f"commission {fill['commission']:.3f}" in text
    browser.move("#price .u-over", x - 25, y)
    browser.wait("return document.getElementById('tip').hidden")


def test_keys_zoom_move_and_go_from_fill_to_fill(browser: Any, page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open(page)
    box = browser.driver.find_element("id", "charts")
    lo, hi = browser.view()
    box.send_keys("+")
    assert np.diff(browser.view()) == pytest.approx((hi - lo) / 2)
    middle = browser.view()
    box.send_keys(Keys.ARROW_LEFT)
    assert browser.view()[0] < middle[0]
    box.send_keys("0")
    assert browser.view() == (lo, hi)
    box.send_keys("n")
    browser.wait("return !document.getElementById('tip').hidden")
    first = browser.js("return document.getElementById('tip').innerText")
    box.send_keys("n")
    browser.frame()
    assert browser.js("return document.getElementById('tip').innerText") != first
    box.send_keys(Keys.ESCAPE)
    assert browser.js("return document.getElementById('tip').hidden")


@pytest.mark.parametrize("dark", [False, True])
def test_it_is_dark_or_light_as_the_system_and_as_the_button_says(
    browser: Any, page: Path, dark: bool
) -> None:
    browser.open(page, dark=dark)
    shade = "return getComputedStyle(document.body).backgroundColor"
    colours = {False: "rgb(255, 255, 255)", True: "rgb(20, 23, 26)"}
    before = browser.js(PICTURE, "#equity")
    assert browser.js(shade) == colours[dark]
    browser.driver.find_element("id", "theme").click()
    browser.frame()
    assert browser.js(shade) == colours[not dark]
    assert browser.js(PICTURE, "#equity") != before


@pytest.mark.parametrize("dark", [False, True])
def test_all_text_is_readable_against_its_background(browser: Any, page: Path, dark: bool) -> None:
    # Web Content Accessibility Guidelines 2.2, 1.4.3: 4.5 to 1 for text of this size.
    browser.open(page, dark=dark)
    least = browser.js("""
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
        return 'rgb(255,255,255)';
      };
      let worst = [99, ''];
      for (const e of document.querySelectorAll('h1,h2,h3,p,th,td,dt,dd,button,span,b,figcaption,summary')) {
        if (!e.innerText || !e.getClientRects().length) continue;
        const a = lum(getComputedStyle(e).color), b = lum(back(e));
        const r = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (r < worst[0]) worst = [r, e.tagName + ' ' + e.className + ' ' + e.innerText.slice(0, 20)];
      }
      return worst""")
    assert least[0] >= 4.5, least


@pytest.mark.parametrize("width", [375, 320])
def test_on_a_phone_nothing_is_wider_than_the_screen(
    browser: Any, page: Path, write: Write, spy: q.Run, width: int
) -> None:
    made = content(spy)
    compared = write("phone", compare_page([replace(made, name="a-rather-long-name-of-a-run" * 3)] * 4))
    for path in (page, compared):
        browser.open(path, width=width, height=700)
        assert browser.js("return document.documentElement.scrollWidth") <= width
        assert min(browser.js(PAINTED)) > 2


def test_it_prints_light_on_several_pages_and_comes_back(browser: Any, page: Path) -> None:
    browser.open(page, dark=True)
    browser.js("""addEventListener('beforeprint', () => {
      window.printed = [document.documentElement.dataset.theme, charts[0].plot.width];
    })""")
    pdf = browser.pdf()
    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/Type /Page\n") in range(3, 9)
    assert browser.js("return window.printed") == ["light", 680]
    assert browser.js("return document.documentElement.dataset.theme") == "dark"
    assert browser.js("return charts[0].plot.width") > 1_000


def test_the_browser_decodes_every_bar_to_the_last_bit(
    browser: Any, long_page: Path, long_run: q.Run
) -> None:
    bars = long_run.bars[0]  # type: ignore[index]
    browser.open(long_page)
    got = browser.driver.execute_async_script("""
      const done = arguments[0], n = DATA.steps;
      prices.load(0, -1, n).then(() => {
        const r = prices.rows(0, -1, n);
        done(['open', 'high', 'low', 'close', 'volume', 'bucket'].map((k) => Array.from(r[k])));
      });""")
    for name, values in zip(("open", "high", "low", "close", "volume"), got, strict=False):
        assert values == getattr(bars, name).tolist()
    assert got[-1] == list(range(len(bars)))


def test_the_closer_the_view_the_finer_the_level(browser: Any, long_page: Path, long_run: q.Run) -> None:
    bars = long_run.bars[0]  # type: ignore[index]
    browser.open(long_page)
    width = browser.js("return charts[0].plot.bbox.width")
    factors = []
    for span in (60_000, 12_000, 3_000, 200):
        browser.js("setView(30000 - arguments[0] / 2, 30000 + arguments[0] / 2)", span)
        browser.wait("""
          const wanted = (c) => c.block.levels[c.block.level(view.hi - view.lo, rowsFor(c.plot.bbox.width))];
          return charts.every((c) => c.rows && c.rows.factor === wanted(c).factor)""")
        factors.append(browser.js("return charts[0].rows.factor"))
        assert browser.js("return charts[0].rows.count") <= 2 * width + 2
        first, last, top = browser.js("""
          const r = charts[0].rows;
          return [r.bucket[0] * r.factor, (r.bucket[r.count - 1] + 1) * r.factor, Math.max(...r.high)]""")
        assert top == bars.high[int(first) : int(last)].max()
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] == 1 < factors[0]


def test_a_symbol_is_chosen_from_the_list(browser: Any, write: Write) -> None:
    feeds = [q.synthetic(s, "1d", "2020-01-01", "2020-12-31", seed=n) for n, s in enumerate(("AAA", "BBB"))]
    path = write("two", run_page(content(q.backtest("rsi", feeds, save=False))))
    browser.open(path)
    before = browser.js(PICTURE, "#price")
    browser.js(
        "const s = document.getElementById('symbol'); s.value = 'BBB'; s.dispatchEvent(new Event('change'))"
    )
    browser.wait(
        "return charts[0].rows && document.querySelector('#price .readout').textContent.includes('BBB')"
    )
    browser.frame()
    assert browser.js(PICTURE, "#price") != before
    assert browser.js("return charts.length") == 4


def test_the_words_of_others_do_nothing(browser: Any, write: Write, spy: q.Run) -> None:
    base = content(spy)
    evil = np.full(len(base.fills["symbol"]), EVIL, dtype=object)
    settings = {**base.settings, "params": {EVIL: EVIL}}
    symbol = replace(base.symbols[0], name=EVIL, panes={EVIL: {EVIL: base.symbols[0].close}})
    made = replace(
        base, name=EVIL, settings=settings, notes=[EVIL], findings=[Finding("x", EVIL)], symbols=[symbol],
        fills={**base.fills, "symbol": evil, "reason": evil},
        trades={**base.trades, "symbol": np.full(len(base.trades["symbol"]), EVIL, dtype=object)},
    )  # fmt: skip
    browser.open(write("evil", run_page(made)))
    browser.driver.find_element("id", "charts").send_keys("n")
    browser.wait("return !document.getElementById('tip').hidden")
    assert EVIL in browser.js("return document.getElementById('tip').textContent")
    x, y, _ = browser.js("return document.getElementById('mae').spots[0]")
    browser.move("#mae", x, y)
    browser.wait("return document.getElementById('tip').textContent.includes('result')")
    assert EVIL in browser.js("return document.getElementById('tip').textContent")
    assert browser.js("return document.images.length") == 0


def _odd(name: str, spy: q.Run) -> str:
    bars = spy.bars[0]  # type: ignore[index]
    base = content(spy)
    if name == "one bar":
        return run_page(content(q.backtest("macd", bars[:1], save=False)))
    if name == "no trade":
        return run_page(content(q.backtest("macd", bars[:20], save=False)))
    if name == "no bars":
        return run_page(
            replace(base, symbols=[], hold=np.full(len(base.equity), np.nan), notes=["Without prices"])
        )
    if name == "all lost":
        return run_page(replace(base, equity=np.where(np.arange(len(base.equity)) < 50, base.equity, -1.0)))
    return compare_page([base, replace(base, returns=base.returns[:1], sessions=base.sessions[:1])])


@pytest.mark.parametrize("name", ["one bar", "no trade", "no bars", "all lost", "compared with one return"])
def test_odd_runs_are_drawn_without_a_word_on_the_console(
    browser: Any, write: Write, spy: q.Run, name: str
) -> None:
    browser.open(write(name, _odd(name, spy)))
    assert browser.js("return document.getElementById('trouble').hidden")
    assert browser.js("return charts.length") >= 2
    for key in "+-n0":
        browser.driver.find_element("id", "charts").send_keys(key)
    browser.js("""
      const log = document.getElementById('log');
      log.checked = !log.checked;
      log.dispatchEvent(new Event('change'))""")
    browser.frame()
    browser.js("setView(-0.5, 0.5)")
    browser.frame()


def test_a_notebooks_frame_draws_the_same_page(browser: Any, write: Write, spy: q.Run) -> None:
    browser.driver.get(write("notebook", f"<!doctype html><body>{spy.plot()._repr_html_()}</body>").as_uri())
    browser.driver.switch_to.frame(0)
    browser.wait("return document.documentElement.dataset.ready === 'yes'")
    assert min(browser.js(PAINTED)) > 2
    browser.driver.switch_to.default_content()


def test_a_click_on_a_trade_shows_it_above(browser: Any, page: Path) -> None:
    browser.open(page)
    x, y, i = browser.js("return document.getElementById('mae').spots[3]")
    browser.press("#mae", x, y, "mousePressed")
    browser.press("#mae", x, y, "mouseReleased")
    browser.frame()
    lo, hi = browser.view()
    entry, left = browser.js("return [trades.entry_step[arguments[0]], trades.exit_step[arguments[0]]]", i)
    assert lo < entry <= left < hi
    assert hi - lo < 250
