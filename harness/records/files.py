"""Files that appear whole or not at all: write beside, fsync, rename."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from harness.errors import RequestError
from harness.records.secrets import redacted_data

SCHEMA_VERSION = 1


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically and durably."""
    with whole_file(path) as file:
        file.write(data)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write piece by piece, which takes its place when the block ends well."""
    with whole_path(path) as beside, open(beside, "wb") as file:
        yield file


@contextmanager
def whole_path(path: Path, *, keep: bool = False) -> Iterator[Path]:
    """`whole_file` for libraries that open what they write: the file to be filled in the block.

    ``keep``: what another process has put there meanwhile is the same, and stays: it may be mapped
    into memory, and over NFS a file that is replaced is gone for other hosts that read it.
    """
    make_folder(path.parent)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        with open(beside, "rb") as file:  # where the library has put another in its place
            os.fsync(file.fileno())
        os.chmod(beside, 0o644)  # mkstemp makes private files; records are to be shared
        if keep and path.exists():
            beside.unlink()
            return
        os.replace(beside, path)
        sync_folder(path.parent)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def make_folder(folder: Path) -> None:
    """A folder and its parents, so that their names survive a power cut as well."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in reversed(new):
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make names in a folder survive a power cut, in the order in which they were given."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:  # a file system that cannot
        pass
    finally:
        os.close(descriptor)


def finite(value: Any) -> Any:
    """Plain JSON data: numpy scalars to Python's, NaN and infinity to null with a reason beside."""
    if isinstance(value, dict):
        result: dict[str, Any] = {}
        for key, item in value.items():
            plain = finite(item)
            result[str(key)] = plain
            if plain is None and item is not None:
                result[f"{key}_reason"] = "not a finite number"
        return result
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if hasattr(value, "tolist"):
        return finite(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    return value


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a record: sorted keys, two spaces, with ``schema_version``."""
    data = redacted_data(finite({"schema_version": SCHEMA_VERSION, **value}))
    text = json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """A record, or None where there is none (or only a damaged one: it does not exist then)."""
    try:
        with open_file(path) as file:
            value = json.loads(file.read())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def open_file(path: Path) -> io.BufferedReader:
    """A regular file, to be read; `OSError` for anything else.

    In a folder from elsewhere a name may be a link to a device that never ends, or a pipe that
    nobody writes to.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a file", str(path))
    return os.fdopen(descriptor, "rb")


def refuse_newer(path: Path, record: Mapping[str, Any]) -> None:
    """`RequestError` where a record's schema is newer than this program."""
    version = record.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise RequestError(
            f"{path}: schema_version {version} is newer than this program reads "
            f"({SCHEMA_VERSION}); upgrade it"
        )


def sweep(folder: Path) -> None:
    """Remove what writers that were killed left half-made in a folder.

    Only for a holder of the folder's lock: a living writer's file looks the same.
    """
    for path in folder.glob(".*.*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A scratch folder beside ``target`` that takes its place when the block ends well."""
    make_folder(target.parent)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield scratch
        os.chmod(scratch, 0o755)
        for path in scratch.rglob("*"):
            if path.is_dir():
                sync_folder(path)
            elif path.is_file():
                with open(path, "rb") as handle:
                    os.fsync(handle.fileno())
        sync_folder(scratch)
        if target.exists():
            shutil.rmtree(target)
        os.replace(scratch, target)
        sync_folder(target.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
