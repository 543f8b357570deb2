"""A head with hidden layers on given features, trained by Adam in numpy for every framework.

Dense layers with ReLU between them, softmax and categorical cross entropy, in float32. The update
is Keras' form of Adam (Kingma and Ba, 2015, end of section 2): the step is scaled by
sqrt(1 - beta2^t) / (1 - beta1^t), and epsilon is added to the square root of the raw second
moment. From the same start and the same batches, weights equal Keras' to float32 rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.backends import heads
from harness.backends.heads import HeadLayers
from harness.backends.linear import smoothed, soft_cross_entropy

_BETA1, _BETA2, _EPSILON = np.float32(0.9), np.float32(0.999), np.float32(1e-7)


@dataclass
class _Moments:
    first: np.ndarray
    second: np.ndarray


class Adam:
    """Adam on a list of arrays, which it changes in place."""

    def __init__(self, arrays: list[np.ndarray], learning_rate: float) -> None:
        self._arrays, self._rate = arrays, learning_rate
        self._moments = [_Moments(np.zeros_like(a), np.zeros_like(a)) for a in arrays]
        self._scratch = [np.empty_like(a) for a in arrays]
        self._steps = 0

    def step(self, gradients: list[np.ndarray]) -> None:
        self._steps += 1
        correction = (1.0 - float(_BETA2) ** self._steps) ** 0.5 / (
            1 - float(_BETA1) ** self._steps
        )
        alpha = np.float32(self._rate * correction)
        for array, gradient, moments, scratch in zip(
            self._arrays, gradients, self._moments, self._scratch, strict=True
        ):
            # m += (g - m)(1 - b1), v += (g^2 - v)(1 - b2), in Keras' order of operations
            np.subtract(gradient, moments.first, out=scratch)
            scratch *= 1 - _BETA1
            moments.first += scratch
            np.multiply(gradient, gradient, out=scratch)
            scratch -= moments.second
            scratch *= 1 - _BETA2
            moments.second += scratch
            np.sqrt(moments.second, out=scratch)
            scratch += _EPSILON
            np.divide(moments.first, scratch, out=scratch)
            scratch *= alpha
            array -= scratch


class MlpTrainer:
    """The head while it trains."""

    def __init__(self, layers: HeadLayers, learning_rate: float, smoothing: float = 0.0) -> None:
        self.layers: HeadLayers = [(w.copy(), b.copy()) for w, b in layers]
        self._smoothing = np.float32(smoothing)
        self._adam = Adam([array for layer in self.layers for array in layer], learning_rate)

    def step(self, rows: np.ndarray, labels: np.ndarray) -> float:
        """One update on features (batch, width) and labels (batch,); the batch's mean loss."""
        inputs, x = [], rows
        for weight, bias in self.layers[:-1]:
            inputs.append(x)
            x = np.maximum(x @ weight.T + bias, 0.0)
        inputs.append(x)
        weight, bias = self.layers[-1]
        loss, d = cross_entropy(x @ weight.T + bias, labels, self._smoothing)
        gradients: list[np.ndarray] = []
        for i in range(len(self.layers) - 1, -1, -1):
            gradients = [d.T @ inputs[i], d.sum(0), *gradients]
            if i:
                d = (d @ self.layers[i][0]) * (inputs[i] > 0)
        self._adam.step(gradients)
        return loss

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Logits (rows, outputs)."""
        return heads.apply(self.layers, rows)


def cross_entropy(
    logits: np.ndarray, labels: np.ndarray, smoothing: np.float32
) -> tuple[float, np.ndarray]:
    """Mean loss of (batch, outputs) logits and its gradient by them."""
    return soft_cross_entropy(smoothed(labels, logits.shape[1], smoothing), logits)
