"""Fine-tuning MiniLM here and with Hugging Face's `Trainer`: same work, same score, less time.

Same examples, epochs, batch size, learning rate, schedule, dropout rate and seed. The arms take
turns (A B B A ...), because the speed of a shared machine drifts; figures are medians of rounds.
Each training has a fresh process: ours with the environment of our worker, the other's with its
own. ``BENCH_ROUNDS`` sets how often each arm trains, ``BENCH_THREADS`` with how many threads. CPU
time is shown besides: neighbours on the machine disturb it less. Run with `make bench-speed`.
"""

from __future__ import annotations

import os
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.backends.base import predict_all
from harness.backends.torch.backend import TorchBackend
from harness.backends.torch.runtime import TorchRuntime
from harness.execute.environment import thread_environment, worker_environment
from harness.stats.paired import paired_test
from harness.suite import Settings
from tests.benchmarks.conftest import Prepared
from tests.benchmarks.processes import THREADS, Trained, in_fresh_process
from tests.benchmarks.trainer_arm import train_with_trainer

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "2"))
#: a paired test below this level would say that the faster training is worse
LEVEL = 0.05


def train_here(prepared: Prepared, settings: dict[str, Any], out: Path) -> Trained:
    """Seconds of training, and logits of the test split."""
    request = prepared.fine_tune("torch", settings, out, THREADS)
    report = TorchBackend().fit(request, lambda *_: None)
    predictor = TorchRuntime().load(out, out, device="cpu", threads=THREADS)
    return report.seconds, predict_all(predictor, prepared.encoded["test"])


CASES = [
    pytest.param("entities", False, 2.5, id="entities-against-the-default"),
    pytest.param("entities", True, 1.3, id="entities-against-group_by_length"),
    pytest.param("topics", False, 2.5, id="topics-against-the-default"),
    pytest.param("topics", True, 1.3, id="topics-against-group_by_length"),
]


@pytest.mark.benchmark_speed
@pytest.mark.parametrize(("data", "group_by_length", "factor"), CASES)
def test_training_is_faster_at_no_loss_of_score(
    data, group_by_length, factor, request, tmp_path, benchmark, capsys
):
    prepared: Prepared = request.getfixturevalue(data)
    dtype, figures = TorchBackend().resolve_dtype("transformer", prepared.folder, "cpu", THREADS)
    settings = Settings(epochs=2, learning_rate=3e-4, batch_size=32).model_dump()
    settings["fit_dtype"] = dtype
    seconds: dict[str, list[float]] = {"here": [], "trainer": []}
    cpu_seconds: dict[str, list[float]] = {"here": [], "trainer": []}
    logits: dict[str, list[np.ndarray]] = {}

    def run(arm: str, number: int) -> None:
        out = tmp_path / f"{arm}-{number}"
        if arm == "here":
            answer = in_fresh_process(
                worker_environment(THREADS), train_here, prepared, settings, out
            )
        else:
            answer = in_fresh_process(
                thread_environment(THREADS), train_with_trainer,
                prepared, settings, out, group_by_length, dtype == "bfloat16",
            )  # fmt: skip
        taken, logits[arm], spent = answer
        seconds[arm].append(taken)
        cpu_seconds[arm].append(spent)

    def rounds() -> None:
        for number in range(ROUNDS):
            order = ("here", "trainer") if number % 2 == 0 else ("trainer", "here")
            for arm in order:
                run(arm, number)

    benchmark.pedantic(rounds, rounds=1, iterations=1)
    medians = {arm: statistics.median(values) for arm, values in seconds.items()}
    cpu = {arm: statistics.median(values) for arm, values in cpu_seconds.items()}
    work = len(prepared.encoded["train"]) * settings["epochs"]
    ratio = medians["trainer"] / medians["here"]
    scores, p_value = compare_scores(prepared, logits)
    benchmark.extra_info.update(
        {f"{arm}_examples_per_s": work / value for arm, value in medians.items()}
        | {f"{arm}_score": value for arm, value in scores.items()}
        | {"ratio": ratio, "p_value": p_value, "dtype": dtype, "dtype_figures": figures}
        | {f"{arm}_seconds": values for arm, values in seconds.items()}
    )
    with capsys.disabled():
        print(
            f"\n{data}, Trainer {'grouping by length' if group_by_length else 'by default'}, "
            f"{dtype}, {THREADS} threads: here {work / medians['here']:.1f} examples/s, Trainer "
            f"{work / medians['trainer']:.1f}, ratio {ratio:.2f} (wanted {factor}; of CPU seconds "
            f"with loading and scoring {cpu['trainer'] / cpu['here']:.2f}); "
            f"{prepared.task.primary} {scores['here']:.4f} and {scores['trainer']:.4f}, "
            f"p = {p_value:.3f}"
        )
    assert scores["here"] >= scores["trainer"] or p_value > LEVEL
    assert ratio >= factor


def compare_scores(
    prepared: Prepared, logits: dict[str, list[np.ndarray]]
) -> tuple[dict[str, float], float]:
    """The primary metric of both arms on the same test examples, and a paired test's p."""
    task = prepared.task
    frames = {
        arm: task.decode(prepared.examples["test"], prepared.encoded["test"], values)
        for arm, values in logits.items()
    }
    scores = {arm: float(task.metrics(frame)[task.primary]) for arm, frame in frames.items()}
    columns = [
        frames[arm][column].to_numpy(float)[None]
        for arm in ("here", "trainer")
        for column in ("score_num", "score_den")
    ]
    clusters = frames["here"]["cluster"].to_numpy()
    return scores, paired_test(*columns, clusters).p_value
