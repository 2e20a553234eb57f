"""The broker of a backtrader program of one's own: journal, locks and order desk, without a runner around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from quant.errors import ParameterError, SafetyStop
from quant.ib.orders import Orders
from quant.live.broker import LiveBroker
from quant.live.run.control import JOURNAL
from quant.live.run.deployment import PAPER, limits_of, live_folder, lock_path
from quant.oms.desk.desk import OrderDesk
from quant.oms.desk.setup import Setup
from quant.oms.journal.journal import Journal
from quant.oms.journal.locks import instruments_held

PROGRAM: Final = "a program of one's own"  # in place of a strategy's hash: what it holds is not known


def open_broker(
    name: str, capital: float | None, limits: Mapping[str, Any] | None, *, data: Path, account: str,
    con_ids: Sequence[int], orders: Orders, client_id: int, now: Callable[[], int], opened: ExitStack,
) -> LiveBroker:  # fmt: skip
    """Return the broker that trades under a name, by the journal data/live/<name>; `opened` closes what it holds.

    Raises ParameterError, SafetyStop for an account of real money, InstrumentBusy, JournalError.
    """
    if not name or capital is None or not capital > 0.0:
        what = (name, capital)
        raise ParameterError(
            "name, capital", what, 'give both, e.g. store.getbroker("mine", capital=10_000.0)'
        )
    if lock_path(data, name).exists():
        reason = "there is a deployment of that name, which quant paper runs; take another"
        raise ParameterError("name", name, reason)
    if not account.startswith(PAPER):
        kinds = " or ".join(PAPER)
        raise SafetyStop(
            f"account {account} is no paper account: ids of those begin with {kinds}. A program of your own trades on "
            "paper; real money goes by quant promote and quant live"
        )
    setup = Setup(client_id, frozenset(con_ids), capital, limits_of(dict(limits or {})))
    opened.enter_context(instruments_held(account, con_ids, name))
    folder = live_folder(data, name)
    folder.mkdir(parents=True, exist_ok=True)
    journal = opened.enter_context(
        Journal.open(folder / JOURNAL, deployment=name, account=account, strategy_hash=PROGRAM, create=True)
    )
    journal.begin_run({}, now(), client_id=client_id)
    return LiveBroker(OrderDesk(journal, orders, setup, now()), journal, orders, capital=capital, now=now)
