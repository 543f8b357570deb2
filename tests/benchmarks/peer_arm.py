"""One run of optimum-benchmark, in its own environment: nothing of ours is imported here.

``ENVIRONMENT/bin/python peer_arm.py ORDER.json ANSWER.json``. ORDER: ``model`` (a checkpoint's
folder), ``threads``, ``tokens``, ``samples``, ``seconds``. ANSWER: ``latency_ms`` (its raw samples)
and ``p50_ms`` and ``p99_ms`` as it reports them itself (interpolated).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(order_file: str, answer_file: str) -> None:
    from optimum_benchmark import (
        Benchmark,
        BenchmarkConfig,
        InferenceConfig,
        ProcessConfig,
        PyTorchConfig,
    )

    order = json.loads(Path(order_file).read_text())
    config = BenchmarkConfig(
        name="peer",
        launcher=ProcessConfig(),
        scenario=InferenceConfig(
            iterations=order["samples"],
            duration=order["seconds"],
            input_shapes={"batch_size": 1, "sequence_length": order["tokens"]},
        ),
        # both counts alike: this version hands each to the other's setter
        backend=PyTorchConfig(
            model=order["model"], library="transformers", task="feature-extraction",
            model_type="bert", device="cpu", torch_dtype="float32",
            inter_op_num_threads=order["threads"], intra_op_num_threads=order["threads"],
        ),
    )  # fmt: skip
    latency = Benchmark.launch(config).forward.latency
    answer = {
        "latency_ms": [seconds * 1e3 for seconds in latency.values],
        "p50_ms": latency.p50 * 1e3,
        "p99_ms": latency.p99 * 1e3,
    }
    Path(answer_file).write_text(json.dumps(answer))


if __name__ == "__main__":  # its child process imports this file, too
    main(*sys.argv[1:])
