"""The lines of `quant doctor` about TWS: where one listens, whose accounts it has, what it may show of a contract.

All of it ends within LIMIT_S of finding one, whatever TWS does; nothing here sends an order or changes a setting.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from quant.app import output
from quant.app.address import Address
from quant.app.doctor_line import Line
from quant.core import clock
from quant.errors import BrokerError, CannotConnect, ClientIdInUse, QuantError, WrongLibrary

if TYPE_CHECKING:
    from quant.ib.contracts import ContractSpec
    from quant.ib.lookup import Found
    from quant.ib.probes import Probe
    from quant.ib.session import Session

LIMIT_S: Final = 17.0  # for everything; a quote alone may take IB 11 s
CONNECT_S, LOGIN_S = 2.0, 4.0  # for one port
NOTHING: Final = "nothing listens there"
SKEW_S: Final = 2.0  # more makes bars look open that are closed, or the other way round
LINES: Final = 100  # least number of live quotes at a time; source: IB's page on market data lines
PAPER: Final = ("DU", "DF")  # how ids of paper accounts begin; the port says nothing, as anyone can change it
SETTINGS: Final = "Global Configuration > API > Settings"
INSTALL: Final = "python -m pip uninstall -y ibapi, then python -m pip install ibapi-stable"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a contract: its description, and IB's whatToShow of its history."""

    spec: ContractSpec
    what: str


def library() -> Line:
    """Tell which ibapi is installed, and whether it can be used."""
    try:
        from quant.ib.library import NEEDED, check_library
    except WrongLibrary as e:
        return Line("fail", "ibapi in use", str(e), INSTALL)
    except ImportError as e:
        return Line("fail", "ibapi in use", f"cannot be imported: {e}", INSTALL)
    return Line("ok", "ibapi in use", f"{check_library()}, which speaks protocol {NEEDED} and later")


def asked_of(symbol: str, **contract: Any) -> Asked:
    """Return what the command line describes, as `data pull` would. Raises ParameterError."""
    from quant.ib.download import describe

    spec = describe(symbol, **contract)
    return Asked(spec, "MIDPOINT" if spec.sec_type == "CASH" else "TRADES")


def lines(address: Address, asked: Callable[[], Asked] | None) -> Iterator[Line]:
    """Tell all about the TWS at `address`, and what it may show of a contract where one is asked for.

    asked: makes the description when it is needed; what it raises becomes a line. Needs a usable `library`.
    """
    open_, told = _awaited(address)
    until = clock.monotonic() + LIMIT_S
    if not open_:
        ports = ", ".join(map(str, address.ports))
        where = f"nothing found at {address.host}, port{'s' * (len(address.ports) > 1)} {ports}: {told}"
        yield Line("warn", "TWS", f"{where} (backtests need none)", _start())
        if asked is not None:
            yield Line("fail", "contract", "not looked up, as no TWS was found", "see above")
        return
    output.note(f"asking TWS at {address.host}, at most {LIMIT_S:.0f} s")
    ready = False
    for port in open_:
        session, connected = _connected(address, port, until)
        yield from connected
        if session is None:
            continue
        with _limited(session, until):
            yield from _guarded("TWS", _about(session))
            if asked is not None and not ready:
                yield from _guarded("contract", _contract(session, asked))
        ready = True
    if asked is not None and not ready:
        yield Line("fail", "contract", "not looked up, as there is no session with TWS", "see above")


# ---------------------------------------------------------------- where it is
def _awaited(address: Address) -> tuple[list[int], str]:
    """Return what `_listening` does; a port that somebody named is given the time that a TWS takes to start."""
    from quant.ib.starting import while_starting

    def found() -> tuple[list[int], str]:
        open_, told = _listening(address)
        if told == NOTHING and address.port is not None:
            raise CannotConnect(address.host, address.port, told, _start(), refused=True)
        return open_, told

    try:
        return while_starting(found)
    except CannotConnect as e:
        return [], e.reason


def _listening(address: Address) -> tuple[list[int], str]:
    """Return the ports on which anything takes connections, and why the first of the others takes none.

    All are tried at once: where a firewall swallows the question each takes its full time.
    """
    import socket
    from concurrent.futures import ThreadPoolExecutor

    def tried(port: int) -> str | None:
        try:
            socket.create_connection((address.host, port), CONNECT_S).close()
        except ConnectionRefusedError:
            return NOTHING
        except TimeoutError:
            return f"no answer within {CONNECT_S:g} s"
        except socket.gaierror:
            return "there is no such host"
        except OSError as e:
            return e.strerror or str(e)
        return None

    with ThreadPoolExecutor(len(address.ports)) as pool:
        found = dict(zip(address.ports, pool.map(tried, address.ports), strict=True))
    return [p for p, why in found.items() if why is None], next(filter(None, found.values()), "")


def _connected(address: Address, port: int, until: float) -> tuple[Session | None, list[Line]]:
    """Return an open session, None if there can be none, and what there is to tell about it."""
    where = f"{address.host}:{port}"
    told: list[Line] = []
    for client_id in (address.client_id, address.client_id + 1):
        if until - clock.monotonic() < CONNECT_S + LOGIN_S:
            line = Line("warn", "TWS", f"{where} was not asked: the time is up", "Give it alone: --port N")
            return None, [*told, line]
        session = _session(address.host, port, client_id)
        try:
            session.connect()
        except ClientIdInUse as e:  # told, and the next one is taken: a download may be under way
            told.append(Line("warn", "client id", f"{where}: {e.reason}", e.mend))
        except CannotConnect as e:
            return None, [*told, Line("warn", "TWS", f"{where}: {e.reason}", e.mend)]
        else:
            version = session.server_version
            answers = f"{where} answers, server version {version}, client id {client_id} is free"
            return session, [*told, Line("ok", "TWS", answers)]
    return None, told


def _session(host: str, port: int, client_id: int) -> Session:
    from quant.ib.link import Patience
    from quant.ib.session import Session
    from quant.ib.wire import Limits, Wire

    limits = Limits(connect_s=CONNECT_S, handshake_s=LOGIN_S / 2, send_s=LOGIN_S)
    opened = partial(Wire.open, host, port, clock=clock.monotonic, limits=limits)
    patience = Patience(login_s=LOGIN_S)
    return Session(host, port, client_id, reconnect=False, open_link=opened, patience=patience)


@contextmanager
def _limited(session: Session, until: float) -> Iterator[None]:
    """Close the session after the block, or when the time is up: what waits for an answer then ends with an error."""
    timer = threading.Timer(max(until - clock.monotonic(), 0.0), session.close)
    timer.daemon = True
    timer.start()
    try:
        with session:
            yield
    finally:
        timer.cancel()


def _guarded(name: str, found: Iterator[Line]) -> Iterator[Line]:
    """Give the lines; an error among them becomes the last one."""
    try:
        yield from found
    except QuantError as e:
        yield Line("warn", name, f"ended early: {e}", _busy())


def _start() -> str:
    from quant.ib.wire import START

    return START


def _busy() -> str:
    return "Look whether a window of TWS waits for an answer, and try again"


# ---------------------------------------------------------------- TWS itself
def _about(session: Session) -> Iterator[Line]:
    from quant.ib.states import State

    if session.state is State.CUT:
        yield Line(
            "warn",
            "IB",
            "TWS has no connection to IB",
            "wait, or look at TWS's window; it connects by itself",
        )
    yield from _clock(session)
    yield from _accounts(session)
    yield _read_only(session)
    yield from _farms(session)
    yield _limits()


def _clock(session: Session) -> Iterator[Line]:
    from quant.ib.probes import clock_skew_s

    zone = session.server_time.partition(" ")[2].partition(" ")[2].strip() or "an unknown zone"
    here = clock.now().astimezone().tzname() or "an unknown zone"
    told = f"TWS is set to {zone}, this machine to {here}; quant asks for and keeps UTC, so either is right"
    yield Line("ok", "time zone", told)
    skew = clock_skew_s(session, clock.now())
    # TWS tells whole seconds, so it is ahead by skew to skew + 1.
    if skew <= SKEW_S and skew + 1.0 >= -SKEW_S:
        yield Line("ok", "clock", f"agrees with TWS's within {SKEW_S:g} s")
        return
    ahead = skew if skew > 0.0 else -skew - 1.0
    told = f"TWS's is {ahead:,.0f} s {'ahead' if skew > 0.0 else 'behind'}"
    mend = "Let both machines set their time from the internet; a simulated TWS may have a clock of its own"
    yield Line("warn", "clock", told, mend)


def _accounts(session: Session) -> Iterator[Line]:
    from quant.ib import requests

    told: dict[str, dict[str, tuple[str, str]]] = {}
    trouble: BrokerError | None = None
    try:
        told = session.ask(requests.account_summary(("AccountType", "NetLiquidation")))
    except BrokerError as e:
        trouble = e
    for account in session.accounts:
        values = told.get(account, {})
        kind = "paper" if account.startswith(PAPER) else "LIVE, real money"
        type_ = values.get("AccountType", ("type unknown", ""))[0]
        base = values.get("NetLiquidation", ("", ""))[1] or "unknown"
        yield Line("ok", "account", f"{account}: {kind} (by its id); {type_}, base currency {base}")
    if trouble is not None:
        yield Line("warn", "account", f"no summary: {trouble}", _busy())


def _read_only(session: Session) -> Line:
    """TWS tells only who asks for orders, and opens a window then; so nobody is asked (ib_insync issues 1 and 7)."""
    if any("read-only" in n.verdict.text.casefold() for n in session.notices):
        return Line("ok", "read-only API", f"on: bars come, orders would be refused ({SETTINGS})")
    told = f"not known: TWS tells it only to who asks for orders. See '{SETTINGS} > Read-Only API'"
    return Line("ok", "read-only API", f"{told}; bars come either way")


def _farms(session: Session) -> Iterator[Line]:
    from quant.ib.codes import Kind

    lost = [name for name, kind in session.farms.items() if kind is Kind.FARM_LOST]
    if lost:
        mend = "Wait; if it stays, restart TWS"
        yield Line("warn", "data farms", f"not connected: {', '.join(lost)}", mend)


def _limits() -> Line:
    from quant.ib.pacing import BUDGET, BUDGET_S, OPEN_REQUESTS, SMALL_BAR_S

    told = (
        f"history: {OPEN_REQUESTS} requests at a time, and {BUDGET} in {BUDGET_S / 60:.0f} minutes for bars of "
        f"{SMALL_BAR_S:.0f} s or less, which quant keeps to; live quotes: {LINES} lines or more (Ctrl-Alt-= in TWS)"
    )
    return Line("ok", "IB's limits", told)


# ---------------------------------------------------------------- a contract
def _contract(session: Session, asked: Callable[[], Asked]) -> Iterator[Line]:
    from quant.errors import AmbiguousContract, ContractUnclear, ParameterError, RequestFailed
    from quant.ib import probes, requests
    from quant.ib.lookup import find_contract

    try:
        wanted = asked()
        found = find_contract(session, wanted.spec, clock.now())
    except ParameterError as e:
        yield Line("fail", "contract", str(e), "see: quant doctor --help")
        return
    except AmbiguousContract as e:
        yield Line("fail", "contract", _without_mend(e), e.mend)
        return
    except (RequestFailed, ContractUnclear) as e:
        yield Line("fail", "contract", f"{e.what}: {getattr(e, 'text', '') or e}", e.mend)
        return
    yield _found(found)
    spec = found.facts.spec
    history = probes.history(session, spec, wanted.what)
    yield _probe(f"history {wanted.what}", history)
    # Delayed quotes where there are no live ones: what comes then says which of the two the account may have.
    session.tell("the kind of quotes", requests.ask_for_data_type("delayed"))
    yield _probe("live quotes", probes.live_data(session, spec))


def _without_mend(e: Any) -> str:
    return str(e).replace(f" {e.mend}", "", 1)


def _found(found: Found) -> Line:
    i = found.instrument
    calendar = "no calendar known" if i.calendar is None else f"calendar {i.calendar}"
    pence = f", prices in 1/{i.price_magnifier} {i.currency}" if i.price_magnifier != 1 else ""
    told = f"{found.facts.spec}, id {i.con_id}, {found.facts.long_name}: {calendar}, tick {i.tick:g}{pence}"
    if i.calendar is None:
        mend = "bars can be pulled; intraday bars need a calendar to be checked for gaps"
        return Line("warn", "contract", told, mend)
    return Line("ok", "contract", told)


ANSWERS: Final = {
    "granted": "yes",
    "delayed": "delayed by 15 minutes or so",
    "refused": "no permission",
    "competing": "the same user is logged in elsewhere, which takes the data away",
    "none": "nothing came",
    "unclear": "not known",
}


def _probe(name: str, probe: Probe) -> Line:
    told = ANSWERS[probe.answer] + (f": {probe.told}" if probe.told else "")
    if probe.answer == "granted":
        return Line("ok", name, told)
    return Line("warn", name, told, probe.mend)
