"""Every kind of image file becomes what it shows, or is refused with its name."""

import io

import numpy as np
import pytest
from PIL import Image

from lthjax.data import pixels

FRAMES = [Image.new("RGB", (2, 1), (100 * i, 0, 0)) for i in range(2)]
SEVERAL = {"save_all": True, "append_images": FRAMES[1:]}


def stored(image, form="PNG", **options):
    file = io.BytesIO()
    image.save(file, format=form, **options)
    return file.getvalue()


def grey(values, mode=None):
    return Image.fromarray(np.array([values]), mode)


def palette(**options):
    found = grey(np.array([0, 1], np.uint8))
    found = Image.frombytes("P", found.size, found.tobytes())
    found.putpalette([200, 200, 200, 50, 50, 50])
    return stored(found, **options)


def layers(*pairs):
    """An image of (grey, opacity) pairs."""
    return Image.fromarray(np.array([[(v, v, v, a) for v, a in pairs]], np.uint8))


PAIRS = layers((200, 0), (200, 255))
SHOWN = {
    "16 bits": (
        stored(grey(np.array([255, 51_200, 65_535], np.uint16))),
        [0, 200, 255],
    ),
    "1 bit": (stored(grey([True, False])), [255, 0]),
    "palette": (palette(), [200, 50]),
    "clear palette": (palette(transparency=0), [0, 50]),
    "RGBA": (stored(PAIRS), [0, 200]),
    "LA": (stored(PAIRS.convert("LA")), [0, 200]),
    "opaque": (stored(layers((7, 255), (8, 255))), [7, 8]),
    "half": (stored(layers((200, 51))), [40]),
    "key": (stored(PAIRS.convert("RGB"), transparency=(200,) * 3), [0, 0]),
    "CMYK": (stored(Image.new("CMYK", (1, 1)), "JPEG"), [255]),
    "WebP": (stored(layers((7, 255)).convert("RGB"), "WEBP", lossless=True), [7]),
    "BMP": (stored(grey(np.array([7, 8], np.uint8)), "BMP"), [7, 8]),
    "with previews": (stored(FRAMES[0], "MPO", **SEVERAL), [0, 0]),
}


@pytest.mark.parametrize("data, expected", SHOWN.values(), ids=SHOWN)
def test_an_image_becomes_the_8_bits_a_channel_that_it_shows(data, expected):
    one = np.asarray(pixels.image(data, "a.png", grey=True))
    colour = np.asarray(pixels.image(data, "a.png"))
    np.testing.assert_array_equal(one, [expected])
    np.testing.assert_array_equal(colour, np.stack([[expected]] * 3, -1))


def test_an_image_is_not_turned_by_what_the_camera_says():
    turned = Image.Exif()
    turned[0x0112] = 6
    data = stored(grey(np.array([7, 8], np.uint8)), exif=turned)
    assert pixels.decode(data, (1, 2, 1), "a.png").ravel().tolist() == [7, 8]


WHOLE = stored(Image.effect_noise((32, 32), 50))
REFUSED = {
    "TIFF": (stored(grey(np.array([0.5], np.float32)), "TIFF"), "got TIFF in x/a.png"),
    "APNG": (stored(FRAMES[0], **SEVERAL), "single picture, got 2 frames in x/a.png"),
    "GIF": (stored(FRAMES[0], "GIF", **SEVERAL), "got 2 frames in x/a.png"),
    "WebP": (stored(FRAMES[0], "WEBP", **SEVERAL), "got 2 frames in x/a.png"),
    "cut": (WHOLE[: len(WHOLE) // 2], "whole PNG or JPEG .* in x/a.png"),
    "empty": (b"", "whole PNG or JPEG .* in x/a.png"),
    "text": (b"no image", "whole PNG or JPEG .* in x/a.png"),
}


@pytest.mark.parametrize("data, message", REFUSED.values(), ids=REFUSED)
def test_what_shows_no_single_image_of_8_or_16_bits_is_refused(data, message):
    with pytest.raises(ValueError, match=message):
        pixels.image(data, "x/a.png")


def test_any_damage_is_named_or_leaves_an_image():
    rng = np.random.default_rng(0)
    for at, bit in zip(rng.integers(len(WHOLE), size=60), range(60), strict=True):
        data = bytearray(WHOLE)
        data[at] ^= 1 << bit % 8
        try:
            assert pixels.image(bytes(data), "x/a.png").size
        except ValueError as error:
            assert "x/a.png" in str(error)
