"""Tiny random models and toy data that the tests of the PyTorch backend share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends.base import ArtifactInfo, FitRequest
from harness.backends.torch.zoo import hide_torchvision
from harness.suite import Settings
from harness.tasks.base import Encoded, Ragged

VOCABULARY = 40


def random_backbone(tmp_path: Path, architecture: str = "bert", spread: float = 0.02) -> Path:
    """A neutral model folder: two layers, 32 wide, weights drawn from seed 0 with this SD."""
    import torch

    hide_torchvision()
    from transformers import AutoConfig, AutoModel

    shared: dict[str, Any] = {"vocab_size": VOCABULARY, "pad_token_id": 0}
    own = {
        "bert": {"intermediate_size": 64, "max_position_embeddings": 32},
        "roberta": {
            "intermediate_size": 64,
            "max_position_embeddings": 34,
            "pad_token_id": 1,
        },
        "deberta-v2": {"intermediate_size": 64, "max_position_embeddings": 32},
        "distilbert": {"hidden_dim": 64, "max_position_embeddings": 32},
        "albert": {
            "intermediate_size": 64,
            "max_position_embeddings": 32,
            "embedding_size": 16,
        },
        "electra": {
            "intermediate_size": 64,
            "max_position_embeddings": 32,
            "embedding_size": 16,
        },
        "gpt2": {"n_positions": 32, "bos_token_id": 1, "eos_token_id": 2},
        "llama": {
            "intermediate_size": 64,
            "max_position_embeddings": 32,
            "num_key_value_heads": 1,
        },
    }[architecture]
    config = AutoConfig.for_model(
        architecture,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        initializer_range=spread,
        **shared | own,
    )
    folder = tmp_path / architecture
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModel.from_config(config).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0"}))
    return folder


def artifact_info(
    head: str, outputs: int = 3, pooling: str = "mean", kind: str = "transformer"
) -> ArtifactInfo:
    """What ``harness.json`` says of a toy artifact."""
    labels = [f"label{i}" for i in range(outputs)]
    return ArtifactInfo(kind, "torch", "toy", head, outputs, pooling, labels, 32)  # type: ignore[arg-type]


def sequences(count: int, seed: int) -> list[np.ndarray]:
    """Random token ids from 3 up, 3 to 12 a sequence."""
    generator = np.random.default_rng(seed)
    return [
        generator.integers(3, VOCABULARY, generator.integers(3, 13)).astype(np.int32)
        for _ in range(count)
    ]


def toy(head: str, count: int, seed: int) -> Encoded:
    """Toy tasks that a tiny model learns.

    pooled: which third of the vocabulary the first token is from; token: the same for every
    token, with the first one unlabelled; span: where the smallest and the largest id stand.
    """
    rows = sequences(count, seed)
    targets: dict[str, Any]
    if head == "pooled":
        targets = {"labels": np.array([_third(row[0]) for row in rows], np.int64)}
    elif head == "token":
        labels = [[-100, *(_third(token) for token in row[1:])] for row in rows]
        targets = {"labels": Ragged.of(labels, np.int64)}
    else:
        targets = {
            "start": np.array([row.argmin() for row in rows], np.int64),
            "end": np.array([row.argmax() for row in rows], np.int64),
        }
    inputs: dict[str, Any] = {"input_ids": Ragged.of(rows)}
    return Encoded(inputs, targets, np.arange(count), np.zeros(count, bool))


def _third(token: int) -> int:
    return int((token - 3) * 3 // (VOCABULARY - 3))


def accuracy(encoded: Encoded, logits: Sequence[np.ndarray]) -> float:
    """Share of right labels (pooled and token heads), or of right starts (span)."""
    if "start" in encoded.targets:
        right = [row[:, 0].argmax() for row in logits] == encoded.targets["start"]
        return float(right.mean())
    labels = encoded.targets["labels"]
    if isinstance(labels, Ragged):
        guesses = np.concatenate([row.argmax(-1) for row in logits])
        return float((guesses == labels.values)[labels.values != -100].mean())
    return float((np.array([row.argmax() for row in logits]) == labels).mean())


LOSS = {"pooled": "cross_entropy", "token": "token_cross_entropy", "span": "span"}


def toy_request(
    tmp_path: Path,
    folder: Path,
    head: str = "pooled",
    recipe: str = "fine-tune",
    train: Encoded | None = None,
    out: str = "artifact",
    seed: int = 1,
    kind: str = "transformer",
    pooling: str = "mean",
    **settings: Any,
) -> FitRequest:
    """A fit of a toy task with 96 training and 48 validation examples."""
    validation = toy(head, 48, seed=2)
    training = toy(head, 96, seed=1) if train is None else train
    outputs = 2 if head == "span" else 3
    values = Settings(**{"learning_rate": 5e-3, "batch_size": 16, **settings}).model_dump()
    values["fit_dtype"] = "float32"
    return FitRequest(
        model_kind=kind,
        model_folder=folder,
        recipe=recipe,  # type: ignore[arg-type]
        settings=values,
        loss=LOSS[head],  # type: ignore[arg-type]
        info=artifact_info(head, outputs, pooling, kind),
        train=training,
        validation=validation,
        validation_score=lambda logits: accuracy(validation, logits),
        train_score=lambda logits: accuracy(training, logits),
        device="cpu",
        threads=1,
        seed=seed,
        out=tmp_path / out,
        features_cache=tmp_path / "features",
        features_key="key",
    )


def silent(stage: str, done: float, total: float, note: str) -> None:
    """A progress callback that says nothing."""
