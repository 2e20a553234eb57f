"""The page of a day's parity in a real browser: theme, width, contrast, paper, and nothing asked of the network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quant.report import parity_page
from tests.report.made_up_parity import equal_day, odd_day, record

pytestmark = pytest.mark.browser

Write = Callable[[str, str], Path]
SHADE = "return getComputedStyle(document.body).backgroundColor"
WORST = """
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
for (const e of document.querySelectorAll('h1,h2,p,li,th,td,dt,dd,button,span,b,figcaption')) {
  if (!e.innerText || !e.getClientRects().length) continue;
  const a = lum(getComputedStyle(e).color), b = lum(back(e));
  const r = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (r < worst[0]) worst = [r, e.tagName + ' ' + e.className + ' ' + e.innerText.slice(0, 20)];
}
return worst"""
# Width of each drawn bar over the half of its picture, as the eye sees it.
BARS = """
return [...document.querySelectorAll('#split .amount rect')].map((r) => {
  const a = r.getBoundingClientRect(), b = r.parentNode.getBoundingClientRect();
  return [a.width / (b.width / 2), a.left < b.left + b.width / 2 - 0.5];
})"""


@pytest.fixture(scope="module")
def odd(write: Write) -> Path:
    return write("parity-odd", parity_page(odd_day().to_dict(), record(30, bad=(4, 17))))


@pytest.fixture(scope="module")
def equal(write: Write) -> Path:
    return write("parity-equal", parity_page(equal_day().to_dict()))


def test_bars_are_drawn_in_proportion_and_lines_within_their_chart(browser: Any, odd: Path) -> None:
    browser.open(odd)
    drawn = browser.js(BARS)
    assert [share for share, _ in drawn] == pytest.approx(
        [a / 12.4 for a in (10.74, 1.0, 12.4, 0.25, 0.25)], abs=0.01
    )
    assert [left for _, left in drawn] == [True, True, True, False, True]
    lines = browser.js("""
      return [...document.querySelectorAll('.course polyline')].map((l) => {
        const a = l.getBoundingClientRect(), b = l.parentNode.getBoundingClientRect();
        return [a.width / b.width, a.top >= b.top && a.bottom <= b.bottom, getComputedStyle(l).stroke];
      })""")
    assert [(round(share, 2), inside) for share, inside, _ in lines] == [(1.0, True), (1.0, True)]
    assert lines[0][2] != lines[1][2]
    assert browser.js("return document.getElementById('trouble').hidden")


@pytest.mark.parametrize("name", ["odd", "equal"])
@pytest.mark.parametrize("dark", [False, True])
def test_parity_follows_the_systems_theme_and_is_readable(
    browser: Any, request: pytest.FixtureRequest, name: str, dark: bool
) -> None:
    # Web Content Accessibility Guidelines 2.2, 1.4.3: 4.5 to 1 for text of this size.
    browser.open(request.getfixturevalue(name), dark=dark)
    worst = browser.js(WORST)
    assert worst[0] >= 4.5, worst
    before = browser.js(SHADE)
    browser.driver.find_element("id", "theme").click()
    assert browser.js("return document.documentElement.dataset.theme") == ("light" if dark else "dark")
    assert browser.js(SHADE) != before


@pytest.mark.parametrize("name", ["odd", "equal"])
@pytest.mark.parametrize("width", [400, 320])
def test_parity_is_no_wider_than_a_phone(
    browser: Any, request: pytest.FixtureRequest, name: str, width: int
) -> None:
    browser.open(request.getfixturevalue(name), width=width, height=700)
    assert browser.js("return document.documentElement.scrollWidth") <= width
    # Dates and amounts are not broken over lines.
    broken = """
      return [...document.querySelectorAll('.sides td:not(.why):not(.side), .split td')]
        .filter((e) => e.innerText && e.getClientRects()[0].height > 2.5 * parseFloat(getComputedStyle(e).fontSize)
          && getComputedStyle(e).whiteSpace !== 'nowrap').map((e) => e.innerText)"""
    assert browser.js(broken) == []


def test_parity_prints_light_and_comes_back(browser: Any, odd: Path) -> None:
    browser.open(odd, dark=True)
    browser.js(
        "addEventListener('beforeprint', () => { window.printed = document.documentElement.dataset.theme })"
    )
    assert browser.pdf().count(b"/Type /Page\n") in range(2, 6)
    assert browser.js("return window.printed") == "light"
    assert browser.js("return document.documentElement.dataset.theme") == "dark"
