"""What the parity gate says of real checkpoints, before and after each correction.

The figures of docs/frameworks.md and docs/images.md: `make bench-speed ARGS=-k figures`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.backends.base import ArtifactInfo, Batch, pad
from harness.execute.environment import thread_environment
from tests.benchmarks.processes import THREADS, in_fresh_process
from tests.benchmarks.test_vision_speed import images, lite0

__all__ = ["lite0"]  # a fixture

#: correction that is left out -> what must then stay under or over the bound
MINILM = {"": True, "activation": False, "epsilon": False}
LITE0 = {"": True, "padding": False, "epsilon": False, "both": False}


def hidden(kind: str, folder: Path, batch: Batch) -> tuple[float, list[Any]]:
    from harness.backends.torch.backend import TorchBackend

    return 0.0, [TorchBackend().hidden_states(kind, folder, batch)]


def without(
    kind: str, folder: Path, batch: Batch, expected: np.ndarray, left_out: str
) -> tuple[float, list[Any]]:
    """The gate's figure in TensorFlow with one correction left out."""
    from harness.backends.tensorflow.threads import set_up

    set_up("cpu", THREADS)
    from harness.backends.tensorflow import architectures, model, vision

    of_text, of_images = architectures._correct, vision._correct

    def text(backbone: Any, config: dict[str, Any], dropout: float | None) -> None:
        changes = {"activation": {"hidden_act": "gelu_new"}, "epsilon": {"layer_norm_eps": 1e-5}}
        of_text(backbone, config | changes.get(left_out, {}), dropout)

    def convolutional(backbone: Any, *, from_tensorflow: bool) -> None:
        import keras

        kept = {id(x): x.padding for x in architectures.layers(backbone) if hasattr(x, "padding")}
        of_images(backbone, from_tensorflow=from_tensorflow)
        for layer in architectures.layers(backbone):
            if left_out in ("padding", "both") and id(layer) in kept:
                layer.padding = kept[id(layer)]
            if left_out in ("epsilon", "both") and isinstance(
                layer, keras.layers.BatchNormalization
            ):
                layer.epsilon = 1e-5

    architectures._correct, vision._correct = text, convolutional
    info = ArtifactInfo(kind, "tensorflow", "", "pooled", 2, "mean", ["0", "1"], 128)
    got = model.build(info, folder).compute_hidden(batch)
    if kind == "timm":
        got, expected = got.mean((1, 2)), expected.mean((1, 2))
    real = batch["attention_mask"].astype(bool) if "attention_mask" in batch else slice(None)
    return 0.0, [float(np.abs(got[real] - expected[real]).max() / np.abs(expected[real]).max())]


@pytest.mark.benchmark_speed
@pytest.mark.parametrize(("kind", "cases"), [("transformer", MINILM), ("timm", LITE0)])
def test_figures_of_the_gate(topics, lite0, capsys, kind, cases):
    pytest.importorskip("tensorflow")
    folder = topics.folder if kind == "transformer" else lite0
    encoded = topics.encoded["train"] if kind == "transformer" else images(8, 224)
    batch = pad(encoded, np.arange(8))
    environment = thread_environment(THREADS)
    _, (expected,), _ = in_fresh_process(environment, hidden, kind, folder, batch)
    for left_out, passes in cases.items():
        _, (figure,), _ = in_fresh_process(
            environment, without, kind, folder, batch, expected, left_out
        )
        with capsys.disabled():
            print(f"\n{folder.name[:12]} {kind}, without {left_out or 'nothing'}: {figure:.1e}")
        assert (figure <= 1e-5) == passes
