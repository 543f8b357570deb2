"""What `fit_dtype: auto` comes to: bfloat16 where training is faster with it.

One rule for all frameworks, which bring their products and training steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

#: examples of a training step that is timed, and tokens of each, as in short documents
BATCH, TOKENS = 16, 64
#: rows and columns of the matrices whose product decides whether bfloat16 is worth steps at all
PRODUCT = 512
#: seconds that the timed steps of both dtypes may take together
_SECONDS = 3.0
#: rounds of a step in each dtype: the first warms up, one is timed at least
_ROUNDS = 6

DTYPES = ("float32", "bfloat16")

#: what one call computes, by the name of its dtype
Timed = Callable[[str], Any]


def on_gpu(supported: bool) -> tuple[str, dict[str, Any]]:
    """bfloat16 where the GPU has it."""
    reason = f"bfloat16 {'is' if supported else 'is not'} supported by the GPU"
    return ("bfloat16" if supported else "float32"), {"reason": reason}


def on_cpu(product: Timed, steps: Callable[[], Timed]) -> tuple[str, dict[str, Any]]:
    """The dtype whose training steps are faster, and the figures that say so.

    ``product`` multiplies two square matrices of `PRODUCT` rows. Only where bfloat16 is no slower
    at that does ``steps`` build what trains a model for a step.
    """
    products = {dtype: min(_seconds(product, dtype) for _ in range(5)) for dtype in DTYPES}
    figures: dict[str, Any] = {"product_speedup": products["float32"] / products["bfloat16"]}
    if figures["product_speedup"] < 1.0:
        return "float32", figures | {"reason": "bfloat16 products are slower here"}
    fastest = _fastest(steps())
    figures |= {f"{dtype}_step_seconds": seconds for dtype, seconds in fastest.items()}
    faster = fastest["bfloat16"] < fastest["float32"]
    return ("bfloat16" if faster else "float32"), figures | {"reason": "training steps timed"}


def _fastest(step: Timed) -> dict[str, float]:
    """Seconds of the fastest step in each dtype, taken in turns."""
    fastest = dict.fromkeys(DTYPES, float("inf"))
    deadline = time.perf_counter() + _SECONDS
    rounds = 0
    while rounds < 2 or (time.perf_counter() < deadline and rounds < _ROUNDS):
        for dtype in DTYPES:
            seconds = _seconds(step, dtype)
            if rounds:
                fastest[dtype] = min(fastest[dtype], seconds)
        rounds += 1
    return fastest


def _seconds(timed: Timed, dtype: str) -> float:
    begun = time.perf_counter()
    timed(dtype)
    return time.perf_counter() - begun
