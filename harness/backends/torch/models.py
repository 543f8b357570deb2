"""Models that the harness fits in PyTorch: a pretrained backbone, pooling, and one linear layer.

Batches are padded on the right everywhere, also for autoregressive backbones: causal attention
never looks ahead, so padding after a sequence cannot change it.
"""

from __future__ import annotations

import inspect
import json
import shutil
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from harness.backends.base import ArtifactInfo
from harness.backends.dtype_trial import TOKENS
from harness.backends.heads import (
    HEAD_DROPOUT_KEYS,
    HeadLayers,
    initial_head,
    load_head,
    save_head,
)
from harness.backends.torch.packing import Packing
from harness.backends.torch.remote_code import copy_code, loading_options, own_class
from harness.backends.torch.zoo import hide_torchvision
from harness.errors import RequestError, Unsupported
from harness.sources.trust import remote_code_runs

#: tokenizer files that travel with an artifact; only the first is required
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
#: the one weights file of kind ``static-embeddings``
EMBEDDINGS_FILE = "embeddings.safetensors"
#: what the architectures call their dropout rates in config.json
_DROPOUT_KEYS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "dropout",
    "attention_dropout",
    "embd_pdrop",
    "resid_pdrop",
    "attn_pdrop",
    "hidden_dropout",
    "embedding_dropout",
    "mlp_dropout",
)

#: what builds each kind of model, with `build`'s arguments; a kind is a function and a line here
BUILDERS = {
    "keras-application": "harness.backends.torch.applications:build_application",
    "static-embeddings": "harness.backends.torch.models:build_static",
    "timm": "harness.backends.torch.vision:build_timm",
    "transformer": "harness.backends.torch.models:build_transformer",
}

Pooling = Literal["mean", "cls", "last"]
HeadKind = Literal["pooled", "token", "span"]


def pool(hidden: Tensor, attention_mask: Tensor, pooling: Pooling) -> Tensor:
    """(batch, length, hidden) and a right-padded mask (batch, length) to (batch, hidden)."""
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "mean":
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * mask).sum(1) / mask.sum(1).clamp(min=1.0)
    last = (attention_mask.sum(1) - 1).clamp(min=0)
    return hidden.gather(1, last[:, None, None].expand(-1, 1, hidden.shape[2])).squeeze(1)


class HeadedModel(nn.Module):
    """What every fitted model shares: features of a backbone, dropout, and a head.

    The head is one linear layer, after hidden layers with ReLU where `ArtifactInfo.hidden` has any.
    Each kind of model names its inputs in `features` and `forward`.
    """

    head: nn.Linear
    dropout: nn.Module
    head_kind: HeadKind
    pooling: Pooling
    #: of the features that the head sees
    width: int

    def _add_head(self, width: int, info: ArtifactInfo, dropout: float) -> None:
        self.head_kind, self.pooling, self.width = info.head, info.pooling, width
        self.layers = nn.ModuleList()
        for wide in info.hidden:
            self.layers.append(nn.Linear(width, wide))
            width = wide
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, info.outputs)

    def hidden(self, *_: Any, **inputs: Any) -> Tensor:
        """What the backbone computes: a state for every token or position."""
        raise NotImplementedError

    def features(self, *_: Any, **inputs: Any) -> Tensor:
        """What the head sees."""
        raise NotImplementedError

    def logits(self, features: Tensor) -> Tensor:
        """(..., width) of the backbone to (..., outputs)."""
        for layer in self.layers:
            features = torch.relu(layer(features))
        return self.head(self.dropout(features))

    def head_layers(self) -> HeadLayers:
        """The head's weights, hidden layers first."""
        layers = [*self.layers, self.head]
        return [(_array(layer.weight), _array(layer.bias)) for layer in layers]

    def set_head(self, layers: HeadLayers) -> None:
        """Take weights as `head_layers` gives them."""
        for layer, (weight, bias) in zip([*self.layers, self.head], layers, strict=True):
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(weight))
                layer.bias.copy_(torch.from_numpy(bias))

    def save_backbone(self, out: Path, folder: Path) -> None:
        """Write configuration and weights in the layout of ``folder``, which they came from."""
        raise NotImplementedError

    def example_inputs(self) -> dict[str, Tensor]:
        """A batch to trace with; its open sizes differ from each other and from 0 and 1, which an
        exporter would take for constants."""
        raise NotImplementedError

    def dynamic_axes(self) -> dict[int, str]:
        """Which axes of every input are open, and what they are called."""
        raise NotImplementedError

    def trial_inputs(self, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Random inputs of an ordinary size, to time a training step with."""
        raise NotImplementedError


class TextModel(HeadedModel):
    """A model of token ids."""

    def hidden(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """Last hidden states, (batch, length, hidden)."""
        raise NotImplementedError

    def features(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """What the head sees: (batch, hidden) for pooled heads, else (batch, length, hidden)."""
        hidden = self.hidden(input_ids, attention_mask, token_type_ids)
        if self.head_kind == "pooled":
            return pool(hidden, attention_mask, self.pooling)
        return hidden

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """Logits: (batch, outputs) for pooled heads, else (batch, length, outputs)."""
        return self.logits(self.features(input_ids, attention_mask, token_type_ids))

    def example_inputs(self) -> dict[str, Tensor]:
        shape = (2, 9)
        mask = torch.ones(shape, dtype=torch.int64)
        mask[1, 5:] = 0
        return {"input_ids": torch.ones(shape, dtype=torch.int64), "attention_mask": mask}

    def dynamic_axes(self) -> dict[int, str]:
        return {0: "batch", 1: "sequence"}

    def trial_inputs(self, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
        ids = torch.randint(self.vocabulary, (batch, TOKENS), generator=generator)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    @property
    def vocabulary(self) -> int:
        """Rows of the embedding table."""
        raise NotImplementedError

    @property
    def token_embeddings(self) -> nn.Module:
        """The layer that turns token ids into vectors, without positions."""
        raise NotImplementedError


class FittedModel(TextModel):
    """A transformer of the Hugging Face library under a linear head."""

    def __init__(self, backbone: nn.Module, info: ArtifactInfo, dropout: float) -> None:
        super().__init__()
        self.backbone = backbone
        config: Any = backbone.config
        # GPT-2 takes token types too, but as indices into its word embeddings
        self._has_token_types = getattr(config, "type_vocab_size", 0) > 0
        #: set while training, where packed batches compute the same as padded ones
        self.packing: Packing | None = None
        self._add_head(getattr(config, "hidden_size", None) or config.dim, info, dropout)

    def hidden(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        inputs = self.inputs(input_ids, attention_mask, token_type_ids)
        if self.packing is not None and self.training:
            return self.packing.hidden(self.backbone, **inputs)
        return self.backbone(**inputs).last_hidden_state

    def inputs(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> dict[str, Tensor]:
        """What the backbone takes of a batch."""
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self._has_token_types and token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        return inputs

    @property
    def vocabulary(self) -> int:
        config: Any = self.backbone.config
        return int(config.vocab_size)

    @property
    def token_embeddings(self) -> nn.Module:
        backbone: Any = self.backbone
        layer: nn.Module = backbone.get_input_embeddings()
        return layer

    def save_backbone(self, out: Path, folder: Path) -> None:
        self.backbone.save_pretrained(out)  # type: ignore[operator]

    def example_inputs(self) -> dict[str, Tensor]:
        inputs = super().example_inputs()
        if self._has_token_types:
            inputs["token_type_ids"] = torch.zeros_like(inputs["input_ids"])
        return inputs


class StaticModel(TextModel):
    """A table of token embeddings under a linear head; mean over tokens for pooled heads."""

    def __init__(self, table: Tensor, info: ArtifactInfo, dropout: float) -> None:
        super().__init__()
        self.embeddings = nn.Embedding.from_pretrained(table, freeze=False)
        self._add_head(table.shape[1], replace(info, pooling="mean"), dropout)

    def hidden(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        return self.embeddings(input_ids)

    @property
    def vocabulary(self) -> int:
        return self.embeddings.num_embeddings

    @property
    def token_embeddings(self) -> nn.Module:
        return self.embeddings

    def save_backbone(self, out: Path, folder: Path) -> None:
        table = self.embeddings.weight.detach().float().cpu().contiguous()
        save_file({"embeddings": table}, out / EMBEDDINGS_FILE)


def build(
    info: ArtifactInfo,
    folder: Path,
    *,
    recipe: str = "fine-tune",
    seed: int = 0,
    dropout: float | None = None,
    attention: str | None = None,
) -> HeadedModel:
    """A model to train: the checkpoint in ``folder`` (neutral layout) under a new head.

    The recipe ``scratch`` keeps the configuration and draws all weights from ``seed``. ``dropout``
    overrides every rate of the checkpoint; ``attention`` None lets transformers choose (SDPA where
    the architecture has it). Raises `Unsupported` if the checkpoint does not fill
    the architecture exactly.
    """
    if info.kind not in BUILDERS:
        raise Unsupported(f"PyTorch fits no models of kind {info.kind!r}")
    module, _, name = BUILDERS[info.kind].partition(":")
    builder = getattr(import_module(module), name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: HeadedModel = builder(info, folder, recipe, dropout, attention)
        model.set_head(initial_head(model.width, info.hidden, info.outputs, seed))
        return model


def build_static(
    info: ArtifactInfo, folder: Path, recipe: str, dropout: float | None, attention: str | None
) -> StaticModel:
    table = _embedding_table(folder)
    if recipe == "scratch":
        table = torch.randn_like(table) * table.std()
    return StaticModel(table, info, dropout or 0.0)


def build_transformer(
    info: ArtifactInfo, folder: Path, recipe: str, dropout: float | None, attention: str | None
) -> FittedModel:
    config = read_config(folder)
    if dropout is not None:
        for key in _DROPOUT_KEYS:
            if isinstance(getattr(config, key, None), float | int):
                setattr(config, key, dropout)
    if recipe == "scratch":
        backbone = untrained(folder, config, attention)
    else:
        backbone = _pretrained(folder, config, attention)
    return FittedModel(backbone, info, _head_dropout(config) if dropout is None else dropout)


def save(model: HeadedModel, info: ArtifactInfo, out: Path, folder: Path) -> None:
    """Write an artifact to ``out``; the tokenizer's files are copied from ``folder``."""
    out.mkdir(parents=True, exist_ok=True)
    model.save_backbone(out, folder)
    save_head(model.head_layers(), out)
    for name in TOKENIZER_FILES:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)
    copy_code(folder, out)
    (out / "harness.json").write_text(json.dumps(info.as_dict(), indent=2, sort_keys=True))


def load(
    artifact: Path,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    attention: str | None = None,
) -> tuple[HeadedModel, ArtifactInfo]:
    """A fitted model from its artifact, in evaluation mode, and what ``harness.json`` says."""
    info = ArtifactInfo(**json.loads((artifact / "harness.json").read_text()))
    model = build(info, artifact, attention=attention)
    model.set_head(load_head(artifact))
    return model.eval().requires_grad_(False).to(device=device, dtype=dtype), info


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy().copy()


def quiet_transformers() -> None:
    """Neither progress bars nor loading reports: what loading lacks is checked and raised here."""
    hide_torchvision()
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def read_config(folder: Path) -> Any:
    """A checkpoint's ``config.json`` as transformers reads it, by the folder's code if it may run.

    Raises `RequestError` where it names code that may not.
    """
    from transformers import AutoConfig

    quiet_transformers()
    if not (folder / "config.json").is_file():
        raise RequestError(f"{folder}: no config.json; a model folder needs it and its weights")
    try:
        config = AutoConfig.from_pretrained(folder, **loading_options(folder))
    except (ValueError, KeyError, ImportError) as error:
        raise Unsupported(f"{folder / 'config.json'}: {str(error).splitlines()[0]}") from None
    config.use_cache = False  # no generation: keys and values of past tokens are dead weight
    return config


def untrained(folder: Path, config: Any, attention: str | None = None) -> nn.Module:
    """A configuration's backbone in float32, its weights drawn at random."""
    from transformers import AutoModel

    backbone: nn.Module = AutoModel.from_config(
        config, dtype=torch.float32, trust_remote_code=remote_code_runs(),
        **_class_options(folder, config, attention),
    )  # fmt: skip
    return backbone


def _class_options(folder: Path, config: Any, attention: str | None) -> dict[str, Any]:
    """What the model's class is told beyond its configuration.

    BERT's pooler feeds next-sentence prediction only; leave it out where the class allows. A class
    of the checkpoint's own knows its own attention best.
    """
    from transformers import AutoModel

    own = own_class(folder, config, "AutoModel")
    model_class: Any = own or AutoModel._model_mapping[type(config)]
    options: dict[str, Any] = {} if own else {"attn_implementation": attention}
    if "add_pooling_layer" in inspect.signature(model_class).parameters:
        options["add_pooling_layer"] = False
    return options


def _pretrained(folder: Path, config: Any, attention: str | None) -> nn.Module:
    """The backbone with the folder's weights in float32; every tensor of it must be there."""
    from transformers import AutoModel

    try:
        backbone, report = AutoModel.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below, by name
            **loading_options(folder),
            **_class_options(folder, config, attention),
        )
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise Unsupported(f"{folder}: cannot be loaded: {str(error).splitlines()[0]}") from None
    if shapes := sorted(report["mismatched_keys"]):
        name, found, wanted = shapes[0]
        raise RequestError(
            f"{folder}: {len(shapes)} tensors do not fit config.json, {name} for one: "
            f"{tuple(found)} in the weights, {tuple(wanted)} by the configuration"
        )
    wrong = [*report["missing_keys"], *(str(m) for m in report.get("error_msgs", []))]
    if wrong:
        raise Unsupported(
            f"{folder}: {len(wrong)} tensors of {type(backbone).__name__} are missing from the "
            f"checkpoint: {', '.join(sorted(wrong)[:4])}"
        )
    return backbone


def _embedding_table(folder: Path) -> Tensor:
    """The only two-dimensional tensor of `EMBEDDINGS_FILE`, (vocabulary, dimensions), float32."""
    path = folder / EMBEDDINGS_FILE
    if not path.is_file():
        raise RequestError(f"{folder}: no {EMBEDDINGS_FILE}; static embeddings need it")
    tables = [tensor for tensor in load_file(path).values() if tensor.ndim == 2]
    if len(tables) != 1:
        raise Unsupported(f"{path}: {len(tables)} two-dimensional tensors, not one")
    return tables[0].float()


def _head_dropout(config: Any) -> float:
    """The rate before the head, as the library's own classification heads choose it."""
    for key in HEAD_DROPOUT_KEYS:
        rate = getattr(config, key, None)
        if rate is not None:
            return float(rate)
    return 0.0
