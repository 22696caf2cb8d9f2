"""Folders that `datasets` has saved, read by it or by what stands in for it here."""

import importlib.util
import os
import sys
import types

import numpy as np
import on_disk
import pytest
from classes import counted

from lthjax.data import hugging_face, in_memory, splits
from lthjax.data import on_disk as on_disk_lib

LABELS = np.repeat([0, 1, 2], (10, 6, 4)).tolist()
NAMES = ["cat", "dog", "eel"]


def pictures(labels):
    shapes = [(8 + i % 5, 9, 3) for i in range(len(labels))]
    pairs = zip(shapes, labels, strict=True)
    images = [np.full(shape, 100 * label, np.uint8) for shape, label in pairs]
    return [on_disk.encoded(image, "png").read() for image in images]


class Image:
    def __init__(self, decode=True):
        self.decode = decode


class ClassLabel:
    def __init__(self, names):
        self.names = names


class Table:
    """As `datasets.Dataset`: columns by name, rows by number."""

    def __init__(self, columns, features):
        self.columns, self.features = columns, features

    def cast_column(self, name, kind):
        assert not kind.decode
        return Table(self.columns, self.features | {name: kind})

    def with_format(self, kind):
        plain = [getattr(x, "tolist", lambda x=x: x)() for x in self.columns.values()]
        assert kind is None
        return Table(dict(zip(self.columns, plain, strict=True)), self.features)

    def __getitem__(self, which):
        if isinstance(which, str):
            return self.columns[which]
        if isinstance(which, int):
            return {name: rows[which] for name, rows in self.columns.items()}
        return {n: [rows[i] for i in which] for n, rows in self.columns.items()}


class Parts(dict):
    """As `datasets.DatasetDict`."""

    def with_format(self, kind):
        return {name: own.with_format(kind) for name, own in self.items()}


def table(labels, kind=None, **more):
    rows = [{"bytes": data, "path": None} for data in pictures(LABELS[: len(labels)])]
    features = {"image": Image(), "label": kind or ClassLabel(NAMES)}
    columns = {"image": rows, "label": labels, **more}
    return Table(columns, features | dict.fromkeys(more))


@pytest.fixture
def saved(monkeypatch, tmp_path):
    """Lets a folder hold what is given."""
    hugging_face._load.cache_clear()
    hugging_face._opened.cache_clear()
    stand_in = types.SimpleNamespace(Image=Image)
    monkeypatch.setitem(sys.modules, "datasets", stand_in)

    def save(found):
        whole = Parts(found) if isinstance(found, dict) else found
        stand_in.load_from_disk = lambda top: whole
        return tmp_path

    yield save
    hugging_face._load.cache_clear()
    hugging_face._opened.cache_clear()


def check_read(top):
    source = in_memory.load("huggingface", data_dir=top, size=8, validation=4)
    assert source.classes == tuple(NAMES)
    # A fifth is the test split, a quarter of what is left for validation.
    assert [counted(x) for x in source[:3]] == [[6, 4, 2], [2, 1, 1], [2, 1, 1]]
    given = {"data_dir": top, "validation": 4, "crop": (8, False)}
    stored = on_disk_lib.load("huggingface", **given)
    for one, other in zip(stored[:3], source[:3], strict=True):
        found = splits.take(one, range(splits.size(one)))
        np.testing.assert_array_equal(found.images, other.images)
        np.testing.assert_array_equal(found.labels, other.labels)
        # Each image was saved with 100 times its label in every pixel.
        np.testing.assert_array_equal(other.images[:, 0, 0, 0], 100 * other.labels)


def test_a_saved_set_is_read(saved):
    check_read(saved(table(LABELS)))


@pytest.mark.parametrize("parts", [False, True])
def test_a_set_that_was_saved_with_a_format_is_read(saved, parts):
    found = table(np.array(LABELS), object())  # whose numbers are NumPy's
    top = saved({"train": found, "test": found} if parts else found)
    source = in_memory.load("huggingface", data_dir=top, size=8)
    assert counted(source.train) == ([10, 6, 4] if parts else [8, 5, 3])


def test_a_set_that_was_saved_again_is_read_again(saved):
    top = saved(table(LABELS))
    (top / "state.json").write_text("{}")
    before = in_memory.load("huggingface", data_dir=top, size=8)
    saved(table([2 - label for label in LABELS]))
    os.utime(top / "state.json", ns=(0, 1))
    after = in_memory.load("huggingface", data_dir=top, size=8)
    assert counted(before.train) == [8, 5, 3] and counted(after.train) == [3, 5, 8]


@pytest.mark.parametrize("kind", ["texts", "numbers"])
def test_labels_may_be_texts_or_numbers(saved, kind):
    texts = kind == "texts"
    labels = [NAMES[i] for i in LABELS] if texts else LABELS
    top = saved({"train": table(labels, object()), "valid": table(labels, object())})
    source = in_memory.load("huggingface", data_dir=top, size=8)
    assert source.classes == (tuple(NAMES) if texts else ("0", "1", "2"))
    pixels = source.validation.images[:, 0, 0, 0]
    np.testing.assert_array_equal(pixels, 100 * source.validation.labels)


def test_splits_that_are_not_read_are_said(saved, caplog):
    top = saved({"train": table(LABELS), "unlabelled": table([])})
    in_memory.load("huggingface", data_dir=top, size=8)
    assert "the splits unlabelled" in caplog.text


@pytest.mark.parametrize(
    "found, options, message",
    [
        ({"test": table(LABELS)}, {}, "must have a split train, got test in"),
        (table(LABELS), {"image": "picture"}, "one of image, label, got 'picture'"),
        (table(LABELS, mask=LABELS), {"label": "mark"}, "one of .*mask, got 'mark'"),
        (table([*LABELS[:-1], -1]), {}, "some without one in the split train"),
        (table([0.5] * 20, object()), {}, "numbers of classes from 0, got 0.5"),
        (
            {"train": table(LABELS), "test": table(LABELS, ClassLabel(NAMES[::-1]))},
            {},
            r"classes alike, got \['eel', 'dog', 'cat'\] in test, \['cat', 'dog'",
        ),
        (
            {"train": table(LABELS), "test": Table({}, {"image": Image()})},
            {},
            "one of image, got 'label' for the split test of",
        ),
        (
            Table({"x": []}, {"x": object()}),
            {},
            "one column of images .* got none of x",
        ),
    ],
)
def test_what_is_no_set_of_images_is_refused(saved, found, options, message):
    with pytest.raises(ValueError, match=message):
        in_memory.load("huggingface", data_dir=saved(found), **options)


@pytest.mark.parametrize("image", [{"bytes": b"", "path": None}, None])
def test_a_damaged_image_is_named_by_its_row(saved, image):
    found = table(LABELS)
    found.columns["image"][3] = image
    with pytest.raises(ValueError, match="an empty one in .*, train, row 3; mend"):
        in_memory.load("huggingface", data_dir=saved(found), size=8)


def test_a_file_that_is_named_alone_must_be_there(saved, tmp_path):
    found = table(LABELS)
    found.columns["image"][3] = {"bytes": None, "path": str(tmp_path / "gone.png")}
    with pytest.raises(ValueError, match=r"must be readable, got .*gone.png"):
        in_memory.load("huggingface", data_dir=saved(found), size=8)


def test_without_the_package_one_sentence_says_what_installs_it(monkeypatch, tmp_path):
    hugging_face._load.cache_clear()
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"needs the package datasets, .*\[huggingfa"):
        in_memory.load("huggingface", data_dir=tmp_path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(
    importlib.util.find_spec("datasets") is None, reason="datasets is not installed"
)
def test_a_set_that_the_package_itself_saved_is_read(tmp_path):
    import datasets

    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)}
    rows = {"image": [{"bytes": x, "path": None} for x in pictures(LABELS)]}
    found = datasets.Dataset.from_dict(
        rows | {"label": LABELS}, features=datasets.Features(kinds)
    )
    found.with_format("numpy").save_to_disk(tmp_path / "whole")
    check_read(tmp_path / "whole")
    named = datasets.DatasetDict({"train": found, "test": found.select([0, 12, 19])})
    named.save_to_disk(tmp_path / "parts")
    source = in_memory.load("huggingface", data_dir=tmp_path / "parts", size=8)
    assert counted(source.test) == [1, 1, 1]
    with pytest.raises(ValueError, match="save_to_disk wrote, got"):
        in_memory.load("huggingface", data_dir=tmp_path)
