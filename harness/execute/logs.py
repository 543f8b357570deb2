"""What a stage prints: a file of bounded size, whose last lines go into the record of a failure."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

#: lines of a stage's log that go into the record of its failure
LOG_TAIL = 20
#: bytes of one stage's output, above which its middle is cut: four hours of a progress bar that
#: prints 100 bytes ten times a second, a moment of a loop that prints for ever
MAX_BYTES = 16 << 20
#: bytes that are then kept of its beginning, and of its end
KEPT_BYTES = 1 << 20


class StageLog:
    """The part of a log file that one stage writes, from where the file ends now.

    Others write it, by descriptors that append (``O_APPEND``): so it can be cut beneath them.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._begin = path.stat().st_size if path.exists() else 0
        self._cut = 0  # bytes, so far
        self._mark = b""

    def cut(self) -> None:
        """Cut out the middle where it is too long, and say so there. What is written in that very
        moment is lost as well; a disk that refuses is told by who writes."""
        with suppress(OSError):
            size = self.path.stat().st_size
            if size - self._begin <= MAX_BYTES:
                return
            head = self._begin + KEPT_BYTES
            with open(self.path, "r+b") as file:
                file.seek(size - KEPT_BYTES)
                tail = file.read(KEPT_BYTES)
                file.truncate(head)
            self._cut += size - head - len(tail) - len(self._mark)
            self._mark = f"\n[{self._cut} bytes were cut out here]\n".encode()
            with open(self.path, "ab") as file:
                file.write(self._mark + tail)

    def tail(self) -> list[str]:
        """Its last lines."""
        return log_tail(self.path, self._begin)


def log_tail(log: Path, begin: int = 0) -> list[str]:
    """The last lines of a log since ``begin`` (a position in bytes), each of 300 characters."""
    try:
        with open(log, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(begin, size - 16_384))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return []
    return [line[:300] for line in lines[-LOG_TAIL:]]
