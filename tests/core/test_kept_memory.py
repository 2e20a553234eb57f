"""What large arrays leave in the process: little, but not nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from quant.core import memory

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or memory._glibc() is None, reason="other C libraries keep memory as they like"
)

# In a process of its own, whose memory nobody else uses. Arrays of 1 MB, made and dropped in two threads.
CHILD = """
import sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from quant.core import memory

def fill(arrays):
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: len([np.ones(1 << 17) for _ in range(arrays)]), range(2)))

before = memory._resident()
with memory.kept_memory():
    fill(int(sys.argv[1]))
    inside = memory._resident() - before
print([inside >> 20, (memory._resident() - before) >> 20])
"""


@pytest.mark.parametrize(("arrays", "least", "most"), [(20, 15, 64), (100, -10, 64)])
def test_what_is_much_is_given_back_and_little_is_kept(arrays: int, least: int, most: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(arrays)], check=True, capture_output=True, text=True
    )
    inside, after = json.loads(done.stdout)
    assert inside > arrays - 5, "nothing was kept while it ran"
    assert least < after <= most
