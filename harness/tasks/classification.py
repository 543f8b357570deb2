"""What the task types with one label an example share: labels, decoding, metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from harness.errors import RequestError
from harness.tasks.base import Encoded, Examples, Head, Task

if TYPE_CHECKING:
    import pandas as pd


class Classification(Task):
    """Examples with the field ``label``. Every example is a cluster of its own.

    Predictions carry one float32 column ``prob_<label>`` per label, in the labels' order.
    """

    primary: ClassVar[str] = "accuracy"
    loss: ClassVar[Literal["cross_entropy", "token_cross_entropy", "span"]] = "cross_entropy"

    def find_labels(self, train: Examples) -> list[str]:
        return sorted(set(train.fields["label"]))

    def check_labels(self, examples: Examples, origin: str) -> None:
        unknown = sorted(set(examples.fields["label"]) - set(self.labels))
        if unknown:
            shown = ", ".join(map(repr, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
            raise RequestError(
                f"{origin}: {len(unknown)} label(s) that training does not have: {shown}; "
                f"check that both files use the same names, and the option `label`"
            )

    def strata(self, examples: Examples) -> list[str]:
        return examples.fields["label"]

    @property
    def head(self) -> Head:
        return Head("pooled", len(self.labels))

    def targets(self, examples: Examples) -> np.ndarray:
        """(examples,) int64 positions in the label list."""
        index = {label: i for i, label in enumerate(self.labels)}
        return np.fromiter((index[x] for x in examples.fields["label"]), np.int64, len(examples))

    def decode(
        self, examples: Examples, encoded: Encoded, logits: Sequence[np.ndarray]
    ) -> pd.DataFrame:
        import pandas as pd

        probabilities = softmax(np.asarray(logits, np.float64).reshape(-1, len(self.labels)))
        target = examples.fields["label"]
        prediction = [self.labels[i] for i in probabilities.argmax(axis=1)]
        correct = [t == p for t, p in zip(target, prediction, strict=True)]
        frame = pd.DataFrame(
            {
                "id": examples.ids,
                "cluster": examples.clusters,
                "target": target,
                "prediction": prediction,
                "score_num": np.array(correct, float),
                "score_den": np.ones(len(examples)),
            }
        )
        stored = pd.DataFrame(
            probabilities.astype(np.float32), columns=[f"prob_{label}" for label in self.labels]
        )
        return pd.concat([frame, stored], axis=1)

    def metrics(self, predictions: pd.DataFrame) -> dict[str, Any]:
        from harness.tasks.metrics.classification import classification_metrics

        return classification_metrics(
            predictions["target"].tolist(),
            predictions["prediction"].tolist(),
            self.probabilities(predictions),
            self.labels,
        )

    def probabilities(self, predictions: pd.DataFrame) -> np.ndarray:
        """(examples, labels) of a decoded frame."""
        return predictions[[f"prob_{label}" for label in self.labels]].to_numpy()


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows of logits to rows that sum to 1, shifted by the maximum so that nothing overflows."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
