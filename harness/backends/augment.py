"""Augmentation of training images, on bytes and before normalisation, the same for all frameworks.

Flips and crops are a few lines of numpy for a whole batch. RandAugment is timm's, on PIL images.
"""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import Unsupported


class Augmenter:
    """Draws anew at every call; the same calls in the same order draw the same."""

    def __init__(self, settings: Mapping[str, Any], seed: int) -> None:
        """``settings``: the fields of `harness.suite.Augment`."""
        self._settings = settings
        self._generator = np.random.default_rng(seed)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """(batch, height, width, 3) uint8 to the same shape; the argument is left as it is."""
        if share := self._settings["crop"]:
            pixels = crop(pixels, max(1, round(share * pixels.shape[1])), self._generator)
        if self._settings["flip"]:
            mirrored = self._generator.random(len(pixels)) < 0.5
            pixels = np.where(mirrored[:, None, None, None], pixels[:, :, ::-1], pixels)
        if wanted := self._settings["randaugment"]:
            pixels = randaugment(
                pixels, int(wanted["layers"]), float(wanted["magnitude"]), self._generator
            )
        return pixels


def crop(pixels: np.ndarray, border: int, generator: np.random.Generator) -> np.ndarray:
    """A random window of the same size out of each image with a black border around it."""
    count, high, wide, _ = pixels.shape
    padded = np.pad(pixels, ((0, 0), (border, border), (border, border), (0, 0)))
    tops = generator.integers(0, 2 * border + 1, count)
    lefts = generator.integers(0, 2 * border + 1, count)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (high, wide), (1, 2))
    return windows[np.arange(count), tops, lefts].transpose(0, 2, 3, 1)


def randaugment(
    pixels: np.ndarray, layers: int, magnitude: float, generator: np.random.Generator
) -> np.ndarray:
    """``layers`` random operations on each image, all as strong (Cubuk et al., 2020); empty parts
    become grey."""
    from PIL import Image

    transform = _randaugment(layers, magnitude)
    with _global_seed(int(generator.integers(2**31))):
        images = (transform(Image.fromarray(image)) for image in pixels)
        return np.stack([np.asarray(image) for image in images])


@cache
def _randaugment(layers: int, magnitude: float) -> Callable[[Any], Any]:
    module = _timms_module()
    grey = {"img_mean": (128, 128, 128)}
    # every operation is applied, and "inc1" means that a higher magnitude is never a weaker change
    names = list(module._RAND_INCREASING_TRANSFORMS)
    magnitude = min(magnitude, 9.99)  # at 10 itself an image would be left with 0 bits
    operations = [
        module.AugmentOp(name, prob=1.0, magnitude=magnitude, hparams=grey) for name in names
    ]
    transform: Callable[[Any], Any] = module.RandAugment(operations, num_layers=layers)
    return transform


@cache
def _timms_module() -> Any:
    """timm's operations alone: its package would bring PyTorch into TensorFlow's process."""
    package = importlib.util.find_spec("timm")
    if package is None or package.origin is None:
        raise Unsupported("RandAugment needs timm: pip install timm")
    path = Path(package.origin).parent / "data" / "auto_augment.py"
    spec = importlib.util.spec_from_file_location("_timm_auto_augment", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def _global_seed(seed: int) -> Iterator[None]:
    """timm draws from Python's and numpy's global generators: seeded here, then put back."""
    states = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
