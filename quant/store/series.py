"""A series of the store as a value: which bars it holds and where they lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quant.core.barsize import BarSize
from quant.core.instrument import Instrument
from quant.store.folder import SAMPLE
from quant.store.manifest import NAME, Manifest, load


@dataclass(frozen=True, slots=True)
class Series:
    """One series at rest. first, last: starts of its first and last bar, UTC ns.

    source: the folder it lies in ("sample" for the one that came with the project, which is read-only).
    """

    instrument: Instrument
    source: str
    bar: BarSize
    what: str
    rth: bool
    adjusted: str
    rows: int
    first: int
    last: int
    folder: Path

    @property
    def symbol(self) -> str:
        """The instrument's symbol."""
        return self.instrument.symbol

    @property
    def sec_type(self) -> str:
        """IB's security type, e.g. "STK"."""
        return self.instrument.sec_type

    @property
    def exchange(self) -> str:
        """The instrument's exchange."""
        return self.instrument.exchange

    @property
    def con_id(self) -> int | None:
        """IB's contract id, where known."""
        return self.instrument.con_id

    @property
    def sample(self) -> bool:
        """True for the bars that came with the project."""
        return self.source == SAMPLE

    @property
    def name(self) -> str:
        """What a person calls it, e.g. "SPY 1m TRADES rth"."""
        return f"{self.symbol} {self.bar} {self.what} {'rth' if self.rth else 'all hours'}"

    @property
    def span(self) -> str:
        """Dates of the first and last start, in exchange time, as text."""
        return f"{_date(self.first, self)} … {_date(self.last, self)}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; times as ISO text in UTC."""
        return {
            "symbol": self.symbol, "bar": self.bar.name, "what": self.what, "rth": self.rth,
            "source": self.source, "sec_type": self.sec_type, "exchange": self.exchange,
            "con_id": self.con_id, "currency": self.instrument.currency, "calendar": self.instrument.calendar,
            "timezone": self.instrument.timezone, "adjusted": self.adjusted, "rows": self.rows,
            "first": iso(self.first), "last": iso(self.last), "folder": str(self.folder),
        }  # fmt: skip


def read_series(folder: Path, source: str) -> Series:
    """Return the series in `folder`. Raises DamagedData, or FileNotFoundError where there is none."""
    return series_of(load(folder / NAME), folder, source)


def series_of(manifest: Manifest, folder: Path, source: str) -> Series:
    """Return what `manifest` says of the series in `folder`."""
    return Series(
        instrument=manifest.instrument, source=source, bar=manifest.bar, what=manifest.what,
        rth=manifest.rth, adjusted=manifest.adjusted, rows=manifest.rows,
        first=manifest.files[0].first, last=manifest.files[-1].last, folder=folder,
    )  # fmt: skip


def iso(ns: int) -> str:
    """Return a moment as ISO text in UTC, to the second or as fine as it is."""
    text = str(np.datetime_as_string(np.datetime64(ns, "ns"), unit="ns"))
    return text.rstrip("0").rstrip(".") + "Z" if "." in text else text + "Z"


def _date(ns: int, series: Series) -> str:
    from datetime import UTC, datetime
    from zoneinfo import ZoneInfo

    moment = datetime.fromtimestamp(ns // 10**9, UTC)
    if series.bar.intraday:
        moment = moment.astimezone(ZoneInfo(series.instrument.timezone))
    return moment.date().isoformat()
