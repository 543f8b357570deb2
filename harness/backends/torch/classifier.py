"""What a checkpoint that is a classifier already says of texts, in its own classes."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch

from harness.backends.base import pad, sorted_batches
from harness.backends.torch.models import read_config
from harness.backends.torch.own_head import with_own_head
from harness.backends.torch.threads import use_threads
from harness.errors import Unsupported
from harness.tasks.base import Encoded

_BATCH = 32
#: how transformers names the architecture of a published text classifier
_SUFFIX = "ForSequenceClassification"


def class_probabilities(
    folder: Path, encoded: Encoded, *, seconds: float | None, threads: int
) -> np.ndarray:
    """(features, the checkpoint's own classes) float32, rows that sum to 1.

    Raises `Unsupported` where the checkpoint has no such head, where the head's outputs are no
    distribution over classes, and where ``seconds`` do not suffice.
    """
    from transformers import AutoModelForSequenceClassification
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    use_threads(threads)
    config = read_config(folder)
    if not any(name.endswith(_SUFFIX) for name in config.architectures or ()):
        raise Unsupported("the checkpoint has no classifier of its own")
    if config.num_labels < 2 or config.problem_type == "multi_label_classification":
        raise Unsupported("the checkpoint's head gives no distribution over classes")
    head = "classifier of its own"
    model = with_own_head(AutoModelForSequenceClassification, folder, config, head)
    # others classify by the last token, and find it by a padding id that need not be ours
    size = _BATCH if config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES else 1
    found = np.empty((len(encoded), config.num_labels), np.float32)
    begun = time.monotonic()
    with torch.inference_mode():
        for number, batch in enumerate(sorted_batches(encoded, size)):
            if seconds is not None and time.monotonic() - begun > seconds:
                done = number * size
                raise Unsupported(f"{done} of {len(encoded)} texts took all of {seconds:.0f} s")
            inputs = {name: torch.from_numpy(a) for name, a in pad(encoded, batch).items()}
            found[batch] = model(**inputs).logits.softmax(-1).numpy()
    return found
