"""A disk that is full or read-only is one message of any command, and no traceback."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.errors import DiskTrouble
from tests.conftest import MAJORITY_SUITE, Answer, call_harness

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="mounts a small disk"
)

SUITE = MAJORITY_SUITE.replace("matrix:", "tune: {space: {baseline: {C: [1]}}}\nmatrix:")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """256 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("may not mount here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text("text,label\n" + "good,x\nbad,y\n" * 10)
    (tmp_path / "mine.yaml").write_text(SUITE)
    return tmp_path


def told(answer: Answer, *parts: str) -> None:
    assert answer.status == 2 and "Traceback" not in answer.err, answer.err
    said = answer.err.strip().splitlines()[-1]
    assert said.startswith("harness: ") and all(part in said for part in parts), said


def fetch(folder: Path, disk: Path) -> tuple[Answer, str]:
    """A local checkpoint that is larger than the cache's disk."""
    checkpoint = folder / "net"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text("{}")
    (checkpoint / "model.safetensors").write_bytes(bytes(400_000))
    (folder / "mine.yaml").write_text(SUITE.replace("kind: majority", 'source: "path:net"'))
    return call_harness("fetch", "mine.yaml", cwd=folder, cache=disk), "No space left on device"


def tune(folder: Path, disk: Path) -> tuple[Answer, str]:
    (disk / "filler").write_bytes(bytes(256 * 1024))
    command = ("tune", "mine.yaml", "--results", disk)
    return call_harness(*command, cwd=folder, cache=folder / "cache"), "No space left on device"


def gc(folder: Path, disk: Path) -> tuple[Answer, str]:
    (disk / "fits" / "0123456789abcdef").mkdir(parents=True)
    (folder / "results").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    return call_harness("gc", "--yes", cwd=folder, cache=disk), "Read-only file system"


@pytest.mark.parametrize("command", [fetch, tune, gc])
def test_what_the_disk_refuses_is_told(
    folder: Path, disk: Path, command: Callable[[Path, Path], tuple[Answer, str]]
) -> None:
    answer, why = command(folder, disk)
    told(answer, "cannot write", why, "HARNESS_CACHE")


def test_other_errors_of_the_system_are_not_put_down_to_a_disk() -> None:
    assert DiskTrouble.told_by(FileNotFoundError(errno.ENOENT, "gone", "x"), "") is None
    assert DiskTrouble.told_by(OSError("a bug"), "") is None
