"""Keras Applications: fetched as neutral folders, and built from them.

``python -m harness.backends.tensorflow.applications NAME FOLDER`` is how the source ``keras:``
fetches one. Exit status 2: no such application; 3: its weights cannot be had.
"""

from __future__ import annotations

import difflib
import json
import os
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends.base import ArtifactInfo
from harness.backends.tensorflow.architectures import read_config
from harness.backends.tensorflow.weights import Checkpoint
from harness.errors import RequestError, Unsupported

WRONG, UNAVAILABLE = 2, 3
#: of what is rebuilt from what was fetched, relative to the largest feature: hundreds of layers
#: round to about 1e-5, a layer that is missing changes whole features
_SAME = 1e-3


def applications() -> dict[str, Any]:
    """Every application by name, for example ``VGG16``."""
    import keras

    names = (n for n in dir(keras.applications) if n[0].isupper())
    return {n: getattr(keras.applications, n) for n in names}


def fetch(name: str, out: Path) -> None:
    """Write the neutral folder of an application with ImageNet weights and no top."""
    known = applications()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise RequestError(f"no such application; {hint}known: {', '.join(known)}")
    size = _size(name)
    model = known[name](weights="imagenet", include_top=False, input_shape=(size, size, 3))
    write(model, name, out)
    rebuilt, _ = _filled(name, size, out)
    images = np.random.default_rng(0).uniform(0, 255, (1, size, size, 3)).astype(np.float32)
    expected, got = (np.asarray(m(images, training=False)) for m in (model, rebuilt))
    off = float(np.abs(got - expected).max() / np.abs(expected).max())
    if not off < _SAME:
        raise RequestError(
            f"cannot be used: rebuilt from its weights alone it computes something else than with "
            f"Keras' own download (off by {off:.1e} of the largest feature)"
        )


def write(model: Any, name: str, out: Path) -> None:
    """A topless application as a neutral folder.

    ``weights`` of its config.json are the tensors' names in the order of the model's variables:
    Keras numbers the layers that an application does not name through the whole process, so that
    a variable has another path in the next model.
    """
    from safetensors.numpy import save_file

    tensors = {variable.path: np.array(variable, np.float32) for variable in model.weights}
    names = list(tensors)
    for path, scale in _rescaled(model):
        tensors[path] = tensors[path] / np.square(scale)
    save_file(tensors, out / "model.safetensors", metadata={"format": "keras"})
    config = {"application": name, "pretrained_cfg": preprocessing(name), "weights": names}
    (out / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True))


def _rescaled(model: Any) -> Iterator[tuple[str, np.ndarray]]:
    """The variances that a following scale, without weights, is to be folded into, and the scale.

    EfficientNet has such a layer after its normalisation with ImageNet's weights alone
    (`keras.applications.efficientnet`: "we need to divide another sqrt(var)"); a model that is
    built to be filled lacks it. (x - mean) / sqrt(variance) * scale is the same as with the
    variance / scale^2.
    """
    import keras

    for layer, after in pairwise(model.layers):
        scaled = isinstance(after, keras.layers.Rescaling)
        if scaled and isinstance(layer, keras.layers.Normalization) and layer.weights:
            yield layer.adapt_variance.path, np.asarray(after.scale, np.float32)


def preprocessing(name: str) -> dict[str, Any]:
    """Size, mean, std and order of channels of an application's own ``preprocess_input``.

    Read off from what it does to black, white and red, as every application has its own.
    """
    function = applications()[name]
    module = sys.modules[function.__module__]
    pixels = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0]]], np.float32)
    black, white, red = np.asarray(module.preprocess_input(pixels.copy()))[0]
    std = 1.0 / (white - black)
    swapped = bool(np.argmax(np.abs(red - black)) == 2)
    size = _size(name)
    return {
        "input_size": [3, size, size],
        "mean": (-black * std).tolist(),
        "std": std.tolist(),
        "channels": "bgr" if swapped else "rgb",
        "interpolation": "bilinear",
        "crop_pct": 1.0,
    }


def _size(name: str) -> int:
    return _SIZES.get(name, 224)


#: sides of the images that applications were trained on, where they are not 224 (Keras' docs)
_SIZES = {
    "Xception": 299,
    "InceptionV3": 299,
    "InceptionResNetV2": 299,
    "NASNetLarge": 331,
    "EfficientNetB1": 240,
    "EfficientNetB2": 260,
    "EfficientNetB3": 300,
    "EfficientNetB4": 380,
    "EfficientNetB5": 456,
    "EfficientNetB6": 528,
    "EfficientNetB7": 600,
    "EfficientNetV2B1": 240,
    "EfficientNetV2B2": 260,
    "EfficientNetV2B3": 300,
    "EfficientNetV2S": 384,
    "EfficientNetV2M": 480,
    "EfficientNetV2L": 480,
}


def build_application(
    info: ArtifactInfo, folder: Path, scratch: bool, dropout: float | None, seed: int
) -> Any:
    """The application that config.json names, with the folder's weights unless from scratch."""
    from harness.backends.tensorflow.vision import VisionModel

    name = read_config(folder).get("application")
    if name not in applications():
        raise Unsupported(f"this release of Keras has no application {name!r}")
    backbone, checkpoint = _filled(name, info.extra.get("image", {}).get("size"), folder, scratch)
    return VisionModel(backbone, checkpoint, info, dropout or 0.0, seed)


def _filled(
    name: str, size: int | None, folder: Path, scratch: bool = False
) -> tuple[Any, Checkpoint]:
    """An application with a folder's weights, or its own drawn ones."""
    import keras

    from harness.backends.tensorflow.vision import keeping_drawn

    names = read_config(folder).get("weights")
    if names is None:
        raise Unsupported(
            f"{folder / 'config.json'} does not say in which order its weights are used, as those "
            "that were fetched by an earlier version; fetch and fit it again"
        )
    backbone = applications()[name](weights=None, include_top=False, input_shape=(size, size, 3))
    checkpoint = Checkpoint.read(folder, "")
    if len(names) != len(backbone.weights):
        raise Unsupported(
            f"{name} has {len(backbone.weights)} variables in this release of Keras, and {folder} "
            f"holds {len(names)}"
        )
    with keeping_drawn(backbone, scratch):
        for variable, tensor in zip(backbone.weights, names, strict=True):
            checkpoint.port_weight(variable, tensor)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # it computes with copies of its variables
    return backbone, checkpoint


def main(arguments: list[str]) -> int:
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    name, folder = arguments
    try:
        fetch(name, Path(folder))
    except RequestError as error:
        print(error, file=sys.stderr)
        return WRONG
    except Exception as error:  # Keras wraps whatever its download raises
        text = " ".join(str(error).split())
        if "URL fetch failure" not in text:
            raise
        print(text, file=sys.stderr)
        return UNAVAILABLE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
