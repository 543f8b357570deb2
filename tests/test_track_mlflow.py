"""Runs mirrored to a real MLflow server on the loopback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.commands.run import _mirror
from harness.records.files import write_json
from harness.records.locks import acquire
from harness.records.store import Store
from harness.track.base import Entry, Tracker, entries
from harness.track.mlflow import MlflowTracker
from tests.conftest import MAJORITY_SUITE, call_harness
from tests.test_hostile import TRAIN

pytest.importorskip("mlflow")
START_SECONDS = 120  # of a busy machine; 8 on a quiet one


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"http://127.0.0.1:{free_port()}"
    log = open(folder / "log", "wb")  # noqa: SIM115  (for as long as the server runs)
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port",
         uri.rpartition(":")[2], "--workers", "1", "--backend-store-uri",
         f"sqlite:///{folder}/runs.db", "--artifacts-destination", str(folder / "artifacts")],
        cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"},
    )  # fmt: skip
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with urllib.request.urlopen(f"{uri}/health", timeout=5):
                    break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()
                if time.monotonic() > deadline:
                    pytest.skip(f"no MLflow server within {START_SECONDS} s on this machine")
                time.sleep(0.3)
        yield uri
    finally:
        os.killpg(process.pid, 9)
        process.wait()
        log.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tracked")
    (path / "mine.yaml").write_text(MAJORITY_SUITE.replace("launches: 1", "launches: 0"))
    for name in ("train.csv", "test.csv"):
        (path / name).write_text(TRAIN)
    return path


def run(folder: Path, uri: str) -> Any:
    return call_harness(
        "run", "mine.yaml", "--track", f"mlflow:{uri}", cwd=folder, cache=folder / "cache"
    )


def mirrored(uri: str) -> list[Any]:
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("mine")
    return list(client.search_runs([experiment.experiment_id]))


def test_the_server_holds_what_the_records_hold_and_once(server: str, folder: Path) -> None:
    import mlflow

    answer = run(folder, server)
    assert answer.status == 0 and "2 of 2 written" in answer.out, answer.out + answer.err
    by_kind = {r.data.tags["harness.kind"]: r for r in mirrored(server)}
    assert set(by_kind) == {"run", "leaderboard"}
    ours = next((folder / "results/mine/runs").iterdir())
    metrics = json.loads((ours / "metrics.json").read_text())
    theirs = by_kind["run"]
    assert theirs.data.tags["harness.key"] == ours.name
    assert theirs.data.tags["harness.status"] == "ok" and theirs.info.status == "FINISHED"
    assert theirs.data.metrics["score"] == metrics["score"]
    assert theirs.data.metrics["accuracy"] == metrics["metrics"]["accuracy"]
    assert theirs.data.params["model"] == "majority" and theirs.data.params["seed"] == "1"
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    copies = Path(
        mlflow.artifacts.download_artifacts(
            run_id=theirs.info.run_id, tracking_uri=server, dst_path=str(folder / "copies")
        )
    )
    for name in ("metrics.json", "status.json", "predictions.parquet"):
        assert (copies / "run" / name).read_bytes() == (ours / name).read_bytes()
    before = {r.info.run_id: dict(r.data.tags) for r in mirrored(server)}
    again = run(folder, server)
    assert again.status == 0 and "0 of 2 written" in again.out
    assert {r.info.run_id: dict(r.data.tags) for r in mirrored(server)} == before


def test_a_dead_server_costs_a_warning_and_no_record(folder: Path) -> None:
    answer = run(folder, f"http://me:hunter22@127.0.0.1:{free_port()}")
    assert answer.status == 0
    assert "the records are complete" in answer.err and "Traceback" not in answer.err
    assert "hunter22" not in answer.err + answer.out
    assert (folder / "results/mine/leaderboard.html").is_file()


def test_a_tracker_that_is_none_is_refused_before_any_work(folder: Path) -> None:
    for target, part in (("wandb:x", "known: mlflow"), ("mlflow", "NAME:URI")):
        answer = call_harness(
            "run", "mine.yaml", "--results", "other", "--track", target,
            cwd=folder, cache=folder / "cache",
        )  # fmt: skip
        assert answer.status == 2 and part in answer.err
        assert not (folder / "other").exists()


def entry(state: str, params: dict[str, str], metrics: dict[str, float]) -> Entry:
    return Entry("r1", "a run", state, params, metrics, {"kind": "run", "status": "ok"}, {})


def test_what_is_mirrored_again_shows_its_new_values_and_keeps_its_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow refuses another value of a parameter, shows the larger of two values of one moment,
    and takes no name that is a path in another than its shortest form."""
    import mlflow

    monkeypatch.chdir(tmp_path)  # MLflow puts folders there
    tracker = MlflowTracker(f"sqlite:///{tmp_path}/runs.db")
    url = "per_class.http://x.f1"
    assert tracker.mirror("mine", [entry("1", {"model": "old"}, {"score": 0.9, url: 1.0})]) == 1
    again = entry("2", {"model": "new", "seed": "1"}, {"score": 0.8, url: 1.0})
    assert tracker.mirror("mine", [again]) == 1
    assert tracker.mirror("mine", [again]) == 0
    client = mlflow.MlflowClient(tracking_uri=tracker.uri)
    experiment = client.get_experiment_by_name("mine")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.params == {"model": "old", "seed": "1"}
    assert run.data.metrics == {"score": 0.8, "per_class.http:__x.f1": 1.0}


def test_a_run_of_two_rows_is_one_entry_without_what_is_half_written(tmp_path: Path) -> None:
    store = Store(tmp_path, "mine")
    write_json(store.run("r") / "metrics.json", {"score": 1.0})
    write_json(store.run("r") / "status.json", {"status": "ok"})
    (store.run("r") / ".timing.json.x").write_text("{")
    row = {"recipe": "baseline", "task": "t", "runtime": "sklearn"}
    names = ("model", "twin")
    run = {"run_id": "r", "fit_id": "f", "seed": 1}
    rows = [{"row_id": name, "row": row | {"model": name}, "runs": [run]} for name in names]
    write_json(store.folder / "plan.json", {"rows": rows})
    (found, board) = entries(store)
    assert (found.key, found.params["model"], board.key) == ("r", "model", "board:mine")
    assert set(found.files) == {"run/metrics.json", "run/status.json"}


def test_two_commands_of_one_results_folder_mirror_one_after_the_other(tmp_path: Path) -> None:
    store = Store(tmp_path, "mine")
    write_json(store.folder / "plan.json", {"rows": []})
    asked: list[int | None] = []

    class Asking(Tracker):
        def mirror(self, suite: str, entries: Sequence[Entry]) -> int:
            asked.append(acquire(store.folder / ".locks/mirror.lock", wait=False))
            raise FileNotFoundError("set aside meanwhile")

    _mirror(Asking("x"), store, quiet=True)
    assert asked == [None]
