"""A run that breaks off while a new exit waits for the end of the one before leaves a stop at TWS."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from live_run import ACCOUNT, SPEED, START, books, draft, ledger, play
from live_tws import Patient

from quant.core.barsize import SECOND
from quant.core.clock import monotonic
from quant.core.orders import Kind
from quant.live.run.deployment import code_of
from quant.live.run.job import Job
from quant.strategy import parameters, strategy
from quant.tws.exchange.clock import Clock
from quant.tws.faults import Faults
from quant.tws.order_faults import OrderDo, OrderFault
from quant.tws.program import simulated
from quant.tws.server import Server, running

BEGINS = (
    START + 120 * SECOND
)  # END of the first bar that wants something; on each later one there are a stop and a limit in the stop's place
SLOW_S = 100.0  # of TWS's time, for the answer to a cancel
CODE = f'''"""Long, with a stop that follows; breaks two bars later."""
import numpy as np

import quant as q


class Breaks(q.Strategy):
    """Wants 1."""
    params = dict(how="error")

    @staticmethod
    def signals(bars, p):
        if bars.end[-1] >= {BEGINS + 60 * SECOND}:
            raise KeyboardInterrupt if p.how == "interrupt" else ZeroDivisionError("so it is")
        later = bars.end > {BEGINS}
        limit = np.where(later, bars.close * 1.1, np.nan)
        return q.Signals(bars.end >= {BEGINS}, stop=bars.close * (0.9 + later * 0.01), limit=limit, follow_stop=True)
'''


def breaks(data: Path, how: str) -> Job:
    """Return what is to run."""
    made = draft(data, name="breaks", sizing="shares:7")
    folder = data.parent / "strategies"
    (folder / "breaks.py").write_text(CODE)
    cls = strategy("breaks", folder)
    told = replace(
        made.deployment, strategy="breaks", class_name="Breaks", params=parameters(cls, {"how": how}),
        sources=code_of(cls),
    )  # fmt: skip
    return replace(made, deployment=told, strategy=cls)


@pytest.mark.parametrize(("how", "code"), [("error", 6), ("interrupt", 130)])
def test_the_new_stop_is_there_before_it_ends(
    data: Path, monkeypatch: pytest.MonkeyPatch, how: str, code: int
) -> None:
    monkeypatch.setattr("quant.live.run.runner.LEAVE_S", 0.0)
    clock = Clock(Patient(), speed=SPEED, start=START)
    slow = Faults((OrderFault(OrderDo.SLOW_CANCEL, seconds=SLOW_S, count=0),))
    server = Server(simulated(None, account=ACCOUNT, rate_limited=False), clock, faults=slow)
    job = breaks(data, how)
    with running(server) as port:
        ended, told = play(job, port, data, lambda picture: False)
        assert ended.code == code, told
        tickets = [intent.ticket for intent in ledger(data, job).intents]
        assert [t.kind for t in tickets] == [Kind.MARKET, Kind.STOP, Kind.STOP, Kind.LIMIT], told
        until, began = clock.now() + round(SLOW_S * SECOND), monotonic()
        while clock.now() < until:
            assert monotonic() - began < 60.0
        working = [e for e in books(port).echoes if e.status in ("PreSubmitted", "Submitted")]
    assert {(e.ref, e.quantity) for e in working} == {(t.ref, -7) for t in tickets[-2:]}
