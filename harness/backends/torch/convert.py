"""Foreign checkpoint files to the neutral folder: config.json, model.safetensors, tokenizer.json.

GGUF is de-quantised, PyTorch pickles are read with ``weights_only=True`` (tensors, no code), ONNX
graphs and TensorFlow's HDF5 are searched for the backbone's tensors, and folders that are neutral
already pass through as links. Done once per checkpoint, into a cache.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.backends.torch.remote_code import loading_options
from harness.errors import RequestError, Unsupported
from harness.records.files import whole_folder
from harness.sources.trust import names_code, remote_code_runs

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor

#: what stays with the weights: configuration, tokenizer, and code where that was fetched
_BESIDE_WEIGHTS = (".json", ".txt", ".model", ".py")
#: on which a tokenizer by code of its own must do what is written down of it
_PROBES = ("Hello, World!", "a naïve café: 42%", "  two  spaces\tand a tab ", "東京 2020")
#: how GGUF's byte-level BPE families cut text before merging, by ``tokenizer.ggml.pre``; the
#: value says whether every digit stands alone. transformers' converter knows GPT-2's cut only,
#: so a family that is not listed here would be tokenised wrongly and is refused.
_BYTE_LEVEL_FAMILIES = {"default": False, "gpt-2": False, "smollm": True}
_PICKLES = (".bin", ".pth", ".pt")


def to_neutral(
    folder: Path, out: Path, files: Sequence[str] | None = None, architecture: str | None = None
) -> Path:
    """Make ``out`` a neutral model folder from ``folder``, unless it exists already.

    ``architecture`` is timm's name of an image model that comes without a configuration. ``files``
    limits what of ``folder`` is looked at (default: all of it); of several weight files the first
    kind of safetensors, GGUF, pickles (``.bin``, ``.pth``, ``.pt``), ONNX, ``.h5`` counts. Raises
    `RequestError` if there are none, `Unsupported` if they cannot be converted faithfully.
    """
    if out.is_dir():
        return out
    names = sorted(files) if files is not None else sorted(p.name for p in folder.iterdir())
    by_suffix: dict[str, list[str]] = {}
    for name in names:
        by_suffix.setdefault(Path(name).suffix, []).append(name)
    with whole_folder(out) as scratch:
        if architecture:
            _convert_timm(folder, by_suffix, architecture, scratch)
        elif by_suffix.get(".safetensors"):
            _link_all(folder, names, (*_BESIDE_WEIGHTS, ".safetensors"), scratch)
            _ensure_tokenizer(scratch)
        elif by_suffix.get(".gguf"):
            _only_one(folder, by_suffix[".gguf"])
            _convert_gguf(folder, by_suffix[".gguf"][0], scratch)
        else:
            weights, convert = _first_kind(folder, names, by_suffix)
            _only_one(folder, weights)
            _link_all(folder, names, _BESIDE_WEIGHTS, scratch)
            convert(folder / weights[0], scratch)
            _ensure_tokenizer(scratch)
    return out


def _first_kind(
    folder: Path, names: Sequence[str], by_suffix: dict[str, list[str]]
) -> tuple[list[str], Callable[[Path, Path], None]]:
    """The files of the first kind in `_CONVERTERS`, and what converts one of them."""
    for suffixes, convert in _CONVERTERS.items():
        if weights := [name for suffix in suffixes for name in by_suffix.get(suffix, [])]:
            return weights, convert
    expected = ", ".join(f"*{suffix}" for suffixes in _CONVERTERS for suffix in suffixes)
    raise RequestError(
        f"{folder}: no weights among {', '.join(names) or 'no files'}; expected *.safetensors, "
        f"*.gguf, {expected}"
    )


def _convert_timm(
    folder: Path, by_suffix: dict[str, list[str]], architecture: str, out: Path
) -> None:
    """The only weights file of a folder, as timm's architecture."""
    from safetensors.torch import load_file

    from harness.backends.torch.vision import neutral_from_state

    safe = by_suffix.get(".safetensors", [])
    weights = [*safe, *(name for suffix in _PICKLES for name in by_suffix.get(suffix, []))]
    if not weights:
        raise RequestError(
            f"{folder}: no *.safetensors, *.pth, *.pt or *.bin to take weights from (with an "
            "`architecture`, ONNX and .h5 are not read)"
        )
    _only_one(folder, weights)
    origin = folder / weights[0]
    state = load_file(origin) if safe else read_pickle(origin)
    # safetensors lists tensors by name, not in the order of the modules
    neutral_from_state(state, architecture, out, str(origin), ordered=not safe)


def _only_one(folder: Path, names: list[str]) -> None:
    if len(names) > 1:
        raise RequestError(f"{folder}: several weight files, name one: {', '.join(names)}")


def _link(source: Path, target: Path) -> None:
    """A hard link, or a copy where the file systems differ."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def _link_all(folder: Path, names: Sequence[str], suffixes: Sequence[str], out: Path) -> None:
    """Put the files with these suffixes into ``out``."""
    for name in names:
        if Path(name).suffix in suffixes:
            _link(folder / name, out / Path(name).name)


def _ensure_tokenizer(folder: Path) -> None:
    """Write tokenizer.json from older tokenizer files, where it is missing and text is read, or
    from the checkpoint's own code, where that may run."""
    target = folder / "tokenizer.json"
    own = remote_code_runs() and names_code(folder / "tokenizer_config.json")
    if (target.is_file() and not own) or (folder / "embeddings.safetensors").is_file():
        return
    config = folder / "config.json"
    if config.is_file() and "architecture" in json.loads(config.read_text()):
        return  # timm's layout: images
    from harness.backends.torch.zoo import hide_torchvision

    hide_torchvision()
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **loading_options(folder))
        written = tokenizer.backend_tokenizer
        if own and any(tokenizer(t)["input_ids"] != written.encode(t).ids for t in _PROBES):
            raise ValueError("the checkpoint's own code does more than a tokenizer.json can say")
        target.unlink(missing_ok=True)  # it may be a link to the file in the cache
        written.save(str(target))
    except (OSError, ValueError, ImportError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise Unsupported(f"{folder}: no tokenizer.json, nor one to be made: {reason}") from None


def read_pickle(source: Path) -> dict[str, Any]:
    """A state dict (name to tensor) from a PyTorch file, read without running code of it."""
    import torch

    try:
        state: Any = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises pickle's, zip's and its own errors here
        reason = str(error).splitlines()[0]
        raise Unsupported(f"{source}: cannot be read as plain weights: {reason}") from None
    state = state.get("state_dict", state) if isinstance(state, dict) else None
    if not state or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise Unsupported(f"{source}: not a state dict (name to tensor)")
    return state


def _save(state: dict[str, Tensor], out: Path) -> None:
    from safetensors.torch import save_file

    # clones, because safetensors refuses tensors that share memory (tied embeddings)
    tensors = {name: value.detach().clone().contiguous() for name, value in state.items()}
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})


def _convert_pickle(source: Path, out: Path) -> None:
    _save(read_pickle(source), out)


def _convert_onnx(source: Path, out: Path) -> None:
    from harness.backends.torch.from_onnx import prove, read_onnx

    _save(read_onnx(source, out), out)
    _ensure_tokenizer(out)  # the proof takes real tokens
    prove(source, out)


def _convert_h5(source: Path, out: Path) -> None:
    from harness.backends.torch.from_h5 import read_h5

    _save(read_h5(source, out), out)


#: what writes model.safetensors from one weights file into a folder that has what lay beside it;
#: of several kinds the first counts
_CONVERTERS: dict[tuple[str, ...], Callable[[Path, Path], None]] = {
    _PICKLES: _convert_pickle,
    (".onnx",): _convert_onnx,
    (".h5",): _convert_h5,
}


def _convert_gguf(folder: Path, name: str, out: Path) -> None:
    from harness.backends.torch.models import quiet_transformers

    quiet_transformers()
    import torch
    from transformers import AutoModel, AutoTokenizer

    origin = folder / name
    with _one_reading():
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name, local_files_only=True)
            model, report = AutoModel.from_pretrained(
                folder,
                gguf_file=name,
                dtype=torch.float32,
                local_files_only=True,
                output_loading_info=True,
            )
        except (ImportError, ValueError, KeyError, OSError) as error:
            raise Unsupported(f"{origin}: {str(error).splitlines()[0]}") from None
        if missing := sorted(report["missing_keys"]):
            raise Unsupported(f"{origin}: tensors are missing: {', '.join(missing[:4])}")
        if _gguf_text(origin, "tokenizer.ggml.model") == "gpt2":
            family = _gguf_text(origin, "tokenizer.ggml.pre") or "default"
            restore_pre_tokenizer(tokenizer.backend_tokenizer, family, origin)
    del model.config.quantization_config  # the weights are plain float32 from here on
    model.hf_quantizer = None
    model.save_pretrained(out)
    tokenizer.backend_tokenizer.save(str(out / "tokenizer.json"))


def restore_pre_tokenizer(tokenizer: Tokenizer, family: str, origin: Path) -> None:
    """Give a byte-level BPE tokenizer the cut that its family was trained with.

    SmolLM splits every digit off before GPT-2's cut; without that, runs of spaces before a number
    come out as other tokens. The families are those of llama.cpp's ``llama-vocab.cpp``.
    """
    from tokenizers.pre_tokenizers import ByteLevel, Digits, PreTokenizer, Sequence

    if family not in _BYTE_LEVEL_FAMILIES:
        known = ", ".join(sorted(_BYTE_LEVEL_FAMILIES))
        raise Unsupported(
            f"{origin}: the tokenizer cuts text in a way ({family!r}) that is not known here "
            f"({known}); use the same model's safetensors folder with its tokenizer.json"
        )
    steps: list[PreTokenizer] = [ByteLevel(add_prefix_space=False)]
    if _BYTE_LEVEL_FAMILIES[family]:
        steps.insert(0, Digits(individual_digits=True))
    tokenizer.pre_tokenizer = Sequence(steps)


@contextmanager
def _one_reading() -> Iterator[None]:
    """Let every reader of the same GGUF file inside the block share one parse of it.

    transformers parses the file for the configuration, the tokenizer and the weights, and gguf
    needs seconds for a vocabulary of 49,000 tokens: SmolLM2-135M converts in 20 s instead of 69.
    """
    import gguf

    original = gguf.GGUFReader
    gguf.GGUFReader = cache(original)  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        gguf.GGUFReader = original  # type: ignore[misc]


def _gguf_text(path: Path, key: str) -> str | None:
    import gguf

    # a string, because the parse is shared by argument
    field = gguf.GGUFReader(str(path)).get_field(key)
    return None if field is None else str(field.contents())
