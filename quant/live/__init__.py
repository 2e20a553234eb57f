"""backtrader's store, feed and broker over TWS: any backtrader program trades with them (Store.getbroker)."""

from quant.live.feed import LiveFeed
from quant.live.store import Store

__all__ = ["LiveFeed", "Store"]
