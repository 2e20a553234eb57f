"""What TWS says no with: a code and a text. A refusal is a value, for refusing is ordinary work here."""

from __future__ import annotations

from dataclasses import dataclass

HMDS = "Historical Market Data Service error message:"


@dataclass(frozen=True, slots=True)
class Refusal:
    """One error message of TWS, still without the id of the request that it answers."""

    code: int
    text: str


def invalid(cause: str) -> Refusal:
    """Return error 321 with TWS's frame around `cause`.

    The two letters that TWS writes before "cause" change with each of its builds; ours never do.
    """
    return Refusal(321, f"Error validating request.-'bQ' : cause - {cause}")
