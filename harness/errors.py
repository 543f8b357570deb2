"""The few exceptions that cross rooms, each with a meaning for the exit status or a record."""

from __future__ import annotations

import errno

_OF_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


class RequestError(Exception):
    """The request is wrong (exit status 2): one message for the reader, no traceback.

    The message names what was asked, where it stands (``file:line`` where there is one), and
    what to do.
    """


class DiskTrouble(RequestError):
    """A disk is full, or has become read-only: nothing is to blame but the disk."""

    @classmethod
    def told_by(cls, error: OSError, where: str) -> DiskTrouble | None:
        """What an error of the system says of a disk (``where``: if it names no file), or None."""
        if error.errno not in _OF_DISKS:
            return None
        what = "read or write" if error.errno in (errno.EACCES, errno.EPERM) else "write"
        return cls(
            f"cannot {what} {error.filename or where}: {error.strerror}; what is complete is kept. "
            "Make room there, or choose other folders (--results DIR, HARNESS_CACHE), and run the "
            "same command again"
        )


class Unsupported(Exception):
    """This combination cannot be computed here; recorded as ``unsupported``, not as a failure."""


class Diverged(Exception):
    """Training left the numbers: NaN, or a loss above its start for a whole epoch."""
