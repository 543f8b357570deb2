"""The workflow and the action: valid to actionlint, and their steps work as plain shell."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.boards.board import render
from harness.compare.render_markdown import MARKER
from tests.records import write_results
from tests.test_compare_rerun import SUITE, git, write_data

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent


def action_steps() -> list[dict[str, Any]]:
    return list(yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"])


def workflow_step(job: str, name: str) -> str:
    workflow = yaml.safe_load((ROOT / ".github/workflows/bench.yml").read_text())
    (script,) = (s["run"] for s in workflow["jobs"][job]["steps"] if s.get("name") == name)
    return str(script)


def shell(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A step as the runner runs it."""
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder, env=os.environ | environment, capture_output=True, text=True,
    )  # fmt: skip


def test_actionlint_finds_nothing() -> None:
    tool = shutil.which("actionlint", path=f"{BIN}:{os.environ['PATH']}")
    if tool is None:
        # no wheel carries it; `make lint` checks workflow and action against their schemas
        pytest.skip("no actionlint here: install it from your system's packages")
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


# -- the action, in a user's repository ---------------------------------------------------------


@dataclass(frozen=True)
class PullRequest:
    """A user's repository with a branch ``main`` and a change on top of it."""

    project: Path
    temp: Path

    def change(self, message: str = "change") -> None:
        git(self.project, "add", ".")
        git(self.project, "commit", "-qm", message)

    def check(self, path: Path = BIN, **inputs: str) -> list[int]:
        """Run the action's steps in order up to one that fails; their exit statuses."""
        self.temp.mkdir(exist_ok=True)
        values = {
            "SUITE": "mine.yaml", "TARGET": "main", "LAUNCHES": "2", "RESULTS": "results",
            "RUNNER_TEMP": str(self.temp), "GITHUB_OUTPUT": str(self.temp / "output"),
            "GITHUB_STEP_SUMMARY": str(self.temp / "summary"),
            "HARNESS_CACHE": str(self.temp / "cache"),
            "PATH": f"{path}:{os.environ['PATH']}",
        } | inputs  # fmt: skip
        codes = []
        for step in action_steps():
            if "if" in step and inputs.get("BASELINE"):
                continue
            done = shell(step["run"], self.project, **dict.fromkeys(step["env"], "") | values)
            codes.append(done.returncode)
            (self.temp / "log").write_text(done.stdout + done.stderr)
            if done.returncode:
                break
        return codes

    @property
    def log(self) -> str:
        return (self.temp / "log").read_text()

    @property
    def comment(self) -> str:
        return (self.temp / "harness" / "report" / "comment.md").read_text()


@pytest.fixture
def request_(tmp_path: Path) -> PullRequest:
    project = tmp_path / "project"
    project.mkdir()
    write_data(project)
    (project / "mine.yaml").write_text(SUITE)
    git(project, "init", "-q", "-b", "main")
    return PullRequest(project, tmp_path / "temp")


def test_a_change_that_loses_quality_is_told(request_: PullRequest) -> None:
    """Training data of one class is lost; against the merge base, and against a baseline."""
    project = request_.project
    request_.change("main")
    git(project, "checkout", "-qb", "change")
    lines = (project / "train.csv").read_text().splitlines()
    kept = [*lines[:3], *[x for x in lines if x.endswith("no")]]
    (project / "train.csv").write_text("\n".join(kept))
    request_.change()
    assert request_.check() == [0, 0, 0, 3], request_.log
    report = request_.temp / "harness" / "report"
    assert "### Regressions" in request_.comment and "accuracy" in request_.comment
    assert "train data" in request_.comment
    assert (request_.temp / "summary").read_text() == request_.comment
    assert (request_.temp / "output").read_text() == f"report={report}\n"
    assert {p.name for p in report.iterdir()} == {"comment.md", "junit.xml", "report.json"}
    # against a baseline that is kept in git: no other run, no environment
    saved = shell(
        f"harness baseline save v1 --from '{request_.temp}/harness/base'", project,
        PATH=f"{BIN}:{os.environ['PATH']}",
    )  # fmt: skip
    assert saved.returncode == 0, saved.stderr
    assert request_.check(BASELINE="v1") == [0, 3], request_.log
    assert "`baseline v1`" in request_.comment


#: every fit of it fails
BROKEN = SUITE + "limits: {fit_seconds: 0.001}\n"


@pytest.mark.parametrize(("base", "codes"), [(SUITE, [0, 0, 0, 3]), (BROKEN, [0, 0, 0, 0])])
def test_a_row_that_fails_is_a_regression_unless_it_failed_before(
    request_: PullRequest, base: str, codes: list[int]
) -> None:
    (request_.project / "mine.yaml").write_text(base)
    request_.change("main")
    git(request_.project, "checkout", "-qb", "change")
    (request_.project / "mine.yaml").write_text(BROKEN)
    (request_.project / "note.txt").write_text("another change")
    request_.change()
    assert request_.check() == codes, request_.log
    assert ("### Regressions" in request_.comment) == (codes[-1] == 3)
    assert "status" in request_.comment


def test_a_suite_that_is_new_has_nothing_to_compare_with(request_: PullRequest) -> None:
    suite = request_.project / "mine.yaml"
    text = suite.read_text()
    suite.unlink()
    request_.change("main")
    git(request_.project, "checkout", "-qb", "change")
    suite.write_text(text)
    request_.change()
    assert request_.check() == [0, 0, 0, 0], request_.log
    assert "is new" in request_.log


# -- with an environment a side -----------------------------------------------------------------


def wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> None:
    """A wheel made by hand; ``files``: path to content, beside the metadata."""
    folder.mkdir(parents=True, exist_ok=True)
    about = f"{name}-{version}.dist-info"
    files = files | {
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{about}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{about}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)


SLOWED = """

def _slowed(predict):
    import time

    def answer(self, batch):
        time.sleep(0.02)
        return predict(self, batch)

    return answer


BaselinePredictor.predict = _slowed(BaselinePredictor.predict)
"""


def pin(project: Path, version: str, fault: str = "") -> None:
    """The project's requirements: the harness with a fault in how it predicts, and scikit-learn.

    Both stand on the libraries of this environment; nothing is downloaded.
    """
    wheels = project / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    points = "[console_scripts]\n" + "\n".join(f"{k} = {v}" for k, v in scripts.items())
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    folders = {"harness": "harness"} | build["targets"]["wheel"].get("force-include", {})
    code = {
        str(place / path.relative_to(ROOT / source)): path.read_text()
        for source, place in ((source, Path(target)) for source, target in folders.items())
        for path in (ROOT / source).rglob("*")
        if path.suffix in (".py", ".yaml", ".j2", ".html", ".css", ".js", ".json", ".svg", ".txt")
    }
    code["harness/backends/sklearn/runtime.py"] += fault
    here = "\n".join(path for path in sys.path if path.endswith("site-packages"))
    code |= {
        "zz_installed_here.pth": here,
        f"pinned_harness-{version}.dist-info/entry_points.txt": points,
    }
    wheel(wheels, "pinned_harness", version, code)
    wheel(wheels, "scikit_learn", version, {})
    pins = f"pinned-harness=={version}\nscikit-learn=={version}\n"
    (project / "requirements.txt").write_text(pins)


PIP = "--quiet --no-index --no-deps --find-links wheels --requirement requirements.txt"


def job_environment(request_: PullRequest) -> Path:
    """What a job does before the action: an environment with what the change asks for."""
    python = request_.project.parent / "job"
    done = shell(
        f"'{sys.executable}' -m venv '{python}' && '{python}/bin/python' -m pip install {PIP}",
        request_.project,
    )
    assert done.returncode == 0, done.stderr
    return python / "bin"


def test_an_upgrade_that_slows_is_called_and_named_and_a_harmless_change_is_not(
    request_: PullRequest,
) -> None:
    """Each side runs on what its own requirements.txt installs."""
    pin(request_.project, "9.8")
    request_.change("main")
    git(request_.project, "checkout", "-qb", "change")
    (request_.project / "README.md").write_text("another text")
    request_.change()
    inputs = {"INSTALL": PIP, "PYTHONPATH": ""}  # only what was installed
    assert request_.check(job_environment(request_), **inputs) == [0, 0, 0, 0], request_.log
    assert "No regression" in request_.comment

    again = PullRequest(request_.project, request_.temp.with_name("again"))
    pin(request_.project, "9.9", SLOWED)
    request_.change()
    codes = again.check(job_environment(request_), LAUNCHES="3", **inputs)
    assert codes == [0, 0, 0, 3], again.log
    regressions = again.comment.partition("### Regressions")[2].partition("###")[0]
    assert "latency p50" in regressions and "scikit-learn 9.8 to 9.9" in regressions
    assert "scikit-learn 9.8 to 9.9" not in request_.comment


# -- the steps of the workflow that ask nothing of GitHub, or only its command line ----------------

#: answers a list of comments with the number in $OWN, and writes down what it is asked to do
GH = """#!/bin/sh
case "$*" in
  *--paginate*) echo "$OWN" ;;
  *) echo "$*" >> "$LOG" ;;
esac
"""


@pytest.mark.parametrize(
    ("own", "asked"), [("", "POST c/7/comments"), ("41", "PATCH c/comments/41")]
)
def test_the_comment_replaces_the_one_of_an_earlier_push(
    tmp_path: Path, own: str, asked: str
) -> None:
    (tmp_path / "gh").write_text(GH)
    (tmp_path / "gh").chmod(0o755)
    script = workflow_step("compare", "Comment")
    values = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}", "LOG": str(tmp_path / "log"), "OWN": own,
        "COMMENTS": "c", "PR": "7", "REPORT": str(tmp_path),
    }  # fmt: skip
    assert MARKER in script  # by which it is found
    assert shell(script, tmp_path, **values).returncode == 0
    assert not (tmp_path / "log").exists()  # nothing was compared: there is nothing to say
    (tmp_path / "comment.md").write_text(MARKER)
    assert shell(script, tmp_path, **values).returncode == 0
    said = (tmp_path / "log").read_text()
    assert said == f"api --method {asked} --field body=@{tmp_path}/comment.md\n"


def test_the_records_of_each_night_are_kept_and_their_history_published(tmp_path: Path) -> None:
    pytest.importorskip("ruptures")
    project, origin = tmp_path / "project", tmp_path / "origin.git"
    project.mkdir()
    git(tmp_path, "init", "-q", "--bare", str(origin))
    git(project, "init", "-q", "-b", "main")
    (project / ".gitignore").write_text("results/*\nnightly/\n")
    (project / "code.py").write_text("")
    git(project, "add", ".")
    git(project, "commit", "-qm", "code")
    git(project, "remote", "add", "origin", str(origin))
    keep, history = (workflow_step("nightly", name) for name in ("Keep the records", "History"))
    for night in range(2):
        demo = write_results(tmp_path / f"night-{night}", size=60, seed=night, trouble=False)
        render(demo)
        shutil.rmtree(project / "nightly", ignore_errors=True)
        shutil.copytree(demo, project / "nightly" / "nlp")
        values = {
            "GITHUB_SHA": f"sha{night}", "GITHUB_WORKSPACE": str(project),
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }  # fmt: skip
        for script in (keep, history):
            done = shell(script, project, **values)
            assert done.returncode == 0, done.stderr
        git(project, "worktree", "remove", "--force", "../records")  # the next job is a new machine
    log = ["git", "log", "--format=%s", "bench-records"]
    assert subprocess.check_output(log, cwd=origin, text=True).split("\n")[:2] == [
        "nlp at sha1", "nlp at sha0",
    ]  # fmt: skip
    files = ["git", "ls-tree", "-r", "--name-only", "bench-records"]
    kept = subprocess.check_output(files, cwd=origin, text=True).splitlines()
    assert "results/nlp/plan.json" in kept and "code.py" not in kept
    assert (project / "site" / "index.html").is_file()
    assert "<svg" in (project / "site" / "history.html").read_text()
