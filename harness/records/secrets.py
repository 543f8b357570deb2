"""What must never be written down: passwords and tokens that the environment holds.

They get into messages by way of libraries, which quote URLs and variables in their errors. So every
record and every printed message passes `redacted`, and workers are not given them at all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

#: how people name a variable that holds a secret
_NAMES = re.compile(
    r"(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|API_?KEY|ACCESS_?KEY"
    r"|PRIVATE_?KEY|AUTH)(_|$|\d)",
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
    """``text`` without the values of secret variables, and without passwords in URLs."""
    for name, value in (os.environ if environment is None else environment).items():
        if len(value) >= _SHORTEST and value in text and is_secret(name):
            text = text.replace(value, HIDDEN)
    return _IN_URL.sub(HIDDEN, text) if "@" in text else text


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process that needs no secret."""
    return {name: value for name, value in environment.items() if not is_secret(name)}
