import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax.data import augment, in_memory

PADDING = 2
IMAGES = np.random.default_rng(0).integers(1, 256, (64, 6, 5, 3), dtype=np.uint8)


def windows(image):
    """Every window of the padded image, by its corner."""
    h, w, _ = image.shape
    padded = np.pad(image, ((PADDING, PADDING), (PADDING, PADDING), (0, 0)))
    places = np.ndindex(2 * PADDING + 1, 2 * PADDING + 1)
    return {(i, j): padded[i : i + h, j : j + w] for i, j in places}


def corners(cropped):
    """The corner each image was cropped at: no pixel of IMAGES is 0, so it shows."""
    found = []
    for image, result in zip(IMAGES, cropped, strict=True):
        found += [at for at, w in windows(image).items() if np.array_equal(w, result)]
    return found


def test_normalising_gives_every_channel_mean_0_and_deviation_1():
    source = in_memory.load("digits")
    x = augment.normalise(source.train.images, source.mean, source.std)
    assert x.dtype == jnp.float32
    # `mean` and `std` are given to four digits, and std is above 1/4.
    assert abs(float(x.mean())) < 4e-4
    assert abs(float(x.std()) - 1) < 4e-4


def test_normalising_uses_the_moments_of_its_own_channel():
    mean, std = (0.1, 0.2, 0.3), (1.0, 2.0, 4.0)
    expected = (IMAGES / 255 - np.asarray(mean)) / np.asarray(std)
    np.testing.assert_allclose(
        augment.normalise(IMAGES, mean, std), expected, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("mean, std", [((0.5,) * 3, (1.0,) * 3), ((0.5,), (1.0,) * 3)])
def test_moments_of_other_channels_than_the_images_have_are_refused(mean, std):
    words = rf"one number for each channel .* got {len(mean)} and 3 for \[64, 6, 5, 1\]"
    with pytest.raises(ValueError, match=words):
        augment.normalise(IMAGES[..., :1], mean, std)


@pytest.mark.parametrize(
    "function", [augment.flip, functools.partial(augment.crop, padding=PADDING)]
)
def test_images_without_an_axis_of_channels_are_neither_cropped_nor_flipped(function):
    with pytest.raises(ValueError, match=r"\[n, h, w, c\], got \[64, 6, 5\]; give"):
        function(jax.random.key(0), IMAGES[..., 0])


def test_a_crop_is_one_window_of_the_padded_image_and_keeps_its_dtype():
    cropped = augment.crop(jax.random.key(0), IMAGES, PADDING)
    assert cropped.dtype == jnp.uint8
    assert len(corners(np.asarray(cropped))) == len(IMAGES)


def test_every_place_of_a_crop_is_equally_likely():
    keys = jax.random.split(jax.random.key(1), 32)
    cropped = jax.jit(jax.vmap(augment.crop, (0, None, None)), static_argnums=2)
    at = [
        c
        for batch in np.asarray(cropped(keys, IMAGES, PADDING))
        for c in corners(batch)
    ]
    counts = np.unique(np.asarray(at), axis=0, return_counts=True)[1]
    places, expected = (2 * PADDING + 1) ** 2, len(at) / (2 * PADDING + 1) ** 2
    assert len(counts) == places
    # Five standard deviations of a binomial count.
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)


def test_a_flip_mirrors_the_width_of_about_half_of_the_images():
    flipped = np.asarray(augment.flip(jax.random.key(2), IMAGES))
    same = (flipped == IMAGES).all((1, 2, 3))
    mirrored = (flipped == IMAGES[:, :, ::-1]).all((1, 2, 3))
    assert (same ^ mirrored).all()
    # Five standard deviations of 64 fair coins are 20.
    assert abs(mirrored.sum() - len(IMAGES) / 2) < 20


def test_augmentation_that_is_off_is_the_identity():
    np.testing.assert_array_equal(augment.augment(jax.random.key(0), IMAGES), IMAGES)


@pytest.mark.parametrize("options", [{"padding": PADDING}, {"flip": True}])
def test_each_augmentation_is_asked_for_by_its_own_option(options):
    out = np.asarray(augment.augment(jax.random.key(0), IMAGES, **options))
    assert (out == 0).any() == ("padding" in options)
    assert (out != IMAGES).any()


def test_a_population_is_augmented_as_its_members_are_alone():
    def one(key):
        return augment.augment(key, IMAGES, padding=PADDING, flip=True)

    keys = jax.random.split(jax.random.key(3), 3)
    alone = jnp.stack(list(map(jax.jit(one), keys)))
    np.testing.assert_array_equal(jax.jit(jax.vmap(one))(keys), alone)
    assert (alone[0] != alone[1]).any()


def test_windows_by_products_are_the_windows_bit_for_bit():
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.integers(0, 256, (7, 11, 9, 3), np.uint8))
    places = jnp.asarray(rng.integers(0, 4, (7, 2)))
    given = images, places, (8, 6)
    expected = augment.windows(*given)
    found = jax.jit(augment.windows_by_products, static_argnums=2)(*given)
    assert found.dtype == jnp.uint8 and found.shape == (7, 8, 6, 3)
    np.testing.assert_array_equal(found, expected)


def test_a_crop_for_a_tpu_has_no_gather_and_no_loop():
    crop = jax.jit(lambda key, images: augment.crop(key, images, 4))
    key = jax.random.key(0)
    texts = [
        jax.export.export(crop, platforms=[name])(key, IMAGES).mlir_module()
        for name in ("tpu", "cpu")
    ]
    gathers = [text.count("stablehlo.gather") for text in texts]
    assert gathers[0] == 0 < gathers[1]
