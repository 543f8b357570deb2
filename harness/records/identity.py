"""Identities: SHA-256 of canonical JSON."""

from __future__ import annotations

import hashlib
import json
from typing import Any

#: hex digits kept in file names and ids: 64 bits, so a million records collide with p < 1e-7
ID_DIGITS = 16

_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
)


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces; NaN is refused, for it equals nothing."""
    return _ENCODER.encode(value).encode()


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, shortened to `ID_DIGITS` hex digits."""
    return hashlib.sha256(canonical(value)).hexdigest()[:ID_DIGITS]


class OpenDigest:
    """`digest` of mappings that differ in a few values only, without going over the rest each time.

    >>> OpenDigest({"a": 1, "b": None}, ("b",))(b=2) == digest({"a": 1, "b": 2})
    True
    """

    def __init__(self, mapping: dict[str, Any], names: tuple[str, ...]) -> None:
        self._mapping = mapping
        text = canonical(mapping | {name: f"\0open {name}" for name in names})
        marks = {name: f'"\\u0000open {name}"'.encode() for name in names}
        found = sorted((text.find(mark), name) for name, mark in marks.items())
        self._pieces: list[tuple[bytes, str]] = []
        at = 0
        for position, name in found:
            self._pieces.append((text[at:position], name))
            at = position + len(marks[name])
        self._rest = text[at:]
        # a user's own text that looks like a mark: digest the long way
        self._plain = any(text.count(mark) != 1 for mark in marks.values())

    def __call__(self, **values: Any) -> str:
        if self._plain:
            return digest(self._mapping | values)
        sha = hashlib.sha256()
        for piece, name in self._pieces:
            sha.update(piece + canonical(values[name]))
        sha.update(self._rest)
        return sha.hexdigest()[:ID_DIGITS]
