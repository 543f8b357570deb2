"""``timm:NAME[@REVISION]``: timm's zoo, which lies on the Hugging Face hub under ``timm/``."""

from __future__ import annotations

from typing import ClassVar

from harness.sources.hf import HubSource


class TimmSource(HubSource):
    """``timm:resnet50.a1_in1k`` is ``hf:timm/resnet50.a1_in1k``."""

    scheme = "timm"
    owner: ClassVar[str] = "timm/"
