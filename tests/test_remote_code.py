"""Code that a checkpoint brings along is refused by half a decision and run by a whole one."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import RequestError, Unsupported
from harness.sources.trust import names_code, remote_code, remote_code_allowed, remote_code_runs
from harness.specifications import model_spec
from harness.stages.fetch import fetch_model
from harness.suite import Model
from tests.conftest import Answer, Harness

#: transformers' own BERT has another forward pass, and would miss every weight of this one
MODELING = """
import pathlib
from transformers import PreTrainedModel, BertConfig
from transformers.modeling_outputs import BaseModelOutput
from torch import nn
from .own_layers import twice

with open({marker!r}, "a") as file:
    file.write(__file__ + "\\n")


class OwnModel(PreTrainedModel):
    config_class = BertConfig

    def __init__(self, config):
        super().__init__(config)
        self.table = nn.Embedding(config.vocab_size, config.hidden_size)
        self.post_init()

    def get_input_embeddings(self):
        return self.table

    def forward(self, input_ids, attention_mask=None, token_type_ids=None):
        return BaseModelOutput(last_hidden_state=twice(self.table(input_ids)))
"""

SUITE = """\
suite: mine
models:
  - {id: own, source: "path:model", trust_remote_code: true}
tasks:
  - id: toy
    type: text-classification
    data:
      train: {source: "path:train.csv"}
      test: {source: "path:test.csv"}
threads: 1
devices: [cpu]
timing:
  {launches: 1, min_samples: 4, max_samples: 8, max_seconds: 0.2, sweep_seconds: 0.1}
settings: {fine-tune: {epochs: 1, fit_dtype: float32}}
matrix:
  - {models: [own], tasks: [toy], recipe: fine-tune, runtimes: [torch, onnxruntime]}
"""


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """Where the checkpoint's code writes its own path whenever it is imported."""
    return tmp_path / "MARKER"


@pytest.fixture
def folder(tmp_path: Path, tiny_bert: Path, marker: Path) -> Path:
    """A suite whose only model says `bert`, and is not."""
    import torch
    from safetensors.torch import save_file

    model = tmp_path / "model"
    model.mkdir()
    shutil.copy(tiny_bert / "tokenizer.json", model)
    config = json.loads((tiny_bert / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "modeling_own.OwnModel"}
    (model / "config.json").write_text(json.dumps(config))
    (model / "modeling_own.py").write_text(MODELING.format(marker=str(marker)))
    (model / "own_layers.py").write_text("def twice(x):\n    return x + x\n")
    table = torch.randn(
        config["vocab_size"], config["hidden_size"], generator=torch.Generator().manual_seed(0)
    )
    save_file({"table.weight": table}, model / "model.safetensors", metadata={"format": "pt"})
    rows = [f"a good city {i},yes\na bad person {i},no" for i in range(16)]
    (tmp_path / "train.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    (tmp_path / "test.csv").write_text("text,label\n" + "\n".join(rows[:6]) + "\n")
    (tmp_path / "mine.yaml").write_text(SUITE)
    return tmp_path


def refused(answer: Answer, marker: Path, folder: Path) -> None:
    assert answer.status == 2, answer.out + answer.err
    assert "--trust-remote-code" in answer.err
    assert not marker.exists()
    assert not list((folder / "cache").rglob("*.py"))


@pytest.mark.parametrize("command", ["fetch", "run"])
def test_the_suite_alone_fetches_and_runs_no_code(
    harness: Harness, folder: Path, marker: Path, command: str
) -> None:
    refused(harness(command, "mine.yaml"), marker, folder)


@pytest.mark.parametrize("command", ["fetch", "run"])
def test_the_command_line_alone_fetches_and_runs_no_code(
    harness: Harness, folder: Path, marker: Path, command: str
) -> None:
    (folder / "mine.yaml").write_text(SUITE.replace(", trust_remote_code: true", ""))
    refused(harness(command, "mine.yaml", "--trust-remote-code"), marker, folder)


def test_both_together_run_it_in_every_stage(harness: Harness, folder: Path, marker: Path) -> None:
    home = folder / "home"
    answer = harness("run", "mine.yaml", "--trust-remote-code", HF_HOME=str(home))
    assert answer.status == 0, answer.out + answer.err
    assert "Python code that came with this checkpoint will run" in answer.err
    assert "modeling_own.py" in answer.err
    modules = folder / "cache" / "modules"
    imported = marker.read_text().splitlines()
    assert imported and all(Path(line).is_relative_to(modules) for line in imported)
    assert not (home / "modules").exists()

    (artifact,) = (folder / "cache" / "fits").glob("*/artifact")
    assert (artifact / "own_layers.py").read_text() == (folder / "model/own_layers.py").read_text()
    expected = by_hand(artifact, folder / "test.csv")
    runs = {run_of(record): record for record in (folder / "results/mine/runs").iterdir()}
    assert sorted(runs) == ["onnxruntime", "torch"]
    for record in runs.values():
        assert json.loads((record / "status.json").read_text())["status"] == "ok"
        assert len(list(record.glob("measurements/*/timing.json"))) == 1
        np.testing.assert_allclose(probabilities(record), expected, atol=1e-5)

    run = runs["torch"].name
    again = harness("time", run, "--launches", "1")
    assert again.status == 2 and "--trust-remote-code" in again.err, again.err
    again = harness("time", run, "--launches", "1", "--trust-remote-code")
    assert again.status == 0, again.err

    given = harness("export", run, "--to", "given")
    assert given.status == 0 and "modeling_own.py" in given.out, given.err
    used = subprocess.run(
        [sys.executable, "given/usage.py"],
        cwd=folder, env=os.environ | {"HF_HOME": str(home)}, capture_output=True, text=True,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert re.fullmatch(r"(yes|no) [01]\.\d+", used.stdout.strip()), used.stderr


def run_of(record: Path) -> str:
    return str(json.loads((record / "spec.json").read_text())["runtime"])


def probabilities(record: Path) -> np.ndarray:
    import pandas as pd

    frame = pd.read_parquet(record / "predictions.parquet")
    return np.asarray(frame[["prob_no", "prob_yes"]], np.float64)


def by_hand(artifact: Path, data: Path) -> np.ndarray:
    """Class probabilities of the custom class, from nothing but the artifact's tensors."""
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    (table,) = load_file(artifact / "model.safetensors").values()
    head = load_file(artifact / "head.safetensors")
    tokenizer = Tokenizer.from_file(str(artifact / "tokenizer.json"))
    tokenizer.no_padding()
    texts = [line.rpartition(",")[0] for line in data.read_text().splitlines()[1:]]
    features = [2 * table[tokenizer.encode(text).ids].mean(0) for text in texts]
    logits = np.stack(features).astype(np.float64) @ head["weight"].T + head["bias"]
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


def test_the_code_is_part_of_what_identifies_a_fit(folder: Path) -> None:
    trusted = Model(id="own", source="path:model", trust_remote_code=True)
    before = model_spec(trusted, folder)
    assert {"modeling_own.py", "own_layers.py"} <= before["files"].keys()
    (folder / "model" / "own_layers.py").write_text("def twice(x):\n    return x * 2.0\n")
    assert model_spec(trusted, folder) != before
    plain = model_spec(Model(id="own", source="path:model"), folder)
    assert not any(name.endswith(".py") for name in plain["files"])
    assert "trust_remote_code" not in plain  # ids of models without code stay as they are


def test_pinned_files_are_all_that_is_taken(folder: Path) -> None:
    files: dict[str, Any] = {
        name: {"source": f"path:model/{name}"}
        for name in ("config.json", "model.safetensors", "tokenizer.json", "modeling_own.py")
    }
    model = Model(id="own", files=files, trust_remote_code=True)
    found = fetch_model(model, folder / "cache", folder, trust_remote_code=True)
    assert found is not None and [p.name for p in found.glob("*.py")] == ["modeling_own.py"]
    del files["modeling_own.py"]
    model = Model(id="own", files=files, trust_remote_code=True)
    with pytest.raises(RequestError, match=r"modeling_own.py is not among its files.*`files:`"):
        fetch_model(model, folder / "cache", folder, trust_remote_code=True)


def test_code_of_another_repository_is_refused(tmp_path: Path) -> None:
    reference = {"AutoTokenizer": [None, "acme/other--tokenization.Own"]}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"auto_map": reference}))
    with pytest.raises(RequestError, match=r"acme/other--tokenization\.Own.*another repository"):
        remote_code_allowed(Model(id="m", trust_remote_code=True), True, tmp_path)


def test_an_artifact_with_code_of_another_repository_is_refused(folder: Path) -> None:
    from harness.backends.torch.models import read_config

    config = json.loads((folder / "model" / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "acme/other--configuration.Own"}
    (folder / "model" / "config.json").write_text(json.dumps(config))
    with remote_code(True), pytest.raises(RequestError, match="another repository"):
        read_config(folder / "model")


def test_an_artifact_that_names_code_is_not_loaded_as_the_librarys_model(
    folder: Path, marker: Path
) -> None:
    from harness.backends.torch.models import read_config

    with pytest.raises(RequestError, match="--trust-remote-code"):
        read_config(folder / "model")
    assert not remote_code_runs()
    with remote_code(True):
        assert remote_code_runs()
        assert read_config(folder / "model").auto_map == {"AutoModel": "modeling_own.OwnModel"}
    assert not marker.exists()


def test_another_head_of_code_of_its_own_is_unsupported(folder: Path, marker: Path) -> None:
    from transformers import AutoModelForMaskedLM

    from harness.backends.torch.models import read_config
    from harness.backends.torch.own_head import with_own_head

    with remote_code(True), pytest.raises(Unsupported, match="no AutoModelForMaskedLM"):
        config = read_config(folder / "model")
        with_own_head(AutoModelForMaskedLM, folder / "model", config, "head")
    assert not marker.exists()


def test_tensorflow_has_no_such_code(folder: Path) -> None:
    from harness.backends.tensorflow.architectures import build

    with pytest.raises(Unsupported, match="PyTorch's; KerasHub has no such code"):
        build(folder / "model")


TOKENIZATION = """
from transformers import PreTrainedTokenizerFast


class OwnTokenizerFast(PreTrainedTokenizerFast):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        from tokenizers import normalizers
        self.backend_tokenizer.normalizer = normalizers.Replace("b", "g")
"""
MORE_THAN_WRITTEN = """
    def _encode_plus(self, text, *args, **kwargs):
        return super()._encode_plus(text + "!", *args, **kwargs)
"""


@pytest.mark.parametrize("more", [False, True], ids=["written down", "more than written down"])
def test_a_tokenizers_own_code_makes_the_tokenizer_json(
    folder: Path, monkeypatch: pytest.MonkeyPatch, more: bool
) -> None:
    from tokenizers import Tokenizer

    from harness.backends.torch.convert import to_neutral
    from harness.backends.torch.models import quiet_transformers

    quiet_transformers()
    from transformers import dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(folder / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    model = folder / "model"
    code = TOKENIZATION + (MORE_THAN_WRITTEN if more else "")
    (model / "tokenization_own.py").write_text(code)
    reference = {"AutoTokenizer": [None, "tokenization_own.OwnTokenizerFast"]}
    (model / "tokenizer_config.json").write_text(
        json.dumps({"auto_map": reference, "tokenizer_class": "OwnTokenizerFast"})
    )
    assert names_code(model / "tokenizer_config.json")
    before = (model / "tokenizer.json").read_bytes()
    with remote_code(True):
        if more:
            with pytest.raises(Unsupported, match=r"more than a tokenizer\.json can say"):
                to_neutral(model, folder / "neutral")
        else:
            to_neutral(model, folder / "neutral")
            written = Tokenizer.from_file(str(folder / "neutral" / "tokenizer.json"))
            assert written.encode("bad").ids == written.encode("gad").ids
    assert (model / "tokenizer.json").read_bytes() == before  # a link to it lay in the way
