"""Programs that download, ended where next to nothing comes any more.

pip, the hub's client and Keras give up on a silent connection, not on one that drips: each byte is
news to them. What counts here is how much comes into the folders that they fill.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.errors import RequestError
from harness.sources.base import Unreachable

VARIABLE = "HARNESS_FETCH_SECONDS"
#: Within so many seconds, if `VARIABLE` does not say otherwise, must come `LEAST_BYTES`. The hub's
#: client writes 10 MB at a time, which is more often than this from 6 kB/s on; whatever is smaller
#: than `LEAST_BYTES`, or is made of what came, has all the time for itself.
SECONDS = 1800.0
LEAST_BYTES = 1_000_000


@contextmanager
def ended_at_a_standstill(
    process: subprocess.Popen[bytes], folders: Sequence[Path], origin: str
) -> Iterator[None]:
    """While a program downloads into ``folders``, which it may still have to make.

    Where they stop to grow the program's group is killed, so that whoever waits for it in the block
    goes on, and `Unreachable` is raised when the block ends.
    """
    limit = seconds_allowed()
    over, stalled = threading.Event(), threading.Event()

    def watch() -> None:
        since, size = time.monotonic(), _bytes(folders)
        while not over.wait(min(limit / 10, 5.0)):
            now = _bytes(folders)
            if now - size >= LEAST_BYTES:
                since, size = time.monotonic(), now
            size = min(size, now)  # what was unpacked is removed
            if time.monotonic() - since > limit:
                stalled.set()
                with suppress(ProcessLookupError):
                    os.killpg(os.getpgid(process.pid), signal.SIGKILL)
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    if stalled.is_set():
        raise Unreachable(
            f"{origin}: the download stands still: less than {LEAST_BYTES / 1e6:g} MB came within "
            f"{limit:g} s, so it was ended, and nothing of it was kept. Check the network and the "
            f"mirror; where they are as slow as that, set {VARIABLE} to more seconds"
        )


def seconds_allowed() -> float:
    """What ``$HARNESS_FETCH_SECONDS`` says; `RequestError` for what is no time."""
    text = os.environ.get(VARIABLE) or str(SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise RequestError(f"{VARIABLE} is {text!r}; wanted a number of seconds above zero")
    return seconds


def _bytes(folders: Sequence[Path]) -> int:
    total = 0
    for folder in folders:
        for path in folder.rglob("*"):
            with suppress(OSError):  # moved meanwhile
                total += path.lstat().st_size
    return total
