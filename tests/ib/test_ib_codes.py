"""The table of codes: each row has a source, texts decide first, and a user's file comes on top."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import quant.ib.codes
from quant.errors import AmbiguousContract, BrokerError, ConfigError, NoData, NoPermission, WrongLibrary
from quant.ib.codes import Codes, Kind
from quant.ib.library import check_library

TABLE = tomllib.loads(Path(quant.ib.codes.__file__).with_name("codes.toml").read_text(encoding="utf-8"))[
    "code"
]


def test_every_row_names_its_source() -> None:
    rows = [*TABLE, *(t for row in TABLE for t in row.get("text", []))]
    assert [row for row in rows if not row.get("source")] == []


@pytest.mark.parametrize(
    ("code", "kind"),
    [  # DESIGN 5.8 and the classes of IB's own page (message_codes.html)
        *((code, Kind.FARM_OK) for code in (2104, 2106, 2107, 2108, 2158)),
        *((code, Kind.FARM_LOST) for code in (2103, 2105, 2157)),
        *((code, Kind.CUT) for code in (1100, 2110)),
        (1101, Kind.BACK_DATA_LOST),
        (1102, Kind.BACK_DATA_KEPT),
        (326, Kind.LOGIN_REFUSED),
        (202, Kind.ORDER_FINAL),
        *((code, Kind.ORDER_WARNING) for code in (399, 404, 434, 105, 10349)),
        *((code, Kind.DELAYED) for code in (10167, 10090)),
        *((code, Kind.NO_PERMISSION) for code in (354, 10089)),
        (10197, Kind.COMPETING_SESSION),
        (2150, Kind.NOTICE),  # 2100 to 2199 are warnings all
        (2199, Kind.NOTICE),
        (31337, Kind.UNKNOWN),
    ],
)
def test_codes_have_the_class_that_they_should(code: int, kind: Kind) -> None:
    assert Codes.load().judge(code, "").kind is kind


def test_texts_decide_whatever_their_case() -> None:
    codes = Codes.load()
    assert codes.judge(162, "Historical data request PACING violation").kind is Kind.PACING
    assert codes.judge(162, "something else").kind is Kind.REQUEST_FAILED
    assert (
        codes.judge(200, "The contract description specified for X is Ambiguous.").kind
        is Kind.AMBIGUOUS_CONTRACT
    )


def test_data_that_a_contract_never_has_are_told_as_that_and_not_as_an_empty_range() -> None:
    # A user's log of currencies asked for trades.
    text = (
        "Historical Market Data Service error message:No historical market data for EUR/CASH@FXSUBPIP Last 1d"
    )
    verdict = Codes.load().judge(162, text)
    assert verdict.kind is Kind.REQUEST_FAILED
    assert "--what" in verdict.mend


def test_a_read_only_api_has_a_mend_of_its_own() -> None:
    text = "Error validating request.-'bN' : cause - The API interface is currently in Read-Only mode."
    error = Codes.load().judge(321, text).error("an order")
    assert isinstance(error, NoPermission)
    assert "Untick 'Read-Only API'" in error.mend
    assert Codes.load().judge(321, "Error validating request").mend == ""


def test_a_file_of_the_user_adds_and_replaces(tmp_path: Path) -> None:
    mine = tmp_path / "codes.toml"
    mine.write_text(
        '[[code]]\ncode = 31337\nclass = "notice"\n[[code]]\ncode = 399\nclass = "request-failed"\nmend = "do so"\n'
    )
    codes = Codes.load(mine)
    assert codes.judge(31337, "x").kind is Kind.NOTICE
    assert codes.judge(399, "x").mend == "do so"
    assert codes.judge(162, "returned no data").kind is Kind.NO_DATA
    assert 31337 not in Codes.load()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[[code]\n", "not TOML"),
        ("code = 5\n", r"\[\[code\]\]"),
        ('[[code]]\nclass = "notice"\n', "is no code"),
        ('[[code]]\ncode = true\nclass = "notice"\n', "is no code"),
        ('[[code]]\ncode = 1\nclass = "harmless"\n', "'harmless' is none of notice"),
        ('[[code]]\ncode = 1\nclass = "unknown"\ntext = [{ contains = 1 }]\n', "none of|write rows"),
        ('[[code]]\ncode = 1\nclass = "notice"\ntext = [5]\n', "write rows like"),
        ('[[code]]\ncode = 1\nclass = "notice"\n[[code]]\ncode = 1\nclass = "notice"\n', "twice"),
    ],
)
def test_a_file_that_breaks_the_layout_is_refused(tmp_path: Path, text: str, why: str) -> None:
    mine = tmp_path / "codes.toml"
    mine.write_text(text)
    with pytest.raises(ConfigError, match=why):
        Codes.load(mine)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        Codes.load(tmp_path / "none.toml")


@pytest.mark.parametrize("row", TABLE, ids=lambda row: str(row["code"]))
def test_every_code_can_end_a_request_with_an_error_that_tells_it(row: dict[str, object]) -> None:
    error = Codes.load().judge(int(str(row["code"])), "IB's words").error("bars of SPY")
    assert isinstance(error, BrokerError)
    assert error.exit_code == 5
    assert "bars of SPY" in str(error)
    assert "IB's words" in str(error)
    assert str(row["code"]) in str(error)


def test_errors_have_the_kind_of_their_verdict() -> None:
    codes = Codes.load()
    assert isinstance(codes.judge(162, "returned no data").error("x"), NoData)
    assert isinstance(codes.judge(354, "").error("x"), NoPermission)
    assert isinstance(codes.judge(200, "is ambiguous").error("x"), AmbiguousContract)


def test_an_ibapi_of_2020_is_told_apart() -> None:
    assert check_library().startswith("10.")
    with pytest.raises(WrongLibrary, match="ibapi-stable"):
        check_library(newest=157)  # what ibapi 9.81 offers
