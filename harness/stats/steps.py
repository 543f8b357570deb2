"""When did a series move? Steps between stretches of a constant level.

PELT with squared error: Killick, Fearnhead and Eckley, JASA 107 (2012), by the library ruptures.
The penalty for a step is 3 sigma^2 log n, with sigma from the differences of neighbours, so that
the steps themselves do not inflate it.
"""

from __future__ import annotations

import numpy as np

#: shorter stretches are outliers, not levels
SHORTEST = 2
PENALTY = 3.0


def steps(values: np.ndarray, floor: float = 0.0) -> list[int]:
    """Positions at which a new level begins, (n,) values to at most n // 2 indices.

    ``floor``: a standard deviation below which a move is of no interest (an exact series has
    none of its own). [] for fewer than four values. Raises ImportError without ruptures.
    """
    count = len(values)
    if count < 2 * SHORTEST:
        return []
    import ruptures

    # median of |differences| / 0.6745 estimates sqrt(2) sigma and is blind to a few steps
    sigma = float(np.median(np.abs(np.diff(values)))) / (0.6745 * 2**0.5)
    sigma = max(sigma, floor, 1e-12)
    found = ruptures.Pelt(model="l2", min_size=SHORTEST, jump=1).fit(np.asarray(values)[:, None])
    ends = found.predict(pen=PENALTY * sigma**2 * np.log(count))
    return [int(end) for end in ends if end < count]
