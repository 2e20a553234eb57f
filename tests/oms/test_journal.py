"""The journal: nothing committed is lost, nothing half written, nobody else's. Rows named are of live-faults §4a."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.core.orders import Kind, Position, Report, Snapshot, Ticket, TimeInForce
from quant.errors import (
    JournalBusy,
    JournalDamaged,
    JournalError,
    JournalFailed,
    JournalMismatch,
    JournalNotFound,
    ParameterError,
)  # fmt: skip
from quant.oms import failpoints
from quant.oms.journal import file as journal_file
from quant.oms.journal.encoding import digest, from_plain, report_of, report_text, text, to_plain
from quant.oms.journal.journal import Journal
from quant.oms.ledger import Ledger, Source, Stop, What
from tests.oms.facts import ACCOUNT, TICKET, commission, completed, corrected, echo, execution, status, told
from tests.oms.journal_child import OWNER as CHILD
from tests.oms.journal_times import commit_seconds, percentiles

ROOT = Path(__file__).parents[2]
OWNER = {"deployment": "macd-spy", "account": ACCOUNT, "strategy_hash": "hash"}
FILL = execution(1, 40, 40)
REPORTS: tuple[Report, ...] = (
    echo(), status("Submitted"), FILL, commission(FILL), told(399), completed("Cancelled", 40),
)  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "live" / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    with Journal.open(path, **OWNER, create=True) as opened:
        opened.begin_run({"version": "1"}, 1, client_id=7)
        yield opened


def ticket(journal: Journal, **other: Any) -> Ticket:
    return replace(TICKET, ref=journal.next_ref(), **other)


def filled_in(journal: Journal) -> Ledger:
    """Write one of everything."""
    first = journal.add_intent(ticket(journal), journal.next_order_id(5), 2, "cross")
    journal.mark(first.ref, What.SENT, 3)
    journal.add_reports(REPORTS, 4)
    journal.add_holding(Source.BASELINE, 1, "SPY", Decimal("10.5"), None, 5, "there at start")
    journal.add_snapshot(snapshot(), "agrees", 6)
    journal.halt("a stranger", 7)
    journal.clear_halt("Ada", "it was mine", 8)
    journal.halt("daily loss", 9, Stop.REDUCE)
    return journal.load()


def snapshot(**other: Any) -> Snapshot:
    at = Position(ACCOUNT, 1, "SPY", Decimal(40), 500.0)
    empty = Snapshot(1, 2, 1, 30, (echo(),), (), (), (FILL,), (commission(FILL),), (at,))
    return replace(empty, **other)


# ---------------------------------------------------------------- what is written is read
def test_everything_is_there_after_a_restart(path: Path) -> None:
    with Journal.open(path, **OWNER, create=True) as journal:
        journal.begin_run({"version": "1"}, 1, client_id=7)
        before = filled_in(journal)
    with Journal.open(path, **OWNER) as journal:
        assert journal.load() == before
    assert [fact.report for fact in before.facts] == list(REPORTS)
    assert before.intents[0].ticket == replace(TICKET, ref="q1:macd-spy:1")
    assert (before.halted, before.reducing and before.reducing.reason) == (None, "daily loss")
    assert before.holdings[0].quantity == Decimal("10.5")


def test_a_halt_outlives_a_restart_until_a_person_clears_it(path: Path) -> None:
    with Journal.open(path, **OWNER, create=True) as journal:
        journal.halt("first", 1)
        journal.halt("second", 2)
    with Journal.open(path, **OWNER) as journal:
        stop = journal.load().halted
        assert stop is not None
        assert stop.reason == "first"
        with pytest.raises(ParameterError, match="name the person"):
            journal.clear_halt(" ", "", 3)
        journal.clear_halt("Ada", "looked", 3)
        assert journal.load().halted is None


def test_numbers_tell_the_order_over_all_kinds(journal: Journal) -> None:
    ledger = filled_in(journal)
    assert [ledger.runs[0].number, ledger.intents[0].number, ledger.marks[0].number] == [1, 2, 3]
    assert [fact.number for fact in ledger.facts] == [4, 5, 6, 7, 8, 9]


def test_of_many_reports_the_new_ones_are_told(journal: Journal) -> None:
    reports = [replace(FILL, exec_id=f"e{n}.01") for n in range(1010)]
    assert len(journal.add_reports(reports[:505], 1)) == 505
    assert [fact.report for fact in journal.add_reports(reports, 2)] == reports[505:]
    assert journal.add_reports(reports, 3) == ()


def test_a_report_that_is_there_already_is_no_news(journal: Journal) -> None:  # rows O1, O2
    assert len(journal.add_reports([FILL, FILL, echo()], 1)) == 2
    assert journal.add_reports([echo(), FILL], 2) == ()
    same = replace(FILL, quantity=Decimal("40.00"), price=500)
    assert journal.add_reports([same], 3) == ()
    assert len(journal.add_reports([replace(FILL, ref="")], 4)) == 1
    assert len(journal.add_reports([corrected(FILL, 2)], 5)) == 1


def test_a_report_that_an_earlier_process_took_is_no_news(path: Path) -> None:
    with Journal.open(path, **OWNER, create=True) as journal:
        journal.begin_run({}, 1, client_id=7)
        journal.add_reports([FILL, echo()], 2)
    with Journal.open(path, **OWNER) as journal:
        assert [fact.report for fact in journal.add_reports([echo(), FILL, told(399)], 3)] == [told(399)]


# ---------------------------------------------------------------- keys and ids
def test_refs_are_never_used_again(path: Path) -> None:
    with Journal.open(path, **OWNER, create=True) as journal:
        journal.begin_run({}, 1, client_id=7)
        first = journal.add_intent(ticket(journal), 1, 1)
        with pytest.raises(ParameterError, match="used before"):
            journal.add_intent(replace(TICKET, ref=first.ref), 2, 1)
    with Journal.open(path, **OWNER) as journal:
        assert (first.ref, journal.next_ref()) == ("q1:macd-spy:1", "q1:macd-spy:2")


def test_order_ids_lie_above_everything_ever_seen(path: Path) -> None:  # row C6: nextValidId rolls back
    with Journal.open(path, **OWNER, create=True) as journal:
        journal.begin_run({}, 1, client_id=7)
        assert journal.next_order_id(4) == 4
        journal.add_intent(ticket(journal), 10, 1)
        assert journal.next_order_id(4) == 11
        journal.add_reports([status("Submitted", order_id=20)], 1)
        journal.add_reports([status("Submitted", order_id=2_000_000_000, client_id=8)], 1)
        assert journal.next_order_id(4) == 21
        journal.add_snapshot(snapshot(), "", 1)  # its nextValidId is 30
        assert journal.next_order_id(4) == 30
    with Journal.open(path, **OWNER) as journal:
        assert journal.next_order_id(4) == 30
        assert journal.next_order_id(100) == 100
        with pytest.raises(ParameterError, match="reset the API order IDs"):
            journal.next_order_id(2**31)


@pytest.mark.parametrize(
    ("other", "order_id", "said"),
    [
        ({"ref": "q1:rsi-spy:9"}, 9, "form q1:macd-spy"),
        ({"ref": "q1:macd-spy:" + "1" * 40}, 9, "40 characters"),
        ({"account": "U1"}, 9, "that of the journal"),
        ({"quantity": Decimal(0)}, 9, "not be 0"),
        ({"quantity": Decimal("NaN")}, 9, "not a number"),
        ({"limit": float("inf")}, 9, "not a number"),
        ({"parent": "q1:macd-spy:77"}, 9, "no order of this journal"),
        ({}, 0, "between 1"),
        ({}, 3, "that of another order"),
    ],
)
def test_a_ticket_that_cannot_be_right_is_refused_whole(
    journal: Journal, other: dict[str, Any], order_id: int, said: str
) -> None:
    journal.add_intent(ticket(journal), 3, 1)
    before = journal.load()
    good, bad = ticket(journal), {"ref": journal.next_ref(), **other}
    with pytest.raises(ParameterError, match=said):
        journal.add_intents([(good, 4), (replace(TICKET, **bad), order_id)], 1)
    assert journal.load() == before
    journal.add_intent(good, 4, 1)


def test_a_bracket_is_one_commit(journal: Journal) -> None:
    entry = ticket(journal)
    stop = ticket(journal, parent=entry.ref, kind=Kind.STOP, stop=400.0, tif=TimeInForce.GTC)
    assert [i.ref for i in journal.add_intents([(entry, 1), (stop, 2)], 1)] == [entry.ref, stop.ref]


def test_nothing_can_be_sent_before_the_run_is_known(path: Path) -> None:
    with (
        Journal.open(path, **OWNER, create=True) as journal,
        pytest.raises(ParameterError, match="begin_run"),
    ):
        journal.add_intent(ticket(journal), 1, 1)


def test_a_mark_needs_its_order(journal: Journal) -> None:
    with pytest.raises(ParameterError, match="no order of this journal"):
        journal.mark("q1:macd-spy:1", What.SENT, 1)


@pytest.mark.parametrize("name", ["", "a:b", "ünder", "x" * 27, "a\nb"])
def test_a_deployment_must_fit_into_an_orderref(path: Path, name: str) -> None:
    with pytest.raises(ParameterError, match="deployment"):
        Journal.open(path, **{**OWNER, "deployment": name}, create=True)


# ---------------------------------------------------------------- whose it is (rows C3, K3)
@pytest.mark.parametrize("what", ["deployment", "account", "strategy_hash"])
def test_a_journal_of_another_is_refused_and_left_as_it_is(path: Path, what: str) -> None:
    Journal.open(path, **OWNER, create=True).close()
    was = path.read_bytes()
    with pytest.raises(JournalMismatch, match=f"it belongs to {what.replace('_', ' ')}") as caught:
        Journal.open(path, **{**OWNER, what: "DU7654321"})
    assert ACCOUNT not in str(caught.value)
    assert (path.read_bytes(), caught.value.exit_code) == (was, 6)
    Journal.open(path, **OWNER).close()


def test_another_schema_is_refused(path: Path) -> None:
    Journal.open(path, **OWNER, create=True).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 2")
    with pytest.raises(JournalMismatch, match="schema 2, this version reads 1"):
        Journal.open(path, **OWNER)


def test_no_journal_is_made_where_one_was_expected(path: Path) -> None:
    with pytest.raises(JournalNotFound, match="restore the file"):
        Journal.open(path, **OWNER)
    assert not path.parent.exists()


def test_a_second_opening_is_refused_and_the_first_goes_on(path: Path, journal: Journal) -> None:
    with pytest.raises(JournalBusy, match="another process trades"):
        Journal.open(path, **OWNER)
    journal.halt("goes on", 1)


def test_a_second_process_is_refused(path: Path) -> None:
    with Journal.open(path, **CHILD, create=True):
        done = child(path, turns=1)
    assert done.returncode == 1
    assert "JournalBusy" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_only_its_owner_reads_it(path: Path, journal: Journal) -> None:
    filled_in(journal)
    for file in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        assert file.stat().st_mode & 0o777 == 0o600


# ---------------------------------------------------------------- processes that die (rows K1, K3)
def child(
    path: Path, *, room: str = "", die_at: str = "", turns: int = 100_000
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.oms.journal_child", str(path), room, die_at, str(turns)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def assert_holds(path: Path, lines: list[str]) -> Ledger:
    """The journal opens, is whole, and holds all that the process said, and at most one record more."""
    with Journal.open(path, **CHILD) as journal:
        ledger = journal.load()
        assert journal.next_ref() == f"q1:child:{len(ledger.intents) + 1}"
    said: dict[str, list[str]] = {"intent": [], "mark": [], "fill": []}
    for kind, name in (line.split(" ", 1) for line in lines):
        said[kind].append(name)
    held = {
        "intent": [i.ref for i in ledger.intents],
        "mark": [m.ref for m in ledger.marks],
        "fill": [f.report.exec_id for f in ledger.facts],  # type: ignore[union-attr]
    }
    assert all(held[kind][: len(said[kind])] == said[kind] for kind in said)
    assert sum(map(len, held.values())) - sum(map(len, said.values())) in (0, 1)
    return ledger


def test_nothing_committed_is_lost_by_kill_9(path: Path, full: bool) -> None:
    random_ = random.Random(9)
    lines: list[str] = []
    for _ in range(100 if full else 5):
        command = [sys.executable, "-m", "tests.oms.journal_child", str(path), "", "", "100000"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines.extend(process.stdout.readline().strip() for _ in range(random_.randint(1, 150)))
            process.kill()
            lines.extend(line.strip() for line in process.stdout if line.endswith("\n"))
        ledger = assert_holds(path, lines)
        lines = [f"intent {i.ref}" for i in ledger.intents] + [f"mark {m.ref}" for m in ledger.marks]
        lines += [f"fill {f.report.exec_id}" for f in ledger.facts]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("place", "more"),
    [("before_commit", 0), ("after_commit", 1), ("callback_before_commit", 0), ("callback_after_commit", 1)],
)
def test_death_around_a_commit_leaves_it_whole_or_out(path: Path, place: str, more: int) -> None:
    done = child(path, die_at=place, turns=12)
    assert (done.returncode, done.stderr) == (9, "")
    lines = done.stdout.splitlines()
    ledger = assert_holds(path, lines)
    assert len(ledger.intents) + len(ledger.marks) + len(ledger.facts) - len(lines) == more


def test_a_journal_that_nobody_closed_is_closed_at_the_end_of_the_program(path: Path) -> None:
    code = (
        "from quant.oms.journal.journal import Journal; from tests.oms.journal_child import OWNER; import sys; "
        "kept = Journal.open(sys.argv[1], **OWNER, create=True); kept.halt('x', 1); 1 / 0"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True)
    assert "ZeroDivisionError" in done.stderr
    assert not path.with_name(path.name + "-wal").exists()
    with Journal.open(path, **CHILD) as journal:
        assert journal.load().halted is not None


def test_an_interrupted_record_leaves_nothing_and_the_next_is_taken(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(name: str) -> None:
        raise KeyboardInterrupt

    before = journal.load()
    with monkeypatch.context() as patched:
        patched.setattr(failpoints, "hook", interrupt)
        with pytest.raises(KeyboardInterrupt):
            journal.halt("never", 1)
    assert journal.load() == before
    assert journal.halt("now", 2).number == 2
    assert journal.load().halts[0].reason == "now"


# ---------------------------------------------------------------- what a disk can do (row K2)
class Failing(sqlite3.Connection):
    """A connection on which each COMMIT ends in an error of SQLite's, while `with_error` is set."""

    with_error: str | None = None

    def execute(self, sql: str, *rest: Any) -> sqlite3.Cursor:
        if self.with_error is not None and sql == "COMMIT":
            super().execute("ROLLBACK")
            error = sqlite3.OperationalError(self.with_error)
            error.sqlite_errorcode = getattr(sqlite3, self.with_error)
            raise error
        return super().execute(sql, *rest)


@pytest.mark.parametrize(
    "error", ["SQLITE_FULL", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_WRITE", "SQLITE_READONLY", "SQLITE_BUSY"]
)
def test_after_a_failed_commit_nothing_more_is_taken(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    def connect(where: str) -> sqlite3.Connection:
        return sqlite3.connect(
            where, uri=True, isolation_level=None, check_same_thread=False, factory=Failing
        )

    monkeypatch.setattr(journal_file, "_connection", connect)
    with Journal.open(path, **OWNER, create=True) as journal:
        journal.begin_run({}, 1, client_id=7)
        before = journal.load()
        Failing.with_error = error
        with pytest.raises(JournalFailed, match=f"{error}.*Nothing was sent") as caught:
            journal.add_intent(ticket(journal), 1, 1)
        Failing.with_error = None
        with pytest.raises(JournalFailed, match="nothing more is taken"):
            journal.add_reports([FILL], 1)
        assert (journal.load(), caught.value.exit_code) == (before, 6)
    with Journal.open(path, **OWNER) as journal:
        assert journal.load() == before


def test_each_commit_waits_for_the_disk(
    journal: Journal,
) -> None:  # live-faults §4b.1: NORMAL can lose the last ones
    pragmas = ("synchronous", "journal_mode", "fullfsync")
    assert [journal._db.execute(f"PRAGMA {p}").fetchone()[0] for p in pragmas] == [2, "wal", 1]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no file")
@pytest.mark.parametrize("room", [70_000, 90_000, 200_000])
def test_a_full_disk_stops_before_the_send_and_keeps_what_was_written(path: Path, room: int) -> None:
    done = child(path, room=str(room))
    *lines, last = done.stdout.splitlines()
    assert (done.returncode, last.split(" ")[0]) == (6, "failed"), done.stderr
    assert lines
    assert_holds(path, lines)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(path: Path) -> None:
    Journal.open(path, **OWNER, create=True).close()
    path.parent.chmod(0o500)
    try:
        with pytest.raises(JournalFailed, match="Look at the disk"):
            Journal.open(path, **OWNER)
    finally:
        path.parent.chmod(0o700)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(JournalFailed, match="Look at the disk"):
        Journal.open(tmp_path / "file" / "journal.sqlite", **OWNER, create=True)


def killed(path: Path) -> None:
    """Leave a journal whose last records are in its -wal file."""
    assert child(path, die_at="after_commit", turns=30).returncode == 9


def test_a_missing_wal_file_is_refused_and_its_return_is_enough(path: Path) -> None:
    killed(path)
    wal = path.with_name(path.name + "-wal")
    content, was = wal.read_bytes(), path.read_bytes()
    for gone in (wal.unlink, lambda: wal.write_bytes(b"")):
        gone()
        path.with_name(path.name + "-shm").unlink(missing_ok=True)
        with pytest.raises(JournalDamaged, match="-wal with its last records is missing"):
            Journal.open(path, **CHILD)
        assert path.read_bytes() == was
        wal.write_bytes(content)
    with Journal.open(path, **CHILD) as journal:
        assert len(journal.load().intents) > 0


def test_a_refusal_does_not_take_the_wal_file_away(path: Path) -> None:
    killed(path)
    with pytest.raises(JournalMismatch):
        Journal.open(path, **{**CHILD, "account": "U1"})
    with Journal.open(path, **CHILD) as journal:
        assert len(journal.load().intents) > 0


def test_an_opening_that_fails_midway_leaves_the_wal_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = journal_file._check

    def fail(*rest: Any) -> None:
        look(*rest)
        raise sqlite3.OperationalError("as a failing disk may")

    killed(path)
    with monkeypatch.context() as patched:
        patched.setattr(journal_file, "_check", fail)
        with pytest.raises(JournalDamaged, match="failing disk"):
            Journal.open(path, **CHILD)
    with Journal.open(path, **CHILD) as journal:
        assert len(journal.load().intents) > 0


def test_a_torn_end_of_the_wal_file_loses_only_what_was_being_written(path: Path) -> None:
    killed(path)
    with path.with_name(path.name + "-wal").open("ab") as wal:
        wal.write(random.Random(1).randbytes(1000))
    with Journal.open(path, **CHILD) as journal:
        assert len(journal.load().intents) == 8  # 15 commits and the one it died after: two each turn


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0", b"\0" * 5000, b"no journal at all" * 100])
def test_a_file_that_is_none_is_refused(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(JournalDamaged, match="no SQLite file"):
        Journal.open(path, **OWNER, create=True)
    assert path.read_bytes() == content


def test_a_torn_file_is_refused(path: Path) -> None:
    with Journal.open(path, **OWNER, create=True) as journal:
        journal.begin_run({}, 1, client_id=7)
        filled_in(journal)
    whole = path.read_bytes()
    for keep in (len(whole) - 1, len(whole) - 4096, len(whole) // 2, 4096, 512):
        path.write_bytes(whole[:keep])
        with pytest.raises(JournalError, match="journal"):
            Journal.open(path, **OWNER)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE fill SET price = price + 1",
        "UPDATE intent SET body = replace(body, '100', '900')",
        "UPDATE event SET at = at + 1 WHERE number = 4",
        "UPDATE event SET body = replace(body, '40', '41') WHERE body LIKE '%Execution%'",
        "DELETE FROM mark",
        "DELETE FROM event WHERE number = 5",
        "DELETE FROM fill",
        "UPDATE meta SET value = 'DU1' WHERE name = 'account'",
        "DELETE FROM meta",
        "DROP TABLE halt",
    ],
)
def test_a_changed_or_lost_record_is_told(path: Path, sql: str) -> None:
    with Journal.open(path, **OWNER, create=True) as journal:
        journal.begin_run({}, 1, client_id=7)
        filled_in(journal)
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute(sql).rowcount != 0
    with pytest.raises(JournalError) as caught:
        Journal.open(path, **OWNER)
    assert isinstance(caught.value, JournalDamaged | JournalMismatch)


def test_no_flipped_bit_passes_for_another_journal(path: Path, full: bool) -> None:
    """Each flip is refused or changes nothing: free space, and what SQLite reads past."""
    with Journal.open(path, **OWNER, create=True) as journal:
        journal.begin_run({}, 1, client_id=7)
        before = filled_in(journal)
    whole = path.read_bytes()
    random_ = random.Random(3)
    used = [at for at, byte in enumerate(whole) if byte != 0]
    refused = 0
    for _ in range(2000 if full else 60):
        at = random_.choice(used)
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << random_.randrange(8)]) + whole[at + 1 :])
        try:
            with Journal.open(path, **OWNER) as journal:
                assert journal.load() == before, at
        except JournalError:
            refused += 1
    assert refused > 0


# ---------------------------------------------------------------- values as texts
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**12), max_value=10**12)
FLOATS = st.none() | st.floats(allow_nan=False, allow_infinity=False)


@given(quantity=DECIMALS, price=FLOATS, text=st.text(), number=st.integers(0, 2**62))
def test_values_come_back_as_they_were(
    quantity: Decimal, price: float | None, text: str, number: int
) -> None:
    wanted = replace(TICKET, quantity=quantity, limit=price, symbol=text, good_till=number)
    assert from_plain(Ticket, to_plain(wanted)) == wanted
    report = echo(text, quantity=quantity, stop=price, perm_id=number)
    assert report_of(report_text(report)) == report
    fill = replace(FILL, quantity=quantity, price=0.0 if price is None else price)
    assert report_of(report_text(fill)) == fill


# As the version before trailing percentages wrote them; its journals are read, and a report in them is known again.
TICKET_BEFORE = (
    '{"account":"DU1234567","con_id":756733,"exchange":"SMART","good_till":null,"kind":"LMT","limit":500.0,"oca":"",'
    '"outside_rth":false,"parent":"","quantity":"100","ref":"q1:macd-spy:1","stop":null,"symbol":"SPY","tif":"DAY",'
    '"trail":null,"transmit":true}'
)
ECHO_BEFORE = (
    '["Echo",{"account":"DU1234567","client_id":7,"con_id":756733,"kind":"LMT","limit":500.0,"oca":"","order_id":5,'
    '"parent_id":0,"perm_id":9001,"quantity":"100","ref":"q1:macd-spy:1","status":"Submitted","stop":null,'
    '"symbol":"SPY","tif":"DAY","warning":""}]'
)


def test_journals_of_before_are_read_and_written_alike() -> None:
    assert (text(to_plain(TICKET)), report_text(echo())) == (TICKET_BEFORE, ECHO_BEFORE)
    assert (from_plain(Ticket, json.loads(TICKET_BEFORE)), report_of(ECHO_BEFORE)) == (TICKET, echo())


def test_distances_of_trailing_orders_come_back() -> None:
    wanted = replace(TICKET, kind=Kind.TRAIL_LIMIT, limit=None, stop=441.5, percent=1.5, offset=0.0)
    assert from_plain(Ticket, to_plain(wanted)) == wanted
    told = echo(kind="TRAIL LIMIT", limit=441.5, stop=441.5, trail=2.5, percent=1.5, offset=0.0)
    assert report_of(report_text(told)) == told


@given(quantity=DECIMALS, zeros=st.integers(0, 6), price=st.integers(-1000, 1000))
def test_equal_values_have_equal_texts(quantity: Decimal, zeros: int, price: int) -> None:
    longer = quantity.quantize(Decimal(1).scaleb(-6 - zeros)) if abs(quantity) < 10**9 else quantity
    one, other = (
        replace(FILL, quantity=quantity, price=price),
        replace(FILL, quantity=longer, price=float(price)),
    )
    assert one == other
    assert report_text(one) == report_text(other)
    assert report_text(replace(one, price=-0.0)) == report_text(replace(one, price=0.0))


def test_a_report_without_its_numbers_is_refused(journal: Journal) -> None:
    with pytest.raises(ParameterError, match=r"Execution\.price"):
        journal.add_reports([echo(), replace(FILL, price=float("nan"))], 1)
    assert journal.load().facts == ()


def test_snapshots_agree_by_what_they_say() -> None:
    one = snapshot(echoes=(echo(), echo(order_id=6)))
    assert digest(one) == digest(replace(one, asked_at=50, answered_at=60, epoch=9, echoes=one.echoes[::-1]))
    assert digest(one) != digest(replace(one, positions=()))


# ---------------------------------------------------------------- speed
def test_a_commit_is_quick_enough_to_stand_before_a_send(tmp_path: Path) -> None:
    """DESIGN §6 leaves 50 ms from bar to wire; the median commit of live-faults §4b.1 is 0.23-1.46 ms."""
    seen = percentiles(commit_seconds(tmp_path, 100))
    assert seen["p50_ms"] < 50
