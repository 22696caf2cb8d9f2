import io
import math

import numpy as np
import pytest
from PIL import Image

from lthjax.data import photographs
from lthjax.data.photographs import AREA, RATIO

SIZES = ((500, 375), (375, 500), (64, 64), (300, 40), (7, 300))


def photograph(width, height):
    """The bytes of a photograph whose red says the column, its green the row."""
    columns = np.linspace(0, 255, width, dtype=np.uint8)[None, :]
    rows = np.linspace(0, 255, height, dtype=np.uint8)[:, None]
    blank = np.zeros((height, width), np.uint8)
    file = io.BytesIO()
    pixels = np.stack([blank + columns, blank + rows, blank], -1)
    Image.fromarray(pixels).save(file, format="png")
    return file.getvalue()


@pytest.mark.parametrize("width, height", SIZES)
def test_a_window_lies_in_its_photograph_and_is_neither_small_nor_narrow(width, height):
    possible = RATIO[0] <= width / height <= RATIO[1]
    rounded = 0.5 * (1 / width + 1 / height)  # by which rounding changes a ratio
    for seed in range(200):
        rng = np.random.default_rng(seed)
        left, upper, right, lower = photographs.window(rng, width, height)
        assert 0 <= left < right <= width and 0 <= upper < lower <= height
        w, h = right - left, lower - upper
        spare = 0.5 * (1 / w + 1 / h) + rounded
        assert RATIO[0] * (1 - 2 * spare) <= w / h <= RATIO[1] * (1 + 2 * spare)
        if possible:
            assert w * h >= AREA[0] * width * height * (1 - 2 * spare)


def test_windows_take_areas_and_places_evenly():
    drawn = [
        photographs.window(np.random.default_rng(seed), 400, 400)
        for seed in range(2000)
    ]
    left, upper, right, lower = np.array(drawn).T
    centres = (left + right) / 2, (upper + lower) / 2
    # The spread of a mean of 2,000 numbers below 400 is at most 400 / sqrt(12 * 2000).
    for centre in centres:
        assert abs(centre.mean() - 200) < 4 * 400 / math.sqrt(12 * 2000)
    ratios = np.log((right - left) / (lower - upper))
    assert abs(ratios.mean()) < 4 * math.log(RATIO[1]) / math.sqrt(2000)
    assert np.quantile(np.abs(ratios), 0.9) > 0.5 * math.log(RATIO[1])


def test_what_no_window_fits_gives_the_largest_middle():
    rng = np.random.default_rng(0)
    left, upper, right, lower = photographs.window(rng, 10_000, 30)
    assert (right - left, lower - upper) == (40, 30)  # 4 to 3
    assert (left + right, upper + lower) == (10_000, 30)


def test_a_crop_is_a_function_of_its_draw_alone():
    data = photograph(90, 60)

    def square(*draw):
        return photographs.square(data, "here", draw, size=16, flip=True)

    first = square(1, 2, 0, 0)
    assert first.shape == (16, 16, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, square(1, 2, 0, 0))
    for other in ((1, 2, 1, 0), (1, 2, 0, 1), (1, 3, 0, 0)):
        assert not np.array_equal(first, square(*other))


def test_one_in_two_is_mirrored_and_the_rest_as_without():
    data, mirrored = photograph(60, 60), 0
    for seed in range(64):
        plain, flipped = (
            photographs.square(data, "here", (seed,), size=8, flip=flip)
            for flip in (False, True)
        )
        turned = not np.array_equal(plain, flipped)
        np.testing.assert_array_equal(plain[:, ::-1] if turned else plain, flipped)
        mirrored += turned
    assert abs(mirrored - 32) <= 4 * 4  # four times sqrt(64 / 4)


@pytest.mark.parametrize("width, height", [(96, 64), (64, 80)])
def test_the_middle_is_cut_from_the_resized_photograph(width, height):
    data = photograph(width, height)
    found = photographs.square(data, "here", None, size=56, flip=True)
    # 56 * 256 / 224 = 64 is the shorter side already: nothing is resized.
    whole = np.asarray(Image.open(io.BytesIO(data)))
    top, left = (height - 56) // 2, (width - 56) // 2
    np.testing.assert_array_equal(found, whole[top : top + 56, left : left + 56])
    half = photographs.square(data, "here", None, size=28, flip=True)
    assert half.shape == (28, 28, 3)
    assert abs(half[..., :2].mean() - found[..., :2].mean()) < 2


def test_what_is_no_image_is_refused_with_its_place():
    with pytest.raises(ValueError, match="whole PNG or JPEG.*there.JPEG"):
        photographs.square(b"no image", "there.JPEG", None, size=8, flip=False)
