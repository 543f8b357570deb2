"""A Keras backbone under a linear head, and the neutral artifact it is loaded from and saved to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends.base import ArtifactInfo
from harness.backends.tensorflow.architectures import build as build_backbone
from harness.backends.tensorflow.architectures import first
from harness.backends.tensorflow.weights import Checkpoint
from harness.errors import Unsupported

#: files that travel unchanged from a model folder to an artifact
_COMPANIONS = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
#: standard deviation of a new head (BERT's value)
_HEAD_STD = 0.02
_HEAD_DROPOUT_KEYS = (
    "classifier_dropout", "seq_classif_dropout", "hidden_dropout_prob", "resid_pdrop",
)  # fmt: skip

#: a batch's arrays as tensors
Inputs = dict[str, Any]


class TensorFlowModel:
    """Backbone, pooling, dropout and head; computes with TensorFlow's functions."""

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
        self.takes = {tensor.name for tensor in backbone.inputs}
        width = int(_sequence(backbone.outputs, backbone).shape[-1])
        drawn = np.random.default_rng(seed).normal(0.0, _HEAD_STD, (width, info.outputs))
        self.weight = tf.Variable(drawn.astype(np.float32), name="head_weight")
        self.bias = tf.Variable(np.zeros(info.outputs, np.float32), name="head_bias")
        seeds = tf.random.Generator.from_seed(seed)

        def dropout(features: Any, training: bool = False) -> Any:
            if not training or not head_dropout:
                return features
            drawn = seeds.make_seeds(1)[:, 0]
            return tf.nn.experimental.stateless_dropout(features, head_dropout, drawn)

        #: before the head; training on a CPU puts a faster one in its place
        self.dropout = dropout

    def hidden(self, inputs: Inputs, training: bool = False) -> Any:
        """Last hidden states, (batch, length, hidden), float32."""
        import tensorflow as tf

        ids = tf.cast(inputs["input_ids"], tf.int32)
        given = {"token_ids": ids, "padding_mask": tf.cast(inputs["attention_mask"], tf.int32)}
        if "segment_ids" in self.takes:
            segments = inputs.get("token_type_ids")
            given["segment_ids"] = (
                tf.zeros_like(ids) if segments is None else tf.cast(segments, tf.int32)
            )
        return tf.cast(_sequence(self.backbone(given, training=training)), tf.float32)

    def features(self, inputs: Inputs, training: bool = False) -> Any:
        """What the head sees: (batch, hidden) for pooled heads, else (batch, length, hidden)."""
        import tensorflow as tf

        hidden = self.hidden(inputs, training)
        if self.info.head != "pooled":
            return hidden
        mask = tf.cast(inputs["attention_mask"], tf.float32)
        if self.info.pooling == "cls":
            return hidden[:, 0]
        if self.info.pooling == "mean":
            total = tf.maximum(tf.reduce_sum(mask, 1, keepdims=True), 1.0)
            return tf.reduce_sum(hidden * mask[..., None], 1) / total
        last = tf.maximum(tf.cast(tf.reduce_sum(mask, 1), tf.int32) - 1, 0)
        return tf.gather(hidden, last, batch_dims=1)

    def logits(self, inputs: Inputs, training: bool = False) -> Any:
        """(batch, outputs) for pooled heads, else (batch, length, outputs)."""
        import tensorflow as tf

        features = self.dropout(self.features(inputs, training), training=training)
        return tf.tensordot(features, self.weight, 1) + self.bias

    def trainable(self) -> list[Any]:
        """All variables that a fine-tune moves: those the checkpoint filled, and the head."""
        ported = {id(getattr(v, "value", v)): v for v in self.checkpoint.variables()}
        return [v.value for v in ported.values() if v.trainable] + [self.weight, self.bias]


def build(
    info: ArtifactInfo,
    folder: Path,
    *,
    recipe: str = "fine-tune",
    seed: int = 0,
    dropout: float | None = None,
) -> TensorFlowModel:
    """A model to train from a neutral folder; `Unsupported` for what KerasHub cannot load."""
    import keras

    if info.kind != "transformer":
        raise Unsupported(f"TensorFlow fits no models of kind {info.kind!r}")
    keras.utils.set_random_seed(seed)
    backbone, checkpoint, config = build_backbone(
        folder, scratch=recipe == "scratch", dropout=dropout
    )
    rate = dropout if dropout is not None else first(config, _HEAD_DROPOUT_KEYS, 0.0)
    return TensorFlowModel(backbone, checkpoint, info, float(rate), seed)


def load(artifact: Path) -> TensorFlowModel:
    """A fitted model from its artifact."""
    from safetensors.numpy import load_file

    info = ArtifactInfo(**json.loads((artifact / "harness.json").read_text()))
    model = build(info, artifact)
    head = load_file(artifact / "head.safetensors")
    model.weight.assign(head["weight"].T)
    model.bias.assign(head["bias"])
    return model


def save(model: TensorFlowModel, out: Path, folder: Path) -> None:
    """Write the artifact; configuration and tokenizer are copied from ``folder``."""
    from safetensors.numpy import save_file

    out.mkdir(parents=True, exist_ok=True)
    # the metadata is what transformers asks of a file before it reads it
    save_file(model.checkpoint.back(), out / "model.safetensors", metadata={"format": "pt"})
    head = {"weight": np.ascontiguousarray(model.weight.numpy().T), "bias": model.bias.numpy()}
    save_file(head, out / "head.safetensors")
    for name in _COMPANIONS:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)
    (out / "harness.json").write_text(json.dumps(model.info.as_dict(), indent=2, sort_keys=True))


def _sequence(output: Any, backbone: Any = None) -> Any:
    """The hidden states among what a backbone returns."""
    if isinstance(output, dict):
        return output["sequence_output"]
    if isinstance(output, list):  # symbolic outputs, in the order of their names
        structure = backbone._outputs_struct
        return _sequence(structure)
    return output
