"""bfloat16 where it is faster: products with a layer's weights, while a training step is traced.

As under ``torch.autocast``, variables, norms, softmax, losses and the optimiser stay float32. A
product is handed back in float32 at once: GELU in bfloat16 takes longer and loses digits. Products
of attention alone, of no weights, stay float32, too; in bfloat16 they would take 1 to 4% off a step
of MiniLM.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from harness.backends.tensorflow.architectures import layers
from harness.errors import Unsupported


def layers_in(fit_dtype: str, backbone: Any) -> list[Any]:
    """The layers whose products `products_in` computes in this dtype; none for float32.

    Raises `Unsupported` for other dtypes than these two.
    """
    import keras

    if fit_dtype == "float32":
        return []
    if fit_dtype != "bfloat16":
        raise Unsupported(f"TensorFlow trains in float32 or bfloat16 here, not in {fit_dtype}")
    kinds = (keras.layers.Dense, keras.layers.EinsumDense, keras.layers.Conv2D)
    return [layer for layer in layers(backbone) if isinstance(layer, kinds)]


@contextmanager
def products_in(fit_dtype: str, changed: list[Any]) -> Iterator[None]:
    """What is traced within computes the products of these layers in this dtype."""
    for layer in changed:
        layer.call = _call(layer, fit_dtype)
    try:
        yield
    finally:
        for layer in changed:
            del layer.call  # the class has its own


def _call(layer: Any, dtype: str) -> Callable[..., Any]:
    """The layer's `call`, but for the dtype of its product."""
    from keras import ops

    product = _product(layer)

    def call(inputs: Any, training: bool | None = None) -> Any:
        outputs = product(ops.cast(inputs, dtype), ops.cast(layer.kernel, dtype))
        outputs = ops.cast(outputs, layer.compute_dtype)
        if layer.bias is not None:
            outputs = ops.add(outputs, layer.bias)
        return outputs if layer.activation is None else layer.activation(outputs)

    return call


def _product(layer: Any) -> Callable[[Any, Any], Any]:
    """What a layer makes of its inputs and its kernel."""
    import keras

    if isinstance(layer, keras.layers.EinsumDense):
        return partial(keras.ops.einsum, layer.equation)
    if isinstance(layer, keras.layers.Conv2D):
        convolve: Callable[[Any, Any], Any] = layer.convolution_op
        return convolve
    multiply: Callable[[Any, Any], Any] = keras.ops.matmul
    return multiply
