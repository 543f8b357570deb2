"""A split of a hub data set as one Parquet file, read by `datasets` itself.

In a process of its own, which a file that breaks a parser may take along, and where importing
`datasets`, which takes seconds, delays nobody else. The raw files stay in the hub's own cache
(``HF_HOME``), where `datasets` puts them; ours holds the result.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath
from typing import Any

from harness.errors import RequestError
from harness.process_groups import program
from harness.records.secrets import without_secrets
from harness.sources.base import Context, Unavailable, Unreachable
from harness.sources.cache import disk_errors
from harness.sources.hf import (
    HubRef,
    check_endpoint,
    download,
    hub_errors,
    is_network,
    repository,
    unreachable,
)
from harness.sources.patience import ended_at_a_standstill

#: where a data set says which of its files make which split
CARDS = ("README.md", ".huggingface.yaml")
#: Builders that only parse plain files. Others unpack archives, decode media or read pickles.
BUILDERS = ("parquet", "csv", "json", "text")
#: of the hub's client, its token among them
_HUB_VARIABLES = ("HF_", "HUGGING_FACE_")
#: what the process may say went wrong, by name
_ERRORS = {kind.__name__: kind for kind in (RequestError, Unavailable, Unreachable)}


def download_split(ref: HubRef, folder: Path, context: Context) -> Path:
    """``[CONFIG/]SPLIT`` of a data set as Parquet in ``folder``; class names stay in its schema.

    `RequestError` as `_download_split` raises it, and where a file ends the process.
    """
    context.report(0, 0, f"hf:{ref}")
    order = json.dumps({"ref": asdict(ref), "folder": str(folder), "cache": str(context.cache)})
    with (
        program(
            [sys.executable, "-P", "-m", __name__, order],
            environment=_environment(),
            errors=subprocess.PIPE,
        ) as process,
        ended_at_a_standstill(process, [folder, _hub_folder(ref)], f"hf:{ref}"),
    ):
        out, errors = process.communicate()
    if process.returncode:
        raise RequestError(f"hf:{ref}: cannot be read: {_ended(process.returncode, errors)}")
    answer = json.loads(out.splitlines()[-1])
    if "error" in answer:
        raise _ERRORS[answer["error"]](answer["reason"])
    return Path(answer["path"])


def _environment() -> dict[str, str]:
    """It reads files of strangers, and may know none of our secrets but those that the hub asks."""
    hub = {name: value for name, value in os.environ.items() if name.startswith(_HUB_VARIABLES)}
    return without_secrets(os.environ) | hub


def _hub_folder(ref: HubRef) -> Path:
    """Where the hub's client keeps what it downloads of a repository."""
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    return Path(HF_HUB_CACHE) / repo_folder_name(repo_id=ref.name, repo_type=ref.kind)


def _ended(status: int, errors: bytes) -> str:
    if status < 0:
        return f"`datasets` was ended by {signal.Signals(-status).name}"
    lines = errors.decode(errors="replace").strip().splitlines()
    return f"`datasets` failed: {lines[-1] if lines else f'exit status {status}'}"


def main(order: str) -> None:
    """What `download_split` starts: the last line that it prints is the answer, in JSON."""
    asked = json.loads(order)
    ref, folder = HubRef(**asked["ref"]), Path(asked["folder"])
    try:
        with disk_errors(f"hf:{ref}", folder):
            path = _download_split(ref, folder, Context(Path(asked["cache"]), Path()))
    except RequestError as error:
        kind = next(kind for kind in reversed(_ERRORS.values()) if isinstance(error, kind))
        print(json.dumps({"error": kind.__name__, "reason": str(error)}))
    else:
        print(json.dumps({"path": str(path)}))


def _download_split(ref: HubRef, folder: Path, context: Context) -> Path:
    """``[CONFIG/]SPLIT`` of a data set as Parquet in ``folder``; class names stay in its schema.

    `RequestError` when the data set needs another builder than those of `BUILDERS`, or code, or
    names files outside its own repository.
    """
    import datasets
    from datasets.exceptions import DatasetNotFoundError

    config, _, split = ref.path.rpartition("/")
    origin = f"hf:{ref}"
    check_endpoint(ref)
    try:
        with hub_errors(ref):
            _refuse_foreign_files(ref, folder / "cards", context)
            builder = datasets.load_dataset_builder(
                ref.name, config or None, revision=ref.revision, cache_dir=str(folder)
            )
            kind = type(builder).__module__.rpartition(".")[2]
            if kind not in BUILDERS:
                raise RequestError(
                    f"{origin}: is read by the builder {kind!r}; allowed are "
                    f"{', '.join(BUILDERS)}. Name a file of it instead"
                )
            datasets.disable_progress_bars()
            builder.download_and_prepare()
            path = folder / "split.parquet"
            builder.as_dataset(split=split).to_parquet(str(path))
    except DatasetNotFoundError as error:
        if is_network(error):
            raise unreachable(ref) from error
        raise Unavailable(f"{origin}: {error}") from None
    except ValueError as error:  # unknown configuration or split; the message lists the known
        raise Unavailable(f"{origin}: {str(error).splitlines()[0]}") from None
    except RuntimeError as error:
        if "script" not in str(error):
            raise
        raise RequestError(
            f"{origin}: is made by a Python script of its own, which is not run; "
            "name a file of it instead"
        ) from None
    return path


def _refuse_foreign_files(ref: HubRef, folder: Path, context: Context) -> None:
    """`RequestError` where a data set names files of this machine or of other hosts.

    `datasets` looks such patterns up, on the disk or over the network, before it judges them.
    """
    there = {sibling.rfilename for sibling in repository(ref).siblings or ()}
    for name in sorted(there.intersection(CARDS)):
        card = download(replace(ref, path=name), folder, context)
        for pattern in _patterns(_configurations(card)):
            if _is_foreign(pattern):
                raise RequestError(
                    f"hf:{ref}: its {name} names {pattern!r}, which is not a file of the data set; "
                    "it was not opened"
                )


def _configurations(card: Path) -> Any:
    """``configs`` of a data set's card, as `datasets` reads it."""
    import yaml
    from huggingface_hub import DatasetCard

    if card.suffix == ".md":
        return DatasetCard.load(card, ignore_metadata_errors=True).data.to_dict().get("configs")
    content = yaml.safe_load(card.read_text(encoding="utf-8"))
    return content.get("configs") if isinstance(content, dict) else None


def _patterns(configurations: Any) -> Iterator[str]:
    """Every text under ``data_files`` and ``data_dir``, however deep."""
    for configuration in configurations if isinstance(configurations, list) else ():
        if isinstance(configuration, dict):
            yield from _texts([configuration.get("data_files"), configuration.get("data_dir")])


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _is_foreign(pattern: str) -> bool:
    """Whether a pattern is anything but a relative path that stays inside the repository."""
    return (
        "://" in pattern
        or "::" in pattern
        or "\\" in pattern
        or pattern.startswith(("/", "~"))
        or ".." in PurePosixPath(pattern).parts
    )


if __name__ == "__main__":
    main(sys.argv[1])
