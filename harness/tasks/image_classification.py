"""One label per image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from harness.data.pictures import picture
from harness.tasks import columns, images
from harness.tasks.base import Column, Encoded, Examples
from harness.tasks.classification import Classification
from harness.tasks.images import ImageEncoder, image_encoder

if TYPE_CHECKING:
    import pandas as pd

    from harness.data.table import Table

OPTIONS = ("image", "label", "id")
#: how many classes top-5 accuracy must choose from, to be worth reporting
_TOP = 5


class ImageClassification(Classification):
    """Options: the columns ``image`` (default "image", "img" as the hub's CIFAR-10 has it, or
    "file"'s pictures), ``label`` ("label") and ``id`` (none: the file's name, else split and row).

    Besides classification's metrics, ``top5_accuracy`` where there are more than five labels.
    """

    type: ClassVar[str] = "image-classification"
    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("pillow",)
    reads_tokens: ClassVar[bool] = False

    def __init__(self, options: Mapping[str, Any], labels: Sequence[str] = ()) -> None:
        super().__init__(options, labels)
        columns.check_options(options, OPTIONS, self.type)

    def examples(self, table: Table, split: str) -> Examples:
        ids = columns.row_ids(table, split, self.options.get("id"))
        named = table.columns.get("file")
        if named and not self.options.get("id") and len(set(named)) == len(named):
            ids = [f"{split}/{name}" for name in named]
        column = self.options.get("image") or ("image" if "image" in table.columns else "img")
        pictures = []
        for row, value in enumerate(table.column(column)):
            where = str(value) if isinstance(value, Path) else table.where(row)
            pictures.append(picture(value, where))
        labels = columns.labels(table, self.options.get("label", "label"))
        return Examples(ids, list(ids), {"image": pictures, "label": labels})

    def inspect(self, examples: Examples) -> None:
        for item in examples.fields["image"]:
            item.rgb()

    def overlap_keys(self, examples: Examples) -> list[str]:
        return [item.digest() for item in examples.fields["image"]]

    def encoder(
        self, model_folder: Path | None, how: Mapping[str, Any], cache: Path
    ) -> ImageEncoder:
        return image_encoder(model_folder, how.get("image"), cache)

    def encoder_facts(self, encoder: ImageEncoder) -> dict[str, Any]:
        return {"image": encoder.facts()}

    def encode(self, examples: Examples, encoder: ImageEncoder) -> Encoded:
        inputs: dict[str, Column] = {
            "pixel_values": images.encode(examples.fields["image"], encoder)
        }
        targets = {"labels": self.targets(examples)}
        nothing_cut = np.zeros(len(examples), bool)
        return Encoded(inputs, targets, np.arange(len(examples)), nothing_cut)

    def metrics(self, predictions: pd.DataFrame) -> dict[str, Any]:
        from harness.tasks.metrics.classification import top_accuracy

        found = super().metrics(predictions)
        if len(self.labels) > _TOP:
            index = {label: i for i, label in enumerate(self.labels)}
            truth = np.array([index[label] for label in predictions["target"]], np.int64)
            found["top5_accuracy"] = top_accuracy(truth, self.probabilities(predictions), _TOP)
        return found
