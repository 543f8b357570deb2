"""Linear probes on features that TensorFlow computes."""

from __future__ import annotations

import numpy as np

from harness.backends import probe as shared
from harness.backends.base import Batch, FitReport, FitRequest, Progress
from harness.backends.tensorflow.model import TensorFlowModel, save
from harness.backends.tensorflow.predictor import signature


def probe(model: TensorFlowModel, request: FitRequest, progress: Progress) -> FitReport:
    """Fit the head and write the artifact; raises `RequestError` for settings without meaning."""
    import tensorflow as tf

    shared.check(request)
    assert request.model_folder is not None
    traced: dict[str, object] = {}

    def compute(batch: Batch) -> np.ndarray:
        batch = model.feed(batch)
        if "f" not in traced:
            traced["f"] = tf.function(model.features, input_signature=[signature(batch)])
        return traced["f"](batch).numpy()  # type: ignore[operator]

    own = sum(weight.size + bias.size for weight, bias in model.head_layers())
    params = sum(int(np.prod(v.shape)) for v in model.trainable()) - own
    head, report = shared.probe(request, compute, model.width(), params, progress)
    model.set_head(head)
    save(model, request.out, request.model_folder)
    return report
