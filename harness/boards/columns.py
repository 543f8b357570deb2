"""The columns that a leaderboard may show, by the names that a definition gives them.

Every key of a row is one; those that need a unit, an interval or a sentence have an entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.boards import wording
from harness.boards.keys import FLAGS, KEYS, LISTS, NUMBERS
from harness.boards.shapes import METRICS
from harness.boards.wording import NOTHING
from harness.printable import framework_aside

Flat = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """What is shown, and what it is sorted by (None sorts last)."""

    text: str
    sort: float | str | None = None


@dataclass(frozen=True)
class Header:
    """What stands above a column, with its unit, and what it means.

    ``spare`` columns go first, the last before the others, where space is narrow (on a console).
    """

    text: str
    meaning: str = ""
    numeric: bool = True
    spare: bool = False


@dataclass(frozen=True)
class Column:
    """A header, and how a flat row's cell is made (the mapping holds models' names by id)."""

    header: str
    meaning: str
    cell: Callable[[Flat, Mapping[str, str]], Cell]
    numeric: bool = True
    spare: bool = False

    @property
    def head(self) -> Header:
        return Header(self.header, self.meaning, self.numeric, self.spare)


def _number(key: str, show: Callable[[Any], str]) -> Callable[[Flat, Mapping[str, str]], Cell]:
    return lambda row, names: Cell(show(row[key]), row[key])


def _text(key: str) -> Callable[[Flat, Mapping[str, str]], Cell]:
    return lambda row, names: Cell(wording.clean(row[key] or NOTHING), row[key] or "")


def model_name(row: Flat, names: Mapping[str, str]) -> str:
    return names.get(row["model"], row["model"])


def fit_name(row: Flat, names: Mapping[str, str]) -> str:
    """The model, its recipe, and its framework where that is not what one would assume."""
    recipe = "" if row["recipe"] == "baseline" else f", {row['recipe']}"
    return f"{model_name(row, names)}{recipe}{framework_aside(row['framework'])}"


def sized_name(row: Flat, names: Mapping[str, str]) -> str:
    """A fit's name, with its training size where the task has several."""
    size = row.get("train_budget")
    return fit_name(row, names) + (f", {size:,} examples" if size else "")


def _task(row: Flat, names: Mapping[str, str]) -> Cell:
    name = names.get(f"task:{row['task']}", wording.clean(row["task"]))
    return Cell(name, name)


def _model(row: Flat, names: Mapping[str, str]) -> Cell:
    name = model_name(row, names)
    return Cell(name, name)


def _fit(row: Flat, names: Mapping[str, str]) -> Cell:
    rank = f"{row['rank']}. " if row["rank"] else ""
    return Cell(f"{rank}{fit_name(row, names)}", row["rank"])


def _rank(row: Flat, names: Mapping[str, str]) -> Cell:
    return Cell(str(row["rank"] or NOTHING), row["rank"])


def _score(row: Flat, names: Mapping[str, str]) -> Cell:
    text = f"{wording.score(row['score'])} {wording.interval(row['score_low'], row['score_high'])}"
    return Cell(text.strip(), row["score"])


def _tied(row: Flat, names: Mapping[str, str]) -> Cell:
    if row["tied_with_best"] is None:
        return Cell(NOTHING)
    if row["p_vs_best"] is None:
        return Cell("best", 1.0)
    answer = "yes" if row["tied_with_best"] else "no"
    return Cell(f"{answer}, {wording.p_value(row['p_vs_best'])}", row["p_vs_best"])


def _gap(row: Flat, names: Mapping[str, str]) -> Cell:
    if row["train_score"] is None or row["score"] is None:
        return Cell(NOTHING)
    gap = row["train_score"] - row["score"]
    return Cell(wording.points(gap), gap)


def _seeds(row: Flat, names: Mapping[str, str]) -> Cell:
    text = str(row["seeds"])
    if row["seeds_ok"] != row["seeds"]:
        text = f"{row['seeds_ok']} of {row['seeds']}"
    return Cell(text, row["seeds_ok"])


def _dtype(row: Flat, names: Mapping[str, str]) -> Cell:
    return Cell("int8 (other weights)" if row["dtype"] == "int8" else row["dtype"], row["dtype"])


def _judged(
    key: str, verdict: str, steady: str | None = None
) -> Callable[[Flat, Mapping[str, str]], Cell]:
    """A figure of the launches, and why to doubt it."""

    def cell(row: Flat, names: Mapping[str, str]) -> Cell:
        doubts = ["not steady"] if steady and row[steady] is False else []
        doubts += ["INVALID"] if row[verdict] == "INVALID" else []
        text = wording.significant(row[key])
        return Cell(f"{text} ({', '.join(doubts)})" if doubts else text, row[key])

    return cell


def _p50_interval(row: Flat, names: Mapping[str, str]) -> Cell:
    low, high = row["latency_p50_low_ms"], row["latency_p50_high_ms"]
    if low is None or high is None:
        return Cell(NOTHING)
    return Cell(f"[{wording.significant(low)}, {wording.significant(high)}]", high / low)


def _pareto(row: Flat, names: Mapping[str, str]) -> Cell:
    axes = row["pareto"] or []
    return Cell(", ".join(axes).replace("_", " ") or NOTHING, len(axes))


def _delta(row: Flat, names: Mapping[str, str]) -> Cell:
    if row["score_delta"] is None:
        return Cell(NOTHING)
    low, high = row["score_delta_low"], row["score_delta_high"]
    text = wording.points(row["score_delta"])
    if low is not None and high is not None and (low or high):
        text += f" [{wording.points(low)}, {wording.points(high)}]"
    return Cell(text, row["score_delta"])


def _size(value: float | None) -> str:
    return "<0.01" if value is not None and value < 0.01 else wording.significant(value)


#: above it two float32 computations are not of one model (`harness.backends.parity`)
_SAME_IN_FLOAT32 = 1e-5


def _parity(row: Flat, names: Mapping[str, str]) -> Cell:
    value = row["parity_rel_diff"]
    if value is None:
        return Cell(NOTHING)
    apart = row["dtype"] == "float32" and value > _SAME_IN_FLOAT32
    return Cell(f"{value:.1e}" + (" (too far apart)" if apart else ""), value)


COLUMNS: dict[str, Column] = {
    "task": Column("task", "the data set", _task, numeric=False),
    "train_budget": Column(
        "training size",
        "training examples at most, where a task is learned from several numbers of them",
        _number("train_budget", wording.figure),
    ),
    "rank": Column("rank", "by score, among complete fits of the task", _rank),
    "model": Column("model", "the pretrained model or baseline", _model, numeric=False),
    "recipe": Column("recipe", "how it was adapted", _text("recipe"), numeric=False),
    "framework": Column(
        "framework", "what trained it", _text("framework"), numeric=False, spare=True
    ),
    "score": Column("score [95% interval]", "the task's primary metric on the test set", _score),
    "behind_best": Column(
        "behind best, points",
        "score of the best fit minus this one's, in hundredths",
        lambda row, names: Cell(
            wording.points(row["gap_to_best"], signed=False), row["gap_to_best"]
        ),
        spare=True,
    ),
    "tied": Column(
        "tied with best?",
        "paired test on the same test examples, Holm-corrected; yes: not told apart at 5%",
        _tied,
    ),
    **{
        key: Column(head, meaning, _number(key, wording.score), spare=True)
        for key, head, meaning in (
            ("f1_macro", "macro F1", "mean of the classes' F1, each class counting the same"),
            ("top5_accuracy", "top-5", "share of examples whose class is among the five likeliest"),
            ("precision_entity", "precision", "share of predicted entities that are right"),
            ("recall_entity", "recall", "share of true entities that were found"),
            ("exact_match", "exact match", "share of answers that are right to the character"),
            ("has_answer_f1", "F1, answerable", "of the questions that have an answer"),
            ("no_answer_f1", "F1, unanswerable", "of the questions that have none"),
        )
    },
    "params": Column(
        "params", "weights of the whole model", _number("params", wording.count), spare=True
    ),
    "size_mb": Column("size, MB", "weights on disk", _number("size_mb", _size), spare=True),
    "flops_per_example": Column(
        "FLOPs",
        "operations of one prediction, of matrix products and convolutions, at the test set's "
        "mean input size",
        _number("flops_per_example", wording.count),
        spare=True,
    ),
    "fit_peak_share": Column(
        "fit, % of peak",
        "operations a second of the training, over those of a large matrix product",
        _number("fit_peak_share", wording.percent),
        spare=True,
    ),
    "peak_share": Column(
        "% of peak",
        "operations a second at the best batch size, over those of a large matrix product in the "
        "same precision",
        _number("peak_share", wording.percent),
        spare=True,
    ),
    "disturbed_share": Column(
        "disturbed, %",
        "share of the latency's blocks in which something else kept the host busy",
        _number("disturbed_share", wording.percent),
        spare=True,
    ),
    "fit_seconds": Column(
        "fit time, s", "training, mean over seeds", _number("fit_seconds", wording.significant)
    ),
    "train_gap": Column(
        "train - test, points",
        "training score minus test score: overfitting shows here",
        _gap,
        spare=True,
    ),
    "seeds": Column("seeds", "trainings behind the score", _seeds, spare=True),
    "status": Column("status", "what became of the runs", _text("status"), numeric=False),
    "fit": Column("fit", "rank, model and recipe", _fit, numeric=False),
    "runtime": Column("runtime", "what computed the predictions", _text("runtime"), numeric=False),
    "device": Column("device", "cpu or cuda", _text("device"), numeric=False, spare=True),
    "dtype": Column("dtype", "numeric precision", _dtype, numeric=False, spare=True),
    "score_delta": Column(
        "score change, points [95%]", "against the runtime that trained the fit", _delta
    ),
    "agreement": Column(
        "same predictions, %",
        "share of test examples predicted as in the fit's own runtime",
        _number("prediction_agreement", wording.percent),
        spare=True,
    ),
    "parity": Column(
        "max rel. logit diff.",
        "largest difference of logits from the fit's own runtime, relative to the largest logit; "
        "in float32 above 1e-5 it is not the same model",
        _parity,
        spare=True,
    ),
    "latency_p50_ms": Column(
        "p50, ms",
        "median latency at batch 1; not steady: it still changed when sampling ended; INVALID: the "
        "load generator's conditions were not met",
        _judged("latency_p50_ms", "timing_verdict", "steady"),
    ),
    "latency_p50_interval": Column(
        "p50, 95%", "interval of the median latency over launches", _p50_interval, spare=True
    ),
    "latency_p90_ms": Column(
        "p90, ms",
        "90th percentile at batch 1",
        _number("latency_p90_ms", wording.significant),
        spare=True,
    ),
    "latency_p99_ms": Column(
        "p99, ms",
        "99th percentile at batch 1",
        _number("latency_p99_ms", wording.significant),
        spare=True,
    ),
    "throughput_per_s": Column(
        "examples/s",
        "throughput at the best batch size; INVALID: as for p50",
        _judged("throughput_per_s", "throughput_verdict"),
    ),
    "peak_memory_mb": Column(
        "memory, MB",
        "peak of the process",
        _number("peak_memory_mb", wording.significant),
        spare=True,
    ),
    "energy_j_per_1000": Column(
        "J per 1000",
        "energy of 1,000 examples",
        _number("energy_j_per_1000", wording.significant),
        spare=True,
    ),
    "pareto": Column(
        "on the front of score and",
        "no other complete row of the task, of the same host and training size, scores higher at "
        "no more latency, size, memory, fit time or energy",
        _pareto,
        numeric=False,
        spare=True,
    ),
    "launches": Column(
        "launches",
        "fresh processes that were timed",
        _number("launches", lambda n: str(n or 0)),
        spare=True,
    ),
}


def _recorded(key: str) -> Column:
    """A key of a row that has no entry above, as it stands in ``leaderboard.json``."""
    head = wording.metric_name(key)
    cell = _text(key)
    if key in METRICS:
        cell = _number(key, wording.score)
    elif key == "p_vs_best":
        cell = _number(key, lambda p: NOTHING if p is None else wording.p_value(p))
    elif key in NUMBERS:
        cell = _number(key, wording.figure)
    elif key in FLAGS:
        cell = _flag(key)
    elif key in LISTS:
        cell = _list(key)
    return Column(head, f"{key} of leaderboard.json", cell, numeric=key in NUMBERS, spare=True)


def _flag(key: str) -> Callable[[Flat, Mapping[str, str]], Cell]:
    words = {None: NOTHING, True: "yes", False: "no"}
    return lambda row, names: Cell(words[row[key]], words[row[key]])


def _list(key: str) -> Callable[[Flat, Mapping[str, str]], Cell]:
    def cell(row: Flat, names: Mapping[str, str]) -> Cell:
        text = wording.clean(" ".join(row[key] or ()) or NOTHING)
        return Cell(text, text)

    return cell


COLUMNS |= {key: _recorded(key) for key in KEYS if key not in COLUMNS}
