"""A real fault, by real launches: one side of a comparison has lost a thread."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from harness.compare.judge import Options, compare, join_rows
from harness.compare.sides import read_side
from harness.data.arrays import save_encoded
from harness.execute.launches import Interpreter
from harness.execute.rerun import Arm, rerun
from harness.measure.host import available_cores
from harness.records.files import write_json
from tests.records import write_results
from tests.test_compare_sides import only, run_of
from tests.tiny_models import bert_config, tokens, transformer_artifact

ROW = "minilm fine-tune on entities in torch"


def wide_model(cache: Path, fit_id: str) -> None:
    """An artifact whose matrix products are worth a second thread, with inputs to time it on."""
    fit = cache / "fits" / fit_id
    config = bert_config(hidden_size=768, num_attention_heads=12, intermediate_size=3072)
    transformer_artifact(fit, config)
    save_encoded(fit / "timing-inputs-all.npz", tokens([48] * 24))


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.skipif(available_cores() < 2, reason="one core: there is no thread to lose")
def test_a_lost_thread_is_a_slowdown_and_named(tmp_path: Path) -> None:
    place = write_results(tmp_path / "results", size=60, trouble=False)
    (run,) = run_of(place, "minilm", "entities", "torch")
    write_json(
        run / "spec.json",
        {"runtime": "torch", "device": "cpu", "threads": 2, "test": {"size": None}},
    )
    sides = [read_side(name, place.parent) for name in ("BASE", "HEAD")]
    rows = [
        pair for pair in join_rows(*sides, Options())[0] if pair[0].row.ok[0].run_id == run.name
    ]
    wide_model(tmp_path / "cache", rows[0][0].row.ok[0].fit_id)
    arms = [
        Arm(side.name, tmp_path / "cache", Interpreter(environment=environment))
        for side, environment in zip(sides, ({}, {"OMP_NUM_THREADS": "1"}), strict=True)
    ]
    again = rerun(
        (sides[0], place.parent, arms[0]), (sides[1], place.parent, arms[1]), rows, 3,
        math.log1p(0.03), tmp_path / "scratch", print,
    )  # fmt: skip
    found = only(compare(*again), "latency_p50_ms", ROW)
    assert found.verdict == "regression", found
    assert found.change is not None and found.change > 0.2
    assert found.causes[0] == "threads 2 to 1"
