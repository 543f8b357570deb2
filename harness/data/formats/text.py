"""Bytes to text, with complaints that say where."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from pathlib import Path

from harness.errors import RequestError

_WIDE = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: Path, origin: str, encoding: str) -> str:
    """The whole file without a byte order mark; gzip is unpacked.

    `RequestError` with line and byte offset of the first undecodable byte.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RequestError(f"{origin}: cannot be read: {error.strerror or error}") from None
    if data.startswith(b"\x1f\x8b"):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise RequestError(f"{origin}: damaged gzip file: {error}") from None
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except LookupError:
        raise RequestError(
            f"{origin}: unknown encoding {encoding!r}; Python's names are known, for example "
            "utf-8, latin-1, cp1252, utf-16"
        ) from None
    except UnicodeError as error:
        offset = getattr(error, "start", 0)
        line = data.count(b"\n", 0, offset) + 1
        byte = f"byte 0x{data[offset]:02x} at offset {offset}" if offset < len(data) else "its end"
        guess = "utf-16" if data.startswith(_WIDE) else "latin-1"
        raise RequestError(
            f"{origin}:{line}: {byte} is not valid {encoding}; "
            f"name the file's encoding under `options:`, for example `encoding: {guess}`"
        ) from None


def lines_of(text: str) -> list[str]:
    """Lines as editors count them: ended by LF or CR LF, by no other separator of Unicode."""
    return [line.removesuffix("\n").removesuffix("\r") for line in io.StringIO(text, newline="\n")]
