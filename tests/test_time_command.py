"""`harness time` as a newcomer meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.execute.launches import is_current
from harness.measure.launch import TIMING_VERSION
from harness.records.files import read_json, write_json
from harness.records.locks import locked
from tests.conftest import MAJORITY_SUITE, Harness
from tests.test_measure_launch import majority

pytestmark = pytest.mark.alone


def test_the_harness_itself_is_timed_without_any_artifact(harness: Harness):
    done = harness("time", "noop", "--launches", "1", "--threads", "1", "--json")
    assert done.status == 0, done.err
    answer = json.loads(done.out)
    (launch,) = answer["launches"]
    assert launch["verdict"] == "VALID"
    assert answer["over_launches"]["latency_p50_ms"]["centre"] < 0.1
    assert answer["over_launches"]["latency_p50_ms"]["low"] is None  # one launch has no interval


def test_an_artifact_folder_is_timed_and_what_is_missing_is_said(harness: Harness, tmp_path):
    majority(tmp_path)
    done = harness(
        "time", tmp_path, "--launches", "1", "--threads", "1", "--scenario", "single-stream",
        "--inputs", tmp_path / "inputs.npz",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert "majority" not in done.err
    assert "in sklearn on cpu, 1 threads" in done.out
    assert "VALID" in done.out
    assert "one launch has no interval" in done.out


def test_wrong_requests_are_one_line_and_status_2(harness: Harness, tmp_path):
    for arguments, text in (
        (("nop",), "no record in results begins with 'nop'"),
        (("/no/such/folder",), "no artifact (a folder with harness.json)"),
        (("noop", "--runtime", "onxruntime"), "unknown runtime 'onxruntime'; did you mean"),
        (("noop", "--record"), "--record keeps launches of a run"),
        (("noop", "--inputs", "missing.npz", "--runtime", "onnxruntime"), "is not there"),
    ):
        done = harness("time", *arguments)
        assert done.status == 2
        assert text in done.err
        assert len(done.err.strip().splitlines()) == 1


@pytest.mark.parametrize("bound", ["-5", "0", "nan", "inf", "fast"])
def test_a_latency_bound_is_a_number_above_zero(harness: Harness, bound: str) -> None:
    done = harness("time", "noop", f"--latency-bound-ms={bound}")
    assert done.status == 2
    assert done.err.splitlines()[-1].endswith("argument --latency-bound-ms: a number above zero")


TIMING = "timing: {max_samples: 70, max_seconds: 1, batch_sizes: [3], sweep_seconds: 0.05}\n"


@pytest.fixture
def recorded(harness: Harness, tmp_path: Path) -> tuple[Path, str]:
    """The record of one finished run of a baseline, and its id."""
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text("text,label\n" + "a,x\nb,y\nc,x\n" * 20)
    (tmp_path / "mine.yaml").write_text(MAJORITY_SUITE + TIMING)
    done = harness("run", "mine.yaml")
    assert done.status == 0, done.err
    (run,) = (tmp_path / "results" / "mine" / "runs").iterdir()
    return run, run.name


def test_recorded_launches_stand_beside_the_runs_own(
    harness: Harness, tmp_path: Path, recorded: tuple[Path, str]
) -> None:
    """Timed as the suite says, sealed, and launches of the row like the others."""
    run, name = recorded
    done = harness("time", name, "--record", "--launches", "2")
    assert done.status == 0, done.err
    folders = sorted((run / "measurements").iterdir())
    assert len(folders) == 3
    timings = [read_json(folder / "timing.json") for folder in folders]
    for timing in timings:
        assert timing is not None and timing["samples"] <= 70 + 12
        assert [point["batch_size"] for point in timing["throughput"]] == [3]
    assert timings[0].keys() == timings[1].keys() == timings[2].keys()
    checked = harness("verify")
    assert checked.status == 0 and "0 damaged, 0 without a digest" in checked.out
    assert all((folder / "digests.json").is_file() for folder in folders)
    assert harness("board", "mine").status == 0
    (row,) = json.loads((tmp_path / "results" / "mine" / "leaderboard.json").read_text())
    assert row["launches"] == 3 and row["latency_p50_ms"] is not None
    again = harness("run", "mine.yaml")
    assert again.status == 0 and len(list((run / "measurements").iterdir())) == 3


def test_a_run_that_another_process_works_on_is_not_recorded(
    harness: Harness, recorded: tuple[Path, str]
) -> None:
    """Both would give their measurement the same number, and one would be lost."""
    run, name = recorded
    fit_id = (read_json(run / "spec.json") or {})["fit_id"]
    with locked(run.parent.parent / ".locks" / f"{fit_id}.lock"):
        done = harness("time", name, "--record")
    assert done.status == 2 and f"another process works on run {name}" in done.err
    assert len(list((run / "measurements").iterdir())) == 1


def test_what_could_not_stand_beside_the_runs_own_launches_is_not_recorded(
    harness: Harness, tmp_path: Path, recorded: tuple[Path, str]
) -> None:
    run, name = recorded
    for arguments, text in (
        (("--scenario", "server"), "add --scenario single-stream --scenario offline"),
        (("--inputs", "test.csv"), "make it another measurement"),
        (("--threads", "1"), "make it another measurement"),
    ):
        done = harness("time", name, "--record", *arguments)
        assert done.status == 2 and text in done.err
        assert len(done.err.strip().splitlines()) == 1
    plan = tmp_path / "results" / "mine" / "plan.json"
    facts = read_json(plan) or {}
    write_json(plan, {key: value for key, value in facts.items() if key != "timing"})
    done = harness("time", name, "--record")
    assert done.status == 2 and "does not tell how its suite is timed" in done.err
    assert len(list((run / "measurements").iterdir())) == 1


def test_a_launch_of_the_server_alone_is_none_of_the_suites(tmp_path: Path) -> None:
    write_json(
        tmp_path / "timing.json", {"timing_version": TIMING_VERSION, "scenarios": ["server"]}
    )
    assert not is_current(tmp_path)
    write_json(
        tmp_path / "timing.json",
        {"timing_version": TIMING_VERSION, "scenarios": ["single-stream", "offline", "server"]},
    )
    assert is_current(tmp_path)
