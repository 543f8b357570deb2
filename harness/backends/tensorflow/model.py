"""What every Keras backbone under a head shares, and its neutral artifact.

Each kind of model is a subclass in a file of its own, and a line in `KINDS`.
"""

from __future__ import annotations

import json
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends.base import ArtifactInfo, Batch
from harness.backends.heads import HeadLayers, initial_head, load_head, save_head
from harness.backends.tensorflow.weights import Checkpoint
from harness.errors import Unsupported

#: what builds each kind, with (info, folder, scratch, dropout, seed)
KINDS = {
    "keras-application": "harness.backends.tensorflow.applications:build_application",
    "timm": "harness.backends.tensorflow.vision:build_timm",
    "transformer": "harness.backends.tensorflow.text:build_transformer",
}
#: files that travel unchanged from a model folder to an artifact
_COMPANIONS = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")

#: a batch's arrays as tensors
Inputs = dict[str, Any]


class TensorFlowModel:
    """Backbone, dropout and head; computes with TensorFlow's functions."""

    def __init__(
        self,
        backbone: Any,
        checkpoint: Checkpoint,
        info: ArtifactInfo,
        head_dropout: float,
        seed: int,
    ) -> None:
        import tensorflow as tf

        self.backbone, self.checkpoint, self.info = backbone, checkpoint, info
        self.head_dropout = head_dropout
        #: (weight (in, out), bias (out,)) of each layer, hidden ones first
        self.head = [
            (
                tf.Variable(weight.T, name=f"head_{i}_weight"),
                tf.Variable(bias, name=f"head_{i}_bias"),
            )
            for i, (weight, bias) in enumerate(
                initial_head(self.width(), info.hidden, info.outputs, seed)
            )
        ]
        seeds = tf.random.Generator.from_seed(seed)

        def dropout(features: Any, training: bool = False) -> Any:
            if not training or not head_dropout:
                return features
            drawn = seeds.make_seeds(1)[:, 0]
            return tf.nn.experimental.stateless_dropout(features, head_dropout, drawn)

        #: before the last layer; training on a CPU may put a faster one in its place
        self.dropout = dropout

    def width(self) -> int:
        """Values of a backbone's features."""
        raise NotImplementedError

    def feed(self, batch: Batch) -> Batch:
        """A batch's arrays in the layout that the backbone computes in."""
        return batch

    def hidden(self, inputs: Inputs, training: bool = False) -> Any:
        """What the backbone computes, float32: a state for every token or position."""
        raise NotImplementedError

    def compute_hidden(self, batch: Batch) -> np.ndarray:
        """`hidden` of a batch's arrays."""
        return np.asarray(self.hidden(self.feed(batch)))

    def features(self, inputs: Inputs, training: bool = False) -> Any:
        """What the head sees."""
        raise NotImplementedError

    def logits(self, inputs: Inputs, training: bool = False) -> Any:
        """(batch, outputs) for pooled heads, else (batch, length, outputs)."""
        import tensorflow as tf

        features = self.features(inputs, training)
        *hidden, (weight, bias) = self.head
        for wide, shift in hidden:
            features = tf.nn.relu(tf.tensordot(features, wide, 1) + shift)
        return tf.tensordot(self.dropout(features, training=training), weight, 1) + bias

    def padded_up(self, batch: Batch) -> Batch:
        """A batch of few different shapes, for a compiler that works anew for each."""
        raise NotImplementedError

    def state(self) -> list[Any]:
        """All variables that the checkpoint filled (statistics of norms included), and the head."""
        ported = {id(getattr(v, "value", v)): v for v in self.checkpoint.variables()}
        return [*(v.value for v in ported.values()), *self._head_variables()]

    def trainable(self) -> list[Any]:
        """Those of `state` that a fine-tune moves."""
        return [v for v in self.state() if v.trainable]

    def _head_variables(self) -> list[Any]:
        return [variable for layer in self.head for variable in layer]

    def head_layers(self) -> HeadLayers:
        """The head's weights as artifacts hold them."""
        return [(weight.numpy().T, bias.numpy()) for weight, bias in self.head]

    def set_head(self, layers: HeadLayers) -> None:
        """Take weights as `head_layers` gives them."""
        for (weight, bias), (new_weight, new_bias) in zip(self.head, layers, strict=True):
            weight.assign(new_weight.T)
            bias.assign(new_bias)


def build(
    info: ArtifactInfo,
    folder: Path,
    *,
    recipe: str = "fine-tune",
    seed: int = 0,
    dropout: float | None = None,
) -> TensorFlowModel:
    """A model to train from a neutral folder; `Unsupported` for what Keras cannot load."""
    import keras

    if info.kind not in KINDS:
        raise Unsupported(f"TensorFlow fits no models of kind {info.kind!r}")
    keras.utils.set_random_seed(seed)
    module, _, name = KINDS[info.kind].partition(":")
    model: TensorFlowModel = getattr(import_module(module), name)(
        info, folder, recipe == "scratch", dropout, seed
    )
    return model


def load(artifact: Path) -> TensorFlowModel:
    """A fitted model from its artifact."""
    info = ArtifactInfo(**json.loads((artifact / "harness.json").read_text()))
    model = build(info, artifact)
    model.set_head(load_head(artifact))
    return model


def save(model: TensorFlowModel, out: Path, folder: Path) -> None:
    """Write the artifact; configuration and tokenizer are copied from ``folder``."""
    from safetensors.numpy import save_file

    out.mkdir(parents=True, exist_ok=True)
    # the metadata is what transformers asks of a file before it reads it
    save_file(model.checkpoint.back(), out / "model.safetensors", metadata={"format": "pt"})
    save_head(model.head_layers(), out)
    for name in _COMPANIONS:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)
    (out / "harness.json").write_text(json.dumps(model.info.as_dict(), indent=2, sort_keys=True))
