"""Text tables of contracts: as clients ask for them (12 fields) and as answers carry them (11)."""

from __future__ import annotations

from quant.tws.codec.text import (
    FLOAT,
    FLOAT_OR_NONE,
    INT,
    TRIMMED,
    WORD,
    Column,
    Field,
    Kind,
    Layout,
    Many,
    Message,
    Optional,
)


def fields(kind: Kind, names: str) -> Layout:
    """Return one row for each name, all of a kind."""
    return tuple(Field(name, kind) for name in names.split())


# -1 is what ibapi's Order and ComboLeg hold where nobody set it
EXEMPT = Kind("a whole number", "-1", INT.write, INT.read)


_CONTRACT_HEAD: Layout = (
    Field("conId", INT),
    *fields(WORD, "symbol secType lastTradeDateOrContractMonth"),
    Field("strike", FLOAT),
    Field("right", WORD),
    Field("multiplier", TRIMMED),
)
_CONTRACT_TAIL = fields(WORD, "currency localSymbol tradingClass")
CONTRACT_ASKED: Layout = (*_CONTRACT_HEAD, *fields(WORD, "exchange primaryExch"), *_CONTRACT_TAIL)
CONTRACT_TOLD: Layout = (*_CONTRACT_HEAD, Field("exchange", WORD), *_CONTRACT_TAIL)
CONTRACT_HELD: Layout = (*_CONTRACT_HEAD, Field("primaryExch", WORD), *_CONTRACT_TAIL)  # of a portfolio's row
HEDGE_CONTRACT = Optional("deltaNeutralContract", (Field("conId", INT), *fields(FLOAT, "delta price")))
LEGS_ASKED = Many("comboLegs", (*fields(INT, "conId ratio"), *fields(WORD, "action exchange")))
LEGS = (
    Many(
        "comboLegs",
        (
            *fields(INT, "conId ratio"),
            *fields(WORD, "action exchange"),
            *fields(INT, "openClose shortSalesSlot"),
            Field("designatedLocation", WORD),
            Field("exemptCode", EXEMPT),
        ),
    ),
    Column("comboLegs", "perLegPrice", FLOAT_OR_NONE),
)


def is_combo(m: Message) -> bool:
    """Tell whether the contract of a message is a combination, whose legs are sent with it."""
    return bool(m.contract.secType == "BAG")
