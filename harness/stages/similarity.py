"""How near a user's data is to a pretrained model, and how well its frozen features fit the labels.

Nothing is trained. Features are those of a linear probe, and stay in the cache for one.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from harness import registry
from harness.backends.base import Backend, Progress
from harness.errors import RequestError, Unsupported
from harness.stages import prepare
from harness.stages.fetch import model_folder
from harness.stages.fit import request_of
from harness.stages.job import Job
from harness.stats.transferability import h_score, leep, logme

#: some hundred tokens of texts cut at so many (a masked model reads a text once a token) show the
#: order of magnitude, in at most so many seconds
PERPLEXITY_TOKENS, TEXT_TOKENS, PERPLEXITY_SECONDS = 300, 64, 5.0
#: what tokenizers call the token that stands for a hidden one
MASKS = ("[MASK]", "<mask>")


class _TimeUp(Exception):
    """The stage's seconds are over."""


class _Watch:
    """Progress that measures the speed, and raises `_TimeUp` after ``seconds``."""

    def __init__(self, progress: Progress, seconds: float | None) -> None:
        self.progress, self.seconds = progress, seconds
        self.begun = time.monotonic()
        self.seen: list[tuple[float, float]] = []  # (seconds since the beginning, texts)

    def __call__(self, stage: str, done: float, total: float, note: str) -> None:
        self.progress(stage, done, total, note)
        spent = time.monotonic() - self.begun
        self.seen.append((spent, done))
        if self.seconds is not None and spent > self.seconds and done < total:
            raise _TimeUp(f"{done:.0f} of {total:.0f} texts took {spent:.0f} s")

    @property
    def left(self) -> float | None:
        """Seconds that remain; None where there is no end."""
        if self.seconds is None:
            return None
        return max(self.seconds - (time.monotonic() - self.begun), 0.0)

    def facts(self) -> dict[str, Any]:
        """Null where the features came from the cache."""
        if not self.seen:
            return {"seconds_per_text": None}
        # loading ends with the first batch
        (start, first), (end, last) = (self.seen[0], self.seen[-1])
        if last == first:
            return {"seconds_per_text": end / last}
        return {"seconds_per_text": (end - start) / (last - first)}


def similarity(job: Job, progress: Progress) -> dict[str, Any]:
    """Tokens of the training texts, and transferability estimates; each null has its reason.

    Estimates are computed on the job's drawn training examples; a model too slow for the job's
    seconds has none, but tells how slow it is.
    """
    folder = model_folder(job)
    if folder is None:
        raise RequestError(f"no features of models of kind {job.spec['model']['kind']!r}")
    data = prepare.task_data(job)
    train = prepare.split(job, "train", folder)
    labels = train.encoded.targets.get("labels")
    if data.task.head.kind != "pooled" or labels is None:
        raise RequestError(f"no transferability for tasks of type {job.spec['task']['type']!r} yet")
    facts: dict[str, Any] = {"examples": len(train.examples)}
    facts |= token_facts(train.encoder, train.examples.fields.get("text", []))
    backend = registry.backends.get(job.spec["framework"])()
    watch = _Watch(progress, job.seconds)
    request = request_of(job, folder, data, train, train, job.fit_folder)
    try:
        features = backend.features(request, watch)
    except _TimeUp as up:
        # on fewer texts than the others' an estimate would mean something else
        return facts | watch.facts() | {"logme": None, "logme_reason": str(up)}
    facts |= watch.facts()
    facts |= {
        **_perplexity(job, folder, backend, train),
        "logme": logme(features, np.asarray(labels)),
        **_h_score(features, np.asarray(labels)),
        **_leep(job, folder, backend, train, np.asarray(labels), watch.left),
        "width": int(features.shape[1]),
    }
    return facts


def _perplexity(job: Job, folder: Path, backend: Backend, train: prepare.Split) -> dict[str, Any]:
    """Perplexity on the first drawn texts; null, with the reason, without a head for it."""
    tokenizer = getattr(train.encoder, "tokenizer", None)
    if tokenizer is None:
        return {"perplexity": None, "perplexity_reason": "no tokenizer"}
    plain = _plain(tokenizer)
    plain.enable_truncation(TEXT_TOKENS)
    texts, tokens = [], 0
    for encoding in plain.encode_batch(train.examples.fields.get("text", [])):
        texts.append((np.array(encoding.ids), np.array(encoding.special_tokens_mask, bool)))
        tokens += len(encoding.ids)
        if tokens >= PERPLEXITY_TOKENS:
            break
    mask = next((i for t in MASKS if (i := tokenizer.token_to_id(t)) is not None), None)
    try:
        score = backend.language_model_score(
            job.spec["model"]["kind"], folder, texts, mask,
            seconds=PERPLEXITY_SECONDS, threads=job.spec["threads"],
        )  # fmt: skip
    except Unsupported as reason:
        return {"perplexity": None, "perplexity_reason": str(reason)}
    return {
        "perplexity": score.perplexity,
        "perplexity_kind": score.kind,
        "perplexity_tokens": score.tokens,
    }


def _leep(
    job: Job,
    folder: Path,
    backend: Backend,
    train: prepare.Split,
    labels: np.ndarray,
    seconds: float | None,
) -> dict[str, Any]:
    """From what the checkpoint's own classifier says; null, with the reason, where it has none."""
    try:
        source = backend.class_probabilities(
            job.spec["model"]["kind"], folder, train.encoded,
            seconds=seconds, threads=job.spec["threads"],
        )  # fmt: skip
    except Unsupported as reason:
        return {"leep": None, "leep_reason": str(reason)}
    return {"leep": leep(source, labels), "leep_classes": int(source.shape[1])}


def _plain(tokenizer: Any) -> Any:
    """A copy that neither cuts nor pads."""
    plain = type(tokenizer).from_str(tokenizer.to_str())
    plain.no_truncation()
    plain.no_padding()
    return plain


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
    ids = [e.ids for e in _plain(tokenizer).encode_batch(list(texts), add_special_tokens=False)]
    count = sum(map(len, ids))
    facts: dict[str, Any] = {"fertility": count / words}
    if unknown is None:
        return facts | {"unknown_share": 0.0, "unknown_reason": "its tokenizer knows every byte"}
    return facts | {"unknown_share": sum(row.count(unknown) for row in ids) / max(count, 1)}


def _unknown_id(tokenizer: Any) -> int | None:
    """The id that the tokenizer's model gives to what it does not know; None if it has none."""
    name = getattr(tokenizer.model, "unk_token", None)
    return None if name is None else tokenizer.token_to_id(name)
