"""What a fit trains on is what its plan found: files that change meanwhile are refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest

from harness.errors import RequestError
from harness.execute.base import Assignment, Outcome, Place
from harness.execute.report import PlainReporter
from harness.execute.walk import Walker
from harness.plan import Fit, Machine, Options, Plan, make_plan
from harness.records.files import read_json
from harness.records.store import Store, status_of
from harness.stages.fetch import model_folder
from harness.suite import load_suite
from tests.conftest import MAJORITY_SUITE
from tests.hub import COMMIT, MOVED, Hub, serve

MACHINE = Machine("host", gpu=False, cores=1)
SUITE = MAJORITY_SUITE.replace("launches: 1", "launches: 0")
TEN, TWENTY = ("text,label\n" + "a,x\nb,y\n" * n for n in (5, 10))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text(TEN)
    (tmp_path / "mine.yaml").write_text(SUITE)
    return tmp_path


@pytest.fixture
def walker(tmp_path: Path) -> Iterator[Walker]:
    place = Place(Store(tmp_path / "results", "mine"), tmp_path / "cache", MACHINE)
    with closing(Walker(place, PlainReporter())) as hands:
        yield hands


def planned(folder: Path) -> Plan:
    return make_plan(load_suite(str(folder / "mine.yaml")), Options(), {}, MACHINE)


def worked(walker: Walker, plan: Plan) -> tuple[Fit, Outcome]:
    (fit,) = plan.fits
    return fit, walker.work(Assignment.of(plan, fit))


def test_training_data_that_changes_after_the_plan_is_refused_and_planned_anew(
    folder: Path, walker: Walker
) -> None:
    plan = planned(folder)
    (folder / "train.csv").write_text(TWENTY)
    fit, outcome = worked(walker, plan)
    record = walker.place.store.fit(fit.fit_id)
    status = status_of(record) or {}
    assert status["status"] == "failed" and outcome.exit_status == 1
    assert status["reason"].startswith("task 'toy': path:train.csv has changed since")
    again, outcome = worked(walker, planned(folder))
    assert again.fit_id != fit.fit_id and outcome.exit_status == 0
    facts = read_json(walker.place.store.fit(again.fit_id) / "fit.json") or {}
    assert facts["train_available"] == 18  # a tenth is held out for validation


def test_a_test_file_that_changes_fails_the_run_and_not_the_fit_that_never_saw_it(
    folder: Path, walker: Walker
) -> None:
    plan = planned(folder)
    (folder / "test.csv").write_text(TWENTY)
    fit, _ = worked(walker, plan)
    assert (status_of(walker.place.store.fit(fit.fit_id)) or {})["status"] == "ok"
    status = status_of(walker.place.store.run(fit.runs[0].run_id)) or {}
    assert status["status"] == "failed" and "path:test.csv has changed" in status["reason"]
    again, outcome = worked(walker, planned(folder))
    assert again.fit_id == fit.fit_id and outcome.exit_status == 0
    metrics = read_json(walker.place.store.run(again.runs[0].run_id) / "metrics.json") or {}
    assert metrics["examples"] == 20


def test_a_folder_of_images_is_held_to_the_plan_as_a_file_is(
    tmp_path: Path, walker: Walker
) -> None:
    image = pytest.importorskip("PIL.Image")
    for split in ("train", "test"):
        for label in ("dark", "light"):
            (tmp_path / split / label).mkdir(parents=True)
            for i in range(5):
                image.new("L", (4, 4), i).save(tmp_path / split / label / f"{i}.png")
    suite = SUITE.replace("text-class", "image-class")
    (tmp_path / "mine.yaml").write_text(suite.replace("train.csv", "train").replace(".csv", ""))
    plan = planned(tmp_path)
    image.new("L", (4, 4), 9).save(tmp_path / "train" / "dark" / "more.png")
    fit, _ = worked(walker, plan)
    reason = (status_of(walker.place.store.fit(fit.fit_id)) or {})["reason"]
    assert "path:train has changed" in reason


@pytest.mark.parametrize("change", ["write", "remove", "add"])
def test_a_local_checkpoint_that_changes_after_the_plan_is_refused(
    folder: Path, walker: Walker, change: str
) -> None:
    checkpoint = folder / "net"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text("{}")
    (checkpoint / "notes.txt").write_text("a\n")
    text = SUITE.replace("kind: majority}", 'source: "path:net"}').replace("baseline", "scratch")
    (folder / "mine.yaml").write_text(text.replace("launches: 0", "settings: {fit_dtype: float32}"))
    plan = planned(folder)
    job = walker.job(Assignment.of(plan, plan.fits[0]), folder / "record")
    found = model_folder(job) if change == "write" else None
    if change == "remove":
        (checkpoint / "notes.txt").unlink()
    else:
        name = "notes.txt" if change == "write" else "more.txt"
        (checkpoint / name).write_text("another\n")
    with pytest.raises(RequestError, match=r"model 'majority': (notes|more).txt has changed since"):
        model_folder(job)
    if found:
        assert (found / "notes.txt").read_text() == "a\n"


@pytest.mark.skipif(not find_spec("evaluate"), reason="needs evaluate")
def test_a_changed_metric_script_is_refused(folder: Path, walker: Walker) -> None:
    (folder / "mine.py").write_text("# one\n")
    (folder / "mine.yaml").write_text(
        SUITE.replace("    data:", "    metrics: [mine.py]\n    data:")
    )
    loaded = load_suite(str(folder / "mine.yaml"))
    plan = make_plan(loaded, Options(trust_remote_code=True), {}, MACHINE)
    (folder / "mine.py").write_text("raise SystemExit('was run')\n")
    fit, _ = worked(walker, plan)
    reason = (status_of(walker.place.store.run(fit.runs[0].run_id)) or {})["reason"]
    assert reason.startswith("metric 'mine.py': ") and "mine.py has changed since" in reason


#: run in a child, since the hub's client reads its settings when it is imported: plans, waits for
#: a line, works, and says what it trained on
CHILD = """
import json, sys
from pathlib import Path
from tests.test_planned_inputs import *
folder = Path(sys.argv[1])
place = Place(Store(folder / "results", "mine"), folder / "cache", MACHINE)
with closing(Walker(place, PlainReporter())) as walker:
    plan = planned(folder)
    print(plan.fits[0].spec["task"]["data"]["train"], flush=True)
    input()
    fit, outcome = worked(walker, plan)
    facts = read_json(place.store.fit(fit.fit_id) / "fit.json")
    print(json.dumps([outcome.exit_status, facts["train_available"]]), flush=True)
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with serve(tmp_path / "repositories") as running:
        yield running


def test_a_branch_that_moves_after_the_plan_does_not_move_the_fit(
    folder: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("huggingface_hub")
    source = "hf:datasets/acme/moods@main!train.csv"
    (folder / "mine.yaml").write_text(SUITE.replace("path:train.csv", source))
    monkeypatch.setenv("HARNESS_CACHE", str(folder / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HOME", str(folder / "hf"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)

    def move_meanwhile() -> list[int]:
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(folder)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, env=os.environ, cwd=Path(__file__).parents[1],
        )  # fmt: skip
        assert child.stdin and child.stdout
        commits.append(child.stdout.readline().strip())
        hub.move("datasets/acme/moods", {"train.csv": TWENTY.encode()})
        out, _ = child.communicate("\n", timeout=120)
        answer: list[int] = json.loads(out.splitlines()[-1])
        return answer

    commits: list[str] = []
    hub.add("datasets/acme/moods", {"train.csv": TEN.encode()})
    assert move_meanwhile() == [0, 9]  # of ten, one is held out for validation
    assert move_meanwhile() == [0, 18]
    assert commits == [source.replace("main", commit) for commit in (COMMIT, MOVED)]
