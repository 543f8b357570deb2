"""Images as models take them, and one label for each: against timm, PIL and figures by hand."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import top_k_accuracy_score

from harness.backends.base import lengths_of, pad
from harness.data.arrays import load_encoded, save_encoded
from harness.data.pictures import Picture, picture
from harness.data.read import read_table
from harness.data.table import Table
from harness.errors import RequestError, Unsupported
from harness.tasks.base import Encoded, Examples, Pixels
from harness.tasks.image_classification import ImageClassification
from harness.tasks.images import ImageEncoder, encode, image_encoder, resize
from harness.tasks.metrics.classification import top_accuracy
from harness.tasks.overlap import overlap

CIFAR10 = Path(__file__).parents[2] / "shared" / "data" / "cifar10"


def noise(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoder_of(size: int, cache: Path = Path("unused"), **settings: Any) -> ImageEncoder:
    plain = {"crop_pct": 1.0, "interpolation": "bicubic", "channels": "rgb"}
    scale = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    return ImageEncoder(size=size, cache=cache, **(plain | scale | settings))


# --- resizing ---------------------------------------------------------------------------------


def test_images_come_out_as_timms_own_transform_makes_them() -> None:
    """Bytes and floats, for sizes, shapes and crops at which any rounding would show."""
    from harness.backends.torch.zoo import timm

    timm()
    from timm.data import create_transform

    generator = np.random.default_rng(1)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    for _ in range(60):
        width, height, size = (int(n) for n in generator.integers(8, 90, 3))
        crop_pct = float(generator.choice([1.0, 0.96, 0.95, 0.9, 0.875, 0.5]))
        interpolation = str(generator.choice(["bicubic", "bilinear", "lanczos", "nearest"]))
        config = {"crop_pct": crop_pct, "interpolation": interpolation, "mean": mean, "std": std}
        pixels = noise(width, height)
        found = resize(pixels, encoder_of(size, **config))
        transform = create_transform((3, size, size), is_training=False, **config)
        expected = transform(Image.fromarray(pixels)).numpy()
        plain = create_transform((3, size, size), is_training=False, normalize=False, **config)
        bytes_ = plain(Image.fromarray(pixels)).numpy()
        np.testing.assert_array_equal(found.transpose(2, 0, 1), bytes_, err_msg=str(config))
        floats = Pixels(found[None], mean, std).normalised(found[None])[0]
        # a different order of the same float32 operations, on numbers up to 2.7
        np.testing.assert_allclose(floats, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "size", "crop_pct", "resized", "corner"),
    [
        # (width, height) each; corners are rounded half to even, as torchvision rounds them
        ((60, 40), 32, 1.0, (48, 32), (8, 0)),
        ((40, 60), 32, 0.875, (36, 54), (2, 11)),  # 32 / 0.875 = 36.6
        ((50, 50), 32, 0.9, (35, 35), (2, 2)),  # a border of 1.5
        ((33, 50), 31, 0.96, (32, 48), (0, 8)),  # borders of 0.5 and 8.5
        ((31, 47), 32, 1.0, (32, 48), (0, 8)),
        ((200, 3), 8, 1.0, (533, 8), (262, 0)),  # a border of 262.5
        ((32, 32), 32, 1.0, (32, 32), (0, 0)),
    ],
)
def test_the_shorter_side_is_resized_and_the_middle_cut_out(
    shape: tuple[int, int],
    size: int,
    crop_pct: float,
    resized: tuple[int, int],
    corner: tuple[int, int],
) -> None:
    pixels = noise(*shape)
    image = Image.fromarray(pixels).resize(resized, Image.Resampling.BICUBIC)
    left, top = corner
    expected = np.asarray(image)[top : top + size, left : left + size]
    found = resize(pixels, encoder_of(size, crop_pct=crop_pct))
    np.testing.assert_array_equal(found, expected, strict=True)


def test_an_image_of_the_right_size_is_left_as_it_is() -> None:
    pixels = noise(9, 9)
    for interpolation in ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"):
        found = resize(pixels, encoder_of(9, interpolation=interpolation))
        np.testing.assert_array_equal(found, pixels)


def test_the_box_filter_takes_means_of_blocks() -> None:
    blocks = np.array([[10, 30, 0, 0], [10, 30, 0, 4], [7, 7, 250, 250], [7, 7, 254, 254]])
    pixels = np.repeat(blocks[..., None], 3, -1).astype(np.uint8)
    found = resize(pixels, encoder_of(2, interpolation="box"))
    assert found[..., 0].tolist() == [[20, 1], [7, 252]]


def test_bgr_turns_the_channels_round_and_nothing_else() -> None:
    pixels = noise(20, 14)
    rgb, bgr = resize(pixels, encoder_of(8)), resize(pixels, encoder_of(8, channels="bgr"))
    np.testing.assert_array_equal(bgr, rgb[..., [2, 1, 0]])


# --- the cache --------------------------------------------------------------------------------


def five(tmp_path: Path) -> list[Picture]:
    found = []
    for i in range(5):
        Image.fromarray(noise(12, 10, seed=i)).save(tmp_path / f"{i}.png")
        found.append(picture(tmp_path / f"{i}.png", f"{i}.png"))
    return found


def cached(encoder: ImageEncoder) -> list[Path]:
    return sorted(encoder.cache.iterdir())


def test_images_are_resized_once_into_a_file_that_all_share(tmp_path: Path) -> None:
    pictures, encoder = five(tmp_path), encoder_of(8, tmp_path / "cache")
    first = encode(pictures, encoder)
    assert first.values.shape == (5, 8, 8, 3) and first.values.dtype == np.uint8
    for row, item in zip(first.values, pictures, strict=True):
        np.testing.assert_array_equal(row, resize(item.rgb(), encoder))
    (path,) = cached(encoder)
    assert not first.values.flags.writeable
    del first
    marked = np.load(path, mmap_mode="r+")
    marked[2] = 77  # what nobody would compute
    marked.flush()
    os.utime(path, (1e9, 1e9))
    before = path.stat()
    # Other floats, and the same bytes from elsewhere: still the same file.
    other = encoder_of(8, tmp_path / "cache", mean=(0.5,) * 3, std=(0.5,) * 3)
    moved = [picture((tmp_path / f"{i}.png").read_bytes(), "bytes") for i in range(5)]
    again = encode(moved, other)
    assert (again.values[2] == 77).all()
    assert (again.mean, again.std) == ((0.5,) * 3, (0.5,) * 3)
    after = path.stat()
    assert cached(encoder) == [path] and after.st_ino == before.st_ino  # not written again
    assert after.st_mtime > before.st_mtime  # `harness gc` sees when it was last used


def test_another_way_of_resizing_or_another_draw_is_another_file(tmp_path: Path) -> None:
    pictures, cache = five(tmp_path), tmp_path / "cache"
    ways: list[dict[str, Any]] = [
        {"size": 8},
        {"size": 9},
        {"size": 8, "crop_pct": 0.9},
        {"size": 8, "interpolation": "bilinear"},
        {"size": 8, "channels": "bgr"},
    ]
    for count, way in enumerate(ways, start=1):
        encode(pictures, encoder_of(cache=cache, **way))
        assert len(cached(encoder_of(8, cache))) == count
    swapped = encode([pictures[1], pictures[0]], encoder_of(8, cache))
    assert len(cached(encoder_of(8, cache))) == len(ways) + 1
    np.testing.assert_array_equal(swapped.values[0], resize(pictures[1].rgb(), encoder_of(8)))


def test_two_hosts_of_one_cache_do_not_write_into_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes of two hosts, or of two containers, may have the same number; and what the first
    has put there is read by it while the second one ends."""
    from harness.tasks import images

    pictures, encoder = five(tmp_path), encoder_of(8, tmp_path / "cache")
    theirs: list[Pixels] = []
    there: list[os.stat_result] = []

    def while_another_host_does_the_same(pixels: np.ndarray, how: ImageEncoder) -> np.ndarray:
        monkeypatch.setattr(images, "resize", resize)
        theirs.append(encode(pictures, how))
        there.extend(path.stat() for path in cached(how) if not path.name.startswith("."))
        return resize(pixels, how)

    monkeypatch.setattr(images, "resize", while_another_host_does_the_same)
    ours = encode(pictures, encoder)
    for row, other, item in zip(ours.values, theirs[0].values, pictures, strict=True):
        np.testing.assert_array_equal(row, resize(item.rgb(), encoder))
        np.testing.assert_array_equal(other, row)
    (path,) = cached(encoder)
    assert [stat.st_ino for stat in there] == [path.stat().st_ino]


def test_a_damaged_image_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    encoder = encoder_of(8, tmp_path / "cache")
    with pytest.raises(RequestError, match="here: cannot be read as an image"):
        encode([*five(tmp_path), picture(b"no image", "here")], encoder)
    assert cached(encoder) == []


# --- normalising ------------------------------------------------------------------------------


def test_pixels_are_scaled_to_1_shifted_and_put_channels_first() -> None:
    values = np.zeros((1, 1, 2, 3), np.uint8)
    values[0, 0, 0] = (255, 0, 51)
    pixels = Pixels(values, (0.5, 0.25, 0.0), (0.5, 0.25, 2.0))
    batch = pixels.normalised(values)
    assert batch.shape == (1, 3, 1, 2) and batch.dtype == np.float32
    # red (1 - 0.5) / 0.5, green (0 - 0.25) / 0.25, blue (51 / 255) / 2; then black
    np.testing.assert_allclose(batch[0, :, 0, 0], [1, -1, 0.1], rtol=1e-6)
    np.testing.assert_allclose(batch[0, :, 0, 1], [-1, -1, 0], rtol=1e-6)


def encoded_of(values: np.ndarray) -> Encoded:
    pixels = Pixels(values, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    labels = np.arange(len(values), dtype=np.int64)
    return Encoded({"pixel_values": pixels}, {"labels": labels}, labels, labels < 0)


def test_a_batch_is_the_wanted_images_in_their_order() -> None:
    encoded = encoded_of(np.stack([noise(4, 4, seed) for seed in range(5)]))
    (name, batch), *rest = pad(encoded, [3, 1, 3]).items()
    assert name == "pixel_values" and not rest  # images have no mask
    values = encoded.inputs["pixel_values"].values  # type: ignore[union-attr]
    mean, std = np.array([0.1, 0.2, 0.3]), np.array([0.5, 0.6, 0.7])
    expected = ((values[[3, 1, 3]] / 255 - mean) / std).transpose(0, 3, 1, 2)
    assert batch.dtype == np.float32
    np.testing.assert_allclose(batch, expected, atol=1e-6)
    assert lengths_of(encoded).tolist() == [1] * 5


def test_augmentation_sees_bytes_and_comes_before_normalising() -> None:
    encoded = encoded_of(np.stack([noise(4, 4, seed) for seed in range(3)]))
    values = encoded.inputs["pixel_values"].values  # type: ignore[union-attr]
    seen = []

    def negative(pixels: np.ndarray) -> np.ndarray:
        seen.append((pixels.shape, pixels.dtype))
        return 255 - pixels

    batch = pad(encoded, [2, 0], negative)["pixel_values"]
    assert seen == [((2, 4, 4, 3), np.uint8)]
    expected = pad(encoded_of(255 - values), [2, 0])["pixel_values"]
    np.testing.assert_array_equal(batch, expected)


def test_pixels_survive_a_trip_to_disk(tmp_path: Path) -> None:
    values = encode(five(tmp_path), encoder_of(8, tmp_path / "cache")).values
    save_encoded(tmp_path / "split.npz", encoded_of(values))
    loaded = load_encoded(tmp_path / "split.npz")
    pixels = loaded.inputs["pixel_values"]
    assert isinstance(pixels, Pixels) and len(pixels) == 5
    np.testing.assert_array_equal(pixels.values, values, strict=True)
    assert (pixels.mean, pixels.std) == ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    before, after = pad(encoded_of(values), [0, 4]), pad(loaded, [0, 4])
    np.testing.assert_array_equal(before["pixel_values"], after["pixel_values"], strict=True)
    assert loaded.targets["labels"].tolist() == [0, 1, 2, 3, 4]


# --- how a model takes images -----------------------------------------------------------------

#: what timm has for resnet18.a1_in1k
PRETRAINED = {
    "tag": "a1_in1k",
    "input_size": [3, 224, 224],
    "fixed_input_size": False,
    "interpolation": "bicubic",
    "crop_pct": 0.95,
    "crop_mode": "center",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}


def folder_with(tmp_path: Path, config: dict[str, Any]) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def test_baselines_see_small_images_with_pixels_from_0_to_1(tmp_path: Path) -> None:
    encoder = image_encoder(None, None, tmp_path)
    assert encoder.facts() == {
        "size": 32,
        "crop_pct": 1.0,
        "interpolation": "bicubic",
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
        "channels": "rgb",
    }
    assert image_encoder(None, {"size": 8, "mean": None}, tmp_path).size == 8


def test_a_checkpoints_own_configuration_is_followed(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, {"architecture": "resnet18", "pretrained_cfg": PRETRAINED})
    expected = ImageEncoder(
        224,
        0.95,
        "bicubic",
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
        "rgb",
        tmp_path / "cache" / "images",
    )
    assert image_encoder(folder, None, tmp_path / "cache") == expected
    folder_with(tmp_path, PRETRAINED)  # older files have it at the top
    assert image_encoder(folder, {}, tmp_path / "cache") == expected


def test_what_the_suite_says_wins_and_null_says_nothing(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, {"pretrained_cfg": PRETRAINED | {"crop_pct": None}})
    wanted = {"size": 96, "crop_pct": None, "mean": 0.5, "std": [0.1, 0.2, 0.3], "channels": "bgr"}
    encoder = image_encoder(folder, wanted, tmp_path)
    assert (encoder.size, encoder.crop_pct, encoder.channels) == (96, 1.0, "bgr")
    assert encoder.mean == (0.5, 0.5, 0.5) and encoder.std == (0.1, 0.2, 0.3)
    assert encoder.interpolation == "bicubic"


def test_the_suites_schema_and_the_encoder_name_the_same_settings(tmp_path: Path) -> None:
    from harness.suite import ImageInput

    assert set(ImageInput.model_fields) == set(image_encoder(None, None, tmp_path).facts())
    said = ImageInput(size=64, interpolation="bilinear", mean=0.5).model_dump(mode="json")
    how = {"max_length": 128, "stride": 0, "image": said}
    encoder = ImageClassification({}).encoder(None, how, tmp_path)
    assert (encoder.size, encoder.interpolation, encoder.mean) == (64, "bilinear", (0.5,) * 3)
    facts = ImageClassification({}).encoder_facts(encoder)
    assert facts["image"]["size"] == 64 and "cache" not in json.dumps(facts)


def test_a_folder_without_configuration_or_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"no config\.json; an image model's folder needs it"):
        image_encoder(tmp_path, {"size": 8}, tmp_path)
    folder = folder_with(tmp_path, {"architecture": "resnet18"})
    with pytest.raises(RequestError, match=r"names no input size; say `image: \{size: 224\}`"):
        image_encoder(folder, None, tmp_path)
    assert image_encoder(folder, {"size": 8}, tmp_path).size == 8


@pytest.mark.parametrize("name", ["mean", "std"])
def test_two_numbers_for_three_channels_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestError, match=r"one number or three, not \[0\.5, 0\.5\]"):
        image_encoder(None, {name: [0.5, 0.5]}, tmp_path)


def test_an_unknown_filter_is_unsupported(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, PRETRAINED | {"interpolation": "area"})
    with pytest.raises(Unsupported, match="interpolation 'area' is not among nearest, bilinear"):
        image_encoder(folder, None, tmp_path)


# --- examples ---------------------------------------------------------------------------------


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(noise(8, 8, seed)).save(buffer, "PNG")
    return buffer.getvalue()


def table(**columns: list[Any]) -> Table:
    return Table(columns, "a.parquet")


def pets(root: Path) -> Table:
    for seed, name in enumerate(("cat/a.png", "cat/b.png", "dog/a.png")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(seed))
    return read_table(root, None, {}, "pets")


def test_images_in_folders_are_named_after_their_files(tmp_path: Path) -> None:
    examples = ImageClassification({}).examples(pets(tmp_path), "train")
    assert examples.ids == ["train/cat/a.png", "train/cat/b.png", "train/dog/a.png"]
    assert examples.clusters == examples.ids
    assert examples.fields["label"] == ["cat", "cat", "dog"]
    assert examples.take([2]).ids == ["train/dog/a.png"]
    np.testing.assert_array_equal(examples.fields["image"][2].rgb(), noise(8, 8, 2))
    assert examples.fields["image"][2].where == str(tmp_path / "dog/a.png")


def test_images_in_tables_are_named_after_their_rows_or_a_column() -> None:
    data = table(img=[png(0), {"bytes": png(1), "path": None}], label=[3, 3.0], key=["x", "y"])
    examples = ImageClassification({}).examples(data, "test")
    assert examples.ids == ["test-000000", "test-000001"]
    assert examples.fields["label"] == ["3", "3"]
    assert ImageClassification({"id": "key"}).examples(data, "test").ids == ["x", "y"]


def test_columns_are_named_or_image_and_label() -> None:
    data = table(image=[png(0)], img=[png(1)], label=["a"], fine=["b"])
    task = ImageClassification({"image": "img", "label": "fine"})
    examples = task.examples(data, "test")
    assert examples.fields["label"] == ["b"]
    np.testing.assert_array_equal(examples.fields["image"][0].rgb(), noise(8, 8, 1))
    usual = ImageClassification({}).examples(data, "test")
    np.testing.assert_array_equal(usual.fields["image"][0].rgb(), noise(8, 8, 0))


@pytest.mark.parametrize(
    ("options", "columns", "message"),
    [
        ({}, {"image": [png(0), None], "label": [0, 1]}, r"a\.parquet \(row 2\): holds NoneType"),
        ({}, {"image": [png(0), "b.png"], "label": [0, 1]}, r"\(row 2\): holds str, not an image"),
        ({}, {"image": [png(0), png(1)], "label": [0, None]}, r"\(row 2\): column 'label'"),
        ({}, {"image": [png(0)], "class": [0]}, "no column 'label'; it has 'image', 'class'"),
        ({"image": "photo"}, {"image": [png(0)], "label": [0]}, "no column 'photo'"),
        ({"id": "k"}, {"image": [png(0)] * 2, "label": [0, 1], "k": [7, 7]}, "'7' stands twice"),
    ],
)
def test_unfit_rows_are_refused_with_their_place(options, columns, message) -> None:
    with pytest.raises(RequestError, match=message):
        ImageClassification(options).examples(table(**columns), "train")


def test_an_unknown_option_is_refused_with_a_guess() -> None:
    with pytest.raises(RequestError, match="unknown option 'lable'; did you mean 'label'"):
        ImageClassification({"lable": "fine"})


def test_labels_unknown_to_training_are_refused() -> None:
    task = ImageClassification({}, ["cat", "dog"])
    test = task.examples(table(image=[png(0)] * 3, label=["cat", "ape", "ape"]), "test")
    with pytest.raises(RequestError, match=r"pets/test: 1 label\(s\) that training .*: 'ape'"):
        task.check_labels(test, "pets/test")
    task.check_labels(test.take([0]), "pets/test")


def test_damage_is_found_by_inspection_and_named_by_its_file(tmp_path: Path) -> None:
    data = pets(tmp_path)
    (tmp_path / "dog/a.png").write_bytes(png(2)[:60])
    task = ImageClassification({})
    examples = task.examples(data, "train")  # which opens none of them
    with pytest.raises(RequestError, match=r"^/.*dog/a\.png: cannot be read as an image"):
        task.inspect(examples)
    task.inspect(examples.take([0, 1]))


def test_the_same_bytes_in_training_and_test_overlap(tmp_path: Path) -> None:
    task = ImageClassification({})
    train = task.examples(pets(tmp_path), "train")
    test = task.examples(table(image=[png(1), png(9), noise(8, 8, 1)], label=["cat"] * 3), "test")
    keys = task.overlap_keys(train), task.overlap_keys(test)
    # the third has the pixels of the first, but not as a PNG: it is not decoded to find out
    assert overlap(*keys) == {"test_in_train": 1, "share": 1 / 3}


def test_encoded_images_carry_their_labels_positions(tmp_path: Path) -> None:
    task = ImageClassification({}, ["ape", "cat", "dog"])
    examples = task.examples(pets(tmp_path / "pets"), "train")
    encoder = task.encoder(None, {"image": {"size": 4}}, tmp_path)
    encoded = task.encode(examples, encoder)
    assert list(encoded.inputs) == ["pixel_values"] and len(encoded) == 3
    assert encoded.inputs["pixel_values"].values.shape == (3, 4, 4, 3)  # type: ignore[union-attr]
    assert encoded.targets["labels"].tolist() == [1, 1, 2]
    assert encoded.targets["labels"].dtype == np.int64
    assert encoded.example_index.tolist() == [0, 1, 2]
    assert encoded.truncated.tolist() == [False] * 3
    assert task.find_labels(examples) == ["cat", "dog"]
    assert (task.head.kind, task.head.outputs, task.primary) == ("pooled", 3, "accuracy")


# --- metrics ----------------------------------------------------------------------------------


def test_top_accuracy_by_hand() -> None:
    probabilities = np.array(
        [
            [0.5, 0.3, 0.2],  # 0 is first
            [0.3, 0.5, 0.2],  # 0 is second
            [0.3, 0.2, 0.5],  # 1 is third
            [0.2, 0.3, 0.5],  # 0 is third
        ]
    )
    truth = np.array([0, 0, 1, 0])
    assert [top_accuracy(truth, probabilities, k) for k in (1, 2, 3)] == [0.25, 0.5, 1.0]


def test_the_lower_position_wins_a_tie() -> None:
    tied = np.array([[0.4, 0.3, 0.3], [0.3, 0.3, 0.4]])
    assert top_accuracy(np.array([1, 0]), tied, 2) == 1.0
    assert top_accuracy(np.array([2, 1]), tied, 2) == 0.0
    # Without any preference, 5 of 10 classes are as good as chance.
    even = np.full((10, 10), 0.1, np.float32)
    assert top_accuracy(np.arange(10), even, 5) == 0.5


def test_top_accuracy_agrees_with_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(12), 400)
    truth = generator.integers(0, 12, 400)
    for k in (1, 5, 11):
        expected = top_k_accuracy_score(truth, probabilities, k=k, labels=range(12))
        assert top_accuracy(truth, probabilities, k) == pytest.approx(expected)


def decoded(labels: list[str], target: list[str], logits: list[list[float]]) -> dict[str, Any]:
    task = ImageClassification({}, labels)
    ids = [f"test-{i}" for i in range(len(target))]
    examples = Examples(ids, ids, {"label": target})
    nothing = Encoded({}, {}, np.arange(len(target)), np.zeros(len(target), bool))
    frame = task.decode(examples, nothing, [np.array(row, np.float32) for row in logits])
    assert frame["id"].tolist() == ids
    return task.metrics(frame)


def test_top_5_of_six_labels_is_all_but_the_least_probable() -> None:
    labels = list("abcdef")
    falling = [5.0, 4.0, 3.0, 2.0, 1.0, 0.0]
    metrics = decoded(labels, ["a", "e", "f", "a"], [falling, falling, falling, falling[::-1]])
    assert metrics["accuracy"] == 0.25
    assert metrics["top5_accuracy"] == 0.5


def test_top_5_of_five_labels_is_not_reported() -> None:
    metrics = decoded(list("abcde"), ["a"], [[0.0, 1.0, 2.0, 3.0, 4.0]])
    assert metrics["accuracy"] == 0.0 and "top5_accuracy" not in metrics


# --- CIFAR-10 ---------------------------------------------------------------------------------


@pytest.mark.skipif(not CIFAR10.is_dir(), reason="the shared data is not here")
def test_cifar10_from_the_hubs_parquet_is_what_pil_decodes(tmp_path: Path) -> None:
    data = read_table(CIFAR10 / "test-00000-of-00001.parquet", None, {}, "test")
    task = ImageClassification({})
    examples = task.examples(data, "test")
    task = ImageClassification({}, task.find_labels(examples))
    drawn = examples.take(range(0, 10_000, 400))
    encoded = task.encode(drawn, task.encoder(None, {}, tmp_path))
    assert task.labels[0] == "airplane" and task.head.outputs == 10
    pixels = encoded.inputs["pixel_values"].values  # type: ignore[union-attr]
    for row, number in zip(pixels, range(0, 10_000, 400), strict=True):
        content = data.column("img")[number]["bytes"]
        np.testing.assert_array_equal(row, np.asarray(Image.open(io.BytesIO(content))))
