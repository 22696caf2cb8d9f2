"""Arrays in an `.npz` file: images, and inputs of any kind, with labels of any."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from classes import counted

from lthjax.data import augment, in_memory, splits
from lthjax.data import on_disk as on_disk_lib
from lthjax.data.fingerprints import fingerprint
from lthjax.program.build import moved_images

LABELS = np.repeat([0, 1, 2], (30, 15, 5))
RNG = np.random.default_rng(0)
GREY = (60 * LABELS[:, None, None] + RNG.integers(0, 50, (50, 4, 5))).astype(np.uint8)


@pytest.fixture
def load(tmp_path):
    def saved(options=(), validation=0, **arrays):
        np.savez(tmp_path / "own.npz", **arrays)
        given = {"data_dir": tmp_path / "own.npz", "validation": validation}
        return in_memory.load("npz", **given | dict(options))

    return saved


def test_images_without_a_test_split_are_cut_into_every_class_s_share(load):
    source = load(images=GREY, labels=LABELS[:, None], validation=10)
    assert [counted(x) for x in source[:3]] == [[18, 9, 3], [6, 3, 1], [6, 3, 1]]
    for images, labels in source[:3]:
        assert images.shape[1:] == (4, 5, 1)
        np.testing.assert_array_equal(images.max((1, 2, 3)) // 60, labels)
    # Of the images that are no test ones, in [0, 1].
    left = np.concatenate([source.train.images, source.validation.images]) / 255
    np.testing.assert_allclose(source.mean, left.mean(), rtol=1e-6)
    np.testing.assert_allclose(source.std, left.std(), rtol=1e-6)


@pytest.mark.parametrize(
    "names",
    ["x_train y_train x_val y_val x_test y_test"]
    + ["train_images train_labels val_images val_labels test_images test_labels"]
    + ["images labels validation_images validation_labels test_images test_labels"]
    + ["images labels val_images val_labels test_images test_labels"],
)
def test_splits_that_a_file_brings_are_its_splits(load, names, caplog):
    parts = {"train": 40, "validation": 6, "test": 4}
    arrays, first = [], 0
    for number in parts.values():
        arrays += [GREY[first : first + number], LABELS[first : first + number]]
        first += number
    given = dict(zip(names.split(), arrays, strict=True))
    source = load({"options": {"test": 0.3}}, **given)
    assert "test = 0.3 is not read: 'npz' has a test split" in caplog.text
    assert [splits.size(x) for x in source[:3]] == list(parts.values())
    for split, brought in zip(source[:3], arrays[::2], strict=True):
        assert {x.tobytes() for x in split.images} == {x.tobytes() for x in brought}


def test_names_of_classes_become_numbers(load):
    named = np.array(["eel", "cat", "dog"])[LABELS]
    source = load(images=GREY, labels=named)
    assert source.classes == ("cat", "dog", "eel") and source.num_classes == 3
    light = source.train.images.max((1, 2, 3)) // 60
    np.testing.assert_array_equal(np.array([2, 0, 1])[light], source.train.labels)


@pytest.mark.parametrize(
    "inputs, dtype, shape",
    [
        (GREY / 255, "float32", (4, 5)),
        (GREY[:, 0], "float32", (5,)),
        (GREY[:, 0] > 99, "float32", (5,)),
        (GREY[:, 0].astype(np.int64), "int32", (5,)),
        (GREY[..., None].astype(np.float16), "float16", (4, 5, 1)),
    ],
)
def test_what_is_no_image_goes_to_the_network_as_it_is(load, inputs, dtype, shape):
    source = load(images=inputs, labels=LABELS)
    assert source.mean == () and source.num_classes == 3
    assert source.train.images.dtype == dtype
    assert source.train.images.shape == (40, *shape)
    total = sum(x.images.astype(float).sum() for x in (source.train, source.test))
    np.testing.assert_allclose(total, inputs.astype(float).sum(), rtol=1e-3)


def test_targets_are_no_classes(load):
    source = load(x_train=GREY[:, 0] / 9, y_train=GREY[:, 0, :2] / 7)
    assert source.num_classes == 2 and source.train.labels.dtype == np.float32
    assert [splits.size(x) for x in source[:3]] == [40, 0, 10]


def test_a_streamed_file_has_the_images_of_the_resident_one(load, tmp_path):
    resident = load(images=GREY, labels=LABELS, validation=10)
    given = {"data_dir": tmp_path, "validation": 10, "options": {"path": "own.npz"}}
    stored = on_disk_lib.load("npz", **given)
    for one, other in zip(stored[:3], resident[:3], strict=True):
        found = splits.take(one, range(splits.size(one)))
        np.testing.assert_array_equal(found.images, other.images)
    facts = in_memory.facts("npz", data_dir=tmp_path / "own.npz")
    assert facts[:4] == ((4, 5, 1), 3, 40, 10) and facts.majority == 0.6


HELD_OUT = {"test_images": GREY, "test_labels": LABELS}
BAD = [
    (
        {"images": GREY[:0], "labels": LABELS[:0]} | HELD_OUT,
        "train split must have at least one image, got 0",
    ),
    ({"images": GREY[:, :0], "labels": LABELS}, r"hold numbers, .* \[40, 0, 5, 1\]"),
    (
        {"images": GREY[..., None][..., :0], "labels": LABELS},
        r"hold numbers, got inputs of shape \[40, 4, 5, 0\] in its train",
    ),
    (
        {"images": GREY, "labels": LABELS}
        | HELD_OUT
        | {"test_labels": LABELS + np.inf},
        "must be finite, got inf or nan in its test split",
    ),
    ({"images": GREY}, "must have arrays called images, labels, .* got images in"),
    ({"images": GREY, "labels": LABELS, "test_images": GREY}, "arrays called images"),
    ({"images": GREY, "labels": LABELS, "val_images": GREY}, "arrays called images"),
    (
        {"images": GREY, "labels": LABELS, "val_images": GREY, "val_labels": LABELS}
        | {"validation_images": GREY, "validation_labels": LABELS},
        "may be there once",
    ),
    ({"a": GREY}, "arrays called .*; or x_train, .* got a in"),
    ({"images": GREY, "labels": LABELS[:9]}, r"inputs \[50, 4, 5\] and labels \[9\]"),
    ({"images": GREY, "labels": LABELS - 1}, "from 0 to .* got labels from -1"),
    ({"images": GREY, "labels": np.array([None] * 50)}, "must be whole, and hold"),
    ({"images": np.moveaxis(GREY[..., None], -1, 1), "labels": LABELS}, "moveaxis"),
    ({"images": GREY + np.inf, "labels": LABELS}, "must be finite"),
    ({"images": GREY, "labels": LABELS.astype("M8[D]")}, r"texts, got labels datetime"),
    (
        {"x_train": GREY, "y_train": LABELS, "x_test": GREY / 255, "y_test": LABELS},
        "one kind, got train inputs uint8; test inputs float64",
    ),
    (
        {"x_train": GREY > 9, "y_train": LABELS, "x_test": GREY, "y_test": LABELS},
        "one kind, got train inputs bool; test inputs uint8",
    ),
    ({"images": GREY, "labels": np.array([b"\xe9"] * 50)}, r"UTF-8, got b'\\xe9' in"),
]


@pytest.mark.parametrize("arrays, message", BAD)
def test_arrays_that_are_no_data_set_are_refused(load, arrays, message):
    with pytest.raises(ValueError, match=message):
        load(**arrays)


def test_a_file_that_is_none_is_refused(load, tmp_path):
    load(images=GREY, labels=LABELS)
    path = tmp_path / "own.npz"
    path.write_bytes(path.read_bytes()[:900])
    for given, message in [
        ({"data_dir": path}, "must be whole, .* got '.*own.npz', no npz file$"),
        ({"data_dir": tmp_path}, "must be an npz file, .* a folder with own.npz"),
        ({"data_dir": tmp_path / "x"}, "x', which does not exist"),
        ({}, "data_dir must be the npz file, where data.name = 'npz'"),
    ]:
        with pytest.raises(ValueError, match=message):
            in_memory.load("npz", **given)


def test_arrays_that_are_not_read_are_said(load, caplog):
    load(images=GREY, labels=LABELS, x_val=GREY)
    assert "x_val of " in caplog.text and "not read" in caplog.text


def test_a_file_of_another_machine_is_read(load):
    images = RNG.standard_normal((50, 4)).astype(">f4")
    names = np.array(["cat", "dog", "eel"])[LABELS].astype(">U3")
    source = load(images=images, labels=LABELS.astype(">i8"))
    assert jnp.asarray(source.train.images).dtype == jnp.float32
    assert {x.tobytes() for x in source.train.images} <= {
        x.tobytes() for x in images.astype("f4")
    }
    assert load(images=images, labels=names).classes == ("cat", "dog", "eel")


def test_texts_in_one_split_only_are_refused(load):
    arrays = {"x_train": GREY, "y_train": LABELS.astype(str), "x_test": GREY}
    with pytest.raises(ValueError, match="texts in all splits or in none"):
        load(**arrays, y_test=LABELS)


def test_names_of_classes_may_be_bytes_of_any_letters(load):
    names = np.array(["é".encode(), b"b", b"c"] * 10)
    source = load(images=np.zeros((30, 4)), labels=names)
    assert source.classes == ("b", "c", "é")


def test_numbers_far_above_those_of_classes_are_refused(load):
    labels = np.array([1_000_000, 1_000_001, 1_000_002] * 10)
    with pytest.raises(ValueError, match="labels up to 1000002 of 30 images"):
        load(images=np.zeros((30, 4)), labels=labels)


def test_streamed_arrays_are_known_by_all_their_labels(tmp_path):
    labels = np.arange(60) % 3
    images = np.tile(GREY[:1], (60, 1, 1))

    def found(train_labels):
        arrays = {"images": images, "labels": train_labels}
        held = {
            f"{part}_{n}": arrays[n] for part in ("validation", "test") for n in arrays
        }
        np.savez(tmp_path / "own.npz", **arrays, **(held | {"test_labels": labels}))
        given = {"data_dir": tmp_path / "own.npz"}
        return fingerprint(on_disk_lib.load("npz", **given, how="first"))["train"]

    others = [np.where(np.arange(60) == i, 1 - labels // 2, labels) for i in range(60)]
    assert all(
        found(other) != found(labels) for other in others if (other != labels).any()
    )


def test_maps_of_labels_go_where_their_images_go(load):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 5, (20, 6, 6, 1), np.uint8)
    source = load(images=images, labels=images[..., 0].astype(np.int32))
    config = tiny.config({"data.crop": 2, "data.flip": True})
    key = jax.random.key(0)
    pixels, labels = source.train
    moved = augment.augment(key, jnp.asarray(pixels) + 1, padding=2, flip=True)
    found = moved_images.following(config, source)(key, jnp.asarray(labels))
    # What has come in is none of the classes, of which 0 is one.
    np.testing.assert_array_equal(moved[..., 0].astype(int) - 1, found)
    assert (np.asarray(found) != labels).any() and (np.asarray(found) == -1).any()


def test_maps_that_nothing_moves_are_refused_where_images_are_moved(load):
    images = np.zeros((20, 6, 6, 1), np.uint8)
    source = load(images=images, labels=np.zeros((20, 6, 6), np.float32))
    assert source.follow is None
    for changes in ({"data.crop": 2}, {"data.flip": True}):
        with pytest.raises(
            ValueError, match=r"lie on the image, \[6, 6\] each, must go"
        ):
            moved_images.following(tiny.config(changes), source)


def test_objects_that_nothing_moves_are_refused_where_images_are_moved(load):
    images = np.zeros((20, 6, 6, 1), np.uint8)
    source = load(images=images, labels=np.zeros((20, 1, 7), np.float32))
    detected = {"objective": "detection", "data.flip": True}
    with pytest.raises(ValueError, match="give it follow, such as .*follow_objects"):
        moved_images.following(tiny.config(detected), source)
    moved_images.following(tiny.config({"data.flip": True}), source)  # a regression
    moved_images.following(tiny.config(), source)
