"""Blocks: what a measurement is made of, and which inputs each of them takes.

A block is one LoadGen test of a few dozen queries. Blocks carry the dependence between neighbouring
samples, show whether the series has settled, and can be repeated where the host was disturbed.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, overload

import numpy as np

T = TypeVar("T")


class Watch(Protocol):
    """Looks at the host before the first block and after every one."""

    def begin(self) -> None:
        """Before the first block, and after a pause that is to be in none."""

    def end_block(self) -> tuple[Mapping[str, Any], bool]:
        """After a block, which is what happened since the last look: facts for the record, and
        whether it was disturbed. The next block begins here."""


class NoWatch:
    """For callers that do not care about the host."""

    def begin(self) -> None:
        pass

    def end_block(self) -> tuple[Mapping[str, Any], bool]:
        return {}, False


NO_WATCH = NoWatch()


@dataclass(frozen=True)
class Block:
    """Samples of one block in ms, in the order in which they were taken."""

    samples_ms: list[float]
    seconds: float  # from its first query to its last answer
    disturbed: bool = False
    repeated: bool = False  # disturbed, and another block took its place
    host: Mapping[str, Any] = field(default_factory=dict)

    @property
    def median_ms(self) -> float:
        return statistics.median(self.samples_ms)

    def as_dict(self, steady: bool) -> dict[str, Any]:
        """What the record keeps of it beside the samples; ``steady``: they count."""
        return {
            "samples": len(self.samples_ms),
            "median_ms": self.median_ms,
            "seconds": self.seconds,
            "disturbed": self.disturbed,
            "counts": steady and not self.repeated,
            **({"host": dict(self.host)} if self.host else {}),
        }


class Lazily(Sequence[T], Generic[T]):
    """``count`` inputs, each made by ``make(index)`` when it is asked for: a block's worth of
    padded images lies in memory, not all of them."""

    def __init__(self, count: int, make: Callable[[int], T]) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self._make(i) for i in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError(index)
        return self._make(index % self._count)


class Draw:
    """Input indices block by block: each block alike in length, no input twice before it must be.

    Inputs are sorted by ``sizes`` and cut into as many strata as a block has queries; a block takes
    one input of each stratum, by a seeded permutation. So every block has the inputs' own length
    distribution, which lets blocks be compared, and the blocks together go through all inputs
    before any comes again.
    """

    def __init__(self, indices: np.ndarray, sizes: np.ndarray, queries: int, seed: int) -> None:
        """``indices``: inputs to draw from; ``sizes``: of all inputs, looked up by index."""
        rng = np.random.default_rng(seed)
        self.queries = min(queries, len(indices))
        shuffled = rng.permutation(indices)  # so that ties in size carry no order of the file
        ordered = shuffled[np.argsort(sizes[shuffled], kind="stable")]
        self._strata = [rng.permutation(s) for s in np.array_split(ordered, self.queries)]
        self._rng = rng
        self._blocks = 0

    def block(self) -> list[int]:
        """The next block's inputs, in a random order."""
        taken = [int(stratum[self._blocks % len(stratum)]) for stratum in self._strata]
        self._blocks += 1
        self._rng.shuffle(taken)
        return taken

    @property
    def repeats(self) -> bool:
        """True once some input came twice."""
        return self._blocks > min(len(stratum) for stratum in self._strata)
