"""A user's own folder of images by class: of any sizes, kinds and depths."""

import pickle

import numpy as np
import on_disk
import pytest
from classes import counted
from PIL import Image

from lthjax.data import balance, class_folders, in_memory, photographs, splits
from lthjax.data import on_disk as on_disk_lib

SIZES = {"cat": 30, "dog": 15, "eel": 5}
ENDS = ("png", "jpg", "bmp", "webp")  # the last one has no grey


def images(top, sizes=SIZES, *, grey=False, shape=None):
    """Writes classes of images, one in three of them a folder deeper."""
    rng = np.random.default_rng(len(str(top)))
    rows = [(name, i) for name, number in sizes.items() for i in range(number)]
    for name, i in rows:
        inner = top / name / "more" if i % 3 == 2 else top / name
        inner.mkdir(parents=True, exist_ok=True)
        side = shape or tuple(int(n) for n in rng.integers(9, 30, 2))
        label = sorted(sizes).index(name)
        on_disk.save(
            inner / f"{i}.{ENDS[i % (3 if grey else 4)]}", label, grey=grey, shape=side
        )
    return top


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    return images(tmp_path_factory.mktemp("flat"))


def load(top, **options):
    return in_memory.load("folder", data_dir=top, size=8, **options)


def test_a_folder_of_classes_is_cut_into_every_class_s_share(flat):
    source = load(flat, validation=10)
    assert source.classes == ("cat", "dog", "eel") and source.num_classes == 3
    # A fifth is the test split; of the 40 left, a quarter is for validation.
    assert [counted(x) for x in source[:3]] == [[18, 9, 3], [6, 3, 1], [6, 3, 1]]
    for images, labels in source[:3]:
        assert images.shape[1:] == (8, 8, 3) and images.dtype == np.uint8
        # Each image was saved with 100 times its label in every pixel.
        np.testing.assert_allclose(images.mean((1, 2, 3)), 100 * labels, atol=3)
    again = load(flat, validation=10)
    for one, other in zip(source[:3], again[:3], strict=True):
        np.testing.assert_array_equal(one.images, other.images)
    assert not balance.warnings(balance.counts(source))


def test_a_streamed_folder_has_the_images_of_the_resident_one(flat):
    given = {"data_dir": flat, "validation": 10}
    stored = on_disk_lib.load("folder", **given, crop=(8, True))
    resident = in_memory.load("folder", **given, size=8)
    for one, other in zip(stored[:3], resident[:3], strict=True):
        found = splits.take(one, range(splits.size(one)))
        np.testing.assert_array_equal(found.images, other.images)
        np.testing.assert_array_equal(found.labels, other.labels)
    assert stored[3:] == resident[3:]
    sent = splits.take(pickle.loads(pickle.dumps(stored.test)), [3, 1])
    np.testing.assert_array_equal(sent.images, resident.test.images[[3, 1]])
    facts = in_memory.facts("folder", data_dir=flat, size=8)
    assert facts == on_disk_lib.facts("folder", data_dir=flat, side=8)
    assert facts[:4] == ((8, 8, 3), 3, 40, 10) and facts.mean == resident.mean
    assert facts.majority == 0.6


def test_the_middle_of_the_longer_side_is_what_is_left(tmp_path):
    columns = np.tile(np.arange(12, dtype=np.uint8)[:, None], (4, 1, 3))
    wide = 20 * columns.reshape(4, 12, 3)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(4):
            Image.fromarray(wide).save(tmp_path / name / f"{i}.png")
    for size, expected in ((4, [80, 100, 120, 140]), (2, [90, 130])):
        images = in_memory.load("folder", data_dir=tmp_path, size=size).train.images
        # Half the size is the mean of two columns: bilinear, of a straight line.
        np.testing.assert_allclose(images[0, 0, :, 0], expected, atol=1)
        tall = photographs.fitted((size, size, 1), _png(wide.transpose(1, 0, 2)), "")
        np.testing.assert_allclose(tall[:, 0, 0], expected, atol=1)


def _png(image):
    return on_disk.encoded(image, "png").read()


def test_folders_of_splits_are_the_splits(tmp_path):
    for part, number in {"Training": 4, "val": 2, "testing": 3}.items():
        images(tmp_path / part, dict.fromkeys(SIZES, number))
    assert [counted(x) for x in load(tmp_path)[:3]] == [[4] * 3, [2] * 3, [3] * 3]
    with pytest.raises(ValueError, match="must be 0 or 6.*give data.validation=0"):
        load(tmp_path, validation=5)
    for path in (tmp_path / "testing" / "eel").rglob("*.*"):
        path.rename(tmp_path / "Training" / "eel" / f"moved{path.name}")
    (tmp_path / "testing" / "eel" / "more").rmdir()
    (tmp_path / "testing" / "eel").rmdir()
    (sentence,) = balance.warnings(balance.counts(load(tmp_path)))
    assert sentence.startswith("the test split has no image of class 2 of 3")


def test_what_is_absent_is_cut_from_train(tmp_path, caplog):
    images(tmp_path / "train", {"a": 10, "b": 5})
    assert [splits.size(x) for x in load(tmp_path)[:3]] == [12, 0, 3]
    images(tmp_path / "valid", {"a": 2, "b": 1})
    assert [splits.size(x) for x in load(tmp_path, test=0.4)[:3]] == [9, 3, 6]
    assert "not read" not in caplog.text


def test_a_share_beside_a_test_split_is_told(tmp_path, caplog):
    for part, number in {"train": 4, "test": 3}.items():
        images(tmp_path / part, {"a": number, "b": number})
    assert [splits.size(x) for x in load(tmp_path, test=0.4)[:3]] == [8, 0, 6]
    assert "test = 0.4 is not read: 'folder' has a test split" in caplog.text
    with pytest.raises(ValueError, match=r"must be in \(0, 1\), got test = 40"):
        load(tmp_path, test=40)


@pytest.mark.parametrize(
    "names, found",
    [
        ("a b", "train ."),
        ("train plane", "train ."),
        ("test control", "train ."),
        ("train", "train train"),
        ("train test", "train train test test"),
        ("Train valid", "train Train validation valid"),
    ],
)
def test_splits_are_told_from_classes_by_their_names(tmp_path, names, found):
    for name in names.split():
        (tmp_path / name).mkdir()
    parts = class_folders.parts(tmp_path)
    words = [
        w for part, x in parts.items() for w in (part, str(x.relative_to(tmp_path)))
    ]
    assert sorted(words) == sorted(found.split())


@pytest.mark.parametrize("names", ["train test plane", "test val", "train val valid"])
def test_what_may_be_splits_or_classes_is_refused(tmp_path, names):
    for name in names.split():
        (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match="either classes or the splits train, valid"):
        class_folders.parts(tmp_path)


def test_grey_images_stay_grey_and_one_of_colour_makes_all_so(tmp_path):
    top = images(tmp_path / "grey", grey=True, shape=(6, 5))
    whole = in_memory.load("folder", data_dir=top)
    assert whole.train.images.shape[1:] == (6, 5, 1)  # all of one size: as they are
    np.testing.assert_allclose(
        whole.train.images.mean((1, 2, 3)), 100 * whole.train.labels, atol=3
    )
    assert load(top, channels=3).train.images.shape[1:] == (8, 8, 3)
    on_disk.save(top / "cat" / "colour.png", 0, shape=(6, 5))
    assert load(top).train.images.shape[1:] == (8, 8, 3)
    assert load(top, channels=1).train.images.shape[1:] == (8, 8, 1)


def test_images_of_many_sizes_need_one(flat):
    message = "of one size where none is asked for, got .* give data.size"
    with pytest.raises(ValueError, match=message):
        in_memory.load("folder", data_dir=flat)


@pytest.mark.parametrize("module", [in_memory, on_disk_lib])
def test_files_that_are_no_images_are_all_named_before_anything(tmp_path, module):
    images(tmp_path, {"a": 9, "b": 9}, shape=(8, 8))
    (tmp_path / "a" / "empty.png").touch()
    (tmp_path / "b" / "text.jpg").write_text("no image")
    whole = next(iter(tmp_path.glob("b/*.png")))
    (tmp_path / "b" / "cut.png").write_bytes(whole.read_bytes()[:-30])
    with pytest.raises(ValueError) as error:
        module.load("folder", data_dir=tmp_path)
    text = str(error.value)
    assert "got 3 of 21 that are not" in text and "mend or remove them" in text
    for name in ("an empty one in", "a/empty.png", "b/text.jpg", "b/cut.png"):
        assert name in text


def test_of_many_damaged_files_some_are_named(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(4):
            (tmp_path / name / f"{i}.png").touch()
    with pytest.raises(ValueError, match="got 8 of 8 .*; and 3 more; mend"):
        load(tmp_path)
    (tmp_path / "a" / "0.png").write_bytes(b"none")
    with pytest.raises(ValueError, match=r"a/0.png \(its bytes are of no image\);"):
        load(tmp_path)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"data_dir": None}, "data_dir must be the folder of images by class"),
        ({"path": "nowhere"}, "got data_dir = .*nowhere', which does not exist"),
        ({"path": "cat/0.png"}, "cat/0.png', a file"),
        (
            {"path": "cat/more"},
            "data_dir must hold a .* a class, got none in .*cat/more",
        ),
        ({"path": "cat"}, "at least two classes, .* got one, 'more'"),
        ({"test": 1.0}, r"must be in \(0, 1\), got test = 1.0"),
        ({"test": 0.001}, "must leave images to train on, got 0 of the 50"),
        ({"channels": 4}, "channels must be 0, 1 or 3"),
        ({"check": "all"}, "check one of whole, heads, .* check = 'all'"),
        ({"shuffle": True}, "options of the data set 'folder'.*'shuffle'"),
    ],
)
def test_what_is_no_such_folder_is_refused(flat, options, message):
    given = {"data_dir": flat, "size": 8} | options
    with pytest.raises(ValueError, match=message):
        in_memory.load("folder", **given)


def test_what_does_not_fit_into_memory_is_to_be_streamed(flat, monkeypatch):
    monkeypatch.setattr(in_memory.memory, "installed", lambda: 1e4)
    with pytest.raises(ValueError, match="half of the memory, .* give data.stream"):
        load(flat)


def test_a_folder_that_cannot_be_read_is_not_left_out_in_silence(tmp_path, unreadable):
    images(tmp_path)
    unreadable("more")
    with pytest.raises(ValueError, match="must be readable, got .*/cat/more .Permiss"):
        load(tmp_path)


def test_a_split_beside_another_folder_is_no_class(tmp_path):
    for name in ("train/cat", "train/dog", "unlabelled"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "unlabelled" / "a.png").touch()
    with pytest.raises(ValueError, match="either classes or the splits"):
        class_folders.parts(tmp_path)
    (tmp_path / "unlabelled" / "b").mkdir()  # all of folders: classes, train is one
    (tmp_path / "unlabelled" / "a.png").unlink()
    assert class_folders.parts(tmp_path) == {"train": tmp_path}
