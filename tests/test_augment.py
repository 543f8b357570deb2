"""Augmentation: what it does to pixels, from which random numbers, and what it leaves alone."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.backends.augment import Augmenter, crop, randaugment
from harness.suite import Augment


def noise(count: int, size: int = 8, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.integers(1, 256, (count, size, size, 3), dtype=np.uint8)


def augmenter(seed: int = 1, **settings: Any) -> Augmenter:
    return Augmenter(Augment(**settings).model_dump(mode="json"), seed)


EVERYTHING = {"flip": True, "crop": 0.125, "randaugment": {"layers": 2, "magnitude": 9}}
EACH = [{"flip": True}, {"crop": 0.25}, {"randaugment": {}}, EVERYTHING]


@pytest.mark.parametrize("settings", EACH, ids=lambda settings: "+".join(settings))
def test_one_seed_draws_the_same_in_the_same_order_and_anew_at_every_call(settings) -> None:
    pixels = noise(16)
    first, second, other = (
        augmenter(1, **settings),
        augmenter(1, **settings),
        augmenter(2, **settings),
    )
    calls = [first(pixels) for _ in range(3)]
    for call in calls:
        np.testing.assert_array_equal(call, second(pixels), strict=True)
    assert not np.array_equal(calls[0], calls[1])
    assert not np.array_equal(calls[0], other(pixels))


@pytest.mark.parametrize("settings", [{}, *EACH], ids=lambda settings: "+".join(settings) or "none")
def test_shape_and_type_stay_and_the_argument_is_left_as_it_is(settings) -> None:
    pixels = noise(16)
    before = pixels.copy()
    found = augmenter(**settings)(pixels)
    assert found.shape == pixels.shape and found.dtype == np.uint8
    np.testing.assert_array_equal(pixels, before)
    assert np.array_equal(found, pixels) == (not settings)


@pytest.mark.parametrize("settings", EACH, ids=lambda settings: "+".join(settings))
def test_images_in_a_file_that_is_only_read_are_augmented_alike(tmp_path: Path, settings) -> None:
    pixels = noise(16)
    np.save(tmp_path / "a.npy", pixels)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert isinstance(mapped, np.memmap) and not mapped.flags.writeable
    found = augmenter(**settings)(mapped)
    np.testing.assert_array_equal(found, augmenter(**settings)(pixels))
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), pixels)


# --- flips and crops --------------------------------------------------------------------------


def test_a_flip_mirrors_about_every_second_image_left_to_right() -> None:
    pixels = noise(1000)
    found = augmenter(flip=True)(pixels)
    mirrored = np.array([np.array_equal(a, b[:, ::-1]) for a, b in zip(found, pixels, strict=True)])
    same = np.array([np.array_equal(a, b) for a, b in zip(found, pixels, strict=True)])
    assert (mirrored ^ same).all()  # nothing else happens
    # 500 expected; 5 standard deviations of a fair coin are 5 * sqrt(1000) / 2 = 79
    assert abs(int(mirrored.sum()) - 500) < 79


def offsets(found: np.ndarray, pixels: np.ndarray, border: int) -> list[tuple[int, int]]:
    """Where each image lies in its original with a black border, searched by brute force."""
    high, wide = pixels.shape[1:3]
    places = []
    for window, image in zip(found, pixels, strict=True):
        padded = np.zeros((high + 2 * border, wide + 2 * border, 3), np.uint8)
        padded[border : border + high, border : border + wide] = image
        (place,) = [
            (top, left)
            for top in range(2 * border + 1)
            for left in range(2 * border + 1)
            if np.array_equal(padded[top : top + high, left : left + wide], window)
        ]
        places.append(place)
    return places


def test_a_crop_is_a_window_of_the_image_with_a_black_border() -> None:
    pixels = noise(600)
    places = offsets(augmenter(crop=0.25)(pixels), pixels, border=2)  # 0.25 of 8 pixels
    # Each of 25 windows 24 times on average; (24/25) ** 600 is 2e-11 for one that is missing.
    assert set(places) == {(top, left) for top in range(5) for left in range(5)}


def test_a_border_is_one_pixel_at_least_and_rounded() -> None:
    pixels = noise(100)
    assert max(offsets(augmenter(crop=0.01)(pixels), pixels, border=1)) == (2, 2)
    assert max(offsets(augmenter(crop=0.2)(pixels), pixels, border=2)) == (4, 4)  # 1.6 pixels


def test_images_that_are_not_square_are_cropped_to_their_own_shape() -> None:
    pixels = noise(50)[:, :, :5]
    found = crop(pixels, 2, np.random.default_rng(0))
    assert found.shape == pixels.shape
    assert len(set(offsets(found, pixels, border=2))) > 10


def test_a_flip_and_a_crop_together_are_a_window_perhaps_mirrored() -> None:
    pixels = noise(40)
    found = augmenter(flip=True, crop=0.25)(pixels)
    mirrored = 0
    for window, image in zip(found, pixels, strict=True):
        try:
            offsets(window[None], image[None], border=2)
        except ValueError:  # no such window: then it is one of the mirrored image
            offsets(window[None, :, ::-1], image[None], border=2)
            mirrored += 1
    assert 5 < mirrored < 35


# --- RandAugment ------------------------------------------------------------------------------


def test_randaugment_changes_most_images_and_each_in_its_own_way() -> None:
    image = noise(1, size=16)
    found = randaugment(np.repeat(image, 64, axis=0), 2, 9, np.random.default_rng(0))
    assert found.shape == (64, 16, 16, 3) and found.dtype == np.uint8
    changed = [not np.array_equal(a, image[0]) for a in found]
    # two operations, each applied with a chance of one half: 3 of 4 images see one at least
    assert sum(changed) > 32
    assert len({a.tobytes() for a in found}) > 16


def test_more_layers_change_more() -> None:
    # a smooth image, whose differences tell how far it was bent
    ramp = np.linspace(40, 210, 32)
    image = np.stack([np.add.outer(ramp, s * ramp) / 2 for s in (0.3, 0.6, 0.9)], -1)
    pixels = np.repeat(image.astype(np.uint8)[None], 100, axis=0)

    def change(layers: int) -> float:
        found = randaugment(pixels, layers, 9, np.random.default_rng(0))
        return float(np.abs(found.astype(int) - pixels).mean())

    assert 0 < change(1) < change(2) < change(4)


def test_randaugment_neither_reads_nor_moves_the_global_random_states() -> None:
    found = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)
        states = random.getstate(), np.random.get_state()
        found.append(augmenter(**EVERYTHING)(noise(8)))
        assert random.getstate() == states[0]
        now = np.random.get_state()
        for before, after in zip(states[1], now, strict=True):
            np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(*found)


def test_the_states_are_put_back_after_a_failure_too() -> None:
    random.seed(5)
    np.random.seed(5)
    expected = random.Random(5).random(), np.random.RandomState(5).rand()
    with pytest.raises(TypeError):
        randaugment(np.zeros((2, 4, 4, 3), np.complex64), 2, 9, np.random.default_rng(0))
    assert (random.random(), np.random.rand()) == expected


def test_randaugment_imports_neither_pytorch_nor_the_timm_package() -> None:
    code = """
import sys
import numpy as np
from harness.backends.augment import Augmenter
settings = {"flip": True, "crop": 0.1, "randaugment": {"layers": 2, "magnitude": 9.0}}
found = Augmenter(settings, 1)(np.full((4, 8, 8, 3), 200, np.uint8))
assert found.shape == (4, 8, 8, 3)
for name in ("torch", "timm", "tensorflow"):
    assert name not in sys.modules, name
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
