"""The plain loop that the engine is compared with: no LoadGen, no blocks, nothing of ours but the
loaded model and its inputs. ``python -m tests.benchmarks.bare_loop FOLDER THREADS`` prints the
median in ms over the first 400 inputs in the order that a permutation of seed 1 gives."""

from __future__ import annotations

import os
import sys

threads = int(sys.argv[2])
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = str(threads)

import statistics  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402

from harness.backends.base import pad  # noqa: E402
from harness.backends.onnxruntime.float32 import OnnxRuntime  # noqa: E402
from harness.data.arrays import load_encoded  # noqa: E402

folder = Path(sys.argv[1])
encoded = load_encoded(folder / "inputs.npz")
predictor = OnnxRuntime().load(folder / "artifact", folder / "onnx", device="cpu", threads=threads)
order = np.random.default_rng(1).permutation(len(encoded))[:400]
inputs = [pad(encoded, np.array([i])) for i in order]
for item in inputs[:30]:
    predictor.predict(item)
times = []
for item in inputs:
    start = time.perf_counter_ns()
    predictor.predict(item)
    times.append((time.perf_counter_ns() - start) / 1e6)
print(statistics.median(times))
