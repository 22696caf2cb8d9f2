import json

import numpy as np
import pytest
from PIL import Image

from lthjax.data import coco, in_memory, on_disk, regions, splits

WIDE, HIGH = 20, 10
BOX = [4, 2, 6, 5]
NAMES = ["left_end", "middle", "right_end"]


def region():
    """The run lengths of the box, column by column."""
    mask = np.zeros((HIGH, WIDE), bool)
    mask[2:7, 4:10] = True
    flat = mask.T.reshape(-1)
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    return {"size": [HIGH, WIDE], "counts": counts}


def row(**changes):
    points = [4, 4, 2, 7, 4, 1, 9, 4, 0]
    found = {"id": 5, "image_id": 3, "category_id": 8, "bbox": BOX, "area": 25}
    found |= {"iscrowd": 0, "segmentation": region(), "keypoints": points}
    return found | changes


def content(*rows, **changes):
    found = {
        "images": [{"id": 3, "file_name": "a.png", "height": HIGH, "width": WIDE}],
        "categories": [{"id": 2}, {"id": 8, "keypoints": NAMES}],
        "annotations": list(rows),
    }
    return found | changes


def folder(root, found):
    (root / "annotations").mkdir()
    for name in ("train", "test"):
        (root / name).mkdir()
        image = np.full((HIGH, WIDE, 3), 255, np.uint8)
        Image.fromarray(image).save(root / name / "a.png")
        text = found if isinstance(found, str) else json.dumps(found)
        (root / "annotations" / f"instances_{name}.json").write_text(text)
    return root


def load(root, **options):
    given = {"train": "train", "test": "test", "size": 16} | options
    return coco.load(data_dir=root, **given)


def test_an_object_becomes_shares_of_the_square_of_its_image(tmp_path):
    source = load(folder(tmp_path, content(row())), labels="keypoints")
    images, labels = splits.take(source.train, [0])
    assert images.shape == (1, 16, 16, 3) and labels.shape == (1, 1, 7 + 9)
    assert images[0, :8].all() and not images[0, 8:].any()  # 20 x 10 in 16 x 16
    expected = [1, 4 / WIDE, 2 / WIDE, 10 / WIDE, 7 / WIDE, 25 / WIDE**2, 0]
    np.testing.assert_allclose(labels[0, 0, :7], expected, rtol=1e-6)
    np.testing.assert_allclose(labels[0, 0, 7:10], [4 / WIDE, 4 / WIDE, 2], rtol=1e-6)
    assert source.num_classes == 2 and source.follow.keywords == {"pairs": (2, 1, 0)}


def test_the_class_of_a_pixel_is_that_of_the_smallest_object_on_it(tmp_path):
    small = row(id=6, category_id=2, area=1, segmentation=[[6, 2, 8, 2, 8, 4, 6, 4]])
    source = load(folder(tmp_path, content(small, row())), labels="classes", size=20)
    (labels,) = splits.take(source.train, [0]).labels
    assert source.num_classes == 3 and labels.dtype == np.int32
    assert (labels[2:7, 4:10] > 0).all() and (labels > 0).sum() == 30
    assert labels[3, 7] == 1 and labels[5, 5] == 2


def test_read_at_once_or_as_needed_it_is_the_same_set(tmp_path):
    root = folder(tmp_path, content(row()))
    options = {"train": "train", "test": "test", "size": 16}
    whole = in_memory.load("coco", data_dir=root, options=options)
    stored = on_disk.load("coco", data_dir=root, options=options)
    for ours, read in zip(splits.take(stored.test, [0]), whole.test, strict=True):
        np.testing.assert_array_equal(ours, read)
    facts = on_disk.facts("coco", data_dir=root, options=options)
    assert facts == in_memory.facts("coco", data_dir=root, options=options)
    assert facts.label_shape == whole.test.labels.shape[1:]


@pytest.mark.parametrize(
    "found, text",
    [
        ("{", "annotations must be JSON"),
        ({}, "annotations must be JSON"),
        (
            content(row(bbox=[15, 2, 7, 5])),
            "a box must lie in its image.* annotation 5",
        ),
        (content(row(bbox=[-3, 2, 7, 5])), "a box must lie in its image"),
        (content(row(bbox=[4, 2, 0, 5])), "positive width and height.*annotation 5"),
        (content(row(bbox=[4, 2, None, 5])), "positive width and height"),
        (content(row(area=0)), "area above 0, got area = 0 of annotation 5"),
        (content(row(image_id=4)), "image_id = 4 of annotation 5"),
        (content(row(category_id=1)), "category_id = 1 of annotation 5"),
        (content(row(keypoints=[1, 2, 2])), "visibility of 3 points"),
        (content(images=[]), "must name some images"),
        (content(row(), categories=[{"id": 8}, {"id": 8}]), "a number of its own"),
        (content(row(), categories=[{"id": 8}, {"id": "9"}]), "a number of its own"),
        (content(row(), 3), "be objects themselves"),
        (content(row(image_id=[3])), "another kind .*unhashable"),
        (content(row(area=10**400)), "what COCO writes, got .*train.json"),
        (content(row(), categories=[{"id": 8, "keypoints": 3}]), "of another kind"),
        (content(row(iscrowd=None)), "iscrowd must be 0 or 1, got iscrowd = None"),
        (content(row(bbox=[20, 0, 1, 5])), "an area in its image"),
        (
            content(images=[{"id": 3, "file_name": "b.png"}]),
            "in its folder, got 'b.png'",
        ),
        (
            content(images=[{"id": 3, "file_name": "a.png", "height": 0}]),
            "a height and a width in pixels",
        ),
    ],
)
def test_what_cannot_be_learnt_from_is_refused_by_name(tmp_path, found, text):
    with pytest.raises(ValueError, match=text):
        load(folder(tmp_path, found))


@pytest.mark.parametrize("none", [None, []])
def test_a_category_may_say_that_it_has_no_points(tmp_path, none):
    categories = [{"id": 2, "keypoints": none}, {"id": 8, "keypoints": NAMES}]
    root = folder(tmp_path, content(row(), categories=categories))
    source = load(root, labels="keypoints")
    assert source.train.label_shape == (1, 7 + 3 * len(NAMES))
    assert load(root, labels="boxes").train.label_shape == (1, 7)


def test_images_may_lie_in_folders_of_the_folder_and_that_at_home(
    tmp_path, monkeypatch
):
    images = [{"id": 3, "file_name": "deep/b.png", "height": HIGH, "width": WIDE}]
    root = folder(tmp_path, content(row(), images=images))
    with pytest.raises(ValueError, match="in its folder, got 'deep/b.png'"):
        load(root)
    for name in ("train", "test"):
        (root / name / "deep").mkdir()
        (root / name / "a.png").rename(root / name / "deep" / "b.png")
    monkeypatch.setenv("HOME", str(root))
    assert splits.take(load("~").train, [0]).images.any()


def test_a_category_must_have_one_name_in_both_splits(tmp_path):
    named = [{"id": 2, "name": "cat"}, {"id": 8, "name": "dog"}]
    named[1]["keypoints"] = NAMES
    root = folder(tmp_path, content(row(), categories=named))
    path = root / "annotations" / "instances_test.json"
    text = json.dumps(content(row(), categories=named))
    path.write_text(text.replace("dog", "eel"))
    with pytest.raises(ValueError, match="got 'dog' in 'train', 'eel' in 'test'"):
        load(root)
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())  # a mark of its encoding
    assert load(root).num_classes == 2


def test_what_is_asked_for_must_be_there(tmp_path):
    root = folder(tmp_path, content(row(segmentation=None), categories=[{"id": 8}]))
    with pytest.raises(ValueError, match=r"has no annotations/people_train.json"):
        load(root, kind="people")
    with pytest.raises(ValueError, match="did you mean 'boxes'"):
        load(root, labels="boxs")
    with pytest.raises(ValueError, match="size must be from 8"):
        load(root, size=2)


def test_labels_need_what_they_are_made_of(tmp_path):
    bare = row(segmentation=None)
    del bare["keypoints"]
    root = folder(tmp_path, content(bare, categories=[{"id": 8}]))
    with pytest.raises(ValueError, match="needs categories with keypoints"):
        load(root, labels="keypoints")
    with pytest.raises(ValueError, match="annotation 5 in .train.: no segmentation"):
        load(root, labels="classes")


@pytest.mark.parametrize(
    "segmentation, text",
    [
        ([[1, 1, 2]], "three corners at least, got 3 numbers"),
        ([[1, 1, 2, 2, "3", 3]], "annotation 5 in .train."),
        ({"size": [HIGH, WIDE], "counts": [1]}, "run lengths must have the size"),
    ],
)
def test_regions_that_cannot_be_drawn_are_refused_before_anything_is_read(
    tmp_path, segmentation, text
):
    root = folder(tmp_path, content(row(segmentation=segmentation)))
    with pytest.raises(ValueError, match=text):
        load(root, labels="classes")


def test_points_change_places_whatever_the_case_of_their_names():
    assert coco.mirrored(("Left_eye", "nose", "Right_eye")) == (2, 1, 0)


def test_an_image_of_another_size_than_it_says_is_named(tmp_path):
    images = [{"id": 3, "file_name": "a.png", "height": HIGH, "width": 19}]
    source = load(folder(tmp_path, content(row(), images=images)))
    with pytest.raises(ValueError, match=r"20 x 10 pixels for 19 x 10 of .*a\.png"):
        splits.take(source.train, [0])


def test_packed_runs_are_those_of_pycocotools():
    coding = pytest.importorskip("pycocotools.mask")
    mask = np.random.default_rng(0).uniform(size=(37, 23)) < 0.5
    mask[5:30, 3:20] = True
    packed = coding.encode(np.asfortranarray(mask.astype(np.uint8)))
    np.testing.assert_array_equal(regions.mask(packed, 37, 23), mask)


def test_a_region_must_fill_its_image():
    np.testing.assert_array_equal(
        np.argwhere(regions.mask(region(), HIGH, WIDE)).max(0), [6, 9]
    )
    with pytest.raises(ValueError, match="must have the size of the image"):
        regions.mask({"size": [2, 2], "counts": [3]}, 2, 2)
    with pytest.raises(ValueError, match="three corners"):
        regions.mask([[1, 2, 3, 4]], 5, 5)
