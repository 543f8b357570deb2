"""What a launch says beside its timings: the host's state, memory, energy, the machine's peak."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.data.arrays import object_array, save_encoded
from harness.execute.launches import launch as bounded
from harness.execute.process import Bounds, StageFailed
from harness.measure.energy import Source
from harness.measure.host_state import read_counters
from harness.measure.host_watch import HostWatch
from harness.measure.launch_passes import BlockWatch
from harness.measure.memory_watch import footprint
from harness.tasks.base import Encoded
from tests.test_measure_host_watch import hogs
from tests.test_measure_launch import TIMING, launch, majority

pytestmark = pytest.mark.alone


def timing_of(folder: Path, **changes: Any) -> dict[str, Any]:
    majority(folder)
    done = launch(folder, runtime="sklearn", **changes)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads((folder / "out" / "timing.json").read_text())
    return found


@pytest.mark.skipif(read_counters().busy_s is None, reason="no /proc/stat here")
@pytest.mark.skipif((os.cpu_count() or 1) > 16, reason="one hog is lost among so many cores")
def test_a_launch_beside_a_cpu_hog_records_that_the_host_was_disturbed(tmp_path: Path) -> None:
    """Even of a model whose blocks are far too short for counters that move every 10 ms."""
    with hogs(1):
        watched = timing_of(tmp_path)["host_watch"]
    assert watched["disturbed"] is True and watched["disturbed_share"] == 1.0
    assert watched["why"]["other processes"] == watched["blocks"]
    assert watched["others_busy_cores"] > 0.2


def test_a_launch_tells_of_its_host_and_gives_its_latency_in_products(tmp_path: Path) -> None:
    timing = timing_of(tmp_path)
    watched = timing["host_watch"]
    assert watched["blocks"] >= 1 and 0 <= watched["disturbed_share"] <= 1
    speed = watched["reference_flops_per_s"]["numpy-float32"]
    assert 1e8 < speed["lowest"] <= speed["median"] <= speed["highest"]
    product_ms = 2 * 256**3 / speed["median"] * 1e3
    expected = timing["latency_p50_ms"] / product_ms
    assert timing["latency_p50_products"] == pytest.approx(expected)
    assert timing["matmul_flops_per_s"] == {}  # scikit-learn offers none


def test_a_launch_without_a_counter_says_unavailable_and_why(tmp_path: Path) -> None:
    timing = timing_of(tmp_path)
    if timing["energy_basis"].startswith("counters"):
        assert timing["energy_j_per_1000"] >= 0
    elif timing["energy_basis"] == "unavailable":
        assert timing["energy_j_per_1000"] is None
        assert "RAPL" in timing["energy_j_per_1000_reason"]
    else:
        assert timing["energy_basis"].startswith("estimated")


def test_stated_watts_give_an_estimate_for_a_thousand_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_WATTS_PER_CORE", "5")
    timing = timing_of(tmp_path)
    if timing["energy_basis"].startswith("counters"):
        pytest.skip("this host has counters, which come first")
    used = timing["energy"]
    assert timing["energy_basis"].startswith("estimated")
    assert timing["energy_j_per_1000"] == pytest.approx(used["joules"] * 1000 / used["examples"])
    assert used["joules"] <= 5 * used["seconds"] * 1.1  # one thread: no more than a core's watts


def test_the_model_is_called_once_after_every_look() -> None:
    calls: list[int] = []
    watch = BlockWatch(HostWatch(), lambda: calls.append(1))
    watch.begin()
    for _ in range(2):
        watch.end_block()
    assert len(calls) == 3
    assert watch.watch.summary()["blocks"] == 2


def test_a_launch_that_was_not_watched_says_nothing_of_its_host() -> None:
    assert BlockWatch(HostWatch()).facts("host_watch") == {}


def test_each_scenario_is_watched_by_itself(tmp_path: Path) -> None:
    """What happens between two of them is in no block, and every block in one of them."""
    facts = timing_of(
        tmp_path, scenarios=["offline", "single-stream", "server"],
        timing=TIMING | {"latency_bound_ms": 100.0, "latency_percentile": 0.9},
    )  # fmt: skip
    sweep, latency = facts["throughput_host_watch"], facts["host_watch"]
    assert len(facts["throughput"]) <= sweep["blocks"] <= 3 * len(facts["throughput"])
    assert latency["blocks"] == len(facts["latency_blocks"])
    assert facts["server_host_watch"]["blocks"] == len(facts["server_probes"])


def test_the_cold_start_does_not_hold_the_reading_of_all_test_inputs(tmp_path: Path) -> None:
    majority(tmp_path)
    texts = object_array([f"{n} " + "word " * 200 for n in range(20_000)])
    save_encoded(
        tmp_path / "inputs.npz",
        Encoded({"text": texts}, {}, np.arange(len(texts)), np.zeros(len(texts), bool)),
    )
    begin = time.monotonic_ns()
    done = launch(tmp_path, runtime="sklearn", scenarios=[], started_ns=begin)
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "out" / "timing.json").read_text())
    assert facts["preparation_seconds"] > 0.05
    whole = (time.monotonic_ns() - begin) / 1e9
    assert facts["load_seconds"] < facts["first_answer_seconds"]
    assert facts["first_answer_seconds"] < whole - facts["preparation_seconds"]


@pytest.mark.skipif(footprint().pss_mb is None, reason="no smaps_rollup here")
def test_the_memory_pass_sees_what_the_runtime_adds_to_an_idle_process(tmp_path: Path) -> None:
    facts = timing_of(tmp_path)
    memory = facts["memory"]
    assert memory["samples"] >= 1 and memory["idle_pss_mb"] == facts["idle"]["pss_mb"]
    assert memory["peak_pss_mb"] <= memory["high_water_rss_mb"] * 1.02
    assert 0 < facts["peak_memory_mb"] < memory["peak_pss_mb"]
    assert facts["peak_memory_basis"].startswith("peak proportional set")
    assert facts["device_allocated_mb"] is None


def test_a_launch_that_holds_more_than_it_may_is_ended(tmp_path: Path) -> None:
    """scikit-learn alone is larger than 20 MB."""
    majority(tmp_path)
    spec = {
        "runtime": "sklearn", "artifact": str(tmp_path / "artifact"), "exports": str(tmp_path),
        "device": "cpu", "threads": 1, "inputs": str(tmp_path / "inputs.npz"), "seed": 1,
        "timing": TIMING | {"min_samples": 10**9, "max_samples": 10**9, "max_seconds": 60},
    }  # fmt: skip
    begin = time.monotonic()
    with pytest.raises(StageFailed, match=r"timing held 0\.\d GB of memory, over its limit") as why:
        bounded(
            spec, tmp_path / "order.json", tmp_path / "out", tmp_path / "log",
            bounds=Bounds(50, 20_000_000),
        )  # fmt: skip
    assert why.value.status == "oom"
    assert time.monotonic() - begin < 20
    assert not (tmp_path / "out/timing.json").exists()


def test_a_source_without_anything_says_unavailable() -> None:
    assert Source([], None, "nothing").basis == "unavailable"


def test_doctor_tells_what_can_be_measured_and_what_disturbs() -> None:
    from harness.commands.doctor_host import lines, measuring

    hog = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        facts = measuring()
    finally:
        hog.kill()
        hog.wait()
    names = {entry["name"] for entry in facts["can"]}
    assert {"memory", "energy", "GPU", "load generator", "time given to other guests"} <= names
    assert all(entry["available"] or entry["detail"] for entry in facts["can"])
    text = "\n".join(lines(facts))
    assert "reference speed" in text and "GFLOP/s" in text
    if (os.cpu_count() or 1) <= 16 and read_counters().busy_s is not None:
        assert "other processes" in facts["now"]["why"]
    json.dumps(facts)
