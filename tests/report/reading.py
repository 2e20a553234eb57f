"""Reads a page as its scripts do, written anew from the description in quant/report/levels.py."""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from itertools import accumulate
from typing import Any

WRAP = 2**32


def data_of(page: str) -> dict[str, Any]:
    """Return the JSON of a page; one that a strict reader takes."""
    text = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert text is not None

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    found: dict[str, Any] = json.loads(text.group(1), parse_constant=refuse)
    return found


def blobs_of(page: str) -> list[str]:
    """Return the base64 texts by number."""
    found = re.findall(r'<script type="text/plain" id="blob(\d+)">([^<]*)</script>', page)
    assert [int(n) for n, _ in found] == list(range(len(found)))
    return [text for _, text in found]


def level(spec: dict[str, Any], blobs: list[str]) -> dict[str, list[float | None]]:
    """Return the columns of one level, missing values as None, and `bucket`."""
    out: dict[str, list[float | None]] = {"bucket": [], **{c["name"]: [] for c in spec["columns"]}}
    for chunk in spec["chunks"]:
        raw, n = zlib.decompress(base64.b64decode(blobs[chunk["blob"]])), chunk["rows"]
        wholes = [_wholes(raw[4 * n * k : 4 * n * (k + 1)], n) for k in range(len(spec["columns"]) + 1)]
        assert len(raw) == 4 * n * len(wholes)
        out["bucket"] += _summed(wholes[0])
        assert out["bucket"][-n] == chunk["first"]
        kept: dict[str, list[int]] = {}
        for c, ints in zip(spec["columns"], wholes[1:], strict=True):
            if c["base"] is None:
                kept[c["name"]] = _summed(ints)
            else:
                kept[c["name"]] = [_wrapped(a + b) for a, b in zip(ints, kept[c["base"]], strict=True)]
            out[c["name"]] += [_scaled(v, c["decimals"]) for v in kept[c["name"]]]
    return out


def _wholes(raw: bytes, n: int) -> list[int]:
    values = [raw[i] | raw[n + i] << 8 | raw[2 * n + i] << 16 | raw[3 * n + i] << 24 for i in range(n)]
    return [(v >> 1) ^ -(v & 1) for v in values]


def _wrapped(value: int) -> int:
    return (value + WRAP // 2) % WRAP - WRAP // 2


def _summed(ints: list[int]) -> list[int]:
    return list(accumulate(ints, lambda a, b: _wrapped(a + b)))


def _scaled(value: int, decimals: int) -> float | None:
    if value == -(2**31):
        return None
    return value * 10.0**-decimals if decimals < 0 else value / 10.0**decimals


def floats(blob: str, columns: int, rows: int) -> list[list[float]]:
    """Return the columns of a table of float64."""
    raw = zlib.decompress(base64.b64decode(blob))
    out = []
    for c in range(columns):
        planes = raw[8 * rows * c : 8 * rows * (c + 1)]
        bits = [bytes(planes[p * rows + i] for p in range(8)) for i in range(rows)]
        out.append([struct.unpack("<d", b)[0] for b in bits])
    return out
