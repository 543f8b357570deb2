"""The workflow and the action: valid to actionlint, and their steps work as plain shell."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.test_compare_rerun import SUITE, git, write_data

ROOT = Path(__file__).parent.parent


def action_steps() -> list[dict[str, Any]]:
    return list(yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"])


def test_actionlint_finds_nothing() -> None:
    tool = shutil.which("actionlint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if tool is None:
        pytest.skip("no actionlint here (its wheel fetches a binary from outside the registries)")
    done = subprocess.run(
        [tool, ".github/workflows/bench.yml"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_every_input_of_the_action_is_used_and_none_is_pasted_into_a_script() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    steps = action["runs"]["steps"]
    text = str([step.get("env") for step in steps]) + str([step.get("if") for step in steps])
    assert all(f"inputs.{name}" in text for name in action["inputs"])
    assert all("${{" not in step["run"] for step in steps)  # an input would run as code


def test_the_steps_of_the_action_run_as_plain_shell(tmp_path: Path) -> None:
    """A pull request that loses rows of training data for one class: quality falls, exit 3."""
    project, temp = tmp_path / "project", tmp_path / "temp"
    project.mkdir()
    temp.mkdir()
    write_data(project)
    (project / "mine.yaml").write_text(SUITE)
    git(project, "init", "-q", "-b", "main")
    git(project, "add", ".")
    git(project, "commit", "-qm", "main")
    git(project, "checkout", "-qb", "change")
    lines = (project / "train.csv").read_text().splitlines()
    (project / "train.csv").write_text(
        "\n".join([*lines[:3], *[x for x in lines if x.endswith("no")]])
    )
    git(project, "commit", "-qam", "change")
    values = {"SUITE": "mine.yaml", "TARGET": "main", "LAUNCHES": "2", "RESULTS": "results"}
    codes = []
    for step in action_steps():
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=project,
            env=os.environ | dict.fromkeys(step["env"], "") | values | {
                "RUNNER_TEMP": str(temp), "GITHUB_OUTPUT": str(temp / "output"),
                "GITHUB_STEP_SUMMARY": str(temp / "summary"),
                "HARNESS_CACHE": str(temp / "cache"),
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            },
            capture_output=True, text=True,
        )  # fmt: skip
        codes.append(done.returncode)
        last = done
    assert codes == [0, 0, 3], last.stderr
    report = temp / "harness" / "report"
    comment = (report / "comment.md").read_text()
    assert "### Regressions" in comment and "accuracy" in comment and "train data" in comment
    assert (temp / "summary").read_text() == comment
    assert (temp / "output").read_text() == f"report={report}\n"
    assert {p.name for p in report.iterdir()} == {"comment.md", "junit.xml", "report.json"}
