"""q.backtest is the function, whatever of the folder quant.backtest was imported before."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "before",
    [
        "",
        "q.feed",
        "q.runs",
        "q.Strategy",
        "from quant.backtest.feed import numbers",
        "import quant.backtest.folder",
    ],
)
def test_the_function_stays_callable(before: str) -> None:
    script = f"import quant as q\n{before}\nassert type(q.backtest).__name__ == 'function', q.backtest\n"
    subprocess.run([sys.executable, "-c", script], check=True)
