import pickle

import numpy as np
import on_disk
import pytest

from lthjax.data import balance, in_memory, splits
from lthjax.data import on_disk as on_disk_lib


@pytest.fixture
def photographs(tmp_path):
    return on_disk.photographs(tmp_path / "imagenet")


@pytest.fixture(scope="module")
def fashion(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("tfds")
    rng = np.random.default_rng(0)
    arrays = {
        split: (rng.integers(0, 256, (size, 28, 28), dtype=np.uint8), np.arange(size))
        for split, size in {"train": 10, "test": 4}.items()
    }
    on_disk.prepare("fashion_mnist", data_dir, arrays)
    return data_dir


def same(stored, resident):
    """Asserts that a stored split reads as the arrays that it is in memory."""
    found = splits.take(stored, range(splits.size(stored)))
    assert splits.image_shape(stored) == splits.image_shape(resident)
    for array, expected in zip(found, resident, strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == expected.dtype


def test_a_prepared_set_reads_lazily_what_it_reads_at_once(fashion):
    cut = {"data_dir": fashion, "validation": 3, "limit": 5}
    stored, resident = (
        module.load("fashion_mnist", **cut) for module in (on_disk_lib, in_memory)
    )
    for one, other in zip(stored[:3], resident[:3], strict=True):
        same(one, other)
    assert stored[3:] == resident[3:]


def test_tiny_imagenet_reads_lazily_what_it_reads_at_once(tmp_path):
    cut = {"data_dir": on_disk.tiny_imagenet(tmp_path), "validation": 4}
    stored, resident = (
        module.load("tiny_imagenet", **cut) for module in (on_disk_lib, in_memory)
    )
    for one, other in zip(stored[:3], resident[:3], strict=True):
        same(one, other)
    assert stored[3:] == resident[3:]


def test_made_up_data_read_lazily_what_they_read_at_once():
    options = {"like": "mnist", "train": 12, "test": 4}
    stored = on_disk_lib.load("synthetic", validation=5, options=options)
    resident = in_memory.load("synthetic", validation=5, **options)
    for one, other in zip(stored[:3], resident[:3], strict=True):
        same(one, other)


def test_photographs_of_a_folder_become_squares_of_their_class(photographs):
    for data_dir in (photographs, photographs.parent):
        source = on_disk_lib.load(
            "imagenet", data_dir=data_dir, validation=3, crop=(16, True)
        )
        assert source.num_classes == len(on_disk.CLASSES)
        assert [splits.size(split) for split in source[:3]] == [6, 3, 3]
        assert sorted(splits.take(source.validation, range(3)).labels) == [0, 1, 2]
        for split in source[:3]:
            images, labels = splits.take(split, range(splits.size(split)))
            assert images.shape == (len(labels), 16, 16, 3)
            # Each image was saved with 100 times its label in every pixel.
            np.testing.assert_allclose(images.mean((1, 2, 3)), 100 * labels, atol=2)


def test_a_prepared_imagenet_is_read_as_a_folder_is(tmp_path):
    labels, sizes = [3, 999, 0, 7], [(20, 30), (30, 20), (25, 25), (40, 22)]
    pairs = zip(labels, sizes, strict=True)
    images = [np.full((*size, 3), label % 256, np.uint8) for label, size in pairs]
    parts = {"train": (images, labels), "validation": (images[:2], labels[:2])}
    on_disk.prepare("imagenet2012", tmp_path, parts)
    source = on_disk_lib.load(
        "imagenet", data_dir=tmp_path, validation=1, crop=(16, True)
    )
    assert source.num_classes == 1000
    assert [splits.size(split) for split in source[:3]] == [3, 1, 2]
    found = [splits.take(split, range(splits.size(split))) for split in source[:3]]
    assert sorted([*found[0].labels, *found[1].labels]) == sorted(labels)
    for images, labels in found:
        # Each image was saved with its label in every pixel, as far as that goes.
        np.testing.assert_array_equal(images[:, 5, 5, 0], labels % 256)
    drawn = splits.read(source.test, [0], [(1, 2, 3)])
    assert drawn.images.shape == (1, 16, 16, 3)


def test_a_crop_is_drawn_where_it_is_asked_for_only(photographs):
    split = on_disk_lib.load("imagenet", data_dir=photographs, crop=(16, False)).train
    assert split.augmented
    (images, labels) = splits.read(split, [0, 4], [(1, 0), (1, 1)])
    np.testing.assert_allclose(images.mean((1, 2, 3)), 100 * labels, atol=2)


def test_the_facts_of_photographs_are_counted_where_they_lie(photographs, tmp_path):
    facts = in_memory.facts("imagenet", data_dir=photographs)
    assert (facts.num_classes, facts.train, facts.test) == (3, 9, 3)
    elsewhere = in_memory.facts("imagenet", data_dir=tmp_path / "nowhere")
    assert (elsewhere.train, elsewhere.test) == (1_281_167, 50_000)


def test_a_stored_split_can_be_sent_to_another_process(photographs):
    split = on_disk_lib.load("imagenet", data_dir=photographs, crop=(8, False)).test
    sent = pickle.loads(pickle.dumps(split))
    for array, expected in zip(
        splits.take(sent, [2, 0]), splits.take(split, [2, 0]), strict=True
    ):
        np.testing.assert_array_equal(array, expected)


def test_reading_asks_for_nothing_but_what_it_returns(photographs):
    given = {"crop": (8, False), "how": "first"}
    source = on_disk_lib.load("imagenet", data_dir=photographs, **given)
    (photographs / "train" / "n01" / "n01_0.JPEG").write_bytes(b"damaged")
    assert splits.take(source.train, [1, 2]).labels.tolist() == [1, 2]
    with pytest.raises(ValueError, match="damaged one in .*n01_0.JPEG"):
        splits.take(source.train, [0])
    (photographs / "train" / "n01" / "n01_0.JPEG").unlink()
    with pytest.raises(ValueError, match="must be readable.*n01_0.JPEG"):
        splits.take(source.train, [0])


@pytest.mark.parametrize("name", ["digits", "cifar-10"])
def test_a_set_that_cannot_be_streamed_is_refused(name):
    with pytest.raises(ValueError, match="mnist, .*imagenet, .* data.stream = False"):
        on_disk_lib.load(name)


def test_an_absent_imagenet_is_refused_with_both_ways_to_have_it(tmp_path):
    with pytest.raises(ValueError) as error:
        on_disk_lib.load("imagenet", data_dir=tmp_path / "nowhere")
    for part in ("train/<class>", "does not exist", "imagenet2012", "array_record"):
        assert part in str(error.value)


def test_an_imagenet_in_another_format_is_refused(tmp_path):
    folder = tmp_path / "imagenet2012" / "5.1.0"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text('{"fileFormat": "tfrecord"}')
    with pytest.raises(ValueError, match="imagenet2012.* has it as tfrecord"):
        on_disk_lib.load("imagenet", data_dir=tmp_path)


@pytest.mark.parametrize(
    "broken, message",
    [
        ("train/n02", r"classes in train, got the classes \['n02'\]"),
        ("val", "must hold ImageNet"),
    ],
)
def test_an_incomplete_folder_is_refused(photographs, broken, message):
    (photographs / broken).rename(photographs / "elsewhere")
    with pytest.raises(ValueError, match=message):
        on_disk_lib.load("imagenet", data_dir=photographs)


def test_a_class_without_images_is_refused(photographs):
    (photographs / "val" / "n02" / "n02_0.JPEG").unlink()
    with pytest.raises(ValueError, match="class must hold images .*n02"):
        on_disk_lib.load("imagenet", data_dir=photographs)


def test_only_photographs_have_a_size_to_choose(fashion):
    with pytest.raises(ValueError, match="images of one size, got data.size = 16"):
        on_disk_lib.load("fashion_mnist", data_dir=fashion, crop=(16, False))


def test_labels_that_had_to_be_read_are_neither_counted_nor_cut_by(fashion):
    given = {"data_dir": fashion, "validation": 3}
    assert balance.counts(on_disk_lib.load("fashion_mnist", **given)) is None
    with pytest.raises(ValueError, match="known before images are read, .* give ''"):
        on_disk_lib.load("fashion_mnist", **given, how="stratified")


def test_options_that_a_set_does_not_have_are_refused(fashion):
    with pytest.raises(ValueError, match="'fashion_mnist' takes no options.*'like'"):
        on_disk_lib.load("fashion_mnist", data_dir=fashion, options={"like": "mnist"})


@pytest.mark.parametrize("name", ["npz", "coco", "folder", "huggingface"])
@pytest.mark.parametrize("load", [in_memory.load, on_disk_lib.load, on_disk_lib.facts])
def test_options_that_your_own_set_does_not_have_are_refused(name, load, tmp_path):
    options = {"sizes": 8}
    with pytest.raises(ValueError, match=f"options of the data set '{name}' .*sizes"):
        load(name, data_dir=tmp_path, options=options)


def test_what_is_hidden_is_no_class_and_no_image_and_is_said(photographs, caplog):
    whole = on_disk_lib.load("imagenet", data_dir=photographs)
    assert not caplog.text
    for name in (".ipynb_checkpoints/x.jpg", "__MACOSX/n01/x.jpg", "n01/.git/x.jpg"):
        path = photographs / "train" / name
        path.parent.mkdir(parents=True)
        on_disk.save(path, 1)
    for name in (
        "n01/._n01_0.JPEG",
        "n01/Thumbs.db",
        "n02/a.gif",
        ".DS_Store",
        "a.jpg",
    ):
        (photographs / "train" / name).write_bytes(b"no image")
    source = on_disk_lib.load("imagenet", data_dir=photographs)
    assert source.num_classes == 3
    for one, other in zip(source[:3], whole[:3], strict=True):
        same(one, splits.take(other, range(splits.size(other))))
    sentence = (
        "left out of {}/train: 8 files or folders that are hidden or hold no image"
    )
    assert sentence.format(photographs) in caplog.text


def test_images_of_every_kind_are_taken_however_deep(photographs, caplog):
    names = ("a.WEBP", "b.bmp", "c.Png", "more/d.jpg", "more/deep/e.jpeg")
    for name in names:
        path = photographs / "train" / "n02" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        on_disk.save(path, 1)
    source = on_disk_lib.load("imagenet", data_dir=photographs, crop=(8, False))
    images, labels = splits.take(source.train, range(splits.size(source.train)))
    np.testing.assert_array_equal(np.bincount(labels), [3, 4 + len(names), 2])
    np.testing.assert_allclose(images.mean((1, 2, 3)), 100 * labels, atol=2)
    assert not caplog.text


def test_a_link_back_is_not_followed_and_a_linked_class_is(photographs, caplog):
    train = photographs / "train"
    (train / "n10").rename(photographs / "elsewhere")
    (train / "n10").symlink_to(photographs / "elsewhere")
    (train / "n01" / "back").symlink_to(train)
    source = on_disk_lib.load("imagenet", data_dir=photographs)
    np.testing.assert_array_equal(np.bincount(splits.labels(source.train)), [3, 4, 2])
    assert "left out" in caplog.text and "n01/back" in caplog.text


def test_one_class_is_refused(photographs):
    for name in on_disk.CLASSES[1:]:
        for part in ("train", "val"):
            (photographs / part / name).rename(photographs / f"{part}{name}")
    for act in (on_disk_lib.load, on_disk_lib.facts):
        with pytest.raises(ValueError, match="two classes.* got .* num_classes = 1"):
            act("imagenet", data_dir=photographs)
