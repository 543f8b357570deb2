"""What a complete record swears to: the SHA-256 of each of its files.

A record's ``status.json`` carries ``files`` (name to digest) and ``digest`` (of its own content);
a measurement, whose last file is written by the measuring process, has them in ``digests.json``.
Records older than this carry none, which is said, and is no damage.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from harness.records.files import (
    SCHEMA_VERSION,
    finite,
    make_folder,
    open_file,
    read_json,
    write_json,
)
from harness.records.identity import canonical
from harness.records.secrets import redacted_data

NO_DIGEST = "no digest"
_MISSING = object()


def file_digests(folder: Path, last: str) -> dict[str, str]:
    """SHA-256 of every file directly in a folder, but for hidden ones and ``last``."""
    return {
        path.name: _sha256(path)
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != last and not path.name.startswith(".")
    }


def sealed(folder: Path, facts: dict[str, Any], last: str = "status.json") -> dict[str, Any]:
    """``facts`` with the digests of the folder's files and their own; to be written to ``last``."""
    make_folder(folder)
    return sworn(facts | {"files": file_digests(folder, last)})


def sworn(facts: dict[str, Any]) -> dict[str, Any]:
    """``facts`` as `write_json` writes them, with their own digest."""
    # as it will be written: the digest is of what a reader finds
    content = redacted_data(finite({"schema_version": SCHEMA_VERSION, **facts}))
    return content | {"digest": _own(content)}


def swears_truly(facts: dict[str, Any]) -> bool:
    """False where the content is not that of the digest; True where there is none."""
    content = {key: value for key, value in facts.items() if key != "digest"}
    try:
        return facts.get("digest", _MISSING) in (_MISSING, _own(content))
    except (ValueError, RecursionError):  # NaN, or nested as deep as nothing we write
        return False


def seal(folder: Path, last: str = "digests.json", **facts: Any) -> None:
    """Write ``last``, which carries digests, and ``facts`` of how its files came about."""
    write_json(folder / last, sealed(folder, facts, last))


def damage(folder: Path, last: str = "status.json") -> str | None:
    """What is wrong with a complete record, `NO_DIGEST` for an old one, None for a whole one."""
    facts = read_json(folder / last)
    if facts is None:
        return f"{last} cannot be read" if (folder / last).exists() else NO_DIGEST
    if "digest" not in facts and "files" not in facts:
        return NO_DIGEST
    # a record older than digests has neither: one alone had the other's name damaged
    both = "digest" in facts and isinstance(facts.get("files"), dict)
    if not both or not swears_truly(facts):
        return f"{last} is not what was written"
    for name, wanted in facts["files"].items():
        if not _is_plain(name):
            return f"{last} names {name!r}, which is no file of a record"
        try:
            if _sha256(folder / name) != wanted:
                return f"{name} is not what was written (its SHA-256 differs)"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
    return None


def _is_plain(name: str) -> bool:
    """A name directly in a folder, as every file of a record has; control characters, NUL and
    halves of surrogate pairs are not printable."""
    return name not in ("", ".", "..") and "/" not in name and name.isprintable()


def _own(content: dict[str, Any]) -> str:
    return hashlib.sha256(canonical(content)).hexdigest()


def _sha256(path: Path) -> str:
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
