"""Score one fit in one runtime: predictions, metrics, and parity with the fit's own runtime."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import numpy as np

from harness import registry
from harness.backends.base import Progress, predict_all
from harness.backends.parity import parity
from harness.data.arrays import load_ragged_list, save_encoded, save_ragged_list
from harness.errors import Diverged, RequestError
from harness.records.files import write_bytes, write_json
from harness.records.identity import digest
from harness.sources.cache import sha256_of
from harness.specifications import changed
from harness.stages import prepare
from harness.stages.fetch import model_folder
from harness.stages.job import Job
from harness.tasks.base import Encoded, Ragged, Task

#: Features kept for the timing process: the most latency samples by default, a warm-up input of
#: each length and a few to repeat, so that no measured input is met twice.
TIMING_FEATURES = 1024


def score(job: Job, progress: Progress) -> dict[str, Any]:
    """Predict the drawn test split; writes ``metrics.json`` and ``predictions.parquet``."""
    runtime = registry.runtimes.get(job.run["runtime"])()
    folder = model_folder(job)
    data = prepare.task_data(job)
    test = prepare.split(job, "test", folder)
    runtime.prepare(job.artifact, job.exports, lambda: prepare.split(job, "train", folder).encoded)
    predictor = runtime.load(
        job.artifact, job.exports, device=job.run["device"], threads=job.run["threads"]
    )
    total = len(test.encoded)
    start = time.perf_counter()
    logits = predict_all(
        predictor, test.encoded, progress=lambda done: progress("score", done, total, "")
    )
    seconds = time.perf_counter() - start
    check_logits(logits, data.task.head.kind, data.task.head.outputs)
    frame = data.task.decode(test.examples, test.encoded, logits)
    lengths, unit = input_lengths(test.encoded, len(frame))
    if lengths is not None:
        frame["input_length"] = lengths
    for name, values in test.examples.fields.items():
        if name.startswith("slice_"):
            frame[name] = values
    metrics = data.task.metrics(frame)
    for name in job.run["test"]["metrics"]:
        if not job.trust_remote_code:  # asked before anything ran; this is the last door
            raise RequestError(f"metric {name!r} is Python code; it needs --trust-remote-code")
        from harness.backends.torch.zoo import hide_torchvision
        from harness.tasks.evaluate_adapter import metric_script, run_evaluate_metric

        hide_torchvision()  # `evaluate` imports transformers
        script = metric_script(name, job.base)
        if script and sha256_of(script) != job.run["test"]["metric_scripts"].get(name):
            raise changed(f"metric {name!r}", str(script))
        metrics |= run_evaluate_metric(name, frame, examples=test.examples, base=job.base)
    facts: dict[str, Any] = {
        "primary": data.task.primary,
        "score": float(frame["score_num"].sum()) / max(float(frame["score_den"].sum()), 1e-12),
        "examples": len(test.examples),
        "examples_available": len(data.splits["test"]),
        "features": total,
        "input_length_unit": unit,
        "metrics": metrics,
        "score_seconds": seconds,
        "observed": predictor.observed(),
        "size_mb": runtime.size_bytes(job.artifact, job.exports) / 1e6,
        "truncated_share": test.truncated_share,
        "overlap": prepare.overlap_facts(job),
    }
    facts |= _against_own(job, data.task, test, frame, logits)
    if not job.timing_inputs.is_file():
        save_encoded(
            job.timing_inputs,
            prepare.sample(test.encoded, TIMING_FEATURES, job.spec["task"]["budget"]["seed"]),
        )
    write_bytes(job.record / "predictions.parquet", _parquet(frame))
    write_json(job.record / "metrics.json", facts)
    return {"score": facts["score"], "seconds": seconds}


def check_logits(logits: list[np.ndarray], head: str, outputs: int) -> None:
    """`ValueError` for another shape than the head's, `Diverged` for what is no number."""
    for feature, row in enumerate(logits):
        wanted = (outputs,) if head == "pooled" else (len(row) if row.ndim else 0, outputs)
        if row.shape != wanted:
            form = f"({outputs},)" if head == "pooled" else f"(tokens, {outputs})"
            raise ValueError(
                f"the runtime returned logits of shape {row.shape} for feature {feature}, where "
                f"{form} is right"
            )
        if not np.isfinite(row).all():
            raise Diverged(f"the runtime returned logits that are not finite (feature {feature})")


def input_lengths(encoded: Encoded, examples: int) -> tuple[np.ndarray | None, str | None]:
    """(examples,) int32 length of each input, and its unit, for boards to slice scores by.

    Tokens that the model read, over all windows of an example; words where a baseline reads raw
    text; None for other media.
    """
    tokens, texts = encoded.inputs.get("input_ids"), encoded.inputs.get("text")
    if isinstance(tokens, Ragged):
        sizes, unit = tokens.lengths, "tokens"
    elif isinstance(texts, np.ndarray):
        words = (text.split() if isinstance(text, str) else text for text in texts)
        sizes, unit = np.fromiter((len(list(w)) for w in words), np.int64, len(encoded)), "words"
    else:
        return None, None
    return np.bincount(encoded.example_index, sizes, examples).astype(np.int32), unit


def _against_own(
    job: Job, task: Task, test: prepare.Split, frame: Any, logits: list[np.ndarray]
) -> dict[str, Any]:
    """Logits and predictions against those of the fit's own runtime, on the same inputs."""
    own = registry.backends.get(job.spec["framework"]).runtime
    kept = _logits_file(job, own)
    facts: dict[str, Any] = {"reference_runtime": own}
    if job.run["runtime"] == own:
        save_ragged_list(kept, logits)
        return facts | {"parity_rel_diff": None, "prediction_agreement": None}
    if not kept.is_file():
        reason = f"no logits of the fit's own runtime {own!r} are at hand"
        return facts | {
            "parity_rel_diff": None,
            "parity_rel_diff_reason": reason,
            "prediction_agreement": None,
            "prediction_agreement_reason": reason,
        }
    reference = load_ragged_list(kept)
    own_frame = task.decode(test.examples, test.encoded, reference)
    agreement = task.agreement(own_frame, frame)
    return facts | parity(reference, logits) | {"prediction_agreement": agreement}


def _logits_file(job: Job, runtime: str) -> Path:
    return job.fit_folder / "logits" / f"{runtime}-{digest(job.run['test'])}.npz"


def _parquet(frame: Any) -> bytes:
    """Deterministic Parquet bytes of a frame, without pandas' own metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata()
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
