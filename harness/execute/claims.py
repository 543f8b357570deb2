"""Who works on a fit: one process at a time, on every results folder and cache that it touches.

The cache's lock lets two suites that share a fit compute it once; the results' lock lets two
machines, each with a cache of its own, work on one results folder.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from harness.execute.base import Place
from harness.records.locks import acquire


@dataclass(frozen=True)
class Claim:
    """A fit that nobody else works on until `release`."""

    descriptors: tuple[int, ...]

    def release(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)


def claim(place: Place, fit_id: str, *, wait: bool = False) -> Claim | None:
    """The claim on a fit; None where another has it and we shall not wait."""
    held: list[int] = []
    try:
        for path in (place.cache / "locks" / f"{fit_id}.lock", place.store.lock(fit_id)):
            descriptor = acquire(path, wait=wait)
            if descriptor is None:
                return None
            held.append(descriptor)
        claimed, held = Claim(tuple(held)), []
        return claimed
    finally:  # another has the second one, we are interrupted, or its disk is full
        Claim(tuple(held)).release()
