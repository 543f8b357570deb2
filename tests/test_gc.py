"""`harness gc` keeps what any results folder of a cache rests on, whatever ran there last."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import MAJORITY_SUITE, Harness, call_harness

SUITE = MAJORITY_SUITE.replace(
    "models:\n", "seeds: [1, 2]\nmodels:\n  - {id: tfidf, kind: tfidf-logreg}\n"
).replace(
    "{models: [majority], tasks: [toy], recipe: baseline, launches: 1}",
    "{models: [majority, tfidf], tasks: [toy], recipe: baseline, launches: 0, seeds: [1, 2]}",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run of the whole suite: four fits."""
    folder = tmp_path_factory.mktemp("finished")
    for split in ("train", "test"):
        (folder / f"{split}.csv").write_text("text,label\n" + "good,x\nbad,y\nfine,x\n" * 20)
    (folder / "mine.yaml").write_text(SUITE)
    done = call_harness("run", "mine.yaml", cwd=folder, cache=folder / "cache")
    assert done.status == 0, done.err
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """Its own, of which its cache alone knows."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    (note,) = (tmp_path / "cache" / "results").iterdir()
    note.write_text(note.read_text().replace(str(finished), str(tmp_path)))
    return tmp_path


def fits(folder: Path) -> set[str]:
    return {path.name for path in (folder / "cache" / "fits").iterdir()}


@pytest.mark.parametrize("part", [("--only", "majority"), ("--seeds", "1")])
def test_a_run_of_a_part_leaves_the_rest_needed(
    harness: Harness, folder: Path, part: tuple[str, str]
) -> None:
    before = fits(folder)
    assert len(before) == 4
    assert harness("run", "mine.yaml", *part).status == 0
    unused = folder / "cache" / "fits" / "0123456789abcdef"
    unused.mkdir()
    done = harness("gc", "--yes")
    assert done.status == 0 and "removed 1 from" in done.out, done.out + done.err
    assert fits(folder) == before
    for record in (folder / "results" / "mine" / "runs").iterdir():
        assert harness("export", record.name, "--to", f"{record.name}").status == 0


def test_all_results_folders_that_a_cache_served_are_looked_at(
    harness: Harness, folder: Path
) -> None:
    full = ("--full", "--budget", "seed=7", "--results", "results-full")
    assert harness("run", "mine.yaml", *full).status == 0
    before = fits(folder)
    assert len(before) == 8
    done = harness("gc", "--yes")
    assert done.status == 0 and fits(folder) == before
    assert f"looked at {folder}/results, {folder}/results-full\n" in done.out


def test_a_results_folder_that_is_gone_is_said_and_needs_nothing(
    harness: Harness, folder: Path
) -> None:
    other = ("--seeds", "3", "--only", "tfidf", "--results", "other")
    assert harness("run", "mine.yaml", *other).status == 0
    assert len(fits(folder)) == 5
    shutil.rmtree(folder / "other")
    said = json.loads(harness("gc", "--json").out)
    assert said["gone"] == [str(folder / "other")] and len(said["items"]) == 1
    assert len(fits(folder)) == 5
    done = harness("gc", "--yes")
    assert f"nothing is kept for it: {folder / 'other'}" in done.out
    assert len(fits(folder)) == 4
    assert "not there any more" not in harness("gc").out


def test_nothing_goes_where_a_runs_record_cannot_be_read(harness: Harness, folder: Path) -> None:
    spec = next(folder.glob("results/mine/runs/*/spec.json"))
    spec.write_text(spec.read_text()[:-20])
    (folder / "cache" / "fits" / "0123456789abcdef").mkdir()
    answer = harness("gc", "--yes")
    assert answer.status == 2 and "nothing was removed" in answer.err and spec.name in answer.err
    assert len(fits(folder)) == 5
