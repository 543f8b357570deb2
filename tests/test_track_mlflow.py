"""Runs mirrored to a real MLflow server on the loopback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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
