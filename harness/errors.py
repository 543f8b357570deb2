"""The few exceptions that cross rooms, each with a meaning for the exit status or a record."""

from __future__ import annotations


class RequestError(Exception):
    """The request is wrong (exit status 2): one message for the reader, no traceback.

    The message names what was asked, where it stands (``file:line`` where there is one), and
    what to do.
    """


class DiskTrouble(RequestError):
    """A disk is full, or has become read-only: nothing is to blame but the disk."""


class Unsupported(Exception):
    """This combination cannot be computed here; recorded as ``unsupported``, not as a failure."""


class Diverged(Exception):
    """Training left the numbers: NaN, or a loss above its start for a whole epoch."""
