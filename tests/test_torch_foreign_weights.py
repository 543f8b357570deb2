"""ONNX graphs and TensorFlow's HDF5 files come out as the backbone they hold, or are refused."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from harness.backends.torch import models
from harness.backends.torch.convert import to_neutral
from harness.backends.torch.export import export_onnx
from harness.backends.torch.from_h5 import torch_name
from harness.backends.torch.from_onnx import prove
from harness.errors import RequestError, Unsupported
from harness.sources.model_files import local_names, usable
from harness.specifications import model_spec
from harness.stages.fetch import model_folder
from harness.suite import Model
from tests.torch_toys import artifact_info, random_backbone

# of the exporters: what they deprecate, and what tracing cannot see
pytestmark = pytest.mark.filterwarnings("ignore")

WORDS = ["the", "fox", "jumps", "over", "a", "lazy", "dog", ".", ",", "Why", "?", "on", "Monday"]


def checkpoint(tmp_path: Path, architecture: str = "bert") -> Path:
    """A neutral folder with a real tokenizer, no two of whose tensors are equal: exporters store
    equal ones once."""
    folder = random_backbone(tmp_path, architecture)
    generator = torch.Generator().manual_seed(1)
    state = load_file(folder / "model.safetensors")
    for tensor in state.values():
        tensor += 0.1 * torch.randn(tensor.shape, generator=generator)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer = Tokenizer(
        WordLevel({w: i for i, w in enumerate(["[PAD]", "[UNK]", *WORDS])}, "[UNK]")
    )
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def backbone_tensors(folder: Path) -> dict[str, torch.Tensor]:
    return {
        name: tensor
        for name, tensor in load_file(folder / "model.safetensors").items()
        if not name.startswith("pooler.")
    }


def without_weights(folder: Path, out: Path) -> Path:
    return Path(shutil.copytree(folder, out, ignore=shutil.ignore_patterns("*.safetensors")))


class Wrapped(torch.nn.Module):
    """As sentence-transformers and optimum wrap a backbone: hidden states alone come out."""

    def __init__(self, backbone: torch.nn.Module) -> None:
        super().__init__()
        self.auto_model = backbone

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        out = self.auto_model(input_ids=input_ids, attention_mask=attention_mask)
        hidden: torch.Tensor = out.last_hidden_state
        return hidden


def export_hidden(folder: Path, out: Path, *, dynamo: bool) -> Path:
    """``out/model.onnx`` by one of PyTorch's exporters, beside the configuration and tokenizer."""
    without_weights(folder, out)
    model = models.build(artifact_info("token"), folder).eval()
    names = ["input_ids", "attention_mask"]
    inputs = tuple(torch.ones(2, 9, dtype=torch.int64) for _ in names)
    axes = {0: "batch", 1: "sequence"}
    how: dict[str, Any] = (
        {"dynamic_shapes": dict.fromkeys(names, axes), "external_data": False, "opset_version": 24}
        if dynamo
        else {"dynamic_axes": dict.fromkeys(names, axes), "opset_version": 17}
    )
    torch.onnx.export(
        Wrapped(model.backbone),  # type: ignore[arg-type]
        inputs,
        out / "model.onnx",
        dynamo=dynamo,
        input_names=names,
        output_names=["last_hidden_state"],
        **how,
    )
    return out


def assert_same_weights(neutral: Path, folder: Path) -> None:
    expected, found = backbone_tensors(folder), load_file(neutral / "model.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama"])
@pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
def test_onnx_weights_come_back_bit_for_bit(tmp_path, architecture, dynamo):
    folder = checkpoint(tmp_path, architecture)
    exported = export_hidden(folder, tmp_path / "exported", dynamo=dynamo)
    names = {t.name for t in onnx.load(exported / "model.onnx").graph.initializer}
    renamed = [name for name in backbone_tensors(folder) if f"auto_model.{name}" not in names]
    assert renamed or architecture == "gpt2"  # whose matrices are held as products use them
    neutral = to_neutral(exported, tmp_path / "neutral")
    assert_same_weights(neutral, folder)
    difference = prove(exported / "model.onnx", neutral)
    assert difference is not None and difference < 1e-5


def test_our_own_export_comes_back_bit_for_bit(tmp_path):
    folder = checkpoint(tmp_path)
    info = artifact_info("pooled")
    models.save(models.build(info, folder, seed=1), info, tmp_path / "artifact", folder)
    exported = without_weights(folder, tmp_path / "exported")
    export_onnx(tmp_path / "artifact", exported)
    neutral = to_neutral(exported, tmp_path / "neutral")
    assert_same_weights(neutral, folder)
    assert prove(exported / "model.onnx", neutral) is None  # it yields logits


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(A checkpoint, its export with numbered and transposed matrices.)"""
    folder = checkpoint(tmp_path_factory.mktemp("bert"))
    out = folder.parent / "exported"
    return folder, export_hidden(folder, out, dynamo=False)


def changed(exported: Path, out: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    """A copy of an export whose graph was changed."""
    shutil.copytree(exported, out)
    model = onnx.load(out / "model.onnx")
    change(model)
    onnx.save(model, out / "model.onnx")
    return out


def test_a_graph_that_computes_something_else_is_refused_with_the_figure(bert, tmp_path):
    def tanh_for_erf(model: onnx.ModelProto) -> None:
        (node, *_) = (node for node in model.graph.node if node.op_type == "Erf")
        node.op_type = "Tanh"

    with pytest.raises(Unsupported, match=r"differs .* by \d\.\de-0\d of the largest"):
        to_neutral(changed(bert[1], tmp_path / "other", tanh_for_erf), tmp_path / "neutral")
    assert not (tmp_path / "neutral").exists()


def test_a_quantised_graph_is_refused(bert, tmp_path):
    from onnxruntime.quantization import quantize_dynamic

    folder = without_weights(bert[0], tmp_path / "int8")
    quantize_dynamic(bert[1] / "model.onnx", folder / "model.onnx")
    with pytest.raises(Unsupported, match=r"quantised graph \(.*MatMulInteger"):
        to_neutral(folder, tmp_path / "neutral")


def test_a_missing_tensor_is_named(bert, tmp_path):
    def drop(model: onnx.ModelProto) -> None:
        graph = model.graph
        (bias,) = (t for t in graph.initializer if t.name.endswith("layer.1.output.dense.bias"))
        for node in graph.node:
            node.input[:] = ["renamed" if n == bias.name else n for n in node.input]
        bias.name = "renamed"

    with pytest.raises(Unsupported, match=r"1 of \d+ tensors .* encoder\.layer\.1\.output\.dense"):
        to_neutral(changed(bert[1], tmp_path / "other", drop), tmp_path / "neutral")


def test_a_shape_that_config_json_does_not_say_is_refused(bert, tmp_path):
    folder = Path(shutil.copytree(bert[1], tmp_path / "other"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 41}))
    with pytest.raises(Unsupported, match=r"word_embeddings\.weight has the shape \(40, 32\)"):
        to_neutral(folder, tmp_path / "neutral")


def test_external_data_inside_the_folder_is_read(bert, tmp_path):
    folder = without_weights(bert[0], tmp_path / "split")
    onnx.save(
        onnx.load(bert[1] / "model.onnx"), folder / "model.onnx",
        save_as_external_data=True, location="model.onnx_data", size_threshold=0,
    )  # fmt: skip
    assert local_names(p.name for p in folder.iterdir()) == [
        "config.json", "model.onnx", "model.onnx_data", "tokenizer.json"
    ]  # fmt: skip
    # as the cache keeps files: under a second name
    (tmp_path / "kept").hardlink_to(folder / "model.onnx_data")
    assert_same_weights(to_neutral(folder, tmp_path / "neutral"), bert[0])


def test_a_local_folder_of_onnx_is_a_model_of_a_suite(bert, tmp_path):
    model = Model(id="m", source=f"path:{bert[1]}")
    job: Any = SimpleNamespace(
        model_entry=model,
        spec={"model": model_spec(model, tmp_path)},
        cache=tmp_path / "cache",
        base=tmp_path,
        trust_remote_code=False,
        runs_remote_code=False,
    )
    neutral = model_folder(job)
    assert neutral is not None
    assert_same_weights(neutral, bert[0])
    assert model_folder(job) == neutral


@pytest.mark.parametrize("location", ["../secret", "{absolute}", "link", "nowhere", ""])
def test_external_data_outside_the_folder_is_refused(bert, tmp_path, location):
    (tmp_path / "secret").write_bytes(bytes(1 << 20))

    def point_out(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        where = location.format(absolute=tmp_path / "secret")
        tensor.external_data.add(key="location", value=where)

    folder = Path(shutil.copytree(bert[1], tmp_path / "other"))
    (folder / "link").symlink_to(tmp_path / "secret")
    model = onnx.load(folder / "model.onnx")
    point_out(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(Unsupported, match="in the model's own folder"):
        to_neutral(folder, tmp_path / "neutral")


@pytest.mark.parametrize(("offset", "length"), [("-4", None), ("1", None), ("0", "8"), ("x", None)])
def test_external_data_beyond_its_file_is_refused(bert, tmp_path, offset, length):
    folder = Path(shutil.copytree(bert[1], tmp_path / "other"))
    model = onnx.load(folder / "model.onnx")
    tensor = model.graph.initializer[0]
    (folder / "data").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "data"), ("offset", offset), ("length", length)):
        if value is not None:
            tensor.external_data.add(key=key, value=value)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(Unsupported, match=r"do not hold|no numbers"):
        to_neutral(folder, tmp_path / "neutral")


def test_half_precision_is_refused(bert, tmp_path):
    def halve(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        half = onnx.numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(onnx.numpy_helper.from_array(half, tensor.name))

    with pytest.raises(Unsupported, match="is float16, not float32"):
        to_neutral(changed(bert[1], tmp_path / "other", halve), tmp_path / "neutral")


@pytest.mark.parametrize("name", ["model.onnx", "tf_model.h5"])
def test_a_file_that_is_something_else_is_refused(bert, tmp_path, name):
    folder = without_weights(bert[0], tmp_path / "broken")
    (folder / name).write_bytes(b"\xffneither this nor that")
    with pytest.raises(Unsupported, match="cannot be read as"):
        to_neutral(folder, tmp_path / "neutral")


#: PyTorch's names to TensorFlow's, for the two architectures that differ most
def keras_name(name: str, architecture: str, ndim: int) -> str:
    module, _, last = name.rpartition(".")
    parts = re.sub(r"\b(layer|h)\.(\d+)", r"\1_-_\2", module).split(".")
    norm = "LayerNorm" in parts[-1] or parts[-1].startswith("ln_")
    if norm:
        last = {"weight": "gamma", "bias": "beta"}[last]
    elif last == "weight" and parts[-1] not in ("word_embeddings", "wte"):
        embedding = "embeddings" in parts[-1] or parts[-1] == "wpe"
        conv1d = architecture == "gpt2" and ndim == 2
        last = "embeddings" if embedding else "weight" if conv1d else "kernel"
    root = {"bert": "bert/tf_bert_model/bert", "gpt2": "transformer/tfgp_t2_model/transformer"}
    return "/".join([root[architecture], *parts, f"{last}:0"]).replace("_-_", "_._")


def tf_model(folder: Path, out: Path, architecture: str) -> Path:
    """``out/tf_model.h5`` as the Hugging Face library wrote it."""
    without_weights(folder, out)
    with h5py.File(out / "tf_model.h5", "w") as file:
        for name, tensor in backbone_tensors(folder).items():
            stored = keras_name(name, architecture, tensor.ndim)
            values = tensor.numpy()
            if stored.endswith("/kernel:0"):
                values = values.T
            if architecture == "gpt2" and stored.endswith("/bias:0"):
                values = values[None]
            file[stored] = values
        file["mlm___cls/tf_bert_for_pre_training/cls/predictions/bias:0"] = np.zeros(3)
    return out


@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_tensorflow_weights_come_back_bit_for_bit(tmp_path, architecture):
    folder = checkpoint(tmp_path, architecture)
    stored = tf_model(folder, tmp_path / "keras", architecture)
    assert_same_weights(to_neutral(stored, tmp_path / "neutral"), folder)


@pytest.mark.parametrize(
    ("keras", "expected"),
    [
        (
            "bert/tf_bert_model/bert/encoder/layer_._0/attention/self/query/kernel:0",
            "bert.tf_bert_model.bert.encoder.layer.0.attention.self.query.weight",
        ),
        ("bert/embeddings/LayerNorm/beta:0", "bert.embeddings.LayerNorm.bias"),
        ("bert/embeddings/word_embeddings/weight:0", "bert.embeddings.word_embeddings.weight"),
        ("mlm___cls/predictions/bias:0", "cls.predictions.bias"),
    ],
)
def test_names_of_keras_in_pytorch(keras, expected):
    assert torch_name(keras) == expected


def link_outside(file: h5py.File, outside: Path) -> None:
    file["bert/stolen"] = h5py.ExternalLink(str(outside), "secret")


def data_outside(file: h5py.File, outside: Path) -> None:
    file.create_dataset("bert/stolen", (4,), "f4", external=[(str(outside), 0, 16)])


def virtual_data(file: h5py.File, outside: Path) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(str(outside), "secret", (4,))
    file.create_virtual_dataset("bert/stolen", layout)


def link_inside(file: h5py.File, outside: Path) -> None:
    file["bert/stolen"] = h5py.SoftLink("/bert")


@pytest.mark.parametrize("attack", [link_outside, data_outside, virtual_data, link_inside])
def test_an_h5_file_cannot_name_other_files(tmp_path, attack):
    folder = tf_model(checkpoint(tmp_path), tmp_path / "keras", "bert")
    with h5py.File(tmp_path / "outside.h5", "w") as file:
        file["secret"] = np.ones(4, "f4")
    with h5py.File(folder / "tf_model.h5", "a") as file:
        attack(file, tmp_path / "outside.h5")
    with pytest.raises(Unsupported, match=r"bert/stolen (is a link|lies in other files)"):
        to_neutral(folder, tmp_path / "neutral")


def test_weights_without_names_are_refused(tmp_path):
    folder = without_weights(checkpoint(tmp_path), tmp_path / "keras3")
    with h5py.File(folder / "model.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = np.zeros((32, 32), "f4")
    with pytest.raises(Unsupported, match="tensors of BertModel are not to be found"):
        to_neutral(folder, tmp_path / "neutral")


def test_an_image_checkpoint_in_onnx_is_told_what_is_read(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "model.onnx").touch()
    with pytest.raises(RequestError, match=r"\.pth.*ONNX and \.h5 are not read"):
        to_neutral(tmp_path / "images", tmp_path / "neutral", architecture="resnet18")


def test_converted_weights_are_used_only_where_there_are_no_better_ones():
    both = ["config.json", "model.onnx", "model.onnx_data", "model_int8.onnx", "tf_model.h5"]
    assert usable(both, "here") == local_names(both) == both[:3]
    assert usable([*both, "pytorch_model.bin"], "here") == both[:3]
    assert usable(["config.json", "tf_model.h5", "a.onnx"], "here") == [
        "config.json",
        "tf_model.h5",
    ]
    assert local_names(["a.onnx", "b.onnx", "a.onnx.data"]) == ["a.onnx", "a.onnx.data", "b.onnx"]
    assert local_names([*both, "model.safetensors"]) == ["config.json", "model.safetensors"]
    assert local_names([*both, "model.gguf"]) == ["config.json", "model.gguf"]
