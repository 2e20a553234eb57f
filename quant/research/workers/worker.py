"""The program of a worker process: chunks of a sweep come in on stdin, their rows go out on stdout.

processes.py starts this file as a script: nothing of the package is imported before the parent's import path is known.
"""

from __future__ import annotations

import os
import pickle
import queue
import struct
import sys
import threading
from typing import Any, BinaryIO

HEADER = struct.Struct("<Q")  # the length of the message that follows, in bytes


def main() -> None:
    """Answer chunks until stdin ends. First come the import path and the shipment of (evaluate, task)."""
    inbox, outbox = _take_over_stdio()
    messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(inbox, messages), daemon=True).start()
    sys.path[:] = pickle.loads(messages.get())  # noqa: S301  # from our parent
    from quant.research.workers.shipping import answer, load

    held = []  # (evaluate, task)
    shipment = messages.get()

    def accept() -> None:
        held.extend(load(pickle.loads(shipment)))  # noqa: S301  # from our parent

    _write(outbox, answer(accept))

    def rows() -> Any:
        evaluate, task = held
        return evaluate(task, load(pickle.loads(chunk)))  # noqa: S301  # the same

    while True:
        chunk = messages.get()
        _write(outbox, answer(rows))


def _take_over_stdio() -> tuple[BinaryIO, BinaryIO]:
    """Keep the pipes for messages; what a strategy prints goes to stderr, and it reads an empty stdin."""
    inbox, outbox = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115  # for the life of the process
    sys.stdout = sys.stderr
    return inbox, outbox


def _read(inbox: BinaryIO, messages: queue.SimpleQueue[bytes]) -> None:
    """Collect messages while the main thread computes: the parent's end is noticed in the middle of a chunk too."""
    while True:
        header = inbox.read(HEADER.size)
        if len(header) < HEADER.size:
            os._exit(0)
        body = inbox.read(HEADER.unpack(header)[0])
        messages.put(body)


def _write(outbox: BinaryIO, body: bytes) -> None:
    try:
        outbox.write(HEADER.pack(len(body)) + body)
        outbox.flush()
    except OSError:  # the parent has gone; nobody is left to be told
        os._exit(0)


if __name__ == "__main__":
    main()
