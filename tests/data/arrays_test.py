"""Arrays that are no data set are refused with what would be right."""

import numpy as np
import pytest

from lthjax.data import checks, facts, fingerprints, in_memory, own_arrays, splits
from lthjax.data.splits import Source, Split

SHAPE = (6, 4, 4, 1)
IMAGES = np.resize(np.arange(251, dtype=np.uint8), SHAPE)
LABELS = np.arange(6) % 3
PAIR = IMAGES, LABELS


def given(*, found):
    """A user's own set, whatever it is."""
    return found


def load(found, **options):
    return in_memory.load(f"{__name__}:given", options={"found": found}, **options)


def source(**changes):
    pair = Split(*PAIR)
    return Source(pair, None, pair, 3, (0.5,), (0.5,))._replace(**changes)


def images(array):
    return (array, LABELS), PAIR


def labels(array):
    return (IMAGES, array), PAIR


BAD = {
    "one pair": (PAIR, r"two pairs of .* got tuple of \['ndarray', 'ndarray'\]"),
    "one pair of two": ((IMAGES[:2], LABELS[:2]), "must return .* two pairs"),
    "three": ((PAIR,) * 3, "must return .* two pairs .* got tuple"),
    "none": (None, "must return .* got NoneType"),
    "ragged": (images([[1], [1, 2]]), "train split .* must be a pair of arrays"),
    "empty train": (((IMAGES[:0], LABELS[:0]), PAIR), "train split must have at least"),
    "empty test": ((PAIR, (IMAGES[:0], LABELS[:0])), "test split must have at least"),
    "no pixels": (images(np.zeros((6, 0, 4, 1), np.uint8)), "there are no pixels"),
    "other size": (((IMAGES[:, :3], LABELS), PAIR), "one shape, got train .3, 4, 1."),
    "floats": (images(IMAGES / 255), "images uint8.* float64 .*whole values from 0 to"),
    "NaN": (images(np.full(SHAPE, np.nan)), "images uint8.* float64"),
    "int64": (images(IMAGES.astype(int) * 300), "int64 .*from 0 to 255 as uint8"),
    "grey": (images(IMAGES[..., 0]), r"give images\[..., None\]"),
    "channels first": (
        images(np.zeros((6, 3, 8, 8), np.uint8)),
        r"got \[6, 3, 8, 8\] .* channels .* first; give np.moveaxis\(images, 1, -1\)",
    ),
    "fewer labels": (labels(LABELS[:4]), r"labels = int64 \(4,\) in its train split"),
    "one-hot": (labels(np.eye(6, dtype=int)), r"give labels.argmax\(1\) as integers"),
    "a column": (labels(LABELS[:, None]), r"give labels\[:, 0\] as integers"),
    "float labels": (labels(LABELS / 1), "integer labels .* float64"),
    "truth": (labels(LABELS > 0), "integer labels .* bool"),
    "negative": (labels(LABELS - 1), "from -1 to 1"),
    "2**40": (labels(LABELS + 2**40), "from 1099511627776 to 1099511627778"),
    "2**32": (labels(LABELS * 2**32), "labels from 0 to 8589934592"),
    "2**64 - 1": (labels(LABELS.astype(np.uint64) - 1), "to 18446744073709551615"),
    "2**30": (labels(LABELS + 2**30), "up to 1073741826 of 12 images; number the"),
    "only one class": (((IMAGES, LABELS * 0),) * 2, "two classes, .* num_classes = 1"),
    "no class": (source(num_classes=0), "two classes, .* num_classes = 0"),
    "half a class": (source(num_classes=2.5), "two classes, .* num_classes = 2.5"),
    "few classes": (source(num_classes=2), "0 to 2 with num_classes = 2"),
    "names of vectors": (
        source(train=(np.zeros((6, 4)), LABELS.astype(str)), mean=(), std=()),
        r"real numbers, got inputs = float64 \(6, 4\), labels = <U21 \(6,\) in its",
    ),
    "a label less": (
        source(train=(np.zeros((6, 4)), LABELS[:5]), mean=(), std=()),
        r"as many labels as inputs, .* labels = int64 \(5,\) in its train split$",
    ),
    "no numbers": (
        source(train=(np.zeros((6, 0)), LABELS), mean=(), std=()),
        r"every input of .* must hold numbers, got inputs of shape \[6, 0\] in its",
    ),
    "paths": (source(train="a path"), "train split of .* must be a pair of arrays"),
    "mean": (source(mean=(0.5, 0.5, 0.5)), "must be 1 finite numbers each"),
    "std": (source(std=(0.0,)), "std positive, got .*0.0"),
    "of 255": (
        source(mean=(127.0,), std=(60.0,)),
        "so that mean is from 0 to 1, .*127",
    ),
    "validation": (
        source(validation=Split(IMAGES[:, 1:], LABELS)),
        "one shape, got train .4, 4, 1., validation .3, 4, 1., test",
    ),
    "weighted validation": (
        source(validation=(IMAGES, LABELS, LABELS)),
        "validation split of .* must be a pair of arrays, .* got tuple",
    ),
    "only images": (
        source(validation=IMAGES),
        "validation split of .* must be a pair of arrays, .* got ndarray",
    ),
    "a number": (source(validation=2), "validation split of .* got int"),
    "single numbers": (
        source(validation=(np.array(1), np.array(1))),
        r"int64 \(\) in its validation split",
    ),
    "no labels": (
        source(validation=(IMAGES, LABELS[:0])),
        r"labels = int64 \(0,\) in its validation split",
    ),
}


@pytest.mark.parametrize("found, message", BAD.values(), ids=BAD)
def test_what_is_no_data_set_is_refused_with_what_would_be(found, message):
    with pytest.raises(ValueError, match=message):
        load(found)


def faulty(*, size):
    """A user's own set, which is not there."""
    raise FileNotFoundError(f"no such file: {size}.npz")


def test_what_a_users_set_raises_becomes_a_sentence_with_its_cause():
    said = "must be made by its function .*faulty', which raised FileNotFound.*3.npz"
    with pytest.raises(ValueError, match=said) as found:
        in_memory.facts(f"{__name__}:faulty", options={"size": 3})
    assert isinstance(found.value.__cause__, FileNotFoundError)


def test_what_is_a_data_set_is_taken():
    for found in ((PAIR, PAIR), [list(PAIR), PAIR], source(), source(num_classes=7)):
        got = load(found, validation=2)
        sizes = [len(split.labels) for split in got[:3]]
        assert sizes == [4, 2, 6] and got.train.labels.dtype == np.int32
    three_high = np.zeros((6, 3, 8, 1), np.uint8)
    assert load(((three_high, LABELS),) * 2).train.images.shape[1:] == (3, 8, 1)


class Tensor:
    """As an array of another library, whose types are its own."""

    def __init__(self, array):
        self.array, self.dtype = array, "float32"

    def __len__(self):
        return len(self.array)

    def __array__(self, dtype=None, copy=None):
        return self.array


@pytest.mark.parametrize("empty", [None, (), ([], []), (IMAGES[:0], LABELS[:0])])
def test_what_a_source_lists_may_be_arrays_of_any_library(empty):
    scale, names = np.array([0.5], np.float32), np.array(["cat", "dog", "eel"])
    colour = [np.repeat(x, 3, -1) for x in (IMAGES, scale)]
    for images, mean in ((IMAGES, scale), colour):
        pair = Tensor(images), Tensor(LABELS)
        given = {"mean": mean, "std": mean, "classes": names, "validation": empty}
        got = splits.normalised(load(source(train=pair, test=pair, **given)))
        assert got.mean == got.std == (0.5,) * len(mean)
        assert got.classes == ("cat", "dog", "eel") and not len(got.validation.labels)
        assert got.train.images.shape == images.shape
        fingerprints.fingerprint(got)
    free = source(train=PAIR, mean=scale[:0], std=scale[:0], classes=None)
    assert load(free).mean == () and load(free).classes == ()
    numbered = source(classes=(0, 1, 2))
    assert load(numbered).classes == ("0", "1", "2")


@pytest.mark.parametrize("targets", [[0.5] * 6, [0.5, 1, 2, 3, 4, 5]])
def test_targets_in_a_list_are_floats_as_those_in_an_array(targets):
    pair = np.zeros((6, 4)), targets
    found = source(train=pair, test=pair, num_classes=1, mean=(), std=())
    assert load(found).train.labels.dtype == np.float32


@pytest.mark.parametrize(
    "options",
    [
        {"num_classes": 0},
        {"num_classes": 1},
        {"num_classes": 2.5},
        {"image_shape": ()},
        {"image_shape": (0, 8, 1)},
        {"image_shape": (8, 8)},
        {"train": 0},
        {"test": -1},
        {"train": 9.5},
    ],
)
def test_made_up_data_of_no_size_are_refused(options):
    (name,) = options
    for act in (facts.shaped, lambda **more: in_memory.load("synthetic", **more)):
        with pytest.raises(ValueError, match=f"{name} ="):
            act(**options)


@pytest.mark.parametrize("value", range(0, 256, 15))
def test_a_channel_without_a_deviation_has_one_of_one(value):
    drawn = np.random.default_rng(0).integers(0, 256, (100, 7, 7, 2)).astype(np.uint8)
    drawn[..., 1] = value
    mean, std = own_arrays.moments("x", drawn)
    assert (mean[1], std[1]) == (value / 255, 1.0)
    np.testing.assert_allclose(std[0], (drawn[..., 0] / 255).std())


def test_numbers_that_do_not_fit_into_32_bits_are_refused():
    inputs = np.full((30, 4), 1e39)
    split = Split(inputs, np.arange(30) % 3)
    with pytest.raises(ValueError, match=r"finite in 32 bits, got up to 1e\+39"):
        checks.sound("x", Source(split, split, split, 3, (), ()))


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "c", "d")])
def test_every_class_has_a_name_or_none(names):
    split = Split(np.zeros((4, 8, 8, 1), np.uint8), np.array([0, 1, 2, 0]))
    source = Source(split, split, split, 3, (0.5,), (0.5,))
    checks.sound("x", source._replace(classes=("a", "b", "c")))
    with pytest.raises(ValueError, match=f"got {len(names)} names for num_classes = 3"):
        checks.sound("x", source._replace(classes=names))


def test_splits_of_other_types_are_no_set_though_both_become_floats():
    classes = np.array([0, 1, 2, 0])
    pixels, parts = np.full((4, 8, 8, 1), 255, np.uint8), np.ones((4, 8, 8, 1), "f4")
    one, other = Split(pixels, classes), Split(parts, classes)
    with pytest.raises(ValueError, match="of one kind, got train inputs uint8"):
        checks.sound("x", Source(one, one, other, 3, (), ()))
    assert checks.sound("x", Source(one, one, one, 3, (), ())).test.images.max() == 255
