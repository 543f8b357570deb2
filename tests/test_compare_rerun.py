"""The pull-request scenario, end to end, in a scratch git repository, by real runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.execute.devices import Devices
from tests.conftest import Answer, call_harness

SUITE = """\
suite: mine
models:
  - {id: tfidf, kind: tfidf-logreg}
tasks:
  - id: toy
    type: text-classification
    data:
      train: {source: "path:train.csv"}
      test: {source: "path:test.csv"}
timing: {min_samples: 64, max_samples: 64, max_seconds: 1, batch_sizes: [8], sweep_seconds: 0.1}
matrix:
  - {models: [tfidf], tasks: [toy], recipe: baseline, settings: {ngrams: [1, 1]}}
"""


def write_data(folder: Path) -> None:
    words = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "bdfgklmnprst"]
    for split, count in (("train", 120), ("test", 60)):
        lines = ["text,label"]
        for i in range(count):
            text = " ".join(words[(i * 37 + j * j * (1 + i % 2)) % len(words)] for j in range(400))
            lines.append(f"{text} {'good' if i % 2 else 'bad'},{'yes' if i % 2 else 'no'}")
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project"))


def make_project(folder: Path) -> Path:
    """A user's repository with records of its main branch, committed."""
    folder.mkdir(exist_ok=True)
    write_data(folder)
    (folder / "mine.yaml").write_text(SUITE)
    git(folder, "init", "-q", "-b", "main")
    assert call(folder, "run", "mine.yaml").status == 0
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "main")
    return folder


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def call(folder: Path, *arguments: str | Path) -> Answer:
    return call_harness(*arguments, cwd=folder, cache=folder.parent / "cache")


@pytest.mark.slow  # of each pull request tests/test_compare_ci.py has an upgrade that slows
@pytest.mark.alone
def test_a_change_that_slows_is_called_in_the_comment(project: Path) -> None:
    git(project, "checkout", "-qb", "slow")
    (project / "mine.yaml").write_text(SUITE.replace("[1, 1]", "[1, 6]"))
    assert call(project, "run", "mine.yaml", "--results", "head").status == 0
    answer = call(
        project, "compare", "main", "head", "--rerun", "--launches", "4", "--markdown", "c.md"
    )
    assert answer.status == 3, answer.err + answer.out
    comment = (project / "c.md").read_text()
    assert "### Regressions" in comment and "latency p50" in comment
    assert "4 pairs" not in comment  # figures, not machinery
    assert "ngrams" in comment  # the likely cause
    git(project, "checkout", "-q", "main")
    shutil.rmtree(project / "head")


def test_a_harmless_change_is_not_called(project: Path) -> None:
    text = SUITE.replace("suite: mine", "suite: mine\ndescription: another text")
    (project / "mine.yaml").write_text(text)
    assert call(project, "run", "mine.yaml", "--results", "same").status == 0
    answer = call(
        project, "compare", "main", "same", "--rerun", "--launches", "2", "--keep", "kept", "--json"
    )
    assert answer.status == 0, answer.out
    found = json.loads(answer.out)
    assert {f["verdict"] for f in found["findings"] if f["kind"] == "fact"} == {"same"}
    pairings = [json.loads(p.read_text()) for p in project.glob("kept/*/*/runs/*/*/*/pairing.json")]
    assert len(pairings) >= 4 and len({p["session"] for p in pairings}) == 1


def test_a_missing_artifact_is_one_clear_message(project: Path) -> None:
    answer = call_harness(
        "compare", "main", "main", "--rerun", cwd=project, cache=project / "empty-cache"
    )
    assert answer.status == 2 and "not in the cache" in answer.err and "harness run" in answer.err


def test_a_launch_that_crashes_is_a_finding_and_not_the_end(project: Path) -> None:
    library = project.parent / "upgraded" / "sklearn" / "__init__.py"
    library.parent.mkdir(parents=True)
    library.write_text("raise ImportError('built for another processor')\n")
    for side, status, verdict in (("head", 3, "regression"), ("base", 0, "not compared")):
        answer = call(
            project, "compare", "main", "main", "--rerun", "--launches", "1",
            f"--{side}-tree", library.parent.parent, "--json",
        )  # fmt: skip
        assert answer.status == status, answer.err
        (found,) = (f for f in json.loads(answer.out)["findings"] if f["metric"] == "launches")
        assert found["verdict"] == verdict
        assert f"{side.upper()}: failed" in found["reason"]
        assert "built for another processor" in found["reason"]


def test_records_in_a_folder_of_another_name_are_timed_too(project: Path) -> None:
    renamed = project.parent / "renamed" / "mine-of-may"
    shutil.copytree(project / "results" / "mine", renamed)
    answer = call(
        project, "compare", renamed.parent, renamed, "--rerun", "--launches", "1", "--json"
    )
    found = {f["metric"]: f for f in json.loads(answer.out)["findings"]}
    assert "one launch a side" in found["latency_p50_ms"]["reason"], answer.err


def test_fewer_threads_of_one_side_are_named(project: Path) -> None:
    answer = call(
        project, "compare", "main", "main", "--rerun", "--launches", "1", "--json",
        "--base-env", "OMP_NUM_THREADS=2", "--head-env", "OMP_NUM_THREADS=1",
    )  # fmt: skip
    assert json.loads(answer.out)["differences"][0] == "threads 2 to 1", answer.err


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--head-env", "OMP_NUM_THREADS=many", "number of threads"),
        ("--base-env", "OMP_NUM_THREADS", "NAME=VALUE"),
        ("--base-python", "no-such-python", "no program"),
        ("--head-tree", "no-such-folder", "no such folder"),
    ],
)
def test_what_no_launch_could_be_made_of_is_refused(
    project: Path, option: str, value: str, said: str
) -> None:
    answer = call(project, "compare", "main", "main", "--rerun", option, value)
    assert answer.status == 2 and said in answer.err and "Traceback" not in answer.err


def test_power_is_printed_with_alarms_and_inconclusive(project: Path) -> None:
    answer = call(project, "compare", "main", "--power", "--repeats", "30")
    assert answer.status == 0, answer.err
    assert "regression  inconclusive" in answer.out and "10 % slower" in answer.out
    assert "3 points lost" in answer.out
    assert "assumed: 3 launches tell too little" in answer.out
    assert "comparisons made at once" in answer.out


def test_rerun_begins_when_stages_of_ours_have_ended(project: Path) -> None:
    """Its launches are under the same guard as those of `harness run`."""
    kept, cache = project / "guarded", project.parent / "cache"
    command = [sys.executable, "-m", "harness.cli", "compare", "main", "results", "--rerun"]
    with Devices.of(cache).working("cpu"):
        process = subprocess.Popen(
            [*command, "--launches", "1", "--keep", str(kept)], cwd=project,
            env=os.environ | {"HARNESS_CACHE": str(cache)}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert process.stdout is not None
        said = next((line for line in process.stdout if "first 1/1" in line), "")
        assert said, "it did not come to its first launch"
        time.sleep(3)
        assert not list(kept.rglob("launch.log")) and process.poll() is None
    out, _ = process.communicate(timeout=120)
    assert process.returncode in (0, 3), out
    assert len(list(kept.rglob("timing.json"))) >= 2
