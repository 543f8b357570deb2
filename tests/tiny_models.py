"""Tiny random models as fitted artifacts, and random token inputs for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from harness.backends.base import ArtifactInfo
from harness.backends.torch.zoo import hide_torchvision
from harness.tasks.base import Encoded, Ragged

VOCABULARY = 120


def bert_config(**changes: Any) -> Any:
    hide_torchvision()
    from transformers import BertConfig

    sizes = {
        "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 64,
    }  # fmt: skip
    return BertConfig(**sizes | changes)


def llama_config() -> Any:
    """Rotary embeddings and grouped queries, as SmolLM2 has them."""
    hide_torchvision()
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=36, num_hidden_layers=2, num_attention_heads=9,
        num_key_value_heads=3, intermediate_size=64, max_position_embeddings=64, pad_token_id=0,
    )  # fmt: skip


def artifact_info(
    kind: str = "transformer",
    head: Literal["pooled", "token", "span"] = "pooled",
    pooling: Literal["mean", "cls", "last"] = "mean",
    outputs: int = 5,
) -> ArtifactInfo:
    labels = [f"label{i}" for i in range(outputs)]
    return ArtifactInfo(kind, "torch", "text-classification", head, outputs, pooling, labels, 64)


def transformer_artifact(
    folder: Path,
    config: Any,
    head: Literal["pooled", "token", "span"] = "pooled",
    pooling: Literal["mean", "cls", "last"] = "mean",
) -> Path:
    import torch

    hide_torchvision()
    from transformers import AutoModel

    from harness.backends.torch import models

    torch.manual_seed(0)
    pretrained, artifact = folder / "pretrained", folder / "artifact"
    AutoModel.from_config(config).save_pretrained(pretrained)
    info = artifact_info("transformer", head, pooling)
    models.save(models.build(info, pretrained, seed=1), info, artifact, pretrained)
    return artifact


def static_artifact(folder: Path, head: Literal["pooled", "token", "span"] = "pooled") -> Path:
    import torch
    from safetensors.torch import save_file

    from harness.backends.torch import models

    pretrained, artifact = folder / "pretrained", folder / "artifact"
    pretrained.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(VOCABULARY, 16, generator=generator)
    save_file({"embeddings": table}, pretrained / models.EMBEDDINGS_FILE)
    info = artifact_info("static-embeddings", head)
    models.save(models.build(info, pretrained, seed=1), info, artifact, pretrained)
    return artifact


def tokens(lengths: list[int], segments: bool = False, seed: int = 0) -> Encoded:
    """Random token ids, one feature per example."""
    rng = np.random.default_rng(seed)
    inputs: dict[str, Any] = {
        "input_ids": Ragged.of([rng.integers(3, VOCABULARY, n) for n in lengths])
    }
    if segments:
        inputs["token_type_ids"] = Ragged.of([[0] * (n // 2) + [1] * (n - n // 2) for n in lengths])
    count = len(lengths)
    return Encoded(inputs, {}, np.arange(count), np.zeros(count, bool))


def torch_logits(artifact: Path, encoded: Encoded) -> list[np.ndarray]:
    """Every feature by itself, without padding: the reference that nothing can disturb."""
    import torch

    from harness.backends.base import pad
    from harness.backends.torch import models

    model, _ = models.load(artifact)
    logits = []
    with torch.no_grad():
        for i in range(len(encoded)):
            batch = {k: torch.from_numpy(v) for k, v in pad(encoded, [i]).items()}
            logits.append(model(**batch)[0].numpy())
    return logits
