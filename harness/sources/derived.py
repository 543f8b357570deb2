"""Files made from other files (conversions, exports, quantised weights): when to reuse them.

A receipt beside them names what made them (stage versions, releases of libraries, digests of
inputs) and the SHA-256 of every file. Without a receipt that agrees they are made again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.records.files import read_json, write_json
from harness.sources.cache import sha256_of

#: the receipt of a folder that was made as a whole
RECEIPT = "made.json"


def reusable(receipt: Path, made_by: Mapping[str, Any]) -> bool:
    """True where ``made_by`` made what stands beside ``receipt``, byte for byte."""
    known = read_json(receipt)
    if known is None or known.get("made_by") != dict(made_by):
        return False
    files = known.get("files")
    if not isinstance(files, dict) or not files:
        return False
    return files == {
        name: sha256_of(path) for name in files if (path := receipt.parent / name).is_file()
    }


def sign(receipt: Path, made_by: Mapping[str, Any], files: Iterable[Path] | None = None) -> None:
    """Write the receipt of ``files``, or of all files in its folder."""
    folder = receipt.parent
    made = folder.rglob("*") if files is None else files
    digests = {
        path.relative_to(folder).as_posix(): sha256_of(path)
        for path in made
        if path.is_file() and path != receipt
    }
    write_json(receipt, {"made_by": dict(made_by), "files": digests})
