"""ONNX export, and the two runtimes that run it, against PyTorch on the same inputs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.backends.base import pad, predict_all
from harness.backends.onnxruntime import OnnxRuntime, OnnxRuntimeInt8
from harness.backends.onnxruntime.session import check_provider, providers
from harness.backends.parity import PARITY_BOUND, parity
from harness.errors import Unsupported
from tests import tiny_models

#: one token, a full window, and lengths that the exporter never saw
LENGTHS = [1, 2, 64, 9, 31, 9, 5]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Artifact and exports of a pooled BERT."""
    from harness.backends.torch.export import export_onnx

    folder = tmp_path_factory.mktemp("bert")
    artifact = tiny_models.transformer_artifact(folder, tiny_models.bert_config())
    export_onnx(artifact, folder / "onnx")
    return artifact, folder / "onnx"


def no_training():
    raise AssertionError("transformers are quantised without a look at training inputs")


def test_logits_are_those_of_torch_for_every_batch_size_and_length(bert):
    artifact, exports = bert
    encoded = tiny_models.tokens(LENGTHS)
    reference = tiny_models.torch_logits(artifact, encoded)
    predictor = OnnxRuntime().load(artifact, exports, device="cpu", threads=1)
    for batch_size in (1, 2, 3, len(LENGTHS)):
        logits = predict_all(predictor, encoded, batch_size)
        assert parity(reference, logits)["parity_rel_diff"] <= PARITY_BOUND


def test_logits_are_float32_of_the_batch_shape(bert):
    predictor = OnnxRuntime().load(*bert, device="cpu", threads=1)
    logits = predictor.predict(pad(tiny_models.tokens([4, 7, 2]), [0, 1, 2]))
    assert logits.shape == (3, 5)
    assert logits.dtype == np.float32


def test_segments_reach_the_model_and_missing_ones_are_zeros(bert):
    artifact, exports = bert
    predictor = OnnxRuntime().load(artifact, exports, device="cpu", threads=1)
    single, pair = tiny_models.tokens(LENGTHS), tiny_models.tokens(LENGTHS, segments=True)
    with_pairs = predict_all(predictor, pair)
    reference = tiny_models.torch_logits(artifact, pair)
    assert parity(reference, with_pairs)["parity_rel_diff"] <= PARITY_BOUND
    assert parity(predict_all(predictor, single), with_pairs)["parity_rel_diff"] > 1e-3


def test_export_is_one_file_and_says_nothing(tmp_path, capfd, recwarn):
    from harness.backends.torch.export import OPSET, export_onnx

    artifact = tiny_models.static_artifact(tmp_path)
    facts = export_onnx(artifact, tmp_path / "onnx")
    assert [file.name for file in (tmp_path / "onnx").iterdir()] == ["model.onnx"]
    assert facts["bytes"] == (tmp_path / "onnx" / "model.onnx").stat().st_size
    assert facts["opset"] == OPSET
    captured = capfd.readouterr()
    assert (captured.out, captured.err, [str(w.message) for w in recwarn]) == ("", "", [])


@pytest.mark.parametrize("head", ["pooled", "token"])
def test_static_embeddings_match_torch(tmp_path, head):
    from harness.backends.torch.export import export_onnx

    artifact = tiny_models.static_artifact(tmp_path, head)
    export_onnx(artifact, tmp_path / "onnx")
    encoded = tiny_models.tokens(LENGTHS)
    predictor = OnnxRuntime().load(artifact, tmp_path / "onnx", device="cpu", threads=1)
    result = parity(tiny_models.torch_logits(artifact, encoded), predict_all(predictor, encoded))
    assert result["parity_rel_diff"] <= PARITY_BOUND


@pytest.mark.parametrize(
    ("config", "head", "pooling"),
    [(tiny_models.bert_config, "span", "mean"), (tiny_models.llama_config, "pooled", "last")],
)
def test_other_heads_and_autoregressive_backbones_match_torch(tmp_path, config, head, pooling):
    from harness.backends.torch.export import export_onnx

    artifact = tiny_models.transformer_artifact(tmp_path, config(), head, pooling)
    export_onnx(artifact, tmp_path / "onnx")
    encoded = tiny_models.tokens(LENGTHS)
    predictor = OnnxRuntime().load(artifact, tmp_path / "onnx", device="cpu", threads=1)
    result = parity(tiny_models.torch_logits(artifact, encoded), predict_all(predictor, encoded))
    assert result["parity_rel_diff"] <= PARITY_BOUND


def test_a_changed_weight_in_the_export_is_caught_by_parity(bert, tmp_path):
    import onnx

    artifact, exports = bert
    model = onnx.load(exports / "model.onnx")
    matrices = [t for t in model.graph.initializer if len(t.dims) == 2 and min(t.dims) >= 32]
    weight = onnx.numpy_helper.to_array(matrices[-1]).copy()
    weight[3, 5] += 0.05
    matrices[-1].CopyFrom(onnx.numpy_helper.from_array(weight, matrices[-1].name))
    onnx.save(model, tmp_path / "model.onnx")
    encoded = tiny_models.tokens(LENGTHS)
    predictor = OnnxRuntime().load(artifact, tmp_path, device="cpu", threads=1)
    result = parity(tiny_models.torch_logits(artifact, encoded), predict_all(predictor, encoded))
    assert result["parity_rel_diff"] > PARITY_BOUND


def test_int8_holds_other_weights_yet_agrees(bert):
    artifact, exports = bert
    runtime = OnnxRuntimeInt8()
    runtime.prepare(artifact, exports, no_training)
    predictor = runtime.load(artifact, exports, device="cpu", threads=1)
    encoded = tiny_models.tokens(LENGTHS * 8)
    reference = tiny_models.torch_logits(artifact, encoded)
    logits = predict_all(predictor, encoded)
    assert PARITY_BOUND < parity(reference, logits)["parity_rel_diff"] < 0.1
    agree = np.stack(reference).argmax(1) == np.stack(logits).argmax(1)
    assert agree.mean() >= 0.9
    assert predictor.observed()["dtype"] == "int8"


def test_int8_weights_are_smaller_and_made_once(bert):
    artifact, exports = bert
    runtime = OnnxRuntimeInt8()
    runtime.prepare(artifact, exports, no_training)
    size = runtime.size_bytes(artifact, exports)
    assert size < 0.75 * OnnxRuntime().size_bytes(artifact, exports)  # the graph does not shrink
    (made,) = exports.glob("model-int8-*.onnx")
    before = made.stat().st_mtime_ns
    runtime.prepare(artifact, exports, no_training)
    assert made.stat().st_mtime_ns == before


def test_observed_names_the_provider_and_threads_that_run(bert):
    predictor = OnnxRuntime().load(*bert, device="cpu", threads=2)
    assert predictor.observed() == {
        "device": "cpu",
        "dtype": "float32",
        "provider": "CPUExecutionProvider",
        "threads": 2,
        "interop_threads": 1,
    }


def test_without_onnx_runtime_its_rows_are_unsupported_and_say_what_to_install(
    bert: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact, exports = bert
    shutil.copy(exports / "model.onnx", tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it were not installed
    for ask in (
        lambda: OnnxRuntime().load(artifact, tmp_path, device="cpu", threads=1),
        lambda: OnnxRuntimeInt8().prepare(artifact, tmp_path, no_training),
    ):
        with pytest.raises(Unsupported, match=r"pip install 'pretrained-harness\[cpu\]'"):
            ask()


@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_cuda_is_refused_where_there_is_none(bert, device):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this build of ONNX Runtime knows CUDA")
    with pytest.raises(Unsupported, match=f"'{device}' needs CUDAExecutionProvider"):
        OnnxRuntime().load(*bert, device=device, threads=1)


def test_a_gpu_is_named_without_tf32_once_its_libraries_are_loaded(monkeypatch):
    import onnxruntime

    loaded = []

    def available():
        assert loaded, "a CUDA provider of its own library is there once it could be loaded"
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: loaded.append(True))
    monkeypatch.setattr(onnxruntime, "get_available_providers", available)
    options = {"use_tf32": "0"}
    assert providers("cuda") == [("CUDAExecutionProvider", options)]
    assert providers("cuda:1") == [("CUDAExecutionProvider", options | {"device_id": 1})]


def test_the_reference_product_of_a_gpu_is_that_gpus_in_float32(monkeypatch):
    import onnxruntime

    from harness.backends.onnxruntime import products

    asked = {}

    class Session:
        def __init__(self, model, options, providers):
            asked["providers"] = providers

        def get_providers(self):
            return [asked["providers"][0][0]]

        def io_binding(self):
            return self

        def bind_ortvalue_input(self, name, value):
            asked[name] = value

        def bind_output(self, name, *place):
            asked[name] = place

    chosen = [("CUDAExecutionProvider", {"use_tf32": "0", "device_id": 1})]
    monkeypatch.setattr(products, "_GPU_SIZE", 2)
    monkeypatch.setattr(products, "providers", lambda device: chosen)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxruntime.OrtValue, "ortvalue_from_numpy", lambda array, *place: place)
    assert [product.dtype for product in products.products("cuda:1", 1)] == ["float32"]
    assert asked == {"providers": chosen, "left": ("cuda", 1), "product": ("cuda", 1)}


def test_a_session_that_fell_back_to_the_cpu_is_an_error(bert):
    with pytest.raises(Unsupported, match="fell back to CPUExecutionProvider"):
        check_provider("CUDAExecutionProvider", ["CPUExecutionProvider"])
    check_provider("CUDAExecutionProvider", ["CUDAExecutionProvider", "CPUExecutionProvider"])


def test_a_damaged_model_is_unsupported_with_a_reason(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(Unsupported, match=r"cannot load model\.onnx"):
        OnnxRuntime().load(tmp_path, tmp_path, device="cpu", threads=1)


def test_bound_inputs_and_outputs_give_what_a_plain_run_gives(tmp_path: Path) -> None:
    """The path that a GPU takes, on the CPU's provider."""
    import onnxruntime

    from harness.backends.onnxruntime.session import bound_run
    from harness.backends.torch.export import export_onnx

    export_onnx(tiny_models.static_artifact(tmp_path), tmp_path / "onnx")
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "model.onnx")
    for lengths in ([3], [9, 2, 4]):  # another shape each time
        batch = pad(tiny_models.tokens(lengths), np.arange(len(lengths)))
        feed = {i.name: batch[i.name] for i in session.get_inputs()}
        plain = session.run(["logits"], feed)[0]
        assert np.array_equal(bound_run(session, feed, "cpu"), plain)


def test_int8_weights_are_made_again_when_something_else_would_make_them(
    bert: tuple[Path, Path],
) -> None:
    artifact, exports = bert

    def made() -> int:
        OnnxRuntimeInt8().prepare(artifact, exports, no_training)
        return (exports / "model-int8-1.onnx").stat().st_mtime_ns

    first = made()
    assert made() == first
    receipt = exports / "model-int8.json"
    receipt.write_text(receipt.read_text().replace('"onnxruntime": "', '"onnxruntime": "0.'))
    second = made()  # as after an update of ONNX Runtime
    assert second != first
    with open(exports / "model-int8-1.onnx", "r+b") as file:
        file.write(b"damage")
    assert made() != second
