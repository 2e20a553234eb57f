"""A session with a TWS as lines of JSON: what was said, without the names of who said it.

One line a message: connection, who said it ("client" or "tws"), seconds since the connection's begin, id, name, and
the message: "message" (protobuf, decoded), "fields" (text), "bytes" (protobuf that the codec does not know, in
hexadecimal) or "left_out" (why it is not told). The first two lines of a connection hold the greeting and its answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from google.protobuf.json_format import MessageToDict, ParseDict  # type: ignore[import-untyped]  # ships without types
from ibapi.message import IN, OUT

from quant.errors import ParameterError
from quant.tws.codec import ANSWERS, RAW_ID_VERSION, REQUESTS, Codec, Malformed, Unknown, message_class, split

CLIENT, TWS = "client", "tws"
Entry = dict[str, Any]

# TWS's account ids: paper ones begin with D, advisors' with F or I.
_ACCOUNT: Final = re.compile(r"(?<![A-Za-z0-9])(?:DU|DF|DI|U|F|I)\d{5,9}(?!\d)")
_ACCOUNT_IN_BYTES: Final = re.compile(
    r"(?:DU|DF|DI|U|F|I)\d{5,9}"
)  # a length may stand before it, anything behind it
_ACCOUNTS: Final = frozenset(
    {"account", "acctCode", "acctNumber", "accountName", "clearingAccount", "customerAccount"}
)
# What people call things, or are called; messages that hold such a field are told only where they can be decoded.
_NAMES: Final = frozenset({
    "orderRef", "modelCode", "group", "faGroup", "ocaGroup", "submitter", "shareholder", "extOperator",
    "mifid2DecisionMaker", "mifid2DecisionAlgo", "mifid2ExecutionTrader", "mifid2ExecutionAlgo",
})  # fmt: skip
_KEPT: Final = frozenset({"", "All", "Core"})  # IB's own words for all accounts, and for no model
# What the codec does not know, and what is full of names: advisors' groups, families of accounts, the user.
_PRIVATE: Final = {
    CLIENT: frozenset({OUT.REQ_FA, OUT.REPLACE_FA, OUT.REQ_FAMILY_CODES, OUT.REQ_USER_INFO, OUT.VERIFY_REQUEST,
                       OUT.VERIFY_MESSAGE, OUT.VERIFY_AND_AUTH_REQUEST, OUT.VERIFY_AND_AUTH_MESSAGE}),
    TWS: frozenset({IN.RECEIVE_FA, IN.FAMILY_CODES, IN.USER_INFO, IN.VERIFY_MESSAGE_API, IN.VERIFY_COMPLETED,
                    IN.VERIFY_AND_AUTH_MESSAGE_API, IN.VERIFY_AND_AUTH_COMPLETED, IN.REPLACE_FA_END}),
}  # fmt: skip


class Sanitiser:
    """Replaces account ids, names and order references, the same one always by the same, of the same length."""

    def __init__(self) -> None:
        self._accounts: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def text(self, value: str) -> str:
        """Return a text with every account id in it replaced."""
        return _ACCOUNT.sub(lambda found: self._account(found[0]), value)

    def field(self, value: str) -> str:
        """Return a field of a text message: as `text`, and a name that was seen before is replaced."""
        known = self._accounts.get(value) or self._names.get(value)
        if (
            known is not None and len(value) > 2 and not value.isdigit()
        ):  # else any number might be taken for one
            return known
        return self.text(value)

    def raw(self, data: bytes) -> bytes:
        """Return bytes with every account id in them replaced; lengths stay."""
        found = _ACCOUNT_IN_BYTES.sub(lambda m: self._account(m[0]), data.decode("latin-1"))
        return found.encode("latin-1")

    def message(self, message: Any) -> None:
        """Replace what is to be replaced in a message of protobuf, in place."""
        for descriptor, value in message.ListFields():
            name = descriptor.name
            if isinstance(value, str):
                setattr(message, name, self._value(name, value))
            elif hasattr(value, "ListFields"):
                self.message(value)
            elif hasattr(value, "items"):
                for key, text in list(value.items()):
                    if isinstance(text, str):
                        value[key] = self.text(text)
            elif not isinstance(value, int | float | bytes):
                for at, part in enumerate(value):
                    if isinstance(part, str):
                        value[at] = self.text(part)
                    elif hasattr(part, "ListFields"):
                        self.message(part)

    def _value(self, name: str, value: str) -> str:
        if value in _KEPT:
            return value
        if name in _ACCOUNTS:
            return self._account(value)
        return self._name(value) if name in _NAMES else self.text(value)

    def _account(self, value: str) -> str:
        if value not in self._accounts:
            kind = (re.match(r"[A-Z]*", value) or [""])[0]  # whether it is a paper one, and an advisor's
            self._accounts[value] = f"{kind}{len(self._accounts) + 1:0{len(value) - len(kind)}d}"
        return self._accounts[value]

    def _name(self, value: str) -> str:
        if value not in self._names:
            self._names[value] = f"n{len(self._names) + 1:0{max(len(value) - 1, 0)}d}"
        return self._names[value]


# ---------------------------------------------------------------- a message as an entry, and back
def entry_of(payload: bytes, said_by: str, codec: Codec, clean: Sanitiser) -> Entry:
    """Return what a transcript says of a frame's payload, its time and connection apart."""
    table = REQUESTS if said_by == CLIENT else ANSWERS
    parts = split(payload, codec.version)
    if isinstance(parts, Malformed):
        return {"id": None, "left_out": f"{len(payload)} bytes: {parts.reason}"}
    number, protobuf, body = parts
    known = table.get(number)
    found: Entry = {"id": number} | ({} if known is None else {"name": known.name})
    if number in _PRIVATE[said_by]:
        return found | {"left_out": f"{len(body)} bytes that may hold names"}
    message = codec.decode(payload) if said_by == CLIENT else codec.decode_answer(payload)
    if isinstance(message, Malformed) and known is not None and _names_people(known.type):
        return found | {"left_out": f"{len(body)} bytes that may hold names; it {message.reason}"}
    if not protobuf:
        if not isinstance(message, Malformed | Unknown):
            clean.message(message)  # which learns its names
        text = body.decode("utf-8", "backslashreplace")
        return found | {"fields": [clean.field(f) for f in text.split("\0")[:-1]]}
    if known is not None and not isinstance(message, Malformed):
        message = known.type.FromString(body)  # as it was sent: decoded requests are tidied
        message.DiscardUnknownFields()
        if message.ByteSize() == len(body):  # else a newer TWS says more than these classes know
            clean.message(message)
            return found | {"message": MessageToDict(message, preserving_proto_field_name=True)}
    return found | {"bytes": clean.raw(body).hex()}


def payload_of(entry: Entry, version: int) -> bytes | None:
    """Return the payload that an entry tells of, None for one that was left out."""
    number = entry["id"]
    if "fields" in entry:
        body = "".join(f"{text}\0" for text in entry["fields"]).encode()
        return (number.to_bytes(4, "big") if version >= RAW_ID_VERSION else b"%d\0" % number) + body
    if "message" in entry:
        body = ParseDict(entry["message"], message_class(entry["name"])()).SerializeToString(
            deterministic=True
        )
    elif "bytes" in entry:
        body = bytes.fromhex(entry["bytes"])
    else:
        return None
    return int(number + 200).to_bytes(4, "big") + body


def _names_people(kind: Any, seen: frozenset[str] = frozenset()) -> bool:
    """Return whether a class of protobuf has a field for names, or a part that has one."""
    descriptor = getattr(kind, "DESCRIPTOR", kind)
    return descriptor.full_name not in seen and any(
        f.name in _NAMES
        or (f.message_type is not None and _names_people(f.message_type, seen | {descriptor.full_name}))
        for f in descriptor.fields
    )


# ---------------------------------------------------------------- files
@dataclass(frozen=True, slots=True)
class Transcript:
    """One connection. version: agreed on. time: TWS's own, as it said it. entries: in the order in which they came."""

    version: int
    time: str
    entries: list[Entry] = field(default_factory=list)


def load(path: Path, connection: int = 1) -> Transcript:
    """Read one connection of a file. Raises ParameterError where the file is no transcript or has no such one."""
    found: Transcript | None = None
    for number, entry in enumerate(_lines(path), 1):
        if not isinstance(entry, dict) or "connection" not in entry:
            raise ParameterError("transcript", str(path), f"line {number} is no line of a transcript")
        if entry["connection"] != connection:
            continue
        if "version" in entry:
            found = Transcript(entry["version"], entry["time"])
        elif found is not None and "id" in entry:
            found.entries.append(entry)
    if found is None:
        raise ParameterError("transcript", str(path), f"has no connection {connection} that TWS answered")
    return found


def _lines(path: Path) -> Iterable[Any]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except ValueError as e:
        raise ParameterError("transcript", str(path), f"is no file of JSON lines: {e}") from None
