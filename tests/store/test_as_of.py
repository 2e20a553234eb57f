"""Bars as they were known at a moment, against a program that keeps every version of them."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant.core.bars import COLUMNS, Bars
from quant.core.barsize import DAY, bar_size
from quant.core.instrument import Instrument
from quant.core.synthetic import synthetic
from quant.errors import EmptyRange, ParameterError
from quant.store import Store, bars
from quant.store import history as past

FIRST = (
    int(datetime(2019, 12, 27, tzinfo=UTC).timestamp()) * 10**9
)  # ten days over the end of a year: two files
DAYS = 10
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def at(second: int) -> str:
    return (NOON + timedelta(seconds=second)).isoformat()


def ns(second: float) -> int:
    return past.iso_ns(NOON.isoformat()) + int(second * 10**9)


def some(prices: dict[int, int]) -> Bars:
    """Daily bars by number of day; no calendar, so every day has one."""
    start = np.array(sorted(prices), dtype=np.int64) * DAY + FIRST
    price = np.array([prices[d] for d in sorted(prices)], dtype=np.float64)
    return Bars(Instrument("ABC"), bar_size("1d"), start, *[price] * 5, source="ib")


def window(first: int, last: int) -> tuple[int, int]:
    return FIRST + first * DAY, FIRST + last * DAY


def held(store: Store, as_of: int | None = None) -> dict[int, float]:
    found = store.read(store.find("ABC"), as_of=as_of)
    assert all(np.array_equal(found.close, getattr(found, name)) for name in COLUMNS)
    days = (found.start - FIRST) // DAY
    return dict(zip(days.tolist(), found.close.tolist(), strict=True))


# ---------------------------------------------------------------- any history
@st.composite
def writes(draw):
    """A window, prices of some of its days, days that are said to have none, seconds since the write before (the clock
    may be set back), pull."""
    first = draw(st.integers(0, DAYS - 1))
    last = draw(st.integers(first + 1, DAYS))
    prices = draw(st.dictionaries(st.integers(first, last - 1), st.integers(1, 3), max_size=6))
    nothing = draw(st.lists(st.integers(0, DAYS - 1), max_size=3))
    step, pull = draw(st.sampled_from([1, 2, 0, -3])), draw(st.sampled_from([None, "a", "b"]))
    return first, last, prices, nothing, step, pull


@settings(max_examples=60)
@given(st.lists(writes(), min_size=1, max_size=7))
def test_any_history_is_read_back_as_it_was_at_every_moment(tmp_path_factory, history):
    store = Store(tmp_path_factory.mktemp("data"))
    now, clock, model = -100, 0, {}
    versions = {now: {}}  # the second of a write: what was held after it
    covered, requests = set(), 0
    for first, last, prices, nothing, step, pull in history:
        clock += step
        if not prices and not model:  # nothing can be said of a series that does not exist
            continue
        now = max(now, clock)
        request = {"kind": "pull", "at": at(clock), "asked": 2} | ({} if pull is None else {"pull": pull})
        windows = {"window": window(first, last), "empty": [window(d, d + 1) for d in nothing]}
        if nothing and not prices:  # no window at all
            windows["empty"].append(windows.pop("window"))
        written = store.write(some(prices), request, **windows)
        new = prices.keys() - model.keys()
        same = {d for d in prices.keys() - new if model[d] == prices[d]}
        assert (written.added, written.unchanged) == (len(new), len(same))
        assert written.replaced == len(prices) - len(new) - len(same)
        model = model | prices
        versions[now] = dict(model)
        covered |= {*range(first, last), *nothing}
        requests += 1
        manifest = store.manifest(store.find("ABC"))
        empty = days_of(manifest.empty)
        assert days_of(manifest.coverage) == covered
        assert not empty & model.keys()
        assert empty <= covered
        assert set(nothing) - model.keys() <= empty
        assert (
            bool(prices) or bool(model.keys() & set(range(first, last))) or set(range(first, last)) <= empty
        )
    if not model:
        return
    assert held(store) == model
    for second in sorted({s + d for s in versions for d in (-0.5, 0, 0.5)}):
        last_one = max((s for s in versions if s <= second), default=-100)
        assert held(store, ns(second)) == versions[last_one]
    entries = store.manifest(store.find("ABC")).requests
    assert sum(r["asked"] for r in entries) == 2 * requests == 2 * sum(len(past.parts(r)) for r in entries)


def days_of(intervals) -> set[int]:
    assert all((a - FIRST) % DAY == 0 == (b - FIRST) % DAY for a, b in intervals)
    return {d for a, b in intervals for d in range((a - FIRST) // DAY, (b - FIRST) // DAY)}


# ---------------------------------------------------------------- cases by hand
def test_an_inserted_bar_is_kept_as_a_revision_without_values(tmp_path):
    store = Store(tmp_path)
    store.write(some({0: 1, 2: 1}), {"kind": "pull", "at": at(0)}, window=window(0, 3))
    store.write(some({1: 7, 3: 7}), {"kind": "pull", "at": at(10)}, window=window(1, 4))
    revisions = store.revisions(store.find("ABC"))
    assert revisions["start"].tolist() == [datetime(2019, 12, 28, tzinfo=UTC)]  # day 3 was not covered before
    assert revisions[list(COLUMNS)].isna().all(axis=None)
    assert revisions["request"].tolist() == [1]
    assert held(store, ns(9)) == {0: 1, 2: 1}
    assert held(store, ns(10)) == held(store) == {0: 1, 1: 7, 2: 1, 3: 7}


def test_a_range_as_of_a_moment_reads_the_years_it_needs(tmp_path):
    store = Store(tmp_path)
    store.write(some(dict.fromkeys(range(DAYS), 1)), {"kind": "pull", "at": at(0)})
    store.write(some(dict.fromkeys(range(DAYS), 2)), {"kind": "pull", "at": at(10)})
    series = store.find("ABC")
    found = store.read(series, FIRST + 3 * DAY, FIRST + 6 * DAY, as_of=ns(5))
    assert found.close.tolist() == [1.0, 1.0, 1.0]
    for path in series.folder.glob("2019-*"):
        path.write_bytes(b"broken")
    assert len(store.read(series, FIRST + 6 * DAY, as_of=ns(5))) == 4


def test_what_the_source_does_not_have_is_kept_until_it_has(tmp_path):
    store = Store(tmp_path)
    store.write(some({0: 1}), {"kind": "pull", "at": at(0)}, window=window(0, 1))
    written = store.write(some({}), {"kind": "pull", "at": at(1)}, window=window(1, 8))
    assert (written.added, written.unchanged, written.replaced) == (0, 0, 0)
    manifest = store.manifest(store.find("ABC"))
    assert manifest.coverage == (window(0, 8),)
    assert manifest.empty == (window(1, 8),)
    store.write(some({4: 1}), {"kind": "pull", "at": at(2)}, window=window(3, 6))
    assert store.manifest(store.find("ABC")).empty == (window(1, 3), window(6, 8))
    assert held(store, ns(1)) == {0: 1}


def test_many_stretches_without_bars_are_confirmed_by_one_write(tmp_path):
    store = Store(tmp_path)
    store.write(some({0: 1}), {"kind": "pull", "at": at(0)}, window=window(0, 1))
    nothing = [window(n, n + 1) for n in (9, 3, 5, 0)]  # in any order; of day 0 a bar is held
    store.write(some({7: 1}), {"kind": "pull", "at": at(1)}, window=window(6, 8), empty=nothing)
    store.write(some({}), {"kind": "pull", "at": at(2)}, empty=[window(4, 5), window(12, 13)])
    series = store.find("ABC")
    manifest = store.manifest(series)
    assert manifest.empty == (window(3, 6), window(9, 10), window(12, 13))
    assert manifest.coverage == (window(0, 1), window(3, 8), window(9, 10), window(12, 13))
    assert len(manifest.requests) == 3
    store.write(some({4: 2, 11: 2}), {"kind": "pull", "at": at(3)}, window=window(4, 12))
    assert store.manifest(series).empty == (window(3, 4), window(9, 10), window(12, 13))
    known = [sorted(held(store, ns(n))) for n in range(4)]
    assert known == [[0], [0, 7], [0, 7], [0, 4, 7, 11]]  # days


def test_an_answer_without_bars_where_some_are_held_does_not_deny_them(tmp_path):
    store = Store(tmp_path)
    store.write(some({0: 1}), {"kind": "pull", "at": at(0)}, window=window(0, 1))
    store.write(some({}), {"kind": "pull", "at": at(1)}, window=window(0, 3))
    assert store.manifest(store.find("ABC")).empty == ()
    assert held(store) == {0: 1}


@pytest.mark.parametrize(
    ("prices", "given_window", "told"),
    [
        ({}, None, "none to write"),
        ({}, window(0, 1), "no series"),
        ({0: 1}, window(1, 2), "must hold the bars"),
        ({0: 1, 1: 1}, window(0, 1), "must hold the bars"),
        ({0: 1}, window(1, 0), "from before to"),
    ],
)
def test_a_window_that_cannot_be_is_refused(tmp_path, prices, given_window, told):
    with pytest.raises(ParameterError, match=told):
        Store(tmp_path).write(some(prices), {"kind": "pull", "at": at(0)}, window=given_window)
    assert Store(tmp_path).series() == []
    assert not list(tmp_path.rglob("*.*"))


@pytest.mark.parametrize("request_", [{}, {"kind": "pull"}, {"kind": "pull", "at": "soon"}, {"at": at(0)}])
def test_a_request_that_does_not_say_when_is_refused(tmp_path, request_):
    with pytest.raises(ParameterError, match='needs "kind" and "at"'):
        Store(tmp_path).write(some({0: 1}), request_)
    assert Store(tmp_path).series() == []


def test_requests_of_one_pull_share_an_entry_that_forgets_nothing(tmp_path):
    store = Store(tmp_path)
    for n in range(3):
        store.write(
            some({n: 1}), {"kind": "pull", "pull": "x", "at": at(n), "asked": 1}, window=window(n, n + 1)
        )
    series = store.find("ABC")
    assert store.manifest(series).requests == ({
        "kind": "pull", "pull": "x", "at": at(0), "asked": 3, "from": FIRST, "to": FIRST + 3 * DAY,
        "parts": [[ns(n), *window(n, n + 1)] for n in range(3)],
    },)  # fmt: skip
    assert [len(held(store, ns(n))) for n in (-1, 0, 1, 2)] == [0, 1, 2, 3]
    store.write(some({1: 2}), {"kind": "pull", "pull": "x", "at": at(5), "asked": 1}, window=window(1, 2))
    assert len(store.manifest(series).requests) == 2  # it revised something
    assert store.revisions(series)["request"].tolist() == [1]
    store.write(some({4: 2}), {"kind": "pull", "pull": "y", "at": at(6), "asked": 1}, window=window(4, 5))
    assert len(store.manifest(series).requests) == 3


def test_a_day_west_of_greenwich_does_not_cover_the_next_label(tmp_path):
    west = replace(some({0: 1, 1: 1}), instrument=Instrument("ABC", timezone="America/New_York"))
    store = Store(tmp_path)
    store.write(west[:1], {"kind": "import", "at": at(0)})
    assert west.end[0] > west.start[1]  # it ends at midnight of New York
    store.write(west[1:], {"kind": "import", "at": at(1)})
    assert store.manifest(store.find("ABC")).revisions is None


# ---------------------------------------------------------------- older manifests
def test_a_series_of_an_older_version_is_known_by_the_spans_of_its_imports(tmp_path):
    store = Store(tmp_path)
    store.write(some({0: 1, 1: 1}), {"kind": "import", "at": at(0)})
    store.write(some({2: 1}), {"kind": "import", "at": at(10)})
    spans = [
        ("2019-12-27T00:00:00Z", "2019-12-28T00:00:00Z"),
        ("2019-12-29T00:00:00Z", "2019-12-29T00:00:00Z"),
    ]
    rewrite(store, [{"from": a, "to": b} for a, b in spans])
    assert held(store, ns(5)) == {0: 1, 1: 1}
    assert held(store, ns(10)) == {0: 1, 1: 1, 2: 1}
    assert held(store, ns(-1)) == {}
    rewrite(store, [{"from": None, "to": None}] * 2)  # no span at all: all bars are meant
    assert held(store, ns(5)) == {0: 1, 1: 1, 2: 1}


def rewrite(store: Store, changes: list[dict[str, str | None]]) -> None:
    from quant.store.manifest import dump

    series = store.find("ABC")
    manifest = store.manifest(series)
    old = [
        {k: v for k, v in {**r, **c}.items() if v is not None}
        for r, c in zip(manifest.requests, changes, strict=True)
    ]
    (series.folder / "manifest.json").write_bytes(dump(replace(manifest, requests=tuple(old))))


def test_the_sample_is_known_since_it_was_made(pytestconfig):
    data = pytestconfig.rootpath / "data"
    now = bars("SPY", "1m", source="sample", data=data)
    made = json.loads((Store(data).find("SPY", "1m", source="sample").folder / "manifest.json").read_text())
    since = datetime.fromisoformat(made["requests"][0]["at"])
    then = bars("SPY", "1m", source="sample", data=data, as_of=since)
    assert then.fingerprint == now.fingerprint
    with pytest.raises(EmptyRange, match="as of 2025-12-31"):
        bars("SPY", "1m", source="sample", data=data, as_of=datetime(2025, 12, 31, tzinfo=UTC))


# ---------------------------------------------------------------- as people write it
def test_as_of_is_a_moment_in_exchange_time_or_the_end_of_a_date(tmp_path):
    store = Store(tmp_path)
    ours = replace(synthetic("ABC", "1d", "2020-01-02", "2020-02-28"), source="import")
    # 12:00 and 14:00 of New York, in winter five hours behind UTC.
    for hour, part in ((17, ours[:10]), (19, ours[10:])):
        store.write(part, {"kind": "import", "at": f"2026-03-02T{hour}:00:00+00:00"})
    new_york = ZoneInfo("America/New_York")
    for as_of, n in (
        ("2026-03-02 12:00", 10),
        ("2026-03-02 13:59:59.999999", 10),
        ("2026-03-02 14:00", len(ours)),
        (datetime(2026, 3, 2, 13, tzinfo=new_york), 10),
        ("2026-03-02T17:30Z", 10),
        ("2026-03-02", len(ours)),
        (date(2026, 3, 2), len(ours)),
        (None, len(ours)),
    ):
        assert len(bars("ABC", data=tmp_path, as_of=as_of)) == n
    for early in ("2026-03-02 11:59", "2026-03-01"):
        with pytest.raises(EmptyRange):
            bars("ABC", data=tmp_path, as_of=early)
    assert len(bars("ABC", "1d", "2020-01-06", "2020-01-08", data=tmp_path, as_of="2026-03-02 12:00")) == 3
    with pytest.raises(ParameterError, match="as_of"):
        bars("ABC", data=tmp_path, as_of="lately")
