"""The main job, end to end, on real weights and real data (the smoke suite).

The first test makes the run that all others look at; it and what looks at a clock are `alone`. The
others need the same cores: threads belong to a fit's specification.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from harness.data.formats.delimited import read_orange_tab
from harness.suite import find_suite
from tests.conftest import Smoke
from tests.snippets import ask, exported, predictions

pytestmark = pytest.mark.all_cores


def rows(smoke: Smoke) -> dict[str, dict[str, Any]]:
    listed = json.loads((smoke.results / "leaderboard.json").read_text())
    return {row["runtime"]: row for row in listed}


def texts_by_id(smoke: Smoke) -> dict[str, str]:
    """All texts of the test file by their examples' ids."""
    (task,) = yaml.safe_load(find_suite("smoke").read_text())["tasks"]
    file = smoke.folder / "cache" / "files" / task["data"]["test"]["sha256"]
    texts = read_orange_tab(file, "test").column(task["options"]["text"])
    return {f"test-{row:06d}": text for row, text in enumerate(texts)}


def records(smoke: Smoke) -> dict[str, float]:
    """Every record file with the time it was written."""
    found = (*smoke.results.glob("fits/*/*"), *smoke.results.glob("runs/**/*"))
    return {str(path): path.stat().st_mtime_ns for path in found if path.is_file()}


@pytest.mark.alone
def test_every_row_is_scored_and_timed(smoke: Smoke) -> None:
    board = rows(smoke)
    assert set(board) == {"torch", "onnxruntime", "onnxruntime-int8", "sklearn"}
    for row in board.values():
        assert row["status"] == "ok"
        assert 0 < row["accuracy"] <= 1
        for key in ("latency_p50_ms", "throughput_per_s", "peak_memory_mb", "size_mb", "params"):
            assert row[key] > 0, key
        assert row["fit_seconds"] > 0 and row["fit_examples_per_second"] > 0
        assert row["weights_licence"] and row["data_licence"]


def test_onnx_runtime_computes_what_pytorch_computes(smoke: Smoke) -> None:
    row = rows(smoke)["onnxruntime"]
    assert row["parity_rel_diff"] < 1e-5
    assert row["prediction_agreement"] >= 0.999
    assert row["score_delta"] == 0


def test_int8_is_another_set_of_weights_and_shown_as_such(smoke: Smoke) -> None:
    row = rows(smoke)["onnxruntime-int8"]
    assert row["dtype"] == "int8"
    assert row["parity_rel_diff"] > 1e-4
    assert row["size_mb"] < rows(smoke)["onnxruntime"]["size_mb"] / 3


def test_percentiles_that_64_samples_cannot_carry_are_null(smoke: Smoke) -> None:
    timings = list(smoke.results.glob("runs/*/measurements/*/timing.json"))
    assert len(timings) == 4
    for path in timings:
        timing = json.loads(path.read_text())
        assert len(timing["latency_ms"]) >= 64
        assert timing["latency_p90_ms"] > 0
        assert timing["latency_p99_ms"] is None and "299" in timing["latency_p99_ms_reason"]


def test_records_hold_no_text_of_the_data(smoke: Smoke) -> None:
    import pyarrow.parquet as pq

    for path in smoke.results.glob("runs/*/predictions.parquet"):
        table = pq.read_table(path)
        assert table.num_rows == 128
        assert {"id", "cluster", "target", "prediction", "score_num", "score_den"} <= set(
            table.column_names
        )
        assert all(len(str(value)) < 40 for row in table.to_pylist() for value in row.values())


@pytest.mark.alone
def test_a_second_run_does_nothing_and_is_quick(smoke: Smoke) -> None:
    before = records(smoke)
    again = smoke.call("run", "smoke")
    assert again.status == 0 and "0 runs made, 4 were there already" in again.out
    assert records(smoke) == before
    written = [*smoke.results.glob("leaderboard.*"), smoke.results / "statistics.json"]
    assert len(written) == 6
    assert all(f"{path.parent.name}/{path.name}\n" in again.out for path in written)
    # The quickest of three: what is claimed of the program, not of a busy machine.
    assert min(again.seconds, *(smoke.call("run", "smoke").seconds for _ in range(2))) < 5


def test_rendering_again_yields_the_same_bytes(smoke: Smoke) -> None:
    files = [smoke.results / f"leaderboard.{suffix}" for suffix in ("md", "html", "csv", "json")]
    before = [path.read_bytes() for path in files]
    assert smoke.call("board", "smoke").status == 0
    assert [path.read_bytes() for path in files] == before


def test_the_same_seed_gives_the_same_weights_bit_for_bit(smoke: Smoke, tmp_path: Path) -> None:
    """Weights and exports are made again from nothing; no record of a fit changes by it."""
    lost = {p.relative_to(smoke.folder): p for p in smoke.folder.glob("cache/fits/*/*/*")}
    weights = [path for path in lost if path.suffix in (".safetensors", ".npz")]
    assert len(weights) >= 3 and any(path.suffix == ".onnx" for path in lost)
    shutil.copytree(smoke.results / "fits", tmp_path / "results" / "smoke" / "fits")
    shutil.copytree(
        smoke.folder / "cache", tmp_path / "cache", ignore=shutil.ignore_patterns("fits")
    )
    suite = find_suite("smoke").read_text().replace("launches: 1", "launches: 0")
    (tmp_path / "smoke.yaml").write_text(suite)
    again = Smoke(tmp_path, smoke.first)
    before = records(again)
    answer = again.call("run", "smoke.yaml", "--refit")
    assert answer.status == 0, answer.err
    assert "4 runs made" in answer.out and "differs" not in answer.err
    after = records(again)
    assert {path: after[path] for path in before} == before
    assert {p.relative_to(tmp_path) for p in tmp_path.glob("cache/fits/*/*/*")} == set(lost)
    for path in weights:
        assert (tmp_path / path).read_bytes() == lost[path].read_bytes(), path
    predictions = list(smoke.results.glob("runs/*/predictions.parquet"))
    assert len(predictions) == 4
    for path in predictions:
        other = again.results / path.relative_to(smoke.results)
        assert other.read_bytes() == path.read_bytes()


def test_changing_one_recipe_works_that_model_only(smoke: Smoke, tmp_path: Path) -> None:
    shutil.copytree(smoke.folder / "results", tmp_path / "results")
    suite = find_suite("smoke").read_text() + "    settings: {C: 3.0}\n"
    (tmp_path / "smoke.yaml").write_text(suite)
    changed = Smoke(tmp_path, smoke.first)
    os.symlink(smoke.folder / "cache", tmp_path / "cache")
    before = records(changed)
    answer = changed.call("run", "smoke.yaml")
    assert answer.status == 0 and "1 runs made, 3 were there already" in answer.out
    assert "tfidf" in answer.err and "minilm" not in answer.err
    after = records(changed)
    assert {path: after[path] for path in before} == before


#: one text at a time, where the run had batches: torch and ONNX Runtime round otherwise, and int8
#: scales its activations by the whole batch
ALONE = {"torch": 1e-4, "onnxruntime": 1e-4, "onnxruntime-int8": 0.1, "sklearn": 1e-6}


@pytest.mark.parametrize("runtime", ALONE)
def test_an_exported_model_says_what_is_on_record_of_its_test_texts(
    smoke: Smoke, tmp_path: Path, runtime: str
) -> None:
    target = tmp_path / "given-away"
    row_id = rows(smoke)[runtime]["row_id"]
    usage = exported(smoke.call("export", row_id, "--to", target), target)
    recorded = predictions(smoke.results, row_id)
    texts = texts_by_id(smoke)
    chosen = list(recorded)[:12]
    answers = ask(usage, [[texts[name]] for name in chosen])
    for name, (label, probability) in zip(chosen, answers, strict=True):
        known = recorded[name]
        assert probability == pytest.approx(known[f"prob_{label}"], abs=ALONE[runtime])
        lead = known[f"prob_{known['prediction']}"] - known[f"prob_{label}"]
        assert label == known["prediction"] or lead < 2 * ALONE[runtime]  # two are as likely
    assert len({label for label, _ in answers}) > 1
    assert "Apache-2.0" in (target / "LICENCES.md").read_text() or runtime == "sklearn"


def test_a_snippet_runs_as_it_stands(smoke: Smoke, tmp_path: Path) -> None:
    target = tmp_path / "given-away"
    usage = exported(
        smoke.call("export", rows(smoke)["onnxruntime"]["row_id"], "--to", target), target
    )
    done = subprocess.run([sys.executable, usage], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    label, probability = done.stdout.split()
    assert label in json.loads((target / "labels.json").read_text())["labels"]
    assert 1 / 8 <= float(probability) <= 1


def test_show_finds_a_record_by_the_beginning_of_its_id(smoke: Smoke) -> None:
    run = next(smoke.results.glob("runs/*"))
    answer = smoke.call("show", run.name[:8])
    assert answer.status == 0 and "accuracy" in answer.out
    assert json.loads(smoke.call("show", run.name, "--json").out)["status"]["status"] == "ok"


def processes_with(cache: Path) -> list[int]:
    """Processes that were started with this cache in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("HARNESS_CACHE") == str(cache):
                found.append(process.pid)
        except (psutil.Error, OSError):  # gone, or another user's
            continue
    return found


def test_interrupted_work_leaves_no_process_and_goes_on_later(smoke: Smoke, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    shutil.copytree(smoke.folder / "cache" / "files", cache / "files")
    command = [sys.executable, "-m", "harness.cli", "run", "smoke", "--only", "tfidf"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=os.environ | {"HARNESS_CACHE": str(cache)},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("results/smoke/fits/*/spec.json")):
        assert time.monotonic() < deadline
        time.sleep(0.05)  # until a worker has a fit to make; before, it reads the data
    assert len(processes_with(cache)) >= 2
    # Handled as Ctrl-C is; a runner that was started in the background ignores SIGINT itself.
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; what is complete is kept" in err and "Traceback" not in err
    assert processes_with(cache) == []
    assert not list(tmp_path.glob("results/smoke/runs/*/status.json"))
    again = Smoke(tmp_path, smoke.first).call("run", "smoke", "--only", "tfidf")
    assert again.status == 0 and "1 runs made" in again.out
