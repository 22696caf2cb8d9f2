"""Every split has its share of each class, and what lacks one is said."""

import itertools
import json
import shutil

import numpy as np
import on_disk
import pytest
import tiny
from classes import counted

from lthjax.data import balance, in_memory, splits
from lthjax.data import on_disk as on_disk_lib
from lthjax.data.splits import Source, Split
from lthjax.program.build import source as source_lib

COUNTS = (300, 90, 30)


def classes(*, train=COUNTS, test=(10, 3, 1), mixed=False, own=False):
    """A user's own set, one class after the other; pixels say which image it is."""

    def draw(counts, seed):
        labels = np.repeat(np.arange(len(counts)), counts)
        images = np.arange(len(labels), dtype=np.uint16).view(np.uint8)
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(labels)) if mixed else slice(None)
        return Split(images.reshape(-1, 1, 2, 1)[order], labels[order])

    found = draw(train, 0), draw(test, 1)
    if not own:
        return found
    return Source(found[0], draw(test, 2), found[1], len(train), (0.5,), (0.5,))


def load(**options):
    return in_memory.load(f"{__name__}:classes", **options)


def numbers(split):
    """Returns which images of the train set a split has."""
    return np.asarray(split.images).reshape(-1, 2).copy().view(np.uint16)[:, 0].tolist()


@pytest.mark.parametrize("mixed", [False, True])
def test_a_cut_of_an_own_set_has_every_class_s_share(mixed):
    source = load(validation=80, options={"mixed": mixed})
    # 80 / 420 of 300, 90 and 30 are 57.1, 17.1 and 5.7.
    assert counted(source.validation) == [57, 17, 6]
    assert counted(source.train) == [243, 73, 24]
    both = numbers(source.train) + numbers(source.validation)
    assert sorted(both) == list(range(420))
    again = load(validation=80, options={"mixed": mixed})
    assert numbers(again.validation) == numbers(source.validation)
    # Drawn, not the first ones of each class.
    assert max(numbers(source.validation)) > 400


def test_any_stretch_of_a_split_has_every_class_s_share():
    source = load(validation=80, limit=100)
    share = np.array(COUNTS) / sum(COUNTS)
    np.testing.assert_allclose(counted(source.train), 100 * share, atol=1)
    for start, stop in itertools.combinations((0, 7, 50, 99), 2):
        found = counted(splits.part(source.train, start, stop))
        np.testing.assert_allclose(found, (stop - start) * share, atol=1)
    assert counted(splits.part(source.test, 0, 7)) == [5, 2, 0]


def test_even_numbers_are_those_of_a_division_by_odd_numbers():
    labels = np.repeat(np.arange(4), (53, 24, 17, 6))
    order = splits.even(labels)
    assert sorted(order) == list(range(100))
    # Sainte-Lague: seats go by n_c / (2 s + 1), here 12 of them.
    quotients = {
        (n / (2 * s + 1), c) for c, n in enumerate((53, 24, 17, 6)) for s in range(12)
    }
    seats = [c for _, c in sorted(quotients)[-12:]]
    assert sorted(labels[order[:12]]) == sorted(seats)


TAILED = {
    "one_large": np.repeat(np.arange(101), (100, *[1] * 100)),
    "pairs": np.repeat(np.arange(201), (600, *[2] * 200)),
    "long_tailed": np.repeat(
        np.arange(100), np.round(500 * 0.01 ** (np.arange(100) / 99)).astype(int)
    ),
}


@pytest.mark.parametrize("name", TAILED)
def test_the_first_have_no_more_of_a_class_than_its_share_rounded_up(name):
    labels = TAILED[name]
    order = splits.even(labels)
    assert sorted(order) == list(range(len(labels)))
    seen = np.eye(labels.max() + 1, dtype=int)[labels[order]].cumsum(0)
    shares = np.bincount(labels) / len(labels)
    most = np.ceil(np.arange(1, 1 + len(labels))[:, None] * shares - 1e-9)
    assert (seen <= most).all()
    # By odd numbers alone, the large class fills what the small ones wait for.
    tenth = len(labels) // 10
    assert seen[tenth - 1, 0] == pytest.approx(tenth * shares[0], abs=1)


def test_the_order_never_changes():
    # What runs are cut by today they are cut by when they go on.
    assert splits.even(np.repeat([0, 1], (4, 2))).tolist() == [2, 5, 1, 3, 4, 0]
    assert splits.even(np.zeros(0, int)).tolist() == []


def test_the_first_of_the_set_are_cut_where_that_is_asked_for():
    source = load(validation=80, limit=9, how="first")
    assert numbers(source.validation) == list(range(80))
    assert numbers(source.train) == list(range(80, 89))
    with pytest.raises(ValueError, match="one of '', 'first', 'stratified', got .*'x'"):
        load(how="x")


def test_a_validation_split_that_is_brought_stays_and_limits_are_even():
    source = load(limit=42, options={"own": True})
    assert [counted(x) for x in source[:3]] == [[30, 9, 3], [10, 3, 1], [10, 3, 1]]


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_sets_of_ours_keep_their_first_images(name):
    whole, found = in_memory.load(name), in_memory.load(name, validation=50, limit=60)
    first = in_memory.load(name, validation=50, limit=60, how="first")
    np.testing.assert_array_equal(found.validation.images, whole.train.images[:50])
    np.testing.assert_array_equal(found.train.images, whole.train.images[50:110])
    for one, other in zip(found[:2], first[:2], strict=True):
        np.testing.assert_array_equal(one.images, other.images)
    drawn = in_memory.load(name, validation=50, how="stratified").validation
    assert (drawn.images != found.validation.images).any()


def test_a_folder_is_cut_evenly_where_its_classes_differ_in_size(tmp_path):
    top = on_disk.photographs(tmp_path)
    for i in range(3, 27):
        on_disk.save(top / "train" / "n01" / f"{i}.JPEG", 0)
    given = {"data_dir": top, "validation": 11, "crop": (8, False)}
    source = on_disk_lib.load("imagenet", **given)
    assert counted(source.validation) == [9, 1, 1]  # of 27, 4 and 2
    images, labels = splits.take(source.validation, range(11))
    np.testing.assert_allclose(images.mean((1, 2, 3)), 100 * labels, atol=2)
    assert counted(on_disk_lib.load("imagenet", **given, how="first").validation) == [
        5,
        4,
        2,
    ]
    for i in range(4, 27):
        (top / "train" / "n01" / f"{i}.JPEG").unlink()
    on_disk.save(top / "train" / "n10" / "2.JPEG", 2)
    on_disk.save(top / "train" / "n10" / "3.JPEG", 2)
    alike, first = (
        on_disk_lib.load("imagenet", **given | {"validation": 5}, how=how)
        for how in ("", "first")
    )
    assert list(alike.validation.records) == list(first.validation.records)


def test_counts_and_the_largest_class_are_said():
    found = balance.counts(load(validation=80))
    assert balance.text(found) == (
        "images by class: train 243, 73, 24; validation 57, 17, 6; test 10, 3, 1; "
        "always saying the largest class: 71.25 % of validation, 71.43 % of test"
    )
    assert not balance.warnings(found)
    assert balance.noted(found)["majority"]["test"] == 10 / 14
    facts = in_memory.facts(f"{__name__}:classes")
    assert facts.majority == 10 / 14


def test_many_classes_are_said_by_their_range_and_what_is_missing_is_named():
    found = balance.counts(load(train=[3] * 999 + [2], test=[1] * 993 + [0] * 7))
    text = balance.text(found)
    assert "train 2,999 in 1,000 classes of 2 to 3; " in text and len(text) < 250
    (sentence,) = balance.warnings(found)
    assert sentence == (
        "the test split has no image of classes 993, 994, 995, 996, 997 and 2 more of "
        "1,000: nothing is measured of it"
    )


def test_a_class_that_is_missing_in_training_is_said():
    (sentence,) = balance.warnings(balance.counts(load(train=(9, 0, 4))))
    assert sentence.startswith("the train split has no image of class 1 of 3: nothing")
    found, names = balance.counts(load(train=(9, 0, 0))), ("cat", "dog", "eel")
    assert "no image of classes 'dog', 'eel' of 3" in balance.warnings(found, names)[0]
    assert not balance.read({"images": {"train": "x"}})[0]
    read, known = balance.read(json.loads(json.dumps(balance.noted(found, names))))
    assert known == names and read.keys() == found.keys()
    np.testing.assert_array_equal(read["train"], found["train"])


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_the_known_share_of_the_largest_class_is_that_of_the_set(name):
    source = in_memory.load(name)
    share = balance.majority(balance.counts(source))["test"]
    assert share == pytest.approx(in_memory.facts(name).majority)


def test_a_class_without_a_folder_in_val_is_said(tmp_path):
    top = on_disk.photographs(tmp_path)
    shutil.rmtree(top / "val" / "n02")
    found = balance.counts(on_disk_lib.load("imagenet", data_dir=top, validation=3))
    assert counted(on_disk_lib.load("imagenet", data_dir=top).test) == [1, 0, 1]
    (sentence,) = balance.warnings(found)
    assert sentence.startswith("the test split has no image of class 1 of 3")


def limited(*, limit, validation):
    return classes(train=(limit, validation))


def test_an_own_set_s_options_may_have_the_names_of_ours():
    options = {"limit": 9, "validation": 6}
    source = in_memory.load(f"{__name__}:limited", validation=5, options=options)
    assert counted(source.train, 2) == [6, 4]
    config = tiny.config({"data.name": f"{__name__}:limited", "data.limit": 10})
    config = tiny.changed(config, {"data.options": options, "data.validation": 5})
    assert counted(source_lib.load(config).train, 2) == [6, 4]
    assert in_memory.facts(config.data.name, options=options).train == 15


@pytest.mark.parametrize("stored", [False, True])
def test_validation_of_annotated_images_is_drawn_from_all_of_them(stored):
    labels = np.zeros((40, 1, 7), np.float32)
    labels[20:, :, 0] = 1  # a file whose classes come one after the other
    split = Split(np.zeros((40, 8, 8, 3), np.uint8), labels)
    if stored:
        shapes = {"image_shape": (8, 8, 3), "label_shape": (1, 7)}
        kept = {"records": np.arange(40), "label_dtype": "float32"}
        split = splits.Stored(fetch_fn=list, view_fn=max, **shapes, **kept)
    source = Source(split, splits.part(split, 0, 0), split, 2, (0.5,) * 3, (0.5,) * 3)
    found = splits.cut("coco", source, 12, None)
    first = splits.cut("coco", source, 12, None, "first")

    def kinds(cut):
        own = cut.validation
        return own.records // 20 if stored else own.labels[:, 0, 0]

    assert 3 < np.sum(kinds(found) == 1) < 9
    assert len(set(kinds(first).tolist())) == 1
