"""The ledger of trials: what counts once, what several processes may do to it, and that no loss is silent."""

import math
import random
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from quant.core.instrument import Instrument
from quant.core.synthetic import synthetic
from quant.errors import DamagedData, ParameterError, StoreBusy, WriteFailed
from quant.research import ledger
from quant.research.ledger import Trial, Trials, counts, identity, instrument_key, record

SPY = instrument_key([Instrument("SPY")])
ONE = Trial(
    strategy="strategies.macd:MacdCross", params={"fast": 12, "slow": 26, "short": False}, instrument=SPY,
    symbol="SPY", bar="1d", what="TRADES", rth=True, sharpe=0.05, periods=2500, first="2010-01-04",
    last="2019-12-31", created=datetime(2026, 1, 2, tzinfo=UTC), sweep="macd_cross-0123456789ab",
)  # fmt: skip
OF = (ONE.strategy, SPY, "1d")


def some(count, **changes):
    return [
        replace(ONE, params={**ONE.params, "fast": k}, sharpe=math.sin(k), **changes) for k in range(count)
    ]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sweeps" / ledger.NAME


# ---------------------------------------------------------------- what counts
def test_without_a_ledger_nothing_was_tried(path):
    found = counts(path, *OF)
    assert (found.count, found.measured, found.from_runs) == (0, 0, 0)
    assert math.isnan(found.sharpe_variance)
    assert not path.exists()


def test_trials_are_counted_and_their_variance_is_numpys(path):
    trials = some(50)
    record(path, trials[:20])
    record(path, trials[20:])
    found = counts(path, *OF)
    wanted = np.var([t.sharpe for t in trials], ddof=1)
    assert (found.count, found.measured) == (50, 50)
    assert found.sharpe_variance == pytest.approx(wanted, rel=1e-12)


def test_the_variance_does_not_depend_on_the_order(path, tmp_path):
    trials = some(40)
    record(path, trials)
    other = tmp_path / "other.sqlite"
    random.Random(1).shuffle(trials)
    for trial in trials:
        record(other, [trial])
    assert counts(other, *OF) == counts(path, *OF)


def test_the_same_trial_again_counts_once_and_the_later_result_stays(path):
    record(path, some(3))
    again = [replace(t, sharpe=float(k)) for k, t in enumerate(some(3))]
    record(path, again)
    record(path, again)
    assert counts(path, *OF) == Trials(3, 3, 1.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"first": "2015-01-02"}, {"last": "2024-12-31"}, {"periods": 7}, {"sweep": "another"}, {"sharpe": 0.7},
        {"symbol": "spy"}, {"created": datetime(2027, 1, 1, tzinfo=UTC)},
        {"params": dict(reversed(ONE.params.items()))},
    ],
    ids=lambda c: next(iter(c)),
)  # fmt: skip
def test_what_does_not_make_another_trial(path, changes):
    record(path, [ONE, replace(ONE, **changes)])
    assert counts(path, *OF).count == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"params": {**ONE.params, "fast": 13}}, {"params": {**ONE.params, "fast": 12.0}}, {"what": "MIDPOINT"},
        {"rth": False},
    ],
    ids=str,
)  # fmt: skip
def test_what_makes_another_trial_of_the_same_kind(path, changes):
    record(path, [ONE, replace(ONE, **changes)])
    assert counts(path, *OF).count == 2


@pytest.mark.parametrize(
    "changes",
    [{"strategy": "mine:MacdCross"}, {"bar": "1h"}, {"instrument": instrument_key([Instrument("QQQ")])}],
    ids=lambda c: next(iter(c)),
)
def test_other_strategies_bars_and_instruments_count_apart(path, changes):
    record(path, [ONE, replace(ONE, **changes)])
    assert counts(path, *OF).count == 1
    assert identity(ONE) != identity(replace(ONE, **changes))


def test_an_identity_is_the_same_in_every_process():
    # Regression pin: another value would count every old trial again.
    assert identity(ONE).hex()[:16] == "3396918a26ba1493"


def test_a_failed_trial_counts_but_has_no_ratio(path):
    trials = [replace(t, sharpe=s) for t, s in zip(some(4), [math.nan, 1.0, math.inf, 3.0], strict=True)]
    record(path, trials)
    assert counts(path, *OF) == Trials(4, 2, 2.0)


def test_one_ratio_has_no_variance(path):
    record(path, [ONE])
    assert math.isnan(counts(path, *OF).sharpe_variance)


def test_an_instrument_is_known_by_contract_or_exchange():
    spy, other = Instrument("SPY"), Instrument("SPY", con_id=756733)
    keys = {
        instrument_key([i]) for i in (spy, other, replace(spy, exchange="ARCA"), replace(spy, sec_type="CFD"))
    }
    assert len(keys) == 4
    assert instrument_key([spy, Instrument("BRK.B")]) == "STK/SPY.SMART, STK/BRK.B.SMART"


def test_a_naive_moment_is_refused(path):
    with pytest.raises(ParameterError, match="must have a time zone"):
        record(path, [replace(ONE, created=datetime(2026, 1, 2))])  # noqa: DTZ001
    assert not path.exists()


def test_no_trials_make_no_file(path):
    record(path, [])
    assert not path.exists()


# ---------------------------------------------------------------- saved backtests
def runs(*rows):
    return pd.DataFrame(
        [{"run": str(k), "strategy": s, "params": p, "bars": b} for k, (s, p, b) in enumerate(rows)],
        columns=["run", "strategy", "params", "bars"],
    )


def test_saved_backtests_add_the_parameters_that_only_they_have_tried(path):
    record(path, some(3))
    saved = runs(
        ("MacdCross", "fast=1 slow=26 short=False", "SPY 1d"),  # as in the ledger
        ("MacdCross", "slow=26 fast=2 short=False", "SPY 1d"),  # as well
        ("MacdCross", "fast=40 slow=50 short=False", "SPY 1d"),
        ("MacdCross", "fast=40 slow=50 short=False", "SPY 1d"),  # again
        ("MacdCross", "fast=41 slow=50 short=False", "SPY 1d"),
        ("MacdCross", "fast=42 slow=50 short=False", "SPY 1h"),
        ("MacdCross", "fast=43 slow=50 short=False", "SPY 1d, QQQ 1d"),
        ("Rsi", "period=14", "SPY 1d"),
        ("(damaged)", None, None),
    )
    found = counts(path, *OF, runs=saved)
    assert (found.count, found.from_runs, found.measured) == (5, 2, 3)
    assert found.sharpe_variance == counts(path, *OF).sharpe_variance
    both = instrument_key([Instrument("SPY"), Instrument("QQQ")])
    assert counts(path, ONE.strategy, both, "1d", runs=saved).count == 1
    assert counts(path, *OF, runs=runs()).count == 3


def test_backtests_count_without_a_ledger_too(path):
    found = counts(path, *OF, runs=runs(("MacdCross", "fast=1", "SPY 1d")))
    assert (found.count, found.from_runs) == (1, 1)


def test_a_real_run_folder_matches_the_trial_of_its_parameters(tmp_path, path):
    import quant as q

    class Odd(q.Strategy):
        params = dict(fast=3, share=0.1, on=True, pair=(1, 2), name="a b", none=None)

        @staticmethod
        def signals(bars, p):
            return np.where(np.arange(len(bars)) % 2, 1.0, 0.0)

    bars = synthetic("ABC", "1d", "2020-01-02", "2020-02-15")
    for fast in (3, 4, 4):
        run = q.backtest(Odd, bars, params={"fast": fast}, data=tmp_path, costs="none")
    tried = replace(
        ONE, strategy=f"{Odd.__module__}:{Odd.__qualname__}", params=run.settings["params"],
        instrument=instrument_key([bars.instrument]), bar=bars.bar.name,
    )  # fmt: skip
    record(path, [tried])
    found = counts(path, tried.strategy, tried.instrument, tried.bar, runs=q.runs(tmp_path))
    assert (found.count, found.from_runs) == (2, 1)


# ---------------------------------------------------------------- several at once
CHILD = """
import sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_ledger import some
from quant.research.ledger import record
first = int(sys.argv[3])
trials = some(first + 300)[first:]
for k in range(0, 300, 30):
    record(Path(sys.argv[1]), trials[k : k + 30])
"""


def test_several_processes_lose_nothing(path, request, pytestconfig):
    here = str(request.path.parent)
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path), here, str(first)], cwd=pytestconfig.rootpath
        )
        for first in (0, 300, 500)  # a hundred by two of them
    ]
    assert [child.wait() for child in children] == [0, 0, 0]
    assert counts(path, *OF).count == 800
    assert [p.name for p in path.parent.iterdir() if p.suffix == ".part"] == []


def test_a_writer_waits_for_another_that_is_busy(path):
    record(path, some(1))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = threading.Thread(target=record, args=(path, some(5)))
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
        assert counts(path, *OF).count == 1  # to count needs no wait
        other.execute("ROLLBACK")
        waiting.join(30)
    assert counts(path, *OF).count == 5


def test_a_file_that_stays_locked_is_busy_not_damaged(path, monkeypatch):
    record(path, some(1))
    monkeypatch.setattr(ledger, "BUSY_S", 0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreBusy, match="another process is writing"):
            record(path, some(5))
        with pytest.raises(StoreBusy):
            counts(path, *OF)
    assert counts(path, *OF).count == 1


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_ledger import some
from quant.research import ledger
ledger.ROWS = 1000
class Last(list):
    def __iter__(self):
        yield from self[:500]
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
real = ledger._batches
ledger._batches = lambda rows: (Last(p) if k == 2 else p for k, p in enumerate(real(rows)))
ledger.record(Path(sys.argv[1]), some(5000))
"""


def test_a_killed_writer_leaves_whole_transactions(path, request, pytestconfig):
    record(path, some(1))
    child = [sys.executable, "-c", KILLED, str(path), str(request.path.parent)]
    assert subprocess.run(child, cwd=pytestconfig.rootpath, check=False).returncode != 0
    assert counts(path, *OF).count in (2000, 2001)  # two of five; the one before may be among them
    record(path, some(5000))
    assert counts(path, *OF).count == 5000


# ---------------------------------------------------------------- damage
def test_no_cut_is_silent(path):
    record(path, some(300))
    good = path.read_bytes()
    whole_pages = len(good) - 4096
    for length in [0, 1, 15, 16, 99, 100, 101, *range(512, whole_pages + 1, 1511)]:
        path.write_bytes(good[:length])
        with pytest.raises(DamagedData, match="move it away"):
            counts(path, *OF)


def test_a_cut_that_touches_no_trial_loses_none(path):
    record(path, some(300))
    whole = counts(path, *OF)
    path.write_bytes(path.read_bytes()[:-1])  # SQLite reads a short last page as if it ended in zeros
    with suppress(DamagedData):
        assert counts(path, *OF) == whole


@pytest.mark.parametrize("content", [b"", b"not a database, and longer than its header would be" * 5])
def test_a_file_that_is_no_ledger_is_neither_read_nor_written(path, content):
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(DamagedData):
        counts(path, *OF)
    with pytest.raises(DamagedData):
        record(path, some(5))
    assert path.read_bytes() == content


def test_a_flip_never_changes_what_is_counted(path, full):
    record(path, some(40))
    whole = counts(path, *OF)
    good = path.read_bytes()
    rng = random.Random(20260405)
    for bit in rng.sample(range(len(good) * 8), 20_000 if full else 1000):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        with suppress(DamagedData, WriteFailed):
            assert counts(path, *OF) == whole, bit


def test_a_ledger_of_a_later_version_says_so(path):
    record(path, some(1))
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 2")
    with pytest.raises(DamagedData, match=r"schema 2, this version reads 1"):
        counts(path, *OF)
    with pytest.raises(DamagedData, match="schema 2"):
        record(path, some(2))


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "sweeps").write_text("a file where a folder should be")
    with pytest.raises(WriteFailed, match=r"trials\.sqlite"):
        record(tmp_path / "sweeps" / ledger.NAME, some(1))
