"""no_entry_last holds for what is held, not only for what was wished: exposure may only fall."""

from __future__ import annotations

from typing import Any

import numpy as np

import quant as q


def test_a_smaller_target_after_a_rejected_entry_is_no_entry_in_the_window() -> None:
    bars = q.synthetic("AAA", "30m", "2020-01-02", "2020-01-02", seed=1)

    class Falls(q.Strategy):
        """Wants 10 times what it can pay, and within the last hour a tenth of that."""

        session = dict(no_entry_last="60m")

        @staticmethod
        def signals(bars: q.Bars, p: Any) -> Any:
            return np.where(bars.minutes_to_close > 60, 10.0, 0.5)

    class Free(Falls):
        session: dict[str, Any] = {}

    ruled = q.backtest(Falls, bars, costs="none", save=False)
    assert ruled.orders["status"].tolist() == ["rejected"]
    free = q.backtest(Free, bars, costs="none", save=False)
    assert free.orders["status"].tolist() == ["rejected", "filled"]
