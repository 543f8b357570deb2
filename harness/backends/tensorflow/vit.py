"""timm's vision transformers in TensorFlow: KerasHub's ViT, for which it reads no timm layout.

The mapping is written here as KerasHub's converters are, variable by variable, so that the gate
checks it and `Checkpoint.back` runs it backwards.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends.base import ArtifactInfo
from harness.backends.tensorflow.model import Inputs
from harness.backends.tensorflow.vision import VisionModel, keeping_drawn
from harness.backends.tensorflow.weights import Checkpoint
from harness.errors import Unsupported

#: width of a head in every ViT of Dosovitskiy et al. (2021), table 1, and in DeiT's
_HEAD_WIDTH = 64
#: epsilon of timm's layer norms in them
_EPSILON = 1e-6
#: tensors of a classifier, which is not part of the backbone
_CLASSIFIER = ("head.", "head_dist.")


class TokenModel(VisionModel):
    """A backbone of tokens; the head sees the first one, the class token."""

    def hidden(self, inputs: Inputs, training: bool = False) -> Any:
        """The last layer's tokens, (batch, tokens, channels)."""
        return super().hidden(inputs, training)

    def features(self, inputs: Inputs, training: bool = False) -> Any:
        """(batch, channels)."""
        return self.hidden(inputs, training)[:, 0]


def build_vit(
    info: ArtifactInfo,
    folder: Path,
    config: dict[str, Any],
    scratch: bool,
    dropout: float | None,
    seed: int,
) -> TokenModel:
    """The plain ViT with a class token. `Unsupported` for its relatives (registers, layer scales,
    averaged tokens) and at another size than the checkpoint has positions for."""
    from keras_hub.models import ViTBackbone

    name = str(config["architecture"])
    if dict(config.get("model_args") or {}).get("global_pool", "token") != "token" or "gap" in name:
        raise Unsupported(
            f"timm's {name!r} averages its tokens; here the class token is the feature"
        )
    checkpoint = Checkpoint.read(folder, "")
    try:
        backbone = ViTBackbone(**_options(checkpoint, name, info))
        with keeping_drawn(backbone, scratch):
            _convert(backbone, checkpoint)
    except KeyError as error:
        raise Unsupported(
            f"timm's {name!r} is not a plain ViT: it lacks the tensor {error}"
        ) from None
    used = {tensor for _, tensor, _ in checkpoint.ported}
    more = [t for t in checkpoint.tensors if t not in used and not t.startswith(_CLASSIFIER)]
    if more:
        raise Unsupported(f"timm's {name!r} is not a plain ViT: it has the tensor {more[0]!r}")
    return TokenModel(backbone, checkpoint, info, dropout or 0.0, seed)


def _options(checkpoint: Checkpoint, name: str, info: ArtifactInfo) -> dict[str, Any]:
    """KerasHub's arguments, read off the shapes of the tensors."""
    width, _, patch, _ = checkpoint.tensors["patch_embed.proj.weight"].shape
    positions = checkpoint.tensors["pos_embed"].shape[1]
    layers = 1 + max(int(t.split(".")[1]) for t in checkpoint.tensors if t.startswith("blocks."))
    trained = round((positions - 1) ** 0.5) * patch
    size = int(info.extra.get("image", {}).get("size", trained))
    if size != trained or width % _HEAD_WIDTH:
        raise Unsupported(
            f"timm's {name!r} has positions for {trained} pixels, not for {size}"
            if size != trained
            else f"timm's {name!r} has {width} channels, no multiple of {_HEAD_WIDTH}"
        )
    return {
        "image_shape": (size, size, 3),
        "patch_size": patch,
        "num_layers": layers,
        "num_heads": width // _HEAD_WIDTH,
        "hidden_dim": width,
        "mlp_dim": checkpoint.tensors["blocks.0.mlp.fc1.weight"].shape[0],
        "dropout_rate": 0.0,  # timm's rates, too
        "attention_dropout": 0.0,
        "layer_norm_epsilon": _EPSILON,
    }


def _convert(backbone: Any, checkpoint: Checkpoint) -> None:
    _, embedding, encoder = backbone.layers
    port = checkpoint.port_weight
    patches = embedding.patch_embedding
    port(patches.kernel, "patch_embed.proj.weight", lambda x, _: x.transpose(2, 3, 1, 0))
    port(patches.bias, "patch_embed.proj.bias")
    port(embedding.class_token, "cls_token")
    port(embedding.position_embedding.embeddings, "pos_embed", lambda x, _: x[0])
    for i, block in enumerate(encoder.encoder_layers):
        at = f"blocks.{i}."
        _norm(port, block.layer_norm_1, at + "norm1")
        _norm(port, block.layer_norm_2, at + "norm2")
        _dense(port, block.mlp.dense_1, at + "mlp.fc1")
        _dense(port, block.mlp.dense_2, at + "mlp.fc2")
        attention = block.mha
        parts = (attention.query_dense, attention.key_dense, attention.value_dense)
        for third, part in enumerate(parts):
            port(part.kernel, at + "attn.qkv.weight", _third(third))
            port(part.bias, at + "attn.qkv.bias", _third(third))
        output = attention.output_dense
        port(output.kernel, at + "attn.proj.weight", lambda x, shape: x.T.reshape(shape))
        port(output.bias, at + "attn.proj.bias")
    _norm(port, encoder.layer_norm, "norm")


def _norm(port: Callable[..., None], layer: Any, name: str) -> None:
    port(layer.gamma, f"{name}.weight")
    port(layer.beta, f"{name}.bias")


def _dense(port: Callable[..., None], layer: Any, name: str) -> None:
    port(layer.kernel, f"{name}.weight", lambda x, _: x.T)
    port(layer.bias, f"{name}.bias")


def _third(number: int) -> Callable[[np.ndarray, list[int]], np.ndarray]:
    """Of the rows of queries, keys and values in one tensor, those of one of them."""

    def pick(x: np.ndarray, shape: list[int]) -> np.ndarray:
        part = np.split(x, 3)[number]
        return part.T.reshape(shape)

    return pick
