"""LoadGen's three scenarios on a loaded predictor: each gives its keys of ``timing.json``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from harness.backends.base import Batch, Predictor, lengths_of, pad, sorted_batches
from harness.measure.blocks import Lazily, Watch
from harness.measure.latency import Limits, measure_latency
from harness.measure.percentiles import percentiles
from harness.measure.server import measure_server
from harness.measure.throughput import Throughput, best, measure_throughput
from harness.tasks.base import Encoded


def single_stream(
    predictor: Predictor, encoded: Encoded, timing: dict[str, Any], seed: int, watch: Watch
) -> dict[str, Any]:
    """Latency of one input at a time."""
    latency = measure_latency(
        predictor.predict,
        _singles(encoded),
        seed=seed,
        limits=limits(timing),
        shapes=lengths_of(encoded).tolist(),
        sizes=sizes(encoded),
        watch=watch,
    )
    return percentiles(latency.samples_ms) | latency.as_dict()


def offline(
    predictor: Predictor, encoded: Encoded, timing: dict[str, Any], seed: int, watch: Watch
) -> dict[str, Any]:
    """Examples per second, over the sweep of batch sizes, which count features.

    Sizes beyond one of which a single batch takes ``sweep_seconds`` are left out, and named in
    ``batch_sizes_left_out``: where the first few batches take minutes, no sweep is short.
    """
    points: list[Throughput] = []
    left_out: list[int] = []
    for batch_size in sorted({min(size, len(encoded)) for size in timing["batch_sizes"]}):
        if points and points[-1].seconds > points[-1].batches * timing["sweep_seconds"]:
            left_out.append(batch_size)
            continue
        features: list[np.ndarray] = list(sorted_batches(encoded, batch_size))
        point = measure_throughput(
            predictor.predict,
            Lazily(len(features), lambda i, f=features: pad(encoded, f[i])),  # type: ignore[misc]
            [len(chosen) for chosen in features],
            batch_size=batch_size,
            seconds=timing["sweep_seconds"],
            watch=watch,
        )
        rate = point.examples_per_s / encoded.features_per_example
        points.append(replace(point, examples_per_s=rate))
    top = best(points)
    return {
        "throughput": [point.as_dict() for point in points],
        "throughput_per_s": top.examples_per_s if top else None,
        "best_batch_size": top.batch_size if top else None,
        "batch_sizes_left_out": left_out,
        "throughput_verdict": top.verdict.word if top else None,
        "throughput_verdict_reason": top.verdict.reason if top else "",
    }


def server(
    predictor: Predictor, encoded: Encoded, timing: dict[str, Any], seed: int, watch: Watch
) -> dict[str, Any]:
    """The largest rate of arrivals that holds the latency bound."""
    return measure_server(
        predictor.predict,
        _singles(encoded),
        seed=seed,
        bound_ms=timing["latency_bound_ms"],
        percentile=timing["latency_percentile"],
        seconds=timing["sweep_seconds"],
        sizes=sizes(encoded),
        watch=watch,
    ).as_dict()


def limits(timing: dict[str, Any]) -> Limits:
    """The part of `harness.suite.Timing` that says when latency sampling ends."""
    known = {name: timing[name] for name in ("min_seconds", "within") if name in timing}
    return Limits(timing["min_samples"], timing["max_samples"], timing["max_seconds"], **known)


def sizes(encoded: Encoded) -> np.ndarray:
    """Length of each input: tokens, or characters of raw text, or 1."""
    text = encoded.inputs.get("text")
    if isinstance(text, np.ndarray):
        return np.array([len(str(item)) for item in text])
    return lengths_of(encoded)


def _singles(encoded: Encoded) -> Lazily[Batch]:
    return Lazily(len(encoded), lambda i: pad(encoded, np.array([i])))
