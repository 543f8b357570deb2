"""Which files of a checkpoint folder are used unless the suite names others."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatch

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


def usable(names: Iterable[str], origin: str, *, code: bool = False) -> list[str]:
    """The names (of one folder, without subfolders) that a model needs, sorted.

    ``code``: its Python files are wanted, too.

    `RequestError` where the weights are only there as pickles, or not at all: pickles can run
    code when they are loaded, so the suite must name such a file itself.
    """
    listed = sorted(names)
    wanted = (*PATTERNS, *CODE) if code else PATTERNS
    chosen = [name for name in listed if any(fnmatch(name, pattern) for pattern in wanted)]
    if any(name.endswith(".safetensors") for name in chosen):
        return chosen
    pickles = [name for name in listed if any(fnmatch(name, pattern) for pattern in PICKLES)]
    if pickles:
        raise RequestError(
            f"{origin}: holds its weights only as pickles ({', '.join(pickles)}), which are not "
            "used unless the suite names them: list the files with their digests under `sha256:`"
        )
    raise RequestError(
        f"{origin}: no model.safetensors here; it holds: {', '.join(listed[:12]) or 'nothing'}. "
        "Name other weights under `files:` or `sha256:`"
    )
