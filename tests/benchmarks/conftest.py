"""Real weights and data for the speed comparisons, fetched and checked as a suite's are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.backends.base import ArtifactInfo, FitRequest
from harness.data.split import draw
from harness.sources.cache import default_cache
from harness.stages.fetch import fetch_model
from harness.stages.prepare import read_task
from harness.suite import load_suite
from harness.tasks.base import Encoded, Examples, Task, TextEncoder

#: drawn subsets are the same for all arms
DRAW_SEED = 13


@dataclass(frozen=True)
class Prepared:
    """A task with its drawn and encoded splits, and the model folder they are encoded for."""

    task: Task
    examples: dict[str, Examples]
    encoded: dict[str, Encoded]
    folder: Path
    max_length: int

    def fine_tune(
        self, framework: str, settings: dict[str, Any], out: Path, threads: int
    ) -> FitRequest:
        """A fine-tune of the training split on the CPU; only time and weights count."""
        task, head = self.task, self.task.head
        info = ArtifactInfo(
            "transformer", framework, task.type, head.kind, head.outputs, "mean", task.labels,
            self.max_length,
        )  # fmt: skip
        return FitRequest(
            model_kind="transformer",
            model_folder=self.folder,
            recipe="fine-tune",
            settings=settings,
            loss=task.loss,
            info=info,
            train=self.encoded["train"],
            validation=self.encoded["validation"],
            validation_score=lambda logits: float("nan"),
            train_score=lambda logits: float("nan"),
            device="cpu",
            threads=threads,
            seed=1,
            out=out,
            features_cache=out,
            features_key="",
            mixed_batches=task.mixed_batches,
        )


def prepare(task_id: str, train: int, test: int, max_length: int) -> Prepared:
    """A task of the suite `nlp` with ``train`` and ``test`` drawn examples, for MiniLM.

    ``max_length`` is the comparison's own: a suite may cut its texts as it likes.
    """
    from tokenizers import Tokenizer

    loaded = load_suite("nlp")
    cache, base = default_cache(), loaded.path.parent
    model = next(m for m in loaded.suite.models if m.id == "minilm")
    entry = next(t for t in loaded.suite.tasks if t.id == task_id)
    folder = fetch_model(model, cache, base)
    assert folder is not None
    data = read_task(entry, cache, base)
    encoder = TextEncoder(Tokenizer.from_file(str(folder / "tokenizer.json")), max_length)
    examples = {}
    # no validation examples: only training is timed
    for split, size in (("train", train), ("validation", 0), ("test", test)):
        whole = data.splits[split]
        examples[split] = whole.take(draw(data.task.strata(whole), size, DRAW_SEED))
    encoded = {split: data.task.encode(some, encoder) for split, some in examples.items()}
    return Prepared(data.task, examples, encoded, folder, max_length)


@pytest.fixture(scope="session")
def entities() -> Prepared:
    """CoNLL-2003: short sentences of very different length."""
    return prepare("conll2003", train=1000, test=1000, max_length=128)


@pytest.fixture(scope="session")
def topics() -> Prepared:
    """Reuters R8: long documents, a quarter of them cut at 128 tokens."""
    return prepare("reuters-r8", train=480, test=700, max_length=128)
