"""Matrix products of TensorFlow, by whose speed a model's is judged."""

from __future__ import annotations

from typing import Any

from harness.measure.reference_speed import Product, flops_of

#: rows and columns, as in `harness.backends.torch.products`
_CPU_SIZE, _GPU_SIZE = 1024, 8192


def products(device: str) -> list[Product]:
    """In float32 and bfloat16, on the threads that TensorFlow was started with."""
    return [_product(device, dtype) for dtype in ("float32", "bfloat16")]


def _product(device: str, dtype: str) -> Product:
    import tensorflow as tf

    size = _CPU_SIZE if device == "cpu" else _GPU_SIZE
    with tf.device("/CPU:0" if device == "cpu" else "/GPU:0"):
        left = tf.cast(tf.random.normal((size, size), seed=0), dtype)
        right = tf.cast(tf.random.normal((size, size), seed=1), dtype)
    multiply: Any = tf.function(lambda: tf.linalg.matmul(left, right)[0, 0])
    # the one number that is fetched waits for the product
    return Product(f"tensorflow-{dtype}", dtype, flops_of(size), lambda: multiply().numpy())
