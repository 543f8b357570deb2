"""Usage snippets for exported models: plain scripts without this package.

They need torch and transformers, or onnxruntime, numpy and tokenizers (pillow for images), and run
as they stand. Image models in their own framework, and baselines, are loaded by this package.

Each defines one function, ``classify``, ``tag`` or ``answer``, that says of an input what the run's
record says of it: it encodes as `harness.tasks` does, and decodes so too.
"""

from __future__ import annotations

from typing import Any

from harness.tasks.question_answering import MAX_ANSWER_TOKENS, MAX_QUESTION_TOKENS

_TOKENIZER = """\
here = pathlib.Path(__file__).resolve().parent
info = json.loads((here / "harness.json").read_text())
tokenizer = Tokenizer.from_file(str(here / "tokenizer.json"))
tokenizer.no_padding()  # its file may ask for some, which the model has not learnt to ignore
tokenizer.enable_truncation(info["max_length"])
"""

_COLUMNS = """\


def columns(encoding):
    ids = encoding.ids or [0]  # a text of no token
    types = encoding.type_ids if encoding.n_sequences == 2 else [0] * len(ids)
    return {"input_ids": ids, "attention_mask": [1] * len(ids), "token_type_ids": types}
"""

_ONNX_LOAD = (
    """\
# pip install onnxruntime numpy tokenizers
import json, pathlib
import numpy as np, onnxruntime
from tokenizers import Tokenizer

"""
    + _TOKENIZER
    + """\
session = onnxruntime.InferenceSession(here / "model.onnx")
"""
    + _COLUMNS
    + """\


def logits(encoding):
    known = columns(encoding)
    feed = {i.name: np.array([known[i.name]], np.int64) for i in session.get_inputs()}
    return session.run(None, feed)[0][0]
"""
)

_TORCH_LOAD = (
    """\
# pip install torch transformers tokenizers safetensors
import json, pathlib, sys
import numpy as np, torch
sys.modules["torchvision"] = None  # text needs none, and one that does not fit torch is in the way
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModel

"""
    + _TOKENIZER
    + """\
backbone = AutoModel.from_pretrained(here, dtype=torch.float32).eval()
head = load_file(here / "head.safetensors")
"""
    + _COLUMNS
    + """\


@torch.inference_mode()
def logits(encoding):
    inputs = {name: torch.tensor([values]) for name, values in columns(encoding).items()}
    if not getattr(backbone.config, "type_vocab_size", 0):
        del inputs["token_type_ids"]
    hidden = backbone(**inputs).last_hidden_state[0]
    if info["head"] == "pooled":
        hidden = {"mean": hidden.mean(0), "cls": hidden[0], "last": hidden[-1]}[info["pooling"]]
    for i in range(len(info["hidden"])):
        hidden = (hidden @ head[f"hidden.{i}.weight"].T + head[f"hidden.{i}.bias"]).relu()
    return (hidden @ head["weight"].T + head["bias"]).float().numpy()
"""
)

_STATIC_LOAD = (
    """\
# pip install numpy safetensors tokenizers
import json, pathlib
import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

"""
    + _TOKENIZER
    + """\
(table,) = load_file(here / "embeddings.safetensors").values()
head = load_file(here / "head.safetensors")


def logits(encoding):
    hidden = table[encoding.ids or [0]].astype(np.float32)
    hidden = hidden.mean(0) if info["head"] == "pooled" else hidden
    for i in range(len(info["hidden"])):
        layer = head[f"hidden.{i}.weight"], head[f"hidden.{i}.bias"]
        hidden = np.maximum(hidden @ layer[0].T + layer[1], 0)
    return hidden @ head["weight"].T + head["bias"]
"""
)

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
    image = image if isinstance(image, Image.Image) else Image.open(image)
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):  # 16 bits a pixel, which PIL would cut off at 255
        wide = np.asarray(image, np.float32)
        if image.mode.startswith("I") or wide.max() > 255:
            wide = wide / 257
        elif wide.max() <= 1:
            wide = wide * 255
        image = Image.fromarray(np.clip(np.rint(wide), 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    short = int(how["size"] / how["crop_pct"])
    sides = [int(short * side / min(image.size)) for side in image.size]
    image = image.convert("RGB").resize(sides, Image.Resampling[how["interpolation"].upper()])
    left, top = (round((side - how["size"]) / 2) for side in sides)
    array = np.asarray(image.crop((left, top, left + how["size"], top + how["size"])), np.float32)
    array = array[..., ::-1] if how["channels"] == "bgr" else array
    array = (array / 255 - np.array(how["mean"])) / np.array(how["std"])
    return np.ascontiguousarray(array.transpose(2, 0, 1)[None], np.float32)
"""

_IMAGE_ONNX = (
    """\
# pip install onnxruntime numpy pillow
import json, pathlib, sys
import numpy as np, onnxruntime
from PIL import Image, ImageOps

here = pathlib.Path(__file__).resolve().parent
info = json.loads((here / "harness.json").read_text())
session = onnxruntime.InferenceSession(here / "model.onnx")
"""
    + _PIXELS
    + """\


def logits(image):
    return session.run(None, {"pixel_values": pixels(image)})[0][0]
"""
)

_IMAGE_HARNESS = (
    """\
# pip install pretrained-harness
import json, pathlib, sys
import numpy as np
from PIL import Image, ImageOps
from harness import registry

here = pathlib.Path(__file__).resolve().parent
info = json.loads((here / "harness.json").read_text())
model = registry.runtimes.get("RUNTIME")().load(here, here, device="cpu", threads=1)
"""
    + _PIXELS
    + """\


def logits(image):
    return model.predict({"pixel_values": pixels(image)})[0]
"""
)

#: one label; what is put in for SCORES and EXAMPLE differs by input
_CLASSIFY = '''

def classify(*inputs):
    """The likeliest label and its probability."""
    scores = np.float64(SCORES)
    powers = np.exp(scores - scores.max())
    best = int(scores.argmax())
    return info["labels"][best], float(powers[best] / powers.sum())


if __name__ == "__main__":
    EXAMPLE
    print(label, round(probability, 4))
'''

_ONE_TEXT = 'label, probability = classify("oil prices rose after opec cut its output")'
_TWO_TEXTS = 'label, probability = classify("oil prices rose", "opec cut its output")'
_ONE_IMAGE = """\
image = sys.argv[1] if len(sys.argv) > 1 else Image.new("RGB", (64, 64), "navy")
    label, probability = classify(image)"""

_EXAMPLE_WORDS = """

if __name__ == "__main__":
    print(tag("Angela Merkel met reporters in Berlin".split()))
"""
_TAG = (
    '''

def tag(words):
    """One tag a word, read at the word's first token; O where it has none within max_length."""
    spaced = [GAP + word if i else word for i, word in enumerate(words)]
    encoding = tokenizer.encode(spaced, is_pretokenized=True)
    best, first = np.argmax(logits(encoding), -1), {}
    for position, word in enumerate(encoding.word_ids):
        first.setdefault(word, position)
    return [info["labels"][best[first[w]]] if w in first else "O" for w in range(len(words))]
'''
    + _EXAMPLE_WORDS
)

_EXAMPLE_QUESTION = """

if __name__ == "__main__":
    context = "Angela Merkel met reporters in Berlin"
    print(answer("which person is mentioned?", context) or "no answer")
"""
_ANSWER = (
    '''

def answer(question, context):
    """The best span over all windows of the context; "" where none beats "no answer"."""
    tokenizer.no_truncation()
    room = info["max_length"] - tokenizer.num_special_tokens_to_add(True)
    limit = min(MAX_QUESTION_TOKENS, room // 2)
    offsets = tokenizer.encode(question, add_special_tokens=False).offsets
    question = question if len(offsets) <= limit else question[: offsets[limit - 1][1]]
    tokenizer.enable_truncation(info["max_length"], stride=info["stride"], strategy="only_second")
    encoding = tokenizer.encode(question, context)
    best, none, found = -np.inf, np.inf, ""
    for window in [encoding, *encoding.overflowing]:
        start, end = np.float64(logits(window)).T
        null = next((i for i, t in enumerate(window.tokens) if t in ("[CLS]", "<cls>")), 0)
        none = min(none, start[null] + end[null])
        inside = np.array([s == 1 for s in window.sequence_ids])
        length = np.arange(len(start))[None] - np.arange(len(start))[:, None] + 1
        spans = inside[:, None] & inside[None] & (length > 0) & (length <= MAX_ANSWER_TOKENS)
        scores = np.where(spans, start[:, None] + end[None], -np.inf)
        first, last = np.unravel_index(scores.argmax(), scores.shape)
        if scores[first, last] > best:
            best = scores[first, last]
            found = context[window.offsets[first][0] : window.offsets[last][1]].strip()
    return "" if NONE_ALLOWED and none - best > NULL_THRESHOLD else found
'''
    + _EXAMPLE_QUESTION
)

_BASELINE_LOGITS = """\


def logits(*texts):
    return model.predict({"text": np.array(["\\n".join(texts)], object)})[0]
"""

_BASELINE_TAG = (
    '''

def tag(words):
    """One tag a word."""
    text = np.empty(1, object)
    text[0] = words
    return [info["labels"][i] for i in np.argmax(model.predict({"text": text})[0], -1)]
'''
    + _EXAMPLE_WORDS
)

_BASELINE_ANSWER = (
    '''

def answer(question, context):
    """The majority baseline never finds one."""
    return ""
'''
    + _EXAMPLE_QUESTION
)

#: how `_TORCH_LOAD` loads a backbone, and one whose code lies beside it
_LIBRARY_CLASS = "from_pretrained(here, dtype"
_OWN_CLASS = "from_pretrained(here, trust_remote_code=True, dtype"


def snippet(
    info: dict[str, Any],
    runtime: str,
    *,
    own_code: bool = False,
    word_gap: str = "",
    unanswerable: bool = False,
) -> str:
    """The script for an artifact (``harness.json``) in a runtime.

    ``own_code``: the checkpoint brought Python code, which the script runs from its own folder;
    ``word_gap``: what its tokenizer wants before every word of a sentence but the first, see
    `harness.tasks.tokenization.word_separator`; ``unanswerable``: whether the run's test split had
    questions without an answer, which decides where the task's options do not.
    """
    if "image" in info["extra"]:
        onnx = runtime.startswith("onnxruntime")
        load = _IMAGE_ONNX if onnx else _IMAGE_HARNESS.replace("RUNTIME", runtime)
        return load + _classify("logits(*inputs)", _ONE_IMAGE)
    example = _TWO_TEXTS if info["extra"].get("options", {}).get("pair") else _ONE_TEXT
    if runtime == "sklearn":
        use = {
            "pooled": _BASELINE_LOGITS + _classify("logits(*inputs)", example),
            "token": _BASELINE_TAG,
            "span": _BASELINE_ANSWER,
        }
        return _HARNESS_LOAD + use[info["head"]]
    if runtime.startswith("onnxruntime"):
        load = _ONNX_LOAD
    else:
        load = _STATIC_LOAD if info["kind"] == "static-embeddings" else _TORCH_LOAD
    if own_code:
        load = load.replace(_LIBRARY_CLASS, _OWN_CLASS)
    use = {
        "pooled": _classify("logits(tokenizer.encode(*inputs))", example),
        "token": _TAG.replace("GAP", repr(word_gap)),
        "span": _answer(info["extra"].get("options", {}), unanswerable),
    }
    return load + use[info["head"]]


def _classify(scores: str, example: str) -> str:
    return _CLASSIFY.replace("SCORES", scores).replace("EXAMPLE", example)


def _answer(options: dict[str, Any], unanswerable: bool) -> str:
    """`_ANSWER` with the task's options, or their defaults, filled in."""
    wanted = options.get("unanswerable", "auto")
    values = {
        "MAX_ANSWER_TOKENS": int(options.get("max_answer_tokens", MAX_ANSWER_TOKENS)),
        "MAX_QUESTION_TOKENS": int(options.get("max_question_tokens", MAX_QUESTION_TOKENS)),
        "NONE_ALLOWED": unanswerable if wanted == "auto" else wanted,
        "NULL_THRESHOLD": float(options.get("null_threshold", 0.0)),
    }
    script = _ANSWER
    for name, value in values.items():
        script = script.replace(name, repr(value))
    return script
