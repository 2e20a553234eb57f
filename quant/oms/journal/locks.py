"""One deployment per account and instrument, on the whole machine: locks that a killed process gives back.

The system holds the lock, not a file's existence, so nothing is left behind by kill -9. Beside each lock lies who took
it, for the message only.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from quant.errors import InstrumentBusy, ParameterError


def lock_folder() -> Path:
    """Return where locks lie: in the user's state folder, the same for all projects of this user."""
    import platformdirs

    return platformdirs.user_state_path("quant", appauthor=False) / "locks"


@contextlib.contextmanager
def instruments_held(
    account: str, con_ids: Iterable[int], deployment: str, folder: Path | None = None
) -> Iterator[None]:
    """Hold the instruments of a deployment, all or none.

    account: IB's. con_ids: IB's contract ids. folder: lock_folder() by default.
    Raises InstrumentBusy at once if another process, or another deployment of this one, trades one of them.
    """
    from filelock import FileLock, Timeout

    if not account or not account.isalnum():
        raise ParameterError("account", account, "must be an account of IB: letters and digits")
    place = lock_folder() if folder is None else folder
    with contextlib.ExitStack() as held:
        for con_id in sorted(
            set(con_ids)
        ):  # one order for all, so that two deployments cannot wait for each other
            name = place / f"{account}-{con_id}"
            owner = name.with_name(f"{name.name}.owner")
            try:
                place.mkdir(parents=True, exist_ok=True, mode=0o700)
                lock = FileLock(name.with_name(f"{name.name}.lock"), timeout=0, is_singleton=False).acquire()
            except Timeout:
                raise InstrumentBusy(account, con_id, _who(owner), str(place)) from None
            except OSError as e:
                raise InstrumentBusy(account, con_id, "", str(place), e.strerror or str(e)) from None
            held.enter_context(lock)
            with contextlib.suppress(OSError):  # the lock holds without it
                owner.write_text(f"deployment {deployment}, process {os.getpid()}\n", encoding="utf-8")
                held.callback(owner.unlink, missing_ok=True)
        yield


def _who(owner: Path) -> str:
    try:
        return owner.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
