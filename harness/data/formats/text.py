"""Bytes to text, with complaints that say where."""

from __future__ import annotations

import codecs
import io
import json
import zlib
from pathlib import Path
from typing import Any

from harness.errors import RequestError

_WIDE = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


#: Bounds on what a packed file may unpack to. Text packs by 3 to 20 times, and by 1,030 at the very
#: most; whatever unpacks to more than `FREE_BYTES` at over `MAX_RATIO` is made to fill a memory.
FREE_BYTES = 64 << 20
MAX_RATIO = 200
MAX_TEXT_BYTES = 8 << 30


def read_text(path: Path, origin: str, encoding: str) -> str:
    """The whole file without a byte order mark; gzip is unpacked.

    `RequestError` with line and byte offset of the first undecodable byte.
    """
    try:
        if (size := path.stat().st_size) > MAX_TEXT_BYTES:
            raise RequestError(f"{origin}: {size} bytes, over the limit of {MAX_TEXT_BYTES}")
        data = path.read_bytes()
    except OSError as error:
        raise RequestError(f"{origin}: cannot be read: {error.strerror or error}") from None
    if data.startswith(b"\x1f\x8b"):
        data = _unpacked(data, origin)
    if codec_is_slow(encoding):
        raise RequestError(f"{origin}: encoding {encoding!r} is for host names, not for files")
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except (LookupError, TypeError):
        raise RequestError(
            f"{origin}: unknown encoding {encoding!r}; Python's names are known, for example "
            "utf-8, latin-1, cp1252, utf-16"
        ) from None
    except ValueError as error:
        if not isinstance(error, UnicodeError):  # no name of an encoding at all
            raise RequestError(f"{origin}: unknown encoding {encoding!r}: {error}") from None
        offset = getattr(error, "start", 0)
        line = data.count(b"\n", 0, offset) + 1
        byte = f"byte 0x{data[offset]:02x} at offset {offset}" if offset < len(data) else "its end"
        guess = "utf-16" if data.startswith(_WIDE) else "latin-1"
        raise RequestError(
            f"{origin}:{line}: {byte} is not valid {encoding}; "
            f"name the file's encoding under `options:`, for example `encoding: {guess}`"
        ) from None


def codec_is_slow(encoding: str) -> bool:
    """Codecs whose time grows with the square of the text; no data file is written in them."""
    return encoding.lower().replace("-", "_") in ("idna", "punycode")


def _unpacked(data: bytes, origin: str) -> bytes:
    """All members of a gzip file, within the bounds."""
    limit = min(MAX_TEXT_BYTES, max(FREE_BYTES, MAX_RATIO * len(data)))
    parts: list[bytes] = []
    rest, left = data, limit
    try:
        while rest.startswith(b"\x1f\x8b"):  # what follows the last member is padding
            stream = zlib.decompressobj(31)
            parts.append(stream.decompress(rest, left + 1))
            left -= len(parts[-1])
            if left < 0:
                raise RequestError(
                    f"{origin}: unpacks to more than {limit} bytes from {len(data)}; no text packs "
                    "like that, so it was not read"
                )
            if not stream.eof:
                raise EOFError("it ends within its data")
            rest = stream.unused_data.lstrip(b"\0")
    except (EOFError, zlib.error) as error:
        raise RequestError(f"{origin}: damaged gzip file: {error}") from None
    return b"".join(parts)


def parse_json(text: str) -> Any:
    """JSON as plain data; ``ValueError`` where it is none, is nested without end, or holds half
    characters (lone surrogates), which no file could be written with."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if "\\u" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("an escape (\\uD800 to \\uDFFF) stands for half a character") from None
    return value


def lines_of(text: str) -> list[str]:
    """Lines as editors count them: ended by LF or CR LF, by no other separator of Unicode."""
    return [line.removesuffix("\n").removesuffix("\r") for line in io.StringIO(text, newline="\n")]
