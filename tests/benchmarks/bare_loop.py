"""The plain loop that the engine is compared with: no LoadGen, no blocks, nothing of ours but the
loaded model and its inputs. ``python -m tests.benchmarks.bare_loop FOLDER THREADS SAMPLES BLOCK``
prints the median in ms over at least that many inputs: those that a launch of seed 1 draws in
blocks of that many, so that whatever differs is not the inputs."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[_name] = sys.argv[2]

import statistics
import time
from pathlib import Path

import numpy as np

from harness.backends.base import lengths_of, pad
from harness.data.arrays import load_encoded
from harness.measure.blocks import Draw
from harness.measure.latency import _parted

SEED = 1


def drawn(lengths: np.ndarray, samples: int, block: int) -> tuple[list[int], list[int]]:
    """Inputs to warm up with, and inputs to time, as `harness.measure.latency.measure_latency`
    parts and draws them where a block has ``block`` queries."""
    warming, measured = _parted(lengths.tolist(), SEED)
    draw = Draw(measured, lengths, block, SEED)
    if not set(warming) & set(measured.tolist()):
        draw.block()  # there it is spent on the look for cached answers
    timed: list[int] = []
    while len(timed) < samples:
        timed += draw.block()
    return warming, timed


def main(folder: Path, threads: int, samples: int, block: int) -> None:
    from harness.backends.onnxruntime.float32 import OnnxRuntime

    encoded = load_encoded(folder / "inputs.npz")
    predictor = OnnxRuntime().load(
        folder / "artifact", folder / "onnx", device="cpu", threads=threads
    )
    warming, timed = drawn(lengths_of(encoded), samples, block)
    for index in warming:
        predictor.predict(pad(encoded, np.array([index])))
    inputs = [pad(encoded, np.array([index])) for index in timed]
    times = []
    for item in inputs:
        start = time.perf_counter_ns()
        predictor.predict(item)
        times.append((time.perf_counter_ns() - start) / 1e6)
    print(statistics.median(times))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
