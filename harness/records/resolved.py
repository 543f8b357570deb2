"""``resolved.json``: what `fit_dtype: auto` came to, per model, device and host.

Fits are named by what stands here, so a file that is not what was written is refused instead of
taken for empty: to measure anew would name them otherwise and lose what other hosts have measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.errors import RequestError
from harness.records.digests import NO_DIGEST, swears_truly, sworn
from harness.records.files import read_json, write_json

RESOLVED_FILE = "resolved.json"

Entries = dict[str, dict[str, Any]]
_DTYPES = ("float32", "bfloat16", "float16")


def read_resolved(path: Path) -> Entries:
    """Entries by auto key, each with ``fit_dtype`` and the ``figures``; {} where there is no file.

    Raises `RequestError` for a damaged one. Files older than digests are read as they are.
    """
    if not path.exists():
        return {}
    what = resolved_damage(path)
    if what and what != NO_DIGEST:
        raise RequestError(
            f"{path}: {what}; it holds what `fit_dtype: auto` came to, by which fits are named. "
            "Restore it from a copy, or remove it to have `auto` measured anew on every host"
        )
    return dict((read_json(path) or {})["entries"])


def resolved_damage(path: Path) -> str | None:
    """What is wrong with the file, `NO_DIGEST` for one older than digests, None for a whole one."""
    facts = read_json(path)
    if facts is None:
        return "it cannot be read"
    entries = facts.get("entries")
    whole = isinstance(entries, dict) and all(_is_entry(entry) for entry in entries.values())
    if not whole or not swears_truly(facts):
        return "it is not what was written"
    return None if "digest" in facts else NO_DIGEST


def write_resolved(path: Path, entries: Entries) -> None:
    """The caller holds the lock under which they were read."""
    write_json(path, sworn({"entries": entries}))


def dtypes(entries: Entries, *, retry: bool = False) -> dict[str, str]:
    """Auto key to dtype; with ``retry`` without those whose measurement failed."""
    return {key: e["fit_dtype"] for key, e in entries.items() if not (retry and failure(e))}


def failure(entry: dict[str, Any]) -> str:
    """Why an entry's dtype could not be measured, so that it is float32; empty if it was."""
    return str(entry.get("figures", {}).get("failed", ""))


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and entry.get("fit_dtype") in _DTYPES
        and isinstance(entry.get("figures", {}), dict)
    )
