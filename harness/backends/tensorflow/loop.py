"""Training all weights of a model in TensorFlow: one traced update, AdamW as in PyTorch's arm."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.backends import training
from harness.backends.base import FitReport, FitRequest, Predictor, Progress, lengths_of
from harness.backends.batches import augmenter_of, padded_batch
from harness.backends.tensorflow.dropout import PooledDropout
from harness.backends.tensorflow.losses import LOSSES
from harness.backends.tensorflow.model import TensorFlowModel, save
from harness.backends.tensorflow.precision import layers_in, products_in
from harness.backends.tensorflow.predictor import TensorFlowPredictor, signature
from harness.backends.tensorflow.rows import TrainedRows
from harness.backends.tensorflow.text import TextModel
from harness.tasks.base import Ragged

#: parts of a batch of mixed lengths, each padded to its own longest sequence. Their losses add up
#: to the batch's, so the update is the same; without them R8's batches are a third padding
_PARTS = 4


def train(model: TensorFlowModel, request: FitRequest, progress: Progress) -> FitReport:
    """Fit all weights and write the artifact; raises `Diverged`."""
    assert request.model_folder is not None
    stepper = TensorFlowStepper(model, request)
    report = training.train(stepper, request, progress)
    stepper.predictor()  # the weights stand in the model
    save(model, request.out, request.model_folder)
    return report


class TensorFlowStepper(training.Stepper):
    """A model and its optimiser."""

    def __init__(self, model: TensorFlowModel, request: FitRequest) -> None:
        import tensorflow as tf

        self.model, self.request = model, request
        self.lowered = layers_in(request.settings["fit_dtype"], model.backbone)
        whole = model.trainable()
        self.params = self.trained_params = sum(int(np.prod(v.shape)) for v in whole)
        self.rows = self._limit_rows()
        self.variables = whole
        if self.rows is not None:
            table = self.rows.table.value
            self.variables = [self.rows.rows, *(v for v in whole if v is not table)]
        self.dropout: PooledDropout | None = None
        self.augment = augmenter_of(request)
        self.lengths = lengths_of(request.train)
        if request.device == "cpu" and isinstance(model, TextModel):
            longest = np.array([self.lengths.max()] * request.settings["batch_size"])
            largest = max(self._elements(part) for part in self._parts(longest))
            self.dropout = PooledDropout(model, request.seed, largest)
        self.share = tf.Variable(0.0, trainable=False)
        self.optimiser = _AdamW(self.variables, model, request.settings)
        self._traced: dict[int, Any] = {}
        self._predictor = TensorFlowPredictor(model)

    def _limit_rows(self) -> TrainedRows | None:
        """Not with L1, which pulls on unreached rows too."""
        table = getattr(self.model.backbone, "token_embedding", None)
        if self.request.settings["l1"] or table is None:
            return None
        ids = self.request.train.inputs["input_ids"]
        assert isinstance(ids, Ragged)
        return TrainedRows(self.model, np.unique(ids.values))

    def step(self, batch: np.ndarray, share: float) -> Any:
        import tensorflow as tf

        self.share.assign(share)
        examples = self._parts(batch[np.argsort(self.lengths[batch], kind="stable")])
        parts = [self._arrays(part) for part in examples]
        if len(parts) not in self._traced:
            one = tuple(signature(arrays) for arrays in parts[0])
            self._traced[len(parts)] = tf.function(
                self._update, input_signature=[(one,) * len(parts)]
            )
        loss = self._traced[len(parts)](tuple(parts))
        if self.dropout:
            used = (self._elements(self.lengths[part]) for part in examples)
            self.dropout.advance(self._layers * sum(used))
        if self.rows:
            settings = self.request.settings
            self.rows.decay(1.0 - settings["learning_rate"] * share * settings["weight_decay"])
        return loss

    def _arrays(self, part: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        inputs, targets = padded_batch(self.request.train, part, self.augment)
        return self.model.feed(inputs), targets

    def _parts(self, batch: np.ndarray) -> list[np.ndarray]:
        if not self.request.mixed_batches or len(batch) < 2 * _PARTS:
            return [batch]
        return np.array_split(batch, _PARTS)

    def _elements(self, lengths: np.ndarray) -> int:
        """Factors that the dropout of one layer takes for sequences of these lengths."""
        backbone = self.model.backbone
        heads = int(getattr(backbone, "num_heads", 0) or getattr(backbone, "num_query_heads", 1))
        width, longest = self.model.width(), int(lengths.max())
        return len(lengths) * longest * (heads * longest + 2 * width)

    @property
    def _layers(self) -> int:
        return int(getattr(self.model.backbone, "num_layers", 1))

    def _update(self, parts: Any) -> Any:
        import tensorflow as tf

        settings = self.request.settings
        if self.rows:
            self.rows.training = True
        with products_in(settings["fit_dtype"], self.lowered), tf.GradientTape() as tape:
            sums, counts = zip(*(self._loss(*part) for part in parts), strict=True)
            loss = tf.add_n(sums) / tf.maximum(tf.add_n(counts), 1.0)
            objective = loss
            if settings["l1"]:
                weights = [v for v in self.variables if len(v.shape) > 1]
                objective += settings["l1"] * tf.add_n([tf.reduce_sum(abs(v)) for v in weights])
        if self.rows:
            self.rows.training = False
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
        if self.rows:
            self.rows.sync()
        return self._predictor

    def snapshot(self) -> list[np.ndarray]:
        if self.rows:
            self.rows.sync()
        return [variable.numpy() for variable in self.model.state()]

    def restore(self, state: list[np.ndarray]) -> None:
        for variable, values in zip(self.model.state(), state, strict=True):
            variable.assign(values)
        if self.rows:
            self.rows.reload()


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
        heads = {id(variable) for layer in model.head for variable in layer}
        self.rates = [head_rate if id(v) in heads else rate for v in variables]
        self.decays = [settings["weight_decay"] if len(v.shape) > 1 else 0.0 for v in variables]
        self.first = [tf.Variable(tf.zeros_like(v), trainable=False) for v in variables]
        self.second = [tf.Variable(tf.zeros_like(v), trainable=False) for v in variables]
        self.count = tf.Variable(0.0, trainable=False)

    def apply(self, gradients: list[Any], share: Any) -> None:
        """One update at ``share`` of the peak rates."""
        import tensorflow as tf

        beta1, beta2, epsilon = 0.9, 0.999, 1e-8
        count = self.count.assign_add(1.0)
        power1, power2 = tf.pow(beta1, count), tf.pow(beta2, count)
        # the kernel adds its epsilon before the second moment's bias is corrected
        epsilon_hat = epsilon * tf.sqrt(1.0 - power2)
        for variable, gradient, m, v, peak, decay in zip(
            self.variables, gradients, self.first, self.second, self.rates, self.decays, strict=True
        ):
            rate = peak * share
            if decay:
                variable.assign(variable * (1.0 - rate * decay))
            # one pass over the memory; written out in single operations a step takes twice as long
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=power1,
                beta2_power=power2,
                lr=rate,
                beta1=beta1,
                beta2=beta2,
                epsilon=epsilon_hat,
                grad=gradient,
                use_locking=True,
            )
