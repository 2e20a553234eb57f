"""What TWS says of orders, at text, mixed and protobuf versions: always the same values, nothing filled in.

The messages are IB's own protobuf classes; the text rows at the end were written by hand from ibapi's decoder.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import order_tws as ib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.core.orders import Commission, Completed, Echo, Execution, Position, Status, Told
from quant.ib import reports
from quant.ib.codec import Decoder, Event
from quant.ib.reports import moment

D = Decimal
EXEC_TIME = int(datetime(2026, 1, 2, 15, 15, 30, tzinfo=UTC).timestamp()) * 1_000_000_000
ECHO = Echo(
    account=ib.ACCOUNT, con_id=ib.SPY_ID, symbol="SPY", order_id=7, client_id=1, perm_id=9001, ref="q1:demo:7",
    quantity=D(100), kind="LMT", limit=450.25, stop=None, tif="DAY", status="Submitted",
)  # fmt: skip
EXECUTION = Execution(
    exec_id="0000e0d5.659b1c7e.01.01", account=ib.ACCOUNT, con_id=ib.SPY_ID, symbol="SPY", order_id=7, client_id=1,
    perm_id=9001, ref="q1:demo:7", time=EXEC_TIME, quantity=D(40), price=450.2, cumulative=D(40), average=450.2,
    exchange="ARCA",
)  # fmt: skip


def read(version: int, message: Any) -> Any:
    (event,) = ib.events(version, message)
    return reports.position(*event.args) if event.name == "position" else reports.read(event)


CASES = {
    "open order": (ib.open_order(), ECHO),
    "hand-made short": (
        ib.open_order(0, clientId=0, permId=2**40, action="SSHORT", totalQuantity="0.5", orderRef=""),
        Echo(
            ib.ACCOUNT, ib.SPY_ID, "SPY", 0, 0, 2**40, "", D("-0.5"), "LMT", 450.25, None, "DAY", "Submitted"
        ),
    ),
    "stop of a bracket": (
        ib.open_order(
            8, {"status": "PreSubmitted", "warningText": "held"}, action="SELL", orderType="STP", lmtPrice=0.0,
            auxPrice=440.0, tif="GTC", parentId=7, ocaGroup="9001", orderRef="q1:demo:8",
        ),
        Echo(
            ib.ACCOUNT, ib.SPY_ID, "SPY", 8, 1, 9001, "q1:demo:8", D(-100), "STP", None, 440.0, "GTC",
            "PreSubmitted", 7, "9001", "held",
        ),
    ),
    "trailing stop": (
        ib.open_order(orderType="TRAIL", lmtPrice=0.0, auxPrice=2.5, trailStopPrice=447.5),
        Echo(
            ib.ACCOUNT, ib.SPY_ID, "SPY", 7, 1, 9001, "q1:demo:7", D(100), "TRAIL", None, 447.5, "DAY", "Submitted",
            trail=2.5,
        ),
    ),
    "trailing stop limit": (
        ib.open_order(
            orderType="TRAIL LIMIT", action="SELL", lmtPrice=441.25, auxPrice=0.0, trailStopPrice=441.5,
            trailingPercent=1.5, lmtPriceOffset=0.25,
        ),
        Echo(
            ib.ACCOUNT, ib.SPY_ID, "SPY", 7, 1, 9001, "q1:demo:7", D(-100), "TRAIL LIMIT", 441.25, 441.5, "DAY",
            "Submitted", percent=1.5, offset=0.25,
        ),
    ),
    "limit at 0": (
        ib.open_order(lmtPrice=0.0, permId=0),
        Echo(ib.ACCOUNT, ib.SPY_ID, "SPY", 7, 1, 0, "q1:demo:7", D(100), "LMT", 0.0, None, "DAY", "Submitted"),
    ),
    "status": (
        ib.order_status(status="PreSubmitted", filled="40.0000", remaining="60", avgFillPrice=450.2, whyHeld="locate"),
        Status(7, 1, 9001, "PreSubmitted", D(40), D(60), 450.2, "locate"),
    ),
    "fill": (ib.exec_details(), EXECUTION),
    "correction": (
        ib.exec_details(execId="0000e0d5.659b1c7e.01.02", side="SLD", shares="0", isLiquidation=True),
        Execution(
            "0000e0d5.659b1c7e.01.02", ib.ACCOUNT, ib.SPY_ID, "SPY", 7, 1, 9001, "q1:demo:7", EXEC_TIME, D(0),
            450.2, D(40), 450.2, "ARCA", True,
        ),
    ),
    "commission of an opening fill": (ib.commission(), Commission("0000e0d5.659b1c7e.01.01", 1.0, "USD", None)),
    "commission of a closing fill": (
        ib.commission(realizedPNL=-3.5),
        Commission("0000e0d5.659b1c7e.01.01", 1.0, "USD", -3.5),
    ),
    "completed": (
        ib.completed_order(),
        Completed(ib.ACCOUNT, ib.SPY_ID, "SPY", 9002, "q1:demo:6", D(-50), D(50), "Filled", "Filled Size: 50"),
    ),
    "completed without quantity": (
        ib.completed_order({"status": "Cancelled"}, totalQuantity="0", filledQuantity="0"),
        Completed(ib.ACCOUNT, ib.SPY_ID, "SPY", 9002, "q1:demo:6", D(0), D(0), "Cancelled", "Filled Size: 50"),
    ),
    "position": (ib.position("-50.0"), Position(ib.ACCOUNT, ib.SPY_ID, "SPY", D(-50), 449.5)),
    "warning": (ib.error(7, 399, "held until the open"), Told(7, 399, "held until the open")),
    "error of a request": (ib.error(1_000_000_003, 200, "no such contract"), None),
    "notice": (ib.error(-1, 2104, "farm is OK"), None),
}  # fmt: skip


@pytest.mark.parametrize("version", ib.VERSIONS)
@pytest.mark.parametrize("case", CASES)
def test_the_same_at_every_version(case: str, version: int) -> None:
    message, expected = CASES[case]
    found = read(version, message)
    assert found == expected
    assert repr(found) == repr(
        expected
    )  # Decimals are equal whatever their zeros; journals compare their text


def test_an_error_has_its_time_where_the_version_tells_it() -> None:
    assert read(226, ib.error(7, 201, "rejected", 1_767_366_930_250)) == Told(
        7, 201, "rejected", 1_767_366_930_250_000_000
    )


def test_the_reasons_of_a_rejection_stay_with_it() -> None:
    message = ib.error(7, 201, "rejected")
    message.advancedOrderRejectJson = '{"rejects":[1]}'
    assert read(226, message) == Told(7, 201, 'rejected {"rejects":[1]}')


@pytest.mark.parametrize("version", ib.VERSIONS)
def test_a_what_if_is_no_order(version: int) -> None:
    assert read(version, ib.open_order(whatIf=True)) is None


def test_what_is_not_told_is_none() -> None:
    message = ib.open_order(orderType="STP LMT")
    for name in ("lmtPrice", "auxPrice", "permId"):
        message.order.ClearField(name)
    found = read(226, message)
    assert (found.limit, found.stop, found.perm_id) == (None, None, 0)
    status = ib.order_status()
    status.ClearField("permId")
    status.ClearField("avgFillPrice")
    assert read(226, status) == Status(7, 1, 0, "Submitted", D(0), D(100), 0.0)


DAMAGED: dict[str, tuple[Any, str]] = {
    "no zone": (ib.exec_details(time="20260102 10:15:30"), "cannot be read"),
    "unknown zone": (ib.exec_details(time="20260102 10:15:30 Mars/Base"), "unknown zone"),
    "a folder of zones": (ib.exec_details(time="20260102 10:15:30 America"), "unknown zone"),
    "an hour that is left out": (ib.exec_details(time="20260308 02:30:00 US/Eastern"), "does not have"),
    "no such day": (ib.exec_details(time="20260230 10:00:00 US/Eastern"), "day is out of range"),
    "no side": (ib.exec_details(side=""), "neither"),
    "no quantity": (ib.exec_details(shares="170141183460469231731687303715884105727"), "shares"),
    "not a number": (ib.exec_details(shares="NaN"), "shares"),
    "negative": (ib.exec_details(cumQty="-40"), "cumQty"),
    "no price": (ib.exec_details(price=ib.UNSET), "price"),
    "infinite price": (ib.exec_details(price=float("inf")), "figure"),
    "no exec id": (ib.exec_details(execId=""), "execId"),
    "no account": (ib.exec_details(acctNumber=""), "acctNumber"),
    "fill without average": (ib.order_status(filled="10", avgFillPrice=ib.UNSET), "average"),
    "status without word": (ib.order_status(status=""), "status"),
    "commission unknown": (ib.commission(commissionAndFees=ib.UNSET), "commission"),
    "order without side": (ib.open_order(action="HOLD"), "HOLD"),
    "order without status": (ib.open_order(state={"status": ""}), "status"),
    "position": (ib.position("Infinity"), "position"),
}


@pytest.mark.parametrize("version", [178, 226])
@pytest.mark.parametrize("case", DAMAGED)
def test_what_cannot_be_read_is_an_error(case: str, version: int) -> None:
    message, told = DAMAGED[case]
    with pytest.raises(ValueError, match=told):
        read(version, message)


def test_a_status_without_its_client_is_an_error() -> None:
    status = ib.order_status()
    status.ClearField("clientId")
    with pytest.raises(ValueError, match="clientId"):
        read(226, status)


# ---------------------------------------------------------------- times
def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * 1_000_000_000


# The expected moments are computed by hand: New York is UTC-5 in winter and UTC-4 in summer.
TIMES = {
    "20260102 09:30:00 US/Eastern": "2026-01-02T14:30:00+00:00",
    "20260702 09:30:00 US/Eastern": "2026-07-02T13:30:00+00:00",
    "20260102  09:30:00 America/New_York": "2026-01-02T14:30:00+00:00",
    "20260102 09:30:00 EST": "2026-01-02T14:30:00+00:00",
    "20260702 15:30:00 MET": "2026-07-02T13:30:00+00:00",
    "20260702 14:30:00 GB-Eire": "2026-07-02T13:30:00+00:00",
    "20260702 13:30:00 GMT": "2026-07-02T13:30:00+00:00",
    "20260702 13:30:00 UTC": "2026-07-02T13:30:00+00:00",
    "20260702-13:30:00": "2026-07-02T13:30:00+00:00",
    "20260702-13:30:00Z": "2026-07-02T13:30:00+00:00",
    "20260702 22:30:00 Japan": "2026-07-02T13:30:00+00:00",
    "20261101 00:59:59 US/Eastern": "2026-11-01T04:59:59+00:00",
    "20261101 01:30:00 US/Eastern": "2026-11-01T05:30:00+00:00",  # comes twice: the first
    "20261101 02:00:00 US/Eastern": "2026-11-01T07:00:00+00:00",
    "20260308 03:00:00 US/Eastern": "2026-03-08T07:00:00+00:00",
}


@pytest.mark.parametrize("text", TIMES)
def test_the_time_of_a_fill(text: str) -> None:
    assert moment(text) == ns(TIMES[text])


@given(
    epoch=st.integers(ns("2005-01-01T00:00:00Z") // 10**9, ns("2035-01-01T00:00:00Z") // 10**9),
    zone=st.sampled_from(
        ["America/New_York", "America/Chicago", "Europe/Berlin", "Australia/Sydney", "Asia/Tokyo"]
    ),
)
def test_every_moment_reads_back_but_for_the_second_of_two(epoch: int, zone: str) -> None:
    local = (reports.EPOCH + timedelta(seconds=epoch)).astimezone(ZoneInfo(zone))
    expected = epoch - 3600 * local.fold  # of a time that comes twice, an hour apart, the first
    assert moment(f"{local:%Y%m%d %H:%M:%S} {zone}") == expected * 10**9


# ---------------------------------------------------------------- text, by hand
def decoded(*fields: Any) -> Event:
    (event,) = Decoder(178).decode("".join(f"{f}\0" for f in fields).encode())
    return event


def test_text_rows_of_version_178() -> None:
    status = decoded(3, 7, "Filled", "40", "0", "450.2", 9001, 0, "450.2", 1, "", "0.0")
    assert reports.read(status) == Status(7, 1, 9001, "Filled", D(40), D(0), 450.2)
    contract = (ib.SPY_ID, "SPY", "STK", "", "0.0", "", "", "SMART", "USD", "SPY", "SPY")
    fill = decoded(
        11, -1, 7, *contract, "0000e0d5.659b1c7e.01.01", "20260102 10:15:30 US/Eastern", ib.ACCOUNT, "ARCA", "BOT",
        "40", "450.2", 9001, 1, 0, "40", "450.2", "q1:demo:7", "", "", "", 2, 0,
    )  # fmt: skip
    assert reports.read(fill) == EXECUTION
    paid = decoded(
        59, 1, "0000e0d5.659b1c7e.01.01", "1.0", "USD", "1.7976931348623157E308", "1.7976931348623157E308", ""
    )
    assert reports.read(paid) == Commission("0000e0d5.659b1c7e.01.01", 1.0, "USD", None)
    held = decoded(61, 3, ib.ACCOUNT, *contract, "-50.0000000000000000", "449.5")
    assert reports.position(*held.args) == Position(ib.ACCOUNT, ib.SPY_ID, "SPY", D(-50), 449.5)
    warned = decoded(4, 2, 7, 399, "held", "")
    assert reports.read(warned) == Told(7, 399, "held")
