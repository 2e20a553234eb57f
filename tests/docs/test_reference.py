"""docs/reference.md is what the code's docstrings say now, and how signatures and docstrings become text."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

import quant as q

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "scripts" / "reference.py"))


def test_the_page_is_what_the_code_says_now(script: dict[str, Any]) -> None:
    there = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    if there != script["page"]():
        pytest.fail("docs/reference.md is behind the code: run python scripts/reference.py", pytrace=False)


def test_every_public_name_has_an_entry(script: dict[str, Any]) -> None:
    page = script["page"]()
    face = page.partition("## `q.indicators`")[0]
    for name in q.__all__:
        assert f"\n### {name}\n" in face or f"## `q.{name}`" in page, name
    for name in (*q.indicators.__all__, *q.metrics.__all__, *q.stats.__all__):
        assert f"\n### {name}\n" in page, name


class Made:
    """One sentence.

    More of it.
    """

    def __init__(self, size: float, *, name: str = "x", rest: object = object) -> None:
        pass

    @property
    def half(self) -> float:
        """Half of it."""
        return 0.5

    @staticmethod
    def of(*values: int, deep: bool = False, **more: str) -> Made:
        """Return one."""
        raise NotImplementedError

    def _hidden(self) -> None:
        """Not shown."""

    def silent(self) -> None:
        pass


def test_signatures_and_docstrings_become_stubs(script: dict[str, Any]) -> None:
    assert (
        script["_entry"]("Made", Made)
        == '''### Made

<!-- shown -->
```python
class Made(size: float, *, name: str = 'x', rest: object = ...):
    """One sentence.

    More of it.
    """

    half: float
        """Half of it."""

    @staticmethod
    def of(*values: int, deep: bool = False, **more: str) -> Made:
        """Return one."""
```
'''
    )
