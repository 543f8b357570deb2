"""What a row's model is apart from its score and its clock: operations, and how well they ran."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

#: keys of a row that `model_facts` fills
KEYS = (
    "trained_params", "flops_per_example", "fit_peak_share", "peak_share", "disturbed_share",
    "latency_p50_products",
)  # fmt: skip

#: A training step costs about three predictions: forward, and twice that backward, for gradients of
#: activations and of weights (Kaplan et al., 2020, Scaling Laws for Neural Language Models, 2.1).
#: Only where all weights are trained.
_STEP_OVER_PREDICTION = 3
_TRAINING_ALL = ("fine-tune", "scratch")


def model_facts(
    row: Mapping[str, Any],
    fits: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]],
    timings: Iterable[Mapping[str, Any]],
) -> dict[str, Any]:
    """`KEYS` of a row; None where a record does not tell.

    ``fits``: (fit.json, facts.json) of its runs; ``timings``: the timing.json of its launches.
    Shares are of the fastest matrix product that the same library computed in the same process on
    the same threads and in the same precision: achieved operations a second, without activations,
    padding and idling, over possible ones.
    """
    fits, timings = list(fits), list(timings)
    flops = next((f["flops_per_example"] for _, f in fits if f.get("flops_per_example")), None)
    known = [fit for fit, _ in fits if fit]
    shares = [
        timing.get("host_watch", {}).get("disturbed_share")
        for timing in timings
        if isinstance(timing.get("host_watch"), Mapping)
    ]
    return {
        "trained_params": next(
            (f["trained_params"] for f in known if f.get("trained_params")), None
        ),
        "flops_per_example": flops,
        "fit_peak_share": _median(
            _share(flops, f.get("examples_per_second"), f, row["fit_dtype"], _STEP_OVER_PREDICTION)
            for f in known
            if row["recipe"] in _TRAINING_ALL
        ),
        "peak_share": _median(
            _share(flops, t.get("throughput_per_s"), t, row["dtype"]) for t in timings
        ),
        "disturbed_share": _median(shares),
        "latency_p50_products": _median(t.get("latency_p50_products") for t in timings),
    }


def _share(
    flops: float | None,
    examples_per_s: float | None,
    record: Mapping[str, Any],
    dtype: str | None,
    factor: float = 1.0,
) -> float | None:
    peak = (record.get("matmul_flops_per_s") or {}).get(dtype)
    if not flops or not examples_per_s or not peak:
        return None
    return factor * flops * examples_per_s / float(peak)


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
