"""Text backbones of KerasHub, put right where its converters compute something else.

Each is checked against PyTorch before it may train (see `harness.backends.tensorflow.gate`). What
the converters leave out is set from the checkpoint's configuration:

* the activation: BERT, ALBERT and ELECTRA are built with the tanh approximation of GELU whatever
  the configuration says (all-MiniLM-L6-v2: hidden states off by 3.4e-3, and by 2.7e-6 with the
  exact one);
* the epsilon of layer norms, which is fixed per architecture;
* the dropout rates, which BERT's converter ignores;
* RoBERTa's token type embedding, of which every token gets row 0 and the converter none (a random
  model: off by as much as the largest activation; within the gate's 1e-5 with it).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends.tensorflow.weights import Checkpoint
from harness.errors import Unsupported

_KERAS_HUB = "keras_hub.src.utils.transformers."
#: model type of config.json to the converter, and the prefix of whole models' tensors
CONVERTERS = {
    "albert": (_KERAS_HUB + "convert_albert", "albert"),
    "bert": (_KERAS_HUB + "convert_bert", "bert"),
    "distilbert": (_KERAS_HUB + "convert_distilbert", "distilbert"),
    "electra": ("harness.backends.tensorflow.electra", "electra"),
    "gpt2": (_KERAS_HUB + "convert_gpt2", "transformer"),
    "llama": (_KERAS_HUB + "convert_llama3", "model"),
    "roberta": (_KERAS_HUB + "convert_roberta", "roberta"),
    "xlm-roberta": (_KERAS_HUB + "convert_xlm_roberta", "roberta"),
}
_ACTIVATION_KEYS = ("hidden_act", "activation", "activation_function")
_EPSILON_KEYS = ("layer_norm_eps", "layer_norm_epsilon", "rms_norm_eps")
#: rates of the layers' outputs, and of the attention's weights
_DROPOUT_KEYS = ("hidden_dropout_prob", "dropout", "resid_pdrop")
_ATTENTION_DROPOUT_KEYS = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")


def build(
    folder: Path, *, scratch: bool = False, dropout: float | None = None
) -> tuple[Any, Checkpoint, dict[str, Any]]:
    """The Keras backbone of a model folder, its checkpoint, and its configuration.

    ``scratch`` draws all weights anew (from Keras' seed); ``dropout`` overrides every rate.
    Raises `Unsupported` for what KerasHub cannot load.
    """
    config = read_config(folder)
    converter, prefix = _converter(config)
    options = converter.convert_backbone_config(config)
    rate = dropout if dropout is not None else first(config, _DROPOUT_KEYS, 0.0)
    backbone = converter.backbone_cls(**options | _accepted(converter.backbone_cls, rate))
    checkpoint = Checkpoint.read(folder, prefix)
    if config["model_type"] in ("roberta", "xlm-roberta"):
        _fold_token_types(checkpoint)
    drawn = [(v, v.numpy()) for v in backbone.variables] if scratch else []
    try:
        converter.convert_weights(backbone, checkpoint, config)
    except (KeyError, ValueError) as error:
        raise Unsupported(f"{folder}: KerasHub's converter failed: {error}") from None
    for variable, values in drawn:
        variable.assign(values)
    _correct(backbone, config, dropout)
    return backbone, checkpoint, config


def _fold_token_types(checkpoint: Checkpoint) -> None:
    """Add token type 0, which all tokens of RoBERTa have, to the positions; its own row is zero
    from then on, so that both frameworks compute the same from what is saved."""
    types = checkpoint.name_of("roberta.embeddings.token_type_embeddings.weight")
    positions = checkpoint.name_of("roberta.embeddings.position_embeddings.weight")
    if types is None or positions is None:
        return
    row = checkpoint.tensors[types][:1]
    checkpoint.tensors[positions] = checkpoint.tensors[positions] + row
    checkpoint.tensors[types] = np.zeros_like(checkpoint.tensors[types])
    checkpoint.kept.append(types)


def read_config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config


def first(config: dict[str, Any], keys: tuple[str, ...], default: Any) -> Any:
    """The first of several spellings that a configuration has."""
    return next((config[key] for key in keys if config.get(key) is not None), default)


def _converter(config: dict[str, Any]) -> tuple[Any, str]:
    if config.get("auto_map"):
        raise Unsupported(
            "the checkpoint computes by Python code of its own (`auto_map`), which is PyTorch's; "
            "KerasHub has no such code"
        )
    kind = config.get("model_type", "")
    if kind not in CONVERTERS:
        raise Unsupported(
            f"KerasHub has no converter that passed for {kind!r}; there are "
            f"{', '.join(sorted(CONVERTERS))}"
        )
    module, prefix = CONVERTERS[kind]
    return import_module(module), prefix


def _accepted(backbone_class: Any, rate: float) -> dict[str, float]:
    import inspect

    known = inspect.signature(backbone_class.__init__).parameters
    return {"dropout": rate} if "dropout" in known else {}


def _correct(backbone: Any, config: dict[str, Any], dropout: float | None) -> None:
    """Activation, epsilons and attention dropout as the configuration says."""
    import keras

    activation = _activation(first(config, _ACTIVATION_KEYS, "gelu"))
    epsilon = first(config, _EPSILON_KEYS, None)
    attention_rate = dropout
    if attention_rate is None:
        attention_rate = first(config, _ATTENTION_DROPOUT_KEYS, None)
    for layer in layers(backbone):
        inner = getattr(layer, "_feedforward_intermediate_dense", None)
        gate = getattr(layer, "_feedforward_gate_dense", None)
        if inner is not None and gate is None:
            inner.activation = activation
        if epsilon is not None:
            for name in ("epsilon", "_epsilon"):
                if isinstance(getattr(layer, name, None), float):
                    setattr(layer, name, epsilon)
        if attention_rate is not None and isinstance(layer, keras.layers.MultiHeadAttention):
            layer._dropout_layer.rate = attention_rate


def layers(layer: Any) -> Iterator[Any]:
    """A layer and all layers within it."""
    return iter(layer._flatten_layers(include_self=True, recursive=True))


def _activation(name: str) -> Any:
    import keras

    if name in ("gelu_new", "gelu_pytorch_tanh", "gelu_fast"):
        return lambda x: keras.activations.gelu(x, approximate=True)
    if name == "gelu":
        return lambda x: keras.activations.gelu(x, approximate=False)
    try:
        return keras.activations.get("silu" if name == "swish" else name)
    except ValueError:
        raise Unsupported(f"Keras has no activation {name!r}") from None
