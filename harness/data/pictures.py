"""Pictures as data files hand them over: bytes of an image file, a path, or an array of pixels.

A `Picture` is decoded when it is asked for, so that a draw of a large data set opens only what it
uses. Whatever it was (grey, palette, RGBA, 16 bits), it comes out as RGB with 8 bits a channel.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import RequestError

#: EXIF's tag, and what puts each orientation upright (numbers of PIL's `Image.Transpose`)
_ORIENTATION = 0x0112
_UPRIGHT: dict[int, Any] = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}


#: What is decoded: the formats that data sets come in. PIL knows forty more, among them PostScript,
#: for which it calls another program.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


@dataclass(frozen=True)
class Picture:
    """``content``: an image file's bytes or path, or pixels as (height, width[, channels]) uint8.

    ``where`` names it in messages.
    """

    content: bytes | Path | np.ndarray
    where: str

    def rgb(self) -> np.ndarray:
        """(height, width, 3) uint8; `RequestError` where it cannot be decoded.

        A transparent picture is laid on white, as browsers do.
        """
        if isinstance(self.content, np.ndarray):
            return _three_channels(self.content, self.where)
        # those two readers PIL would look for only after the five it has loaded
        from PIL import Image, TiffImagePlugin, WebPImagePlugin  # noqa: F401

        source = self.content if isinstance(self.content, Path) else io.BytesIO(self.content)
        try:
            with Image.open(source, formats=FORMATS) as opened:
                opened.load()
                turned = _UPRIGHT.get(opened.getexif().get(_ORIENTATION, 1))
                upright = opened if turned is None else opened.transpose(turned)
                if upright.mode.startswith(("I", "F")):  # PIL would cut 16 bits off at 255
                    wide = np.asarray(upright)
                    sixteen = upright.mode.startswith("I")  # PIL may hold 16 bits in 32
                    wide = wide.astype(np.uint16) if sixteen and wide.max() < 65536 else wide
                    return _three_channels(scaled(wide), self.where)
                if upright.has_transparency_data:
                    layer = upright.convert("RGBA")
                    white = Image.new("RGBA", layer.size, "white")
                    upright = Image.alpha_composite(white, layer)
                return np.asarray(upright.convert("RGB"))
        except RequestError:
            raise
        except Exception as error:  # PIL's readers raise anything on damaged files
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise RequestError(f"{self.where}: cannot be read as an image: {reason}") from None

    def digest(self) -> str:
        """SHA-256 of the content as it came, not decoded."""
        if isinstance(self.content, np.ndarray):
            shape = repr(self.content.shape).encode()
            return hashlib.sha256(shape + np.ascontiguousarray(self.content).tobytes()).hexdigest()
        if isinstance(self.content, Path):
            try:
                with open(self.content, "rb") as file:
                    return hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise RequestError(f"{self.where}: cannot be read: {error.strerror}") from None
        return hashlib.sha256(self.content).hexdigest()


def picture(value: Any, where: str) -> Picture:
    """A picture of a table's value: bytes, a path, pixels, or the hub's ``{bytes, path}``.

    The hub's ``path`` alone is refused: a data file must not choose which files of this machine are
    read. (A `Path` comes from a reader that listed a folder itself.)
    """
    if isinstance(value, dict):
        if not value.get("bytes") and value.get("path"):
            raise RequestError(
                f"{where}: names the file {value['path']!r} instead of holding the image; files "
                "that a data file names are not opened. Store the bytes, or use an image folder"
            )
        value = value.get("bytes")
    if isinstance(value, list):
        try:
            value = np.asarray(value)
        except ValueError:
            raise RequestError(f"{where}: rows of pixels of different length") from None
    if isinstance(value, np.ndarray):
        if value.ndim not in (2, 3) or 0 in value.shape:
            raise RequestError(
                f"{where}: pixels of shape {value.shape}; wanted (height, width[, channels])"
            )
        try:
            return Picture(value if value.dtype == np.uint8 else scaled(value), where)
        except ValueError as error:
            raise RequestError(f"{where}: {error}") from None
    if isinstance(value, bytes | Path) and value:
        return Picture(value, where)
    raise RequestError(f"{where}: holds {type(value).__name__}, not an image")


def _three_channels(pixels: np.ndarray, where: str) -> np.ndarray:
    """Grey, grey with alpha, RGB or RGBA pixels as RGB, alpha laid on white."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    channels = pixels.shape[-1]
    if channels not in (1, 2, 3, 4):
        raise RequestError(f"{where}: {channels} channels; wanted 1 (grey), 3 (RGB) or 4 (RGBA)")
    if channels in (2, 4):
        alpha = pixels[..., -1:].astype(np.float32) / 255
        colours = pixels[..., :-1] * alpha + 255 * (1 - alpha)
        pixels = np.rint(colours).astype(np.uint8)
    return np.repeat(pixels, 3, -1) if pixels.shape[-1] == 1 else pixels


def scaled(pixels: np.ndarray) -> np.ndarray:
    """Pixels of another type as 8 bits; ``ValueError`` where they cannot be pixels.

    The type decides: truth values are black and white, 16-bit integers fill their range. Floats lie
    in 0..1 or in 0..255, which the largest of *all* given decides; other integers in 0..255.
    """
    values: np.ndarray = pixels.astype(np.float32)
    if not np.isfinite(values).all() or values.min(initial=0) < 0:
        raise ValueError("pixels below 0, or not finite")
    kind = pixels.dtype
    if kind.kind == "b" or (kind.kind == "f" and values.max(initial=0) <= 1):
        values = values * 255
    elif kind == np.uint16 or values.max(initial=0) > 255:
        values = values / 257  # 65535 / 255
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
