"""Keras Applications in PyTorch: the same weights, under Keras' names, in timm's architecture.

Only those whose graphs are the same in both: VGG16 and VGG19. The parity gate compares them with
Keras before they may train.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from harness.backends.base import ArtifactInfo
from harness.backends.torch.vision import VisionModel
from harness.backends.torch.zoo import timm
from harness.errors import RequestError, Unsupported

#: Keras' name to timm's, and convolutions a block
_COUNTERPARTS = {"VGG16": ("vgg16", (2, 2, 3, 3, 3)), "VGG19": ("vgg19", (2, 2, 4, 4, 4))}


class ApplicationModel(VisionModel):
    """VGG without its fully connected layers; saved under Keras' names."""

    def __init__(
        self, backbone: nn.Module, info: ArtifactInfo, dropout: float, names: list[str]
    ) -> None:
        super().__init__(backbone, info, dropout)
        self._names = names

    def convolutions(self) -> dict[str, nn.Conv2d]:
        """Keras' layer names to modules."""
        found = [m for m in self.backbone.modules() if isinstance(m, nn.Conv2d)]
        return dict(zip(self._names, found, strict=True))

    def save_backbone(self, out: Path, folder: Path) -> None:
        tensors: dict[str, Tensor] = {}
        for name, layer in self.convolutions().items():
            assert layer.bias is not None
            kernel = layer.weight.detach().cpu().permute(2, 3, 1, 0)  # (high, wide, in, out)
            tensors[f"{name}/kernel"] = kernel.contiguous()
            tensors[f"{name}/bias"] = layer.bias.detach().cpu().contiguous()
        save_file(tensors, out / "model.safetensors", metadata={"format": "keras"})
        shutil.copyfile(folder / "config.json", out / "config.json")


def build_application(
    info: ArtifactInfo, folder: Path, recipe: str, dropout: float | None, attention: str | None
) -> ApplicationModel:
    """The counterpart of the application that config.json names."""
    name = json.loads((folder / "config.json").read_text()).get("application")
    if name not in _COUNTERPARTS:
        raise Unsupported(
            f"PyTorch has no counterpart here of Keras' {name!r}; it has {', '.join(_COUNTERPARTS)}"
        )
    architecture, blocks = _COUNTERPARTS[name]
    backbone = timm().create_model(architecture, pretrained=False, num_classes=0)
    backbone.pre_logits = nn.Identity()  # the fully connected layers
    names = [
        f"block{block + 1}_conv{i + 1}" for block, many in enumerate(blocks) for i in range(many)
    ]
    model = ApplicationModel(backbone, info, dropout or 0.0, names)
    if recipe != "scratch":
        _fill(model, folder / "model.safetensors")
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _fill(model: ApplicationModel, path: Path) -> None:
    tensors = load_file(path)
    for name, layer in model.convolutions().items():
        kernel, bias = tensors.get(f"{name}/kernel"), tensors.get(f"{name}/bias")
        assert layer.bias is not None
        if kernel is None or bias is None:
            raise RequestError(f"{path}: has no kernel and bias of {name!r}")
        wanted = tuple(layer.weight.permute(2, 3, 1, 0).shape)
        if tuple(kernel.shape) != wanted:
            raise RequestError(f"{path}: {name} is {tuple(kernel.shape)}, wanted {wanted}")
        with torch.no_grad():
            layer.weight.copy_(kernel.permute(3, 2, 0, 1))
            layer.bias.copy_(bias)
