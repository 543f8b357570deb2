"""A model's files, verified, in one folder that every framework can load from."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.records.files import whole_folder, write_json
from harness.records.identity import digest
from harness.records.locks import locked
from harness.sources import fetch_file, fetch_folder, remote_code_allowed
from harness.sources.cache import sha256_of
from harness.sources.derived import RECEIPT, reusable, sign
from harness.sources.trust import names_code
from harness.specifications import STAGE_VERSIONS, changed, installed, model_files
from harness.stages.job import Job
from harness.suite import Model

#: Weights that must be rewritten as safetensors in the Hugging Face layout before use.
_FOREIGN = (".gguf", ".bin", ".pth", ".pt", ".onnx", ".h5")
#: what reads and rewrites them, and what some need besides
_CONVERTERS = ("torch", "transformers", "timm", "gguf", "tokenizers", "safetensors")
_READERS = {".onnx": "onnx", ".h5": "h5py"}
#: Tokenizers from which tokenizer.json is made; image models have none of them.
_OLD_TOKENIZERS = (
    "vocab.txt", "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model",
    "spm.model", "tokenizer.model",
)  # fmt: skip


def fetch_model(
    model: Model,
    cache: Path,
    base: Path,
    *,
    trust_remote_code: bool = False,
    progress: Callable[..., None] | None = None,
    planned: Mapping[str, str] | None = None,
) -> Path | None:
    """The folder of a model's verified files, as they came; None for baselines.

    Every file's digest is checked again at each use: a damaged one is fetched again, and a folder
    that holds other bytes than were fetched is made anew. Python files are fetched only where the
    model's entry and ``trust_remote_code`` (the command line) both allow its code; `RequestError`
    where one of them does not and the model needs it.

    ``planned``: what pins each file, by its name, for a run that was planned with that;
    `RequestError` where a local file has changed since.
    """
    code = remote_code_allowed(model, trust_remote_code)
    files = model_files(model, base)
    pins = {name: pin for name, (_, pin) in files.items()}
    wanted = pins if planned is None else planned
    if other := sorted(n for n in {*pins, *wanted} if pins.get(n) != wanted.get(n)):
        raise changed(f"model {model.id!r}", ", ".join(other))
    if not files:
        return None
    if "*" in files:
        source = files["*"][0].source
        found = fetch_folder(source, None, cache, base=base, progress=progress, code=code)
    else:
        found = {
            name: fetch_file(ref, cache, base=base, progress=progress)
            for name, (ref, _) in files.items()
        }
    folder = cache / "models" / digest(pins)
    with locked(_lock(cache, folder)):  # never made anew under somebody who reads it
        if not _holds(folder, found):
            with whole_folder(folder) as scratch:
                for name, path in found.items():
                    _place(path, scratch / name, cache)
                write_json(scratch / "files.json", {"model": model.id, "pins": pins})
    remote_code_allowed(model, trust_remote_code, folder)
    return folder


def model_folder(job: Job) -> Path | None:
    """The neutral folder (config.json, model.safetensors, tokenizer.json) of a job's model.

    Foreign weights (GGUF, ONNX, HDF5, PyTorch pickles read with ``weights_only``) are converted
    once by each set of library releases.
    """
    raw = fetch_model(
        job.model_entry,
        job.cache,
        job.base,
        trust_remote_code=job.trust_remote_code,
        planned=job.spec["model"]["files"],
    )
    architecture = job.model_entry.architecture
    if raw is None or is_neutral(raw, architecture, code=job.runs_remote_code):
        return raw
    # Needs the framework that knows the foreign format; only a worker of it gets here first,
    # all others find the folder made.
    neutral = raw.with_name(f"{raw.name}-{architecture or 'neutral'}")
    readers = sorted({_READERS[p.suffix] for p in raw.iterdir() if p.suffix in _READERS})
    made_by = {"convert": STAGE_VERSIONS["convert"], **installed((*_CONVERTERS, *readers))}
    with locked(_lock(job.cache, neutral)):
        if not reusable(neutral / RECEIPT, made_by):
            from harness.backends.torch.convert import to_neutral

            shutil.rmtree(neutral, ignore_errors=True)
            to_neutral(raw, neutral, architecture=architecture)
            sign(neutral / RECEIPT, made_by)
    return neutral


def _lock(cache: Path, folder: Path) -> Path:
    return cache / "locks" / f"model-{folder.name}.lock"


def _holds(folder: Path, found: dict[str, Path]) -> bool:
    """True where a model folder is complete and has just these files, byte for byte.

    Most are links to the files that were verified a moment ago, and need no second look.
    """
    if not (folder / "files.json").is_file():
        return False
    there = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_file() and path != folder / "files.json"
    }
    return there.keys() == found.keys() and all(
        there[name].samefile(path) or sha256_of(there[name]) == sha256_of(path)
        for name, path in found.items()
    )


def is_neutral(folder: Path, architecture: str | None, *, code: bool = False) -> bool:
    """Whether every framework can load the files as they came.

    ``code``: the checkpoint's own may run, so that its tokenizer is what that makes of it.
    """
    names = [p.name for p in folder.iterdir()]
    if code and names_code(folder / "tokenizer_config.json"):
        return False
    if any(name.endswith(_FOREIGN) for name in names):
        return False
    if architecture and "config.json" not in names:
        return False
    return "tokenizer.json" in names or not any(name in _OLD_TOKENIZERS for name in names)


def _place(source: Path, target: Path, cache: Path) -> None:
    """A hard link to the cache's own files; a copy of the user's, which may change later."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.resolve().is_relative_to(cache.resolve()):
        try:
            os.link(source.resolve(), target)
            return
        except OSError:  # a file system without links
            pass
    shutil.copyfile(source, target)


def fetch_facts(folder: Path | None) -> dict[str, Any]:
    """Size of a model folder in MB (1e6 bytes)."""
    if folder is None:
        return {"size_mb": 0.0}
    return {"size_mb": sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6}
