"""A stop that is followed bar by bar for a month has thousands of versions: each has its own price among as many."""

from __future__ import annotations

import pytest
from test_modified_exits import BARS, REF, echo, ledger, moved, refused

from quant.core.orders import Echo, Ticket
from quant.promotion import belated as module
from quant.promotion.belated import belated


@pytest.mark.parametrize("count", [50, 400])
def test_each_version_is_compared_with_the_echoes_of_its_price_alone(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = 0
    differences = module.echo_differences

    def counted(ticket: Ticket, shown: Echo) -> dict[str, str]:
        nonlocal compared
        compared += 1
        return differences(ticket, shown)

    monkeypatch.setattr(module, "echo_differences", counted)
    marks, facts = [], []
    for k in range(1, count + 1):
        price = 390.0 + k * 0.01
        marks += moved(price, 60 * k)
        facts.append(refused(110, 60 * k + 0.2) if k == 20 else echo(price, 60 * k + 0.2))
    found = belated(ledger(marks, *facts), [BARS])
    assert {ref: known.words for ref, known in found.items()} == {
        f"{REF}/21": "TWS never showed its new price: no (110)"
    }
    assert compared <= 4 * count
