"""Prepared arrays on disk: one ``.npz`` file, no pickle.

Every file is a list of named columns. Numeric arrays are stored as they are, `Ragged` columns as
values and offsets, `Pixels` as bytes with mean and std, and object arrays (text, lists of words) as
JSON.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.records.files import write_bytes
from harness.tasks.base import Column, Encoded, Pixels, Ragged

#: the entry of the archive that lists the columns
_LAYOUT = "layout"
#: the parts of an `Encoded` that hold named columns
_GROUPS = ("inputs", "targets", "extras")


def save_encoded(path: Path, encoded: Encoded) -> None:
    """Write one split to ``path``, atomically."""
    columns: dict[str, Column] = {
        "example_index": encoded.example_index,
        "truncated": encoded.truncated,
    }
    for group in _GROUPS:
        for name, column in getattr(encoded, group).items():
            columns[f"{group}/{name}"] = column
    _save(path, columns)


def load_encoded(path: Path) -> Encoded:
    """Read what `save_encoded` wrote; tuples in object arrays come back as lists.

    Raises ``ValueError`` on a file that it did not write, ``OSError`` on a missing one.
    """
    columns = _load(path)
    groups: dict[str, dict[str, Any]] = {group: {} for group in _GROUPS}
    for key, column in columns.items():
        group, slash, name = key.partition("/")
        if slash:
            groups[group][name] = column
    example_index, truncated = columns["example_index"], columns["truncated"]
    assert isinstance(example_index, np.ndarray) and isinstance(truncated, np.ndarray)
    return Encoded(groups["inputs"], groups["targets"], example_index, truncated, groups["extras"])


def save_ragged_list(path: Path, rows: Sequence[np.ndarray]) -> None:
    """Write float arrays of any shapes, (outputs,) or (length, outputs) each, atomically."""
    shapes = [np.shape(row) for row in rows]
    _save(
        path,
        {
            "values": np.concatenate([np.ravel(row) for row in rows] or [np.empty(0)]).astype(
                np.float32
            ),
            "shapes": Ragged.of(shapes, np.int64),
        },
    )


def load_ragged_list(path: Path) -> list[np.ndarray]:
    """Read what `save_ragged_list` wrote: float32 arrays in their shapes."""
    columns = _load(path)
    values, shapes = columns["values"], columns["shapes"]
    assert isinstance(values, np.ndarray) and isinstance(shapes, Ragged)
    sizes = [int(np.prod(shapes[i])) for i in range(len(shapes))]
    ends = np.cumsum(sizes, dtype=np.int64)
    return [
        values[end - size : end].reshape(shapes[i])
        for i, (size, end) in enumerate(zip(sizes, ends, strict=True))
    ]


def _save(path: Path, columns: Mapping[str, Column]) -> None:
    layout: list[dict[str, Any]] = []
    entries: dict[str, np.ndarray] = {}
    for number, (name, column) in enumerate(columns.items()):
        kind = "array"
        more: dict[str, Any] = {}
        if isinstance(column, Ragged):
            kind = "ragged"
            entries[f"{number}.offsets"] = column.offsets
            column = column.values
        elif isinstance(column, Pixels):
            kind, more = "pixels", {"mean": column.mean, "std": column.std}
            column = column.values
        if column.dtype.kind in "OT":  # objects and variable-width strings would need pickle
            kind += "-json"
            column = _bytes(column.tolist())
        entries[str(number)] = column
        layout.append({"name": name, "kind": kind, **more})
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **{_LAYOUT: _bytes(layout)}, **entries)
    write_bytes(path, buffer.getvalue())


def _load(path: Path) -> dict[str, Column]:
    with np.load(path, allow_pickle=False) as archive:
        if _LAYOUT not in archive:
            raise ValueError(f"{path}: not a file of prepared arrays")
        columns: dict[str, Column] = {}
        for number, entry in enumerate(_parsed(archive[_LAYOUT])):
            column = archive[str(number)]
            if entry["kind"].endswith("-json"):
                column = object_array(_parsed(column))
            if entry["kind"].startswith("ragged"):
                columns[entry["name"]] = Ragged(column, archive[f"{number}.offsets"])
            elif entry["kind"] == "pixels":
                mean, std = tuple(entry["mean"]), tuple(entry["std"])
                columns[entry["name"]] = Pixels(column, mean, std)
            else:
                columns[entry["name"]] = column
        return columns


def object_array(items: Sequence[Any]) -> np.ndarray:
    """(items,) object array; numpy's own constructor would turn equal-length lists into 2-D."""
    array = np.empty(len(items), object)
    for i, item in enumerate(items):
        array[i] = item
    return array


def _bytes(value: Any) -> np.ndarray:
    text = json.dumps(value, ensure_ascii=False, default=_plain)
    return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"a column holds {type(value).__name__}, which JSON has no form for")


def _parsed(data: np.ndarray) -> Any:
    return json.loads(data.tobytes().decode("utf-8", "surrogatepass"))
