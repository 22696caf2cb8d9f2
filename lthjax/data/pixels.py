"""The bytes of an image file become pixels, or are refused by the file's name."""

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # else where it is used: data sets in memory need none
    from PIL import Image

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "GIF")  # MPO: a JPEG and previews
_GREY = ("1", "L", "LA", "La", "I", "I;16")  # modes without colour
_DEEP = "I;16"  # grey of 16 bits
_CLEAR = ("LA", "PA", "RGBA", "La", "RGBa")  # modes with transparency


def image(data: bytes, where, *, grey: bool = False) -> "Image.Image":
    """Returns the image in the bytes of a file, in RGB or in grey, 8 bits a channel.

    Of 16 bits the upper 8 are taken; palettes, one bit and CMYK become RGB; what is
    transparent lies on black. Of a JPEG with previews (MPO) it is the first image. It
    is not turned by what EXIF says of the camera, as PyTorch and TFDS do not turn it.

    Raises:
      ValueError: It is none, damaged, of another format, of more bits than can be told
        from white, or of several frames; `where`, the place it lies, is named.
    """
    from PIL import Image

    try:
        found = Image.open(io.BytesIO(data))
        if found.format in FORMATS:
            found.load()
    except Exception as error:  # Pillow raises nearly every kind
        raise _damaged(where, error) from error
    _check(found, where)
    return _plain(found).convert("L" if grey else "RGB")


def head(data: bytes, where) -> tuple[bool, tuple[int, int]]:
    """Returns whether an image is grey, and its (width, height), reading its head only.

    Raises:
      ValueError: As `image`, as far as the head tells.
    """
    from PIL import Image

    try:
        found = Image.open(io.BytesIO(data))
    except Exception as error:  # Pillow raises nearly every kind
        raise _damaged(where, error) from error
    _check(found, where)
    return found.mode in _GREY, found.size


def _damaged(where, error):
    if type(error).__name__ == "UnidentifiedImageError":  # it names an object
        error = "its bytes are of no image"
    return ValueError(
        "an image must be a whole PNG or JPEG file (WebP and BMP will do), got a "
        f"damaged one in {where} ({error})"
    )


def _check(found, where):
    if found.format not in FORMATS:
        raise ValueError(
            f"an image must be a PNG, JPEG, WebP or BMP file, got {found.format} in "
            f"{where}; convert it"
        )
    frames = 1 if found.format == "MPO" else getattr(found, "n_frames", 1)
    if frames > 1:
        raise ValueError(
            f"an image must be a single picture, got {frames} frames in {where}; save "
            "one of them"
        )
    deep = found.mode[0] in "IF" and not _is_deep(found)
    if deep or min(found.size) < 1:
        raise ValueError(
            f"an image must have pixels of 8 or 16 bits, got mode {found.mode!r} and "
            f"{found.size[0]} x {found.size[1]} pixels in {where}; convert it"
        )


def _is_deep(found):
    """Says whether it is a PNG of 16 bits, whose white is 65,535 whatever it holds."""
    return found.format == "PNG" and found.mode in (_DEEP, "I")


def _plain(found):
    """Returns an image of 8 bits a channel, nothing of it transparent."""
    from PIL import Image

    if _is_deep(found):
        return Image.fromarray((np.asarray(found) >> 8).astype(np.uint8))
    if found.mode not in _CLEAR and "transparency" not in found.info:
        return found
    clear = found.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", clear.size, (0, 0, 0, 255)), clear)


def decode(data: bytes, shape: tuple[int, int, int], where) -> np.ndarray:
    """Returns the pixels of an image file, uint8 [h, w, c].

    Raises:
      ValueError: As `image`, or its size is another.
    """
    h, w, c = shape
    found = image(data, where, grey=c == 1)
    if found.size != (w, h):
        raise ValueError(
            f"images must be of {w} x {h} pixels, got {found.size} in {where}"
        )
    return np.asarray(found).reshape(shape)
