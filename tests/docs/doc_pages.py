"""A page of the documentation as blocks, and how a page is played: commands run, output compared.

The forms that a page may use:

    ```python        runs, all blocks of a page in one namespace
    ```text          after a python block: what that block printed
    ```console       lines "$ command", each followed by what it printed; "$ quant tws &" serves to the page's end
    ```toml, ```csv  saved where a comment before them says so; toml must parse in any case

    <!-- file: my.csv -->   the next block is saved under this name and not run
    <!-- exit: 4 -->        the commands of the next block end with this code
    <!-- raises: Error -->  the next python block ends with this error; its message counts as printed
    <!-- shown -->          the next block is neither run nor compared

A line that is shown must be a whole line of the output, in the order shown. White space counts as one space;
"…" or "..." stands for anything, and alone on a line for any lines. The name of a run's or a sweep's folder matches
any other, and the same name in a later command means the same one. Seconds, as 1.2 s, match any others, and so does
how much a sweep ran again within its time. /home/you/myproject is the folder of the page. Port 7497 stands for that
of the page's own simulated TWS, or for one on which nothing listens: no page speaks to a TWS that happens to run here.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import runpy
import shlex
import socket
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from click.testing import CliRunner

from quant.app.cli import cli

HOME = "/home/you/myproject"
PORT = "7497"  # TWS's usual one, as pages show it
RUN = re.compile(r"\b(?:\d{8}-\d{6}-[a-z0-9_]+-[0-9a-f]{8}(?:-\d+)?|[a-z][a-z0-9_]*-[0-9a-f]{12})\b")
# What machines differ in: seconds, and what is run again as long as there is time.
VARIES = (
    RUN,
    re.compile(r"\b\d+\.\d s\b"),
    re.compile(r"\b\d+ combinations? run again by backtrader \(fast engine\), equal in [\d,]+ orders\b"),
)
FENCE = re.compile(r"^(?P<indent> *)```(?P<kind>.*)$")
COMMENT = re.compile(r"^ *<!-- (?P<name>file|exit|raises|shown)(: (?P<value>.+?))? -->$")
KINDS = ("python", "text", "console", "toml", "csv")

# What sets up a machine is not run here: tests/test_setup_scripts.py looks after these.
NOT_RUN = ("git clone ", "python scripts/test.py", "python scripts/bench.py", "pip install ")
# The demo script runs this after the set-up.
STANDS_FOR = {"python scripts/demo.py": "quant demo"}


def nobody() -> int:
    """A port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


class DocError(AssertionError):
    """A page that says something that is not so."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its kind, text, first line in the page, and the comments before it by name."""

    kind: str
    text: str
    line: int
    marks: dict[str, str]


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page of Markdown. Raises DocError for one that nobody would check."""
    found: list[Block] = []
    marks: dict[str, str] = {}
    lines = iter(enumerate(page.splitlines(), 1))
    for number, line in lines:
        comment, fence = COMMENT.match(line), FENCE.match(line)
        if comment:
            marks[comment["name"]] = comment["value"] if comment["value"] is not None else ""
        elif fence:
            kind, indent, body = fence["kind"].strip(), len(fence["indent"]), []
            for _, inner in lines:
                if inner.strip() == "```":
                    break
                body.append(inner[indent:])
            else:
                raise DocError(f"line {number}: the block has no end")
            block = Block(kind, "\n".join(body) + "\n", number, marks)
            _expect_checked(block, found)
            found.append(block)
            marks = {}
        elif marks and line.strip():
            raise DocError(f"line {number}: no block follows the comment {marks}")
    return found


def _expect_checked(block: Block, before: list[Block]) -> None:
    if block.kind not in KINDS:
        raise DocError(
            f"line {block.line}: a block of {block.kind or 'no kind'}; there are {', '.join(KINDS)}"
        )
    if "shown" in block.marks or "file" in block.marks:
        return
    if block.kind == "text" and not (before and before[-1].kind == "python"):
        raise DocError(f"line {block.line}: no python block prints this text")
    if block.kind == "csv":
        raise DocError(f"line {block.line}: a csv block needs its file's name in a comment")


@dataclass
class Player:
    """Plays the blocks of one page in the current folder. outside: folder that is shown as /home/you/myproject."""

    page: str
    outside: Path
    printed: str = ""
    runs: dict[str, str] = field(default_factory=dict)  # a run's name in the page -> its name here
    module: ModuleType = field(default_factory=lambda: ModuleType("page"))
    server: subprocess.Popen[str] | None = None
    port: int = field(default_factory=nobody)  # of the page's TWS

    def play(self) -> None:
        """Play all blocks. Raises DocError for the first that is not so."""
        sys.modules["page"] = self.module  # classes ask for the module that defines them
        usual = [importlib.import_module(name) for name in ("quant.app.address", "quant.ib.download.pull")]
        before = [place.PORTS for place in usual]
        try:
            self._look_at(self.port)
            for block in blocks(self.page):
                try:
                    self._block(block)
                except DocError as e:
                    raise DocError(f"line {block.line}: {e}") from None
        finally:
            del sys.modules["page"]
            for place, ports in zip(usual, before, strict=True):
                place.PORTS = ports
            if self.server is not None:
                self.server.terminate()
                self.server.communicate()

    def _look_at(self, port: int) -> None:
        """Let commands and scripts look for TWS on this port only."""
        self.port = port
        for name in ("quant.app.address", "quant.ib.download.pull"):
            importlib.import_module(name).PORTS = (port,)

    def _block(self, block: Block) -> None:
        if block.kind == "toml":
            tomllib.loads(block.text)
        if "file" in block.marks:
            path = Path(block.marks["file"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif "shown" in block.marks:
            return
        elif block.kind == "python":
            self.printed = self._python(block)
        elif block.kind == "text":
            self._compare(block.text.splitlines(), self.printed)
        elif block.kind == "console":
            self._console(block)

    # ------------------------------------------------------------ running
    def _python(self, block: Block) -> str:
        # Blank lines before it, so that a traceback names the page's line.
        text = block.text.replace(PORT, str(self.port))
        code = compile("\n" * block.line + text, "page", "exec")
        out, raised = io.StringIO(), block.marks.get("raises")
        with contextlib.redirect_stdout(out):
            try:
                exec(code, self.module.__dict__)  # noqa: S102  # running the page is the point
            except Exception as e:
                if raised is None or type(e).__name__ != raised:
                    raise
                return f"{out.getvalue()}{type(e).__name__}: {e}\n"
        if raised is not None:
            raise DocError(f"{raised} was not raised")
        return out.getvalue()

    def _console(self, block: Block) -> None:
        parts: list[tuple[str, list[str]]] = []
        for line in block.text.splitlines():
            if line.startswith("$ "):
                parts.append((line[2:].split("  #")[0].rstrip(), []))
            elif parts:
                parts[-1][1].append(line)
            elif line.strip():
                raise DocError("a console block begins with a line '$ command'")
        for command, shown in parts:
            self._compare(shown, self._command(command, int(block.marks.get("exit", 0))))

    def _command(self, command: str, wanted: int) -> str:
        command = STANDS_FOR.get(command, command)
        if command.startswith(NOT_RUN):
            return ""
        for said, real in self.runs.items():
            command = command.replace(said, real)
        words = shlex.split(command.replace(PORT, str(self.port)))
        if words[:2] == ["quant", "tws"] and words[-1] == "&":
            return self._serve(words[1:-1])
        if words[0] == "cd":
            os.chdir(words[1])
            return ""
        if words[0] == "quant":
            result = CliRunner().invoke(cli, words[1:])
            code, output = result.exit_code, result.output
        elif words[0] == "python":
            code, output = 0, _script(words[1:])
        elif words[0] == "cat":
            code, output = 0, Path(words[1]).read_text(encoding="utf-8")
        else:
            raise DocError(f"nobody here can run {command!r}")
        if code != wanted:
            raise DocError(f"{command} ended with {code}, not {wanted}:\n{output}")
        return output

    def _serve(self, words: list[str]) -> str:
        """Start a simulated TWS for the rest of the page; return the line with which it says that it listens."""
        kept = {n: v for n, v in os.environ.items() if not n.upper().startswith("QUANT_")}
        root = Path(__file__).parents[2]
        self.server = subprocess.Popen(
            [sys.executable, "-m", "quant", *words, "--port", "0"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**kept, "PYTHONPATH": str(root)},
        )
        assert self.server.stderr is not None
        told = self.server.stderr.readline()
        found = re.search(r"127\.0\.0\.1:(\d+)", told)
        if found is None:
            raise DocError(told + self.server.stderr.read())
        self._look_at(int(found[1]))
        return told

    # ------------------------------------------------------------ comparing
    def _compare(self, shown: list[str], printed: str) -> None:
        printed = printed.replace(f"127.0.0.1:{self.port}", f"127.0.0.1:{PORT}")
        real = [_plain(line.replace(str(self.outside), HOME)) for line in printed.splitlines()]
        at = 0
        for line in map(_plain, shown):
            if line in ("", "…", "..."):
                continue
            pattern = _pattern(line)
            while at < len(real) and not pattern.fullmatch(real[at]):
                at += 1
            if at == len(real):
                raise DocError(f"this line is not in the output, or not in this order: {line!r}\n{printed}")
            self.runs.update(zip(_runs(line), _runs(real[at]), strict=True))
            at += 1


def _script(words: list[str]) -> str:
    before, out = sys.argv, io.StringIO()
    sys.argv = words
    try:
        with contextlib.redirect_stdout(out):
            runpy.run_path(words[0], run_name="__main__")
    finally:
        sys.argv = before
    return out.getvalue()


def _plain(line: str) -> str:
    # The rule under a table's head is as wide as its cells, which may hold paths.
    return re.sub("─{3,}", "───", " ".join(line.replace("\\", "/").split()))


def _runs(line: str) -> list[str]:
    return [m[0] for m in RUN.finditer(line)]


def _pattern(line: str) -> re.Pattern[str]:
    for mark, varies in enumerate(VARIES):
        line = varies.sub(chr(mark), line)
    text = ".*".join(re.escape(part) for part in re.split(r"…|\.\.\.", line))
    for mark, varies in enumerate(VARIES):
        text = text.replace(re.escape(chr(mark)), varies.pattern)
    return re.compile(text)
