"""Successive halving: many candidates on little data, the better half on twice as much.

Jamieson and Talwalkar 2016, *Non-stochastic Best Arm Identification*; here the resource is the
number of training examples, and a deadline ends the search wherever it stands.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from harness.errors import RequestError

#: the first rung has at least so many examples: below, scores are noise
SMALLEST_RUNG = 100
RUNGS = 3
#: fits of other sizes are estimated from the last one, and may take this much longer
_CAUTION = 1.3
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def rungs(examples: int) -> list[int]:
    """Training sizes from a quarter to all, doubling: 1000 -> [250, 500, 1000]."""
    sizes = [examples // 2**power for power in range(RUNGS - 1, -1, -1)]
    return [size for size in sizes if size >= SMALLEST_RUNG] or [examples]


def survivors(scores: Mapping[str, float], always: Sequence[str] = ()) -> list[str]:
    """The better half (at least one), ties by name; those of ``always`` compete apart: the best
    one of them stays, however it compares."""
    ranked = sorted((n for n in scores if n not in always), key=lambda n: (-scores[n], n))
    kept = ranked[: max(1, math.ceil(len(ranked) / 2))]
    apart = sorted((n for n in scores if n in always), key=lambda n: (-scores[n], n))
    return kept + apart[:1]


def expected_seconds(seconds: float, examples: int, wanted: int) -> float:
    """What a fit takes on ``wanted`` examples if it took ``seconds`` on ``examples``."""
    return _CAUTION * seconds * wanted / max(examples, 1)


def duration(text: str) -> float:
    """``90s``, ``10m``, ``1.5h`` or plain seconds; `RequestError` for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h)?\s*", text)
    value = float(found[1]) * _UNITS[found[2] or ""] if found else 0.0
    if not value > 0:
        raise RequestError(f"--time {text}: not a duration such as 90s, 10m or 1h")
    return value
