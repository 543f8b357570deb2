"""Tiny image data, and timm models of random weights, that the tests of image models share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends.base import ArtifactInfo, FitRequest
from harness.suite import Settings
from harness.tasks.base import Encoded, Pixels
from tests.torch_toys import accuracy

#: architectures with what is needed to keep them small: VGG's fully connected layers, which
#: nothing here computes, are 120 million parameters otherwise
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "efficientnet_b0": {},
    "mobilenetv3_small_050": {},
    "resnet18": {},
    "tf_efficientnet_lite0": {},
    "tf_efficientnet_lite2": {},
    "vgg11": {"mlp_ratio": 1 / 64},
    "vit_tiny_patch16_224": {"img_size": 48, "depth": 2},
}
#: ImageNet's, as timm has them
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLASSES = 3


def random_model(architecture: str, seed: int = 0) -> Any:
    """timm's model with a classifier, of random weights and random batch norm statistics."""
    import torch

    from harness.backends.torch.zoo import timm

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        arguments = ARCHITECTURES.get(architecture, {})
        model = timm().create_model(architecture, pretrained=False, num_classes=7, **arguments)
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d):
                # activations keep their size, as in a trained model; timm's own draw lets those of
                # EfficientNet-lite grow far beyond ReLU6's limit, and then PyTorch's rounding alone
                # (float32 against float64) is 2e-5 of the largest value of a feature map
                torch.nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.normal_(module.running_mean, std=0.1)
                torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
                torch.nn.init.normal_(module.bias, std=0.1)
    return model.eval()


def random_timm(tmp_path: Path, architecture: str, seed: int = 0) -> Path:
    """A neutral model folder in timm's layout, with the weights of `random_model`."""
    from safetensors.torch import save_file

    folder = tmp_path / architecture
    folder.mkdir()
    save_file(random_model(architecture, seed).state_dict(), folder / "model.safetensors")
    config = {
        "architecture": architecture,
        "num_classes": 7,
        "model_args": ARCHITECTURES.get(architecture, {}),
        "pretrained_cfg": {"input_size": [3, 32, 32], "mean": MEAN, "std": STD},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def pictures(count: int, seed: int, size: int = 32) -> Encoded:
    """Grey noise with one square; the class is the square's colour: red, green or blue."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(64, 192, (count, size, size, 3), dtype=np.uint8)
    labels = generator.integers(0, CLASSES, count)
    side = size // 2
    for image, label in zip(pixels, labels, strict=True):
        top, left = generator.integers(0, size - side + 1, 2)
        image[top : top + side, left : left + side] = np.eye(3, dtype=np.uint8)[label] * 255
    return Encoded(
        {"pixel_values": Pixels(pixels, MEAN, STD)},
        {"labels": labels.astype(np.int64)},
        np.arange(count),
        np.zeros(count, bool),
    )


def picture_request(
    tmp_path: Path,
    folder: Path,
    recipe: str = "fine-tune",
    kind: str = "timm",
    out: str = "artifact",
    seed: int = 1,
    size: int = 32,
    train: int = 96,
    **settings: Any,
) -> FitRequest:
    """A fit of the toy task with 96 training and 48 validation pictures."""
    training, validation = pictures(train, 1, size), pictures(48, 2, size)
    values = Settings(**{"learning_rate": 1e-3, "batch_size": 16, **settings}).model_dump()
    values["fit_dtype"] = "float32"
    labels = ["red", "green", "blue"]
    hidden, extra = list(values["hidden"]), {"image": {"size": size}}
    return FitRequest(
        model_kind=kind,
        model_folder=folder,
        recipe=recipe,  # type: ignore[arg-type]
        settings=values,
        loss="cross_entropy",
        info=ArtifactInfo(
            kind, "torch", "toy", "pooled", CLASSES, "mean", labels, 0, hidden=hidden, extra=extra
        ),
        train=training,
        validation=validation,
        validation_score=lambda logits: accuracy(validation, logits),
        train_score=lambda logits: accuracy(training, logits),
        device="cpu",
        threads=1,
        seed=seed,
        out=tmp_path / out,
        features_cache=tmp_path / "features",
        features_key=f"{folder.name}-{size}",
    )


#: settings under which ResNet-18 and VGG11 learn the toy task
LEARNS: dict[str, Any] = {"epochs": 4, "learning_rate": 5e-4}


def keras_vgg16(tmp_path: Path) -> Path:
    """A neutral folder of Keras' VGG16 without its top, of random weights."""
    import torch
    from safetensors.torch import save_file

    folder = tmp_path / "VGG16"
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    tensors, width = {}, 3
    for block, (convolutions, wide) in enumerate(
        [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)], 1
    ):
        for i in range(1, convolutions + 1):
            name = f"block{block}_conv{i}"
            kernel = torch.randn(3, 3, width, wide, generator=generator)
            tensors[f"{name}/kernel"] = kernel * (2 / (9 * width)) ** 0.5
            tensors[f"{name}/bias"] = torch.randn(wide, generator=generator) * 0.1
            width = wide
    save_file(tensors, folder / "model.safetensors", metadata={"format": "keras"})
    (folder / "config.json").write_text(json.dumps({"application": "VGG16"}))
    return folder
