"""Seven models that misbehave beside two good ones: each costs itself and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from harness.execute.launches import Interpreter, launch
from harness.execute.logs import KEPT_BYTES, MAX_BYTES, StageLog
from harness.execute.process import died
from harness.process_groups import Group
from harness.records.digests import damage
from harness.records.files import read_json
from tests.chaos import sabotage_plugin
from tests.chaos.small import left_over, statuses, write_small
from tests.conftest import Answer, call_harness

BAD = ("segfault", "exits", "hungry", "hangs", "nan", "no-export", "wrong-shape")
#: longer than a good stage takes, the start of its worker included, on a busy machine
LIMITS = "limits: {fit_seconds: 15, memory_gb: 0.8}"

QUICK = "launches: 1, min_samples: 8, max_samples: 8, max_seconds: 1, batch_sizes: [4]"


def suite(models: tuple[str, ...]) -> str:
    named = "\n".join(f"  - {{id: {model}, kind: {model}}}" for model in models)
    return f"""\
suite: small
threads: 1
timing: {{launches: 0}}
{LIMITS}
models:
  - {{id: majority, kind: majority}}
  - {{id: tfidf, kind: tfidf-logreg}}
{named}
tasks:
  - id: toy
    type: text-classification
    data: {{train: {{source: "path:train.csv"}}, test: {{source: "path:test.csv"}}}}
matrix:
  - {{models: [majority], tasks: [toy], recipe: baseline}}
  - models: [{", ".join(models)}]
    tasks: [toy]
    recipe: baseline
    frameworks: [sabotage]
  - {{models: [tfidf], tasks: [toy], recipe: baseline}}
"""


def run(folder: Path, text: str, *arguments: str) -> Answer:
    write_small(folder)
    (folder / "small.yaml").write_text(text)
    return call(folder, "run", "small.yaml", *arguments)


def call(folder: Path, *arguments: str) -> Answer:
    """The command, with the plug-in installed."""
    sabotage_plugin.install(folder / "site")
    path = os.pathsep.join([str(folder / "site"), os.environ.get("PYTHONPATH", "")])
    return call_harness(*arguments, cwd=folder, cache=folder / "cache", PYTHONPATH=path)


@pytest.fixture(scope="module")
def sabotaged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    folder = tmp_path_factory.mktemp("sabotage")
    text = suite(BAD).replace(
        "  - {models: [tfidf]",
        "  - {models: [no-export], tasks: [toy], recipe: baseline, frameworks: [sabotage],"
        " runtimes: [onnxruntime]}\n  - {models: [tfidf]",
    )
    return folder, run(folder, text)


def test_the_good_ones_complete_and_the_exit_status_is_1(sabotaged: tuple[Path, Answer]) -> None:
    folder, answer = sabotaged
    assert answer.status == 1, answer.err
    assert "Traceback" not in answer.err + answer.out
    found = statuses(folder / "results", "small")
    assert {model for model, (status, _) in found.items() if status == "ok"} == {
        "majority",
        "tfidf",
    }


@pytest.mark.parametrize(
    ("model", "status", "reason"),
    [
        ("segfault", "failed", "SIGSEGV"),
        ("exits", "failed", "exit status 0"),
        ("hungry", "oom", "over its limit of 0.8 GB"),
        ("hangs", "timeout", "longer than 15 s"),
        ("nan", "diverged", "loss of epoch 1 is nan"),
        ("no-export", "failed", "Error"),
        ("wrong-shape", "failed", "logits of shape (3,)"),
    ],
)
def test_each_bad_one_says_what_befell_it(
    sabotaged: tuple[Path, Answer], model: str, status: str, reason: str
) -> None:
    found, facts = statuses(sabotaged[0] / "results", "small")[model]
    assert found == status, facts
    assert reason in facts["reason"]
    assert facts["stage"] == {"no-export": "export", "wrong-shape": "score"}.get(model, "fit")


def test_the_last_lines_of_the_log_are_in_the_record(sabotaged: tuple[Path, Answer]) -> None:
    found = statuses(sabotaged[0] / "results", "small")
    for model in ("segfault", "exits", "hungry", "hangs"):
        assert f"a last word of {model}" in "\n".join(found[model][1]["log_tail"])


def test_the_machine_is_left_clean(sabotaged: tuple[Path, Answer]) -> None:
    cache = sabotaged[0] / "cache"
    assert left_over(cache) == []
    for process in psutil.process_iter(["cmdline"]):
        assert process.info["cmdline"] != ["sleep", "600"]
    assert [p for p in (sabotaged[0] / "results").rglob(".*.*") if p.is_file()] == []


def test_what_is_wrong_with_one_model_does_not_stop_the_others(tmp_path: Path) -> None:
    """Settings without a meaning, files that are not there: not tried again, and no end of all."""
    answer = run(tmp_path, suite(("wrong-setting", "lost-file")))
    assert answer.status == 1, answer.err
    assert "trying again" not in answer.err and "Traceback" not in answer.err
    found = statuses(tmp_path / "results", "small")
    assert {model: status for model, (status, _) in found.items()} == {
        "majority": "ok", "wrong-setting": "failed", "lost-file": "failed", "tfidf": "ok",
    }  # fmt: skip
    assert found["wrong-setting"][1]["reason"] == "`l1` has no meaning here"
    assert found["lost-file"][1]["reason"] == "no such file: weights.bin"
    assert (tmp_path / "results" / "small" / "leaderboard.md").exists()


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("segfault", "ended by SIGSEGV"),
        ("exits", "ended with exit status 0"),
        ("hungry", "over its limit of 0.8 GB"),
        ("hangs", "longer than 5 s"),
        ("unexpected", "ZeroDivisionError: a header of no columns"),
    ],
)
def test_a_data_file_that_breaks_its_reader_costs_a_message(
    tmp_path: Path, word: str, reason: str
) -> None:
    write_small(tmp_path)
    text = suite(("nan",)).replace("data: {", "data: {format: sabotage, ")
    assert "fit_seconds: 15" in text
    text = text.replace("fit_seconds: 15", f"other_seconds: {5 if word == 'hangs' else 60}")
    (tmp_path / "small.yaml").write_text(text)
    (tmp_path / "test.csv").write_text(word)
    for command in ("run", "fetch"):
        answer = call(tmp_path, command, "small.yaml")
        assert answer.status == 2 and "Traceback" not in answer.err, answer.err
        (message,) = (line for line in answer.err.splitlines() if not line.startswith("["))
        assert message.startswith("harness: task 'toy': path:test.csv cannot be read: ")
        assert reason in message
    assert not [path for path in (tmp_path / "results").rglob("*") if path.is_file()]
    assert left_over(tmp_path / "cache") == []


def test_processes_of_ours_are_offered_to_the_kernel_before_the_command() -> None:
    group = Group(["sleep", "60"], environment=os.environ, log=subprocess.DEVNULL)
    try:
        assert Path(f"/proc/{group.pid}/oom_score_adj").read_text() == "500\n"
    finally:
        group.end(politely=False)


def test_a_launch_that_ends_badly_says_how(tmp_path: Path) -> None:
    text = suite(("hungry-launch", "crashing-launch")).replace("launches: 0", "launches: 1")
    only = ("--only", "hungry-launch", "--only", "crashing-launch")
    answer = run(tmp_path, text, *only)
    assert answer.status == 1, answer.err
    failed = [
        read_json(path) or {}
        for path in (tmp_path / "results").glob("small/runs/*/measurements/*/status.json")
    ]
    told = {facts["status"]: facts["reason"] for facts in failed}
    assert set(told) == {"oom", "failed"}
    assert "MemoryError: no room" in told["oom"] and "SIGSEGV" in told["failed"]


def test_what_the_system_killed_is_tried_again_and_counted(tmp_path: Path) -> None:
    begin = time.monotonic()
    answer = run(tmp_path, suite(("killed-once",)), "--only", "killed-once")
    assert answer.status == 0, answer.err
    assert "trying again in 1 s" in answer.err and time.monotonic() - begin > 1
    (fit,) = (tmp_path / "results" / "small" / "fits").iterdir()
    facts = read_json(fit / "status.json") or {}
    assert facts["status"] == "ok" and facts["tries"] == 2
    assert "killed by the system" in facts["tried"][0]


@pytest.mark.parametrize(
    ("code", "passes"),
    [(-signal.SIGKILL, True), (-signal.SIGTERM, True), (-signal.SIGSEGV, False), (1, False)],
)
def test_what_was_ended_from_outside_can_pass(code: int, passes: bool) -> None:
    """Slurm terminates all processes of a job, those that work a stage maybe first."""
    assert died("worker", "fit", code, False, []).passing is passes


def test_a_launch_that_the_system_killed_is_tried_again_and_counted(tmp_path: Path) -> None:
    text = suite(("launch-killed-once",)).replace("launches: 0", f"{QUICK}, sweep_seconds: 0.05")
    answer = run(tmp_path, text, "--only", "launch-killed-once")
    assert answer.status == 0, answer.err
    (measured,) = (tmp_path / "results").glob("small/runs/*/measurements/*")
    facts = read_json(measured / "digests.json") or {}
    assert facts["tries"] == 2 and "killed by the system" in facts["tried"][0]
    assert damage(measured, "digests.json") is None


def test_what_a_stage_prints_is_bounded(tmp_path: Path) -> None:
    """Else one that prints for ever fills the disk, which ends all."""
    text = suite(("noisy",)).replace("launches: 0", f"{QUICK}, sweep_seconds: 0.05")
    answer = run(tmp_path, text, "--only", "noisy")
    assert answer.status == 0, answer.err
    (fit_log,) = (tmp_path / "cache/logs/small").glob("*-fit.log")
    (time_log,) = (tmp_path / "cache/logs/small").glob("*-time.log")
    for log in (fit_log, time_log):
        assert log.stat().st_size <= MAX_BYTES
        text = log.read_text()
        assert "bytes were cut out here]\n" in text and text.endswith("noise\nthe last word\n")
    assert fit_log.read_text().startswith("a last word of noisy\nnoise noise")


def test_a_log_is_cut_as_often_as_it_grows_and_says_by_how_much(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("of an earlier stage\n")
    log = StageLog(path)
    with open(path, "ab", buffering=0) as writer:
        for number in range(3):
            writer.write(b"first\n" if number == 0 else b"")
            writer.write(b"x" * (MAX_BYTES + 1))
            log.cut()
        writer.write(b"last\n")
    text = path.read_text()
    total = 6 + 3 * (MAX_BYTES + 1)
    assert text.startswith("of an earlier stage\nfirst\nxx") and text.endswith("xxlast\n")
    assert f"\n[{total - 2 * KEPT_BYTES} bytes were cut out here]\n" in text
    assert text.count("cut out") == 1


@pytest.mark.all_cores  # on one, one fit runs at a time
def test_an_error_of_one_thread_ends_the_others_before_their_launches(tmp_path: Path) -> None:
    """A disk is full at a stage of one, while the other waits to be timed, alone, for minutes."""
    bounds = LIMITS.replace("{", "{time_seconds: 90, ")
    text = suite(("waiting-launch", "full-disk-later")).replace(LIMITS, bounds)
    text = text.replace("launches: 0", "launches: 2")
    only = ("--only", "waiting-launch", "--only", "full-disk-later")
    answer = run(tmp_path, text, *only, "--jobs", "2")
    assert answer.status == 2 and "No space left on device" in answer.err, answer.err
    assert answer.seconds < 60
    assert not list((tmp_path / "results").glob("small/runs/*/measurements/*/status.json"))
    assert left_over(tmp_path / "cache") == []


def test_a_launch_ends_when_its_command_does(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 600\n")
    python.chmod(0o755)
    spec = {"threads": 1}
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        launch(
            spec, tmp_path / "order.json", tmp_path / "target", tmp_path / "log",
            interpreter=Interpreter(str(python), environment={"HARNESS_CACHE": str(tmp_path)}),
            stopped=lambda: True,
        )  # fmt: skip
    assert time.monotonic() - begin < 10
    assert left_over(tmp_path) == []
