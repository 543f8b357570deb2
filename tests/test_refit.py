"""A lost cache loses no record, and `harness run --refit` brings back what it held."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.records.files import read_json, write_json
from harness.records.store import finish
from tests.conftest import MAJORITY_SUITE, Harness


@pytest.fixture
def run_id(harness: Harness, tmp_path: Path) -> str:
    """The run of a finished suite whose cache was lost."""
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text("text,label\n" + "a,x\nb,y\nc,x\n" * 20)
    (tmp_path / "mine.yaml").write_text(MAJORITY_SUITE.replace("launches: 1", "launches: 0"))
    done = harness("run", "mine.yaml", "--seeds", "1")
    assert done.status == 0, done.err
    shutil.rmtree(tmp_path / "cache")
    (run,) = (tmp_path / "results" / "mine" / "runs").iterdir()
    return run.name


def records(folder: Path) -> dict[Path, bytes]:
    found = (*folder.glob("results/mine/fits/*/*"), *folder.glob("results/mine/runs/*/*"))
    return {path: path.read_bytes() for path in found}


def test_only_refit_brings_weights_back_and_it_changes_no_record(
    harness: Harness, tmp_path: Path, run_id: str
) -> None:
    before = records(tmp_path)
    plain = harness("run", "mine.yaml", "--seeds", "1")
    assert plain.status == 0 and "0 fits with work left" in plain.err
    for command in (("export", run_id, "--to", "away"), ("time", run_id)):
        answer = harness(*command)
        assert answer.status == 2
        assert "`harness run mine.yaml --seeds 1 --refit` makes them again" in answer.err
    again = harness("run", "mine.yaml", "--seeds", "1", "--refit")
    assert again.status == 0, again.err
    assert "0 runs made, 1 were there already" in again.out and "differs" not in again.err
    assert records(tmp_path) == before
    assert harness("export", run_id, "--to", "away").status == 0
    assert list(tmp_path.glob("cache/fits/*/timing-inputs-*.npz"))
    whole = harness("run", "mine.yaml", "--seeds", "1", "--refit")
    assert whole.status == 0 and "0 fits with work left" in whole.err


def test_other_weights_than_those_on_record_are_said(
    harness: Harness, tmp_path: Path, run_id: str
) -> None:
    (fit,) = (tmp_path / "results" / "mine" / "fits").iterdir()
    facts = read_json(fit / "fit.json") or {}
    name = next(iter(facts["artifact_files"]))
    facts["artifact_files"][name] = "0" * 64
    (fit / "status.json").unlink()
    write_json(fit / "fit.json", facts)
    finish(fit, "ok")
    before = records(tmp_path)
    again = harness("run", "mine.yaml", "--refit")
    assert again.status == 0, again.err
    assert f"made again, and {name} differs from what" in again.err
    assert records(tmp_path) == before


def test_a_refit_that_fails_leaves_the_record_of_the_fit(
    harness: Harness, tmp_path: Path, run_id: str
) -> None:
    before = records(tmp_path)
    with open(tmp_path / "mine.yaml", "a") as suite:
        suite.write("limits: {fit_seconds: 0.01, retries: 0}\n")
    again = harness("run", "mine.yaml", "--refit")
    assert again.status == 1 and "timeout: majority" in again.out
    assert records(tmp_path) == before


def test_a_damaged_artifact_is_not_given_away(
    harness: Harness, tmp_path: Path, run_id: str
) -> None:
    assert harness("run", "mine.yaml", "--refit").status == 0
    (info,) = tmp_path.glob("cache/fits/*/artifact/harness.json")
    info.write_text(info.read_text() + " ")
    answer = harness("export", run_id, "--to", "away")
    assert answer.status == 2 and "no longer whole in the cache" in answer.err
    assert not (tmp_path / "away").exists()
