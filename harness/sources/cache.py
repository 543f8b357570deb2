"""The download cache: files named by their SHA-256, shared by all suites and processes.

::

    files/<sha256>      the bytes; verified at every use
    wheels/             wheels as downloaded; may be deleted at any time
    resolved/<key>      what a moving name (a branch of the hub) last meant, and what a wheel in
                        wheels/ was when it came; small JSON
    scratch/            work in progress, removed when it ends
    results/<key>.json  a results folder whose records rest on this cache
    locks/              `in_use`, and those of fits, models and devices

Files appear by rename, so that concurrent processes at worst do the same download twice.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from harness.errors import RequestError
from harness.records.files import read_json, write_json
from harness.records.identity import digest
from harness.records.locks import acquire

_CHUNK = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)

#: (path, size, mtime in ns, inode) of files whose digest this process has computed. A digest of
#: 100 MB takes a tenth of a second or more, and a suite looks at the same file many times.
_known: dict[tuple[str, int, int, int], str] = {}


class DigestMismatch(RequestError):
    """The bytes are there, but they are not those that the suite pins."""

    def __init__(self, origin: str, wanted: str, found: str) -> None:
        super().__init__(
            f"{origin}: wrong digest: the suite wants SHA-256 {wanted}, the file has {found}. "
            "It was not used. Check the source; print digests with `harness digest SOURCE`"
        )


def default_cache() -> Path:
    """``$HARNESS_CACHE``, else ``pretrained-harness`` in the user's XDG cache folder."""
    if named := os.environ.get("HARNESS_CACHE"):
        return Path(named).expanduser()
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "pretrained-harness"


@contextmanager
def in_use(cache: Path) -> Iterator[None]:
    """While something reads what the cache holds: `harness gc` removes nothing meanwhile."""
    try:
        held = acquire(users_lock(cache), shared=True)
    except OSError:  # not ours to write, nor to remove from
        held = None
    try:
        yield
    finally:
        if held is not None:
            os.close(held)


def note_results(cache: Path, results: Path) -> None:
    """Note that a folder of records rests on the cache: `harness gc` looks at it from then on."""
    folder = str(results.resolve())
    with suppress(OSError):  # not ours to write, nor to remove from
        write_json(cache / "results" / f"{digest(folder)}.json", {"folder": folder})


def results_folders(cache: Path) -> dict[Path, Path]:
    """Notes of `note_results`, and the results folder that each names; some may be gone by now."""
    notes = {note: read_json(note) for note in sorted((cache / "results").glob("*.json"))}
    return {note: Path(value["folder"]) for note, value in notes.items() if value is not None}


def mark_used(path: Path) -> None:
    """Note the use of something that could be computed anew: `harness gc` goes by the last one."""
    with suppress(OSError):  # not ours to write
        os.utime(path)


def users_lock(cache: Path) -> Path:
    """What all users of a cache share, and who removes from it has alone."""
    return cache / "locks" / "in-use.lock"


def sha256_of(path: Path) -> str:
    """Lower-case hex digest; computed once per process and state of the file."""
    stat = path.stat()
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ino)
    if key not in _known:
        with open(path, "rb") as file:
            _known[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _known[key]


def check(path: Path, sha256: str | None, origin: str) -> Path:
    """``path``, if its digest is ``sha256`` (or none is asked for); else `DigestMismatch`."""
    if sha256 is not None and (found := sha256_of(path)) != sha256:
        raise DigestMismatch(origin, sha256, found)
    return path


def stored(cache: Path, sha256: str) -> Path | None:
    """The cached file of that digest; one that has been damaged since is removed."""
    path = cache / "files" / sha256
    if not path.is_file():
        return None
    if sha256_of(path) != sha256:
        path.unlink(missing_ok=True)
        return None
    return path


def store(
    stream: BinaryIO,
    cache: Path,
    sha256: str | None,
    origin: str,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Copy a stream into the cache; `DigestMismatch` and nothing kept if it is another file.

    ``progress`` is called with the number of bytes so far.
    """
    folder = cache / "files"
    with disk_errors(origin, folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".partial-", dir=folder)
        try:
            digest, size = hashlib.sha256(), 0
            with os.fdopen(handle, "wb") as out:
                while chunk := stream.read(_CHUNK):
                    out.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
                    if progress:
                        progress(size)
                out.flush()
                os.fsync(out.fileno())
            return _keep(Path(name), folder, digest.hexdigest(), sha256, origin)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def adopt(path: Path, cache: Path, sha256: str | None, origin: str) -> Path:
    """Move a finished file from `scratch` into the cache, under the same conditions."""
    folder = cache / "files"
    with disk_errors(origin, folder), open(path, "rb+") as file:
        folder.mkdir(parents=True, exist_ok=True)
        found = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
        return _keep(path, folder, found, sha256, origin)


def _keep(path: Path, folder: Path, found: str, wanted: str | None, origin: str) -> Path:
    if wanted is not None and found != wanted:
        raise DigestMismatch(origin, wanted, found)
    os.chmod(path, 0o644)  # temporary files are private; the cache may be shared
    target = folder / found
    os.replace(path, target)
    stat = target.stat()
    _known[(str(target.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ino)] = found
    return target


@contextmanager
def scratch(cache: Path) -> Iterator[Path]:
    """A folder on the cache's file system that is gone when the block ends."""
    root = cache / "scratch"
    with disk_errors("a download", root):
        root.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def disk_errors(origin: str, folder: Path) -> Iterator[None]:
    """A full or read-only disk as one clear message."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise disk_full(origin, folder) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise RequestError(
                f"{origin}: cannot write to {folder} ({error.strerror}); "
                "set HARNESS_CACHE to a folder that you may write to"
            ) from error
        raise


def disk_full(origin: str, folder: Path) -> RequestError:
    return RequestError(
        f"{origin}: the disk is full under {folder}; nothing of it was kept. "
        "Make room there, or set HARNESS_CACHE to a folder on another disk"
    )


def remember(cache: Path, key: str, value: dict[str, Any]) -> None:
    """Note what a name was resolved to, for use without a network."""
    path = _note(cache, key)
    with disk_errors(key, path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".partial-", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({"key": key, **value}, file)
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def recall(cache: Path, key: str) -> dict[str, Any] | None:
    """What `remember` noted last, or None."""
    try:
        value = json.loads(_note(cache, key).read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) and value.get("key") == key else None


def _note(cache: Path, key: str) -> Path:
    return cache / "resolved" / f"{hashlib.sha256(key.encode()).hexdigest()}.json"
