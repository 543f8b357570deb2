"""``--store URL``: what fits made, shared between hosts whose caches are their own.

::

    URL/files/<sha256>      the bytes
    URL/fits/<fit_id>.json  {"files": {path within the fit's folder: sha256}}

The URL is any that fsspec knows: ``file:///...`` (a folder that all hosts mount), ``s3://``,
``gs://`` (those need ``s3fs`` or ``gcsfs``; credentials are each host's own). Files are named by
what they hold and the list is written after them, so that a host lost in mid-upload leaves nothing
that is believed; every byte is checked against its digest when it is fetched. Files are written
and read, and no more: an object store knows no folders, no renaming and no locks.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from harness.errors import RequestError
from harness.records.files import whole_folder, write_bytes
from harness.sources.cache import sha256_of


class _Unusable(Exception):
    """The store has not what its list says."""


@dataclass(frozen=True)
class SharedStore:
    """Fits' folders (`Job.fit_folder`) at a URL."""

    url: str
    #: digests of files that a list names and that could not be had: `push` writes them again
    _wanting: set[str] = field(default_factory=set, compare=False, repr=False)

    def absolute(self) -> SharedStore:
        """The same store by a URL that means it in every working folder and for every user."""
        system, root = self._system()
        return replace(self, url=system.unstrip_protocol(root)) if _is_local(system) else self

    def check(self) -> None:
        """`RequestError` unless there is something at the URL that can be written."""
        probe = b"written by the harness to see whether it can\n"
        try:
            self._pipe("writable.txt", probe)
            ok = self._cat("writable.txt") == probe
        except Exception as error:  # each file system raises its own
            raise RequestError(
                f"--store {self.url}: cannot be used ({type(error).__name__}: {error}); give a "
                "URL like file:///shared/folder, s3://bucket/folder (needs s3fs) or "
                "gs://bucket/folder (needs gcsfs)"
            ) from None
        if not ok:
            raise RequestError(f"--store {self.url}: does not give back what was written")

    def push(self, fit_id: str, folder: Path) -> None:
        """Share a fit's folder, links and hidden files left out."""
        digests = {
            path.relative_to(folder).as_posix(): sha256_of(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not path.is_symlink() and not _hidden(path.relative_to(folder))
        }
        wanting = self._wanting & set(digests.values())
        if self._listed(fit_id) == digests and not wanting:
            return
        for name, digest in digests.items():
            content = (folder / name).read_bytes()
            if digest in wanting or not self._holds(f"files/{digest}", len(content)):
                self._pipe(f"files/{digest}", content)
        self._wanting.difference_update(wanting)
        self._pipe(f"fits/{fit_id}.json", json.dumps({"files": digests}, indent=2).encode())

    def fetch(self, fit_id: str, folder: Path) -> bool:
        """Put a fit's folder in its place; False, and no change, where the store lacks a part of
        it or a byte is wrong."""
        listed = self._listed(fit_id)
        if not listed:
            return False
        try:
            with whole_folder(folder) as scratch:
                for name, digest in listed.items():
                    content = self._cat(f"files/{digest}")
                    if content is None or hashlib.sha256(content).hexdigest() != digest:
                        raise _Unusable
                    (scratch / name).parent.mkdir(parents=True, exist_ok=True)
                    (scratch / name).write_bytes(content)
        except _Unusable:
            # of the right size it would be taken for whole, and what is listed for complete
            self._wanting.update(listed.values())
            return False
        return True

    def _listed(self, fit_id: str) -> dict[str, str]:
        """Digests by name; {} where there is no list, or one that cannot be one."""
        text = self._cat(f"fits/{fit_id}.json")
        try:
            listed = json.loads(text or b"{}")["files"]
            good = all(
                re.fullmatch(r"[0-9a-f]{64}", digest)
                and not PurePosixPath(name).is_absolute()
                and not _hidden(name)
                for name, digest in listed.items()
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return {}
        return dict(listed) if good else {}

    def _holds(self, name: str, size: int) -> bool:
        system, root = self._system()
        try:
            return bool(system.size(f"{root}/{name}") == size)
        except FileNotFoundError:
            return False

    def _cat(self, name: str) -> bytes | None:
        system, root = self._system()
        try:
            return bytes(system.cat_file(f"{root}/{name}"))
        except FileNotFoundError:
            return None

    def _pipe(self, name: str, content: bytes) -> None:
        system, root = self._system()
        path = f"{root}/{name}"
        if _is_local(system):  # fsspec's own would be seen half-written by whoever reads meanwhile
            write_bytes(Path(path), content)
            return
        try:
            # not after `makedirs`: that of s3fs asks for the bucket itself, and where credentials
            # for one folder of it do not show it tries to create it
            system.pipe_file(path, content)
        except FileNotFoundError:
            if not path.startswith("/"):  # the bucket: none is created for a slip of the pen
                raise
            system.makedirs(path.rpartition("/")[0], exist_ok=True)
            system.pipe_file(path, content)

    def _system(self) -> tuple[Any, str]:
        import fsspec

        system, root = fsspec.core.url_to_fs(self.url)
        return system, root.rstrip("/")


def _is_local(system: Any) -> bool:
    """Whether a file system of fsspec is this machine's own, mounts included."""
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(system, LocalFileSystem)


def _hidden(name: str | PurePosixPath | Path) -> bool:
    """True for paths with a part that begins with a dot, ``..`` among them."""
    return any(part.startswith(".") for part in PurePosixPath(name).parts)
