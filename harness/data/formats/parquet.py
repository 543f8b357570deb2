"""Parquet, as the Hugging Face hub lays data sets out (class labels named in the schema)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.data.table import Table
from harness.errors import RequestError


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
            table = file.read(columns)
    except (pa.ArrowException, OSError) as error:
        raise RequestError(
            f"{origin}: cannot be read as Parquet: {str(error).splitlines()[0]}"
        ) from None
    names = _class_names(schema.metadata or {}) | (class_names or {})
    if unknown := sorted(set(class_names or {}) - set(schema.names)):
        raise RequestError(f"{origin}: `class_names` of a column {unknown[0]!r} that is not there")
    values = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        plain = column.to_pylist()
        values[name] = _named(plain, names[name], name, origin) if name in names else plain
    return Table(values, origin)


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Names of `ClassLabel` columns, plain or within lists, from the hub's schema metadata."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
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
