"""What README and docs say is so: every block runs, and what they show is what comes out (doc_pages.py says how)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from doc_pages import DocError, Player, blocks

from quant.app.cli import cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project as `quant init` lays it out."""
    folder = tmp_path_factory.mktemp("docs") / "template"
    result = CliRunner().invoke(cli, ["init", str(folder)])
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def project(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project of its own as the current folder, and no `strategies` of another one imported."""
    folder = tmp_path / "myproject"
    shutil.copytree(template, folder)
    before = {m: sys.modules.pop(m) for m in list(sys.modules) if m.partition(".")[0] == "strategies"}
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    monkeypatch.setenv(
        "XDG_STATE_HOME", str(tmp_path / "state")
    )  # two pages may trade one instrument at a time
    monkeypatch.chdir(folder)
    yield folder
    for stale in [m for m in sys.modules if m.partition(".")[0] == "strategies"]:
        del sys.modules[stale]
    sys.modules.update(before)


@pytest.mark.parametrize("page", PAGES, ids=[p.name for p in PAGES])
def test_page_is_so(page: Path, project: Path) -> None:
    said = played(page.read_text(encoding="utf-8"), project)
    if said != "ok":
        pytest.fail(f"{page.relative_to(ROOT)}, {said}", pytrace=False)


@pytest.mark.parametrize("page", PAGES, ids=[p.name for p in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name) if name else page
        assert there.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(there.read_text(encoding="utf-8")), f"{page.name}: {target}"


def anchors(page: str) -> set[str]:
    """The anchors that both mkdocs and GitHub make of headings."""
    heads = re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", h.lower()).strip()) for h in heads}


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r"(\S+\.md)", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(p.name for p in PAGES if p.parent.name == "docs")


def test_site_builds_and_fetches_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="mkdocs-material is in the extra docs")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        str(tmp_path / "site"),
    ]
    # Material 9.7 announces its successor on stderr unless told not to.
    told = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    fetched = re.compile(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=[\"']?((?:https?:)?//[^\"'\s>]+)")
    for page in (tmp_path / "site").glob("*.html"):
        assert fetched.findall(page.read_text(encoding="utf-8")) == [], page.name


# ---------------------------------------------------------------- the player itself
def played(page: str, project: Path) -> str:
    try:
        Player(page, project).play()
    except DocError as e:
        return str(e)
    return "ok"


@pytest.mark.parametrize(
    ("page", "what"),
    [
        ("```python\nprint(1 + 1)\n```\n```text\n2\n```", "ok"),
        ("```python\nprint('a   b')\n```\n```text\na b\n```", "ok"),
        ("```python\nprint('a 1.25 s b')\n```\n```text\na … b\n```", "ok"),
        ("```python\nprint('11 rows · 0.3 s')\n```\n```text\n11 rows · 1.2 s\n```", "ok"),
        ("```python\nprint('11 rows · 0.3 s')\n```\n```text\n12 rows · 0.3 s\n```", "not in the output"),
        ("```python\nprint('a-0123456789ab')\n```\n```text\na-ba9876543210\n```", "ok"),
        ("```python\nfor i in range(9): print(i)\n```\n```text\n0\n...\n8\n```", "ok"),
        ("```python\nprint(1 + 1)\n```\n```text\n3\n```", "not in the output"),
        ("```python\nprint(12)\n```\n```text\n1\n```", "not in the output"),
        ("```python\nprint(1); print(2)\n```\n```text\n2\n1\n```", "not in this order"),
        ("<!-- raises: KeyError -->\n```python\n{}['a']\n```\n```text\nKeyError: 'a'\n```", "ok"),
        ("<!-- raises: KeyError -->\n```python\n1\n```", "KeyError was not raised"),
        ("```console\n$ quant backtest macd SPY --no-save\n  trades 19 won …\n```", "ok"),
        ("```console\n$ quant backtest macd SPY --no-save\n  trades 20 won …\n```", "not in the output"),
        ("```console\n$ quant backtest macd SPI\n```", "ended with 4, not 0"),
        ("<!-- exit: 4 -->\n```console\n$ quant backtest macd SPI\nerror: no bars of SPI …\n```", "ok"),
        ("```console\n$ rm -r data\n```", "nobody here can run"),
        ("```bash\nls\n```", "a block of bash"),
        ("```\nls\n```", "a block of no kind"),
        ("```text\n1\n```", "no python block prints this"),
        ("<!-- exit: 4 -->\nwords", "no block follows"),
        ("```python\n1", "no end"),
    ],
)  # fmt: skip
def test_player_tells_right_from_wrong(page: str, what: str, project: Path) -> None:
    assert what in played(page, project)


def test_file_is_written_and_a_run_keeps_its_name(project: Path) -> None:
    page = """
<!-- file: strategies/calm.py -->
```python
import numpy as np
import quant as q
class Calm(q.Strategy):
    \"\"\"Hold.\"\"\"
    signals = staticmethod(lambda bars, p: np.ones(len(bars)))
```
```console
$ quant backtest calm SPY
  saved /home/you/myproject/data/runs/20260102-030405-calm-0123abcd
$ quant runs show 20260102-030405-calm-0123abcd
Calm
```
"""
    assert played(page, project) == "ok"


def test_a_changed_number_in_a_page_turns_it_red(project: Path) -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    shown = next(b for b in blocks(page) if b.kind == "text" and "Sharpe" in b.text)
    number = re.search(r"Sharpe\s+(-?\d+\.\d\d)", shown.text)
    assert number is not None
    wrong = shown.text.replace(number[1], "9.99", 1)
    assert "9.99" in played(page.replace(shown.text, wrong), project)
