"""submitit's own Slurm code against a stand-in for Slurm's four commands, with real jobs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.commands.context import this_machine
from harness.execute.base import Assignment
from harness.execute.slurm import _ended, _outside_of_a_job, demand
from harness.plan import Options, make_plan
from harness.records.files import read_json
from harness.suite import Limits, load_suite
from tests import stand_in_slurm
from tests.chaos.small import damaged, left_over, start, truth, write_small
from tests.conftest import Harness

LIMITS = (
    "limits: {fit_seconds: 600, score_seconds: 300, time_seconds: 120, other_seconds: 60, "
    "memory_gb: 1}\n"
)


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """An environment with a Slurm, in which `small.yaml` can be run."""
    pytest.importorskip("submitit")
    write_small(tmp_path)
    suite = tmp_path / "small.yaml"
    text = suite.read_text().replace("seeds: [1, 2]", "seeds: [1]")
    suite.write_text(text.replace("threads: 1\n", f"threads: 1\n{LIMITS}"))
    cache = {"HARNESS_CACHE": str(tmp_path / "cache")}
    return os.environ | stand_in_slurm.install(tmp_path / "slurm") | cache


def wait_for(command: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    """Until it is so, while the command goes on."""
    deadline = time.monotonic() + 120
    while not condition():
        assert command.poll() is None, command.communicate()[0]
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def statuses(folder: Path) -> dict[str, str]:
    """Of the fits of `small.yaml`, by model and seed; ``none`` where there is no record."""
    found = {}
    plan = make_plan(load_suite(str(folder / "small.yaml")), Options(), {}, this_machine())
    for fit in plan.fits:
        record = folder / "results/small/fits" / fit.fit_id / "status.json"
        found[fit.model.id] = str((read_json(record) or {"status": "none"})["status"])
    return found


def test_equal_fits_are_one_array_and_leave_the_records_of_the_local_executor(
    tmp_path: Path, slurm: dict[str, str]
) -> None:
    local = start(tmp_path, slurm | {"HARNESS_CACHE": str(tmp_path / "own")}, "--results", "local")
    out, _ = local.communicate(timeout=120)
    assert local.returncode == 0, out
    (tmp_path / "random.py").write_text("raise SystemExit('a module of the working folder')")
    process = start(tmp_path, slurm, "--executor", "slurm")
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0, out
    assert "2 runs made, 0 were there already, 0 failed" in out

    (asked,) = stand_in_slurm.submissions(tmp_path / "slurm")
    assert asked["array"] == "0-1%2" and asked["job-name"] == "harness-small"
    assert asked["cpus-per-task"] == "1" and "gpus-per-node" not in asked
    assert asked["mem"] == "2862M"  # 1 GB of the suite and 2 beside it, in units of 2 ** 20
    assert asked["time"] == "47"  # 1800 s to spare, 600 + 2 * 60 to fit, 300 to score
    script = (tmp_path / "slurm/jobs/1.sh").read_text()
    assert "srun" in script and "--cpus-per-task=1 " in script
    assert stand_in_slurm.states(tmp_path / "slurm") == {"1_0": "COMPLETED", "1_1": "COMPLETED"}

    assert truth(tmp_path / "results") == truth(tmp_path / "local")
    assert damaged(tmp_path / "results") == []
    assert not list((tmp_path / "cache").rglob("*.pkl"))

    again = start(tmp_path, slurm, "--executor", "slurm")
    out, _ = again.communicate(timeout=120)
    assert again.returncode == 0 and "0 runs made, 2 were there already" in out
    assert len(stand_in_slurm.submissions(tmp_path / "slurm")) == 1


@pytest.mark.slow
def test_a_lost_job_gets_its_reason_or_another_try(tmp_path: Path, slurm: dict[str, str]) -> None:
    suite = tmp_path / "small.yaml"
    extra = "".join(f"  - {{id: tfidf{i}, kind: tfidf-logreg}}\n" for i in (2, 3))
    text = suite.read_text().replace("tasks:\n  -", f"{extra}tasks:\n  -", 1)
    for i in (2, 3):  # another setting each: the same fit under two names would be done once
        text += (
            f"  - {{models: [tfidf{i}], tasks: [toy], recipe: baseline, settings: {{C: {i}}}}}\n"
        )
    suite.write_text(text.replace("launches: 0", "launches: 1"))
    jobs = tmp_path / "slurm"
    process = start(tmp_path, slurm, "--executor", "slurm")
    ends = ("TIMEOUT", "OUT_OF_MEMORY", "PREEMPTED", "NODE_FAIL")
    for number, state in enumerate(ends):
        task = f"1_{number}"
        wait_for(process, lambda task=task: stand_in_slurm.states(jobs).get(task) == "RUNNING")
        stand_in_slurm.end(jobs, task, state)
    wait_for(process, lambda: len(stand_in_slurm.submissions(jobs)) >= 2)  # submitted again
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 1, out
    assert "2 runs made" in out and "2 failed" in out
    assert statuses(tmp_path) == {
        "majority": "timeout", "tfidf": "oom", "tfidf2": "ok", "tfidf3": "ok",
    }  # fmt: skip
    assert "timeout: majority baseline on toy, seed 1: its job 1_0 left no answer (TIMEOUT)" in out
    assert "its job 1_2 left no answer (PREEMPTED)" in out and "submitted again" in out
    assert damaged(tmp_path / "results") == []

    # its own end, by whatever: told, and not held against the model
    process = start(tmp_path, slurm, "--executor", "slurm", "--retry", "--only", "majority")
    last = stand_in_slurm.submissions(jobs)
    wait_for(process, lambda: len(stand_in_slurm.submissions(jobs)) > len(last))
    task = str(len(last) + 1)
    wait_for(process, lambda: stand_in_slurm.states(jobs).get(task) == "RUNNING")
    stand_in_slurm.end(jobs, task, "FAILED")
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 1 and f"its job {task} left no answer (FAILED)" in out
    assert statuses(tmp_path)["majority"] == "timeout"

    process = start(tmp_path, slurm, "--executor", "slurm", "--retry")
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0, out
    assert set(statuses(tmp_path).values()) == {"ok"}
    assert len(list((tmp_path / "results").glob("small/runs/*/measurements/*/timing.json"))) == 4


def test_ctrl_c_cancels_what_is_queued_and_what_runs(tmp_path: Path, slurm: dict[str, str]) -> None:
    jobs = tmp_path / "slurm"
    process = start(tmp_path, slurm, "--executor", "slurm")
    wait_for(process, lambda: stand_in_slurm.states(jobs).get("1_0") == "RUNNING")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert {state.split()[0] for state in stand_in_slurm.states(jobs).values()} == {"CANCELLED"}
    assert left_over(tmp_path / "cache") == []
    assert set(statuses(tmp_path).values()) == {"none"}


def test_a_suspended_job_has_not_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gang scheduling and preemption by suspension stop a job for others', and let it go on."""
    slurm = pytest.importorskip("submitit.slurm.slurm")
    for name, value in stand_in_slurm.install(tmp_path / "slurm").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(slurm.SlurmJob, "watcher", slurm.SlurmInfoWatcher())
    state = tmp_path / "slurm/jobs/1.state"
    state.write_text("SUSPENDED")
    job = slurm.SlurmJob(tmp_path, "1")
    for expected in (False, True):
        job.watcher._last_status_check = float("-inf")  # as if its 2, 4, 8 ... seconds were over
        assert _ended(job) is expected
        state.write_text("COMPLETED")


def test_a_command_that_runs_in_a_job_submits_as_from_outside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = {"SLURM_JOB_ID": "7", "SLURM_MEM_PER_CPU": "2048", "SRUN_CPUS_PER_TASK": "2"}
    kept = {"SLURM_CONF": "/etc/slurm.conf", "SBATCH_PARTITION": "gpu"}
    for name, value in (own | kept).items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    with pytest.raises(RuntimeError), _outside_of_a_job():
        assert not own.keys() & os.environ.keys() and kept.items() <= os.environ.items()
        raise RuntimeError("what sbatch said")
    assert dict(os.environ) == before


def test_a_job_asks_for_all_that_its_stages_may_take(tmp_path: Path) -> None:
    write_small(tmp_path)
    plan = make_plan(load_suite(str(tmp_path / "small.yaml")), Options(), {}, this_machine())
    assignment = Assignment.of(plan, plan.fits[0])
    fit = assignment.fit
    # by default a fit may take 4 hours, two stages before and after it and a score an hour each
    assert demand(assignment) == (1, 0, "", 30 + 240 + 120 + 60)
    (run,) = fit.runs
    timed = replace(run, timed=True, launches=4)  # 15 minutes each
    exported = replace(run, row=run.row | {"runtime": "onnxruntime"})  # an hour to export
    on_gpu = replace(fit, runs=[timed, exported], spec=fit.spec | {"device": "cuda", "threads": 8})
    limits = Limits(memory_gb=16)
    assert demand(replace(assignment, fit=on_gpu, limits=limits)) == (
        8, 1, "17167M", 450 + 60 + 120,
    )  # fmt: skip


def test_without_a_slurm_or_with_options_for_others_nothing_begins(
    tmp_path: Path, harness: Harness, slurm: dict[str, str]
) -> None:
    for arguments, told in (
        (["--executor", "slurm", "--jobs", "2"], "--jobs bounds this machine"),
        (["--executor", "slurm", "--devices", "cpu"], "--devices bounds this machine"),
        (["--executor", "slurm", "--store", "file:///x"], "--store is for nodes with caches"),
        (["--executor", "slurm"], "--executor slurm: there is no sbatch here"),
        (["--store", "file:///x"], "--store shares what fits made between the nodes of a cluster"),
        (["--address", "head:6379"], "--address names a cluster"),
    ):
        answer = harness("run", "small.yaml", *arguments)
        assert answer.status == 2 and told in answer.err and "Traceback" not in answer.err
    assert not (tmp_path / "results/small/fits").exists()


def test_what_sbatch_refuses_is_told(tmp_path: Path, slurm: dict[str, str]) -> None:
    sbatch = tmp_path / "slurm/bin/sbatch"
    sbatch.write_text("#!/bin/sh\necho 'sbatch: error: invalid partition' >&2\nexit 1\n")
    process = start(tmp_path, slurm, "--executor", "slurm")
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 2 and "invalid partition" in out and "SBATCH_PARTITION" in out
    assert "Traceback" not in out
