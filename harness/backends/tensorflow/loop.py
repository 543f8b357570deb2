"""Training all weights of a model in TensorFlow: one traced update, AdamW as in PyTorch's arm."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.backends import training
from harness.backends.base import FitReport, FitRequest, Predictor, Progress, lengths_of
from harness.backends.batches import padded_batch
from harness.backends.tensorflow.losses import LOSSES
from harness.backends.tensorflow.model import TensorFlowModel, build, save
from harness.backends.tensorflow.predictor import TensorFlowPredictor, signature

#: parts of a batch of mixed lengths, each padded to its own longest sequence. Their losses add up
#: to the batch's, so the update is the same; without them R8's batches are a third padding
_PARTS = 4


def train(request: FitRequest, progress: Progress) -> FitReport:
    """Fit all weights and write the artifact; raises `Diverged` or `Unsupported`."""
    assert request.model_folder is not None
    model = build(
        request.info,
        request.model_folder,
        recipe=request.recipe,
        seed=request.seed,
        dropout=request.settings.get("dropout"),
    )
    stepper = TensorFlowStepper(model, request)
    report = training.train(stepper, request, progress)
    save(model, request.out, request.model_folder)
    return report


class TensorFlowStepper(training.Stepper):
    """A model and its optimiser."""

    def __init__(self, model: TensorFlowModel, request: FitRequest) -> None:
        import tensorflow as tf

        self.model, self.request = model, request
        self.variables = model.trainable()
        self.params = self.trained_params = sum(int(np.prod(v.shape)) for v in self.variables)
        self.share = tf.Variable(0.0, trainable=False)
        self.optimiser = _AdamW(self.variables, model, request.settings)
        self.lengths = lengths_of(request.train)
        self._traced: dict[int, Any] = {}
        self._predictor = TensorFlowPredictor(model, request.device)

    def step(self, batch: np.ndarray, share: float) -> Any:
        self.share.assign(share)
        parts = [padded_batch(self.request.train, part) for part in self._parts(batch)]
        if len(parts) not in self._traced:
            one = tuple(signature(arrays) for arrays in parts[0])
            import tensorflow as tf

            self._traced[len(parts)] = tf.function(
                self._update, input_signature=[(one,) * len(parts)]
            )
        return self._traced[len(parts)](tuple(parts))

    def _parts(self, batch: np.ndarray) -> list[np.ndarray]:
        if not self.request.mixed_batches or len(batch) < 2 * _PARTS:
            return [batch]
        return np.array_split(batch[np.argsort(self.lengths[batch], kind="stable")], _PARTS)

    def _update(self, parts: Any) -> Any:
        import tensorflow as tf

        settings = self.request.settings
        with tf.GradientTape() as tape:
            sums, counts = zip(*(self._loss(*part) for part in parts), strict=True)
            loss = tf.add_n(sums) / tf.maximum(tf.add_n(counts), 1.0)
            objective = loss
            if settings["l1"]:
                weights = [v for v in self.variables if len(v.shape) > 1]
                objective += settings["l1"] * tf.add_n([tf.reduce_sum(abs(v)) for v in weights])
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(objective, self.variables)]
        if settings["clip_norm"]:
            gradients, _ = tf.clip_by_global_norm(gradients, settings["clip_norm"])
        self.optimiser.apply(gradients, self.share)
        return loss

    def _loss(self, inputs: Any, targets: Any) -> tuple[Any, Any]:
        logits = self.model.logits(inputs, training=True)
        smoothing = self.request.settings["label_smoothing"]
        return LOSSES[self.request.loss](logits, inputs, targets, smoothing)

    def losses(self, handles: list[Any]) -> list[float]:
        return [float(handle) for handle in handles]

    def predictor(self) -> Predictor:
        return self._predictor

    def snapshot(self) -> list[np.ndarray]:
        return [variable.numpy() for variable in self.variables]

    def restore(self, state: list[np.ndarray]) -> None:
        for variable, values in zip(self.variables, state, strict=True):
            variable.assign(values)


class _AdamW:
    """AdamW (Loshchilov and Hutter, 2019) in PyTorch's form, so that both frameworks' updates are
    the same function of the gradients: no decay on vectors, the head at a rate of its own."""

    def __init__(
        self, variables: list[Any], model: TensorFlowModel, settings: dict[str, Any]
    ) -> None:
        import tensorflow as tf

        self.variables = variables
        rate = settings["learning_rate"]
        head_rate = settings.get("head_learning_rate") or rate
        heads = (id(model.weight), id(model.bias))
        self.rates = [head_rate if id(v) in heads else rate for v in variables]
        self.decays = [settings["weight_decay"] if len(v.shape) > 1 else 0.0 for v in variables]
        self.first = [tf.Variable(tf.zeros_like(v), trainable=False) for v in variables]
        self.second = [tf.Variable(tf.zeros_like(v), trainable=False) for v in variables]
        self.count = tf.Variable(0.0, trainable=False)

    def apply(self, gradients: list[Any], share: Any) -> None:
        import tensorflow as tf

        beta1, beta2, epsilon = 0.9, 0.999, 1e-8
        count = self.count.assign_add(1.0)
        correction1 = 1.0 - tf.pow(beta1, count)
        correction2 = tf.sqrt(1.0 - tf.pow(beta2, count))
        for variable, gradient, m, v, peak, decay in zip(
            self.variables, gradients, self.first, self.second, self.rates, self.decays, strict=True
        ):
            rate = peak * share
            m_new = m.assign(beta1 * m + (1.0 - beta1) * gradient)
            v_new = v.assign(beta2 * v + (1.0 - beta2) * tf.square(gradient))
            step = rate / correction1 * m_new / (tf.sqrt(v_new) / correction2 + epsilon)
            variable.assign(variable * (1.0 - rate * decay) - step)
