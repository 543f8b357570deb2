"""Seeded, stratified draws that are nested: a smaller draw is a part of every larger one.

All examples are put in one order, and a draw of size n is its first n. The order must keep
every stratum's share in *every* prefix. That is a scheduling problem: stratum s with n_s of N
examples wants its j-th place (j = 1..n_s) in the window

    floor((j - 1) N / n_s) + 1  ..  ceil(j N / n_s),

and taking at each place the open window that closes first meets all of them (earliest deadline
first; Baruah et al. 1996, *Proportionate Progress*). So a prefix of n holds floor or ceil of
n n_s / N examples of each stratum, which is what largest-remainder rounding allows, while
drawing each size by largest remainders on its own would not be nested (Alabama paradox).

Which examples of a stratum come first, and which stratum wins a tie, is drawn by seed.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence

import numpy as np


def draw(strata: Sequence[str], size: int | None, seed: int) -> list[int]:
    """Indices of ``size`` examples (all of them for None or a larger size), ascending.

    ``strata``: one value an example. For one seed, ``draw(s, n) <= draw(s, m)`` as sets for
    n <= m. A stratum of fewer than N / n examples may be left out.
    """
    if size is not None and size < 0:
        raise ValueError(f"size {size} is negative")
    if size is None or size >= len(strata):
        return list(range(len(strata)))
    return sorted(_order(strata, seed)[:size])


def hold_out(
    strata: Sequence[str], size_or_share: int | float, seed: int
) -> tuple[list[int], list[int]]:
    """Split indices into (train, validation), both ascending and not empty.

    ``size_or_share``: a number of examples, or (a float) a share between 0 and 1, rounded, at
    least one example. The only example of a stratum stays in train, where there are enough
    others: a class seen in validation alone could not be learned.
    """
    total = len(strata)
    size = size_or_share
    if isinstance(size, float):
        size = max(1, round(size * total)) if 0 < size < 1 else 0
    if not 0 < size < total:
        raise ValueError(f"cannot hold {size_or_share} out of {total} examples")
    counts: dict[str, int] = defaultdict(int)
    for stratum in strata:
        counts[stratum] += 1
    candidates = [i for i, stratum in enumerate(strata) if counts[stratum] > 1]
    if len(candidates) <= size:
        candidates = list(range(total))
    kept = {candidates[i] for i in draw([strata[i] for i in candidates], size, seed)}
    return [i for i in range(total) if i not in kept], sorted(kept)


def _order(strata: Sequence[str], seed: int) -> list[int]:
    """All indices, so that every prefix is stratified. O(N log N)."""
    generator = np.random.Generator(np.random.PCG64(seed))
    members: dict[str, list[int]] = defaultdict(list)
    for index, stratum in enumerate(strata):
        members[stratum].append(index)
    total = len(strata)
    opening: list[list[tuple[int, float, int]]] = [[] for _ in range(total + 1)]
    for stratum in sorted(members):  # not in order of appearance: the seed alone decides
        indices = members[stratum]
        count = len(indices)
        chosen = generator.permutation(count)
        ties = generator.random(count)
        for j in range(count):
            opens = j * total // count + 1
            closes = -(-(j + 1) * total // count)
            opening[opens].append((closes, float(ties[j]), indices[chosen[j]]))
    order: list[int] = []
    open_windows: list[tuple[int, float, int]] = []
    for place in range(1, total + 1):
        for window in opening[place]:
            heapq.heappush(open_windows, window)
        order.append(heapq.heappop(open_windows)[2])
    return order
