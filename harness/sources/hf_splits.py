"""A split of a hub data set as one Parquet file, read by `datasets` itself.

Kept apart from `harness.sources.hf` because importing `datasets` takes seconds. The raw files
stay in the hub's own cache (``HF_HOME``), where `datasets` puts them; ours holds the result.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import RequestError
from harness.sources.base import Context, Unavailable

if TYPE_CHECKING:
    from harness.sources.hf import HubRef

#: Builders that only parse plain files. Others unpack archives, decode media or read pickles.
BUILDERS = ("parquet", "csv", "json", "text")


def download_split(ref: HubRef, folder: Path, context: Context) -> Path:
    """``[CONFIG/]SPLIT`` of a data set as Parquet in ``folder``; class names stay in its schema.

    `RequestError` when the data set needs another builder than those of `BUILDERS`, or code.
    """
    import datasets
    from datasets.exceptions import DatasetNotFoundError

    from harness.sources.hf import check_endpoint, hub_errors, is_network, unreachable

    config, _, split = ref.path.rpartition("/")
    origin = f"hf:{ref}"
    context.report(0, 0, origin)
    check_endpoint(ref)
    try:
        with hub_errors(ref):
            builder = datasets.load_dataset_builder(
                ref.name, config or None, revision=ref.revision, cache_dir=str(folder)
            )
            kind = type(builder).__module__.rpartition(".")[2]
            if kind not in BUILDERS:
                raise RequestError(
                    f"{origin}: is read by the builder {kind!r}; allowed are "
                    f"{', '.join(BUILDERS)}. Name a file of it instead"
                )
            bars = datasets.are_progress_bars_disabled()
            datasets.disable_progress_bars()
            try:
                builder.download_and_prepare()
                path = folder / "split.parquet"
                builder.as_dataset(split=split).to_parquet(str(path))
            finally:
                if not bars:
                    datasets.enable_progress_bars()
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
