"""``timm:NAME[@REVISION]``: timm's zoo, which lies on the Hugging Face hub under ``timm/``."""

from __future__ import annotations

from pathlib import Path

from harness.sources.base import Context
from harness.sources.hf import HubSource

_OWNER = "timm/"


class TimmSource(HubSource):
    """``timm:resnet50.a1_in1k`` is ``hf:timm/resnet50.a1_in1k``."""

    scheme = "timm"

    def resolve(self, rest: str, context: Context) -> str:
        return super().resolve(_OWNER + rest, context).removeprefix(_OWNER)

    def file(self, rest: str, sha256: str | None, context: Context) -> Path:
        return super().file(rest if rest.startswith(_OWNER) else _OWNER + rest, sha256, context)

    def names(self, rest: str, context: Context) -> list[str]:
        return super().names(rest if rest.startswith(_OWNER) else _OWNER + rest, context)
