"""Settings of hypothesis, which have no place in pyproject.toml, and the options --full and --browser."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings

# derandomize: the same examples in each run, so a red test stays red; no deadline: machines differ in speed.
settings.register_profile("quant", derandomize=True, deadline=None)
settings.load_profile("quant")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the long forms of fuzz and damage tests")
    parser.addoption(
        "--browser", choices=("auto", "require"), default="auto",
        help="browser tests where chromium, chromedriver or selenium lack: auto leaves them out and says so",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "browser: needs chromium, chromedriver and selenium; see --browser")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many browser tests were not run: a skipped test must not read as a passed one."""
    skipped = [r for r in terminalreporter.stats.get("skipped", []) if "browser" in r.keywords]
    if skipped:
        why = str(skipped[0].longrepr[2]).removeprefix("Skipped: ")
        terminalreporter.write_line(f"not run: {len(skipped)} browser tests ({why})", yellow=True)


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """True where the long forms were asked for: the counts that documents quote."""
    return bool(request.config.getoption("--full"))
