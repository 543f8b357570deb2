"""What a fitted model is, without a clock: operations per example, weights, bytes, family.

Worked by PyTorch's worker whatever trained the model: the neutral artifact is one architecture with
one count, which the rows of all frameworks share.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from harness import registry
from harness.backends.base import Progress, lengths_of, pad, weights_bytes
from harness.stages import prepare
from harness.stages.fetch import model_folder
from harness.stages.job import Job

#: the framework that counts
COUNTED_BY = "torch"


def counted(job: Job) -> bool:
    """Whether the kind of model is one that PyTorch can load and count."""
    return job.spec["model"]["kind"] in registry.backends.get(COUNTED_BY).kinds


def facts(job: Job, progress: Progress) -> dict[str, Any]:
    """The content of ``facts.json`` beside a fit.

    ``flops_per_example`` is of one feature at the mean length of the drawn test split (attention
    grows with the square of the length, so a split of uneven lengths costs somewhat more), times
    the features an example has on average.
    """
    from harness.backends.torch.flops import artifact_facts

    test = prepare.split(job, "test", model_folder(job))
    lengths = lengths_of(test.encoded)
    mean = float(lengths.mean())
    # the feature nearest to the mean length, cut or extended by nothing: a real input
    nearest = int(np.argmin(np.abs(lengths - mean)))
    example = pad(test.encoded, np.array([nearest]))
    features_per_example = test.encoded.features_per_example
    counts = artifact_facts(job.artifact, example)
    return {
        "flops_per_example": counts["flops_per_example"] * features_per_example,
        "flops_per_feature": counts["flops_per_example"],
        "flops_basis": "matrix products and convolutions, two operations per multiplication and "
        "addition, counted by PyTorch",
        "input_shape": {name: list(array.shape) for name, array in example.items()},
        "mean_length": mean,
        "features_per_example": features_per_example,
        "params": counts["params"],
        "family": counts["family"],
        "weights_bytes": weights_bytes(job.artifact),
    }


def unknown(reason: str) -> dict[str, Any]:
    """``facts.json`` of a model that cannot be counted."""
    return {"flops_per_example": None, "flops_per_example_reason": reason}
