"""Disks that fill or refuse, records that rot, two at once, a clock that runs backwards: nothing is
lost, each is explained."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.commands.context import this_machine
from harness.execute.base import Place
from harness.execute.conduct import set_damaged_aside
from harness.execute.report import PlainReporter
from harness.plan import Options, make_plan
from harness.records.digests import damage, seal
from harness.records.files import write_json
from harness.records.locks import acquire, locked
from harness.records.store import Store, is_done
from harness.sources.cache import in_use, users_lock
from harness.suite import load_suite
from tests.chaos.small import damaged, start, truth, write_small
from tests.conftest import Answer, call_harness
from tests.hub import COMMIT, serve


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One undisturbed run of the small suite."""
    folder = tmp_path_factory.mktemp("calm")
    write_small(folder)
    answer = run(folder)
    assert answer.status == 0, answer.err
    return folder


@pytest.fixture
def copy(calm: Path, tmp_path: Path) -> Path:
    """Its own to break."""
    folder = tmp_path / "copy"
    shutil.copytree(calm, folder)
    return folder


def run(folder: Path, *arguments: str, cache: Path | None = None, **environment: str) -> Answer:
    return call_harness(
        "run", "small.yaml", *arguments, cwd=folder, cache=cache or folder / "cache", **environment
    )


def flip(path: Path) -> None:
    """One bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize("harm", [flip, truncate])
def test_every_file_of_a_record_is_missed_when_it_is_harmed(copy: Path, harm: object) -> None:
    """Of each kind of file one, all at once: found by `verify`, made again by `run`."""
    expected = truth(copy / "results")
    fits = sorted((copy / "results" / "small" / "fits").iterdir())
    runs = sorted((copy / "results" / "small" / "runs").iterdir())
    victims = [
        fits[0] / "fit.json", fits[1] / "spec.json", runs[0] / "metrics.json",
        runs[1] / "predictions.parquet", runs[2] / "status.json",
    ]  # fmt: skip
    for victim in victims:
        harm(victim)  # type: ignore[operator]
    told = call_harness("verify", "--json", cwd=copy, cache=copy / "cache")
    found = {Path(item["path"]).name for item in json.loads(told.out)["damaged"]}
    assert told.status == 1
    assert found == {victim.parent.name for victim in victims}
    answer = run(copy)
    assert answer.status == 0, answer.err
    assert answer.err.count("and made again") >= 4  # a status that is no JSON is no record
    assert truth(copy / "results") == expected
    assert damaged_now(copy) == []


def test_of_two_at_once_one_sets_a_damaged_record_aside(copy: Path) -> None:
    expected = truth(copy / "results")
    victim = sorted((copy / "results" / "small" / "fits").iterdir())[0]
    flip(victim / "fit.json")
    environment = os.environ | {"HARNESS_CACHE": str(copy / "cache")}
    both = [start(copy, environment), start(copy, environment)]
    texts = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], texts
    assert len(list((copy / "results" / "small" / "damaged").iterdir())) == 1
    assert truth(copy / "results") == expected


def test_a_damaged_record_that_is_worked_on_is_left_to_its_worker(copy: Path) -> None:
    victim = sorted((copy / "results" / "small" / "fits").iterdir())[0]
    flip(victim / "fit.json")
    with locked(Store(copy / "results", "small").lock(victim.name)):
        tidy(copy)
        assert victim.exists()
    tidy(copy)
    assert not victim.exists()


def test_a_measurement_cut_off_before_its_digests_is_sealed(copy: Path) -> None:
    record = sorted((copy / "results" / "small" / "runs").iterdir())[0]
    measured = record / "measurements" / f"{this_machine().host_id}-1"
    write_json(measured / "host.json", {})
    write_json(measured / "timing.json", {"timing_version": 0})
    assert damage(measured, "digests.json") == "no digest"
    tidy(copy)
    assert damage(measured, "digests.json") is None
    flip(measured / "timing.json")
    tidy(copy)
    assert not measured.exists()


def test_measurements_outlive_damage_to_their_run(copy: Path) -> None:
    """Of another host, which cannot make them again here, and of this one."""
    record = sorted((copy / "results" / "small" / "runs").iterdir())[0]
    here = this_machine().host_id
    measured = [
        record / "measurements" / name for name in (f"{here}-1", f"{here}-2", "elsewhere-1")
    ]
    for folder in measured:
        write_json(folder / "timing.json", {"timing_version": 0})
        seal(folder)
    flip(record / "predictions.parquet")
    flip(measured[1] / "timing.json")
    before = [(folder / "timing.json").read_bytes() for folder in measured]
    tidy(copy)
    assert [folder.exists() for folder in measured] == [True, False, True]
    assert not is_done(record)
    answer = run(copy)
    assert answer.status == 0 and "1 runs made, 3 were there already" in answer.out, answer.err
    assert damaged_now(copy) == []
    for folder, content in zip(measured, before, strict=True):
        assert not folder.exists() or (folder / "timing.json").read_bytes() == content
    aside = sorted(path.name for path in (copy / "results" / "small" / "damaged").iterdir())
    assert aside == [f"measurements-{here}-2-1", f"runs-{record.name}-1"]


def tidy(folder: Path) -> None:
    """What a run does with damaged records before it begins."""
    plan = make_plan(load_suite(str(folder / "small.yaml")), Options(), {}, this_machine())
    place = Place(Store(folder / "results", "small"), folder / "cache", this_machine())
    set_damaged_aside(plan, place, PlainReporter())


def test_verify_tells_of_what_it_cannot_read(copy: Path) -> None:
    cache = copy / "cache"
    (cache / "files" / ("a" * 64)).mkdir(parents=True)
    told = call_harness("verify", cwd=copy, cache=cache)
    assert told.status == 1 and "it cannot be read (Is a directory)" in told.out


def damaged_now(folder: Path) -> list[str]:
    return [text for text in damaged(folder / "results") if "/damaged/" not in text]


def test_a_rotten_artifact_is_fitted_again_before_it_is_scored(copy: Path) -> None:
    expected = truth(copy / "results")
    weights = sorted((copy / "cache" / "fits").glob("*/artifact/*.npz"))
    for path in weights:
        flip(path)
    shutil.rmtree(copy / "results" / "small" / "runs")
    answer = run(copy)
    assert answer.status == 0, answer.err
    assert truth(copy / "results") == expected


def test_a_record_without_digests_is_old_and_not_damaged(copy: Path) -> None:
    for path in (copy / "results").rglob("status.json"):
        facts = json.loads(path.read_text())
        kept = {k: v for k, v in facts.items() if k not in ("digest", "files")}
        path.write_text(json.dumps(kept))
    told = call_harness("verify", "--json", cwd=copy, cache=copy / "cache")
    facts = json.loads(told.out)
    assert told.status == 0 and facts["no_digest"] == 8 and facts["damaged"] == []
    answer = run(copy)
    assert answer.status == 0 and "0 runs made, 4 were there already" in answer.out


def test_two_at_once_share_the_work_and_double_none(calm: Path, tmp_path: Path) -> None:
    write_small(tmp_path)
    environment = os.environ | {"HARNESS_CACHE": str(tmp_path / "cache")}
    both = [start(tmp_path, environment), start(tmp_path, environment)]
    texts = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], texts
    fitted = sum(text.count("] fit ") for text in texts)
    scored = sum(text.count("] score ") for text in texts)
    assert (fitted, scored) == (4, 4), texts
    assert truth(tmp_path / "results") == truth(calm / "results")
    assert damaged(tmp_path / "results") == []


def test_two_suites_that_share_a_fit_compute_it_once(copy: Path) -> None:
    text = (copy / "small.yaml").read_text().replace("suite: small", "suite: other")
    (copy / "small.yaml").write_text(text)
    answer = run(copy)
    assert answer.status == 0, answer.err
    assert answer.err.count("taken from the cache") == 4


@pytest.mark.all_cores  # on one, one fit runs at a time
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_jobs_change_no_result(calm: Path, tmp_path: Path, jobs: str) -> None:
    write_small(tmp_path)
    answer = run(tmp_path, "--jobs", jobs)
    assert answer.status == 0, answer.err
    assert truth(tmp_path / "results") == truth(calm / "results")


@pytest.mark.parametrize("asked", ["0", "many"])
def test_jobs_are_a_count(copy: Path, asked: str) -> None:
    answer = run(copy, "--jobs", asked)
    assert answer.status == 2 and "a whole number above zero" in answer.err


def test_devices_that_are_not_there_are_named(copy: Path) -> None:
    answer = run(copy, "--devices", "cuda:77")
    assert answer.status == 2 and "there is no cuda:77 here; there is cpu" in answer.err
    answer = run(copy, "--devices", "tpu")
    assert answer.status == 2 and "write cpu, cuda:0" in answer.err


#: bytes, enough for the records and the board with its page of two megabytes
SMALL_DISK = 8 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of `SMALL_DISK` bytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


#: bytes left free: nothing fits; a lock and a record's beginning; a fit and no more
@pytest.mark.parametrize("free", [0, 12_288, 49_152])
@pytest.mark.parametrize("which", ["results", "cache"])
def test_a_full_disk_loses_nothing_and_says_so(
    calm: Path, small_disk: Path, tmp_path: Path, free: int, which: str
) -> None:
    write_small(tmp_path)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(SMALL_DISK - 4096 - free))
    places = {"results": tmp_path / "results", "cache": tmp_path / "cache"} | {which: small_disk}
    arguments = ("--results", str(places["results"]))
    answer = run(tmp_path, *arguments, cache=places["cache"])
    assert "Traceback" not in answer.err
    assert answer.status == 2, answer.err + answer.out
    assert "No space left" in answer.err or "full" in answer.err
    filler.unlink()  # room again: the same command goes on
    answer = run(tmp_path, *arguments, cache=places["cache"])
    assert answer.status == 0, answer.err
    assert truth(places["results"]) == truth(calm / "results")


def test_results_that_cannot_be_written_are_one_clear_message(copy: Path, tmp_path: Path) -> None:
    target = tmp_path / "read-only"
    target.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", str(target)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a read-only file system needs root")
    try:
        answer = run(copy, "--results", str(target))
        assert answer.status == 2
        assert "cannot be written" in answer.err and "--results DIR" in answer.err
    finally:
        subprocess.run(["umount", "-l", str(target)], check=True)


def test_a_clock_set_back_changes_nothing(calm: Path, copy: Path) -> None:
    """Files of the future, as after a clock was set back by a year: locks, caches, records."""
    for path in copy.rglob("*"):
        os.utime(path, (path.stat().st_atime + 3e7, path.stat().st_mtime + 3e7))
    shutil.rmtree(copy / "results" / "small" / "runs")
    answer = run(copy)
    assert answer.status == 0, answer.err
    assert answer.seconds < 120
    assert truth(copy / "results") == truth(calm / "results")


def test_gc_removes_what_no_plan_needs_and_says_it_first(copy: Path) -> None:
    cache = copy / "cache"
    shutil.copytree(next((cache / "fits").iterdir()), cache / "fits" / "0123456789abcdef")
    before = sorted(cache.rglob("*"))
    said = call_harness("gc", cwd=copy, cache=cache)
    assert said.status == 0 and "0123456789abcdef" in said.out
    assert "nothing was removed: say --yes" in said.out
    assert sorted(cache.rglob("*")) == before
    done = call_harness("gc", "--yes", cwd=copy, cache=cache)
    assert done.status == 0 and "removed 1 from" in done.out
    assert len(list((cache / "fits").iterdir())) == 4
    answer = run(copy)
    assert answer.status == 0 and "0 runs made, 4 were there already" in answer.out


def test_gc_removes_what_can_be_made_again_when_it_was_long_unused(copy: Path) -> None:
    cache = copy / "cache"
    old = [cache / "features" / "a-train.safetensors", cache / "images" / "b.npy"]
    old += [cache / "references" / "c.npz", cache / "keras" / "VGG16@3.11.0" / "made.json"]
    new = [path.with_name(f"d{path.suffix}") for path in old[:3]]
    for path in [*old, *new]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    for path in old:
        os.utime(path, (time.time() - 40 * 86400,) * 2)
    for days, gone in (("41", []), ("30", old)):
        done = call_harness("gc", "--yes", "--unused-days", days, cwd=copy, cache=cache)
        assert done.status == 0, done.err
        assert done.out.count("unused for 40 days") == len(gone)
        assert [path for path in [*old, *new] if not path.exists()] == gone


def in_place(path: Path) -> None:
    """Valid JSON still, of another meaning."""
    path.write_text(path.read_text().replace('"fit_id"', '"fit_ie"', 1))


@pytest.mark.parametrize("harm", [in_place, truncate])
def test_gc_removes_nothing_where_a_plan_cannot_be_read(copy: Path, harm: object) -> None:
    plan, cache = copy / "results" / "small" / "plan.json", copy / "cache"
    harm(plan)  # type: ignore[operator]
    before = sorted(cache.rglob("*"))
    answer = call_harness("gc", "--yes", cwd=copy, cache=cache)
    assert answer.status == 2 and "Traceback" not in answer.err, answer.err
    assert "results/small/plan.json: cannot be read" in answer.err
    assert sorted(cache.rglob("*")) == before


def test_gc_keeps_what_a_planned_fit_will_need(copy: Path) -> None:
    """Interrupted before its first fit, after its downloads."""
    plan, cache = copy / "results" / "small" / "plan.json", copy / "cache"
    named, other = "a" * 64, "b" * 64
    facts = json.loads(plan.read_text())
    facts["needs"] = {"models": [named[:16]], "files": [named]}
    plan.write_text(json.dumps(facts))
    shutil.rmtree(copy / "results" / "small" / "fits")
    for name in (named, other):
        (cache / "files").mkdir(exist_ok=True)
        (cache / "files" / name).write_text("a download")
        (cache / "models" / name[:16]).mkdir(parents=True)
    done = call_harness("gc", "--yes", cwd=copy, cache=cache)
    assert done.status == 0 and "removed 2 from" in done.out
    assert [path.name for path in (cache / "files").iterdir()] == [named]
    assert [path.name for path in (cache / "models").iterdir()] == [named[:16]]
    del facts["needs"]  # a plan older than these: what is not known is kept
    plan.write_text(json.dumps(facts))
    done = call_harness("gc", "--yes", cwd=copy, cache=cache)
    assert done.status == 0 and "nothing in" in done.out


def test_gc_removes_nothing_while_another_process_works_with_the_cache(copy: Path) -> None:
    """Of another results folder, say, whose plans this one does not see."""
    cache = copy / "cache"
    (cache / "files").mkdir(exist_ok=True)
    (cache / "files" / ("b" * 64)).write_text("a download")
    with in_use(cache):
        answer = call_harness("gc", "--yes", cwd=copy, cache=cache)
        assert answer.status == 2 and "nothing was removed" in answer.err
        assert (cache / "files" / ("b" * 64)).exists()
    done = call_harness("gc", "--yes", cwd=copy, cache=cache)
    assert done.status == 0 and not (cache / "files" / ("b" * 64)).exists()


def test_a_run_works_with_its_cache(copy: Path) -> None:
    shutil.rmtree(copy / "results")
    process = start(copy, dict(os.environ) | {"HARNESS_CACHE": str(copy / "cache")})
    while (held := acquire(users_lock(copy / "cache"), wait=False)) is not None:
        os.close(held)
        assert process.poll() is None, "it ended without"
        time.sleep(0.01)
    process.communicate()
    assert process.returncode == 0


def test_gc_removes_half_made_files_once_they_are_old(copy: Path) -> None:
    names = ("features/.a.safetensors.7", "images/.a.npy.7", "references/.a.npz.7")
    for name in names:
        path = copy / "cache" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    assert "nothing in" in call_harness("gc", cwd=copy, cache=copy / "cache").out
    for name in names:
        os.utime(copy / "cache" / name, (0, 0))
    done = call_harness("gc", "--yes", cwd=copy, cache=copy / "cache")
    assert done.status == 0 and "removed 3 from" in done.out


def test_gc_without_results_removes_nothing(tmp_path: Path) -> None:
    answer = call_harness("gc", "--yes", cwd=tmp_path, cache=tmp_path / "cache")
    assert answer.status == 2 and "no results folder" in answer.err


@pytest.mark.parametrize("cuts", [7, 10_000])
def test_a_download_that_is_cut_off_is_explained_and_goes_on(
    tmp_path: Path, calm: Path, cuts: int
) -> None:
    """A hub on loopback that hangs up half-way: more often than its client tries, then for good."""
    write_small(tmp_path)
    source = f"hf:datasets/acme/toys@{COMMIT}!train.csv"
    text = (tmp_path / "small.yaml").read_text().replace("path:train.csv", source)
    (tmp_path / "small.yaml").write_text(text)
    with serve(tmp_path / "repositories") as hub:
        hub.add("datasets/acme/toys", {"train.csv": (tmp_path / "train.csv").read_bytes()})
        hub.cuts = cuts
        answer = run(tmp_path, HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path / "hf"))
        assert "Traceback" not in answer.err
        if answer.status:
            assert answer.status == 2 and source in answer.err and "trying again" in answer.err
            assert not (tmp_path / "results" / "small" / "fits").exists()
            hub.cuts = 0
            answer = run(tmp_path, HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path / "hf"))
        assert answer.status == 0, answer.err
    scores = {k: v for k, v in truth(tmp_path / "results").items() if k.endswith(".parquet")}
    calm_scores = {k: v for k, v in truth(calm / "results").items() if k.endswith(".parquet")}
    assert sorted(scores.values()) == sorted(calm_scores.values())
