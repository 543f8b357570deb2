"""Pictures of every kind in data files come out as RGB with 8 bits, or are refused by name."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.data.pictures import Picture, picture
from harness.errors import RequestError

#: 2 high, 3 wide; every byte differs, so that no flip or swap passes unseen
PIXELS = np.arange(10, 190, 10, dtype=np.uint8).reshape(2, 3, 3)
GREY = np.array([[0, 100, 255], [7, 8, 9]], np.uint8)


def packed(image: Image.Image | np.ndarray, format: str = "PNG", **options: Any) -> bytes:
    """The bytes of an image file."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def rgb(value: Any) -> np.ndarray:
    pixels = picture(value, "here").rgb()
    assert pixels.dtype == np.uint8 and pixels.shape[2:] == (3,)
    return pixels


def grey(value: Any) -> list[list[int]]:
    """The one channel that all three are."""
    pixels = rgb(value)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0].tolist()


# --- where it comes from ----------------------------------------------------------------------


def test_bytes_paths_arrays_and_lists_of_one_image_are_the_same_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(packed(PIXELS))
    for value in (packed(PIXELS), path, PIXELS, PIXELS.tolist()):
        np.testing.assert_array_equal(rgb(value), PIXELS, strict=True)


@pytest.mark.parametrize("format", ["BMP", "GIF", "PPM", "TIFF", "WEBP"])
def test_other_formats_are_decoded_too(format: str) -> None:
    options = {"lossless": True} if format == "WEBP" else {}
    np.testing.assert_array_equal(rgb(packed(PIXELS, format, **options)), PIXELS)


def test_a_jpeg_is_its_colours_but_for_what_compression_loses() -> None:
    flat = np.full((16, 16, 3), (200, 30, 60), np.uint8)
    # chroma is rounded to 8 bits, which the way back to RGB magnifies by less than 2
    np.testing.assert_allclose(rgb(packed(flat, "JPEG")).astype(int), flat, atol=2)


def test_the_hubs_dicts_hold_bytes_and_a_path_is_no_order_to_open_it(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(packed(PIXELS))
    both = {"bytes": packed(PIXELS), "path": "of/their/disk.png"}
    for value in ({"bytes": None, "path": str(path)}, {"path": str(path)}):
        with pytest.raises(RequestError, match="not opened"):
            picture(value, "here")
    for value in (both,):
        np.testing.assert_array_equal(rgb(value), PIXELS)


def test_nothing_is_opened_before_it_is_asked_for(tmp_path: Path) -> None:
    later = picture(tmp_path / "a.png", "a.png")
    with pytest.raises(RequestError, match=r"^a\.png: cannot be read as an image: .*No such file"):
        later.rgb()
    (tmp_path / "a.png").write_bytes(packed(PIXELS))
    np.testing.assert_array_equal(later.rgb(), PIXELS)


# --- what it holds ----------------------------------------------------------------------------


def test_grey_becomes_three_equal_channels() -> None:
    for value in (packed(GREY), GREY, GREY[..., None]):
        assert grey(value) == GREY.tolist()


def test_one_bit_is_black_and_white() -> None:
    assert grey(packed(Image.fromarray(GREY > 50))) == [[0, 255, 255], [0, 0, 0]]


def test_a_palette_is_looked_up() -> None:
    image = Image.frombytes("P", (3, 2), bytes([0, 1, 2, 2, 1, 0]))
    image.putpalette([255, 0, 0, 0, 128, 0, 1, 2, 3])
    red, green, dark, white = [255, 0, 0], [0, 128, 0], [1, 2, 3], [255, 255, 255]
    assert rgb(packed(image)).tolist() == [[red, green, dark], [dark, green, red]]
    clear = packed(image, transparency=1)  # the second colour is none
    assert rgb(clear).tolist() == [[red, white, dark], [dark, white, red]]


def test_transparency_is_laid_on_white() -> None:
    # 128/255 of the colour and 127/255 of white: 100 * 128/255 + 127 = 177.2
    pixels = np.array([[[100, 0, 255, 255], [100, 0, 255, 0], [100, 0, 255, 128]]], np.uint8)
    expected = [[[100, 0, 255], [255, 255, 255], [177, 127, 255]]]
    assert rgb(packed(pixels)).tolist() == expected
    assert rgb(pixels).tolist() == expected


def test_grey_with_alpha_is_laid_on_white() -> None:
    pixels = np.array([[[100, 255], [100, 0], [100, 128]]], np.uint8)
    for value in (packed(Image.fromarray(pixels, "LA")), pixels):
        assert grey(value) == [[100, 255, 177]]


def test_sixteen_bits_are_scaled_by_257_and_not_cut_off() -> None:
    deep = np.array([[0, 257, 25700], [32896, 65278, 65535]], np.uint16)
    expected = [[0, 1, 100], [128, 254, 255]]
    assert Image.open(io.BytesIO(packed(deep))).mode.startswith("I")
    for value in (packed(deep), packed(deep, "TIFF"), deep, deep.astype(np.int64)):
        assert grey(value) == expected


def test_floats_up_to_1_are_shares_and_numbers_up_to_255_are_bytes() -> None:
    assert grey(np.array([[0.0, 0.2, 0.6, 1.0]])) == [[0, 51, 153, 255]]
    assert grey([[0.0, 0.2, 0.6, 1.0]]) == [[0, 51, 153, 255]]
    assert grey(np.array([[0.0, 1.0, 99.6, 255.0]], np.float32)) == [[0, 1, 100, 255]]
    assert grey(np.array([[0, 1, 2, 255]], np.int32)) == [[0, 1, 2, 255]]
    assert grey(np.array([[0, 1, 1, 0]])) == [[0, 1, 1, 0]]  # integers are never shares


def test_cmyk_is_turned_to_rgb() -> None:
    assert grey(packed(Image.new("CMYK", (2, 1), (0, 0, 0, 0)), "JPEG")) == [[255, 255]]


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, PIXELS),
        (2, PIXELS[:, ::-1]),
        (3, PIXELS[::-1, ::-1]),
        (4, PIXELS[::-1]),
        (5, PIXELS.transpose(1, 0, 2)),
        (6, np.rot90(PIXELS, -1)),  # a phone held upright: turned by 90 degrees, clockwise
        (7, PIXELS[::-1, ::-1].transpose(1, 0, 2)),
        (8, np.rot90(PIXELS)),
    ],
)
def test_a_camera_held_askew_is_set_upright(orientation: int, upright: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(rgb(packed(PIXELS, exif=exif)), upright)


# --- what is refused --------------------------------------------------------------------------


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def chunk(kind: bytes, content: bytes) -> bytes:
    """A part of a PNG."""
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def huge() -> bytes:
    """A PNG that says it is 20,000 x 20,000: more than PIL takes for an honest picture."""
    head = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b""))


def broken_inside() -> bytes:
    """A PNG with something else in the middle of its pixels."""
    head = struct.pack(">IIBBBBB", 40, 40, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in NOISE))
    parts = chunk(b"IDAT", rows[:2000]) + chunk(b"\0\0\0\0", rows[2000:])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + parts + chunk(b"IEND", b"")


NOISE = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no image at all", "cannot identify image"),
        (b"\x89PNG", "cannot identify image"),
        (half(packed(NOISE)), "truncated"),
        (half(packed(NOISE, "JPEG")), "truncated"),
        (broken_inside(), "broken PNG file"),
        (huge(), "decompression bomb"),
    ],
    ids=["text", "a signature", "half a png", "half a jpeg", "a broken chunk", "a bomb"],
)
def test_a_damaged_image_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    for value in (content, path, {"bytes": content, "path": "x.png"}):
        found = picture(value, "pets.parquet (row 7)")
        with pytest.raises(RequestError) as caught:
            found.rgb()
        message = str(caught.value)
        assert message.startswith("pets.parquet (row 7): cannot be read as an image: ")
        assert reason in message and "\n" not in message


def test_a_bad_checksum_is_damage() -> None:
    content = bytearray(packed(NOISE))
    content[len(content) // 2] ^= 1  # one bit, amid the pixels
    with pytest.raises(RequestError, match="cannot be read as an image"):
        picture(bytes(content), "here").rgb()


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "NoneType"),
        (3, "int"),
        ("cat.png", "str"),
        (b"", "bytes"),
        ({}, "NoneType"),
        ({"bytes": None, "path": None}, "NoneType"),
    ],
)
def test_what_is_no_image_is_refused_with_its_place(value: Any, kind: str) -> None:
    with pytest.raises(RequestError, match=rf"^a\.csv:3: holds {kind}, not an image$"):
        picture(value, "a.csv:3")


@pytest.mark.parametrize("shape", [(), (4,), (1, 2, 2, 3), (0, 4), (4, 0, 3), (2, 2, 0)])
def test_arrays_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(RequestError, match=r"^row 3: pixels of shape .*wanted \(height, width"):
        picture(np.zeros(shape, np.uint8), "row 3")


def test_five_channels_are_too_many() -> None:
    with pytest.raises(RequestError, match=r"^row 3: 5 channels; wanted 1 \(grey\), 3 \(RGB\)"):
        picture(np.zeros((2, 2, 5), np.uint8), "row 3").rgb()


@pytest.mark.parametrize("wrong", [-1, -0.5, np.nan, np.inf])
def test_pixels_below_0_or_not_finite_are_refused(wrong: float) -> None:
    for pixels in (np.array([[0, wrong]]), [[0, wrong]]):
        with pytest.raises(RequestError, match=r"^row 3: pixels below 0, or not finite$"):
            picture(pixels, "row 3")


# --- digests ----------------------------------------------------------------------------------


def test_a_digest_is_of_the_bytes_wherever_they_lie(tmp_path: Path) -> None:
    content = packed(PIXELS)
    (tmp_path / "a.png").write_bytes(content)
    digests = {
        picture(value, where).digest()
        for where, value in enumerate(
            (content, tmp_path / "a.png", {"bytes": content, "path": "b.png"})
        )
    }
    assert digests == {hashlib.sha256(content).hexdigest()}


def test_equal_arrays_have_equal_digests_and_other_shapes_others() -> None:
    first = picture(PIXELS, "a").digest()
    assert picture(PIXELS.copy(), "b").digest() == first
    assert picture(PIXELS[::-1][::-1], "c").digest() == first
    assert picture(PIXELS.astype(np.int64), "d").digest() == first
    assert picture(PIXELS[::-1], "e").digest() != first
    assert picture(PIXELS.reshape(3, 2, 3), "f").digest() != first


def test_a_digest_needs_no_decoding() -> None:
    broken = Picture(b"no image at all", "here")
    assert broken.digest() == hashlib.sha256(b"no image at all").hexdigest()
