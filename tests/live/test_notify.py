"""Messages to a person who does not watch, and signs of life: what is told, and that a notifier disturbs nobody."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from live_run import draft, filled, play, tws

from quant.app import config
from quant.core.barsize import SECOND
from quant.core.clock import monotonic
from quant.errors import ConfigError, ParameterError
from quant.live.run.courier import WAITING, Courier, by_apprise, by_get
from quant.live.run.messages import DAY_S, Message, Messages, Seen
from quant.live.run.runner import Notify

PATIENCE_S = 30.0  # only a failing test waits that long
SECRET = "s3cr3t-token"  # noqa: S105  # of nothing
needs_apprise = pytest.mark.skipif(find_spec("apprise") is None, reason="needs the extra notify")


# ---------------------------------------------------------------- when, and in which words
def seen(at_s: float, *, connected: bool = True, halted: str = "") -> Seen:
    return Seen(at_s, connected, "" if connected else "the socket broke", halted)


def titles(found: list[Message]) -> list[str]:
    return [message.title for message in found]


def test_a_halt_and_its_end_are_told_once() -> None:
    messages = Messages("macd-spy", 60.0, fills=False)
    told = [
        messages.look(seen(n, halted=h))
        for n, h in enumerate(["", "too many rejects"] + ["too many rejects"] * 3)
    ]
    assert [titles(t) for t in told] == [[], ["macd-spy: HALTED"], [], [], []]
    assert told[1][0].body == "too many rejects"
    assert titles(messages.look(seen(9.0))) == ["macd-spy: the halt was cleared"]


def test_what_only_reduces_is_told_by_instrument_and_its_end() -> None:
    messages = Messages("m", 60.0, fills=False)
    spy, both = {"SPY": "the broker holds 0"}, {"SPY": "the broker holds 0", "the deployment": "lunch"}
    told = [
        messages.look(Seen(n, connected=True, trouble="", halted="", reducing=one))
        for n, one in enumerate([{}, spy, spy, both, {}])
    ]
    assert [titles(t) for t in told[:4]] == [
        [], ["m: only what reduces SPY is sent"], [], ["m: only what reduces the deployment is sent"],
    ]  # fmt: skip
    assert told[1][0].body == "the broker holds 0"
    assert sorted(titles(told[4])) == ["m: SPY: cleared", "m: the deployment: cleared"]


def test_only_a_connection_that_stays_away_is_told_and_then_its_return() -> None:
    messages = Messages("m", 60.0, fills=False)
    assert [m for t in (0.0, 30.0, 59.0) for m in messages.look(seen(t, connected=False))] == []
    assert messages.look(seen(59.5)) == []  # a short one never was
    assert messages.look(seen(100.0, connected=False)) == []
    gone = messages.look(seen(160.0, connected=False))
    assert (titles(gone), gone[0].body) == (["m: no connection to IB"], "for 60 s. the socket broke")
    assert messages.look(seen(500.0, connected=False)) == []
    assert titles(messages.look(seen(700.0))) == ["m: connected again"]


def test_rejections_are_told_and_fills_where_asked_for() -> None:
    for fills in (False, True):
        messages = Messages("m", 60.0, fills)
        assert titles(messages.order("q1:m:1 rejected", rejected=True, filled=False)) == [
            "m: an order was rejected"
        ]
        assert titles(messages.order("q1:m:2 filled", rejected=False, filled=True)) == ["m: filled"] * fills
        assert messages.order("q1:m:3 sent", rejected=False, filled=False) == []


def test_a_session_that_is_over_is_summed_up_once() -> None:
    messages = Messages("m", 60.0, fills=False)
    close, hour = 1_000_000 * SECOND, 3600 * SECOND
    assert messages.day(0, 10_000.0, 10_050.0, close - hour) == []
    messages.order("", rejected=False, filled=True)
    messages.order("", rejected=True, filled=False)
    assert messages.day(close, 10_120.0, 10_120.0, close + SECOND) == []  # its last fills may still come
    (told,) = messages.day(close, 10_120.0, 10_130.5, close + DAY_S * SECOND)
    assert told.body == "+130.50, equity 10,130.50; 1 fills, 1 rejected orders"
    assert messages.day(close, 10_120.0, 10_130.5, close + hour) == []


def test_an_end_that_nobody_asked_for_is_told() -> None:
    messages = Messages("m", 60.0, fills=False)
    assert [titles(messages.ended("why", code)) for code in (0, 130, 5, 6)] == [
        [], [], ["m: the run has ended"], ["m: the run has ended"],
    ]  # fmt: skip


# ---------------------------------------------------------------- the thread that sends
def wait_for(done: Any) -> None:
    began, pause = monotonic(), threading.Event()
    while not done():
        assert monotonic() - began < PATIENCE_S
        pause.wait(0.01)


def test_a_notifier_that_hangs_holds_nobody_up_and_what_is_too_much_is_dropped() -> None:
    hangs, sent = threading.Event(), []

    def send(message: Message) -> bool:
        if not sent:
            hangs.wait(PATIENCE_S)
        sent.append(message.title)
        return True

    courier = Courier(send)
    began = monotonic()
    for n in range(WAITING + 51):
        courier.tell(Message(str(n)))
    assert monotonic() - began < 5.0
    assert courier.lost in (50, 51)  # one of them may be in the sender's hands already
    hangs.set()
    courier.close(PATIENCE_S)
    assert len(sent) == WAITING + 51 - courier.lost


def test_a_notifier_that_raises_or_refuses_goes_on_and_tells_no_address(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sent: list[str] = []

    def send(message: Message) -> bool:
        if message.title == "raises":
            raise OSError(f"https://{SECRET}.example")
        sent.append(message.title)
        return message.title != "refused"

    courier = Courier(send)
    for title in ("raises", "refused", "goes"):
        courier.tell(Message(title))
    courier.close(PATIENCE_S)
    assert (sent, courier.lost) == (["refused", "goes"], 2)
    assert len(caplog.records) == 2
    assert SECRET not in caplog.text


def test_signs_of_life_come_once_a_minute() -> None:
    pings: list[int] = []
    courier = Courier(None, lambda: pings.append(1))

    def has(count: int) -> bool:
        return len(pings) >= count

    for second in range(130):
        courier.well(float(second))
        wait_for(partial(has, second // 60 + 1))
    assert len(pings) == 3
    courier.close(PATIENCE_S)
    assert len(pings) == 3  # its end is no sign of life


# ---------------------------------------------------------------- addresses
@dataclass
class Post:
    """What came to a web server on loopback."""

    port: int = 0
    posted: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@contextmanager
def web() -> Iterator[Post]:
    post = Post()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            post.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._done()

        def do_GET(self) -> None:
            post.asked.append(self.path)
            self._done()

        def _done(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        post.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield post
        finally:
            server.shutdown()
            thread.join()


@needs_apprise
def test_a_run_that_halts_is_told_by_apprise_and_pings(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="apprise")
    with web() as post, tws() as port:
        address = f"http://127.0.0.1:{post.port}/{SECRET}"
        courier = Courier(by_apprise([f"json://127.0.0.1:{post.port}/{SECRET}"]), by_get(address))
        job = draft(data)
        ended, told = play(
            job, port, data, filled(1), "halt", then=lambda p: p["gate"] == "halted",
            notify=Notify(courier, fills=True),
        )  # fmt: skip
        courier.close(PATIENCE_S)
    assert ended.code == 0, told
    assert "flip-spy: HALTED" in [one["title"] for one in post.posted]
    assert "flip-spy: filled" in [one["title"] for one in post.posted]
    assert set(post.asked) == {f"/{SECRET}"}
    assert courier.lost == 0
    written = [
        p.read_text(errors="replace")
        for p in data.rglob("*")
        if p.suffix in (".txt", ".json", ".jsonl", ".toml")
    ]
    assert SECRET not in "".join([*written, *told, caplog.text])


@needs_apprise
def test_a_notifier_without_anybody_there_changes_nothing(data: Path) -> None:
    gone = "127.0.0.1:1"
    courier = Courier(by_apprise([f"json://{gone}/x"]), by_get(f"http://{gone}/x"))
    with tws() as port:
        ended, told = play(draft(data), port, data, filled(3), notify=Notify(courier, fills=True))
    courier.close(PATIENCE_S)
    assert ended.code == 0, told
    assert courier.lost >= 3


@needs_apprise
def test_an_address_that_cannot_be_is_refused_and_not_shown() -> None:
    with pytest.raises(ParameterError, match="none that apprise knows") as e:
        by_apprise(["json://127.0.0.1/x", f"nosuch://{SECRET}"])
    assert SECRET not in str(e.value)
    with pytest.raises(ParameterError, match="must begin with https") as e:
        by_get(f"file:///{SECRET}")
    assert SECRET not in str(e.value)
    assert (by_apprise([]), by_get(None)) == (None, None)


def test_settings_of_notify_are_read_and_never_shown(tmp_path: Path) -> None:
    (tmp_path / "quant.toml").write_text("[notify]\nfills = true\ndisconnect_s = 5\n")
    (tmp_path / "quant.local.toml").write_text(f'[notify]\nurls = ["json://a/{SECRET}", "ntfy://b"]\n')
    found = config.load(start=tmp_path, environ={"QUANT__NOTIFY__PING": "https://c"})
    assert found["notify.urls"] == (f"json://a/{SECRET}", "ntfy://b")
    assert (found["notify.fills"], found["notify.disconnect_s"], found["notify.ping"]) == (
        True,
        5.0,
        "https://c",
    )
    assert config.load(start=tmp_path, environ={"QUANT__NOTIFY__URLS": "a://b c://d"})["notify.urls"] == (
        "a://b",
        "c://d",
    )
    (tmp_path / "quant.local.toml").write_text(f'[notify]\nurls = ["json://a/{SECRET}", 5]\n')
    with pytest.raises(ConfigError, match="list of texts") as e:
        config.load(start=tmp_path, environ={})
    assert SECRET not in str(e.value)
