"""Image models: a backbone of timm, its last feature map averaged, and a head.

The features are those of the classic transfer recipe, the feature map's mean over positions, for
every convolutional architecture (what MobileNetV3 and VGG put behind it belongs to ImageNet's
classes and is left out); models of tokens (ViT) use their own pooling.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from harness.backends.base import ArtifactInfo
from harness.backends.torch.models import HeadedModel
from harness.backends.torch.zoo import timm
from harness.errors import RequestError, Unsupported

#: side of the images that tell which modules compute the feature map
_PROBE_SIZE = 64


class VisionModel(HeadedModel):
    """A backbone of timm under a head; takes (batch, 3, height, width) float32."""

    def __init__(self, backbone: nn.Module, info: ArtifactInfo, dropout: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.size = int(info.extra.get("image", {}).get("size", _PROBE_SIZE))
        self._add_head(int(backbone.num_features), info, dropout)  # type: ignore[arg-type]

    def hidden(self, pixel_values: Tensor) -> Tensor:
        """The last feature map, (batch, height, width, channels), or tokens."""
        features = self.backbone.forward_features(pixel_values)  # type: ignore[operator]
        return features.permute(0, 2, 3, 1) if features.ndim == 4 else features

    def features(self, pixel_values: Tensor) -> Tensor:
        """What the head sees, (batch, channels)."""
        features = self.backbone.forward_features(pixel_values)  # type: ignore[operator]
        if features.ndim == 4:
            return features.mean((2, 3))
        return self.backbone.forward_head(features, pre_logits=True)  # type: ignore[operator]

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Logits, (batch, outputs)."""
        return self.logits(self.features(pixel_values))

    def save_backbone(self, out: Path, folder: Path) -> None:
        state = _without_counters(self.backbone.state_dict())
        tensors = {name: t.detach().cpu().contiguous() for name, t in state.items()}
        save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
        shutil.copyfile(folder / "config.json", out / "config.json")

    def example_inputs(self) -> dict[str, Tensor]:
        return {"pixel_values": torch.zeros(2, 3, self.size, self.size)}

    def dynamic_axes(self) -> dict[int, str]:
        return {0: "batch"}

    def trial_inputs(self, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
        images = torch.randn(batch, self.size, self.size, 3, generator=generator)
        return {"pixel_values": images.permute(0, 3, 1, 2)}


def build_timm(
    info: ArtifactInfo, folder: Path, recipe: str, dropout: float | None, attention: str | None
) -> VisionModel:
    """The architecture that config.json names, with the folder's weights unless from scratch.

    Raises `RequestError` for weights of other shapes than the architecture's, `Unsupported` for an
    architecture that timm does not have.
    """
    config = _config(folder)
    size = info.extra.get("image", {}).get("size")
    backbone = _backbone(config, size)
    if recipe != "scratch":
        load_weights(backbone, folder, config)
    _strip(backbone)
    model = VisionModel(backbone, info, dropout or 0.0)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise RequestError(f"{folder}: no config.json; timm's layout names its architecture there")
    config: dict[str, Any] = json.loads(path.read_text())
    if not config.get("architecture"):
        raise RequestError(f"{path}: names no `architecture` of timm")
    return config


def _backbone(config: dict[str, Any], size: int | None) -> nn.Module:
    package = timm()
    name = config["architecture"]
    if not package.is_model(name):
        raise Unsupported(f"timm {package.__version__} has no architecture {name!r}")
    arguments: dict[str, Any] = dict(config.get("model_args") or {})
    backbone: nn.Module = package.create_model(name, pretrained=False, num_classes=0, **arguments)
    patches = getattr(backbone, "patch_embed", None)
    if size and patches is not None and tuple(patches.img_size) != (size, size):
        # the checkpoint has positions for one size; for others they are interpolated
        arguments["dynamic_img_size"] = True
        backbone = package.create_model(name, pretrained=False, num_classes=0, **arguments)
    return backbone


def load_weights(backbone: nn.Module, folder: Path, config: dict[str, Any]) -> None:
    """Fill a backbone from ``model.safetensors``; all of it must be there, a classifier may."""
    path = folder / "model.safetensors"
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise RequestError(f"{path}: cannot be read: {error}") from None
    own = _without_counters(backbone.state_dict())
    wrong = [
        f"{name} {tuple(tensors[name].shape)} where {config['architecture']} has {tuple(t.shape)}"
        for name, t in own.items()
        if name in tensors and tensors[name].shape != t.shape
    ]
    if wrong:
        raise RequestError(
            f"{path}: {len(wrong)} tensors do not fit {folder / 'config.json'}: "
            f"{'; '.join(wrong[:3])}"
        )
    used = _used_prefixes(backbone)
    missing = sorted(n for n in own if n not in tensors and n.split(".")[0] in used)
    if missing:
        raise RequestError(f"{path}: {len(missing)} tensors are missing: {', '.join(missing[:4])}")
    backbone.load_state_dict({n: t for n, t in tensors.items() if n in own}, strict=False)


def _used_prefixes(backbone: nn.Module) -> set[str]:
    """First parts of the names of everything that computes the feature map."""
    called: set[str] = set()
    hooks = [
        module.register_forward_hook(lambda *_, name=name: called.add(name.split(".")[0]))
        for name, module in backbone.named_modules()
        if name
    ]
    training = backbone.training
    backbone.eval()
    size = getattr(getattr(backbone, "patch_embed", None), "img_size", None)
    high, wide = size or (_PROBE_SIZE, _PROBE_SIZE)
    with torch.no_grad():
        features = backbone.forward_features(torch.zeros(1, 3, high, wide))  # type: ignore[operator]
        if features.ndim != 4:
            backbone.forward_head(features, pre_logits=True)  # type: ignore[operator]
    backbone.train(training)
    for hook in hooks:
        hook.remove()
    return called | {name.split(".")[0] for name, _ in backbone.named_parameters(recurse=False)}


def _strip(backbone: nn.Module) -> None:
    """Take out what lies behind the feature map: parameters that nothing here would train."""
    used = _used_prefixes(backbone)
    for name, child in list(backbone.named_children()):
        if name not in used and any(True for _ in child.parameters()):
            setattr(backbone, name, nn.Identity())


def neutral_from_state(
    state: dict[str, Tensor], architecture: str, out: Path, origin: str, *, ordered: bool
) -> None:
    """Write timm's layout to ``out`` from a state dict under timm's names or, where it is
    ``ordered`` as it was saved, in timm's order; a classifier is left out.

    Ports of an architecture name their modules otherwise, but list the same tensors one after the
    other. Raises `RequestError` where number or shapes differ.
    """
    package = timm()
    if not package.is_model(architecture):
        raise Unsupported(f"timm {package.__version__} has no architecture {architecture!r}")
    tensors = _without_counters(state)
    own = _without_counters(package.create_model(architecture, num_classes=0).state_dict())
    if not set(own) <= set(tensors):
        tensors = _by_order(tensors, architecture, own) if ordered else {}
    wrong = [n for n in own if n not in tensors or tensors[n].shape != own[n].shape]
    if wrong:
        how = "by name, or in order and shape" if ordered else "by name and shape"
        raise RequestError(
            f"{origin}: its {len(_without_counters(state))} tensors are not those of timm's "
            f"{architecture!r} ({len(own)} without a classifier) {how} (first: {wrong[0]})"
        )
    plain = {name: tensors[name].detach().float().clone().contiguous() for name in own}
    save_file(plain, out / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architecture": architecture,
        "num_classes": 0,
        "pretrained_cfg": package.get_pretrained_cfg(architecture).to_dict(),
    }
    (out / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True))


def _by_order(
    tensors: dict[str, Tensor], architecture: str, bare: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Tensors under timm's names, with a classifier or without; {} where the numbers differ."""
    classes = next((len(t) for t in reversed(tensors.values()) if t.ndim == 1), 1000)
    whole = timm().create_model(architecture, num_classes=classes).state_dict()
    for own in (_without_counters(whole), bare):
        if len(own) == len(tensors):
            return dict(zip(own, tensors.values(), strict=True))
    return {}


def _without_counters(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict without batch norm's count of batches, which computes nothing."""
    return {n: t for n, t in state.items() if not n.endswith("num_batches_tracked")}
