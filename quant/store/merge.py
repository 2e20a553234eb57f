"""New bars come to held ones: which are added, which were known, which are replaced. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from quant.core.bars import COLUMNS
from quant.store.parquet import Array

Columns = dict[str, Array]


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """columns: all bars in order. new: starts of those added. replaced: the held rows that gave way."""

    columns: Columns
    new: Array
    unchanged: int
    replaced: Columns

    @property
    def added(self) -> int:
        """How many bars were added."""
        return len(self.new)

    @property
    def changed(self) -> bool:
        """True where the held bars are not what they were."""
        return self.added > 0 or len(self.replaced["start"]) > 0


def merge(held: Mapping[str, Array], new: Mapping[str, Array]) -> Merged:
    """Return `held` with `new` merged by start; both strictly increasing. A new row wins."""
    at = np.searchsorted(held["start"], new["start"])
    known = at < len(held["start"])
    known[known] = held["start"][at[known]] == new["start"][known]
    rows = at[known]
    differs = np.zeros(len(rows), dtype=bool)
    for name in COLUMNS:
        differs |= held[name][rows] != new[name][known]
    columns, replaced = {}, {}
    for name in ("start", *COLUMNS):
        column = held[name].copy()
        replaced[name] = column[rows[differs]]
        column[rows[differs]] = new[name][known][differs]
        columns[name] = np.insert(column, at[~known], new[name][~known])
    return Merged(columns, new["start"][~known], int((~differs).sum()), replaced)
