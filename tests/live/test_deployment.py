"""Lock files: what is written is read, what cannot be is refused by name, what changed is told."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant.core.orders import Kind
from quant.core.version import versions_here
from quant.errors import ConfigError, ParameterError, QuantError
from quant.live.run.deployment import (
    Deployment,
    Examined,
    GateResult,
    Traded,
    check_live,
    check_same,
    check_sealed,
    code_of,
    default_name,
    deployments,
    find_lock,
    limits_of,
    lock_path,
)
from quant.live.run.lock_file import load, read, write
from quant.strategy import parameters, strategy

SPY = Traded("SPY", 756733, "STK", "ARCA", "USD")
CLS = strategy("macd")
PARAMS = parameters(CLS, {"fast": 9})


def made(**changes: Any) -> Deployment:
    found = Deployment(
        name="macd-spy", strategy="macd", class_name="MacdCross", params=PARAMS, sources=code_of(CLS), contracts=(SPY,),
        bar="1m", account="DU1", capital=50_000.0, history_start="2024-01-02", limits={"max_notional": 5e4},
        versions=versions_here(), created="2024-05-15T16:00:00+00:00",
    )  # fmt: skip
    return replace(found, **changes)


def written(folder: Path, **changes: Any) -> Path:
    path = lock_path(folder, "macd-spy")
    write(made(**changes), path)
    return path


def changed(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


# ---------------------------------------------------------------- at rest
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
values = st.one_of(texts, st.booleans(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False), st.none())


@settings(max_examples=50)
@given(
    params=st.dictionaries(texts, values, max_size=5),
    capital=st.floats(1.0, 1e9),
    sizing=st.none() | st.just("risk:1"),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, params: dict[str, Any], **rest: Any
) -> None:
    folder = tmp_path_factory.mktemp("locks")
    before = made(params=params, **rest)
    write(before, lock_path(folder, before.name))
    after = read(lock_path(folder, before.name))
    assert after.digest == before.digest
    assert replace(after, params={}, seal="") == replace(before, params={})
    check_sealed(after, lock_path(folder, before.name))
    assert dict(after.params) == {name: value for name, value in params.items() if value is not None}


def test_the_digest_is_of_all_that_decides_an_order() -> None:
    base = made().digest
    for change in (
        {"params": {**PARAMS, "fast": 8}}, {"sources": {}}, {"contracts": (replace(SPY, con_id=1),)}, {"bar": "5m"},
        {"account": "DU2"}, {"capital": 1.0}, {"history_start": "2024-01-03"}, {"sizing": "shares:1"}, {"rth": False},
        {"start_rule": "first-target"},
    ):  # fmt: skip
        assert made(**change).digest != base, change
    for change in (
        {"limits": {}},
        {"costs": "none"},
        {"versions": {}},
        {"positions": "adopt"},
        {"created": ""},
    ):
        assert made(**change).digest == base, change


def test_limits_are_read_as_their_kind() -> None:
    found = limits_of(
        {"shorts": True, "kinds": ["MKT"], "max_quantity": 5, "max_notional": "none", "collar": 0.1}
    )
    assert (found.shorts, found.kinds, found.max_quantity) == (True, frozenset({Kind.MARKET}), Decimal(5))
    assert (found.max_notional, found.collar) == (None, 0.1)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"max_notioal": 1}, "limits.max_notioal"),
        ({"kinds": ["BUY"]}, "limits.kinds"),
        ({"shorts": 1}, "limits.shorts"),
        ({"collar": "3 %"}, "limits.collar"),
        ({"collar": -1.0}, "collar"),
        ({"max_notional": "none"}, "max_notional"),
        ({"max_gross": True}, "limits.max_gross"),
    ],
)
def test_what_is_no_limit(values: dict[str, Any], name: str) -> None:
    with pytest.raises(ParameterError) as e:
        limits_of(values)
    assert e.value.name == name


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("schema = 2", "schema = 1", "this version of quant reads 2"),
        ("schema = 2", "", "None"),
        ("schema = 2", "schema = ", "cannot be read"),
        ('bar = "1m"', 'bar = "7m"', "7m"),
        ('bar = "1m"', "", "bar: the line is missing. Put it back"),
        ("capital = 50000.0", "capital = -1", "positive"),
        ("capital = 50000.0", 'capital = "much"', "positive"),
        ('start_rule = "next-change"', 'start_rule = "soon"', "next-change"),
        ('positions = "baseline"', 'positions = "keep"', "adopt"),
        ("max_notional", "max_notioal", "no such limit"),
        ("con_id", "conid", "contracts[1].conid: a lock file has no such key. Did you mean con_id?"),
        ("con_id = 756733", "", "contracts[1].con_id: the line is missing"),
        ("con_id = 756733", 'con_id = "756733"', "contracts[1].con_id: '756733': must be a whole number"),
        ("con_id = 756733", "con_id = true", "contracts[1].con_id: True: must be a whole number"),
        (
            'bar = "1m"',
            'bar = "1m"\ncolour = 1',
            "colour: a lock file has no such key. There are name, strategy",
        ),
        ('bar = "1m"', 'bar = "1m"\ncost = "none"', "cost: a lock file has no such key. Did you mean costs?"),
        ("capital = 50000.0", "capital = true", "positive"),
        ('costs = "ib-fixed"', 'costs = "nix"', "costs: 'nix': unknown; known are none"),
        ('costs = "ib-fixed"', "costs = 1", "costs: 1: must be text"),
        ('currency = "USD"', 'currency = "CAD"', "CAD"),
        ("[limits]", "[[limits]]", "limits: [{'max_notional': 50000.0}]: must be a table"),
        ("[[contracts]]", "[contracts]", "must be tables, each under [[contracts]]"),
        ("rth = true", 'rth = "yes"', "rth"),
        ('account = "DU1"', "account = 1", "account"),
        ("[[contracts]]", "[other]", "other"),
        ('name = "macd-spy"', 'name = "macd-msft"', "macd-spy.lock.toml"),
    ],
)
def test_a_lock_that_cannot_be(tmp_path: Path, old: str, new: str, told: str) -> None:
    path = changed(written(tmp_path), old, new)
    with pytest.raises(ConfigError) as e:
        read(path)
    assert str(path) in str(e.value)
    assert told in str(e.value)
    shown, trouble = load(path)
    assert (shown.name, str(trouble)) == ("macd-spy", str(e.value))


def test_a_lock_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="quant deployments"):
        read(tmp_path / "x.lock.toml")
    assert deployments(tmp_path) == []
    assert find_lock("macd-spy", tmp_path) is None


def test_names(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert deployments(tmp_path) == ["macd-spy"]
    assert find_lock("macd-spy", tmp_path) == path
    assert find_lock(str(path), tmp_path) == path
    assert find_lock("No Name", tmp_path) is None
    assert default_name("macd", ["SPY", "BRK B"], "1m") == "macd-spy-brk-b-1m"
    assert default_name("package.module:Macd", ["SPY"], "1d") == "macd-spy-1d"
    long = default_name("macd", [f"SYM{n}" for n in range(50)], "1m")
    assert lock_path(tmp_path, long).name == f"{long}.lock.toml"
    assert long != default_name("macd", [f"SYM{n}" for n in range(51)], "1m")
    for name in ("", "A", "a b", "a:b", "-a", "a" * 27, "../a"):
        with pytest.raises(ParameterError, match="orderRef"):
            lock_path(tmp_path, name)


# ---------------------------------------------------------------- what changed since
def refused(**changes: Any) -> str:
    with pytest.raises(ConfigError) as e:
        check_same(made(**changes), CLS, PARAMS, Path("a.lock.toml"))
    assert e.value.exit_code == 3
    return str(e.value)


def test_what_has_not_changed_is_taken() -> None:
    check_same(made(), CLS, PARAMS, Path("a.lock.toml"))
    check_same(made(versions={}), CLS, PARAMS, Path("a.lock.toml"))


def test_what_has_changed_is_named() -> None:
    assert "params.fast: was 5 when this deployment began, it is 9 now" in refused(
        params={**PARAMS, "fast": 5}
    )
    assert "params.fast" in refused(params={name: value for name, value in PARAMS.items() if name != "fast"})
    (module,) = code_of(CLS)
    assert f"sources.{module}: the file has changed" in refused(sources={module: "0"})
    assert "sources.gone: the file is gone" in refused(sources={**code_of(CLS), "gone": "0"})
    assert f"sources.{module}: the file is new" in refused(sources={})
    assert "the class was Other" in refused(class_name="Other")
    told = refused(versions={**versions_here(), "numpy": "1.0"})
    assert "Install numpy==1.0" in told


def test_real_money_needs_its_limits_said() -> None:
    with pytest.raises(ConfigError, match="max_gross, daily_loss"):
        check_live(made(), Path("a.lock.toml"))
    with pytest.raises(ConfigError, match="say daily_loss"):
        check_live(for_real(limits={**SAID, "daily_loss": "none"}), Path("a.lock.toml"))
    check_live(for_real(), Path("a.lock.toml"))


PASSED = GateResult("live", "parity", "pass", "20 sessions")
HELD = GateResult("live", "halt", "held", "there is one")
SAID = {"max_notional": 1e4, "max_gross": 1e4, "daily_loss": 0.01}


def sealed(deployment: Deployment) -> Deployment:
    return replace(deployment, seal=deployment.sealed())


def for_real(**changes: Any) -> Deployment:
    return sealed(
        made(**{"account": "U1", "promoted": "live", "gates": (PASSED,), "limits": SAID, **changes})
    )


@pytest.mark.parametrize(
    "deployment",
    [
        made(account="U1", limits=SAID),
        for_real(promoted="paper"),
        for_real(gates=()),
        for_real(gates=(replace(PASSED, stage="paper"),)),
        for_real(gates=(PASSED, HELD)),
        replace(for_real(), seal=""),
        replace(for_real(), capital=1.0),
        replace(for_real(), account="U2"),
        replace(for_real(gates=(PASSED, HELD)), gates=(PASSED,)),
    ],
)
def test_real_money_needs_a_promotion(deployment: Deployment) -> None:
    with pytest.raises(ConfigError, match="was not promoted to real money: quant promote macd-spy --to live"):
        check_live(deployment, Path("a.lock.toml"))


def test_a_gate_that_held_may_be_overridden_with_a_reason() -> None:
    check_live(for_real(gates=(PASSED, replace(HELD, override="seen"))), Path("a.lock.toml"))


# A line of a lock file -> what somebody makes of it, "" = it is taken out.
EDITS = {
    'name = "macd-spy"': "",
    'strategy = "macd"': 'strategy = "rsi"',
    'class_name = "MacdCross"': 'class_name = "M"',
    'bar = "1m"': 'bar = "5m"',
    "capital = 50000.0": "capital = 60000.0",
    'what = "TRADES"': 'what = "BID"',
    "rth = true": "rth = false",
    'history_start = "2024-01-02"': 'history_start = "2024-01-03"',
    'start_rule = "next-change"': 'start_rule = "first-target"',
    'created = "2024-05-15T16:00:00+00:00"': "",
    'promoted = "paper"': "",
    'run = "a-run"': "",
    'seal = "': 'seal = "0',
    "fast = 9": "fast = 8",
    "con_id = 756733": "con_id = 756734",
    "rows = 3": "rows = 4",
    'fingerprint = "ab"': 'fingerprint = "a"',
    'outcome = "held"': 'outcome = "pass"',
    "threshold = 20.0": "",
    "value = 0.1": "value = 0.2",
    'override = "a': 'override = "b',
    f'numpy = "{versions_here()["numpy"]}"': "",
    f'python = "{versions_here()["python"]}"': 'python = "3"',
    '"strategies.macd" = "': '"strategies.macd" = "0',
    '[[gates]]\nstage = "paper"\nname = "parity"': '[[gates]]\nstage = "live"\nname = "parity"',
}


def promoted(folder: Path) -> Path:
    """Return the lock file of a promotion to paper."""
    bars = Examined("SPY", "ib", "1m", 1, 2**62, 3, "ab")
    gates = (replace(PASSED, stage="paper", threshold=20.0, value=0.1), replace(HELD, override='a "reason"'))
    path = lock_path(folder, "macd-spy")
    write(made(promoted="paper", run="a-run", account="", history=(bars,), gates=gates), path)
    after = read(path)
    assert (after.history, after.gates, after.seal) == ((bars,), gates, after.sealed())
    return path


def told_of(path: Path) -> str:
    """Return what is wrong with a lock file, "" for nothing."""
    try:
        check_sealed(read(path), path)
    except ConfigError as e:
        return str(e)
    return ""


@pytest.mark.parametrize(("old", "new"), EDITS.items())
def test_a_line_that_was_edited_or_taken_out_is_told(tmp_path: Path, old: str, new: str) -> None:
    assert told_of(changed(promoted(tmp_path), old, new))


def test_every_line_is_sealed_but_those_that_a_person_may_change(tmp_path: Path) -> None:
    text = promoted(tmp_path).read_text()
    free = []
    for number, line in enumerate(text.splitlines()):
        rest = [other for n, other in enumerate(text.splitlines()) if n != number]
        promoted(tmp_path).write_text("\n".join(rest))
        if line and not line.startswith("#") and not told_of(lock_path(tmp_path, "macd-spy")):
            free.append(line.partition(" = ")[0])
    # what, rth, start_rule and multiplier say what a lock without them says too.
    told = "what rth costs start_rule positions delayed_ok max_notional multiplier"
    assert free == told.split()


def test_a_person_may_change_what_stands_at_the_head_of_the_file(tmp_path: Path) -> None:
    path = promoted(tmp_path)
    assert "A person may change limits, costs, delayed_ok, disaster_stop and positions;" in path.read_text()
    for old, new in (
        ("max_notional = 50000.0", "max_notional = 1.0"),
        ('costs = "ib-fixed"', 'costs = "none"\ndisaster_stop = 20.0'),
        ("delayed_ok = false", "delayed_ok = true"), ('positions = "baseline"', 'positions = "adopt"'),
        ('account = ""', 'account = "DU5"'),  # a promotion to paper gets it when it first runs
    ):  # fmt: skip
        assert told_of(changed(path, old, new)) == ""


def test_a_lock_that_was_begun_without_gates_is_sealed_too(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert told_of(path) == ""
    assert "a line was edited" in told_of(changed(path, 'account = "DU1"', 'account = "DU2"'))


def test_a_parameter_that_no_lock_can_hold(tmp_path: Path) -> None:
    with pytest.raises(QuantError, match="cannot stand in a lock file"):
        write(made(params={"f": object()}), lock_path(tmp_path, "macd-spy"))
    assert deployments(tmp_path) == []
