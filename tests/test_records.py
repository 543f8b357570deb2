"""Records appear whole or not at all."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from harness.errors import RequestError
from harness.execute.launches import next_measurement
from harness.records.digests import damage
from harness.records.files import read_json, whole_folder, whole_path, write_bytes, write_json
from harness.records.identity import canonical, digest
from harness.records.resolved import dtypes, read_resolved, write_resolved
from harness.records.store import Store, finish, is_done, status_of


def test_nan_and_infinity_become_null_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"x": math.nan, "y": np.float32(0.5), "z": [math.inf, 1]})
    assert json.loads(path.read_text()) == {
        "schema_version": 1,
        "x": None,
        "x_reason": "not a finite number",
        "y": 0.5,
        "z": [None, 1],
    }


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})
    with pytest.raises(TypeError):
        write_bytes(path, "not bytes")  # type: ignore[arg-type]
    assert read_json(path) == {"schema_version": 1, "x": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_damaged_record_does_not_exist(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"x": 1')
    assert read_json(tmp_path / "a.json") is None


def test_a_record_that_quotes_a_secret_is_whole_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_PASSWORD", 'open "sesame"')
    reason = 'no access with open "sesame" at https://me:pass@host/x'
    finish(tmp_path, "failed", reason, log_tail=["a line", reason])
    assert damage(tmp_path) is None
    status = status_of(tmp_path)
    assert status is not None and status["reason"] == "no access with *** at https://***@host/x"
    assert status["log_tail"] == ["a line", status["reason"]]


def test_a_secret_that_reads_like_a_number_or_like_json_leaves_a_record_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPLOY_SECRET", "20240601")
    monkeypatch.setenv("OTHER_SECRET", '"reason"')
    finish(
        tmp_path, "failed", "no access with 20240601", seed=20240601, by={"20240601": [20240601]}
    )
    assert damage(tmp_path) is None
    facts = status_of(tmp_path) or {}
    assert facts["reason"] == "no access with ***"
    assert facts["seed"] == 20240601 and facts["by"] == {"***": [20240601]}


def test_names_of_new_folders_are_on_disk_with_their_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut loses a record whose file was safe."""
    synced = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").resolve())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    write_json(tmp_path / "suite" / "fits" / "a" / "spec.json", {})
    folders = [path for path in synced if path.is_dir()]
    new = tmp_path / "suite"
    assert folders == [tmp_path, new, new / "fits", new / "fits" / "a"]
    with whole_folder(tmp_path / "made") as scratch:
        (scratch / "deep").mkdir()
        (scratch / "deep" / "file").write_text("x")
    assert scratch / "deep" in synced and scratch in synced
    with whole_path(tmp_path / "a.safetensors") as beside:
        beside.write_bytes(b"x")  # as a library does, which does not ask the disk
    assert beside in synced and not beside.exists()


@pytest.mark.parametrize("name", ["digest", "files"])
def test_a_damaged_name_of_a_digest_is_no_old_record(tmp_path: Path, name: str) -> None:
    finish(tmp_path, "ok")
    path = tmp_path / "status.json"
    path.write_text(path.read_text().replace(f'"{name}"', f'"{name[:-1]}~"'))
    assert damage(tmp_path) == "status.json is not what was written"


RESOLVED = {"a": {"fit_dtype": "bfloat16", "figures": {}}, "b": {"fit_dtype": "float32"}}


def test_what_auto_came_to_is_read_as_written(tmp_path: Path) -> None:
    path = tmp_path / "resolved.json"
    assert read_resolved(path) == {}
    write_resolved(path, RESOLVED)
    assert read_resolved(path) == RESOLVED
    write_json(path, {"entries": RESOLVED})  # older than digests
    assert dtypes(read_resolved(path)) == {"a": "bfloat16", "b": "float32"}


@pytest.mark.parametrize(
    ("old", "new"),
    [("fit_dtype", "fit_dtypf"), ("bfloat16", "bfloat17"), ("entries", "entriet"), ("{", "")],
)
@pytest.mark.parametrize("sealed", [True, False])
def test_a_damaged_file_of_dtypes_is_refused_and_kept(
    tmp_path: Path, old: str, new: str, sealed: bool
) -> None:
    path = tmp_path / "resolved.json"
    if sealed:
        write_resolved(path, RESOLVED)
    else:
        write_json(path, {"entries": RESOLVED})
    harmed = path.read_text().replace(old, new, 1)
    path.write_text(harmed)
    with pytest.raises(RequestError, match=r"resolved\.json: it .*Restore it"):
        read_resolved(path)
    assert path.read_text() == harmed


def test_a_dtype_that_could_not_be_measured_is_open_to_another_try() -> None:
    entries = {"a": {"fit_dtype": "float32", "figures": {"failed": "timeout: too long"}}}
    assert dtypes(entries) == {"a": "float32"} and dtypes(entries, retry=True) == {}


def test_a_folder_is_replaced_only_when_its_block_ends_well(tmp_path: Path) -> None:
    target = tmp_path / "f"
    with whole_folder(target) as scratch:
        (scratch / "a").write_text("first")
    with pytest.raises(RuntimeError), whole_folder(target) as scratch:
        (scratch / "a").write_text("half of the second")
        raise RuntimeError
    assert (target / "a").read_text() == "first"
    assert os.listdir(tmp_path) == ["f"]


def test_a_record_is_complete_only_with_its_status(tmp_path: Path) -> None:
    store = Store(tmp_path, "s")
    record = store.run("abc")
    write_json(record / "metrics.json", {"score": 1.0})
    assert not is_done(record)
    finish(record, "ok")
    assert is_done(record) and (status_of(record) or {})["status"] == "ok"


def test_a_copy_of_a_measurement_is_none(tmp_path: Path) -> None:
    store = Store(tmp_path, "s")
    for name in ("host-1", "host-1.bak", "host-copy", "host-x-1"):
        write_json(store.run("a") / "measurements" / name / "timing.json", {})
    assert [path.name for path in store.measurements("a", "host")] == ["host-1"]
    assert next_measurement(store, "a", "host").name == "host-2"


def test_a_results_folder_that_cannot_be_written_is_one_clear_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match=r"cannot be written .*--results DIR"):
        Store(tmp_path / "file", "s").check_writable()


def test_two_hosts_that_look_at_one_results_folder_do_not_trip_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two processes with the same number one may remove what the other made."""
    touch = Path.touch

    def touch_and_lose(path: Path) -> None:
        touch(path)
        path.unlink()

    monkeypatch.setattr(Path, "touch", touch_and_lose)
    Store(tmp_path, "s").check_writable()


def test_identity_ignores_key_order_and_refuses_nan() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    with pytest.raises(ValueError):
        canonical({"a": math.nan})
