"""A checkpoint under the head that it was published with, in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from harness.backends.torch.remote_code import loading_options, own_class
from harness.errors import Unsupported


def with_own_head(loader: Any, folder: Path, config: Any, head: str) -> Any:
    """``loader``: one of transformers' ``AutoModelFor...`` classes.

    Every tensor of the head must be in the checkpoint (or tied to the embeddings): a new, random
    head would give numbers, too. Raises `Unsupported`, by the name ``head``, where one is missing.
    """
    own_class(folder, config, loader.__name__)
    try:
        model, report = loader.from_pretrained(
            folder, config=config, dtype=torch.float32, use_safetensors=True,
            output_loading_info=True, **loading_options(folder),
        )  # fmt: skip
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise Unsupported(f"cannot be loaded: {str(error).splitlines()[0]}") from None
    if report["missing_keys"]:
        raise Unsupported(f"the checkpoint has no {head}")
    return model.eval()
