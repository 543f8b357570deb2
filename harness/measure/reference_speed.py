"""Reference speed: how fast this host multiplies two small matrices right now.

It tells hosts apart (a latency means little without it) and one moment from the next (a neighbour
slows it down). The neutral product is NumPy's, in float32, on one thread: the same on every host,
whatever runtime is timed. A runtime adds products of its own, in the precisions it has, on the
threads that it computes with (`harness.backends.base.Runtime.products`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

#: Rows and columns of the neutral product: 33.6 MFLOP, 0.3 ms on a core of today. Its three
#: matrices (786 kB) fit into a core's second-level cache, so that it does not empty the caches
#: that the model just filled.
NEUTRAL_SIZE = 256
#: its name in records
NEUTRAL = "numpy-float32"

#: Products whose fastest counts. One preempted product must not make a slow host, and five take
#: less than 2 ms.
REPEATS = 5


@dataclass(frozen=True)
class Product:
    """A matrix product that can be timed: call it, and it has computed ``flops`` operations."""

    name: str  # e.g. torch-bfloat16
    dtype: str
    flops: float
    multiply: Callable[[], Any]  # returns when the product is really done
    #: what must hold while it is timed
    within: Callable[[], AbstractContextManager[Any]] = nullcontext


def flops_of(size: int) -> float:
    """Operations of a product of two square matrices: a multiplication and an addition each."""
    return 2.0 * size**3


def neutral_product(size: int = NEUTRAL_SIZE) -> Product:
    """NumPy's float32 product on one thread."""
    left = np.random.default_rng(0).standard_normal((size, size), np.float32)
    right, out = left.T.copy(), np.empty_like(left)
    return Product(
        NEUTRAL,
        "float32",
        flops_of(size),
        lambda: np.matmul(left, right, out=out),
        one_blas_thread,
    )


def flops_per_second(product: Product, repeats: int = REPEATS) -> float:
    """Speed of the fastest of ``repeats`` products, after one that wakes caches and clocks."""
    best = float("inf")
    with product.within():
        product.multiply()
        for _ in range(repeats):
            start = time.perf_counter_ns()
            product.multiply()
            best = min(best, (time.perf_counter_ns() - start) / 1e9)
    return product.flops / max(best, 1e-9)


def in_neutral_products(latency_ms: float, speed: float) -> float:
    """A latency as a number of neutral products of the same host at the same time (``speed`` in
    FLOP/s): what is left of it when the host's own speed is taken out."""
    return latency_ms / 1e3 * speed / flops_of(NEUTRAL_SIZE)


def peak_flops_per_second(products: Mapping[str, Product], seconds: float) -> dict[str, float]:
    """The best speed of each product within ``seconds`` each: what the host can do at all.

    It is a *measured* peak, of this library's product on this host's threads; the hardware's
    figure on paper is higher.
    """
    found: dict[str, float] = {}
    for name, product in products.items():
        end = time.perf_counter() + seconds
        best = flops_per_second(product, 1)
        while time.perf_counter() < end:
            best = max(best, flops_per_second(product, 1))
        found[name] = best
    return found


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """NumPy's BLAS on one thread; its other threads would spin on after the product, for up to
    30 ms beside whatever is timed next."""
    controller = _blas()
    if controller is None:
        yield
        return
    with controller.limit(limits=1):
        yield


@cache
def _blas() -> Any | None:
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController().select(user_api="blas")
