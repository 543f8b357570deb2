"""Which files of a checkpoint folder are used unless the suite names others."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import PurePath

from harness.errors import RequestError

#: Hugging Face layout. Weights by their exact names: repositories also hold other weights as
#: safetensors (adapters, half precision, `consolidated.*`) that would double the download.
PATTERNS = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "spm.model",
    "tokenizer.model",
)
#: what a model runs whose code is trusted; without folders, as transformers has none
CODE = ("*.py",)
PICKLES = ("*.bin", "*.pth", "*.pt", "*.ckpt", "*.pkl")
#: what a local checkpoint folder is used for
_LOCAL = (".json", ".safetensors", ".gguf", ".txt", ".model")
#: weights that are looked for where there is nothing better: the usual name, and any of that kind
_CONVERTED = (("model.onnx", ".onnx"), ("tf_model.h5", ".h5"))


def usable(names: Iterable[str], origin: str, *, code: bool = False) -> list[str]:
    """The names (of one folder, without subfolders) that a model needs, sorted.

    Without safetensors these are ``model.onnx`` with its data, else ``tf_model.h5``. ``code``: its
    Python files are wanted, too.

    `RequestError` where the weights are only there as pickles, or not at all: pickles can run
    code when they are loaded, so the suite must name such a file itself.
    """
    listed = sorted(names)
    wanted = (*PATTERNS, *CODE) if code else PATTERNS
    chosen = [name for name in listed if any(fnmatch(name, pattern) for pattern in wanted)]
    if any(name.endswith(".safetensors") for name in chosen):
        return chosen
    if converted := _converted(listed):
        return sorted([*chosen, *converted])
    pickles = [name for name in listed if any(fnmatch(name, pattern) for pattern in PICKLES)]
    if pickles:
        raise RequestError(
            f"{origin}: holds its weights only as pickles ({', '.join(pickles)}), which are not "
            "used unless the suite names them: list the files with their digests under `sha256:`"
        )
    raise RequestError(
        f"{origin}: no model.safetensors, model.onnx or tf_model.h5 here; it holds: "
        f"{', '.join(listed[:12]) or 'nothing'}. Name other weights under `files:` or `sha256:`"
    )


def local_names(names: Iterable[str], *, code: bool = False) -> list[str]:
    """The names of a local checkpoint folder that are used unless the suite lists files, sorted.

    ONNX, else ``.h5``, only where there is neither safetensors nor GGUF: the usual name of the
    kind, or whatever is there of it. ``code``: Python files are, too.
    """
    listed = sorted(names)
    wanted = (*_LOCAL, ".py") if code else _LOCAL
    chosen = [name for name in listed if PurePath(name).suffix in wanted]
    if any(name.endswith((".safetensors", ".gguf")) for name in chosen):
        return chosen
    return sorted([*chosen, *_converted(listed, usual_only=False)])


def _converted(names: list[str], usual_only: bool = True) -> list[str]:
    """The weights of the first kind in `_CONVERTED` that is there, with ONNX's external data."""
    for usual, suffix in _CONVERTED:
        found = [usual] if usual in names else []
        if not found and not usual_only:
            found = [name for name in names if name.endswith(suffix)]
        if found:
            data = tuple(f"{name}{mark}" for name in found for mark in ("_data", ".data"))
            return [*found, *(name for name in names if name.startswith(data))]
    return []
