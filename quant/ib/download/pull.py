"""`q.pull`: bars from TWS or IB Gateway into the store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from quant.core.barsize import BarSize, bar_size
from quant.errors import CannotConnect, ClientIdInUse, ParameterError
from quant.ib import requests
from quant.ib.contracts import ContractSpec
from quant.ib.download.ask import plan_pull
from quant.ib.download.ranges import check_range
from quant.ib.download.report import PullReport
from quant.ib.download.run import Tell, run_pull
from quant.ib.session import Session
from quant.ib.starting import while_starting
from quant.store import Store, data_folder
from quant.store.query import Moment

PORTS: Final = (7497, 4002, 7496, 4001)  # TWS paper, IB Gateway paper, TWS live, IB Gateway live
WHAT: Final = ("TRADES", "MIDPOINT", "BID", "ASK", "BID_ASK", "ADJUSTED_LAST")
_DEFAULT_EXCHANGE: Final = {"STK": "SMART", "CASH": "IDEALPRO"}


def pull(
    symbols: str | ContractSpec | Sequence[str | ContractSpec],
    bar: str | BarSize = "1d",
    start: Moment = None,
    end: Moment = None,
    *,
    what: str = "TRADES",
    rth: bool = True,
    sec_type: str = "STK",
    exchange: str = "",
    currency: str = "",
    expiry: str = "",
    con_id: int | None = None,
    trading_class: str = "",
    host: str = "127.0.0.1",
    port: int | None = None,
    client_id: int = 11,
    data: str | Path | None = None,
    repair: bool = False,
    progress: Tell | None = None,
    session: Session | None = None,
) -> PullReport:
    """Bring bars from TWS or IB Gateway into the store, and return what came.

    What the store has already is not asked for again, so the same call goes on after an end of any kind, and brings
    it up to date later; a bar comes when it is over. start, end: as of q.bars. start=None: what is held goes on; the
    first time all there is for bars of an hour and more, the last year for minutes, the last 5 sessions for seconds.
    what: IB's whatToShow; currencies have MIDPOINT where TRADES is asked for. sec_type, exchange, currency, expiry,
    con_id, trading_class: as IB knows the contract; "EURUSD" with sec_type="CASH" is a pair. Pairs are stored as
    "EUR.USD", futures by their local symbol ("ESH5"). port: None takes the first of 7497, 4002, 7496, 4001 on which a
    TWS answers. repair: ask again for what the sessions have and the store lacks, and for nothing else. progress: is
    called with a Progress, at least each second. session: an open one, in place of host, port and client_id.
    An error of one symbol is in the report. Raises ParameterError, CannotConnect, ClientIdInUse, NotConnected,
    LinkLost.
    """
    size = bar_size(bar)
    if what not in WHAT:
        raise ParameterError("what", what, f"one of {', '.join(WHAT)}")
    given = [symbols] if isinstance(symbols, str | ContractSpec) else list(symbols)
    if not given:
        raise ParameterError("symbols", symbols, "name at least one")
    if con_id is not None and len(given) > 1:
        raise ParameterError("con_id", con_id, "is of one contract; name one symbol")
    specs = [
        s
        if isinstance(s, ContractSpec)
        else describe(s, sec_type, exchange, currency, expiry, con_id, trading_class)
        for s in given
    ]
    check_range(start, end)
    if repair and what == "ADJUSTED_LAST":
        raise ParameterError("what", what, "is pulled as a whole each time; there is nothing to repair")
    store = Store(data_folder(data))
    own = connect(host, port, client_id) if session is None else session
    try:
        now = own.ask(requests.current_time())
        plan = plan_pull(
            own, specs, size, start, end, what=what, rth=rth, repair=repair, now=now, store=store
        )
        return run_pull(own, plan, store, progress=progress)
    finally:
        if session is None:
            own.close()


def describe(
    symbol: str,
    sec_type: str = "STK",
    exchange: str = "",
    currency: str = "",
    expiry: str = "",
    con_id: int | None = None,
    trading_class: str = "",
) -> ContractSpec:
    """Return the description of a contract from what a person says of it. Raises ParameterError."""
    kind = sec_type.strip().upper()
    name = symbol.strip()
    if kind == "CASH":
        name, currency = _pair(name, currency)
    return ContractSpec(
        symbol=name, sec_type=kind, exchange=exchange or _DEFAULT_EXCHANGE.get(kind, ""), currency=currency,
        expiry=expiry, con_id=con_id, trading_class=trading_class, include_expired=kind in ("FUT", "FOP", "OPT"),
    )  # fmt: skip


def _pair(name: str, currency: str) -> tuple[str, str]:
    """Return both currencies of a pair: "EURUSD", "EUR.USD", "EUR/USD", or "EUR" with a currency."""
    bare = name.replace(".", "").replace("/", "").upper()
    if len(bare) == 6 and bare.isalpha() and currency in ("", bare[3:]):
        return bare[:3], bare[3:]
    if len(bare) == 3 and currency:
        return bare, currency
    raise ParameterError("symbol", name, 'a currency pair is written like "EURUSD" or "EUR.USD"')


def connect(host: str, port: int | None, client_id: int) -> Session:
    """Return an open session, on the first usual port that a TWS answers on where none is named.

    Where nothing listens on this machine it waits a little, as quant.ib.starting says. Raises CannotConnect,
    ClientIdInUse.
    """
    return while_starting(lambda: _connect(host, port, client_id))


def _connect(host: str, port: int | None, client_id: int) -> Session:
    first: CannotConnect | None = None
    for number in PORTS if port is None else (port,):
        session = Session(host, number, client_id)
        try:
            session.connect()
        except ClientIdInUse:
            raise
        except CannotConnect as e:
            session.close()
            first = e if first is None or (first.refused and not e.refused) else first
            continue
        return session
    if first is None or port is not None:
        raise first if first is not None else ParameterError("port", port, "none to try")
    tried = ", ".join(map(str, PORTS))
    raise CannotConnect(host, first.port, f"{first.reason} (tried {tried})", first.mend, first.refused)
