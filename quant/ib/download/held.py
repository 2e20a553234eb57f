"""What the store has of a series before it is pulled, and whether new bars may go to it."""

from __future__ import annotations

from typing import Final

from quant.errors import BarsError, DamagedData, QuantError
from quant.ib.download.cells import Cells
from quant.ib.download.plan import Held, Request, SeriesPlan, plan_series
from quant.store import Series, Store
from quant.store.coverage import Interval
from quant.store.folder import quote, series_folder, settings_name
from quant.store.manifest import NAME, Manifest
from quant.store.series import read_series

STAGING: Final = ".repull"  # in the data folder: series that are pulled anew before they take their place


def find_held(store: Store, asked: Request) -> Series | None:
    """Return the series that the bars go to, None if there is none yet. Raises DamagedData."""
    root = store.data / "bars" / asked.source
    folder = series_folder(root, asked.instrument, asked.bar, asked.what, asked.rth)
    try:
        return read_series(folder, asked.source)
    except FileNotFoundError:
        return None


def held_of(store: Store, series: Series | None) -> Held:
    """Return what the planner must know of a series."""
    if series is None:
        return Held()
    manifest = store.manifest(series)
    return Held(manifest.coverage, manifest.empty, series.rows, series.first, series.last)


class Look:
    """What the store says of a series. error: why nothing can be pulled into it. repull: it is being pulled anew."""

    def __init__(self, asked: Request, store: Store) -> None:
        self.asked = asked
        self.series: Series | None = None
        self.manifest: Manifest | None = None
        self.error: QuantError | None = None
        self.store, self.repull = store, False
        try:
            self.series = find_held(store, asked)
            if self.series is not None:
                self.manifest = store.manifest(self.series)
            _check_identity(store, asked, self.series)
        except (DamagedData, BarsError) as e:
            self.error = e
        self.held = held_of(store, self.series)
        staging = Store(store.data / STAGING)
        if self.series is not None and self.error is None and find_held(staging, asked) is not None:
            self.repull = True

    def goal(self) -> int | None:
        """Return from where on it was wanted so far, None if nothing is held."""
        if self.manifest is None or not self.held.coverage:
            return None
        goals: list[int] = [r["wanted"][0] for r in self.manifest.requests if "wanted" in r]
        return min([self.held.coverage[0][0], *goals])


def _check_identity(store: Store, asked: Request, held: Series | None) -> None:
    """Raise BarsError where the store has these bars of another contract, or in other units."""
    mend = "Remove the held series first (quant data remove), then pull it again"
    mine = asked.instrument
    if held is not None:
        theirs = held.instrument.to_dict() | {"adjusted": held.adjusted}
        given = mine.to_dict() | {"adjusted": asked.adjusted}
        other = [f"{k} = {theirs[k]} (IB now: {given[k]})" for k in theirs if theirs[k] != given[k]]
        if other:
            raise BarsError(asked.name, f"the store holds it with {', '.join(other)}", (), mend)
        return
    root = store.data / "bars" / asked.source
    settings = settings_name(asked.bar, asked.what, asked.rth)
    for path in root.glob(f"{quote(mine.sec_type)}/{quote(mine.symbol)}.*/{settings}/{NAME}"):
        try:
            there = read_series(path.parent, asked.source).instrument
        except FileNotFoundError:
            continue
        if (there.exchange, there.currency) == (mine.exchange, mine.currency):
            told = f"the store holds it as contract {there.con_id}; IB now says {mine.con_id}"
            raise BarsError(asked.name, told, (), mend)


def repull_plan(store: Store, asked: Request, rows: Cells, wanted: Interval, why: str) -> SeriesPlan:
    """Return the plan that pulls all of a series anew into the staging store, or what that still lacks."""
    staging = Store(store.data / STAGING)
    return plan_series(asked, rows, wanted, held_of(staging, find_held(staging, asked)), why, repull=True)
