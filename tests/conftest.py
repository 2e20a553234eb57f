"""Settings of hypothesis, which have no place in pyproject.toml, and the option --full."""

from __future__ import annotations

import pytest
from hypothesis import settings

# derandomize: the same examples in each run, so a red test stays red; no deadline: machines differ in speed.
settings.register_profile("quant", derandomize=True, deadline=None)
settings.load_profile("quant")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the long forms of fuzz and damage tests")


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """True where the long forms were asked for: the counts that documents quote."""
    return bool(request.config.getoption("--full"))
