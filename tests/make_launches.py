"""Real launches for the A/A proof: times one run in fresh processes, again and again.

    python -m tests.make_launches RESULTS/SUITE RUNTIME COUNT OUT.csv [THREADS]

One line a launch: when it began (seconds since the first), its median latency in ms, its
throughput per second, its peak memory in MB. The artifact must still be in the cache.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.execute.environment import thread_environment
from harness.records.files import read_json, write_json
from harness.sources import default_cache

TIMING = {
    "min_samples": 64, "max_samples": 64, "max_seconds": 1.0, "batch_sizes": [8],
    "sweep_seconds": 0.3,
}  # fmt: skip


def main(results: str, runtime: str, count: str, out: str, threads: str = "1") -> None:
    for place in Path(results).glob("runs/*"):
        spec = read_json(place / "spec.json") or {}
        if spec.get("runtime") == runtime:
            break
    else:
        raise SystemExit(f"no run in {runtime}")
    fit = default_cache() / "fits" / spec["fit_id"]
    inputs = next(fit.glob("timing-inputs-*.npz"))
    with tempfile.TemporaryDirectory() as scratch, open(out, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["started_s", "latency_p50_ms", "throughput_per_s", "peak_memory_mb"])
        order, target = Path(scratch) / "order.json", Path(scratch) / "out"
        write_json(order, {
            "runtime": runtime, "artifact": str(fit / "artifact"), "exports": str(fit / "onnx"),
            "device": "cpu", "threads": int(threads), "inputs": str(inputs), "timing": TIMING,
            "seed": 1,
        })  # fmt: skip
        begin = time.monotonic()
        for _ in range(int(count)):
            started = time.monotonic() - begin
            subprocess.run(
                [sys.executable, "-m", "harness.measure.launch", str(order), str(target)],
                check=True, env=os.environ | thread_environment(int(threads)),
            )  # fmt: skip
            timing = json.loads((target / "timing.json").read_text())
            rows.writerow([
                f"{started:.1f}", f"{timing['latency_p50_ms']:.5g}",
                f"{timing['throughput_per_s']:.5g}", f"{timing['peak_memory_mb']:.5g}",
            ])  # fmt: skip
            file.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
