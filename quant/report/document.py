"""One self-contained HTML file: template, scripts and data put together so that nothing in the data can act.

Text goes through Jinja's escaping. Data goes into elements that no browser runs, and a policy in the page's head
allows only the scripts and styles whose sha256 it names, and no connection at all.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import jinja2
import numpy as np
from markupsafe import Markup

_HERE: Final = Path(__file__).parent
STYLES: Final = ("vendor/uPlot.min.css", "templates/page.css")
SCRIPTS: Final = ("vendor/uPlot.iife.min.js", "templates/data.js", "templates/charts.js", "templates/page.js")


def document(template: str, values: Mapping[str, Any], data: Mapping[str, Any], blobs: Sequence[str]) -> str:
    """Return the page. values: of the template. data: for the scripts, JSON. blobs: base64 text, by number."""
    styles, scripts = (tuple(_inlined(f) for f in files) for files in (STYLES, SCRIPTS))
    head, mark, foot = (
        _environment()
        .get_template(template)
        .render(values, styles=styles, scripts=scripts, policy=policy(styles, scripts), data=_BLOBS)
        .partition(_BLOBS)
    )
    assert mark  # noqa: S101  # the template says where the data goes
    # Joined, not rendered: tens of megabytes.
    parts = [f'<script type="application/json" id="data">{as_json(data)}</script>\n']
    parts += [f'<script type="text/plain" id="blob{n}">{blob}</script>\n' for n, blob in enumerate(blobs)]
    return "".join([head, *parts, foot])


_BLOBS: Final = "<!-- data -->"


def policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """Return the content security policy that allows exactly these."""
    named = (" ".join(f"'sha256-{_sha(text)}'" for text in texts) for texts in (scripts, styles))
    return "default-src 'none'; script-src {}; style-src {}; img-src data:; base-uri 'none'; form-action 'none'".format(
        *named
    )


def as_json(value: Any) -> str:
    """Return JSON that is inert inside a script element: no NaN, no infinity, no "<"."""
    text = json.dumps(plain(value), allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def plain(value: Any) -> Any:
    """Return `value` as JSON can hold it: NaN and infinities as null, numbers of numpy as Python's."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)


def framed(page: str, height: int) -> str:
    """Return an element that shows the page inside another one."""
    return f'<iframe srcdoc="{html.escape(page)}" width="100%" height="{height}" style="border:0"></iframe>'


@cache
def _inlined(name: str) -> Markup:
    text = (_HERE / name).read_text(encoding="utf-8").strip()
    if "</script" in text.lower() or "</style" in text.lower():
        raise ValueError(f"{name} would end its own element")
    return Markup(text)  # noqa: S704  # our own files


def _sha(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
