"""How many tokens a model can tell the places of, by its configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.errors import Unsupported

#: what architectures call the rows of their table of positions
_KEYS = ("max_position_embeddings", "n_positions")
#: what a configuration says instead of a table: positions that are computed have no last one
_COMPUTED = frozenset({"rope", "rotary", "alibi"})
#: architectures that count from behind the padding's id, so that the first rows are never used
_BEHIND_PADDING = frozenset({
    "camembert", "data2vec-text", "ibert", "longformer", "luke", "mpnet", "roberta",
    "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod",
})  # fmt: skip


def check_length(folder: Path, max_length: int) -> None:
    """`Unsupported` where inputs may be longer than the model in ``folder`` has positions for."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) if path.is_file() else {}
    limit = positions(config)
    if limit is not None and max_length > limit:
        raise Unsupported(
            f"max_length is {max_length} tokens, and the model has positions for {limit}; set "
            f"max_length to {limit} or less, for the task or for this block of the matrix"
        )


def positions(config: dict[str, Any]) -> int | None:
    """Tokens of the longest input, by a ``config.json``; None: without limit, or not told.

    Only a table of learned positions has an end. RoBERTa's 514 rows serve 512 tokens.
    """
    rows = next((config[key] for key in _KEYS if isinstance(config.get(key), int)), None)
    if rows is None or _computed(config):
        return None
    if config.get("model_type") in _BEHIND_PADDING:
        return int(rows) - int(config.get("pad_token_id") or 0) - 1
    return int(rows)


def _computed(config: dict[str, Any]) -> bool:
    """Rotary or relative positions, or slopes on distances (ALiBi)."""
    if config.get("position_biased_input") is False:  # DeBERTa's relative positions alone
        return True
    if config.get("position_embedding_type") in _COMPUTED:
        return True
    return any(value and _COMPUTED & set(key.split("_")) for key, value in config.items())
