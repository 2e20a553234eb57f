"""A headless Chromium for the tests of pages. What is done where there is none: tests/conftest.py, --browser."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
READY_S = 20.0


def missing() -> str:
    """Return what lacks for the tests, "" if nothing does."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium is not installed"
    if not any(shutil.which(name) for name in BROWSERS):
        return "no chromium on PATH"
    return "" if shutil.which("chromedriver") else "no chromedriver on PATH"


@dataclass
class Browser:
    """A window with one page. Everything that the page logged or asked the network for stops the test."""

    driver: Any

    def open(self, page: Path, *, width: int = 1280, height: int = 1000, dark: bool = False) -> None:
        """Show a page and wait until it is drawn."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get(page.as_uri())
        self.wait("return document.documentElement.dataset.ready === 'yes'")

    def js(self, script: str, *arguments: Any) -> Any:
        """Return what a script returns."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str) -> None:
        """Wait until a script returns something true."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, READY_S, poll_frequency=0.02).until(
            lambda d: d.execute_script(script), script
        )

    def frame(self) -> None:
        """Wait until what was asked for is drawn."""
        for _ in range(3):
            self.driver.execute_async_script("requestAnimationFrame(arguments[0])")

    def view(self) -> tuple[float, float]:
        """Return the steps that are drawn."""
        lo, hi = self.js("return [view.lo, view.hi]")
        return lo, hi

    def move(self, selector: str, x: float, y: float, *, press: bool = False) -> None:
        """Move the pointer to a place of an element, with the button held or not."""
        box = self.js(
            "const e = document.querySelector(arguments[0]); e.scrollIntoView({block: 'center'});"
            "const b = e.getBoundingClientRect(); return [b.left, b.top]",
            selector,
        )
        place = {
            "x": box[0] + x,
            "y": box[1] + y,
            "button": "left" if press else "none",
            "buttons": int(press),
        }
        self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", **place})

    def press(self, selector: str, x: float, y: float, kind: str) -> None:
        """Press or release the button there; kind: mousePressed or mouseReleased."""
        self.move(selector, x, y, press=kind == "mouseReleased")
        corner = (
            "const b = document.querySelector(arguments[0]).getBoundingClientRect(); return [b.left, b.top]"
        )
        box = self.js(corner, selector)
        place = {"x": box[0] + x, "y": box[1] + y, "button": "left", "buttons": 1, "clickCount": 1}
        self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": kind, **place})

    def pdf(self) -> bytes:
        """Return the page as it prints."""
        found = self.driver.execute_cdp_cmd(
            "Page.printToPDF", {"printBackground": True, "preferCSSPageSize": True}
        )
        return base64.b64decode(found["data"])

    def drain(self) -> tuple[list[str], list[str]]:
        """Return what was logged, and the addresses that were asked for, since the last time."""
        logged = [f"{e['level']} {e['message']}" for e in self.driver.get_log("browser")]
        events = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return logged, asked


@pytest.fixture(scope="session")
def _driver(request: pytest.FixtureRequest) -> Iterator[Any]:
    lacks = missing()
    if lacks:
        if request.config.getoption("--browser") == "require":
            pytest.fail(
                f"--browser=require: {lacks}; apt-get install chromium chromium-driver", pytrace=False
            )
        pytest.skip(lacks)
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = next(path for path in map(shutil.which, BROWSERS) if path is not None)
    # Containers have a small /dev/shm and no user namespaces; the pages are our own.
    for word in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--hide-scrollbars",
    ):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.set_script_timeout(READY_S)
    yield driver
    driver.quit()


@pytest.fixture
def browser(_driver: Any) -> Iterator[Browser]:
    """A window; the test fails if the page logged anything or asked for anything but files."""
    window = Browser(_driver)
    window.drain()
    yield window
    logged, asked = window.drain()
    _driver.get("about:blank")
    assert logged == []
    assert [a for a in asked if not a.startswith(("file:", "about:"))] == []


@pytest.fixture(scope="session")
def write(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Return a function that writes a page and returns its path."""
    folder = tmp_path_factory.mktemp("pages")

    def put(name: str, page: str) -> Path:
        path = folder / f"{name}.html"
        path.write_text(page, encoding="utf-8")
        return path

    return put
