"""Image models in TensorFlow: KerasHub's backbones with timm's weights, and what they lack.

Each is checked against PyTorch before it may train. What KerasHub's converters leave out:

* EfficientNet of the family ``tf_``: padding as TensorFlow itself pads, which at stride 2 is not
  symmetric, and batch norm's epsilon of 1e-3 (EfficientNet-lite0: features correlate by 0.56 with
  the true ones, and differ by 2.6e-5 of the largest with both put right);
* EfficientNet-lite1 to -lite4, which KerasHub does not list;
* batch norm's epsilon and momentum, which are timm's everywhere.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends.base import ArtifactInfo, Batch
from harness.backends.tensorflow.architectures import layers, read_config
from harness.backends.tensorflow.model import Inputs, TensorFlowModel
from harness.backends.tensorflow.weights import Checkpoint
from harness.errors import Unsupported

#: the beginning of timm's architecture names to KerasHub's converter
CONVERTERS = {
    "efficientnet": "convert_efficientnet",
    "mobilenetv3": "convert_mobilenet",
    "resnet": "convert_resnet",
    "vgg": "convert_vgg",
}
#: what builds each, by the beginning of timm's names; arguments as of `build_convolutional`
BUILDERS = dict.fromkeys(CONVERTERS, "harness.backends.tensorflow.vision:build_convolutional") | {
    "deit_": "harness.backends.tensorflow.vit:build_vit",
    "vit_": "harness.backends.tensorflow.vit:build_vit",
}
#: width and depth of EfficientNet-lite, see timm's `_gen_efficientnet_lite`
_LITE = {
    "lite0": (1.0, 1.0),
    "lite1": (1.0, 1.1),
    "lite2": (1.1, 1.2),
    "lite3": (1.2, 1.4),
    "lite4": (1.4, 1.8),
}
#: epsilon of batch norm where weights came from TensorFlow, and PyTorch's own
_TF_EPSILON, _EPSILON = 1e-3, 1e-5
#: share of the running statistics that a step keeps: PyTorch's momentum of 0.1
_MOMENTUM = 0.9


class VisionModel(TensorFlowModel):
    """A convolutional backbone; features are the last feature map's mean over positions."""

    def width(self) -> int:
        return int(self.backbone.output.shape[-1])

    def feed(self, batch: Batch) -> Batch:
        # a view: batches lie in memory with channels last
        return {name: array.transpose(0, 2, 3, 1) for name, array in batch.items()}

    def hidden(self, inputs: Inputs, training: bool = False) -> Any:
        """The last feature map, (batch, height, width, channels)."""
        return self.backbone(inputs["pixel_values"], training=training)

    def features(self, inputs: Inputs, training: bool = False) -> Any:
        """(batch, channels)."""
        import tensorflow as tf

        return tf.reduce_mean(self.hidden(inputs, training), (1, 2))

    def padded_up(self, batch: Batch) -> Batch:
        rows = len(batch["pixel_values"])
        more = (1 << (rows - 1).bit_length()) - rows
        return {n: np.pad(a, ((0, more), *[(0, 0)] * 3), "edge") for n, a in batch.items()}


def build_timm(
    info: ArtifactInfo, folder: Path, scratch: bool, dropout: float | None, seed: int
) -> VisionModel:
    """KerasHub's backbone of timm's architecture; `Unsupported` where there is none."""
    config = read_config(folder)
    name = str(config["architecture"])
    plain = name.removeprefix("tf_")
    builder = next((b for start, b in BUILDERS.items() if plain.startswith(start)), None)
    if builder is None:
        raise Unsupported(
            f"KerasHub has no converter that passed for timm's {name!r}; there are those for "
            f"{', '.join(start.rstrip('_') for start in BUILDERS)}"
        )
    module, _, function = builder.partition(":")
    build = getattr(import_module(module), function)
    model: VisionModel = build(info, folder, config, scratch, dropout, seed)
    return model


def build_convolutional(
    info: ArtifactInfo,
    folder: Path,
    config: dict[str, Any],
    scratch: bool,
    dropout: float | None,
    seed: int,
) -> VisionModel:
    """By one of KerasHub's own converters, put right afterwards."""
    name = str(config["architecture"])
    plain = name.removeprefix("tf_")
    module = next(m for start, m in CONVERTERS.items() if plain.startswith(start))
    converter = import_module(f"keras_hub.src.utils.timm.{module}")
    lite = plain.removeprefix("efficientnet_")
    known = {"architecture": "efficientnet_lite0" if lite in _LITE else plain}
    try:
        options = converter.convert_backbone_config(known)
    except (KeyError, ValueError) as error:
        raise Unsupported(f"KerasHub cannot build timm's {name!r}: {error}") from None
    if lite in _LITE:
        options |= _lite_options(*_LITE[lite])
    backbone = converter.backbone_cls(**options)
    checkpoint = Checkpoint.read(folder, "")
    with keeping_drawn(backbone, scratch):
        try:
            with redirect_stdout(io.StringIO()):  # one converter tells of every tensor
                converter.convert_weights(backbone, checkpoint, known)
        except (KeyError, ValueError) as error:
            raise Unsupported(f"{folder}: KerasHub's converter failed: {error}") from None
    _correct(backbone, from_tensorflow=name.startswith("tf_"))
    return VisionModel(backbone, checkpoint, info, dropout or 0.0, seed)


@contextmanager
def keeping_drawn(backbone: Any, scratch: bool) -> Iterator[None]:
    """From scratch, variables get their drawn values back after a checkpoint was read: what is
    read then tells only the way back."""
    drawn = [(v, v.numpy()) for v in backbone.variables] if scratch else []
    yield
    for variable, values in drawn:
        variable.assign(values)


def _lite_options(width: float, depth: float) -> dict[str, Any]:
    """What scales in EfficientNet-lite: neither the stem nor the last layer, nor the number of
    blocks of the first and the last stage."""
    return {
        "stackwise_width_coefficients": [1.0] + [width] * 6,
        "stackwise_output_filters": [_round(16 * width), 24, 40, 80, 112, 192, 320],
        "stackwise_depth_coefficients": [1.0] + [depth] * 5 + [1.0],
        "num_features": 1280 / width,  # which is multiplied by the last stage's width again
    }


def _round(channels: float) -> int:
    """To a multiple of 8, the nearest one that takes less than a tenth away."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _correct(backbone: Any, *, from_tensorflow: bool) -> None:
    """Padding, epsilon and momentum as timm has them."""
    import keras

    for layer in layers(backbone):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.epsilon = _TF_EPSILON if from_tensorflow else _EPSILON
            layer.momentum = _MOMENTUM
        if not from_tensorflow:
            continue
        if isinstance(layer, keras.layers.ZeroPadding2D):
            layer.padding = ((0, 0), (0, 0))
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            layer.padding = "same"
