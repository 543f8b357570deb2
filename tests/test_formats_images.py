"""Images in folders, numpy archives, CSV and Parquet: content, order, and bad input."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.data.read import read_table
from harness.data.table import Table
from harness.errors import RequestError

CIFAR10 = Path(__file__).parents[2] / "shared" / "data" / "cifar10"


# --- image-folder -----------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path):  # type: ignore[no-untyped-def]
    """A folder with these files in it: images by their extension, else an `x`."""

    def make(*names: str) -> Path:
        root = tmp_path / "pets"
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix.lower() in (".png", ".jpg", ".jpeg"):
                Image.new("RGB", (2, 2)).save(path)
            else:
                path.write_text("x")
        return root

    return make


def read_pets(root: Path, **options: Any) -> Table:
    return read_table(root, "image-folder", options, "pets")


def test_folders_are_classes_and_rows_are_sorted_by_class_and_name(tree) -> None:
    root = tree("dog/b.png", "dog/a.JPEG", "cat/z.jpg", "cat/young/c.PNG", "Ape/1.png")
    table = read_pets(root)
    names = ["Ape/1.png", "cat/young/c.PNG", "cat/z.jpg", "dog/a.JPEG", "dog/b.png"]
    assert table.columns == {
        "image": [root / name for name in names],
        "label": ["Ape", "cat", "cat", "dog", "dog"],
        "file": names,
    }


def test_a_folder_needs_no_format(tree) -> None:
    root = tree("cat/a.png", "dog/b.png")
    assert read_table(root, None, {}, "pets").columns == read_pets(root).columns


def test_hidden_files_and_folders_are_passed_over(tree) -> None:
    root = tree("cat/a.png", "cat/.DS_Store", "cat/._a.png", ".git/b.png", ".DS_Store")
    assert read_pets(root).columns["file"] == ["cat/a.png"]


def test_another_file_is_refused_by_name_unless_it_may_be_ignored(tree) -> None:
    root = tree("cat/a.png", "dog/b.png", "dog/notes.txt")
    with pytest.raises(RequestError, match=r"pets/dog/notes\.txt: is not an image.*`other_files"):
        read_pets(root)
    assert read_pets(root, other_files="ignore").columns["file"] == ["cat/a.png", "dog/b.png"]
    with pytest.raises(RequestError, match="`other_files` is `refuse` or `ignore`, not 'maybe'"):
        read_pets(root, other_files="maybe")


@pytest.mark.parametrize("inside", [None, ".DS_Store", "notes.txt"])
def test_an_empty_class_folder_is_an_error(tree, inside: str | None) -> None:
    root = tree("cat/a.png", *([f"dog/{inside}"] if inside else []))
    (root / "dog").mkdir(exist_ok=True)
    with pytest.raises(RequestError, match="pets/dog: an empty class folder"):
        read_pets(root, other_files="ignore")


def test_images_without_class_folders_are_an_error(tree) -> None:
    with pytest.raises(RequestError, match=r"pets: holds no class folders \(wanted pets/<class>"):
        read_pets(tree("a.png", "b.png"))


def test_a_file_is_no_image_folder_and_a_folder_no_table(tree) -> None:
    root = tree("cat/a.png")
    with pytest.raises(RequestError, match=r"a\.png: is a file; an image folder holds one folder"):
        read_table(root / "cat/a.png", "image-folder", {}, "a.png")
    with pytest.raises(RequestError, match="pets: is a folder, which `format: csv` cannot read"):
        read_table(root, "csv", {}, "pets")
    with pytest.raises(RequestError, match="cats: no such file"):
        read_table(root / "cats", "image-folder", {}, "cats")


# --- npz --------------------------------------------------------------------------------------

IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@pytest.fixture
def npz(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Write arrays, or bytes, to an archive and read it."""

    def run(content: bytes | dict[str, Any], **options: Any) -> Table:
        path = tmp_path / "a.npz"
        if isinstance(content, dict):
            np.savez(path, **content)
        else:
            path.write_bytes(content)
        return read_table(path, None, options, "a.npz")

    return run


def test_npz_rows_are_pictures_and_labels(npz) -> None:
    for images in (IMAGES, np.stack([IMAGES] * 3, axis=-1), IMAGES.astype(np.float32)):
        table = npz({"images": images, "labels": np.array([7, 2])})
        assert table.columns["label"] == [7, 2]
        assert len(table) == 2
        for found, wanted in zip(table.columns["image"], images, strict=True):
            np.testing.assert_array_equal(found, wanted.astype(np.uint8), strict=True)


def test_npz_arrays_are_named_and_labels_may_be_a_column_as_keras_has_them(npz) -> None:
    arrays = {
        "x_train": np.zeros((5, 3, 4), np.uint8),
        "y_train": np.zeros((5, 1), np.int64),
        "x_test": IMAGES,
        "y_test": np.array([[1], [0]]),
    }
    names = ["cat", "dog"]
    table = npz(arrays, images="x_test", labels="y_test", class_names=names)
    assert table.columns["label"] == ["dog", "cat"]
    np.testing.assert_array_equal(table.columns["image"][1], IMAGES[1])


def test_npz_labels_may_be_text(npz) -> None:
    table = npz({"images": IMAGES, "labels": np.array(["cat", "dog"])})
    assert table.columns["label"] == ["cat", "dog"]


def test_a_missing_array_lists_those_that_there_are(npz) -> None:
    with pytest.raises(RequestError, match=r"a\.npz: no array 'labels'; it has images, y$"):
        npz({"images": IMAGES, "y": np.zeros(2)})


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (IMAGES, np.zeros(3, int)),
        (IMAGES, np.eye(2, dtype=int)),  # one-hot
        (IMAGES, np.array(1)),
        (IMAGES[0], np.zeros(3, int)),
        (IMAGES[None, None], np.zeros(1, int)),
    ],
    ids=["fewer images", "one-hot labels", "one label", "one image", "five dimensions"],
)
def test_npz_arrays_of_another_shape_are_refused(npz, images, labels) -> None:
    with pytest.raises(RequestError) as caught:
        npz({"images": images, "labels": labels})
    assert str(caught.value) == (
        f"a.npz: 'images' has the shape {images.shape} and 'labels' {labels.shape}; "
        "wanted (images, height, width[, channels]) and (images,)"
    )


class Trap:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("place", ["images", "labels"])
def test_a_pickle_in_an_archive_is_refused_and_not_run(npz, tmp_path: Path, place: str) -> None:
    arrays = {"images": IMAGES, "labels": np.array([0, 1])}
    arrays[place] = np.array([Trap(tmp_path / "sprung"), None], object)
    with pytest.raises(RequestError, match=r"a\.npz: cannot be read as \.npz: .*allow_pickle"):
        npz(arrays)
    assert not (tmp_path / "sprung").exists()
    with np.load(tmp_path / "a.npz", allow_pickle=True) as archive:
        archive[place]
    assert (tmp_path / "sprung").exists()  # so the trap was a real one


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_what_is_no_archive_is_refused(npz, content: bytes) -> None:
    with pytest.raises(RequestError, match=r"a\.npz: cannot be read as \.npz"):
        npz(content)


def test_an_archive_without_images_holds_no_examples(npz) -> None:
    with pytest.raises(RequestError, match=r"a\.npz: holds no examples"):
        npz({"images": IMAGES[:0], "labels": np.zeros(0)})


@pytest.mark.parametrize("wrong", [2, -1, 0.5])
def test_a_label_without_a_class_name_is_refused(npz, wrong: float) -> None:
    with pytest.raises(RequestError, match=rf"label {wrong}, but there are 2 `class_names`"):
        npz({"images": IMAGES, "labels": np.array([0, wrong])}, class_names=["cat", "dog"])


# --- pixel-csv --------------------------------------------------------------------------------


@pytest.fixture
def pixels(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Write lines to a file and read it."""

    def run(content: str | bytes, **options: Any) -> Table:
        path = tmp_path / "a.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_table(path, "pixel-csv", options, "a.csv")

    return run


def images(table: Table) -> list[Any]:
    assert all(image.dtype == np.uint8 for image in table.columns["image"])
    return [image.tolist() for image in table.columns["image"]]


def test_a_line_is_an_image_row_by_row_and_its_label(pixels) -> None:
    table = pixels("0,1,2,255,7\n4,5,6,7,3\n")
    assert images(table) == [[[0, 1], [2, 255]], [[4, 5], [6, 7]]]
    assert table.columns["label"] == [7, 3]
    assert table.where(1) == "a.csv:2"


def test_the_label_may_stand_first_under_a_header(pixels) -> None:
    # as MNIST in CSV has it: label,1x1,1x2,...
    table = pixels("label,1x1,1x2,2x1,2x2\n7,0,1,2,3\n", label=0, header=True)
    assert images(table) == [[[0, 1], [2, 3]]]
    assert table.columns["label"] == [7]
    assert table.where(0) == "a.csv:2"


def test_the_highest_value_is_white(pixels) -> None:
    # 4/16 of 255 is 63.75, and 0.2 of it 51
    assert images(pixels("0,4,12,16,1\n", highest=16)) == [[[0, 64], [191, 255]]]
    assert images(pixels("0,0.2,0.6,1,1\n", highest=1)) == [[[0, 51], [153, 255]]]


def test_gzip_is_unpacked(pixels) -> None:
    assert images(pixels(gzip.compress(b"0,1,2,3,7\n"))) == [[[0, 1], [2, 3]]]


def test_the_width_is_said_where_an_image_is_not_square(pixels) -> None:
    line = "1,2,3,4,5,6,0\n"
    assert images(pixels(line, width=3)) == [[[1, 2, 3], [4, 5, 6]]]
    assert images(pixels(line, width=2)) == [[[1, 2], [3, 4], [5, 6]]]
    with pytest.raises(RequestError, match=r"a\.csv: 6 pixels are no square; say `width:`"):
        pixels(line)
    with pytest.raises(RequestError, match="6 pixels are no square"):
        pixels(line, width=4)


def test_labels_may_be_words_or_numbers_with_names(pixels) -> None:
    assert pixels("1,cat\n2,dog\n").columns["label"] == ["cat", "dog"]
    names = ["cat", "dog"]
    assert pixels("1,1\n2,0\n", class_names=names).columns["label"] == ["dog", "cat"]


@pytest.mark.parametrize("label", ["2", "-1", "0.5", "cat"])
def test_a_label_out_of_the_class_names_is_refused(pixels, label: str) -> None:
    with pytest.raises(RequestError, match=r"a\.csv: label .*, but there are 2 `class_names`"):
        pixels(f"1,0\n2,{label}\n", class_names=["cat", "dog"])


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("1,2,3,4,0\n1,2,3,0\n", {}, r"a\.csv:2: 4 fields, where line 1 has 5"),
        ("1,2,3,4,0\n1,2,3,4,5,0\n", {}, r"a\.csv:2: 6 fields, where line 1 has 5"),
        ("1,2,3,4,0\n", {"label": 5}, r"a\.csv: `label` is column 5, but there are 5"),
        ("1,2,3,4,0\n", {"label": -6}, r"a\.csv: `label` is column -6, but there are 5"),
        ("1,x,3,4,0\n", {}, r"a\.csv: a pixel is no number: .*'x'"),
        ("1,,3,4,0\n", {}, r"a\.csv: a pixel is no number: .*''"),
        ("-1,2,3,4,0\n", {}, r"a\.csv: pixels between -1 and 4; white is `highest: 255`"),
        ("1,2,3,17,0\n", {"highest": 16}, r"pixels between 1 and 17; white is `highest: 16`"),
        ("7\n", {}, r"a\.csv: 0 pixels are no square"),
        ("", {}, r"a\.csv: holds no examples"),
        ("label,pixel\n", {"header": True}, r"a\.csv: holds no examples"),
        ("1,2\n", {"label": "first"}, r"option 'label': .*integer.*'first'"),
        ("1,2\n", {"labels": 0}, "unknown option 'labels'.*did you mean 'label'"),
    ],
)
def test_unfit_lines_and_options_are_refused(pixels, content, options, message) -> None:
    with pytest.raises(RequestError, match=message):
        pixels(content, **options)


def test_scikit_learns_digits_are_read_as_scikit_learn_reads_them() -> None:
    import sklearn.datasets

    path = Path(sklearn.datasets.__file__).parent / "data" / "digits.csv.gz"
    table = read_table(path, "pixel-csv", {"highest": 16}, "digits.csv.gz")
    digits = sklearn.datasets.load_digits()
    expected = np.rint(digits.images * 255 / 16)
    np.testing.assert_array_equal(np.stack(table.columns["image"]), expected)
    assert table.columns["label"] == digits.target.tolist()


# --- parquet ----------------------------------------------------------------------------------


def test_parquet_in_the_hubs_layout_hands_over_bytes_and_names(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    Image.fromarray(IMAGES[0]).save(buffer, "PNG")
    image = {"bytes": buffer.getvalue(), "path": None}
    features = '{"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}'
    table = pa.table({"img": [image, image], "label": [1, 0]})
    pq.write_table(table.replace_schema_metadata({"huggingface": features}), tmp_path / "a.parquet")
    found = read_table(tmp_path / "a.parquet", None, {}, "a.parquet")
    assert found.columns == {"img": [image, image], "label": ["dog", "cat"]}


@pytest.mark.skipif(not CIFAR10.is_dir(), reason="the shared data is not here")
def test_cifar10_has_its_published_counts() -> None:
    table = read_table(CIFAR10 / "test-00000-of-00001.parquet", None, {}, "test")
    labels = table.column("label")
    assert len(table) == 10_000
    assert len(set(labels)) == 10 and {"airplane", "truck"} <= set(labels)
    assert {labels.count(label) for label in set(labels)} == {1000}
    assert set(table.column("img")[0]) == {"bytes", "path"}
