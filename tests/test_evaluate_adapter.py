import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.backends.torch.zoo import hide_torchvision
from harness.data.table import Table
from harness.errors import RequestError
from harness.tasks.base import TextEncoder
from harness.tasks.evaluate_adapter import as_evaluate_metric, run_evaluate_metric
from harness.tasks.question_answering import QuestionAnswering

SCRIPT = """
import datasets
import evaluate


class Agreement(evaluate.Metric):
    def _info(self):
        kind = {FEATURE}
        return evaluate.MetricInfo(
            description="", citation="",
            features=datasets.Features({{"predictions": kind, "references": kind}}),
        )

    def _compute(self, predictions, references, average="binary"):
        same = [a == b for a, b in zip(predictions, references)]
        return {{
            "share": sum(same) / len(same),
            "detail": {{"wrong": same.count(False)}},
            "note": "text is left out",
            "macro": average == "macro",
            "first": predictions[0] if isinstance(predictions[0], int) else -1,
        }}
"""


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory):
    """`evaluate` copies scripts into a cache of modules; not into the user's."""
    hide_torchvision()
    import evaluate

    folder = tmp_path_factory.mktemp("evaluate")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HF_EVALUATE_CACHE", "HF_METRICS_CACHE", "HF_MODULES_CACHE"):
            patch.setattr(evaluate.config, name, str(folder / name))
        yield


def script(folder: Path, name: str, feature: str) -> Path:
    path = folder / f"{name}.py"
    path.write_text(SCRIPT.format(FEATURE=feature))
    return path


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": ["1", "2", "3"],
            "target": ["b", "a", "b"],
            "prediction": ["b", "a", "a"],
            "prob_a": np.float32([0, 1, 1]),
            "prob_b": np.float32([1, 0, 0]),
        }
    )


def test_a_local_script_that_takes_integers_gets_label_positions(tmp_path):
    script(tmp_path, "agreement_int", 'datasets.Value("int32")')
    result = run_evaluate_metric("agreement_int.py", frame(), base=tmp_path)
    assert result == {
        "evaluate_agreement_int_share": 2 / 3,
        "evaluate_agreement_int_detail.wrong": 1.0,
        "evaluate_agreement_int_macro": 1.0,
        "evaluate_agreement_int_first": 1.0,
    }


def test_a_local_script_that_takes_strings_gets_labels_and_options_win(tmp_path):
    path = script(tmp_path, "agreement_str", 'datasets.Value("string")')
    result = run_evaluate_metric(str(path), frame(), options={"average": "micro"})
    assert result["evaluate_agreement_str_first"] == -1
    assert result["evaluate_agreement_str_macro"] == 0


def test_tags_go_in_as_lists_of_strings(tmp_path):
    path = script(tmp_path, "agreement_tags", 'datasets.Sequence(datasets.Value("string"))')
    tags = pd.DataFrame({"target": ["O B-PER"], "prediction": ["O B-PER"], "n_gold": [1]})
    assert run_evaluate_metric(str(path), tags)["evaluate_agreement_tags_share"] == 1


def test_a_metric_that_does_not_fit_the_task_is_one_clear_error(tmp_path):
    path = script(tmp_path, "agreement_int2", 'datasets.Value("int32")')
    tags = pd.DataFrame({"target": ["O B-PER"], "prediction": ["O B-PER"], "n_gold": [1]})
    with pytest.raises(RequestError, match="does not take this task's predictions"):
        run_evaluate_metric(str(path), tags)


def test_a_missing_script_and_an_unreachable_hub_are_request_errors(tmp_path, monkeypatch):
    with pytest.raises(RequestError, match="no metric script"):
        run_evaluate_metric("nowhere.py", frame(), base=tmp_path)
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(RequestError, match="'no-such-metric' cannot be fetched"):
        run_evaluate_metric("no-such-metric", frame(), base=tmp_path)


def test_our_metrics_are_evaluate_metrics():
    import evaluate

    metric = as_evaluate_metric("text-classification")
    assert isinstance(metric, evaluate.Metric)
    result = metric.compute(predictions=["a", "b"], references=["a", "a"])
    assert result["accuracy"] == 0.5
    assert result["recall_macro"] == 0.25

    metric = as_evaluate_metric("token-classification")
    metric.add_batch(predictions=[["B-PER", "O"]], references=[["B-PER", "O"]])
    assert metric.compute()["f1_entity"] == 1

    result = as_evaluate_metric("question-answering").compute(
        predictions=[{"id": "1", "prediction_text": "the sea"}, {"id": "2", "prediction_text": ""}],
        references=[
            {"id": "1", "answers": {"text": ["sea", "lake"], "answer_start": [0, 9]}},
            {"id": "2", "answers": {"text": [], "answer_start": []}},
        ],
    )
    assert result["exact_match"] == result["has_answer_f1"] == result["no_answer_f1"] == 1

    with pytest.raises(RequestError, match="known: text-classification"):
        as_evaluate_metric("accuracy")


SQUAD_SCRIPT = """
import datasets
import evaluate


class Texts(evaluate.Metric):
    def _info(self):
        text = datasets.Value("string")
        return evaluate.MetricInfo(description="", citation="", features=datasets.Features({
            "predictions": {"id": text, "prediction_text": text,
                            "no_answer_probability": datasets.Value("float32")},
            "references": {"id": text, "answers": datasets.Sequence(
                {"text": text, "answer_start": datasets.Value("int32")})},
        }))

    def _compute(self, predictions, references):
        pairs = list(zip(predictions, references))
        return {"right": sum(p["prediction_text"] in r["answers"]["text"] for p, r in pairs),
                "none": sum(p["no_answer_probability"] for p in predictions)}
"""


def test_answers_go_in_as_texts_where_the_examples_are_given(tmp_path):
    path = tmp_path / "texts.py"
    path.write_text(SQUAD_SCRIPT)
    context = "Ann lives in Oslo"
    table = Table(
        {
            "id": ["1", "2"],
            "question": ["where?", "who?"],
            "context": [context, context],
            "answers": [[{"text": "Oslo", "start": 13}], [{"text": "Ann", "start": 0}]],
        },
        "qa.json",
    )
    examples = QuestionAnswering({}).examples(table, "test")
    predictions = pd.DataFrame(
        {
            "id": ["1", "2"],
            "target": ["13:17", "0:3"],
            "prediction": ["13:17", ""],
            "has_answer": True,
        }
    )
    result = run_evaluate_metric(str(path), predictions, examples=examples)
    assert result == {"evaluate_texts_right": 1.0, "evaluate_texts_none": 1.0}
    with pytest.raises(RequestError, match="needs the texts of answers"):
        run_evaluate_metric(str(path), predictions)


def test_tasks_load_no_heavy_library_until_asked():
    modules = (
        "text_classification", "token_classification", "question_answering", "evaluate_adapter",
        "metrics.classification", "metrics.entities", "metrics.squad",
    )  # fmt: skip
    code = "; ".join(f"import harness.tasks.{name}" for name in modules)
    code += "; import harness.data.mrc, sys"
    code += "; print(sorted({'pandas', 'sklearn', 'scipy', 'seqeval', 'tokenizers', 'torch', "
    code += "'transformers', 'evaluate', 'datasets', 'pyarrow'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert TextEncoder(None, 1).tokenizer is None
