"""What is read of orders without ibapi's objects is what ibapi's own decoder reads."""

from __future__ import annotations

from typing import Any

import order_tws as ib
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ibapi.decoder import Decoder
from ibapi.message import IN
from ibapi.protobuf.CompletedOrder_pb2 import CompletedOrder
from ibapi.protobuf.Contract_pb2 import Contract
from ibapi.protobuf.OpenOrder_pb2 import OpenOrder
from ibapi.protobuf.Order_pb2 import Order
from ibapi.protobuf.OrderState_pb2 import OrderState

from quant.ib.order_messages import completed_order, open_order

NUMBERS = st.integers(0, 2**31 - 1)
PRICES = st.floats(allow_nan=False) | st.sampled_from([0.0, 1.7976931348623157e308])
WORDS = st.text(max_size=8)
SIZES = st.decimals(0, 10**9, places=4).map(str)
ORDER: dict[str, st.SearchStrategy[Any]] = {
    "account": WORDS, "action": WORDS, "totalQuantity": SIZES, "orderType": WORDS, "lmtPrice": PRICES,
    "auxPrice": PRICES, "tif": WORDS, "ocaGroup": WORDS, "orderRef": WORDS, "clientId": NUMBERS, "permId": NUMBERS,
    "parentId": NUMBERS, "trailStopPrice": PRICES, "trailingPercent": PRICES, "lmtPriceOffset": PRICES,
    "filledQuantity": SIZES, "outsideRth": st.booleans(), "whatIf": st.booleans(), "hedgeType": WORDS,
}  # fmt: skip
STATE = {"status": WORDS, "warningText": WORDS, "completedStatus": WORDS}
PARTS = {
    "contract": st.fixed_dictionaries({}, optional={"conId": NUMBERS, "symbol": WORDS}).map(
        lambda d: Contract(**d)
    ),
    "order": st.fixed_dictionaries({}, optional=ORDER).map(lambda d: Order(**d)),
    "orderState": st.fixed_dictionaries({}, optional=STATE).map(lambda d: OrderState(**d)),
}
SHOWN = st.fixed_dictionaries(PARTS) | st.fixed_dictionaries({}, optional=PARTS)


class Heard:
    """ibapi's wrapper: what it was called with last."""

    def __init__(self) -> None:
        self.args: tuple[Any, ...] | None = None

    def __getattr__(self, name: str) -> Any:
        return (lambda *_: None) if name.endswith("ProtoBuf") else lambda *args: setattr(self, "args", args)


def by_ibapi(number: int, body: bytes) -> tuple[Any, ...] | None:
    heard = Heard()
    Decoder(heard, 222).processProtoBuf(body, number)
    return heard.args


def assert_alike(found: tuple[Any, ...], expected: tuple[Any, ...]) -> None:
    """What was read is what ibapi read; of its objects, each field that ours have."""
    for ours, theirs in zip(found, expected, strict=True):
        if isinstance(ours, int):
            assert ours == theirs
        else:
            assert {n: repr(v) for n, v in vars(ours).items()} == {
                n: repr(getattr(theirs, n)) for n in vars(ours)
            }


@given(SHOWN, st.none() | NUMBERS)
def test_open_order_is_read_as_ibapi_reads_it(parts: dict[str, Any], number: int | None) -> None:
    message = OpenOrder(**parts, **({} if number is None else {"orderId": number}))
    body = message.SerializeToString()
    expected = by_ibapi(int(IN.OPEN_ORDER), body)
    if expected is None:  # ibapi leaves it out without a word
        with pytest.raises(ValueError, match="missing"):
            open_order(body)
        return
    found = open_order(body)
    if expected[2].whatIf:
        assert found is None
    else:
        assert found is not None
        assert_alike(found, expected)


@given(SHOWN)
def test_completed_order_is_read_as_ibapi_reads_it(parts: dict[str, Any]) -> None:
    body = CompletedOrder(**parts).SerializeToString()
    expected = by_ibapi(int(IN.COMPLETED_ORDER), body)
    if expected is None:
        with pytest.raises(ValueError, match="missing"):
            completed_order(body)
        return
    assert_alike(completed_order(body), expected)


@pytest.mark.parametrize("version", ib.VERSIONS)
def test_answer_to_a_what_if_has_its_figures(version: int) -> None:
    shown = ib.open_order(9, {"status": "PreSubmitted", "initMarginAfter": 12.5}, whatIf=True)
    (event,) = ib.events(version, shown)
    assert event.args[2].whatIf
    assert float(event.args[3].initMarginAfter) == 12.5
