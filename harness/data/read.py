"""Any data file as a `Table`: the format by name or extension, the options checked."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, ValidationError, validate_call

from harness.data.table import Table
from harness.errors import RequestError
from harness.registry import Registry

formats = Registry(
    "harness.formats",
    "data format",
    built_in={
        "conll": "harness.data.formats.conll:read_conll",
        "csv": "harness.data.formats.delimited:read_csv",
        "image-folder": "harness.data.formats.image_folder:read_image_folder",
        "jsonl": "harness.data.formats.jsonlines:read_jsonl",
        "npz": "harness.data.formats.arrays:read_npz",
        "orange-tab": "harness.data.formats.delimited:read_orange_tab",
        "parquet": "harness.data.formats.parquet:read_parquet",
        "pixel-csv": "harness.data.formats.arrays:read_pixel_csv",
        "squad": "harness.data.formats.squad:read_squad",
        "tsv": "harness.data.formats.delimited:read_tsv",
    },
)

_BY_EXTENSION = {
    ".bio": "conll",
    ".conll": "conll",
    ".csv": "csv",
    ".iob": "conll",
    ".iob2": "conll",
    ".json": "squad",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".npz": "npz",
    ".parquet": "parquet",
    ".tab": "orange-tab",
    ".tsv": "tsv",
}
_PARQUET_MAGIC = b"PAR1"
#: the one format that is a folder
_FOLDER = "image-folder"


def read_table(path: Path, format: str | None, options: Mapping[str, Any], origin: str) -> Table:
    """Read a local file or folder from ``origin`` (a path or source string, for messages).

    ``format`` None is guessed from the extension of ``origin``. Raises `RequestError` for an
    unknown format, an unknown or ill-typed option, unreadable content, and no rows.
    """
    if not path.exists():
        raise RequestError(f"{origin}: no such file: {path}")
    name = format or _guess(path, origin)
    reader = formats.get(name, where=origin)
    if path.is_dir() and name != _FOLDER:
        raise RequestError(f"{origin}: is a folder, which `format: {name}` cannot read")
    table = _call(reader, path, origin, name, options)
    if not len(table):
        raise RequestError(f"{origin}: holds no examples (read as `format: {name}`)")
    return table


def _guess(path: Path, origin: str) -> str:
    if path.is_dir():
        return _FOLDER
    for named in (origin, path.name):
        extension = Path(named.removesuffix(".gz")).suffix.lower()
        if extension in _BY_EXTENSION:
            return _BY_EXTENSION[extension]
    if path.is_file():
        with open(path, "rb") as file:
            if file.read(len(_PARQUET_MAGIC)) == _PARQUET_MAGIC:  # a split from the hub
                return "parquet"
    raise RequestError(
        f"{origin}: its extension does not tell its format; "
        f"say `format:`, one of {', '.join(formats.names())}"
    )


def _call(
    reader: Callable[..., Table], path: Path, origin: str, name: str, options: Mapping[str, Any]
) -> Table:
    known = [
        parameter.name
        for parameter in inspect.signature(reader).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]
    for option in options:
        if option not in known:
            close = difflib.get_close_matches(option, known, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise RequestError(
                f"{origin}: unknown option {option!r} of `format: {name}`; "
                f"{hint}known: {', '.join(known)}"
            )
    checked = validate_call(config=ConfigDict(arbitrary_types_allowed=True))(reader)
    try:
        return checked(path, origin, **options)
    except ValidationError as error:
        finding = error.errors()[0]
        option = ".".join(map(str, finding["loc"]))
        raise RequestError(
            f"{origin}: option {option!r}: {finding['msg']} (got {finding['input']!r})"
        ) from None
