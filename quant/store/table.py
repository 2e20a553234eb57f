"""A CSV or Parquet file of bars as columns, before anything of them is understood."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from quant.errors import ImportRefused

SEPARATORS: Final = ",;\t|"
_NUMBER: Final = re.compile(r'\s*"?[+-]?[\d.,:/ -]*\d[\d.,:/ -]*"?\s*')


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """names: as the file writes them. columns: pyarrow arrays, of strings for CSV.

    separator: None for Parquet. lines: line of each row, for CSV.
    """

    path: Path
    names: list[str]
    columns: list[Any]
    separator: str | None = None
    lines: Sequence[int] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.columns[0]) if self.columns else 0

    def refused(self, reason: str, rows: Iterable[int] = (), mend: str = "") -> ImportRefused:
        """Return the error that names the lines of `rows`, counted from 0."""
        lines = [self.lines[int(r)] for r in rows] if self.lines else [int(r) + 1 for r in rows]
        return ImportRefused(str(self.path), reason, lines, mend)


def read_table(path: Path, data: bytes, header: Sequence[str] | None) -> Table:
    """Return the table in `data`, the content of `path`. header: names for a file that has none."""
    if not data:
        raise ImportRefused(str(path), "the file is empty")
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as e:
            raise ImportRefused(str(path), f"it cannot be unpacked ({e})", (), "Get the file again") from None
    name = path.name.lower().removesuffix(".gz")
    if data[:4] == b"PAR1" or name.endswith((".parquet", ".pq")):
        return _parquet(path, data)
    return _csv(path, _text(path, data), header)


def _parquet(path: Path, data: bytes) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data), page_checksum_verification=True)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as e:
        reason = f"it is no Parquet file that can be read ({str(e).splitlines()[0]})"
        raise ImportRefused(str(path), reason, (), "Get or write the file again") from None
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count:
            rows = np.flatnonzero(np.asarray(column.is_null())) + 1
            reason = f"{name} is missing in some rows"
            raise ImportRefused(str(path), reason, rows.tolist(), "Drop these rows")
    return Table(path, table.column_names, [c.combine_chunks() for c in table.columns])


def _text(path: Path, data: bytes) -> str:
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        mend = "Save it as CSV text in UTF-8, or as Parquet"
        raise ImportRefused(str(path), "it is neither a CSV text nor a Parquet file", (), mend)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _csv(path: Path, text: str, header: Sequence[str] | None) -> Table:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    # With the line of each row kept, blank lines shift no number.
    rows = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not rows:
        raise ImportRefused(str(path), "the file is empty")
    first = rows[0][1]
    separator = max(SEPARATORS, key=first.count)
    if separator not in first:
        reason = "its first line has no columns, separated by one of , ; tab |"
        raise ImportRefused(str(path), reason, [rows[0][0]], "Give a CSV with a header")
    names = next(csv.reader([first], delimiter=separator))
    if not _headless(names):
        rows = rows[1:]
    elif header is None:
        mend = "Name them in order: --columns date,time,open,high,low,close,volume (- for one to leave out)"
        raise ImportRefused(str(path), "it has no header line", [1], mend)
    if header is not None:
        if len(header) != len(names):
            raise ImportRefused(str(path), f"it has {len(names)} columns, {len(header)} are named")
        names = list(header)
    lines = [n for n, _ in rows]
    if not rows:
        raise ImportRefused(str(path), "it has a header but no rows")
    _check_widths(path, rows, separator, len(names))
    body = "\n".join(line for _, line in rows).encode()
    keys = [str(i) for i in range(len(names))]
    try:
        table = arrow_csv.read_csv(
            io.BytesIO(body),
            read_options=arrow_csv.ReadOptions(column_names=keys),
            parse_options=arrow_csv.ParseOptions(delimiter=separator),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(keys, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as e:
        raise ImportRefused(str(path), f"it cannot be read as CSV ({e})") from None
    columns = [c.combine_chunks() for c in table.columns]
    return Table(path, [n.strip() for n in names], columns, separator, lines)


def _headless(names: Sequence[str]) -> bool:
    """True where the first line holds numbers or times in most places: it is a row of data."""
    return sum(bool(_NUMBER.fullmatch(name)) for name in names) > len(names) / 2


def _check_widths(path: Path, rows: list[tuple[int, str]], separator: str, width: int) -> None:
    """Refuse rows with more or fewer fields than the header."""
    odd = [n for n, line in rows if line.count(separator) != width - 1 and _width(line, separator) != width]
    if odd:
        reason = f"rows do not have {width} columns as the header has"
        raise ImportRefused(str(path), reason, odd, "Correct or drop these rows")


def _width(line: str, separator: str) -> int:
    return len(next(csv.reader([line], delimiter=separator)))
