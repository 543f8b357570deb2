"""Parquet, as the Hugging Face hub lays data sets out (class labels named in the schema)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.data.table import Table
from harness.errors import RequestError

#: Values are Python objects here, some 50 bytes each: more than these do not fit in a memory.
#: (Dictionaries and run lengths let a few kilobytes stand for billions of values.)
MAX_VALUES = 200_000_000
MAX_BYTES = 16 << 30
_BATCH = 1024


def read_parquet(
    path: Path,
    origin: str,
    *,
    columns: list[str] | None = None,
    class_names: dict[str, list[str]] | None = None,
) -> Table:
    """All columns (or those named) as Python values: lists as lists, structs as dicts.

    Integers of a ``ClassLabel`` column become their names, also within lists; -1, the hub's
    "no label", becomes None. ``class_names`` gives or replaces the names of a column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            if columns and (missing := [name for name in columns if name not in schema.names]):
                raise RequestError(
                    f"{origin}: no column {missing[0]!r}; "
                    f"it has {', '.join(map(repr, schema.names))}"
                )
            table = _bounded(file, columns, origin)
    except RequestError:
        raise
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RequestError(f"{origin}: cannot be read as Parquet: {reason}") from None
    names = _class_names(schema.metadata or {}) | (class_names or {})
    if unknown := sorted(set(class_names or {}) - set(schema.names)):
        raise RequestError(f"{origin}: `class_names` of a column {unknown[0]!r} that is not there")
    values = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        plain = column.to_pylist()
        values[name] = _named(plain, names[name], name, origin) if name in names else plain
    return Table(values, origin)


def _bounded(file: Any, columns: list[str] | None, origin: str) -> Any:
    """The table, unless it is too large to hold."""
    import pyarrow as pa

    schema, rows = file.schema_arrow, file.metadata.num_rows
    names = columns or schema.names
    if rows * len(names) > MAX_VALUES:
        raise RequestError(
            f"{origin}: {rows} rows of {len(names)} columns, over the limit of {MAX_VALUES} values;"
            " name fewer under `columns:`, or split the file"
        )
    batches, size = [], 0
    for batch in file.iter_batches(_BATCH, columns=columns):
        size += batch.nbytes
        if size > MAX_BYTES:
            raise RequestError(f"{origin}: unpacks to more than {MAX_BYTES} bytes; split the file")
        batches.append(batch)
    kept = pa.schema([schema.field(name) for name in names], metadata=schema.metadata)
    return pa.Table.from_batches(batches, kept)


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Names of `ClassLabel` columns, plain or within lists, from the hub's schema metadata."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}
    found: dict[str, list[str]] = {}
    for column, feature in features.items() if isinstance(features, dict) else ():
        while isinstance(feature, (dict, list)):
            if isinstance(feature, list):  # older files write a list of one feature
                feature = feature[0] if feature else None
            elif feature.get("_type") == "ClassLabel":
                found[column] = [str(name) for name in feature.get("names") or ()]
                break
            else:
                feature = feature.get("feature")
    return {column: names for column, names in found.items() if names}


def _named(values: list[Any], names: list[str], column: str, origin: str) -> list[Any]:
    def name(value: Any, row: int) -> Any:
        if isinstance(value, list):
            return [name(item, row) for item in value]
        if value is None or value == -1:
            return None
        if isinstance(value, str):
            return value
        if not isinstance(value, int) or not 0 <= value < len(names):
            raise RequestError(
                f"{origin} (row {row + 1}): {column!r} is {value!r}, but it has {len(names)} "
                "class names"
            )
        return names[value]

    return [name(value, row) for row, value in enumerate(values)]
