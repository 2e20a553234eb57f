"""Write docs/reference.md: the public interface, as its signatures and docstrings say it.

    python scripts/reference.py

tests/docs/test_reference.py tells when the page is behind the code.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference.md"
WIDTH = 100  # a longer signature has a line for each parameter
SKIPPED = ("indicators", "live", "metrics", "stats")  # modules of the face, which have sections of their own
SECTIONS = {
    "quant": "`import quant as q`",
    "quant.indicators": "`q.indicators`",
    "quant.metrics": "`q.metrics`",
    "quant.research.proof.stats": "`q.stats`",
    "quant.live": "`q.live`",
}
HEAD = """# Reference

Written by `python scripts/reference.py` from the code's own docstrings. Arrays are NumPy's; (n,) is their shape. Errors
are those of `quant.errors`, and say what mends them.
"""


def page() -> str:
    """Return the page."""
    parts = [HEAD]
    for module, title in SECTIONS.items():
        parts.append(f"## {title}\n")
        found = importlib.import_module(module)
        parts += [_entry(name, getattr(found, name)) for name in sorted(found.__all__) if name not in SKIPPED]
    return "\n".join(parts)


def _entry(name: str, value: Any) -> str:
    if inspect.isclass(value):
        lines = [*_signature(f"class {name}", value, 0), *_doc(value, 1)]
        for head, member in _members(value):
            lines += ["", *head, *_doc(member, 2)]
    elif callable(value):
        lines = [*_signature(f"def {name}", value, 0), *_doc(value, 1)]
    else:
        lines = [f"{name} = {value!r}" if len(repr(value)) < WIDTH else f"{name}: {type(value).__name__}"]
    body = "\n".join(lines)
    return f"### {name}\n\n<!-- shown -->\n```python\n{body}\n```\n"


def _members(cls: type) -> Iterator[tuple[list[str], Any]]:
    """Yield the heads of public methods and properties that the class itself documents, in their order."""
    for name, raw in vars(cls).items():
        if name.startswith("_"):
            continue
        if isinstance(raw, property) and raw.fget is not None and raw.__doc__:
            answer = _text(inspect.signature(raw.fget).return_annotation)
            yield [f"    {name}: {answer}" if answer else f"    {name}"], raw
        plain = raw.__func__ if isinstance(raw, staticmethod | classmethod) else raw
        if inspect.isfunction(plain) and plain.__doc__:
            mark = [f"    @{type(raw).__name__}"] if plain is not raw else []
            yield [*mark, *_signature(f"def {name}", plain, 1)], plain


def _signature(head: str, value: Any, depth: int) -> list[str]:
    """Return the head of a function or class as lines; a class that takes anything, or nothing, is its name alone."""
    indent = "    " * depth
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return [f"{indent}{head}:"]
    parts, answer = _parameters(signature), _text(signature.return_annotation)
    if inspect.isclass(value):
        if not parts or parts[0].startswith("*"):
            return [f"{indent}{head}:"]
        answer = ""
    tail = f") -> {answer}:" if answer else "):"
    line = f"{indent}{head}({', '.join(parts)}{tail}"
    if len(line) <= WIDTH:
        return [line]
    return [f"{indent}{head}(", *(f"{indent}    {part}," for part in parts), f"{indent}{tail}"]


def _parameters(signature: inspect.Signature) -> list[str]:
    parts, last = [], None
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and last not in (
            parameter.KEYWORD_ONLY,
            parameter.VAR_POSITIONAL,
        ):
            parts.append("*")
        last = parameter.kind
        text = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(
            parameter.kind, ""
        ) + parameter.name
        annotation = _text(parameter.annotation)
        if annotation:
            text += f": {annotation}"
        if parameter.default is not parameter.empty:
            shown = repr(parameter.default)
            shown = "..." if shown.startswith("<") else shown
            text += f" = {shown}" if annotation else f"={shown}"
        parts.append(text)
    return parts


def _text(annotation: Any) -> str:
    if annotation is inspect.Signature.empty:
        return ""
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def _doc(value: Any, depth: int) -> list[str]:
    indent = "    " * depth
    text = inspect.cleandoc(value.__doc__ or "")
    if not text:
        return []
    lines = [f"{indent}{line}".rstrip() for line in f'"""{text}'.splitlines()]
    return [*lines, f'{indent}"""'] if len(lines) > 1 else [f'{lines[0]}"""']


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    PAGE.write_text(page(), encoding="utf-8")
    print(f"written {PAGE.relative_to(ROOT)}")
