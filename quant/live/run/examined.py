"""Whether the bars that a promotion examined are still those of the data folder."""

from __future__ import annotations

from pathlib import Path

from quant.errors import ConfigError, DataError
from quant.live.run.deployment import Deployment, Examined
from quant.store import Store


def check_history(deployment: Deployment, data: Path, path: Path) -> None:
    """Raise ConfigError where examined bars are gone or others now. path: of the lock file."""
    for one in deployment.history:
        told = _changed(one, deployment, Store(data))
        if told:
            mend = "Look at it: quant data show, quant data check; then promote again"
            raise ConfigError(
                str(path), f"history.{one.symbol}", f"the {one.rows:,} bars that were examined {told}. {mend}"
            )


def _changed(one: Examined, deployment: Deployment, store: Store) -> str:
    """Return what became of examined bars, "" for nothing."""
    try:
        series = store.find(one.symbol, one.bar, deployment.what, deployment.rth, one.source)
        now = store.read(series, one.first, one.last + 1)
    except DataError as e:
        return f"cannot be read any more ({e})"
    if now.fingerprint == one.fingerprint:
        return ""
    prints = f"fingerprint {one.fingerprint[:12]} then, {now.fingerprint[:12]} now"
    return f"have changed since: {prints} ({len(now):,} bars)"
