"""`harness explain`: attributions that are exact, tell signal from chance, and are kept whole."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.backends.base import ArtifactInfo, Attributions
from harness.boards.collect import collect
from harness.choose.evidence import select
from harness.choose.question import Question
from harness.choose.reasons import _faithfulness
from harness.cli import main
from harness.data.arrays import save_encoded
from harness.execute.devices import Devices
from harness.records.digests import damage, sealed
from harness.records.files import read_json, write_json
from harness.records.store import EXPLAIN_FILE, finish
from harness.stages.explain import explain
from harness.stages.faithfulness import SHARES, faithfulness, summary, taken
from harness.stages.fit import _artifact_files
from harness.stages.job import Job
from harness.tasks.base import Encoded, Ragged
from tests.records import write_results
from tests.torch_toys import artifact_info, random_backbone, silent, toy, toy_request

pytest.importorskip("captum")


# -- the measures -------------------------------------------------------------------------------


def test_a_share_is_rounded_up_and_never_empty() -> None:
    assert [taken(share, 100) for share in SHARES] == [1, 5, 10, 20, 50]
    assert [taken(share, 7) for share in SHARES] == [1, 1, 1, 2, 4]


def test_the_measures_are_those_worked_out_by_hand() -> None:
    """Five tokens of content in a frame of two; only token 2 matters: p is 0.9 with it, else 0.2.

    The right order loses 0.7 at every share and needs nothing else; the reversed one (shares of
    1, 1, 1, 1, 3 tokens: 5, 5, 5, 5, 5-4-3) loses nothing and is 0.7 short of enough throughout.
    """

    def probabilities(texts: Sequence[tuple[int, np.ndarray]]) -> np.ndarray:
        assert all(kept[0] and kept[6] for _, kept in texts)  # the frame stays
        return np.array([0.9 if kept[2] else 0.2 for _, kept in texts])

    content = np.array([False, True, True, True, True, True, False])
    right, wrong = np.array([2, 1, 3, 4, 5]), np.array([5, 4, 3, 1, 2])
    found = faithfulness([content], [[right, wrong]], probabilities)
    np.testing.assert_allclose(found.comprehensiveness, [[[0.7] * 5, [0.0] * 5]])
    np.testing.assert_allclose(found.sufficiency, [[[0.0] * 5, [0.7] * 5]], atol=1e-12)


def test_a_summary_is_paired_and_positive_where_the_attribution_is_better() -> None:
    values = np.zeros((2, 3, len(SHARES)))
    values[:, 0] = [[0.5], [0.7]]
    values[:, 1:] = 0.1
    assert summary(values, 1)["better_by"] == pytest.approx(0.5)
    assert summary(values, -1)["better_by"] == pytest.approx(-0.5)
    low, high = summary(values, 1)["better_by_low"], summary(values, 1)["better_by_high"]
    assert (low, high) == (pytest.approx(0.4), pytest.approx(0.6))  # of the two examples


# -- integrated gradients -----------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_attributions_add_up_to_the_difference_of_the_logits(
    tmp_path: Path, architecture: str
) -> None:
    """Completeness, against logits computed apart. Tolerance 1% of the difference, of 50 steps."""
    import torch

    from harness.backends.torch.explain import integrated_gradients
    from harness.backends.torch.models import TextModel, build

    folder = random_backbone(tmp_path, architecture, spread=0.1)
    model = build(artifact_info("pooled"), folder).eval().requires_grad_(False)
    assert isinstance(model, TextModel)
    torch.nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(3))
    encoded = toy("pooled", 3, seed=5)
    rows = [encoded.inputs["input_ids"][i] for i in range(3)]  # type: ignore[index]
    content = [np.arange(len(row)) > 0 for row in rows]  # the first token counts as the frame
    found = integrated_gradients(
        model, encoded, np.array([0, 1, 2]), content, 0, device="cpu", progress=silent
    )
    for i, row in enumerate(rows):
        ids = torch.from_numpy(np.stack([row, np.where(content[i], 0, row)]).astype(np.int64))
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids))[:, i]
        wanted = float(logits[0] - logits[1])
        assert abs(wanted) > 0.05
        assert found.scores[i].sum() == pytest.approx(wanted, rel=0.01)
        assert found.scores[i][0] == 0.0
        assert len(found.scores[i]) == len(row)


# -- a planted feature --------------------------------------------------------------------------

WORDS = ("good", "bad")


def planted(tokenizer: Any, count: int, seed: int) -> Encoded:
    """Texts of 8 to 16 letters among which one word, anywhere, decides the class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    rows = []
    for label in labels:
        letters = list(rng.choice(list("abcdefghijklmnop"), rng.integers(8, 17)))
        letters[rng.integers(len(letters))] = WORDS[label]
        rows.append(tokenizer.encode(" ".join(letters)).ids)
    ids = Ragged.of(rows)
    return Encoded({"input_ids": ids}, {"labels": labels}, np.arange(count), np.zeros(count, bool))


@pytest.fixture(scope="module")
def job(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A tiny BERT that was really fitted on the planted word, with its record and its cache."""
    from tokenizers import Tokenizer

    from harness.backends.torch.backend import TorchBackend

    folder = tmp_path_factory.mktemp("explain")
    tokenizer = Tokenizer.from_file(str(tiny_bert / "tokenizer.json"))
    cache, suite = folder / "cache", folder / "results" / "planted"
    spec = {
        "framework": "torch", "device": "cpu", "threads": 1,
        "model": {"kind": "transformer"},
        "task": {"type": "text-classification"},
    }  # fmt: skip
    run = {
        "runtime": "torch", "device": "cpu", "threads": 1, "seed": 1, "fit_id": "f1",
        "test": {"file": None, "size": 40},
        "row": {"suite": "planted", "model": "tiny", "recipe": "fine-tune", "task": "words"},
        "explain": {"examples": 25},
    }  # fmt: skip
    made = Job("f1", spec, {}, {}, cache, folder, suite / "runs" / "r1", run_id="r1", run=run)
    info = ArtifactInfo(
        "transformer", "torch", "text-classification", "pooled", 2, "cls", list(WORDS), 64
    )
    request = toy_request(
        folder, tiny_bert, train=planted(tokenizer, 256, seed=1), epochs=6, learning_rate=2e-3
    )
    made.artifact.mkdir(parents=True)
    request = replace(
        request, info=info, out=made.artifact, validation=planted(tokenizer, 16, seed=2),
        validation_score=lambda logits: 0.0,
    )  # fmt: skip
    TorchBackend().fit(request, silent)
    write_json(made.fit_folder / "fit.json", {"artifact_files": _artifact_files(made.artifact)})
    save_encoded(made.timing_inputs, planted(tokenizer, 40, seed=3))
    write_json(suite / "fits" / "f1" / "spec.json", spec)
    finish(suite / "fits" / "f1", "ok")
    write_json(made.record / "spec.json", {k: v for k, v in run.items() if k != "explain"})
    write_json(made.record / "metrics.json", {"score": 1.0})
    finish(made.record, "ok")
    return made


def test_a_word_that_decides_the_class_is_found_and_chance_is_not(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taking one word of about twelve away leaves a coin toss: it costs nearly half of p = 1."""
    job = replace(job, record=tmp_path / "apart")
    right = explain(job, silent)
    for name in ("comprehensiveness", "sufficiency"):
        assert right[name]["better_by_low"] > 0.05, name
    assert right["faithfulness_aopc"] > right["faithfulness_aopc_random"] + 0.1
    assert right["examples"] == 25 and right["examples_available"] == 40
    assert explain(job, silent)["comprehensiveness"] == right["comprehensiveness"]  # one seed

    def sabotaged(artifact: Path, encoded: Encoded, *rest: Any, **settings: Any) -> Attributions:
        rng = np.random.default_rng(0)
        scores = [rng.random(n) for n in encoded.inputs["input_ids"].lengths]  # type: ignore[union-attr]
        return Attributions(scores, np.zeros(len(scores)), {})

    monkeypatch.setattr("harness.backends.torch.explain.attributions", sabotaged)
    wrong = explain(job, silent)
    for name in ("comprehensiveness", "sufficiency"):
        assert wrong[name]["better_by_low"] <= 0, name


# -- the command and the record -----------------------------------------------------------------


def ask(job: Job, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setenv("HARNESS_CACHE", str(job.cache))
    results = job.record.parents[2]
    return main(["explain", *arguments, "--results", str(results)])


def test_the_command_adds_a_sealed_file_to_a_record_that_stays_whole(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (job.record / "status.json").read_bytes()
    assert ask(job, monkeypatch, "r1", "--examples", "5", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["examples"] == 5 and facts["versions"]["captum"]
    assert read_json(job.record / EXPLAIN_FILE) == facts
    assert set(facts["files"]) == {"metrics.json", "spec.json", "status.json"}
    assert (job.record / "status.json").read_bytes() == before
    assert damage(job.record) is None and damage(job.record, EXPLAIN_FILE) is None
    assert not any(word in json.dumps(facts) for word in WORDS)  # no text of the examples

    results = job.record.parents[2]
    assert main(["verify", "--results", str(results)]) == 0
    altered = (job.record / EXPLAIN_FILE).read_text().replace('"examples": 5', '"examples": 6')
    (job.record / EXPLAIN_FILE).write_text(altered)
    capsys.readouterr()
    assert main(["verify", "--results", str(results)]) == 1
    assert "harness explain" in capsys.readouterr().out


def test_it_waits_until_a_measurement_has_ended(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    log = job.cache / "logs" / job.record.parent.parent.name / "r1-explain.log"
    log.unlink(missing_ok=True)
    begun, early = threading.Event(), []

    def measure() -> None:
        with Devices.of(job.cache).measuring("cpu"):
            begun.set()
            time.sleep(2)
            early.append(log.exists())

    measurement = threading.Thread(target=measure)
    measurement.start()
    assert begun.wait(10)
    assert ask(job, monkeypatch, "r1", "--examples", "2") == 0
    measurement.join()
    assert early == [False] and log.exists()


def set_spec(job: Job, monkeypatch: pytest.MonkeyPatch, part: str, **changes: Any) -> None:
    """The fit's or the run's specification as if it had been another one."""
    real = read_json

    def read(path: Path) -> dict[str, Any] | None:
        found = real(path)
        wanted = path.name == "spec.json" and path.parent.parent.name == part
        return found | changes if found is not None and wanted else found

    for module in ("explain", "show"):
        monkeypatch.setattr(f"harness.commands.{module}.read_json", read)


@pytest.mark.parametrize(
    ("part", "changes", "said"),
    [
        ("fits", {"task": {"type": "token-classification"}}, "text-classification only"),
        (
            "fits",
            {"framework": "sklearn", "model": {"kind": "tfidf-logreg"}},
            "readable by itself: its coefficients are the explanation",
        ),
        ("fits", {"framework": "sklearn", "model": {"kind": "majority"}}, "in PyTorch only"),
        ("runs", {"runtime": "onnxruntime"}, "the same fit's run in the runtime torch"),
        ("runs", {"fit_id": "f2"}, "the record of the run's fit is missing"),
    ],
)
def test_what_cannot_be_explained_is_refused_with_the_reason(
    job: Job,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    part: str,
    changes: dict[str, Any],
    said: str,
) -> None:
    set_spec(job, monkeypatch, part, **changes)
    assert ask(job, monkeypatch, "r1") == 2
    assert said in capsys.readouterr().err


def test_bad_requests_are_exit_status_2(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert ask(job, monkeypatch, "nosuch") == 2
    assert "no record" in capsys.readouterr().err
    assert ask(job, monkeypatch, "f1") == 2
    assert "is a fit" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        ask(job, monkeypatch, "r1", "--examples", "0")
    assert ask(replace(job, cache=tmp_path), monkeypatch, "r1") == 2
    assert "no longer whole in the cache" in capsys.readouterr().err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert ask(job, monkeypatch, "r1") == 2
    assert "pretrained-harness[explain]" in capsys.readouterr().err


# -- boards and `choose` ------------------------------------------------------------------------


@pytest.mark.parametrize(("low", "sure"), [(0.1, True), (-0.1, False)])
def test_rows_carry_it_and_choose_cites_it(tmp_path: Path, low: float, sure: bool) -> None:
    write_results(tmp_path, size=100)
    suite = next(path.parent for path in tmp_path.rglob("plan.json"))
    row = next(
        row for row in collect(suite).rows
        if row.flat["task"] == "topics" and row.flat["runtime"] == "torch" and row.ok
    )  # fmt: skip
    assert row.flat["faithfulness_aopc"] is None and row.flat["faithfulness_shown"] is None
    for run in row.ok:
        record = suite / "runs" / run.run_id
        facts = {
            "faithfulness_aopc": 0.4, "faithfulness_aopc_random": 0.15,
            "comprehensiveness": {"better_by_low": low},
        }  # fmt: skip
        write_json(record / EXPLAIN_FILE, sealed(record, facts, EXPLAIN_FILE))
    rows = [r.flat for r in collect(suite).rows]
    (found,) = [r for r in rows if r["row_id"] == row.flat["row_id"]]
    assert found["faithfulness_aopc"] == pytest.approx(0.4)
    assert found["faithfulness_aopc_random"] == pytest.approx(0.15)
    assert found["faithfulness_shown"] is sure
    evidence = select(rows, Question("text-classification"))
    key = ("model", "recipe", "framework")
    of_fit = [c for c in evidence.candidates if all(c[k] == found[k] for k in key)]
    assert len(of_fit) > 1  # the fit's other runtimes cite it too, and say where it is from
    for candidate in of_fit:
        (line,) = _faithfulness(candidate, evidence)
        assert "AOPC comprehensiveness 0.400 (random order: 0.150)" in line
        assert ("not shown" in line) is not sure
        assert ("measured in runtime torch" in line) is (candidate["runtime"] != "torch")
