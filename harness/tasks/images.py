"""Images as models take them: resized, cropped, and normalised as their configuration says.

What PIL does to the bytes is done once and kept in a file that all frameworks share; the
normalisation to floats is left to the batch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.pictures import Picture
from harness.errors import RequestError, Unsupported
from harness.records.files import whole_path
from harness.sources.cache import mark_used
from harness.tasks.base import Pixels

#: raised when the same pictures would come out as other pixels
_VERSION = 1
#: side of a baseline's images, where the suite names none
_PLAIN_SIZE = 32
_FILTERS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")


@dataclass(frozen=True)
class ImageEncoder:
    """How a model takes images."""

    size: int  # side of the square it sees
    #: the shorter side is resized to size / crop_pct, and the middle cut out (timm's meaning)
    crop_pct: float
    interpolation: str
    mean: tuple[float, float, float]  # of pixels in 0..1
    std: tuple[float, float, float]
    channels: str  # rgb or bgr
    cache: Path  # where resized images are kept

    def facts(self) -> dict[str, Any]:
        """The settings, without the place."""
        return {name: value for name, value in asdict(self).items() if name != "cache"}


def image_encoder(
    model_folder: Path | None, wanted: Mapping[str, Any] | None, cache: Path
) -> ImageEncoder:
    """The checkpoint's own preprocessing (timm's ``pretrained_cfg``), but for what is wanted.

    Baselines take pixels in 0..1. Raises `RequestError` where neither names a size.
    """
    config: dict[str, Any] = {"crop_pct": 1.0, "mean": 0.0, "std": 1.0, "interpolation": "bicubic"}
    config["channels"] = "rgb"
    if model_folder is None:
        config["size"] = _PLAIN_SIZE
    else:
        config |= _of_checkpoint(model_folder)
    config |= {name: value for name, value in (wanted or {}).items() if value is not None}
    if "size" not in config:
        raise RequestError(
            f"{model_folder}: config.json names no input size; say `image: {{size: 224}}`"
        )
    if not 0 < config["crop_pct"] <= 1 or not all(_channels(config["std"])):
        raise RequestError(f"{model_folder}: crop_pct is in (0, 1], and std is not 0")
    if config["interpolation"] not in _FILTERS:
        raise Unsupported(
            f"interpolation {config['interpolation']!r} is not among {', '.join(_FILTERS)}"
        )
    return ImageEncoder(
        int(config["size"]),
        float(config["crop_pct"]),
        config["interpolation"],
        _channels(config["mean"]),
        _channels(config["std"]),
        config["channels"],
        cache / "images",
    )


def _of_checkpoint(folder: Path) -> dict[str, Any]:
    """Size, crop, filter, mean and std of a folder in timm's layout."""
    path = folder / "config.json"
    if not path.is_file():
        raise RequestError(f"{folder}: no config.json; an image model's folder needs it")
    try:
        whole = json.loads(path.read_text())
    except ValueError as error:
        raise RequestError(f"{path}: is not JSON: {error}") from None
    config = (whole.get("pretrained_cfg") or whole) if isinstance(whole, dict) else None
    if not isinstance(config, dict):
        raise RequestError(f"{path}: is not a mapping, as a configuration is")
    if config.get("crop_mode", "center") != "center":
        raise Unsupported(f"{path}: crop_mode {config['crop_mode']!r}; only `center` is known here")
    found = {
        name: config[name]
        for name in ("crop_pct", "interpolation", "mean", "std", "channels")
        if config.get(name) is not None
    }
    if size := config.get("input_size"):
        if size[-1] != size[-2]:
            raise Unsupported(f"{path}: input_size {size}; only squares are known here")
        found["size"] = size[-1]
    return found


def _channels(value: float | Sequence[float]) -> tuple[float, float, float]:
    values = (value,) * 3 if isinstance(value, int | float) else tuple(value)
    if len(values) != 3:
        raise RequestError(f"mean and std of images are one number or three, not {value!r}")
    return float(values[0]), float(values[1]), float(values[2])


def encode(pictures: Sequence[Picture], encoder: ImageEncoder) -> Pixels:
    """All pictures at the encoder's size, from its cache or made and left there."""
    settings = [_VERSION, encoder.size, encoder.crop_pct, encoder.interpolation, encoder.channels]
    digest = hashlib.sha256(json.dumps(settings).encode())
    for picture in pictures:
        digest.update(picture.digest().encode())
    path = encoder.cache / f"{digest.hexdigest()[:32]}.npy"
    if path.is_file():
        mark_used(path)
    else:
        with whole_path(path, keep=True) as beside:
            shape = (len(pictures), encoder.size, encoder.size, 3)
            stored = np.lib.format.open_memmap(beside, "w+", np.uint8, shape)
            for row, picture in zip(stored, pictures, strict=True):
                row[:] = resize(picture.rgb(), encoder)
            stored.flush()
    return Pixels(np.load(path, mmap_mode="r"), encoder.mean, encoder.std)


def resize(pixels: np.ndarray, encoder: ImageEncoder) -> np.ndarray:
    """(height, width, 3) uint8 to (size, size, 3): the shorter side resized, the middle cut out.

    The same as timm's and torchvision's evaluation transform on PIL images.
    """
    from PIL import Image

    height, width = pixels.shape[:2]
    short = int(encoder.size / encoder.crop_pct)
    if width <= height:
        wide, high = short, int(short * height / width)
    else:
        wide, high = int(short * width / height), short
    image = Image.fromarray(pixels)
    if (wide, high) != (width, height):
        image = image.resize((wide, high), Image.Resampling[encoder.interpolation.upper()])
    left, top = round((wide - encoder.size) / 2), round((high - encoder.size) / 2)
    cut = np.asarray(image.crop((left, top, left + encoder.size, top + encoder.size)))
    return cut[..., ::-1] if encoder.channels == "bgr" else cut
