"""Errors of the package, by cause.

Every error carries its facts as attributes and builds its message from them: what was wrong, with
which value, and what mends it. The exit code is the command line's (DESIGN: 3 configuration or
strategy, 4 data, 5 broker or connection).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Rows = Sequence[int] | npt.NDArray[np.integer[Any]]

# ruff: noqa: N818  # an error is named by its cause; "Error" only where the name would not say that it is one


class QuantError(Exception):
    """Base of every error that this package raises on purpose."""

    exit_code: ClassVar[int] = 3

    def __reduce__(self) -> tuple[Any, ...]:
        # Python's own way calls __init__ with the message alone, and so breaks a pool of processes.
        return _restore, (type(self), self.args, self.__dict__)


def _restore(kind: type[QuantError], args: tuple[Any, ...], facts: dict[str, Any]) -> QuantError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(facts)
    return error


# ---------------------------------------------------------------- configuration, 3
class ParameterError(QuantError, ValueError):
    """An argument or strategy parameter that cannot be used."""

    def __init__(self, name: str, value: Any, reason: str) -> None:
        super().__init__(f"{name} = {value!r}: {reason}")
        self.name = name
        self.value = value
        self.reason = reason


class ConfigError(QuantError):
    """A setting of quant.toml, the environment or the command line that cannot be used."""

    def __init__(self, origin: str, key: str, reason: str) -> None:
        super().__init__(f"{origin}: {key}: {reason}")
        self.origin = origin
        self.key = key
        self.reason = reason


class StrategyError(QuantError):
    """A strategy that cannot be run as it is."""

    def __init__(self, strategy: str, reason: str) -> None:
        super().__init__(f"strategy {strategy}: {reason}")
        self.strategy = strategy
        self.reason = reason


class StrategyNotFound(StrategyError):
    """No strategy has the name that was given."""


class SignalsError(StrategyError):
    """What `signals` or `signals_all` returned breaks the contract."""


class LookAheadOrder(StrategyError):
    """An order that could fill in a bar that began before the order was decided."""


class WorkerError(QuantError):
    """Worker processes cannot be started."""

    def __init__(self, strategy: str, reason: str) -> None:
        super().__init__(f"strategy {strategy}: worker processes cannot be started: {reason}")
        self.strategy = strategy
        self.reason = reason


class ParityError(StrategyError):
    """A sweep's row that backtrader does not give: a fault of ours, signals not the same twice, or a stale chunk."""

    def __init__(self, strategy: str, combination: str, difference: str) -> None:
        told = f"{combination}: run again by backtrader it differs: {difference}. Nothing of this sweep can be trusted"
        mend = (
            "`quant check` tells whether the signals are the same twice. Worker processes load modules anew: a global "
            "that was set by hand, or a file that has changed since, is another one there. Where chunks were held "
            "already and signals take data from elsewhere, remove the sweep's folder and call again"
        )
        super().__init__(strategy, f"{told}; {mend}")
        self.combination = combination
        self.difference = difference


# ---------------------------------------------------------------- data, 4
class DataError(QuantError):
    """Bars that are missing, invalid or damaged."""

    exit_code = 4


class BarsError(DataError, ValueError):
    """Bars that break a rule; `rows` are the first offending rows, counted from 0."""

    def __init__(self, what: str, reason: str, rows: Rows = (), mend: str = "") -> None:
        where = ""
        if len(rows):
            shown = ", ".join(str(r) for r in rows[:5])
            where = f" (row{'s' if len(rows) > 1 else ''} {shown}{', ...' if len(rows) > 5 else ''})"
        super().__init__(f"{what}: {reason}{where}" + (f". {mend}" if mend else ""))
        self.what = what
        self.reason = reason
        self.rows = tuple(int(r) for r in rows)
        self.mend = mend


class SeriesNotFound(DataError, LookupError):
    """The store has no bars of what was asked for."""

    def __init__(self, what: str, where: str, mend: str) -> None:
        super().__init__(f"no bars of {what} in {where}. {mend}")
        self.what = what
        self.where = where
        self.mend = mend


class RunNotFound(DataError, LookupError):
    """No saved run has the name that was given. near: names that may have been meant."""

    def __init__(self, name: str, where: str, near: Sequence[str] = ()) -> None:
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        super().__init__(f"no run {name} in {where}; {meant}`quant runs list` shows those that there are")
        self.name = name
        self.where = where
        self.near = near


class SweepNotFound(DataError, LookupError):
    """No saved sweep has the name that was given. near: names that may have been meant."""

    def __init__(self, name: str, where: str, near: Sequence[str] = ()) -> None:
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        super().__init__(f"no sweep {name} in {where}; {meant}`quant sweeps list` shows those that there are")
        self.name = name
        self.where = where
        self.near = near


class NothingToPromote(RunNotFound):
    """No saved run and no saved sweep has the name that was given. told: what it is instead, or how to make one."""

    def __init__(self, name: str, where: str, near: Sequence[str], told: str) -> None:
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        there = "`quant runs list` and `quant sweeps list` show those that there are"
        QuantError.__init__(self, f"no run or sweep {name} in {where}; {meant}{told or there}")
        self.name = name
        self.where = where
        self.near = near


class NotTraded(DataError, ValueError):
    """A deployment did not run in the session that was asked for."""

    def __init__(self, name: str, day: str, reason: str) -> None:
        super().__init__(f"{name} has nothing of {day}: {reason}")
        self.name = name
        self.day = day
        self.reason = reason


class EmptyRange(DataError, ValueError):
    """The range that was asked for holds no bars."""

    def __init__(self, what: str, wanted: str, held: str) -> None:
        super().__init__(f"{what}: no bars in {wanted}; the store holds {held}")
        self.what = what
        self.wanted = wanted
        self.held = held


class ImportRefused(DataError, ValueError):
    """A file that would make wrong bars; nothing of it was written. `rows` are file lines."""

    def __init__(self, path: str, reason: str, rows: Rows = (), mend: str = "") -> None:
        where = ""
        if len(rows):
            shown = ", ".join(str(r) for r in rows[:5])
            where = f" (line{'s' if len(rows) > 1 else ''} {shown}{', ...' if len(rows) > 5 else ''})"
        super().__init__(f"{path}: {reason}{where}; nothing was written" + (f". {mend}" if mend else ""))
        self.path = path
        self.reason = reason
        self.rows = tuple(int(r) for r in rows)
        self.mend = mend


class DamagedData(DataError):
    """A file at rest that is not what was written."""

    def __init__(self, path: str, reason: str, mend: str) -> None:
        super().__init__(f"{path} is damaged: {reason}. {mend}")
        self.path = path
        self.reason = reason
        self.mend = mend


class StoreBusy(DataError):
    """Another process writes to the same series."""

    def __init__(self, path: str) -> None:
        super().__init__(f"another process is writing {path}; try again when it has finished")
        self.path = path


class WriteFailed(DataError):
    """The system refused a write; what was there before is unchanged."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"cannot write {path}: {reason}; what was there is unchanged")
        self.path = path
        self.reason = reason


# ---------------------------------------------------------------- broker and connection, 5
class BrokerError(QuantError):
    """Something between us and Interactive Brokers that did not work."""

    exit_code = 5


class CannotConnect(BrokerError):
    """No session with TWS or IB Gateway could be opened. refused: because nothing listens there, or not yet."""

    def __init__(self, host: str, port: int, reason: str, mend: str, refused: bool = False) -> None:
        super().__init__(f"no connection to TWS at {host}:{port}: {reason}. {mend}")
        self.host = host
        self.port = port
        self.reason = reason
        self.mend = mend
        self.refused = refused


class ClientIdInUse(CannotConnect):
    """Another program is connected with the same client id."""

    def __init__(self, host: str, port: int, client_id: int) -> None:
        mend = "Close the other program (TWS lists API clients), or give this one another id: --client-id N"
        super().__init__(host, port, f"client id {client_id} is in use", mend)
        self.client_id = client_id


class NotConnected(BrokerError):
    """Something was asked of TWS while there was no session."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what}: not connected to TWS ({reason}); start TWS or IB Gateway and try again")
        self.what = what
        self.reason = reason


class LinkLost(BrokerError):
    """The connection broke; what was under way has no answer."""

    def __init__(self, cause: str, what: str = "") -> None:
        super().__init__(f"{what}: " * bool(what) + f"the connection to TWS broke: {cause}")
        self.cause = cause
        self.what = what


class ProtocolError(BrokerError):
    """The other end broke the TWS protocol; the connection was dropped."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the other end does not keep to the TWS protocol: it {what}")
        self.what = what


class WrongLibrary(BrokerError):
    """A library that cannot be used is installed in the place of the one that is needed."""

    def __init__(self, name: str, version: str, mend: str) -> None:
        super().__init__(f"{name} {version} is too old. {mend}")
        self.name = name
        self.version = version
        self.mend = mend


class RequestFailed(BrokerError):
    """TWS answered a request with an error. `code` is IB's; `what` says what was asked."""

    def __init__(self, what: str, code: int, text: str, mend: str = "") -> None:
        super().__init__(
            f"{what}: {text.strip().rstrip('.')} (IB code {code})" + (f". {mend}" if mend else "")
        )
        self.what = what
        self.code = code
        self.text = text
        self.mend = mend


class NoData(RequestFailed):
    """IB says that it holds no data for what was asked."""


class NoPermission(RequestFailed):
    """The account may not have what was asked: a market data subscription or an agreement is missing."""


class CompetingSession(RequestFailed):
    """The same user is logged in elsewhere, which takes the market data away."""


class PacingViolation(RequestFailed):
    """IB refused a request because too many came before it."""


class UnknownContract(RequestFailed):
    """IB knows nothing that fits the description."""


class AmbiguousContract(BrokerError):
    """Several contracts fit the description; `candidates` says each in words."""

    def __init__(self, what: str, candidates: Sequence[str], mend: str) -> None:
        shown = "".join(f"\n  {c}" for c in candidates[:20])
        more = f"\n  and {len(candidates) - 20} more" if len(candidates) > 20 else ""
        count = f"{len(candidates)} contracts fit" if candidates else "several contracts fit"
        super().__init__(f"{what}: {count}. {mend}{shown}{more}")
        self.what = what
        self.candidates = tuple(candidates)
        self.mend = mend


class ContractUnclear(BrokerError):
    """IB's description of a contract lacks a unit without which prices and quantities mean nothing."""

    def __init__(self, what: str, field: str, value: Any, mend: str) -> None:
        super().__init__(f"{what}: IB gives {field} = {value!r}, which cannot be used. {mend}")
        self.what = what
        self.field = field
        self.value = value
        self.mend = mend


class RequestCancelled(BrokerError):
    """A request was given up by who made it."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}: given up")
        self.what = what


class RequestTimeout(BrokerError):
    """TWS gave no answer, or stopped in the middle of one."""

    def __init__(self, what: str, waited_s: float) -> None:
        mend = "TWS may be busy, or its window may show a question that waits for an answer; try again"
        super().__init__(f"{what}: no answer for {waited_s:g} s. {mend}")
        self.what = what
        self.waited_s = waited_s


class DamagedAnswer(BrokerError):
    """Part of an answer could not be read, so that nothing of it may be used."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what}: part of the answer could not be read ({reason}); ask again")
        self.what = what
        self.reason = reason


class ClusterError(QuantError):
    """A cluster that cannot be used, or is gone."""

    exit_code = 5

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"cluster {address}: {reason}")
        self.address = address
        self.reason = reason


# ---------------------------------------------------------------- safety, 6
class SafetyStop(QuantError):
    """Trading may not begin, or must stop, until a person has looked."""

    exit_code = 6


class JournalError(SafetyStop):
    """A journal of orders that cannot be used; without one nothing may be sent."""

    def __init__(self, path: str, reason: str, mend: str) -> None:
        super().__init__(f"journal {path}: {reason}. {mend}")
        self.path = path
        self.reason = reason
        self.mend = mend


class JournalNotFound(JournalError):
    """There is no journal where one was expected."""


class JournalBusy(JournalError):
    """Another process has the journal."""


class JournalMismatch(JournalError):
    """The journal belongs to another deployment, account, strategy or version."""


class JournalDamaged(JournalError):
    """The journal does not hold what was written."""


class JournalFailed(JournalError):
    """The system refused a write; nothing of it may be relied upon, and nothing more is taken."""


class InstrumentBusy(SafetyStop):
    """Another deployment trades an instrument of the account, or its lock cannot be taken."""

    def __init__(self, account: str, con_id: int, owner: str, folder: str, reason: str = "") -> None:
        told = reason or f"it is traded by another deployment ({owner or 'it did not say which'})"
        mend = "Check the folder's rights" if reason else "Stop that one first, or leave the instrument out"
        super().__init__(f"instrument {con_id} of account {account}: {told}. {mend}; locks lie in {folder}")
        self.account = account
        self.con_id = con_id
        self.owner = owner
        self.folder = folder
        self.reason = reason
