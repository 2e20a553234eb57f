"""What a code and text of IB mean, by the table in codes.toml and by one of the user's own."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Self

from quant.errors import (
    AmbiguousContract,
    BrokerError,
    CompetingSession,
    ConfigError,
    NoData,
    NoPermission,
    PacingViolation,
    RequestFailed,
    UnknownContract,
)


class Kind(Enum):
    """What a code asks of us; codes.toml says each in words."""

    NOTICE = "notice"
    FARM_OK = "farm-ok"
    FARM_LOST = "farm-lost"
    CUT = "cut"
    BACK_DATA_LOST = "back-data-lost"
    BACK_DATA_KEPT = "back-data-kept"
    LOGIN_REFUSED = "login-refused"
    STREAM_LOST = "stream-lost"
    DELAYED = "delayed"
    REQUEST_FAILED = "request-failed"
    NO_DATA = "no-data"
    NO_PERMISSION = "no-permission"
    COMPETING_SESSION = "competing-session"
    PACING = "pacing"
    UNKNOWN_CONTRACT = "unknown-contract"
    AMBIGUOUS_CONTRACT = "ambiguous-contract"
    RATE = "rate"
    ORDER_FINAL = "order-final"
    ORDER_WARNING = "order-warning"
    UNKNOWN = "unknown"  # not in the table


# A request with such an answer goes on.
GOES_ON: Final = frozenset(
    {Kind.NOTICE, Kind.FARM_OK, Kind.FARM_LOST, Kind.DELAYED, Kind.ORDER_WARNING, Kind.CUT}
    | {Kind.BACK_DATA_LOST, Kind.BACK_DATA_KEPT}
)

_ERRORS: Final[Mapping[Kind, type[RequestFailed]]] = {
    Kind.NO_DATA: NoData,
    Kind.NO_PERMISSION: NoPermission,
    Kind.COMPETING_SESSION: CompetingSession,
    Kind.PACING: PacingViolation,
    Kind.RATE: PacingViolation,
    Kind.UNKNOWN_CONTRACT: UnknownContract,
}
_MENDS: Final[Mapping[Kind, str]] = {
    Kind.NO_PERMISSION: "Subscribe to it in IB's Client Portal (Settings > Market Data); a paper account has what "
    "the live one shares with it (there too)",
    Kind.COMPETING_SESSION: "Log out of the other session of the same user (TWS, mobile, Client Portal)",
    Kind.PACING: "Wait; other programs of the same user count as well",
    Kind.UNKNOWN_CONTRACT: "Check symbol, --sec-type, --exchange and --currency",
    Kind.NO_DATA: "Ask for another range, or other data (--what)",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One answer of IB, understood. `mend` is empty where there is nothing to do."""

    kind: Kind
    code: int
    text: str
    mend: str = ""

    def error(self, what: str) -> BrokerError:
        """Return the error with which a request for `what` ends."""
        if self.kind is Kind.AMBIGUOUS_CONTRACT:
            return AmbiguousContract(
                what, (), f"IB says: {self.text} (code {self.code}). Describe it more closely"
            )
        mend = self.mend or _MENDS.get(self.kind, "")
        return _ERRORS.get(self.kind, RequestFailed)(what, self.code, self.text, mend)


@dataclass(frozen=True, slots=True)
class _Entry:
    kind: Kind
    mend: str
    texts: tuple[tuple[str, Kind, str], ...]  # part of the message, what it means then, its mend


class Codes:
    """The table of codes."""

    def __init__(self, entries: Mapping[int, _Entry]) -> None:
        self._entries = dict(entries)

    @classmethod
    def load(cls, extra: Path | None = None) -> Self:
        """Return the table of this package, with the codes of the file `extra` in place of it or added to it.

        Raises ConfigError if `extra` cannot be read or does not keep to the layout of codes.toml.
        """
        entries = dict(_own())
        if extra is not None:
            try:
                text = extra.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as e:
                raise ConfigError(str(extra), "code", f"the file cannot be read ({e})") from None
            entries |= _parse(text, str(extra))
        return cls(entries)

    def __contains__(self, code: int) -> bool:
        return code in self._entries

    def judge(self, code: int, text: str) -> Verdict:
        """Return what the answer means. Codes 2100 to 2199 that the table lacks are notices, as IB says of them."""
        entry = self._entries.get(code)
        if entry is None:
            return Verdict(Kind.NOTICE if 2100 <= code <= 2199 else Kind.UNKNOWN, code, text)
        lower = text.casefold()
        for part, kind, mend in entry.texts:
            if part in lower:
                return Verdict(kind, code, text, mend or (entry.mend if kind is entry.kind else ""))
        return Verdict(entry.kind, code, text, entry.mend)


@lru_cache(maxsize=1)
def _own() -> Mapping[int, _Entry]:
    return _parse((files("quant.ib") / "codes.toml").read_text(encoding="utf-8"), "codes.toml")


def _parse(text: str, origin: str) -> dict[int, _Entry]:
    try:
        rows = tomllib.loads(text).get("code", [])
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(origin, "code", f"not TOML: {e}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(origin, "code", "write each code as a table [[code]]")
    entries: dict[int, _Entry] = {}
    for row in rows:
        code = row.get("code")
        if type(code) is not int:
            raise ConfigError(origin, "code", f"{code!r} is no code; write e.g. code = 10349")
        if code in entries:
            raise ConfigError(origin, f"code {code}", "stands there twice")
        texts = row.get("text", [])
        if not isinstance(texts, list) or not all(isinstance(t, dict) and t.get("contains") for t in texts):
            raise ConfigError(
                origin, f"code {code}.text", 'write rows like { contains = "pacing", class = "pacing" }'
            )
        entries[code] = _Entry(
            _kind(row, origin, code),
            str(row.get("mend", "")),
            tuple(
                (str(t["contains"]).casefold(), _kind(t, origin, code), str(t.get("mend", ""))) for t in texts
            ),
        )
    return entries


def _kind(row: Mapping[str, Any], origin: str, code: int) -> Kind:
    try:
        return Kind(row.get("class"))
    except ValueError:
        known = ", ".join(k.value for k in Kind if k is not Kind.UNKNOWN)
        raise ConfigError(origin, f"code {code}.class", f"{row.get('class')!r} is none of {known}") from None
