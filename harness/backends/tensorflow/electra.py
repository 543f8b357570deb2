"""ELECTRA in TensorFlow: KerasHub has its backbone, and no converter of Hugging Face's layout.

The encoder is BERT's in names and shapes, behind embeddings that may be narrower than it; so BERT's
converter serves, and the projection is added. The interface is that of KerasHub's converters.
"""

from __future__ import annotations

from typing import Any

from keras_hub.src.models.electra.electra_backbone import ElectraBackbone
from keras_hub.src.utils.transformers import convert_bert

from harness.backends.tensorflow.weights import Checkpoint

backbone_cls = ElectraBackbone


def convert_backbone_config(config: dict[str, Any]) -> dict[str, Any]:
    """KerasHub's arguments of a configuration in Hugging Face's spelling."""
    options = convert_bert.convert_backbone_config(config)
    return {
        "vocab_size": options.pop("vocabulary_size"),
        "embedding_dim": config.get("embedding_size", config["hidden_size"]),
        "num_segments": config.get("type_vocab_size", 2),
        **options,
    }


def convert_weights(backbone: Any, loader: Checkpoint, config: dict[str, Any]) -> None:
    """Fill the backbone's variables; `KeyError` or `Unsupported` for a missing tensor."""
    convert_bert.convert_weights(backbone, loader, config)
    if backbone.embedding_dim != backbone.hidden_dim:
        projection = backbone.embeddings_projection
        loader.port_weight(projection.kernel, "embeddings_project.weight", lambda x, _: x.T)
        loader.port_weight(projection.bias, "embeddings_project.bias")
