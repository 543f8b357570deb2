"""`harness bisect`, by real runs in a scratch repository."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from harness.commands.bisect import first_worse
from harness.execute.checkouts import Checkouts, pins
from tests.conftest import Answer, call_harness
from tests.test_compare_ci import PIP, pin
from tests.test_compare_rerun import SUITE, git, write_data

TWO_ROWS = (
    SUITE.replace("models:\n", "models:\n  - {id: majority, kind: majority}\n")
    + "  - {models: [majority], tasks: [toy], recipe: baseline}\n"
)

WRONG = """

def _wrong(predict):
    return lambda self, batch: -predict(self, batch)


BaselinePredictor.predict = _wrong(BaselinePredictor.predict)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    return folder


def commit(project: Path, message: str) -> str:
    (project / "note.txt").write_text(message)
    git(project, "add", ".")
    git(project, "commit", "-qm", message)
    head = ["git", "rev-parse", "HEAD"]
    return subprocess.check_output(head, cwd=project, text=True).strip()


def call(project: Path, *arguments: str, **environment: str) -> Answer:
    return call_harness(*arguments, cwd=project, cache=project.parent / "cache", **environment)


def worktrees(project: Path) -> int:
    listed = subprocess.check_output(["git", "worktree", "list"], cwd=project, text=True)
    return len(listed.splitlines())


def test_the_commit_that_moved_a_row_is_found_by_running_only_that_row(project: Path) -> None:
    write_data(project)
    (project / "mine.yaml").write_text(TWO_ROWS)
    commit(project, "main")
    commits = []
    for i in range(4):
        if i == 2:  # one class all but vanishes from the training data
            lines = (project / "train.csv").read_text().splitlines()
            kept = [line for line in lines[1:] if line.endswith("no")]
            (project / "train.csv").write_text("\n".join([*lines[:3], *kept]))
        commits.append(commit(project, f"change {i}"))
    planned = json.loads(call(project, "plan", "mine.yaml", "--json").out)
    (row_id,) = (run["row_id"] for run in planned if run["model"] == "tfidf")
    answer = call(project, "bisect", "HEAD~4", "HEAD", "mine.yaml", "--only", row_id[:8], "--json")
    assert answer.status == 0, answer.err
    found = json.loads(answer.out)
    assert found["commit"] == commits[2] and "change 2" in found["subject"]
    assert found["rows"] == {row_id: "tfidf baseline on toy in sklearn"}
    # one before the loss and one after it: the other row's are not there
    assert len(list((project.parent / "cache" / "fits").iterdir())) == 2
    assert worktrees(project) == 1


@pytest.mark.parametrize(
    ("told", "found", "asked"),
    [
        ("..W.", "2", "12"),  # . good, W worse, ? cannot be told; the last is known to be worse
        ("..?W", "23", "12"),
        ("?.W.", "2", "12"),
        ("???W", "0123", "102"),
        ("?W?W", "01", "10"),
        (".???.?W", "56", ""),
        ("W", "0", ""),
    ],
)
def test_what_cannot_be_told_is_passed_over(told: str, found: str, asked: str) -> None:
    tried = []

    def judge(commit: str) -> bool | None:
        tried.append(commit)
        return {".": False, "W": True, "?": None}[told[int(commit)]]

    commits = [str(i) for i in range(len(told))]
    assert "".join(first_worse(commits, judge)) == found
    assert len(tried) == len(set(tried)) and commits[-1] not in tried
    assert not asked or "".join(tried) == asked


def test_a_commit_at_which_the_suite_does_not_run_is_skipped(project: Path) -> None:
    write_data(project)
    (project / "mine.yaml").write_text(SUITE)
    commit(project, "main")
    good = commit(project, "harmless")
    (project / "mine.yaml").write_text("suite: [broken\n")
    broken = commit(project, "broken")
    (project / "mine.yaml").write_text(SUITE)
    lines = (project / "train.csv").read_text().splitlines()
    kept = [line for line in lines[1:] if line.endswith("no")]
    (project / "train.csv").write_text("\n".join([*lines[:3], *kept]))
    worse = commit(project, "repaired, but worse")
    answer = call(project, "bisect", "HEAD~3", "HEAD", "mine.yaml", "--json")
    assert answer.status == 1, answer.err
    told = json.loads(answer.out)
    assert told["candidates"] == [broken, worse] and told["commit"] is None
    assert list(told["skipped"]) == [broken] and good in told["tried"]
    answer = call(project, "bisect", "HEAD~3", "HEAD", "mine.yaml")
    assert "is one of these" in answer.out and worse[:7] in answer.out
    assert f"skipped: at {broken[:10]}" in answer.err


def test_an_upgrade_is_found_where_each_commit_runs_on_what_it_pins(project: Path) -> None:
    write_data(project)
    (project / "mine.yaml").write_text(SUITE)
    pin(project, "9.8")
    commit(project, "main")
    commits = [commit(project, "harmless")]
    pin(project, "9.9", WRONG)
    commits += [commit(project, "upgrade"), commit(project, "harmless, too")]
    answer = call(
        project, "bisect", "HEAD~3", "HEAD", "mine.yaml", "--only", "tfidf", "--install", PIP,
        PYTHONPATH="",  # only what was installed
    )  # fmt: skip
    assert answer.status == 0, answer.err
    assert commits[1][:7] in answer.out and "scikit-learn 9.8 to 9.9" in answer.out
    assert answer.err.count("pip install") == 2  # and not at each of the four commits


def test_what_cannot_be_installed_is_told_and_nothing_is_left(project: Path) -> None:
    commit(project, "one")
    commit(project, "two")
    answer = call(project, "bisect", "HEAD~1", "HEAD", "smoke", "--install", "-r absent.txt")
    assert answer.status == 2 and "pip does not install" in answer.err
    assert "absent.txt" in answer.err and worktrees(project) == 1
    answer = call(project, "bisect", "HEAD~1", "HEAD", "smoke", "--install", "'torch")
    assert answer.status == 2 and "No closing quotation" in answer.err


@pytest.mark.parametrize(
    ("install", "changed", "same"),
    [
        ("-r requirements.txt", "requirements.txt", False),
        ("-r requirements.txt", "code.py", True),
        ("--requirement=requirements.txt", "pins/base.txt", False),  # which the first one names
        (".[cpu]", "code.py", False),
        ("numpy", "requirements.txt", True),
    ],
)
def test_commits_share_an_environment_while_what_pip_reads_stays(
    project: Path, monkeypatch: pytest.MonkeyPatch, install: str, changed: str, same: bool
) -> None:
    (project / "pins").mkdir()
    (project / "pins" / "base.txt").write_text("numpy==2\n")
    (project / "requirements.txt").write_text("-r pins/base.txt\n")
    (project / "code.py").write_text("")
    first = commit(project, "first")
    with (project / changed).open("a") as file:
        file.write("# changed\n")
    second = commit(project, "second")
    monkeypatch.chdir(project)
    with Checkouts(project.parent, (), print) as checkouts:
        a, b = (pins(checkouts.of(c).tree, install.split()) for c in (first, second))
    assert (a == b) == same
