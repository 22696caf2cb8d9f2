"""Batches are mixed and cut out of as a whole, by keys, whoever holds which rows."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from lthjax.data import augmentations
from lthjax.data.augmentations import cutout, mixup
from lthjax.devices import meshes
from lthjax.training import losses

KEY = jax.random.key(0)
N, CLASSES = 8, 3
RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.uniform(1, 2, (N, 7, 6, 2)), jnp.float32)
LABELS = jnp.asarray(RNG.integers(0, CLASSES, N), jnp.int32)
BATCH = IMAGES, LABELS


def share_of(mixed):
    """Returns by how much each number was taken of its own example."""
    other = np.roll(IMAGES, 1, axis=0)
    return (np.asarray(mixed) - other) / (np.asarray(IMAGES) - other)


def test_mixup_of_classes_wants_their_number():
    with pytest.raises(ValueError, match="num_classes must be given"):
        mixup(KEY, BATCH)


def test_mixup_is_linear_in_images_and_in_labels():
    images, labels = mixup(KEY, BATCH, num_classes=CLASSES)
    share = float(np.median(share_of(images)))
    assert 0 < share < 1
    np.testing.assert_allclose(share_of(images), share, rtol=1e-3, atol=1e-4)
    whole = np.eye(CLASSES)[np.asarray(LABELS)]
    expected = share * whole + (1 - share) * np.roll(whole, 1, axis=0)
    np.testing.assert_allclose(labels, expected, atol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_of_mixed_labels_is_the_mixture_of_losses(smoothing):
    logits = jax.random.normal(KEY, (N, CLASSES))
    images, labels = mixup(KEY, BATCH, num_classes=CLASSES)
    share = float(np.median(share_of(images)))
    loss = functools.partial(losses.smoothed, logits, smoothing=smoothing)
    expected = share * loss(LABELS) + (1 - share) * loss(jnp.roll(LABELS, 1))
    np.testing.assert_allclose(loss(labels), expected, rtol=1e-5)
    np.testing.assert_allclose(
        losses.cross_entropy(logits, labels),
        optax.softmax_cross_entropy(logits, labels),
    )


@pytest.mark.parametrize("label", [-1, CLASSES])
def test_what_is_mixed_with_no_class_has_no_loss(label):
    _, labels = mixup(KEY, (IMAGES, LABELS.at[2].set(label)), num_classes=CLASSES)
    lost = np.isnan(losses.cross_entropy(jnp.zeros((N, CLASSES)), labels))
    assert np.flatnonzero(lost).tolist() == [2, 3]


def test_mixed_classes_are_of_32_bits_under_64_too():
    with jax.enable_x64(True):
        assert mixup(KEY, BATCH, num_classes=CLASSES)[1].dtype == jnp.float32


def test_targets_are_mixed_as_they_are():
    targets = jnp.asarray(RNG.standard_normal((N, 2)), jnp.float32)
    images, mixed = mixup(KEY, (IMAGES, targets))
    share = float(np.median(share_of(images)))
    expected = share * targets + (1 - share) * jnp.roll(targets, 1, axis=0)
    np.testing.assert_allclose(mixed, expected, rtol=1e-4, atol=1e-5)


def test_the_share_of_a_mixture_is_of_a_beta_distribution():
    def share(key, alpha):
        one = jnp.asarray([[0.0], [1.0]]), jnp.asarray([0, 1])
        return mixup(key, one, num_classes=2, alpha=alpha)[1][0, 0]

    keys = jax.random.split(KEY, 4_000)
    for alpha in (1.0, 0.3):
        found = jax.jit(jax.vmap(functools.partial(share, alpha=alpha)))(keys)
        variance = 1 / (4 * (2 * alpha + 1))
        # Five standard errors of a mean, and of a variance of numbers in [0, 1].
        assert abs(found.mean() - 0.5) < 5 * (variance / len(keys)) ** 0.5
        assert abs(found.var() - variance) < 5 * 0.25 / len(keys) ** 0.5


@pytest.mark.parametrize("side", [3, 4])
def test_a_square_is_cut_out_around_any_pixel(side):
    cut = jax.jit(jax.vmap(functools.partial(cutout, side=side), (0, None)))
    images, labels = cut(jax.random.split(KEY, 200), BATCH)
    np.testing.assert_array_equal(labels[0], LABELS)
    holes = np.asarray(images == 0)
    np.testing.assert_array_equal(images, np.where(holes, 0, IMAGES[None]))
    assert (holes.all(-1) == holes.any(-1)).all()
    holes, centres = holes[..., 0].reshape(-1, 7, 6), set()
    for hole in holes:
        rows, columns = (np.flatnonzero(hole.any(axis)) for axis in (1, 0))
        assert hole[np.ix_(rows, columns)].all()
        spans = []
        for found, length in ((rows, 7), (columns, 6)):
            inner = found[0] > 0 and found[-1] < length - 1
            assert len(found) == side if inner else len(found) <= side
            assert (np.diff(found) == 1).all()
            spans.append((found[0], found[-1]))
        centres.add(tuple(spans))
    # 1,600 draws of 42 places: all of them are there.
    assert len(centres) == 42


def test_half_of_the_shorter_side_is_cut_out_where_nothing_is_said():
    images, _ = cutout(KEY, (jnp.ones((64, 8, 10, 1)), LABELS))
    counts = np.asarray(images == 0).sum((1, 2, 3))
    assert counts.max() == 16 and counts.min() >= 4


def twice(key, batch, factor=2.0, num_classes=0):
    images, labels = batch
    return images * factor, labels + num_classes


def test_several_are_done_in_turn_each_with_its_own_options_and_key():
    name = f"{__name__}:twice"
    options = {"factor": 3.0, "side": 2}
    functions = augmentations.chain(f"cutout+{name}", options, 5)
    images, labels = augmentations.applied(functions)(KEY, BATCH)
    alone, _ = cutout(jax.random.fold_in(KEY, 2), BATCH, side=2)
    np.testing.assert_array_equal(images, 3 * alone)
    np.testing.assert_array_equal(labels, LABELS + 5)
    assert augmentations.applied(())(KEY, BATCH) is BATCH


def test_keys_are_none_that_crop_and_flip_have():
    three = [jax.random.key_data(jax.random.fold_in(KEY, i)) for i in range(3)]
    taken = [jax.random.key_data(key) for key in jax.random.split(KEY)]
    used = jax.random.key_data(jax.random.fold_in(KEY, augmentations.FIRST))
    assert not any((used == key).all() for key in taken)
    assert len({tuple(np.asarray(key)) for key in three}) == 3


@pytest.mark.parametrize(
    "text, options, message",
    [
        ("mixip", {}, "augmentation must be one of cutout, mixup.* did you mean"),
        ("mixup+mixup", {}, r"must be different ones, got data.augment = 'mixup\+m"),
        ("mixup", {"beta": 1}, "takes, alpha, got .*augment_options with beta"),
        ("", {"alpha": 1}, "takes, none, got data.augment_options with alpha"),
        ("mixup", {"alpha": 0.0}, "mixup must be a finite .* got alpha = 0.0"),
        ("cutout", {"side": -1}, "side of cutout must be .* got"),
    ],
)
def test_what_is_no_augmentation_is_refused(text, options, message):
    with pytest.raises(ValueError, match=message):
        augmentations.applied(augmentations.chain(text, options, CLASSES))(KEY, BATCH)


def test_what_cannot_be_mixed_is_refused():
    tokens = jnp.zeros((N, 4), jnp.int32)
    for batch in ((tokens, LABELS), (IMAGES, tokens)):
        with pytest.raises(ValueError, match="what is mixed must be floats, with one"):
            mixup(KEY, batch, num_classes=CLASSES)
    with pytest.raises(ValueError, match="must be images"):
        cutout(KEY, (IMAGES[:, 0], LABELS))


def test_devices_that_split_a_batch_do_what_one_does():
    functions = augmentations.chain("cutout+mixup", {}, CLASSES)
    mesh = meshes.mesh(1, 4)
    split = jax.shard_map(
        augmentations.applied(functions, axis_name=meshes.DATA),
        mesh=mesh,
        in_specs=(P(), P(meshes.DATA)),
        out_specs=P(meshes.DATA),
        check_vma=False,
    )
    whole = jax.jit(augmentations.applied(functions))(KEY, BATCH)
    for one, other in zip(jax.jit(split)(KEY, BATCH), whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize(
    "alpha", ["0.2", None, 0, True, 1e-39, 1e39, float("nan"), float("inf")]
)
def test_the_shape_of_the_shares_is_a_finite_number_above_0(alpha):
    with pytest.raises(ValueError, match="mixup must be a finite number above 0, got"):
        mixup(KEY, BATCH, num_classes=CLASSES, alpha=alpha)


@pytest.mark.parametrize("side", ["16", 2.5, -1, None])
def test_the_side_of_a_square_is_a_whole_number(side):
    with pytest.raises(ValueError, match="side of cutout must be"):
        cutout(KEY, BATCH, side=side)


def test_a_square_is_no_larger_than_the_image():
    for side in (5, 6):  # of the 8 x 6 pixels of an image something may be left
        cutout(KEY, (jnp.ones((2, 8, 6, 1)), LABELS[:2]), side=side)
    with pytest.raises(ValueError, match="at most the 6 pixels .* got side = 7"):
        cutout(KEY, (jnp.ones((2, 8, 6, 1)), LABELS[:2]), side=7)
