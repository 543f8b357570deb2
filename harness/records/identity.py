"""Identities: SHA-256 of canonical JSON."""

from __future__ import annotations

import hashlib
import json
from typing import Any

#: hex digits kept in file names and ids: 64 bits, so a million records collide with p < 1e-7
ID_DIGITS = 16


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces; NaN is refused, for it equals nothing."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode()


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, shortened to `ID_DIGITS` hex digits."""
    return hashlib.sha256(canonical(value)).hexdigest()[:ID_DIGITS]
