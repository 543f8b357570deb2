"""``path:`` sources, parsing, mirrors, the cache's place and the rule about remote code."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

import pytest

from harness.errors import RequestError
from harness.sources import (
    DigestMismatch,
    Unavailable,
    default_cache,
    digests,
    fetch_file,
    fetch_folder,
    member,
    parse,
    remote_code_allowed,
)
from harness.sources.derived import RECEIPT, sign
from harness.sources.keras_zoo import LAYOUT
from harness.suite import FileRef, Model


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "suite" / "model"
    path.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json", "train.py", "old.bin"):
        (path / name).write_bytes(name.encode())
    return path


def test_a_relative_path_starts_at_the_suite_file(folder: Path, tmp_path: Path) -> None:
    found = fetch_file(FileRef(source="path:model/config.json"), tmp_path, base=folder.parent)
    assert found == folder / "config.json"


def test_a_local_file_is_used_where_it_lies_and_never_removed(folder: Path, tmp_path: Path) -> None:
    source = f"path:{folder}/config.json"
    with pytest.raises(DigestMismatch) as caught:
        fetch_file(FileRef(source=source, sha256="0" * 64), tmp_path)
    assert "0" * 64 in str(caught.value) and digest(b"config.json") in str(caught.value)
    assert (folder / "config.json").exists()


def test_a_file_changed_in_between_is_verified_again(folder: Path, tmp_path: Path) -> None:
    ref = FileRef(source=f"path:{folder}/config.json", sha256=digest(b"config.json"))
    fetch_file(ref, tmp_path)
    (folder / "config.json").write_bytes(b"CONFIG.JSON!")
    with pytest.raises(DigestMismatch):
        fetch_file(ref, tmp_path)


def test_a_folder_yields_no_code_and_no_pickles(folder: Path, tmp_path: Path) -> None:
    found = fetch_folder(f"path:{folder}", None, tmp_path)
    assert sorted(found) == ["config.json", "model.safetensors", "tokenizer.json"]


def test_a_pinned_folder_yields_exactly_the_pinned_files(folder: Path, tmp_path: Path) -> None:
    found = fetch_folder(f"path:{folder}", {"old.bin": digest(b"old.bin")}, tmp_path)
    assert found == {"old.bin": folder / "old.bin"}


def test_a_folder_of_pickles_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(RequestError, match=r"only as pickles \(old\.bin\)"):
        fetch_folder(f"path:{folder}", None, tmp_path)


def test_a_missing_file_suggests_a_near_name(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"did you mean 'config\.json'"):
        fetch_file(FileRef(source=f"path:{folder}/confg.json"), tmp_path)


def test_mirrors_are_tried_in_order(folder: Path, tmp_path: Path) -> None:
    ref = FileRef(
        source="path:gone", mirrors=("path:gone-too", "path:config.json", "path:tokenizer.json")
    )
    assert fetch_file(ref, tmp_path, base=folder) == folder / "config.json"


def test_a_mirror_must_have_the_same_digest(folder: Path, tmp_path: Path) -> None:
    ref = FileRef(
        source="path:gone", sha256=digest(b"config.json"), mirrors=("path:tokenizer.json",)
    )
    with pytest.raises(DigestMismatch):
        fetch_file(ref, tmp_path, base=folder)


def test_when_no_mirror_helps_every_reason_is_named(tmp_path: Path) -> None:
    ref = FileRef(source="path:one", mirrors=("path:two",))
    with pytest.raises(Unavailable) as caught:
        fetch_file(ref, tmp_path, base=tmp_path)
    assert "path:one: no such file" in str(caught.value)
    assert "path:two: no such file" in str(caught.value)


def test_an_unknown_scheme_lists_the_known_ones() -> None:
    with pytest.raises(
        RequestError, match=r"unknown source scheme 'ftp'.*hf, keras, path, pypi, timm"
    ):
        parse("ftp:somewhere")


def test_a_source_without_a_scheme_lists_the_known_ones() -> None:
    with pytest.raises(RequestError, match="known schemes: hf:, keras:, path:, pypi:, timm:"):
        parse("data/train.csv")


@pytest.mark.parametrize(
    ("source", "name", "expected"),
    [
        ("pypi:a==1!b/c", "d.json", "pypi:a==1!b/c/d.json"),
        ("pypi:a==1", "d.json", "pypi:a==1!d.json"),
        ("path:b/c/", "d.json", "path:b/c/d.json"),
        ("hf:a/b@v1", "d.json", "hf:a/b@v1!d.json"),
    ],
)
def test_a_member_of_a_folder_has_a_source_of_its_own(
    source: str, name: str, expected: str
) -> None:
    assert member(source, name) == expected


def test_digests_of_a_folder_and_of_a_file(folder: Path, tmp_path: Path) -> None:
    assert digests(f"path:{folder}/config.json", tmp_path) == {
        "config.json": digest(b"config.json")
    }
    assert digests(f"path:{folder}", tmp_path)["tokenizer.json"] == digest(b"tokenizer.json")


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.delenv("HARNESS_CACHE", raising=False)
    assert default_cache() == Path("/x/pretrained-harness")
    monkeypatch.setenv("HARNESS_CACHE", "/y")
    assert default_cache() == Path("/y")


def test_remote_code_needs_both_the_suite_and_the_command_line(tmp_path: Path) -> None:
    plain, trusting = Model(id="m"), Model(id="m", trust_remote_code=True)
    assert remote_code_allowed(plain, False) is False
    assert remote_code_allowed(plain, True) is False
    assert remote_code_allowed(trusting, True) is True
    with pytest.raises(RequestError, match="--trust-remote-code"):
        remote_code_allowed(trusting, False)


def test_a_configuration_that_names_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"auto_map": {"AutoModel": "modeling.Model"}}')
    with pytest.raises(RequestError, match="auto_map"):
        remote_code_allowed(Model(id="m"), True, tmp_path)
    (tmp_path / "modeling.py").touch()
    assert remote_code_allowed(Model(id="m", trust_remote_code=True), True, tmp_path) is True


@pytest.mark.parametrize(
    "rest", ["VGG16@../../../x", "VGG16@/tmp/x", "../x", "VGG16@", "a/b@1", "@1"]
)
def test_a_release_of_keras_is_no_path(tmp_path: Path, rest: str) -> None:
    with pytest.raises(RequestError, match="not of the form keras:NAME"):
        fetch_folder(f"keras:{rest}", None, tmp_path / "cache")
    assert list(tmp_path.rglob("*")) == []


def test_weights_are_not_recorded_under_a_release_of_keras_that_did_not_make_them(
    tmp_path: Path,
) -> None:
    if not find_spec("keras"):
        pytest.skip("Keras is not installed")
    with pytest.raises(Unavailable, match=r"install keras==1\.0"):
        fetch_folder("keras:VGG16@1.0", None, tmp_path / "cache")


def test_a_damaged_folder_of_keras_is_not_used(tmp_path: Path) -> None:
    """It is told to be missing, since this release cannot be installed any more."""
    folder = tmp_path / "cache/keras/VGG16@1.0"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    sign(folder / RECEIPT, {"keras": "1.0", "layout": LAYOUT})
    assert set(fetch_folder("keras:VGG16@1.0", None, tmp_path / "cache")) == {
        "config.json", "model.safetensors",
    }  # fmt: skip
    (folder / "model.safetensors").write_bytes(b"weighty")
    with pytest.raises(RequestError):
        fetch_folder("keras:VGG16@1.0", None, tmp_path / "cache")
