"""A command that is carried out without the runner (quant flatten after a stop or a kill) is no run of the strategy."""

from __future__ import annotations

from dataclasses import replace

from quant.core.barsize import SECOND
from quant.live.run.takeover import TAKEOVER
from quant.live.run.tape import ALIVE, ENDED, LifeLine
from quant.oms.ledger import Halt, Ledger, Mark, Run, Stop, What
from quant.promotion.parity.running import Span, spans

RUN = Run(1, 7, 100 * SECOND, {"mode": "paper"})
HAND = Run(2, 7, 900 * SECOND, {"mode": TAKEOVER})
FLAT = Mark(3, "q1:t:9", What.SENT, 910 * SECOND)
CLEARED = Halt(4, 920 * SECOND, Stop.FLATTEN, "all is closed", "me")
LEDGER = Ledger("t", "DU1234567", "h", runs=(RUN, HAND), marks=(FLAT,), halts=(CLEARED,))


def test_a_command_after_a_stop_is_no_run() -> None:
    tape = [LifeLine(ENDED, 400 * SECOND)]
    assert spans(LEDGER, tape) == [Span(100 * SECOND, 400 * SECOND)]


def test_what_it_did_is_no_sign_of_life_of_a_run_that_was_killed() -> None:
    tape = [LifeLine(ALIVE, 460 * SECOND)]
    assert spans(LEDGER, tape) == [Span(100 * SECOND, 460 * SECOND)]


def test_nor_is_the_stop_that_it_writes_first() -> None:
    """Before IB is asked for anything, and so before it begins; `quant clear` begins none at all."""
    tape = [LifeLine(ALIVE, 460 * SECOND)]
    asked = Halt(5, 890 * SECOND, Stop.HALT, "me asked for flatten", None)
    assert spans(replace(LEDGER, halts=(asked, CLEARED)), tape) == [Span(100 * SECOND, 460 * SECOND)]
