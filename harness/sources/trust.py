"""Code that comes with a checkpoint runs only if the suite and the command line both say so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol

from harness.errors import RequestError


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
        for path in (folder / "config.json", folder / "tokenizer_config.json"):
            if _names_code(path):
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
    except (OSError, ValueError) as error:
        raise RequestError(f"{config}: not readable as JSON: {error}") from None
    return isinstance(value, dict) and bool(value.get("auto_map"))
