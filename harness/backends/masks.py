"""Random factors for dropout, drawn in bulk.

Frameworks draw a CPU mask with one Bernoulli trial after the other. Here 16 random bits an element
are drawn at once and compared with a threshold; a pool of such factors then serves many masks.
"""

from __future__ import annotations

import numpy as np

#: elements of a pool; 16 MiB of float32. Large against one mask, small against the machine
POOL = 1 << 22
#: uses of an element before its pool is redrawn: drawing costs 6% of a MiniLM step without reuse
REUSE = 4
_STEPS = 1 << 16


class MaskSource:
    """Factors for one rate, from ``seed`` alone: 0 with probability `rate`, else 1 / (1 - rate).

    Rates are exact to 1/65536, and the factors are scaled by the *realised* rate, so that
    expectations are kept exactly.
    """

    def __init__(self, rate: float, seed: int) -> None:
        self._threshold = round(rate * _STEPS)
        if not 0 <= self._threshold < _STEPS:
            raise ValueError(f"dropout rate {rate} is not in [0, 1)")
        self._bits = np.random.SFC64(seed)

    @property
    def rate(self) -> float:
        """The realised rate: the asked one, rounded to 1/65536."""
        return self._threshold / _STEPS

    def draw(self, size: int) -> np.ndarray:
        """``size`` factors, float32; the size is rounded up to a multiple of four."""
        size += -size % 4  # 64 random bits serve four elements
        draws = self._bits.random_raw(size // 4).view(np.uint16)
        return (draws >= self._threshold) * np.float32(1.0 / (1.0 - self.rate))

    def offset(self, room: int) -> int:
        """A random position in [0, room)."""
        # the multiply-shift of 32 random bits is uniform to within 2**-10 for rooms of a pool
        return ((int(self._bits.random_raw()) >> 32) * room) >> 32
