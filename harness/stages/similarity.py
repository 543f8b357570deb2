"""How near a user's data is to a pretrained model, and how well its frozen features fit the labels.

Nothing is trained. Features are those of a linear probe, and stay in the cache for one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from harness import registry
from harness.backends.base import Progress
from harness.errors import RequestError
from harness.stages import prepare
from harness.stages.fetch import model_folder
from harness.stages.fit import request_of
from harness.stages.job import Job
from harness.stats.transferability import h_score, logme


def similarity(job: Job, progress: Progress) -> dict[str, Any]:
    """Tokens of the training texts, and transferability estimates; each null has its reason.

    Estimates are computed on the job's drawn training examples.
    """
    folder = model_folder(job)
    data = prepare.task_data(job)
    train = prepare.split(job, "train", folder)
    labels = train.encoded.targets.get("labels")
    if data.task.head.kind != "pooled" or labels is None:
        raise RequestError(f"no transferability for tasks of type {job.spec['task']['type']!r} yet")
    facts: dict[str, Any] = {"examples": len(train.examples)}
    facts |= token_facts(train.encoder, train.examples.fields.get("text", []))
    backend = registry.backends.get(job.spec["framework"])()
    features = backend.features(
        request_of(job, folder, data, train, train, job.fit_folder), progress
    )
    facts |= {
        "logme": logme(features, np.asarray(labels)),
        **_h_score(features, np.asarray(labels)),
        "leep": None,
        "leep_reason": "the backbone has no classifier of its own, whose classes LEEP starts from",
        "width": int(features.shape[1]),
    }
    return facts


def _h_score(features: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Null where as many features as examples separate anything: always the classes less one."""
    if len(features) <= features.shape[1]:
        return {"h_score": None, "h_score_reason": "no more examples than features"}
    return {"h_score": h_score(features, labels)}


def token_facts(encoder: Any, texts: list[str]) -> dict[str, Any]:
    """Fertility (tokens a whitespace-separated word) and the share of tokens that are unknown.

    Rust et al. 2021, *How Good is Your Tokenizer?*: fertility near 1 means that the vocabulary
    holds the words of these texts.
    """
    tokenizer = getattr(encoder, "tokenizer", None)
    words = sum(len(text.split()) for text in texts)
    if tokenizer is None or not words:
        return {"fertility": None, "fertility_reason": "no tokenizer, or no words"}
    unknown = _unknown_id(tokenizer)
    plain = type(tokenizer).from_str(tokenizer.to_str())
    plain.no_truncation()
    plain.no_padding()
    ids = [e.ids for e in plain.encode_batch(list(texts), add_special_tokens=False)]
    count = sum(map(len, ids))
    facts: dict[str, Any] = {"fertility": count / words}
    if unknown is None:
        return facts | {"unknown_share": 0.0, "unknown_reason": "its tokenizer knows every byte"}
    return facts | {"unknown_share": sum(row.count(unknown) for row in ids) / max(count, 1)}


def _unknown_id(tokenizer: Any) -> int | None:
    """The id that the tokenizer's model gives to what it does not know; None if it has none."""
    name = getattr(tokenizer.model, "unk_token", None)
    return None if name is None else tokenizer.token_to_id(name)
