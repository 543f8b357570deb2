"""An image suite from end to end: both frameworks, three runtimes, each in a worker of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from harness.backends.parity import PARITY_BOUND
from tests.conftest import NEEDS_TENSORFLOW, Answer, call_harness
from tests.snippets import ask, exported, predictions
from tests.vision_toys import pictures, random_timm

pytestmark = [NEEDS_TENSORFLOW, pytest.mark.timeout(600)]

SUITE = """\
suite: toys
models:
  - {id: small, kind: timm, architecture: vgg11, source: "path:vgg11"}
  - {id: pixels, kind: pixels-logreg, image: {size: 8}}
tasks:
  - id: squares
    type: image-classification
    data: {train: {source: "path:train"}, test: {source: "path:test"}}
    budget: {validation: 12}
timing: {launches: 0}
threads: 1
settings:
  fine-tune: {epochs: 4, learning_rate: 5e-4, batch_size: 16, fit_dtype: float32}
  baseline: {C: 0.01}
matrix:
  - models: [small]
    tasks: [squares]
    recipe: fine-tune
    frameworks: [torch, tensorflow]
    runtimes: [torch, tensorflow, onnxruntime]
  - {models: [pixels], tasks: [squares], recipe: baseline}
"""
COLOURS = ("red", "green", "blue")


@dataclass(frozen=True)
class Toys:
    """One finished run."""

    folder: Path

    @property
    def results(self) -> Path:
        return self.folder / "results" / "toys"

    def call(self, *arguments: str | Path) -> Answer:
        return call_harness(*arguments, cwd=self.folder, cache=self.folder / "cache")

    def row(self, framework: str, runtime: str) -> dict[str, Any]:
        board = json.loads((self.results / "leaderboard.json").read_text())
        (row,) = (r for r in board if (r["framework"], r["runtime"]) == (framework, runtime))
        return dict(row)


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Toys:
    folder = tmp_path_factory.mktemp("toys")
    random_timm(folder, "vgg11")
    for split, count in (("train", 96), ("test", 40)):
        encoded = pictures(count, seed=len(split))
        for number, image in enumerate(encoded.inputs["pixel_values"].values):
            place = folder / split / COLOURS[encoded.targets["labels"][number]]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place / f"{number}.png")
    (folder / "toys.yaml").write_text(SUITE)
    toys = Toys(folder)
    answer = toys.call("run", "toys.yaml")
    assert answer.status == 0, answer.err
    return toys


def test_every_runtime_computes_what_the_fits_own_does(toys: Toys) -> None:
    for framework in ("torch", "tensorflow"):
        own = toys.row(framework, framework)
        assert own["status"] == "ok" and own["parity_rel_diff"] is None
        for runtime in {"torch", "tensorflow", "onnxruntime"} - {framework}:
            row = toys.row(framework, runtime)
            assert row["status"] == "ok"
            assert row["parity_rel_diff"] < PARITY_BOUND
            assert row["prediction_agreement"] == 1
            assert row["score_delta"] == 0


def test_both_frameworks_start_from_the_same_features(toys: Toys) -> None:
    """The gate of TensorFlow's conversion ran, and passed."""
    (run,) = toys.row("tensorflow", "tensorflow")["runs"]
    spec = json.loads((toys.results / "runs" / run / "spec.json").read_text())
    facts = json.loads((toys.results / "fits" / spec["fit_id"] / "fit.json").read_text())
    assert facts["notes"]["gate_rel_diff"] < PARITY_BOUND


@pytest.mark.parametrize(
    "framework, runtime",
    [("torch", "torch"), ("torch", "onnxruntime"), ("tensorflow", "tensorflow"),
     ("sklearn", "sklearn")],
)  # fmt: skip
def test_an_exported_model_says_what_is_on_record_of_its_test_images(
    toys: Toys, tmp_path: Path, framework: str, runtime: str
) -> None:
    row_id = toys.row(framework, runtime)["row_id"]
    usage = exported(toys.call("export", row_id, "--to", tmp_path / "to"), tmp_path / "to")
    recorded = predictions(toys.results, row_id)
    assert len(recorded) == 40
    answers = ask(usage, [[str(toys.folder / name)] for name in recorded])
    assert [label for label, _ in answers] == [one["prediction"] for one in recorded.values()]
    expected = [one[f"prob_{one['prediction']}"] for one in recorded.values()]
    assert [p for _, p in answers] == pytest.approx(expected, abs=1e-4)
    assert len({label for label, _ in answers}) > 1
