"""Score by training size: a power law with its uncertainty.

    score(n) = a - b n^-c,    a <= 1,  b >= 0,  0.05 <= c <= 2

a is what the score would come to with unlimited data of the same kind, c how fast it gets there.
Sources: Cortes et al., NIPS 6 (1994) and Figueroa et al., *BMC Medical Informatics* 12 (2012),
for the inverse power law of a classifier's score and its weighted least squares; Viering and
Loog, TPAMI 45 (2023), for how often it holds (mostly) and when not (dips, phase changes).

For a given c the best a and b are a weighted line through n^-c, so c is searched on a grid and
no start value is needed. The uncertainty comes from refitting resampled scores. It holds for
sizes near those measured: a limit that lies far beyond them is an extrapolation of a form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.stats.bootstrap import LEVEL, percentile
from harness.stats.paired import Difference

#: Exponents that are told apart from flat (0.05: a tenth left after 10^20 examples) and from a step
EXPONENTS = np.geomspace(0.05, 2.0, 120)
FEWEST_SIZES = 3


@dataclass(frozen=True)
class PowerLaw:
    """The fitted curve; ``draws``: (resamples, 3) refits of a, b, c. ``notes``: what to doubt."""

    a: float
    b: float
    c: float
    draws: np.ndarray
    notes: tuple[str, ...] = ()

    def predict(self, size: float, level: float = LEVEL) -> Difference:
        """Expected score at a training size, with its percentile interval over the draws."""
        a, b, c = self.draws.T
        low, high = percentile(a - b * size**-c, level)
        return Difference(float(self.a - self.b * size**-self.c), low, high)

    def limit(self, level: float = LEVEL) -> Difference:
        """a, with its interval."""
        return Difference(self.a, *percentile(self.draws[:, 0], level))


def power_law(sizes: np.ndarray, scores: np.ndarray, draws: np.ndarray) -> PowerLaw | str:
    """The curve through scores at training sizes, or the reason why there is none.

    ``sizes``, ``scores``: (m,); ``draws``: (resamples, m) scores that could have been as well.
    Points count by the inverse of their draws' variance. Fewer than three distinct sizes cannot
    determine three parameters; a score that nowhere rises is answered by b = 0 and a note.
    """
    sizes, scores, draws = (np.asarray(x, float) for x in (sizes, scores, draws))
    if not (np.isfinite(scores).all() and np.isfinite(draws).all()):
        return "a score is unknown"
    if len(np.unique(sizes)) < FEWEST_SIZES:
        return f"a curve needs {FEWEST_SIZES} training sizes, there are {len(np.unique(sizes))}"
    variance = draws.var(axis=0)
    floor = variance[variance > 0].min() if (variance > 0).any() else 1.0
    weights = 1 / np.maximum(variance, floor)
    a, b, c = _fit(sizes, scores[None], weights)[0]
    notes = []
    if b == 0:
        notes.append("the score does not rise with the training size")
    else:
        if a >= 1.0:
            notes.append("no limit below 1 is in sight")
        if c in (EXPONENTS[0], EXPONENTS[-1]):
            notes.append("the exponent is not determined")
    if len(np.unique(sizes)) == FEWEST_SIZES:
        notes.append("three sizes do not test the form")
    return PowerLaw(float(a), float(b), float(c), _fit(sizes, draws, weights), tuple(notes))


def _fit(sizes: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """a, b, c of each line of ``scores``: (lines, m) to (lines, 3)."""
    best = np.full(len(scores), np.inf)
    found = np.zeros((3, len(scores)))
    weights = weights / weights.sum()
    scores = np.ascontiguousarray(scores.T)  # the few sizes outside: numpy is slow at short rows
    centre = weights @ scores
    for c in EXPONENTS:
        x = sizes**-c
        x_mean = x @ weights
        spread = weights @ np.square(x - x_mean)
        b = np.maximum(-((weights * (x - x_mean)) @ (scores - centre)) / spread, 0.0)
        a = centre + b * x_mean
        above = a > 1.0
        b = np.where(above, ((weights * x) @ (1 - scores)) / (weights @ np.square(x)), b)
        a = np.where(above, 1.0, a)
        error = weights @ np.square(scores - a + b * x[:, None])
        better = error < best
        best = np.where(better, error, best)
        found = np.where(better, [a, b, np.full(len(a), c)], found)
    return found.T
