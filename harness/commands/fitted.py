"""What a run's fit left in the cache, for commands that take it up again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import RequestError
from harness.records.files import read_json
from harness.sources import default_cache
from harness.stages.fit import fit_is_cached


def fitted(record: Path, spec: Mapping[str, Any]) -> Path:
    """The folder of a run's fit in the cache; `RequestError` unless its artifact is whole there."""
    folder = default_cache() / "fits" / spec["fit_id"]
    try:
        held = fit_is_cached(folder)
    except OSError as error:
        raise RequestError(f"{error.filename or folder} cannot be read: {error.strerror}") from None
    if not held:
        raise lost(record, f"the weights of fit {spec['fit_id']}")
    return folder


def lost(record: Path, what: str) -> RequestError:
    """That the cache has not ``what`` of a run, with the command that makes it again."""
    suite = record.parent.parent
    command = (read_json(suite / "plan.json") or {}).get("command") or f"harness run {suite.name}"
    again = f"`{command}` into another results folder (--results DIR) makes them again"
    if command.startswith("harness run "):
        again = f"`{command.removesuffix(' --refit')} --refit` makes them again"
    return RequestError(f"{what} are no longer whole in the cache {default_cache()}; {again}")
