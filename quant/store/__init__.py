"""Bars at rest: what other folders and users need of the store."""

from quant.store.folder import data_folder
from quant.store.query import bars
from quant.store.series import Series
from quant.store.store import Store
from quant.store.write import Written

__all__ = ["Series", "Store", "Written", "bars", "data_folder"]
