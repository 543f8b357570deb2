"""What must never be written down: passwords and tokens that the environment holds.

They get into messages by way of libraries, which quote URLs and variables in their errors. So every
record and every printed message passes `redacted`, and workers are not given them at all.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any

#: how people name a variable that holds a secret
_NAMES = re.compile(
    r"(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|API_?KEY|ACCESS_?KEY"
    r"|PRIVATE_?KEY|AUTH|CONNECTION_?STRING)(_|$|\d)"
    # words that mean something else in the middle of a name, and a shell's own PWD
    r"|(^|_)(KEY|PASS|PAT|DSN)\d*$|_PWD$",
    re.IGNORECASE,
)
#: shorter values are words ("true", "none") that stand in any text
_SHORTEST = 8
#: user and password in a URL
_IN_URL = re.compile(r"(?<=://)[^/\s:@\"']*:[^/\s@\"']+(?=@)")
#: what stands in their place
HIDDEN = "***"


def is_secret(name: str) -> bool:
    """Whether an environment variable of that name holds a secret."""
    return bool(_NAMES.search(name))


def redacted(text: str, environment: Mapping[str, str] | None = None) -> str:
    """``text`` without the values of secret variables, and without passwords in URLs.

    Values are found as they are and as JSON writes them (quotes, backslashes, other letters).
    """
    return _hide(text, _forms(os.environ if environment is None else environment))


def redacted_data(value: Any) -> Any:
    """Plain JSON data with its texts, keys among them, `redacted`.

    Numbers and structure stay: a secret that reads like one, or like a part of the file's own
    form, must not make a record unreadable.
    """
    return _hide_in(value, _forms(os.environ))


def _hide_in(value: Any, forms: list[str]) -> Any:
    if isinstance(value, dict):
        return {_hide_in(key, forms): _hide_in(item, forms) for key, item in value.items()}
    if isinstance(value, list):
        return [_hide_in(item, forms) for item in value]
    return _hide(value, forms) if isinstance(value, str) else value


def _hide(text: str, forms: list[str]) -> str:
    for form in forms:
        text = text.replace(form, HIDDEN)
    return _IN_URL.sub(HIDDEN, text) if "@" in text else text


def _forms(environment: Mapping[str, str]) -> list[str]:
    """What secrets look like, the longest first, lest a part of one hide before the whole."""
    values = [v for name, v in environment.items() if len(v) >= _SHORTEST and is_secret(name)]
    written = {json.dumps(v, ensure_ascii=ascii)[1:-1] for v in values for ascii in (False, True)}
    return sorted({*values, *written}, key=len, reverse=True)


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process that needs no secret."""
    return {name: value for name, value in environment.items() if not is_secret(name)}
