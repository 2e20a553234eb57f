"""What a sweep's threads leave in the process: little, but not nothing."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from quant.research import memory

MB = 1 << 20

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or memory._glibc() is None, reason="other C libraries keep memory as they like"
)


def fill(arrays: int) -> None:
    """Make and drop arrays of 1 MB in two threads."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: len([np.ones(MB // 8) for _ in range(arrays)]), range(2)))


@pytest.mark.parametrize(("arrays", "least", "most"), [(20, 15, memory.LEFT // MB), (100, -100, 40)])
def test_what_is_much_is_given_back_and_little_is_kept(arrays: int, least: int, most: int) -> None:
    before = memory._resident()
    with memory.kept_memory():
        fill(arrays)
        assert memory._resident() - before > (arrays - 5) * MB, "nothing was kept while it ran"
    assert least * MB < memory._resident() - before < most * MB
