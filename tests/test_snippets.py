"""What an exported model says as its ``usage.py`` stands, against its run's recorded predictions.

Models are tiny and random, with what real checkpoints trip over: a tokenizer file that asks for
padding, byte-level tokens, token types, texts and contexts beyond ``max_length``.
"""

from __future__ import annotations

import csv
import json
import random
import runpy
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.commands.snippets import snippet
from harness.data.pictures import Picture
from harness.tasks import images
from harness.tasks.images import ImageEncoder
from tests.conftest import Answer, call_harness
from tests.snippets import ask, exported, predictions

SUITE = """\
suite: own
models:
  - {id: own, source: "path:own", pooling: mean}
  - {id: bytes, source: "path:bytes", pooling: last}
  - {id: static, kind: static-embeddings, source: "path:static"}
  - {id: tfidf, kind: tfidf-logreg}
  - {id: majority, kind: majority}
tasks:
  - id: pairs
    type: text-classification
    data: {train: {source: "path:pairs.csv"}, test: {source: "path:pairs.csv"}}
    options: {pair: other, id: id}
    max_length: 24
  - id: names
    type: token-classification
    data: {train: {source: "path:names.jsonl"}, test: {source: "path:names.jsonl"}}
    options: {id: id}
    max_length: 16
  - id: cities
    type: question-answering
    data: {train: {source: "path:cities.json"}, test: {source: "path:cities.json"}}
    options: {max_answer_tokens: 5, max_question_tokens: 12, null_threshold: 0.01}
    max_length: 32
    stride: 4
timing: {launches: 0}
threads: 1
settings:
  fine-tune: {epochs: 6, learning_rate: 3e-3, batch_size: 8, fit_dtype: float32, dropout: 0.0}
matrix:
  - {models: [own], tasks: [pairs, cities], recipe: fine-tune, runtimes: [onnxruntime]}
  - {models: [bytes], tasks: [pairs], recipe: fine-tune, runtimes: [torch]}
  - {models: [bytes], tasks: [names], recipe: fine-tune, runtimes: [onnxruntime]}
  - {models: [static], tasks: [pairs, names], recipe: fine-tune, runtimes: [torch]}
  - {models: [tfidf], tasks: [pairs, names], recipe: baseline}
  - {models: [majority], tasks: [cities], recipe: baseline}
"""


@dataclass(frozen=True)
class Toys:
    """A finished run, and the test examples' arguments for a snippet by task and id."""

    folder: Path
    inputs: dict[str, dict[str, list[Any]]]

    @property
    def results(self) -> Path:
        return self.folder / "results" / "own"

    def call(self, *arguments: str | Path) -> Answer:
        return call_harness(*arguments, cwd=self.folder, cache=self.folder / "cache")


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Toys:
    folder = tmp_path_factory.mktemp("snippets")
    _models(folder, tiny_bert)
    inputs = {"pairs": _pairs(folder), "names": _names(folder), "cities": _cities(folder)}
    (folder / "own.yaml").write_text(SUITE)
    toys = Toys(folder, inputs)
    answer = toys.call("run", "own.yaml")
    assert answer.status == 0, answer.err
    return toys


def _models(folder: Path, tiny_bert: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, GPT2Config, GPT2Model

    torch.manual_seed(0)  # the fixture's weights are other ones each time
    bert = BertModel(BertConfig.from_pretrained(tiny_bert), add_pooling_layer=False)
    bert.save_pretrained(folder / "own")
    padding = Tokenizer.from_file(str(tiny_bert / "tokenizer.json"))
    padding.enable_padding(length=64)  # as all-MiniLM's file has it
    padding.enable_truncation(8)
    padding.save(str(folder / "own" / "tokenizer.json"))

    (folder / "static").mkdir()
    shutil.copyfile(folder / "own" / "tokenizer.json", folder / "static" / "tokenizer.json")
    table = torch.randn(padding.get_vocab_size(), 16, generator=torch.Generator().manual_seed(0))
    save_file({"embeddings": table}, folder / "static" / "embeddings.safetensors")

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("a", "n"), ("Ġ", "i"), ("Ġi", "n"), ("o", "s")]
    vocabulary = [*alphabet, *("".join(pair) for pair in merges)]
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(vocabulary)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}
    config = GPT2Config(
        vocab_size=len(vocabulary), bos_token_id=0, eos_token_id=0, initializer_range=0.3, **sizes
    )
    GPT2Model(config).save_pretrained(folder / "bytes")
    tokenizer.save(str(folder / "bytes" / "tokenizer.json"))


def _pairs(folder: Path) -> dict[str, list[Any]]:
    """One text of a word or of more than a model reads, and another; "" among them."""
    draw, rows = random.Random(1), []
    for i in range(40):
        label = draw.choice(["good", "bad"])
        text = " ".join([label] * draw.choice([1, 3, 30]))
        rows.append((f"p{i}", text, draw.choice(["in oslo", "the city of rome", ""]), label))
    with open(folder / "pairs.csv", "w", newline="") as file:
        csv.writer(file).writerows([("id", "text", "other", "label"), *rows])
    return {name: [text, other] for name, text, other, _ in rows}


def _names(folder: Path) -> dict[str, list[Any]]:
    """Sentences longer and shorter than what is read; a word of which no token is left."""
    draw, lines, inputs = random.Random(2), [], {}
    for i in range(40):
        ends = [draw.choice(["ann", "bob", "oslo", "rome"]) for _ in range(2)]
        words = [ends[0], "is", "in", ends[1]]
        tags = ["O" if w in words[1:3] else f"B-{'PER' if len(w) == 3 else 'LOC'}" for w in words]
        if i % 3 == 0:
            words, tags = ["\u200b", *words] * 3, ["O", *tags] * 3
        lines.append(json.dumps({"id": f"n{i}", "tokens": words, "tags": tags}))
        inputs[f"n{i}"] = [words]
    (folder / "names.jsonl").write_text("\n".join(lines) + "\n")
    return inputs


def _cities(folder: Path) -> dict[str, list[Any]]:
    """Contexts of one window and of several, questions of two lengths, a third unanswerable."""
    draw, paragraphs, inputs = random.Random(3), [], {}
    for i in range(40):
        city = draw.choice(["oslo", "rome", "bonn"])
        context = " ".join(["the person is good."] * draw.choice([0, 0, 4]) + [f"ann is in {city}"])
        known = i % 3 != 0
        question = "which city?" if known else "which person was bad, and to which was it bad?"
        answer = {"text": city, "answer_start": context.rindex(city)}
        asked = {"id": f"q{i}", "question": question, "is_impossible": not known}
        paragraphs.append({"context": context, "qas": [asked | {"answers": [answer] * known}]})
        inputs[f"q{i}"] = [question, context]
    data = {"version": "v2.0", "data": [{"title": "t", "paragraphs": paragraphs}]}
    (folder / "cities.json").write_text(json.dumps(data))
    return inputs


def _answers(
    toys: Toys, to: Path, model: str, task: str, runtime: str
) -> tuple[list[Any], list[dict[str, Any]]]:
    """What the row's snippet says of the test examples, and what its run recorded of them."""
    board = json.loads((toys.results / "leaderboard.json").read_text())
    wanted = (model, task, runtime)
    (row,) = (r for r in board if (r["model"], r["task"], r["runtime"]) == wanted)
    assert row["status"] == "ok"
    usage = exported(toys.call("export", row["row_id"], "--to", to), to)
    recorded = predictions(toys.results, row["row_id"])
    inputs = toys.inputs[task]
    assert len(recorded) == len(inputs)
    return ask(usage, [inputs[name] for name in recorded]), list(recorded.values())


@pytest.mark.parametrize(
    "model, runtime",
    [("own", "torch"), ("own", "onnxruntime"), ("bytes", "torch"), ("static", "torch"),
     ("tfidf", "sklearn")],
)  # fmt: skip
def test_labels_and_probabilities_of_texts_are_those_on_record(
    toys: Toys, tmp_path: Path, model: str, runtime: str
) -> None:
    answers, recorded = _answers(toys, tmp_path / "to", model, "pairs", runtime)
    assert [label for label, _ in answers] == [one["prediction"] for one in recorded]
    expected = [one[f"prob_{one['prediction']}"] for one in recorded]
    np.testing.assert_allclose([p for _, p in answers], expected, rtol=0, atol=1e-5)
    assert np.ptp(expected) > 1e-3  # else any text would do


@pytest.mark.parametrize(
    "model, runtime", [("bytes", "onnxruntime"), ("static", "torch"), ("tfidf", "sklearn")]
)
def test_tags_of_words_are_those_on_record(
    toys: Toys, tmp_path: Path, model: str, runtime: str
) -> None:
    answers, recorded = _answers(toys, tmp_path / "to", model, "names", runtime)
    assert [" ".join(tags) for tags in answers] == [one["prediction"] for one in recorded]
    assert len({one["prediction"] for one in recorded}) > 3


@pytest.mark.parametrize("model, runtime", [("own", "onnxruntime"), ("majority", "sklearn")])
def test_answers_to_questions_are_those_on_record(
    toys: Toys, tmp_path: Path, model: str, runtime: str
) -> None:
    answers, recorded = _answers(toys, tmp_path / "to", model, "cities", runtime)
    expected = []
    for one in recorded:
        _, context = toys.inputs["cities"][one["id"]]
        start, _, end = one["prediction"].partition(":")
        expected.append(context[int(start) : int(end)] if end else "")
    assert answers == expected
    assert model == "majority" or len(set(expected)) > 1


SIZE = 24
#: sides of no square, so that a turned picture is another one
WIDE, HIGH = 40, 30


def _picture(folder: Path, kind: str) -> Path:
    from PIL import Image

    draw = np.random.default_rng(0)
    colours = draw.integers(0, 256, (HIGH, WIDE, 3), dtype=np.uint8)
    path = folder / f"{kind}.png"
    if kind == "transparent":
        alpha = draw.integers(0, 256, (HIGH, WIDE, 1), dtype=np.uint8)
        Image.fromarray(np.concatenate([colours, alpha], -1)).save(path)
    elif kind == "transparent palette":
        Image.fromarray(colours).quantize(16).save(path, transparency=3)
    elif kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(colours).save(path, exif=exif)
    elif kind == "16 bits":
        Image.fromarray(draw.integers(0, 65536, (HIGH, WIDE), dtype=np.uint16)).save(path)
    elif kind == "32 bits":
        path = path.with_suffix(".tif")
        Image.fromarray(draw.integers(0, 65536, (HIGH, WIDE), dtype=np.int32)).save(path)
    elif kind == "floats":
        path = path.with_suffix(".tif")
        Image.fromarray(draw.random((HIGH, WIDE), dtype=np.float32)).save(path)
    elif kind == "grey":
        Image.fromarray(colours[..., 0]).save(path)
    return path


@pytest.mark.parametrize(
    "kind",
    ["transparent", "transparent palette", "turned", "16 bits", "32 bits", "floats", "grey"],
)
def test_a_snippet_hands_the_model_the_pixels_that_the_harness_does(
    tmp_path: Path, kind: str
) -> None:
    """The model gives back what it is given."""
    import onnx

    shape, count = [1, 3, SIZE, SIZE], 3 * SIZE * SIZE
    floats = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Flatten", ["pixel_values"], ["logits"])],
        "identity",
        [onnx.helper.make_tensor_value_info("pixel_values", floats, shape)],
        [onnx.helper.make_tensor_value_info("logits", floats, [1, count])],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=9)
    onnx.save(model, tmp_path / "model.onnx")
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    encoder = ImageEncoder(SIZE, 0.9, "bicubic", mean, std, "bgr", tmp_path / "cache")
    info = {"labels": list(map(str, range(count))), "extra": {"image": encoder.facts()}}
    (tmp_path / "harness.json").write_text(json.dumps(info))
    (tmp_path / "usage.py").write_text(snippet(info, "onnxruntime"))
    path = _picture(tmp_path, kind)
    given = runpy.run_path(str(tmp_path / "usage.py"))["logits"](path)
    encoded = images.encode([Picture(path, kind)], encoder)
    expected = encoded.normalised(encoded.values)[0].ravel()
    np.testing.assert_allclose(given, expected, rtol=0, atol=1e-5)
