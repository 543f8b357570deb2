"""Shared fixtures: a tiny checkpoint of our own making, and one real run of the smoke suite."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest_plugins = ["tests.turns"]

#: real files to test with, beside a developer's checkout; tests that use them skip without
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


NEEDS_TENSORFLOW = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None or importlib.util.find_spec("keras_hub") is None,
    reason="needs the extra `tensorflow`",
)

#: the smallest suite there is; tests of messages count its lines
MAJORITY_SUITE = """\
suite: mine
models:
  - {id: majority, kind: majority}
tasks:
  - id: toy
    type: text-classification
    data:
      train: {source: "path:train.csv"}
      test: {source: "path:test.csv"}
matrix:
  - {models: [majority], tasks: [toy], recipe: baseline, launches: 1}
"""


@dataclass(frozen=True)
class Answer:
    """What a command said and how long it took."""

    status: int
    out: str
    err: str
    seconds: float


Harness = Callable[..., Answer]


def call_harness(*arguments: str | Path, cwd: Path, cache: Path, **environment: str) -> Answer:
    """Run the real command in a process of its own."""
    start = time.monotonic()
    done = subprocess.run(
        # as the installed command, without the working folder on the import path
        [sys.executable, "-P", "-m", "harness.cli", *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"HARNESS_CACHE": str(cache)} | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    return Answer(done.returncode, done.stdout, done.stderr, time.monotonic() - start)


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    """The command, in an empty folder with an empty cache."""

    def call(*arguments: str | Path, **environment: str) -> Answer:
        return call_harness(*arguments, cwd=tmp_path, cache=tmp_path / "cache", **environment)

    return call


@dataclass(frozen=True)
class Smoke:
    """One finished run of the smoke suite."""

    folder: Path  # where it ran; ``results`` and ``cache`` lie here
    first: Answer

    @property
    def results(self) -> Path:
        return self.folder / "results" / "smoke"

    def call(self, *arguments: str | Path, **environment: str) -> Answer:
        return call_harness(*arguments, cwd=self.folder, cache=self.folder / "cache", **environment)


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Smoke:
    """`harness run smoke` with an empty cache: real weights, real data, every stage."""
    folder = tmp_path_factory.mktemp("smoke")
    first = call_harness("run", "smoke", cwd=folder, cache=folder / "cache")
    assert first.status == 0, first.err
    return Smoke(folder, first)


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of 2 layers x 32 with a WordPiece vocabulary of letters and common words."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    from harness.backends.torch.zoo import hide_torchvision

    hide_torchvision()
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("tiny-bert")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,?!'-"
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary += [*letters, *(f"##{letter}" for letter in letters)]
    vocabulary += [
        "the",
        "of",
        "in",
        "and",
        "to",
        "was",
        "is",
        "which",
        "good",
        "bad",
        "person",
        "city",
    ]
    tokenizer = Tokenizer(
        models.WordPiece({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
