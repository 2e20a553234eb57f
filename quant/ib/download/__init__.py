"""Bars from IB into the store: plan before start, resumable at any point, within IB's limits."""

from quant.ib.download.ask import plan_pull
from quant.ib.download.plan import Failed, Plan, SeriesPlan
from quant.ib.download.pull import connect, describe, pull
from quant.ib.download.report import Progress, Pulled, PullReport
from quant.ib.download.run import run_pull

__all__ = [
    "Failed", "Plan", "Progress", "PullReport", "Pulled", "SeriesPlan", "connect", "describe", "plan_pull", "pull",
    "run_pull",
]  # fmt: skip
