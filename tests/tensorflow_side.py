"""What tests run in a process of TensorFlow's own: functions of plain arguments, no PyTorch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends.base import Batch, FitReport, FitRequest, predict_all


def set_up() -> None:
    from harness.backends.tensorflow.threads import set_up

    set_up("cpu", 1)


def fit(request: FitRequest) -> FitReport:
    """Fit in TensorFlow; scores are not of interest, for functions of tests do not travel."""
    from harness.backends.tensorflow.backend import TensorFlowBackend

    request = dataclasses.replace(
        request, validation_score=lambda _: 0.5, train_score=lambda _: 0.5
    )
    return TensorFlowBackend().fit(request, lambda *_: None)


def gate(request: FitRequest, sabotage: str = "") -> float:
    """The gate's figure; ``sabotage`` undoes one of the corrections first."""
    from harness.backends import gate
    from harness.backends.tensorflow import architectures, model

    correct = architectures._correct

    def all_but_one(backbone: Any, config: dict[str, Any], dropout: float | None) -> None:
        config = dict(config)
        if sabotage == "activation":
            config["hidden_act"] = "gelu_new"
        elif sabotage == "epsilon":
            config["layer_norm_eps"] = 1e-5
        correct(backbone, config, dropout)
        if sabotage == "transposed":  # the query projection of the first layer, as if read wrong
            kernel = backbone.transformer_layers[0]._self_attention_layer.query_dense.kernel
            kernel.assign(np.transpose(kernel.numpy(), (2, 1, 0)).reshape(kernel.shape))

    architectures._correct = all_but_one
    try:
        built = model.build(request.info, request.model_folder)
        return gate.check(built.compute_hidden, request.reference)
    finally:
        architectures._correct = correct


def round_trip(request: FitRequest) -> float:
    """Largest difference between a checkpoint's tensors and what comes back from the variables."""
    from harness.backends.tensorflow import model

    checkpoint = model.build(request.info, request.model_folder).checkpoint
    back = checkpoint.back()
    assert set(back) <= set(checkpoint.tensors)
    return max(float(np.abs(back[name] - checkpoint.tensors[name]).max()) for name in back)


def predict(artifact: Path, request: FitRequest, runtime: str) -> list[np.ndarray]:
    """Logits of the validation split."""
    from harness.backends.tensorflow.runtime import TensorFlowRuntime, TensorFlowXlaRuntime

    kind = TensorFlowXlaRuntime if runtime == "tensorflow-xla" else TensorFlowRuntime
    predictor = kind().load(artifact, artifact, device="cpu", threads=1)
    return predict_all(predictor, request.validation)


def loss(name: str, logits: np.ndarray, inputs: Batch, targets: Batch, smoothing: float) -> float:
    import tensorflow as tf

    from harness.backends.tensorflow.losses import LOSSES

    tensors = {key: tf.constant(value) for key, value in targets.items()}
    total, count = LOSSES[name](tf.constant(logits), inputs, tensors, smoothing)
    return float(total) / float(count)


def adamw(
    weight: np.ndarray, bias: np.ndarray, gradients: list[tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """A head after updates with given gradients, the rate falling from step to step."""
    from types import SimpleNamespace

    import tensorflow as tf

    from harness.backends.tensorflow.loop import _AdamW

    w, b = tf.Variable(weight), tf.Variable(bias)
    model: Any = SimpleNamespace(head=[(w, b)])
    optimiser = _AdamW([w, b], model, {"learning_rate": 1e-2, "weight_decay": 0.1})
    for step, pair in enumerate(gradients):
        optimiser.apply([tf.constant(g) for g in pair], tf.constant(1.0 - 0.1 * step))
    return w.numpy(), b.numpy()
