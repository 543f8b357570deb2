"""What a launch measures beside the clock: the watch over its blocks, and passes of their own.

Every pass is a function of (predictor, inputs, specification) that gives keys of ``timing.json``.
They come after the timing, in the same process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from harness.measure.energy import energy_source
from harness.measure.host_watch import HostWatch

if TYPE_CHECKING:
    from harness.backends.base import Predictor
    from harness.tasks.base import Encoded

#: Seconds of each precision's matrix product: some dozen products of 1,024 rows.
PEAK_SECONDS = 0.2
#: Single inputs of the memory pass: allocators keep something for each shape that they meet.
MEMORY_SINGLES = 4
#: Predictions whose time on the accelerator is taken: a median needs no more.
DEVICE_REPEATS = 30
#: Seconds of work whose energy is taken: NVML's counter moves every 20 to 100 ms, so that this many
#: hold 20 steps or more.
ENERGY_SECONDS = 2.0


class BlockWatch:
    """A `HostWatch` over one scenario, as `harness.measure.blocks.Watch`."""

    def __init__(self, watch: HostWatch, refresh: Callable[[], object] = lambda: None) -> None:
        """``refresh`` calls the model once after every look, untimed: a look fills caches."""
        self.watch, self._refresh = watch, refresh

    def begin(self) -> None:
        self.watch.begin()
        self._refresh()

    def end_block(self) -> tuple[Mapping[str, Any], bool]:
        block = self.watch.end_block()
        self._refresh()
        figures = {
            "why": list(block.reasons),
            "others_busy_cores": block.others_busy_cores,
            "steal_share": block.steal_share,
            "switches_per_s": block.switches_per_s,
            "reference_flops_per_s": block.reference,
        }
        return {key: value for key, value in figures.items() if value is not None}, block.disturbed

    def facts(self, key: str) -> dict[str, Any]:
        """What was seen, as ``key``; {} where there was no block."""
        if not self.watch.blocks:
            return {}
        self.watch.finish()
        return {key: self.watch.summary()}


def peaks(predictor: Predictor, encoded: Encoded, spec: dict[str, Any]) -> dict[str, Any]:
    """Speed of the runtime's own matrix products, FLOP/s by precision."""
    from harness import registry
    from harness.measure.reference_speed import peak_flops_per_second

    runtime = registry.runtimes.get(spec["runtime"])()
    products = {p.dtype: p for p in runtime.products(spec["device"], spec["threads"])}
    return {"matmul_flops_per_s": peak_flops_per_second(products, PEAK_SECONDS)}


def device_time(predictor: Predictor, encoded: Encoded, spec: dict[str, Any]) -> dict[str, Any]:
    """``device_p50_ms``: how long a single prediction takes the accelerator; {} on a CPU."""
    import statistics

    import numpy as np

    from harness.backends.base import pad

    if spec["device"] == "cpu":
        return {}
    times = predictor.device_times_ms(pad(encoded, np.array([len(encoded) // 2])), DEVICE_REPEATS)
    return {"device_p50_ms": statistics.median(times) if times else None}


def energy(predictor: Predictor, encoded: Encoded, spec: dict[str, Any]) -> dict[str, Any]:
    """Joules of 1,000 examples in batches of the sweep's largest size."""
    from harness.backends.base import pad, sorted_batches

    source = energy_source(spec["device"])
    known = bool(source.sources) or source.watts_per_core is not None
    size = min(max(spec["timing"]["batch_sizes"], default=1), len(encoded))
    batches = [pad(encoded, chosen) for chosen in sorted_batches(encoded, size)] if known else []
    for batch in batches[:: max(1, len(batches) // 4)]:  # shapes that have to be met once
        predictor.predict(batch)
    in_one_pass = len(encoded) / encoded.features_per_example
    examples, step = 0.0, 0
    with source.measured() as used:
        end = time.perf_counter() + ENERGY_SECONDS
        # whole passes, so that long inputs and short ones have their share
        while batches and (step % len(batches) or time.perf_counter() < end or not step):
            predictor.predict(batches[step % len(batches)])
            step += 1
            examples += in_one_pass if step % len(batches) == 0 else 0
    joules = None if used.joules is None or not examples else used.joules * 1000 / examples
    facts: dict[str, Any] = {
        "energy_j_per_1000": joules,
        "energy_basis": used.basis,
        "energy": used.as_dict() | {"examples": examples, "batch_size": size},
    }
    if joules is None:
        facts["energy_j_per_1000_reason"] = used.reason or "nothing was computed"
    return facts


def memory(predictor: Predictor, encoded: Encoded, spec: dict[str, Any]) -> dict[str, Any]:
    """Peak memory of single inputs and of the longest ones in each batch size of the sweep."""
    import os

    import numpy as np

    from harness.backends.base import pad, sorted_batches
    from harness.measure.gpu_state import process_memory_mb
    from harness.measure.memory import peak_memory_mb
    from harness.measure.memory_watch import Footprint, memory_facts, watched

    with watched() as peaks:
        for index in range(min(MEMORY_SINGLES, len(encoded))):
            predictor.predict(pad(encoded, np.array([index])))
        for size in sorted({min(size, len(encoded)) for size in spec["timing"]["batch_sizes"]}):
            predictor.predict(pad(encoded, next(sorted_batches(encoded, size))))
    device = predictor.device_memory() or {}
    return memory_facts(Footprint(**spec["idle"]), peaks(), peak_memory_mb()) | {
        "device_allocated_mb": device.get("allocated_mb"),
        "device_reserved_mb": device.get("reserved_mb"),
        "device_process_mb": None if spec["device"] == "cpu" else process_memory_mb(os.getpid()),
    }
