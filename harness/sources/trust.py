"""Code that comes with a checkpoint runs only if the suite and the command line both say so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from harness.errors import RequestError

#: by which transformers finds the code of a model, a tokenizer or a processor
_KEY = "auto_map"
#: what must be readable; other files are only looked through
_NEEDED = ("config.json", "tokenizer_config.json")
#: configurations are small; vocabularies and indices of weights are not looked through
_LARGEST_CONFIG = 1 << 20


class Trusting(Protocol):
    """What is asked of a model entry (`harness.suite.Model` has it)."""

    @property
    def id(self) -> str: ...
    @property
    def trust_remote_code(self) -> bool: ...


def remote_code_allowed(model: Trusting, cli_flag: bool, folder: Path | None = None) -> bool:
    """Whether this model's own Python code may run; its ``folder`` is looked at where given.

    Raises `RequestError` when the suite asks for it without ``--trust-remote-code``, and when
    a configuration in ``folder`` names code (``auto_map``) that is not allowed.
    """
    if model.trust_remote_code and not cli_flag:
        raise RequestError(
            f"model {model.id!r} has `trust_remote_code: true`, which runs Python code from its "
            "source on this machine; if you trust it, add --trust-remote-code to the command"
        )
    if folder is not None and not model.trust_remote_code:
        for path in sorted(folder.glob("*.json")):
            if path.stat().st_size <= _LARGEST_CONFIG and _names_code(path):
                raise RequestError(
                    f"model {model.id!r}: {path.name} names Python code of its own (`auto_map`), "
                    "which is not run. If you trust it, set `trust_remote_code: true` in the "
                    "suite and add --trust-remote-code to the command"
                )
    return model.trust_remote_code


def _names_code(config: Path) -> bool:
    try:
        value = json.loads(config.read_bytes())
    except FileNotFoundError:
        return False
    except (OSError, ValueError, RecursionError) as error:
        if config.name not in _NEEDED:
            return False
        raise RequestError(f"{config}: not readable as JSON: {error}") from None
    return _anywhere(value)


def _anywhere(value: Any) -> bool:
    """Parts of a configuration (of the text or image side of a model) may name code, too."""
    if isinstance(value, dict):
        return any((key == _KEY and bool(item)) or _anywhere(item) for key, item in value.items())
    return isinstance(value, list) and any(_anywhere(item) for item in value)
