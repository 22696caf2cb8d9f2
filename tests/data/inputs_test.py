"""Inputs that are no images, and labels that are no classes, go through as they are."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from lthjax import models
from lthjax.data import augment, balance, batches, in_memory, on_disk, splits
from lthjax.data.fingerprints import fingerprint
from lthjax.data.splits import Source, Split
from lthjax.models import checks

SIZE = 6
VECTORS = np.arange(SIZE * 3, dtype=np.float64).reshape(SIZE, 3) / 7
TARGETS = VECTORS.sum(1)
TOKENS = np.arange(SIZE * 4).reshape(SIZE, 4) % 5
NEXT = (TOKENS + 1) % 5
SCALE = (), ()
CLASSES = np.arange(SIZE) % 2


def given(*, found):
    """A user's own set, whatever it is."""
    return found


def named(pair, *, number=5, test=None, scale=SCALE):
    found = Source(Split(*pair), None, Split(*(test or pair)), number, *scale)
    return f"{__name__}:given", {"found": found}


def load(pair, validation=2, how="", **changes):
    name, options = named(pair, **changes)
    return in_memory.load(name, validation=validation, how=how, options=options)


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "i2", "i4", "u2"])
def test_bytes_in_the_other_order_are_the_same_numbers(kind):
    labels = np.arange(SIZE, dtype=">i4") % 2
    numbers = np.arange(SIZE * 3).reshape(SIZE, 3)
    got, same = (
        load((numbers.astype(f"{order}{kind}"), labels), number=2) for order in "><"
    )
    for one, other in zip(got.train, same.train, strict=True):
        assert one.dtype == other.dtype and one.dtype.isnative
        np.testing.assert_array_equal(jnp.asarray(one), other)
    targets = TARGETS.astype(">f4")
    found = load((VECTORS, targets), number=1, how="first").train.labels
    np.testing.assert_array_equal(jnp.asarray(found), targets[2:].astype("f4"))


@pytest.mark.parametrize(
    "shape, said",
    [
        ((3, 8, 8), True),
        ((1, 4, 5), True),
        ((1, 20, 2), False),  # a signal of two channels
        ((3, 20, 2), True),
        ((3, 8, 1), False),
        ((8, 8, 8), False),
        ((3, 8), False),
        ((3, 2, 8, 8), False),
    ],
)
@pytest.mark.parametrize("kind", ["float32", "int32", "uint8"])
def test_channels_that_seem_to_come_first_are_said(shape, said, kind, caplog):
    inputs = np.zeros((SIZE, *shape), kind)
    assert load((inputs, CLASSES), number=2).train.images.shape[1:] == shape
    assert ("give np.moveaxis(inputs, 1, -1)" in caplog.text) == said


def test_vectors_and_targets_become_float32_and_keep_their_numbers():
    got = load((VECTORS, TARGETS), number=1, how="first")
    assert got.train.images.dtype == got.train.labels.dtype == np.float32
    np.testing.assert_array_equal(got.train.images, VECTORS[2:].astype(np.float32))
    np.testing.assert_array_equal(got.validation.labels, TARGETS[:2].astype("float32"))


def test_tokens_become_int32_and_the_order_is_drawn_once():
    got = load((TOKENS, NEXT))
    assert got.train.images.dtype == got.train.labels.dtype == np.int32
    both = np.concatenate([got.validation.images, got.train.images])
    assert not np.array_equal(both, TOKENS)
    np.testing.assert_array_equal(np.sort(both.ravel()), np.sort(TOKENS.ravel()))
    np.testing.assert_array_equal((got.train.images + 1) % 5, got.train.labels)


def test_bytes_that_nothing_normalises_become_floats():
    images = np.arange(SIZE * 4, dtype=np.uint8).reshape(SIZE, 2, 2, 1)
    got = load((images, CLASSES), number=2, how="first")
    assert got.train.images.dtype == np.float32
    assert splits.input_dtype(got.train) == "float32"
    np.testing.assert_array_equal(got.train.images, images[2:])


def test_whole_numbers_that_are_no_classes_are_refused_with_what_to_do():
    for number in (1, 6):
        with pytest.raises(ValueError, match="no classes are given as floats"):
            load((VECTORS, np.arange(SIZE) - 3), number=number)


def test_nothing_is_taken_of_no_numbers():
    got = splits.take(load((VECTORS, TARGETS), number=1).train, [])
    assert got.images.shape == (0, 3) and got.labels.shape == (0,)


def test_images_may_have_targets():
    images = np.zeros((SIZE, 2, 2, 1), np.uint8)
    got = load((images, TARGETS[:, None]), number=1, scale=((0.5,), (0.5,)))
    assert got.train.labels.shape == (4, 1) and got.mean == (0.5,)


def test_facts_are_those_of_the_inputs_and_the_labels():
    name, options = named((TOKENS, NEXT))
    facts = in_memory.facts(name, options=options)
    assert (facts.image_shape, facts.dtype) == ((4,), "int32")
    assert (facts.label_shape, facts.label_dtype) == ((4,), "int32")
    assert (facts.num_classes, facts.majority, facts.mean) == (5, None, ())
    name, options = named((VECTORS, CLASSES), number=2)
    assert in_memory.facts(name, options=options).majority == 0.5


def test_the_fingerprint_tells_targets_apart_by_less_than_one():
    one, other = (load((VECTORS, TARGETS + x), number=1) for x in (0, 0.25))
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(one) == fingerprint(load((VECTORS, TARGETS), number=1))


def test_the_fingerprint_knows_what_images_are_normalised_by_and_classes_called():
    images = np.zeros((SIZE, 2, 2, 1), np.uint8)
    source = load((images, CLASSES), number=2, scale=((0.5,), (0.25,)))
    named = source._replace(classes=("a", "b"))
    changes = {"mean": (0.1,), "std": (0.9,)}, {"classes": ("b", "a")}
    others = [named._replace(**change) for change in changes]
    marks = [fingerprint(one)["all"] for one in (source, named, *others)]
    assert all(one != other for one, other in itertools.combinations(marks, 2))
    rounded = source._replace(mean=(0.5 + 1e-9,))
    assert fingerprint(rounded) == fingerprint(source)
    assert "names" not in marks[0]  # a workdir of a set without them goes on


def test_classes_are_counted_where_there_are_some():
    assert balance.counts(load((TOKENS, NEXT))) is None
    counts = balance.counts(load((VECTORS, CLASSES), number=2))
    np.testing.assert_array_equal(counts["test"], [3, 3])


def test_batches_and_chunks_have_the_shapes_and_types_of_the_arrays():
    split = load((TOKENS, NEXT)).train
    taken = batches.take(Split(*map(jnp.asarray, split)), jnp.array([1, 0]))
    np.testing.assert_array_equal(taken.labels, split.labels[[1, 0]])
    inputs, labels, weights = batches.chunks(split, 3)
    assert (inputs.shape, labels.shape) == ((2, 3, 4), (2, 3, 4))
    assert (inputs.dtype, labels.dtype) == (np.int32, np.int32)
    np.testing.assert_array_equal(weights, [[1, 1, 1], [1, 0, 0]])


def test_nothing_is_done_to_what_is_no_image():
    tokens, key = jnp.asarray(TOKENS), jax.random.key(0)
    assert augment.normalise(tokens, (), ()) is tokens
    assert augment.augment(key, tokens) is tokens
    with pytest.raises(ValueError, match=r"must be images .*\[6, 4\].*data.crop = 0"):
        augment.augment(key, tokens, padding=1)


def infinite(array):
    return np.where(array == array.max(), np.inf, array)


@pytest.mark.parametrize(
    "pair, changes, text",
    [
        ((infinite(VECTORS), TARGETS), {"number": 1}, "finite.*train split"),
        ((VECTORS, infinite(TARGETS)), {"number": 1}, "finite.*train split"),
        ((TOKENS + 2**40, NEXT), {}, "of 32 bits"),
        ((TOKENS, NEXT), {"number": 3}, "from 0 to 4 with num_classes = 3"),
        ((VECTORS, TARGETS), {"number": 0}, "number of outputs, at least one"),
        ((VECTORS, TARGETS[:4]), {"number": 1}, r"labels = float64 \(4,\)"),
        ((VECTORS.astype(str), TARGETS), {"number": 1}, "inputs = <U"),
        ((VECTORS, CLASSES), {"scale": ((0.5,), (0.5,))}, "whole values from 0 to"),
        ((TOKENS, NEXT), {"test": (TOKENS[:, :3], NEXT)}, "one shape"),
        (
            (TOKENS, NEXT),
            {"test": (TOKENS, NEXT[:, :3])},
            r"one kind.*labels int32 \[3",
        ),
        ((VECTORS, TARGETS), {"number": 1, "how": "stratified"}, "one class for each"),
    ],
)
def test_what_cannot_be_right_is_refused(pair, changes, text):
    with pytest.raises(ValueError, match=text):
        load(pair, **changes)


def test_numbers_to_normalise_by_are_refused_for_what_is_no_image():
    with pytest.raises(ValueError, match="must be empty for inputs that are no images"):
        splits.normalised(load((TOKENS, NEXT)), mean=(0.5,))


# The networks of such sets.


class Embedding(nn.Module):
    """The logits of the next token."""

    classes: int

    @nn.compact
    def __call__(self, tokens):
        return nn.Dense(self.classes)(nn.Embed(5, 3)(tokens))


def test_a_network_of_tokens_is_called_on_whole_numbers():
    name, options = named((TOKENS, NEXT))
    facts = in_memory.facts(name, options=options)
    checks.shapes(Embedding(5), "my:Embedding", facts)
    init = models.initialise(Embedding(5), jax.random.key(0), jnp.asarray(TOKENS))
    checks.values(Embedding(5), "my:Embedding", facts, lambda key: init)
    with pytest.raises(ValueError, match=r"\[batch, 4, 5\].*float32 \[8, 4, 2\]"):
        checks.shapes(Embedding(2), "my:Embedding", facts)


@pytest.mark.parametrize("pair, number", [((VECTORS, TARGETS), 1), ((TOKENS, NEXT), 5)])
def test_what_is_streamed_is_what_lies_in_memory(pair, number):
    name, options = named(pair, number=number)
    given = {"validation": 2, "options": options}
    own, other = in_memory.load(name, **given), on_disk.load(name, **given)
    assert splits.input_dtype(other.train) == str(own.train.images.dtype)
    for part in ("train", "validation", "test"):
        found = splits.take(getattr(other, part), range(2))
        for one, two in zip(getattr(own, part), found, strict=True):
            np.testing.assert_array_equal(one[:2], two)
            assert one.dtype == two.dtype
