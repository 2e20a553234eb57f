"""One order and what a broker may say of it, for the tests of quant/oms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from quant.core.orders import Commission, Completed, Echo, Execution, Kind, Report, Status, Ticket, Told
from quant.oms.ledger import Intent, Mark, What
from quant.oms.state import OrderStanding, order_standing

ACCOUNT = "DU1234567"
REF = "q1:macd-spy:1"
ORDER_ID, CLIENT_ID, PERM_ID = 5, 7, 9001
SPY = 756733
TICKET = Ticket(REF, ACCOUNT, SPY, "SPY", Decimal(100), Kind.LIMIT, limit=500.0)
INTENT = Intent(1, TICKET, ORDER_ID, CLIENT_ID, at=10)
SENT = Mark(2, REF, What.SENT, 11)


def echo(status: str = "Submitted", **other: Any) -> Echo:
    told = Echo(
        ACCOUNT,
        SPY,
        "SPY",
        ORDER_ID,
        CLIENT_ID,
        PERM_ID,
        REF,
        Decimal(100),
        "LMT",
        500.0,
        None,
        "DAY",
        status,
    )
    return replace(told, **other)


def status(word: str, filled: int = 0, **other: Any) -> Status:
    told = Status(ORDER_ID, CLIENT_ID, PERM_ID, word, Decimal(filled), Decimal(100 - filled), 0.0)
    return replace(told, **other)


def execution(number: int, quantity: int, cumulative: int, price: float = 500.0, **other: Any) -> Execution:
    told = Execution(
        f"0000e0d5.{number:08d}.01.01", ACCOUNT, SPY, "SPY", ORDER_ID, CLIENT_ID, PERM_ID, REF, 100 + number,
        Decimal(quantity), price, Decimal(cumulative), price, "ARCA",
    )  # fmt: skip
    return replace(told, **other)


def corrected(of: Execution, revision: int, **other: Any) -> Execution:
    return replace(of, exec_id=f"{of.exec_id[:-2]}{revision:02d}", **other)


def commission(of: Execution, amount: float = 1.0) -> Commission:
    return Commission(of.exec_id, amount, "USD")


def told(code: int, text: str = "") -> Told:
    return Told(ORDER_ID, code, text or f"text of {code}", at=50)


def completed(word: str, filled: int = 0, **other: Any) -> Completed:
    done = Completed(ACCOUNT, SPY, "SPY", PERM_ID, REF, Decimal(100), Decimal(filled), word)
    return replace(done, **other)


def marks(*what: What) -> list[Mark]:
    return [Mark(n, REF, w, n, f"why {w}") for n, w in enumerate(what, start=2)]


def stands(*facts: Report, after: Sequence[What] = (What.SENT,), intent: Intent = INTENT) -> OrderStanding:
    return order_standing(intent, marks(*after), frozenset(facts))
