"""Train one model on one task: an artifact in the cache, and what the record says of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from harness import registry
from harness.backends.base import (
    ArtifactInfo,
    FitReport,
    FitRequest,
    Predictor,
    Progress,
    predict_all,
)
from harness.errors import Diverged
from harness.measure.energy import POLL_SECONDS, energy_source
from harness.measure.host import host_facts
from harness.measure.reference_speed import peak_flops_per_second
from harness.records.files import read_json, whole_folder, write_json
from harness.records.identity import digest
from harness.sources.cache import sha256_of
from harness.specifications import libraries_of
from harness.stages import prepare
from harness.stages.fetch import model_folder
from harness.stages.job import Job
from harness.stages.reference import reference_file, reference_framework
from harness.tasks.base import Encoded, Examples, Task, take_rows

#: Training examples on which the training score is computed; enough for a gap of 3 points.
TRAIN_SCORE_EXAMPLES = 300

#: seconds for each precision in which the machine's matrix products are timed after a training
PEAK_SECONDS = 0.1


def fit(job: Job, progress: Progress) -> dict[str, Any]:
    """Fit unless the cache already holds this very fit; returns the content of ``fit.json``."""
    known = read_json(job.fit_folder / "fit.json")
    if known is not None and fit_is_cached(job.fit_folder):
        return known | {"from_cache": True}
    backend = registry.backends.get(job.spec["framework"])()
    folder = model_folder(job)
    data = prepare.task_data(job)
    train = prepare.split(job, "train", folder)
    validation = prepare.split(job, "validation", folder)
    job.fit_folder.mkdir(parents=True, exist_ok=True)
    with whole_folder(job.artifact) as scratch:
        request = request_of(job, folder, data, train, validation, scratch)
        with energy_source(job.spec["device"]).measured(POLL_SECONDS) as energy:
            report = backend.fit(request, progress)
        check_losses(report)
    facts = asdict(report) | {
        # of loading, training and the scores of the epochs
        "energy": energy.as_dict(),
        "energy_j": energy.joules,
        "energy_basis": energy.basis,
        "matmul_flops_per_s": matmul_peaks(job),
        "examples_per_second": _examples_per_second(report, train.encoded),
        "examples_per_second_reason": report.seconds_reason,
        "train_examples": len(train.examples),
        "train_available": len(data.splits["train"]),
        "validation_examples": len(validation.examples),
        "held_out": list(data.held_out),
        "truncated_share": {
            "train": train.truncated_share,
            "validation": validation.truncated_share,
        },
        "labels": data.task.labels,
        "artifact_files": _artifact_files(job.artifact),
        "host": host_facts(job.spec["threads"]),
    }
    facts["host_id"] = facts["host"]["host_id"]
    facts |= _own_scores(job, data.task, train, validation, report)
    write_json(job.fit_folder / "fit.json", facts)
    return facts


def _examples_per_second(report: FitReport, train: Encoded) -> float | None:
    """A backend counts features."""
    rate = report.examples_per_second
    return None if rate is None else rate / train.features_per_example


def matmul_peaks(job: Job) -> dict[str, float]:
    """Speed of the framework's matrix products by precision, FLOP/s; {} for baselines."""
    runtime = registry.runtimes.get(registry.backends.get(job.spec["framework"]).runtime)()
    products = runtime.products(job.spec["device"], job.spec["threads"])
    return peak_flops_per_second({p.dtype: p for p in products}, PEAK_SECONDS)


def check_losses(report: FitReport) -> None:
    """`Diverged` where a loss is no number, whatever the backend made of it."""
    for epoch in report.epochs:
        loss = epoch.get("loss")
        if loss is not None and not math.isfinite(loss):
            raise Diverged(f"the loss of epoch {epoch.get('epoch', '?')} is {loss}")


def request_of(
    job: Job,
    folder: Path | None,
    data: prepare.TaskData,
    train: prepare.Split,
    validation: prepare.Split,
    out: Path,
) -> FitRequest:
    """The job as a backend is asked to fit it, or to compute its frozen features."""
    kind = job.spec["model"]["kind"]
    libraries = libraries_of(registry.backends.get(job.spec["framework"]), kind)
    return FitRequest(
        model_kind=kind,
        model_folder=folder,
        recipe=job.spec["recipe"],
        settings=job.spec["settings"],
        loss=data.task.loss,
        info=artifact_info(job, data.task, train.encoder),
        train=train.encoded,
        validation=validation.encoded,
        validation_score=scorer(data.task, validation.examples, validation.encoded),
        train_score=scorer(data.task, train.examples, train.encoded),
        device=job.spec["device"],
        threads=job.spec["threads"],
        seed=job.spec["seed"],
        out=out,
        features_cache=job.cache / "features",
        features_key=_features_key(job),
        mixed_batches=data.task.mixed_batches,
        libraries={name: job.spec["versions"][name] for name in libraries},
        reference=reference_file(job) if reference_framework(job) else None,
    )


def artifact_info(job: Job, task: Task, encoder: Any) -> ArtifactInfo:
    """``harness.json`` of the job's artifact, for inputs as ``encoder`` makes them."""
    spec = job.spec
    return ArtifactInfo(
        kind=spec["model"]["kind"],
        framework=spec["framework"],
        task_type=spec["task"]["type"],
        head=task.head.kind,
        outputs=task.head.outputs,
        pooling=spec["model"]["pooling"],
        labels=task.labels,
        max_length=spec["task"]["max_length"],
        stride=spec["task"]["stride"],
        weights_licence=spec["model"]["licence"],
        data_licence=spec["task"]["licence"],
        hidden=list(spec["settings"]["hidden"]),
        extra={"options": dict(task.options)} | task.encoder_facts(encoder),
    )


def scorer(task: Task, examples: Examples, encoded: Encoded) -> Callable[[Any], float]:
    """Logits of a split to its primary metric."""

    def score(logits: Any) -> float:
        frame = task.decode(examples, encoded, logits)
        denominator = float(frame["score_den"].sum())
        return float(frame["score_num"].sum()) / denominator if denominator else 0.0

    return score


def load_own(job: Job) -> Predictor:
    """The artifact in the runtime of the framework that fitted it."""
    backend = registry.backends.get(job.spec["framework"])
    runtime = registry.runtimes.get(backend.runtime)()
    predictor: Predictor = runtime.load(
        job.artifact, job.exports, device=job.spec["device"], threads=job.spec["threads"]
    )
    return predictor


def _own_scores(
    job: Job, task: Task, train: prepare.Split, validation: prepare.Split, report: FitReport
) -> dict[str, Any]:
    """Scores on train and validation, for the overfitting gap; by the backend if it knows them."""
    scores: dict[str, Any] = {}
    if report.train_score is None:
        predictor = load_own(job)
        examples, encoded = _whole_examples(
            train, TRAIN_SCORE_EXAMPLES, job.spec["task"]["budget"]["seed"]
        )
        logits = predict_all(predictor, encoded)
        scores["train_score"] = scorer(task, examples, encoded)(logits)
        scores["train_score_examples"] = len(examples)
    else:
        scores["train_score"] = report.train_score
        scores["train_score_examples"] = len(train.examples)
    kept = report.notes.get("kept_epoch") or len(report.epochs)
    of_kept = [e["validation_score"] for e in report.epochs if e["epoch"] == kept]
    if of_kept:  # what was kept has been scored after its last step
        scores["validation_score"] = of_kept[0]
    else:
        score = scorer(task, validation.examples, validation.encoded)
        scores["validation_score"] = score(predict_all(load_own(job), validation.encoded))
    return scores


def _whole_examples(split: prepare.Split, size: int, seed: int) -> tuple[Examples, Encoded]:
    """At most ``size`` drawn examples with all their features."""
    count = len(split.examples)
    if count <= size:
        return split.examples, split.encoded
    chosen = np.sort(np.random.default_rng(seed).permutation(count)[:size])
    position = np.full(count, -1)
    position[chosen] = np.arange(size)
    features = np.flatnonzero(position[split.encoded.example_index] >= 0)

    encoded = split.encoded
    return split.examples.take(chosen.tolist()), Encoded(
        take_rows(encoded.inputs, features),
        take_rows(encoded.targets, features),
        position[encoded.example_index[features]],
        encoded.truncated[chosen],
        take_rows(encoded.extras, features),
    )


def _features_key(job: Job) -> str:
    """What frozen features depend on: model, data, draw and encoding; not recipe, seed or
    framework. The file itself says which libraries computed them."""
    spec, model = job.spec, job.spec["model"]
    return digest(
        [model["files"], model["kind"], model["pooling"], model["architecture"],
         *prepare.inputs_key(job), spec["threads"], spec["device"], spec["versions"]["prepare"],
         spec["versions"]["task"]]
    )  # fmt: skip


def fit_is_cached(fit_folder: Path) -> bool:
    """True where the artifact and its facts are both whole, byte for byte."""
    facts = read_json(fit_folder / "fit.json")
    artifact = fit_folder / "artifact"
    if facts is None or not artifact.is_dir():
        return False
    # those of older fits carry no digests
    return facts.get("artifact_files", (there := _artifact_files(artifact))) == there


def _artifact_files(artifact: Path) -> dict[str, str]:
    """SHA-256 of each file of an artifact, by its name in it."""
    return {
        path.relative_to(artifact).as_posix(): sha256_of(path)
        for path in sorted(artifact.rglob("*"))
        if path.is_file()
    }
