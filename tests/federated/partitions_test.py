import jax.numpy as jnp
import numpy as np
import pytest

from lthjax.data.splits import Split
from lthjax.federated import partitions

LABELS = np.repeat(np.arange(10), 60)[np.random.default_rng(0).permutation(600)]


def disjoint(parts):
    whole = np.concatenate(parts)
    return len(np.unique(whole)) == len(whole)


def test_a_client_of_shards_has_as_many_labels_and_no_example_twice():
    parts = partitions.shards(LABELS, 20, 1, each=3, samples=5)
    assert disjoint(parts)
    for part in parts:
        kinds, counts = np.unique(LABELS[part], return_counts=True)
        assert len(kinds) == 3 and set(counts) == {5}


def test_all_examples_are_dealt_where_no_number_is_given():
    parts = partitions.shards(LABELS, 20, 1, each=2)
    assert disjoint(parts) and sum(map(len, parts)) == 600


def test_an_unbalanced_client_has_all_of_its_first_class_and_a_share_of_the_others():
    parts = partitions.classes(LABELS, 10, 1, each=3, samples=10, balance=0.25)
    assert len(np.unique(np.concatenate(parts))) == 10 * (10 + 2 + 2)
    for part in parts:
        counts = np.bincount(LABELS[part])
        assert sorted(counts[counts > 0]) == [2, 2, 10]


@pytest.mark.parametrize("balance, less", [(0.29, 29), (0.57, 57), (0.255, 25)])
def test_a_share_is_rounded_down_as_it_is_written(balance, less):
    labels = np.repeat(np.arange(4), 200)
    options = {"each": 2, "samples": 100, "balance": balance}
    (part,) = partitions.classes(labels, 1, 0, **options)
    assert sorted(np.unique(labels[part], return_counts=True)[1]) == [less, 100]


def test_a_client_of_classes_has_those_and_as_many_of_each():
    parts = partitions.classes(LABELS, 30, 1, each=2, samples=10)
    assert disjoint(parts)
    for part in parts:
        kinds, counts = np.unique(LABELS[part], return_counts=True)
        assert len(kinds) == 2 and set(counts) == {10}


def test_dirichlet_deals_everything_and_is_even_for_a_large_alpha():
    parts = partitions.dirichlet(LABELS, 5, 1, alpha=0.5, least=20)
    assert disjoint(parts) and sum(map(len, parts)) == 600
    assert min(map(len, parts)) >= 20
    even = partitions.dirichlet(LABELS, 5, 1, alpha=1e6)
    assert {len(part) for part in even} <= {119, 120, 121}


@pytest.mark.parametrize("make", partitions.PARTITIONS.values())
def test_a_seed_gives_the_same_parts_and_another_one_others(make):
    one, same, other = (make(LABELS, 10, seed) for seed in (1, 1, 2))
    assert all(map(np.array_equal, one, same))
    assert not all(map(np.array_equal, one, other))


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: partitions.shards(LABELS, 7, 0, each=3), "must divide the 600"),
        (
            lambda: partitions.shards(LABELS, 70, 0, each=3, samples=5),
            "at most the 600",
        ),
        (lambda: partitions.shards(LABELS, 0, 0), "clients must be .* of at least 1"),
        (lambda: partitions.shards(LABELS, 4, 0, each=2.5), "each must be a whole"),
        (lambda: partitions.shards(LABELS, 4, 0, samples=-1), "samples must be a wh"),
        (lambda: partitions.classes(LABELS, 4, 0, samples=2.5), "samples must be a w"),
        (lambda: partitions.classes(LABELS, 4, 0, each=11), "at most the 10 classes"),
        (lambda: partitions.classes(LABELS, 99, 0, samples=30), "for every client"),
        (lambda: partitions.classes(LABELS, 4, 0, samples=3, balance=0.3), "balance"),
        (lambda: partitions.classes(LABELS, 4, 0, balance=1.5), "balance must be in"),
        (lambda: partitions.dirichlet(LABELS[:0], 4, 0), "examples must be .* least 1"),
        (lambda: partitions.dirichlet(LABELS, 4, 0, alpha=0.0), "alpha must be pos"),
        (lambda: partitions.dirichlet(LABELS, 40, 0, least=16), "larger alpha"),
    ],
)
def test_what_cannot_be_dealt_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("make", partitions.PARTITIONS.values())
@pytest.mark.parametrize(
    "labels, got",
    [
        (np.eye(10)[LABELS].astype(int), r"int64 \[600, 10\]"),
        (LABELS[:, None], r"int64 \[600, 1\]"),
        (np.where(LABELS, LABELS, np.nan), r"float64 \[600\]"),
        (LABELS - 1, r"int64 \[600\] with -1 among them"),
    ],
)
def test_labels_that_are_not_one_class_an_example_are_not_dealt(make, labels, got):
    with pytest.raises(ValueError, match=f"one class for each .* got labels {got}"):
        make(labels, 10, 0)


@pytest.mark.parametrize("make", partitions.PARTITIONS.values())
def test_labels_on_a_device_are_dealt_as_those_on_the_host(make):
    on_device = make(jnp.asarray(LABELS), 10, 1)
    assert all(map(np.array_equal, on_device, make(LABELS, 10, 1)))


SPLIT = Split(np.arange(600, dtype=np.uint8)[:, None, None, None], LABELS)


def test_held_out_examples_are_not_trained_on_and_test_ones_are_of_own_labels():
    parts = partitions.shards(LABELS, 6, 1, each=2, samples=20)
    given = {"batch_size": 8}
    held = partitions.examples(SPLIT, SPLIT, parts, validation="held_out", **given)
    assert held.size.tolist() == [36] * 6 and held.held_size.tolist() == [4] * 6
    for k, part in enumerate(parts):
        own, other = held.images[k].ravel(), held.held_images[k].ravel()
        both = np.concatenate([own, other])
        np.testing.assert_array_equal(np.sort(both), np.sort(part.astype(np.uint8)))
    same = partitions.examples(SPLIT, SPLIT, parts, validation="train", **given)
    np.testing.assert_array_equal(same.images, same.held_images)
    test = partitions.examples(SPLIT, SPLIT, parts, validation="test", **given)
    assert test.held_size.tolist() == [80] * 6
    for k in range(6):
        assert set(test.held_labels[k].tolist()) == set(test.labels[k].tolist())


def test_what_pads_a_client_is_its_own():
    images = np.arange(10.0).reshape(10, 1)
    images[0] = np.nan
    split = Split(images, np.arange(10) % 2)
    found, labels, sizes = partitions.stacked(split, [np.arange(6), np.array([7, 8])])
    assert sizes.tolist() == [6, 2]
    assert found[1].ravel().tolist() == [7.0, 8.0, 7.0, 7.0, 7.0, 7.0]
    assert labels[1].tolist() == [1, 0, 1, 1, 1, 1]


def test_clients_of_whose_classes_no_test_example_is_there_are_refused():
    train = Split(np.zeros((6, 1)), np.array([0, 0, 0, 1, 1, 1]))
    test = Split(np.zeros((3, 1)), np.array([0, 0, 2]))
    parts = [np.arange(3), np.arange(3, 6)]
    given = {"batch_size": 2, "validation": "test"}
    with pytest.raises(ValueError, match="none of the classes 1 of client 1"):
        partitions.examples(train, test, parts, **given)
    found = partitions.examples(train, test, [np.arange(6)], **given)
    assert found.held_labels.tolist() == [[0, 0]]


def test_clients_of_less_than_a_batch_are_refused():
    parts = partitions.shards(LABELS, 6, 1, each=2, samples=10)
    with pytest.raises(ValueError, match="batch_size = 32 with 18 examples at client"):
        partitions.examples(SPLIT, SPLIT, parts, validation="held_out", batch_size=32)
    with pytest.raises(ValueError, match="held_out, train, test"):
        partitions.examples(SPLIT, SPLIT, parts, validation="none", batch_size=2)
