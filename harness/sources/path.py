"""``path:PATH``: local files, used where they lie. Relative paths start at the suite file."""

from __future__ import annotations

import difflib
from pathlib import Path

from harness.errors import RequestError
from harness.sources.base import Context, Source, Unavailable
from harness.sources.cache import check
from harness.sources.model_files import usable


class PathSource(Source):
    """Files are never copied, changed or removed."""

    scheme = "path"
    cached = False

    def file(self, rest: str, sha256: str | None, context: Context) -> Path:
        path = _locate(rest, context)
        if path.is_file():
            return check(path, sha256, f"path:{rest}")
        if path.is_dir():
            raise Unavailable(f"path:{rest}: {path} is a folder, where a file was wanted")
        raise _missing(rest, path)

    def data(self, rest: str, sha256: str | None, context: Context) -> Path:
        path = _locate(rest, context)
        return path if path.is_dir() and not sha256 else self.file(rest, sha256, context)

    def names(self, rest: str, context: Context) -> list[str]:
        path = _locate(rest, context)
        if path.is_file():
            return []
        if not path.is_dir():
            raise _missing(rest, path)
        names = (p.name for p in path.iterdir() if p.is_file())
        return usable(names, f"path:{rest}", code=context.code)


def _locate(rest: str, context: Context) -> Path:
    return local_path(rest, context.base)


def local_path(rest: str, base: Path) -> Path:
    """Where ``path:REST`` of a suite in folder ``base`` lies; `RequestError` for no path."""
    try:
        path = (base / Path(rest).expanduser()).resolve()
        path.exists()  # too long a name is known only to the file system
    except (OSError, RuntimeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RequestError(f"path:{rest[:200]}: is no path here: {reason}") from None
    return path


def _missing(rest: str, path: Path) -> Unavailable:
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, beside, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return Unavailable(f"path:{rest}: no such file or folder: {path}{hint}")
