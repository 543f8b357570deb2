"""Pixels in numpy's ``.npz`` and in CSV, one row an image."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import numpy as np

from harness.data.formats.text import FREE_BYTES, MAX_RATIO, read_text
from harness.data.pictures import scaled
from harness.data.table import Table
from harness.errors import RequestError


def read_npz(
    path: Path,
    origin: str,
    *,
    images: str = "images",
    labels: str = "labels",
    class_names: list[str] | None = None,
) -> Table:
    """Columns ``image`` ((height, width[, channels]) each) and ``label`` of two arrays.

    ``images: x_{split}`` reads ``x_train`` and ``x_test`` of a file that holds both, as Keras
    lays its data sets out. No pickle is read.
    """
    try:
        _check_size(path, origin)
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise RequestError(f"{origin}: is a single array, not an .npz of several")
        with archive:
            missing = [name for name in (images, labels) if name not in archive]
            if missing:
                raise RequestError(
                    f"{origin}: no array {missing[0]!r}; it has {', '.join(archive.files)}"
                )
            pixels, targets = archive[images], archive[labels]
            if not all(isinstance(array, np.ndarray) for array in (pixels, targets)):
                raise RequestError(f"{origin}: {images!r} or {labels!r} is no array")
    except RequestError:
        raise
    except Exception as error:  # of zipfile, zlib and numpy, which parses its headers as Python
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RequestError(f"{origin}: cannot be read as .npz: {reason[:200]}") from None
    targets = targets.reshape(-1) if targets.ndim == 2 and targets.shape[1] == 1 else targets
    if pixels.ndim not in (3, 4) or targets.ndim != 1 or len(pixels) != len(targets):
        raise RequestError(
            f"{origin}: {images!r} has the shape {pixels.shape} and {labels!r} {targets.shape}; "
            "wanted (images, height, width[, channels]) and (images,)"
        )
    values = [named(value, class_names, origin) for value in targets.tolist()]
    try:
        shades = pixels if pixels.dtype == np.uint8 else scaled(pixels)
    except ValueError as error:
        raise RequestError(f"{origin}: {images!r} holds {error}") from None
    return Table({"image": list(shades), "label": values}, origin)


def _check_size(path: Path, origin: str) -> None:
    """`RequestError` for an archive that unpacks to a thousand times itself."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        whole = sum(entry.file_size for entry in archive.infolist())
    packed = path.stat().st_size
    if whole > max(FREE_BYTES, MAX_RATIO * packed):
        raise RequestError(
            f"{origin}: {packed} bytes that unpack to {whole}: no images pack like that, so it was "
            "not read"
        )


def read_pixel_csv(
    path: Path,
    origin: str,
    *,
    label: int = -1,
    header: bool = False,
    highest: float = 255,
    width: int | None = None,
    class_names: list[str] | None = None,
) -> Table:
    """One image a line: grey pixels row by row, and the label in column ``label`` (0-based).

    ``highest`` is the value of white (16 in scikit-learn's digits); ``width`` of an image that is
    not square.
    """
    if highest <= 0 or (width is not None and width < 1):
        raise RequestError(f"{origin}: `highest` and `width` are above 0")
    reader = csv.reader(io.StringIO(read_text(path, origin, "utf-8")), quoting=csv.QUOTE_NONE)
    try:
        numbered = [(reader.line_num, row) for row in reader if row][1 if header else 0 :]
    except csv.Error as error:
        raise RequestError(f"{origin}:{reader.line_num}: not readable as CSV: {error}") from None
    if not numbered:
        return Table({}, origin)
    lines, rows = [line for line, _ in numbered], [row for _, row in numbered]
    columns = len(rows[0])
    for line, row in numbered:
        if len(row) != columns:
            raise RequestError(
                f"{origin}:{line}: {len(row)} fields, where line {lines[0]} has {columns}"
            )
    if not -columns <= label < columns:
        raise RequestError(f"{origin}: `label` is column {label}, but there are {columns}")
    targets = [row.pop(label) for row in rows]
    count = columns - 1
    wide = width or round(count**0.5)
    if not wide or count % wide or (width is None and wide * wide != count):
        raise RequestError(f"{origin}: {count} pixels are no square; say `width:` under `options:`")
    try:
        pixels = np.array(rows, np.float32).reshape(len(rows), -1, wide)
    except ValueError as error:
        raise RequestError(f"{origin}: a pixel is no number: {error}") from None
    if not (pixels.min() >= 0 and pixels.max() <= highest):  # not a number is neither
        raise RequestError(
            f"{origin}: pixels between {pixels.min():g} and {pixels.max():g}; white is "
            f"`highest: {highest:g}`"
        )
    shades = np.rint(pixels * (255 / highest)).astype(np.uint8)
    plain = [float(t) if _is_number(t) else t for t in targets]
    values = [named(value, class_names, origin) for value in plain]
    return Table({"image": list(shades), "label": values}, origin, lines)


def named(value: object, names: list[str] | None, origin: str) -> object:
    """A label's name, where names are given for the numbers from 0."""
    if names is None:
        return value
    if not isinstance(value, int | float) or not 0 <= value < len(names) or value != int(value):
        raise RequestError(f"{origin}: label {value!r}, but there are {len(names)} `class_names`")
    return names[int(value)]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
