"""A real Ray cluster of three nodes on this machine, one of them killed in mid-run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness.commands.context import this_machine
from harness.errors import RequestError
from harness.execute.base import Assignment, Place
from harness.execute.ray import _no_cluster, work_on_node, write_records
from harness.execute.shared import SharedStore
from harness.execute.walk import status
from harness.plan import Options, make_plan
from harness.records.files import read_json, write_json
from harness.records.locks import locked
from harness.records.store import Store, is_done
from harness.suite import load_suite
from tests.chaos import sabotage_plugin
from tests.chaos.small import damaged, left_over, write_small
from tests.chaos.test_sabotage import suite
from tests.hub import serve

NODES = 3
SEEDS = 3  # of two models
FITS = 2 * SEEDS


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Any]:
    """Each node with a cache of its own, as if it were another machine."""
    with nodes(tmp_path, NODES) as made:
        yield made


@contextmanager
def nodes(folder: Path, count: int, **environment: str) -> Iterator[Any]:
    """A cluster of ``count`` nodes with one core each, its ``workers``."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    small: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 80 << 20}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (environment | {"RAY_USAGE_STATS_ENABLED": "0"}).items():
            patch.setenv(name, value)
        # the head works nothing itself: what is killed is never the one that coordinates
        made = Cluster(initialize_head=True, head_node_args=small | {"num_cpus": 0})
        made.workers = []  # type: ignore[attr-defined]
        try:
            for number in range(count):
                patch.setenv("HARNESS_CACHE", str(folder / f"cache-{number}"))
                node = made.add_node(num_cpus=1, object_store_memory=80 << 20)
                made.workers.append(node)  # type: ignore[attr-defined]
            yield made
        finally:
            made.shutdown()


def harness_run(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "harness.cli", "run", "small.yaml", *arguments],
        cwd=folder,
        env=os.environ | {"HARNESS_CACHE": str(folder / "cache-here")} | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def begun(cache: Path) -> set[str]:
    """The fits whose stage has been begun with a cache."""
    return {path.name.removesuffix("-fit.log") for path in cache.glob("logs/small/*-fit.log")}


@pytest.mark.slow
def test_a_lost_node_loses_no_run_and_makes_none_twice(cluster: Any, tmp_path: Path) -> None:
    write_small(tmp_path)
    suite = tmp_path / "small.yaml"
    suite.write_text(suite.read_text().replace("seeds: [1, 2]", f"seeds: {list(range(SEEDS))}"))
    ray = ("--executor", "ray", "--address", cluster.address)
    process = harness_run(tmp_path, *ray, "--store", (tmp_path / "shared").as_uri())
    lost = tmp_path / "cache-0"
    deadline = time.monotonic() + 200
    while not begun(lost) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    if process.poll() is not None or not begun(lost):
        process.kill()
        pytest.fail(f"the first node was given nothing: {process.communicate()[0]}")
    cluster.remove_node(cluster.workers[0], allow_graceful=False)
    cut_off = begun(lost)
    out, _ = process.communicate(timeout=280)
    assert process.returncode == 0, out
    assert f"{FITS} runs made, 0 were there already, 0 failed" in out

    results = tmp_path / "results"
    for kind in ("runs", "fits"):
        records = list((results / "small" / kind).iterdir())
        assert len(records) == FITS
        for record in records:
            assert json.loads((record / "status.json").read_text())["status"] == "ok"
    assert damaged(results) == []
    assert not list((results / "small").glob("*/*/.*"))  # nothing half-written
    # what the lost node was at was made by others, and every fit was shared, by what finished it
    others = begun(tmp_path / "cache-1") | begun(tmp_path / "cache-2")
    assert cut_off and cut_off <= others
    shared = {path.stem for path in (tmp_path / "shared/fits").iterdir()}
    assert shared == {record.name for record in (results / "small/fits").iterdir()}
    assert left_over(lost) == []

    again = harness_run(tmp_path, *ray)
    out, _ = again.communicate(timeout=120)
    assert again.returncode == 0 and f"0 runs made, {FITS} were there already" in out

    suite.write_text(suite.read_text().replace("threads: 1", "threads: 2"))
    greedy = harness_run(tmp_path, *ray)
    out, _ = greedy.communicate(timeout=120)
    assert greedy.returncode == 2 and "needs 2 CPU, and no node has that" in out


def test_rows_that_share_a_fit_are_worked_and_a_fit_of_others_holds_up_nothing(
    tmp_path: Path,
) -> None:
    """Four rows of one fit, and one fit that another command works on for a while."""
    write_small(tmp_path)
    (tmp_path / "small.yaml").write_text(
        (tmp_path / "small.yaml")
        .read_text()
        .replace("tasks:\n", "  - {id: twin, kind: tfidf-logreg}\ntasks:\n")
        .replace("matrix:\n", AWAY)
        .replace("[majority, tfidf], tasks: [toy]", "[tfidf, twin], tasks: [toy, away]")
        .replace("seeds: [1, 2]", "seeds: [1]")
        + "  - {models: [majority], tasks: [toy], recipe: baseline, seeds: [1]}\n"
    )
    plan = make_plan(load_suite(str(tmp_path / "small.yaml")), Options(), {}, this_machine())
    (*shared, other) = plan.fits
    assert len(shared) == 4 and len({fit.fit_id for fit in shared}) == 1
    store = Store(tmp_path / "results", "small")
    with nodes(tmp_path, 1) as cluster:
        with locked(store.lock(other.fit_id)):
            process = harness_run(tmp_path, "--executor", "ray", "--address", cluster.address)
            deadline = time.monotonic() + 150
            runs = [store.run(run.run_id) for fit in shared for run in fit.runs]
            while not all(map(is_done, runs)) and time.monotonic() < deadline:
                assert process.poll() is None, process.communicate()[0]
                time.sleep(0.05)
            made = [run.name for run in runs if is_done(run)]
            if len(made) < len(runs) or is_done(store.fit(other.fit_id)):
                process.kill()
                pytest.fail(f"only {made} of {runs}: {process.communicate()[0]}")
        out, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and "3 runs made, 2 were there already, 0 failed" in out, out


#: a second task with the training data of the first
AWAY = """\
  - id: away
    type: text-classification
    data:
      train: {source: "path:train.csv"}
      test: {source: "path:train.csv"}
matrix:
"""


def test_what_nodes_completed_is_received_before_the_error_of_one_ends_all(tmp_path: Path) -> None:
    """One disk is full at a run, while another node is in the midst of one: both fits are kept."""
    write_small(tmp_path)
    (tmp_path / "small.yaml").write_text(suite(("waits", "full-disk")))
    sabotage_plugin.install(tmp_path / "site")
    path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    with nodes(tmp_path, 2, PYTHONPATH=path) as cluster:
        process = harness_run(
            tmp_path, "--executor", "ray", "--address", cluster.address,
            "--only", "waits", "--only", "full-disk", PYTHONPATH=path,
        )  # fmt: skip
        out, _ = process.communicate(timeout=200)
    assert process.returncode == 2 and "No space left on device" in out, out
    fits = {
        (read_json(fit / "spec.json") or {})["model"]["id"]: status(fit)
        for fit in (tmp_path / "results/small/fits").iterdir()
    }
    assert fits == {"waits": "ok", "full-disk": "ok"}
    assert not list((tmp_path / "results/small/runs").glob("*/status.json"))
    assert damaged(tmp_path / "results") == []
    assert left_over(tmp_path / "cache-0") + left_over(tmp_path / "cache-1") == []


def test_a_node_goes_on_from_what_another_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_small(tmp_path)
    plan = make_plan(load_suite(str(tmp_path / "small.yaml")), Options(), {}, this_machine())
    fit = plan.fits[0]
    text, url = Assignment.of(plan, fit).dumps(), (tmp_path / "shared").as_uri()
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "one"))
    files, facts = work_on_node(text, "small", False, {}, url)
    assert (facts["done"], facts["bad"]) == (1, [])
    of_fit = {name: content for name, content in files.items() if name.startswith("fits/")}
    assert f"fits/{fit.fit_id}/status.json" in of_fit
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "two"))
    again, facts = work_on_node(text, "small", False, of_fit, url)
    assert (facts["done"], facts["bad"]) == (1, [])
    assert begun(tmp_path / "one") == {fit.fit_id} and begun(tmp_path / "two") == set()
    run = f"runs/{fit.runs[0].run_id}/predictions.parquet"
    assert again[run] == files[run]


#: run with a node's environment: fetches for an assignment, and works nothing of it
ON_A_NODE = """
import sys
from harness.commands.context import this_machine
from harness.execute.base import Assignment, Outcome
from harness.execute.ray import work_on_node
from harness.execute.walk import Walker
from harness.plan import Options, make_plan
from harness.suite import load_suite
Walker.work = lambda walker, assignment: Outcome()
plan = make_plan(load_suite(sys.argv[1]), Options(), {}, this_machine())
files, facts = work_on_node(Assignment.of(plan, plan.fits[0]).dumps(), "small", False, {}, "")
assert facts["notes"] == [] and "request" not in facts, facts
"""


def test_a_node_fetches_with_its_own_token_which_workers_are_not_given(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    write_small(tmp_path)
    suite = tmp_path / "small.yaml"
    suite.write_text(suite.read_text().replace("path:", "hf:datasets/acme/own@main!"))
    with serve(tmp_path / "repositories") as hub:
        files = {f"{split}.csv": f"text,label\n{split},good\n" for split in ("train", "test")}
        hub.add("datasets/acme/own", {name: text.encode() for name, text in files.items()})
        environment = {
            "HARNESS_CACHE": str(tmp_path / "cache"),
            "HF_HOME": str(tmp_path / "hub"),
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": "hf_of_this_node",
        }
        done = subprocess.run(
            [sys.executable, "-c", ON_A_NODE, str(suite)], env=os.environ | environment,
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert hub.tokens == {"Bearer hf_of_this_node"}
    fetched = {path.read_text() for path in (tmp_path / "cache/files").iterdir()}
    assert fetched == set(files.values())


@pytest.mark.parametrize("protocol", ["file", "memory"])
def test_what_is_shared_is_checked(tmp_path: Path, protocol: str) -> None:
    fsspec = pytest.importorskip("fsspec")
    url = (tmp_path / "shared").as_uri().replace("file", protocol, 1)
    store = SharedStore(url)
    store.check()
    made = tmp_path / "made"
    (made / "artifact").mkdir(parents=True)
    (made / "artifact/weights.bin").write_bytes(b"weights")
    (made / "fit.json").write_text("{}")
    (made / ".half").write_text("half-written")
    (made / "link").symlink_to(tmp_path)
    assert not store.fetch("f", tmp_path / "got")
    store.push("f", made)
    assert store.fetch("f", tmp_path / "got")
    got = {p.relative_to(tmp_path / "got").as_posix() for p in (tmp_path / "got").rglob("*")}
    assert got == {"artifact", "artifact/weights.bin", "fit.json"}
    assert (tmp_path / "got/artifact/weights.bin").read_bytes() == b"weights"

    system, root = fsspec.core.url_to_fs(url)
    listed = json.loads(system.cat_file(f"{root}/fits/f.json"))["files"]
    digest = listed["artifact/weights.bin"]
    system.pipe_file(f"{root}/files/{digest}", b"Weights")  # one bit
    assert not store.fetch("f", tmp_path / "new")
    assert not list(tmp_path.glob("*new*"))
    for name in ("../out", "/out", "a/../../out"):
        system.pipe_file(f"{root}/fits/g.json", json.dumps({"files": {name: digest}}).encode())
        assert not store.fetch("g", tmp_path / "new")


@pytest.mark.parametrize("protocol", ["file", "memory"])
@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_a_shared_file_that_is_damaged_is_written_again_by_who_found_it(
    tmp_path: Path, protocol: str, damage: str
) -> None:
    """A bit of the same size, or an object that a bucket's rules have removed; the list stands."""
    fsspec = pytest.importorskip("fsspec")
    url = (tmp_path / "shared").as_uri().replace("file", protocol, 1)
    made = tmp_path / "made"
    made.mkdir()
    (made / "weights.bin").write_bytes(b"weights")
    SharedStore(url).push("f", made)
    system, root = fsspec.core.url_to_fs(url)
    (digest,) = json.loads(system.cat_file(f"{root}/fits/f.json"))["files"].values()
    if damage == "changed":
        system.pipe_file(f"{root}/files/{digest}", b"Weights")
    else:
        system.rm(f"{root}/files/{digest}")
    finder = SharedStore(url)
    assert not finder.fetch("f", tmp_path / "got")
    finder.push("f", made)  # it has fitted again, and the same bytes came of it
    assert SharedStore(url).fetch("f", tmp_path / "got")
    assert (tmp_path / "got/weights.bin").read_bytes() == b"weights"


def test_a_store_asks_for_no_bucket_and_makes_none() -> None:
    """As s3fs has it: paths begin with the bucket; a folder of one is all that one may touch."""
    fsspec = pytest.importorskip("fsspec")
    from fsspec.implementations.memory import MemoryFileSystem

    class Objects(MemoryFileSystem):
        protocol = "objects"
        there: ClassVar[dict[str, bytes]] = {}

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return path.removeprefix("objects://")

        def makedirs(self, path: str, exist_ok: bool = False) -> None:
            raise PermissionError("Access Denied")

        def pipe_file(self, path: str, value: bytes, mode: str = "", **options: Any) -> None:
            if not path.startswith("bucket/"):
                raise FileNotFoundError("The specified bucket does not exist")
            self.there[path] = value

        def cat_file(self, path: str, start: Any = None, end: Any = None, **options: Any) -> bytes:
            return self.there[path]

    fsspec.register_implementation("objects", Objects, clobber=True)
    SharedStore("objects://bucket/folder").check()
    assert list(Objects.there) == ["bucket/folder/writable.txt"]
    with pytest.raises(RequestError, match="bucket does not exist"):
        SharedStore("objects://buckt/folder").check()


def test_a_shared_file_is_whole_while_it_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a mounted folder: two nodes that share one file write it at a time, a third reads it."""
    pytest.importorskip("fsspec")
    store = SharedStore((tmp_path / "shared").as_uri())
    store._pipe("files/x", b"whole")
    seen: list[bytes | None] = []
    sync = os.fsync

    def look(descriptor: int) -> None:
        seen.append(store._cat("files/x"))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    store._pipe("files/x", b"other")
    assert set(seen[:1]) == {b"whole"} and store._cat("files/x") == b"other"


def test_a_folder_named_from_here_is_the_same_folder_on_every_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fsspec")
    monkeypatch.chdir(tmp_path)
    for url in ("shared", "./shared", "file://shared", f"file://{tmp_path}/shared"):
        assert SharedStore(url).absolute().url == f"file://{tmp_path}/shared"
    assert SharedStore("memory://shared").absolute().url == "memory://shared"


def test_a_cluster_or_a_store_that_is_not_there_is_told(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    write_small(tmp_path)
    for arguments, told in (
        (["--address", "127.0.0.1:1"], "no cluster at '127.0.0.1:1'"),
        (["--store", "nonsense://x"], "--store nonsense://x: cannot be used"),
        (["--jobs", "2"], "--jobs bounds this machine"),
    ):
        asked = harness_run(tmp_path, "--executor", "ray", *arguments)
        out, _ = asked.communicate(timeout=60)
        assert asked.returncode == 2 and told in out and "Traceback" not in out


def test_a_cluster_of_other_versions_is_told_with_both() -> None:
    pytest.importorskip("ray")
    from ray._private.utils import check_version_info

    with pytest.raises(RuntimeError) as raised:
        check_version_info({"ray_version": "2.9.0", "python_version": "3.9.1"}, "node head:6379")
    told = str(_no_cluster("head:6379", raised.value))
    assert "Ray: 2.9.0" in told and "Python: 3.9.1" in told and "no cluster" not in told
    assert f"Python: {sys.version.split()[0]}" in told
    assert "no cluster at 'x:1': refused" in str(_no_cluster("x:1", OSError("refused")))


def test_records_of_a_node_complete_records_and_replace_none(tmp_path: Path) -> None:
    store = Store(tmp_path, "mine")
    place = Place(store, tmp_path / "cache", this_machine())
    write_json(store.run("a") / "status.json", {"status": "ok"})
    before = (store.run("a") / "status.json").read_bytes()
    sent = {
        "runs/a/status.json": b"{}",
        "runs/a/measurements/h-1/timing.json": b"{}",
        "runs/b/status.json": b'{"status": "ok"}',
        "runs/b/metrics.json": b"{}",
    }
    write_records(place, sent)
    assert (store.run("a") / "status.json").read_bytes() == before
    assert (store.run("a") / "measurements/h-1/timing.json").is_file()
    assert (store.run("b") / "metrics.json").is_file()
    with pytest.raises(RequestError, match="a node sent"):
        write_records(place, {"runs/../../../x": b""})


def test_a_failure_that_was_tried_again_gives_way_to_what_came_of_it(tmp_path: Path) -> None:
    store = Store(tmp_path, "mine")
    write_json(store.fit("a") / "status.json", {"status": "failed"})
    write_json(store.fit("b") / "status.json", {"status": "unsupported"})
    sent = {f"fits/{fit}/status.json": b'{"status": "ok"}' for fit in "ab"}
    place = Place(store, tmp_path / "cache", this_machine())
    write_records(place, sent)
    assert (status(store.fit("a")), status(store.fit("b"))) == ("failed", "unsupported")
    write_records(replace(place, retry=True), sent)
    assert (status(store.fit("a")), status(store.fit("b"))) == ("ok", "unsupported")


def test_a_store_that_fails_costs_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_small(tmp_path)
    plan = make_plan(load_suite(str(tmp_path / "small.yaml")), Options(), {}, this_machine())
    text = Assignment.of(plan, plan.fits[0]).dumps()
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "one"))
    (tmp_path / "shared").write_text("a file, where a folder was")
    files, facts = work_on_node(text, "small", False, {}, (tmp_path / "shared").as_uri())
    assert (facts["done"], facts["bad"]) == (1, [])
    assert f"runs/{plan.fits[0].runs[0].run_id}/status.json" in files
    assert any("was not shared" in note for note in facts["notes"])
