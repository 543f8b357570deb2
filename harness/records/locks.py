"""Locks between processes, on files that stay where they are.

`flock` is held by an open file, not by a process: it works between threads as well, ends with its
holder however that ends, and a lock file left behind locks nothing.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: file systems without locks (some network mounts): work goes on unlocked, as it would alone
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


def acquire(path: Path, *, shared: bool = False, wait: bool = True) -> int | None:
    """An open descriptor that holds the lock; None where ``wait`` is false and another has it.

    Closing the descriptor gives the lock back. `OSError` where the file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, kind)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return descriptor
            os.close(descriptor)
            raise
        except BaseException:  # interrupted while waiting
            os.close(descriptor)
            raise
        if _still_there(descriptor, path):
            return descriptor
        os.close(descriptor)  # the file was removed (`harness gc`) while this one waited for it


def _still_there(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of a file, waiting for it."""
    descriptor = acquire(path, shared=shared)
    assert descriptor is not None
    try:
        yield
    finally:
        os.close(descriptor)
