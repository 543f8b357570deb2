"""The timing process from end to end, on a tiny model and on a baseline."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from harness.backends.base import ArtifactInfo
from harness.data.arrays import object_array, save_encoded
from harness.measure.host_state import processor_times, waiting_seconds
from harness.measure.launch import others_at_work
from harness.measure.observed import (
    check_batch,
    check_device,
    check_threads,
    notes,
    working_threads,
)
from harness.measure.percentiles import percentiles
from harness.tasks.base import Encoded
from tests import tiny_models

pytestmark = pytest.mark.alone

TIMING = {
    "launches": 1, "seeds": "first", "min_samples": 30, "max_samples": 40, "max_seconds": 2.0,
    "batch_sizes": [2, 4, 1000, 2000], "sweep_seconds": 0.05,
}  # fmt: skip


def launch(folder: Path, **changes: Any) -> subprocess.CompletedProcess[str]:
    spec = {
        "runtime": "onnxruntime", "artifact": str(folder / "artifact"),
        "exports": str(folder / "onnx"), "device": "cpu", "threads": 1,
        "inputs": str(folder / "inputs.npz"), "timing": TIMING, "seed": 1,
    }  # fmt: skip
    (folder / "spec.json").write_text(json.dumps(spec | changes))
    return subprocess.run(
        [sys.executable, "-m", "harness.measure.launch", folder / "spec.json", folder / "out"],
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def static(tmp_path: Path) -> Path:
    """A folder with an exported model of static embeddings and inputs for it."""
    from harness.backends.torch.export import export_onnx

    artifact = tiny_models.static_artifact(tmp_path)
    export_onnx(artifact, tmp_path / "onnx")
    save_encoded(tmp_path / "inputs.npz", tiny_models.tokens([3, 9, 5, 1, 9, 30, 2]))
    return tmp_path


def majority(folder: Path) -> None:
    """The smallest fitted artifact there is, with inputs."""
    from harness.backends.sklearn.majority import Majority, save

    artifact = folder / "artifact"
    artifact.mkdir()
    save(Majority(np.zeros(2, np.float32), "pooled"), artifact)
    info = ArtifactInfo("majority", "sklearn", "any", "pooled", 2, "mean", ["a", "b"], 1)
    (artifact / "harness.json").write_text(json.dumps(info.as_dict()))
    texts = object_array(["one", "two words", "three"])
    save_encoded(
        folder / "inputs.npz", Encoded({"text": texts}, {}, np.arange(3), np.zeros(3, bool))
    )


def test_a_launch_leaves_raw_samples_and_the_host(static):
    done = launch(static)
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in (static / "out").iterdir()) == ["host.json", "timing.json"]
    timing = json.loads((static / "out" / "timing.json").read_text())
    samples = timing["latency_ms"]
    assert 30 <= len(samples) == timing["samples"] < 40 + 12  # sampling ends with a block
    assert timing["latency_p50_ms"] == sorted(samples)[len(samples) // 2]
    assert timing["latency_p90_ms"] in samples
    assert timing["latency_p99_ms"] is None
    assert timing["latency_p99_ms_reason"].endswith("needs 299")
    assert [point["batch_size"] for point in timing["throughput"]] == [2, 4, 7]  # 7 inputs in all
    rates = {point["batch_size"]: point["examples_per_s"] for point in timing["throughput"]}
    assert timing["throughput_per_s"] == rates[timing["best_batch_size"]] == max(rates.values())
    assert timing["peak_memory_mb"] > 20
    assert timing["load_seconds"] > 0 and timing["first_call_ms"] > 0
    assert timing["observed"]["provider"] == "CPUExecutionProvider"
    assert timing["warm_up"]["shapes"] == timing["warm_up"]["shapes_met"] == 6
    host = json.loads((static / "out" / "host.json").read_text())
    assert (host["threads_asked"], host["threads_observed"]) == (1, 1)
    assert len(host["host_id"]) == 12


def test_a_baseline_is_timed_alike(tmp_path):
    majority(tmp_path)
    done = launch(tmp_path, runtime="sklearn")
    assert done.returncode == 0, done.stderr
    timing = json.loads((tmp_path / "out" / "timing.json").read_text())
    observed = {k: timing["observed"][k] for k in ("device", "dtype", "threads", "batch_size")}
    assert observed == {"device": "cpu", "dtype": "float32", "threads": 1, "batch_size": 1}


def test_what_cannot_run_here_is_exit_status_3_with_one_line(tmp_path):
    majority(tmp_path)
    done = launch(tmp_path, runtime="sklearn", device="cuda")
    assert done.returncode == 3
    assert done.stderr == "scikit-learn computes on the CPU, not on 'cuda'\n"
    assert not (tmp_path / "out").exists()


def test_an_unknown_runtime_is_exit_status_2_with_one_line(tmp_path):
    majority(tmp_path)
    done = launch(tmp_path, runtime="onxruntime")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "onnxruntime" in done.stderr


def test_a_failure_is_exit_status_1_and_its_reason_the_last_line(tmp_path):
    majority(tmp_path)
    (tmp_path / "inputs.npz").write_bytes(b"")
    done = launch(tmp_path, runtime="sklearn")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("EOFError")
    assert not (tmp_path / "out").exists()


def test_thread_counts_are_set_before_numpy_is_imported():
    code = (
        "import sys, harness.measure.launch as launch; "
        "sys.exit('numpy' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_other_threads_than_asked_for_are_an_error():
    check_threads(2, {"threads": 2})
    with pytest.raises(RuntimeError, match="2 threads were asked for, but 1 are observed"):
        check_threads(2, {"threads": 1})
    with pytest.raises(RuntimeError, match="None are observed"):
        check_threads(2, {})


@pytest.mark.skipif(processor_times()[0] is None, reason="this system does not tell")
def test_a_busy_neighbour_is_seen():
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        with others_at_work() as others:
            time.sleep(1.0)
    finally:
        child.kill()
        child.wait()
    assert others["others_busy_cores"] > 0.3


def test_another_device_or_a_wrong_number_of_answers_is_an_error():
    check_device("cuda", {"device": "cuda:0"})
    with pytest.raises(RuntimeError, match="'cuda' was asked for, but 'cpu' computes"):
        check_device("cuda", {"device": "cpu"})
    check_device("cuda:1", {"device": "cuda:1"})
    with pytest.raises(RuntimeError, match="'cuda:1' was asked for, but 'cuda:0' computes"):
        check_device("cuda:1", {"device": "cuda:0"})
    with pytest.raises(RuntimeError, match="a batch of 8 was asked for, but 4 answers"):
        check_batch(8, 4)


def test_lesser_differences_are_notes():
    asked = {"dtype": "float32", "threads": 2, "cores": [0, 1]}
    assert notes(asked, {"dtype": "float32"}, {"openmp": 2}) == []
    assert notes(asked | {"cores": [1]}, {"dtype": "bfloat16"}, {"openmp": 8, "blas": 2}) == [
        "dtype float32 was asked for, bfloat16 is observed",
        "the openmp pool has 8 threads, 2 were asked for",
        "2 threads share 1 cores",
    ]
    assert notes(asked, {"interop_threads": 4, "working_threads": 3}, {}) == [
        "the inter-op pool has 4 threads, 2 were asked for",
        "3 threads computed, 2 were asked for",
    ]


@pytest.mark.skipif(waiting_seconds() is None, reason="no schedstat here")
def test_threads_that_compute_are_counted_and_those_that_wait_are_not():
    work = np.random.default_rng(1).random((300, 300))
    stop = threading.Event()

    def compute() -> None:
        end = time.perf_counter() + 0.2
        while time.perf_counter() < end:
            work @ work  # the lock of the interpreter is free meanwhile

    waiting = threading.Thread(target=stop.wait)
    waiting.start()
    try:
        with threadpool_limits(1):
            assert working_threads(compute) == 1
    finally:
        stop.set()
        waiting.join()


def test_pytorchs_inter_op_pool_is_set_and_observed(static):
    """Left alone it has a thread for each core of the machine."""
    done = launch(static, runtime="torch", scenarios=["single-stream"])
    assert done.returncode == 0, done.stderr
    timing = json.loads((static / "out" / "timing.json").read_text())
    assert timing["observed"]["interop_threads"] == 1
    assert timing["observed"]["working_threads"] == 1
    assert not [note for note in timing["notes"] if "threads" in note]


def test_percentiles_that_the_samples_do_not_carry_have_a_reason():
    facts = percentiles([1.0] * 4)
    assert facts["latency_p50_ms"] is None
    assert facts["latency_p50_ms_reason"] == "4 samples; a 95% upper bound needs 5"
    assert "latency_p99_ms_reason" not in percentiles([1.0] * 299)
