"""Other engines in a venv of their own, each a process that sweeps the grids it is given (see peers/)."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

SCRIPTS = Path(__file__).parent / "peers"
# What they import is named too, so that who measures later measures the same.
PINS = (
    "vectorbt==1.2.0", "vectorbt-rust==1.2.0", "backtesting==0.6.6", "backtrader==1.9.78.123", "numba==0.68.1",
    "numpy==2.4.6", "pandas==3.1.1",
)  # fmt: skip
STAMP = "installed.txt"  # written last: an installation that was cut short has none
INSTALL_S = 1200  # some 250 MB of downloads


class NotMeasured(Exception):  # noqa: N818  # no fault of the project: an answer
    """Why a peer could not be measured."""


def installed() -> Path:
    """Return the Python of the peers' venv, made in the user's cache folder where it is not there yet."""
    name = hashlib.sha256("\n".join((sys.version, *PINS)).encode()).hexdigest()[:12]
    folder = user_cache_path("quant") / f"bench-peers-{name}"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (folder / STAMP).exists():
        sys.stderr.write(f"installing {', '.join(PINS)} into {folder}\n")
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "--only-binary", ":all:", *PINS])
        (folder / STAMP).write_text("\n".join(PINS), encoding="utf-8")
    return python


def _run(command: list[str]) -> None:
    try:
        subprocess.run(
            command, check=True, timeout=INSTALL_S, capture_output=True, text=True, env=_environment()
        )
    except subprocess.CalledProcessError as e:
        raise NotMeasured(f"the peers could not be installed ({_last_line(e.stderr or e.stdout)})") from None
    except (OSError, subprocess.TimeoutExpired) as e:
        raise NotMeasured(f"the peers could not be installed ({e})") from None


def _environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or ["no message"])[-1][:200]


class Peer:
    """One engine at work. Use it as a context manager, which ends its process."""

    def __init__(self, python: Path, script: str, bars: Path, *arguments: str) -> None:
        self._told = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  # __exit__ closes it
        command = [str(python), str(SCRIPTS / script), str(bars), *arguments]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._told, text=True,
            cwd=bars.parent, env=_environment(),
        )  # fmt: skip

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._told.close()

    def sweep(self, grid: dict[str, tuple[int, ...]]) -> dict[str, Any]:
        """Return what the peer answers to this grid: cpu_s, trades of each combination, and more of its own."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(grid) + "\n")
            self._process.stdin.flush()
        except OSError:
            pass  # it ended; what it said stands in its stderr
        answer = self._process.stdout.readline()
        if not answer:
            self._process.wait()
            self._told.seek(0)
            raise NotMeasured(_last_line(self._told.read()))
        found: dict[str, Any] = json.loads(answer)
        return found
