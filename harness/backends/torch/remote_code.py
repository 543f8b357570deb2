"""Python code that a checkpoint brings along: loaded from the model's own folder alone, and only
where `harness.sources.trust` says that it may run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from harness.errors import RequestError, Unsupported
from harness.sources.trust import check_code, code_files, names_code, remote_code_runs


def loading_options(folder: Path) -> dict[str, bool]:
    """What every ``from_pretrained`` of a model folder is told: local files, and whether code runs.

    `RequestError` where the configuration names code that may not run (where transformers has a
    class of the same ``model_type``, it would load that one in its place without a word), or code
    that is not in the folder (it would be looked for in the user's own cache of the hub).
    """
    runs = remote_code_runs()
    config = folder / "config.json"
    if runs:
        check_code(folder, f"{folder}: ")
    elif names_code(config):
        raise RequestError(
            f"{config} names Python code of its own (`auto_map`), which is not run. If you trust "
            "it, add --trust-remote-code to the command"
        )
    return {"local_files_only": True, "trust_remote_code": runs}


def own_class(folder: Path, config: Any, loader: str) -> Any | None:
    """The class that a checkpoint brings for ``loader`` (``AutoModel``, ...); None: it has no code.

    Raises `Unsupported` where it has code, but not for this: the library's class of the same
    ``model_type`` is another model.
    """
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    code = getattr(config, "auto_map", None)
    if not code or not remote_code_runs():
        return None
    if loader not in code:
        raise Unsupported(f"the checkpoint has code of its own (`auto_map`), but no {loader}")
    try:
        return get_class_from_dynamic_module(code[loader], folder, local_files_only=True)
    except (ImportError, OSError, ValueError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise Unsupported(f"{code[loader]} of the checkpoint cannot be loaded: {reason}") from None


def brings_code(model: Any) -> bool:
    """Whether a model's backbone computes by code of its checkpoint, which may read of its layers
    what stand-ins for them do not have."""
    config = getattr(getattr(model, "backbone", None), "config", None)
    return bool(getattr(config, "auto_map", None))


def copy_code(folder: Path, out: Path) -> None:
    """A model's Python files, into its artifact; nothing where code does not run."""
    for name in code_files(folder) if remote_code_runs() else ():
        shutil.copyfile(folder / name, out / name)
