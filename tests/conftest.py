"""Settings of hypothesis, which have no place in pyproject.toml; --full, and options for what needs more than .venv."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

# derandomize: the same examples in each run, so a red test stays red; no deadline: machines differ in speed.
settings.register_profile("quant", derandomize=True, deadline=None)
settings.load_profile("quant")


# What some tests need beyond the project's own environment, by their marker.
NEEDS = {
    "browser": "chromium, chromedriver and selenium",
    "exports": "quantstats and pyfolio (pip install -e .[exports])",
    "arch": "arch (pip install -e .[stats])",
    "cluster": "dask.distributed (pip install -e .[cluster])",
    "optuna": "optuna (pip install -e .[optuna])",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the long forms of fuzz and damage tests")
    for name, needs in NEEDS.items():
        told = f"{name} tests where {needs} lack: auto leaves them out and says so"
        parser.addoption(f"--{name}", choices=("auto", "require"), default="auto", help=told)


def pytest_configure(config: pytest.Config) -> None:
    for name, needs in NEEDS.items():
        config.addinivalue_line("markers", f"{name}: needs {needs}; see --{name}")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many tests were not run: a skipped test must not read as a passed one."""
    for name in NEEDS:
        skipped = [r for r in terminalreporter.stats.get("skipped", []) if name in r.keywords]
        if skipped:
            why = str(skipped[0].longrepr[2]).removeprefix("Skipped: ")
            terminalreporter.write_line(f"not run: {len(skipped)} {name} tests ({why})", yellow=True)


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_just_starting() -> Iterator[None]:
    """A port on which nothing listens is told at once; users wait for a TWS that may be starting."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("quant.ib.starting.WAIT_S", 0.0)
        yield


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """True where the long forms were asked for: the counts that documents quote."""
    return bool(request.config.getoption("--full"))
