"""Code that comes with a checkpoint runs only if the suite and the command line both say so.

Who was told so (a worker by its job, a launch by its specification) says it for the work at hand
with `remote_code`; whoever loads a model asks `remote_code_runs`. No folder's content decides it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Protocol

from harness.errors import RequestError

#: by which transformers finds the code of a model, a tokenizer or a processor
_KEY = "auto_map"
#: what must be readable, and whose code is run; other files are only looked through
_NEEDED = ("config.json", "tokenizer_config.json")
#: configurations are small; vocabularies and indices of weights are not looked through
_LARGEST_CONFIG = 1 << 20

_runs: ContextVar[bool] = ContextVar("remote code runs", default=False)


class Trusting(Protocol):
    """What is asked of a model entry (`harness.suite.Model` has it)."""

    @property
    def id(self) -> str: ...
    @property
    def trust_remote_code(self) -> bool: ...


@contextmanager
def remote_code(runs: bool) -> Iterator[None]:
    """Whether models that are loaded inside the block may bring code of their own."""
    token = _runs.set(runs)
    try:
        yield
    finally:
        _runs.reset(token)


def remote_code_runs() -> bool:
    """What the innermost `remote_code` says; False outside of all."""
    return _runs.get()


def remote_code_allowed(model: Trusting, cli_flag: bool, folder: Path | None = None) -> bool:
    """Whether this model's own Python code may run; its ``folder`` is looked at where given.

    Raises `RequestError` when the suite asks for it without ``--trust-remote-code``, when a
    configuration in ``folder`` names code (``auto_map``) that is not allowed, and when allowed code
    is not in ``folder``.
    """
    if model.trust_remote_code and not cli_flag:
        raise RequestError(
            f"model {model.id!r} has `trust_remote_code: true`, which runs Python code from its "
            "source on this machine; if you trust it, add --trust-remote-code to the command"
        )
    if folder is not None and model.trust_remote_code:
        check_code(folder, f"model {model.id!r}: ")
    elif folder is not None:
        for path in sorted(folder.glob("*.json")):
            if path.stat().st_size <= _LARGEST_CONFIG and names_code(path):
                raise RequestError(
                    f"model {model.id!r}: {path.name} names Python code of its own (`auto_map`), "
                    "which is not run. If you trust it, set `trust_remote_code: true` in the "
                    "suite and add --trust-remote-code to the command"
                )
    return model.trust_remote_code


def names_code(config: Path) -> bool:
    """Whether a JSON file names Python code for transformers to run; False where there is none."""
    return any(True for _ in _maps(_read(config)))


def code_files(folder: Path) -> list[str]:
    """Names of a model folder's Python files; transformers knows none in folders below it."""
    return sorted(path.name for path in folder.glob("*.py"))


def check_code(folder: Path, prefix: str = "") -> None:
    """`RequestError` where a model folder names code that is not in it: no digest would pin that.

    ``prefix`` begins the message.
    """
    for name in _NEEDED:
        for code in _maps(_read(folder / name)):
            for reference in _references(code):
                _check_reference(folder, reference, f"{prefix}{name} names `{reference}`")


def _check_reference(folder: Path, reference: str, where: str) -> None:
    if "--" in reference:
        raise RequestError(
            f"{where}, code of another repository, which is not fetched; copy those files "
            "beside the configuration and take the repository's name out of `auto_map`"
        )
    file = f"{reference.rpartition('.')[0]}.py"
    if Path(file).name != file or not (folder / file).is_file():
        raise RequestError(
            f"{where}, and {file} is not among its files; name it under `files:` or `sha256:`, "
            "or add it to the checkpoint"
        )


def _read(config: Path) -> Any:
    try:
        return json.loads(config.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        if config.name not in _NEEDED:
            return None
        raise RequestError(f"{config}: not readable as JSON: {error}") from None


def _maps(value: Any) -> Iterator[Any]:
    """Every ``auto_map`` that names something; parts of a configuration (of the text or image side
    of a model) may have one, too."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key == _KEY and item:
                yield item
            else:
                yield from _maps(item)
    elif isinstance(value, list):
        for item in value:
            yield from _maps(item)


def _references(code: Any) -> Iterator[str]:
    """``module.Class`` of an ``auto_map``: its values, tokenizers' in lists (slow, fast)."""
    if isinstance(code, str):
        yield code
    elif isinstance(code, dict | list):
        for item in code.values() if isinstance(code, dict) else code:
            yield from _references(item)
