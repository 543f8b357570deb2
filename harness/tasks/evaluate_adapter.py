"""Both ways between these metrics and the library ``evaluate``, which loads only when asked for.

``import evaluate`` takes seconds (it loads torch, transformers and datasets), and its own metrics
are scripts on the hub; so the harness scores with plain functions and meets it here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import RequestError

if TYPE_CHECKING:
    import pandas as pd

    from harness.tasks.base import Examples

METRICS = ("text-classification", "token-classification", "question-answering")


def as_evaluate_metric(name: str) -> Any:
    """An ``evaluate.Metric`` that computes the metrics of a task type; needs no network.

    ``text-classification``: predictions and references are label strings. ``token-classification``:
    lists of IOB2 tags. ``question-answering``: predictions {id, prediction_text}, references
    {id, answers: {text, answer_start}}, as ``evaluate``'s own squad_v2. ``compute`` returns what
    `Task.metrics` does, without what needs probabilities.
    """
    if name not in METRICS:
        raise RequestError(f"no metric {name!r} here; known: {', '.join(METRICS)}")
    import datasets
    import evaluate

    features: dict[str, Any]
    compute: Callable[[Any, Any], dict[str, Any]]
    text, integers = datasets.Value("string"), datasets.Value("int32")
    if name == "text-classification":
        features, compute = {"predictions": text, "references": text}, _classification
    elif name == "token-classification":
        features = {key: datasets.Sequence(text) for key in ("predictions", "references")}
        compute = _entities
    else:
        features = {
            "predictions": {"id": text, "prediction_text": text},
            "references": {
                "id": text,
                "answers": {
                    "text": datasets.Sequence(text),
                    "answer_start": datasets.Sequence(integers),
                },
            },
        }
        compute = _squad

    class HarnessMetric(evaluate.Metric):
        def _info(self) -> Any:
            return evaluate.MetricInfo(
                description=inspect.getdoc(compute) or "",
                citation="",
                inputs_description=inspect.getdoc(as_evaluate_metric) or "",
                features=datasets.Features(features),
            )

        def _compute(self, *, predictions: Any, references: Any) -> dict[str, Any]:
            return compute(predictions, references)

    return HarnessMetric(config_name=name, keep_in_memory=True)


def _classification(predictions: list[str], references: list[str]) -> dict[str, Any]:
    """Accuracy, precision, recall and F1 (macro, micro, weighted), and the same per class."""
    from harness.tasks.metrics.classification import label_metrics

    return label_metrics(references, predictions, sorted({*references, *predictions}))


def _entities(predictions: list[list[str]], references: list[list[str]]) -> dict[str, Any]:
    """Strict entity-level precision, recall and F1 over IOB2, and the same per type."""
    from harness.tasks.metrics.entities import entity_metrics

    return entity_metrics(references, predictions)


def _squad(predictions: list[dict[str, Any]], references: list[dict[str, Any]]) -> dict[str, Any]:
    """SQuAD's exact match and F1, also apart for questions with and without an answer."""
    import numpy as np

    from harness.tasks.metrics.squad import answer_scores, squad_metrics

    answers = {prediction["id"]: prediction["prediction_text"] for prediction in predictions}
    scores = [answer_scores(answers[r["id"]], r["answers"]["text"]) for r in references]
    exact, f1 = np.array(scores).reshape(-1, 2).T
    return dict(
        squad_metrics(exact, f1, np.array([bool(r["answers"]["text"]) for r in references]))
    )


def run_evaluate_metric(
    name_or_path: str,
    predictions: pd.DataFrame,
    *,
    examples: Examples | None = None,
    base: Path = Path(),
    options: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Any metric of ``evaluate`` on a decoded frame: {"evaluate_<name>_<key>": number}.

    ``name_or_path``: a hub name, or a script (``.py``) relative to ``base``; either is code that
    the suite's author has asked to run. Nested results are flattened with dots, what is no number
    is left out. The frame tells the kind: tags go in as lists of strings; labels as strings where
    the metric takes strings, else as their positions among the ``prob_`` columns; answers need
    ``examples``, because the frame holds no text. Metrics with an ``average`` get "macro" unless
    ``options`` say otherwise: their default, "binary", refuses three classes.
    """
    metric, name = load_metric(name_or_path, base)
    found, wanted = _arguments(metric, predictions, examples, name_or_path)
    settings = dict(options or {})
    parameters = inspect.signature(metric._compute).parameters
    if "average" in parameters and "average" not in settings:
        settings["average"] = "macro"
    try:
        result = metric.compute(predictions=found, references=wanted, **settings)
    except (ValueError, TypeError, KeyError) as error:
        raise RequestError(
            f"metric {name_or_path!r} does not take this task's predictions: "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from error
    return {
        "evaluate_" + (name if key == name else f"{name}_{key}"): value
        for key, value in _numbers(result or {}).items()
    }


def metric_script(name_or_path: str, base: Path, where: str = "") -> Path | None:
    """The local script that a metric's name means, relative to ``base``; None for a hub name.

    `RequestError` (prefixed with ``where``) where it means one that is not there.
    """
    path = base / name_or_path
    if not (name_or_path.endswith(".py") or path.exists()):
        return None
    script = path / f"{path.name}.py" if path.is_dir() else path
    if not script.is_file():
        raise RequestError((f"{where}: " if where else "") + f"no metric script {str(script)!r}")
    return script


def load_metric(name_or_path: str, base: Path) -> tuple[Any, str]:
    """A metric of ``evaluate`` and what its results are named by; runs its code.

    `RequestError` where it cannot be had, or its code does not load.
    """
    import evaluate

    script = metric_script(name_or_path, base)
    try:
        if script is not None:
            return evaluate.load(str(script)), script.stem
        return evaluate.load(name_or_path), name_or_path.rpartition("/")[2]
    except Exception as error:  # its own code may raise any
        if script is None and isinstance(error, OSError):
            raise RequestError(
                f"metric {name_or_path!r} cannot be fetched from the Hugging Face hub "
                f"({type(error).__name__}); name one that exists, go online, or give the path of a "
                "local metric script"
            ) from error
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise RequestError(f"metric {name_or_path!r} does not load: {reason}") from error


def _arguments(
    metric: Any, frame: pd.DataFrame, examples: Examples | None, metric_name: str
) -> tuple[list[Any], list[Any]]:
    """Predictions and references in the form that the metric declares."""
    if "n_gold" in frame:  # token classification
        return (
            [tags.split() for tags in frame["prediction"]],
            [tags.split() for tags in frame["target"]],
        )
    if "has_answer" in frame:  # question answering
        if examples is None:
            raise RequestError(
                f"metric {metric_name!r} needs the texts of answers, which predictions do not "
                "hold; question answering is scored by SQuAD's own metrics here"
            )
        return _answers(metric, frame, examples)
    found, wanted = frame["prediction"].tolist(), frame["target"].tolist()
    if _takes_strings(metric):
        return found, wanted
    names = [str(column) for column in frame.columns]
    labels = [name.removeprefix("prob_") for name in names if name.startswith("prob_")]
    index = {label: i for i, label in enumerate(labels)}
    return [index[x] for x in found], [index[x] for x in wanted]


def _answers(metric: Any, frame: pd.DataFrame, examples: Examples) -> tuple[list[Any], list[Any]]:
    takes_probability = "no_answer_probability" in str(metric.features)
    found, wanted = [], []
    contexts = dict(zip(examples.ids, examples.fields["context"], strict=True))
    for row in frame.to_dict("records"):
        context = contexts[row["id"]]

        def text(span: str, context: str = context) -> str:
            start, _, end = span.partition(":")
            return context[int(start) : int(end)] if span else ""

        golds = row["target"].split()
        prediction: dict[str, Any] = {"id": row["id"], "prediction_text": text(row["prediction"])}
        if takes_probability:
            prediction["no_answer_probability"] = float(not row["prediction"])
        found.append(prediction)
        answers = {
            "text": [text(gold) for gold in golds],
            "answer_start": [int(gold.partition(":")[0]) for gold in golds],
        }
        wanted.append({"id": row["id"], "answers": answers})
    return found, wanted


def _takes_strings(metric: Any) -> bool:
    """Whether the metric declares string predictions; some declare several alternatives."""
    features = metric.features
    choices = features if isinstance(features, list) else [features]
    return any(getattr(choice["predictions"], "dtype", "") == "string" for choice in choices)


def _numbers(result: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    flat: dict[str, float] = {}
    for key, value in result.items():
        if hasattr(value, "item") and getattr(value, "size", 1) == 1:
            value = value.item()
        if isinstance(value, Mapping):
            flat |= _numbers(value, f"{prefix}{key}.")
        elif isinstance(value, (int, float)):
            flat[f"{prefix}{key}"] = float(value)
    return flat
