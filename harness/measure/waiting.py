"""Waiting for a measuring process without waking beside it."""

from __future__ import annotations

import os
import select
import subprocess
from typing import Any


def wait(process: subprocess.Popen[Any], timeout_seconds: float) -> int:
    """The exit status of ``process``; ``subprocess.TimeoutExpired`` after ``timeout_seconds``.

    ``Popen.wait`` with a timeout wakes 20 times a second to look; the kernel's process descriptor
    (Linux 5.3 and later) wakes once, at the end.
    """
    try:
        descriptor = os.pidfd_open(process.pid)
    except (AttributeError, OSError):  # another system, an old kernel, or it has been waited for
        return process.wait(timeout_seconds)
    try:
        ready, _, _ = select.select([descriptor], [], [], timeout_seconds)
    finally:
        os.close(descriptor)
    if not ready:
        raise subprocess.TimeoutExpired(process.args, timeout_seconds)
    return process.wait()
