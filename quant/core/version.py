"""Our version and those of the libraries that decide a result."""

from __future__ import annotations

import platform
from functools import cache
from importlib import metadata

LIBRARIES = (
    "backtrader",
    "TA-Lib",
    "numpy",
    "pandas",
    "pyarrow",
    "numba",
    "exchange_calendars",
    "ibapi-stable",
)


def version() -> str:
    """Return the installed version of this package."""
    try:
        return metadata.version("quant-ib")
    except metadata.PackageNotFoundError:
        return "0 (not installed)"


def versions() -> dict[str, str]:
    """Return the versions of Python, this package and the libraries that decide a result."""
    found = {"python": platform.python_version(), "quant-ib": version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


@cache
def versions_here() -> dict[str, str]:
    """Return `versions` as they were when this process first asked: reading them takes longer than a small run."""
    return versions()
