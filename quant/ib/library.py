"""Which ibapi is installed. Several packages install the same name; the one of 2020 on PyPI cannot be used."""

from __future__ import annotations

from typing import Final

import ibapi
from ibapi import server_versions

from quant.errors import WrongLibrary

NEEDED: Final = 213  # of MAX_CLIENT_VER: from here on every request has a protobuf form


def check_library(newest: int = server_versions.MAX_CLIENT_VER) -> str:
    """Return the version of the installed ibapi, whose newest protocol version is `newest`.

    Raises WrongLibrary if it is too old.
    """
    version: str = ibapi.get_version_string()
    if newest < NEEDED:
        raise WrongLibrary(
            "ibapi", version, "Run: pip uninstall -y ibapi; pip install 'ibapi-stable>=10.50.2,<11'"
        )
    return version
