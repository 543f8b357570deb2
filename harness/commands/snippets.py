"""Usage snippets for exported models: plain scripts without this package.

They need torch and transformers, or onnxruntime, numpy and tokenizers (pillow for images), and run
as they stand. Image models in their own framework are loaded by this package.
"""

from __future__ import annotations

from typing import Any

_ONNX_LOAD = """\
# pip install onnxruntime numpy tokenizers
import json, pathlib
import numpy as np, onnxruntime
from tokenizers import Tokenizer

here = pathlib.Path(__file__).resolve().parent
info = json.loads((here / "harness.json").read_text())
tokenizer = Tokenizer.from_file(str(here / "tokenizer.json"))
tokenizer.enable_truncation(info["max_length"])
session = onnxruntime.InferenceSession(here / "model.onnx")


def logits(encoding):
    columns = {"input_ids": encoding.ids, "attention_mask": encoding.attention_mask,
               "token_type_ids": encoding.type_ids}
    feed = {i.name: np.array([columns[i.name]], np.int64) for i in session.get_inputs()}
    return session.run(None, feed)[0][0]
"""

_TORCH_LOAD = """\
# pip install torch transformers tokenizers safetensors
import json, pathlib, sys
import numpy as np, torch
sys.modules["torchvision"] = None  # text needs none, and one that does not fit torch is in the way
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModel

here = pathlib.Path(__file__).resolve().parent
info = json.loads((here / "harness.json").read_text())
tokenizer = Tokenizer.from_file(str(here / "tokenizer.json"))
tokenizer.enable_truncation(info["max_length"])
backbone, head = AutoModel.from_pretrained(here).eval(), load_file(here / "head.safetensors")


@torch.inference_mode()
def logits(encoding):
    types = {"token_type_ids": torch.tensor([encoding.type_ids])} if any(encoding.type_ids) else {}
    hidden = backbone(input_ids=torch.tensor([encoding.ids]), **types).last_hidden_state[0]
    if info["head"] == "pooled":
        hidden = {"mean": hidden.mean(0), "cls": hidden[0], "last": hidden[-1]}[info["pooling"]]
    for i in range(len(info["hidden"])):
        hidden = (hidden @ head[f"hidden.{i}.weight"].T + head[f"hidden.{i}.bias"]).relu()
    return (hidden @ head["weight"].T + head["bias"]).float().numpy()
"""

_STATIC_LOAD = """\
# pip install numpy safetensors tokenizers
import json, pathlib
import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

here = pathlib.Path(__file__).resolve().parent
info = json.loads((here / "harness.json").read_text())
tokenizer = Tokenizer.from_file(str(here / "tokenizer.json"))
tokenizer.enable_truncation(info["max_length"])
(table,) = load_file(here / "embeddings.safetensors").values()
head = load_file(here / "head.safetensors")


def logits(encoding):
    hidden = table[encoding.ids].astype(np.float32)
    hidden = hidden.mean(0) if info["head"] == "pooled" else hidden
    for i in range(len(info["hidden"])):
        layer = head[f"hidden.{i}.weight"], head[f"hidden.{i}.bias"]
        hidden = np.maximum(hidden @ layer[0].T + layer[1], 0)
    return hidden @ head["weight"].T + head["bias"]
"""

_HARNESS_LOAD = """\
# pip install pretrained-harness
import json, pathlib
import numpy as np
from harness.backends.sklearn import SklearnRuntime

here = pathlib.Path(__file__).resolve().parent
info = json.loads((here / "harness.json").read_text())
model = SklearnRuntime().load(here, here, device="cpu", threads=1)
"""

_PIXELS = """\


def pixels(image):
    how = info["extra"]["image"]
    short = int(how["size"] / how["crop_pct"])
    sides = [int(short * side / min(image.size)) for side in image.size]
    image = image.convert("RGB").resize(sides, Image.Resampling[how["interpolation"].upper()])
    left, top = (round((side - how["size"]) / 2) for side in sides)
    array = np.asarray(image.crop((left, top, left + how["size"], top + how["size"])), np.float32)
    array = array[..., ::-1] if how["channels"] == "bgr" else array
    array = (array / 255 - np.array(how["mean"])) / np.array(how["std"])
    return np.ascontiguousarray(array.transpose(2, 0, 1)[None], np.float32)


image = Image.open(sys.argv[1]) if len(sys.argv) > 1 else Image.new("RGB", (64, 64), "navy")
"""

_IMAGE_ONNX = (
    """\
# pip install onnxruntime numpy pillow
import json, pathlib, sys
import numpy as np, onnxruntime
from PIL import Image

here = pathlib.Path(__file__).resolve().parent
info = json.loads((here / "harness.json").read_text())
session = onnxruntime.InferenceSession(here / "model.onnx")
"""
    + _PIXELS
    + """\
scores = session.run(None, {"pixel_values": pixels(image)})[0][0]
print(info["labels"][int(np.argmax(scores))])
"""
)

_IMAGE_HARNESS = (
    """\
# pip install pretrained-harness
import json, pathlib, sys
import numpy as np
from PIL import Image
from harness import registry

here = pathlib.Path(__file__).resolve().parent
info = json.loads((here / "harness.json").read_text())
model = registry.runtimes.get("RUNTIME")().load(here, here, device="cpu", threads=1)
"""
    + _PIXELS
    + """\
scores = model.predict({"pixel_values": pixels(image)})[0]
print(info["labels"][int(np.argmax(scores))])
"""
)

_USE = {
    "pooled": """
scores = logits(tokenizer.encode("oil prices rose after opec cut its output"))
print(info["labels"][int(np.argmax(scores))])
""",
    "token": """
encoding = tokenizer.encode("Angela Merkel met reporters in Berlin".split(), is_pretokenized=True)
tags = np.argmax(logits(encoding), -1)
words = dict(reversed([(w, t) for w, t in zip(encoding.word_ids, tags) if w is not None]))
print([info["labels"][words[w]] for w in sorted(words)])
""",
    "span": """
context = "Angela Merkel met reporters in Berlin"
encoding = tokenizer.encode("which person is mentioned?", context)
start, end = np.argmax(logits(encoding), 0)
answered = encoding.sequence_ids[start] == 1 and end >= start
print(context[encoding.offsets[start][0] : encoding.offsets[end][1]] if answered else "no answer")
""",
}

_USE_BASELINE = {
    "pooled": """
scores = model.predict({"text": np.array(["oil prices rose after opec cut its output"], object)})
print(info["labels"][int(np.argmax(scores[0]))])
""",
    "token": """
text = np.empty(1, object)
text[0] = "Angela Merkel met reporters in Berlin".split()
print([info["labels"][i] for i in np.argmax(model.predict({"text": text})[0], -1)])
""",
    "span": """
print("no answer")  # the majority baseline answers nothing else
""",
}


#: how `_TORCH_LOAD` loads a backbone, and one whose code lies beside it
_LIBRARY_CLASS = "AutoModel.from_pretrained(here)"
_OWN_CLASS = "AutoModel.from_pretrained(here, trust_remote_code=True)"


def snippet(info: dict[str, Any], runtime: str, *, own_code: bool = False) -> str:
    """The script for an artifact (``harness.json``) in a runtime; ``own_code``: the checkpoint
    brought Python code, which the script runs from its own folder."""
    if "image" in info["extra"]:
        onnx = runtime.startswith("onnxruntime")
        return _IMAGE_ONNX if onnx else _IMAGE_HARNESS.replace("RUNTIME", runtime)
    if runtime.startswith("onnxruntime"):
        return _ONNX_LOAD + "\n" + _USE[info["head"]]
    if runtime == "sklearn":
        return _HARNESS_LOAD + _USE_BASELINE[info["head"]]
    load = _STATIC_LOAD if info["kind"] == "static-embeddings" else _TORCH_LOAD
    if own_code:
        load = load.replace(_LIBRARY_CLASS, _OWN_CLASS)
    return load + "\n" + _USE[info["head"]]
