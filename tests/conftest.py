"""Settings of hypothesis, which have no place in pyproject.toml."""

from __future__ import annotations

from hypothesis import settings

# derandomize: the same examples in each run, so a red test stays red; no deadline: machines differ in speed.
settings.register_profile("quant", derandomize=True, deadline=None)
settings.load_profile("quant")
