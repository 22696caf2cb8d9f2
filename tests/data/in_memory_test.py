import json
import shutil
import sys
import time

import numpy as np
import on_disk
import pytest
from PIL import Image

from lthjax.data import facts as facts_lib
from lthjax.data import files, in_memory, splits


@pytest.fixture(scope="module")
def fashion(tmp_path_factory):
    """A tiny prepared fashion_mnist: its folder, and what is in it by label."""
    data_dir = tmp_path_factory.mktemp("tfds")
    rng = np.random.default_rng(0)
    splits = {
        split: (rng.integers(0, 256, (size, 28, 28), dtype=np.uint8), np.arange(size))
        for split, size in {"train": 10, "test": 4}.items()
    }
    on_disk.prepare("fashion_mnist", data_dir, splits)
    return data_dir, splits


@pytest.fixture
def tiny(tmp_path):
    return on_disk.tiny_imagenet(tmp_path)


def mine(*, data_dir=None, size=6):
    """A user's own set: pixels 0 and 255 in turn in one channel, 51 in the other."""
    images = np.full((size, 2, 2, 2), 51, np.uint8)
    images[..., 0] = np.resize([0, 255], (size, 2, 2))
    labels = np.arange(size, dtype=np.int64) % 3
    return (images, labels), (images[:2], labels[:2])


def mine_with_validation():
    source = in_memory.load(f"{__name__}:mine")
    return source._replace(validation=source.test)


def mine_as_floats():
    (images, labels), test = mine()
    return (images / 255, labels), test


def mine_by_mistake():
    return "a path"


def rows(split):
    return {image.tobytes() for image in split.images}


def test_the_division_of_digits_is_fixed_balanced_and_disjoint():
    source = in_memory.load("digits", validation=300)
    sizes = [len(split.labels) for split in source[:3]]
    assert sizes == [1_197, 300, 300]
    assert sum(sizes) == len(set.union(*map(rows, source[:3])))
    for split in (source.validation, source.test):
        np.testing.assert_array_equal(np.bincount(split.labels), [30] * 10)
    wide = in_memory.load("digits", validation=10)
    np.testing.assert_array_equal(wide.test.images, source.test.images)
    np.testing.assert_array_equal(wide.train.images[290:], source.train.images)


def test_digits_hold_the_counts_0_to_16_times_15():
    images = in_memory.load("digits").train.images
    np.testing.assert_array_equal(np.unique(images), 15 * np.arange(17))


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_the_facts_are_those_of_what_is_loaded(name):
    source, facts = in_memory.load(name, validation=100), in_memory.facts(name)
    assert source.train.images.shape[1:] == facts.image_shape
    assert len(source.train.labels) + 100 == facts.train
    assert len(source.test.labels) == facts.test
    assert (source.num_classes, source.mean) == (facts.num_classes, facts.mean)
    assert source.train.images.dtype == np.uint8
    assert source.train.labels.dtype == np.int32


@pytest.mark.parametrize("name", sorted(facts_lib.FACTS))
def test_every_set_with_facts_can_be_named_and_imitated(name):
    assert in_memory.facts(name) is facts_lib.FACTS[name]
    options = {"like": name, "train": 2, "test": 1}
    facts = in_memory.facts("synthetic", **options)
    source = in_memory.load("synthetic", **options)
    assert source.train.images.shape == (2, *facts_lib.FACTS[name].image_shape)
    assert source.num_classes == facts_lib.FACTS[name].num_classes
    assert facts.padding == facts_lib.FACTS[name].padding
    assert len(source.mean) == len(source.std) == facts.image_shape[-1]


def test_synthetic_classes_are_told_apart_by_their_nearest_mean():
    options = {"like": "cifar10", "image_shape": [8, 8, 3], "num_classes": 4}
    source = in_memory.load("synthetic", **options)
    train, test = (
        x.images.reshape(len(x.labels), -1).astype(float) for x in source[:3:2]
    )
    means = np.stack([train[source.train.labels == c].mean(0) for c in range(4)])
    distances = ((test[:, None] - means) ** 2).sum(-1)
    np.testing.assert_array_equal(distances.argmin(1), source.test.labels)
    again = in_memory.load("synthetic", **options)
    np.testing.assert_array_equal(again.train.images, source.train.images)


def test_limit_keeps_the_first_train_images_that_validation_leaves():
    whole = in_memory.load("digits", validation=200)
    part = in_memory.load("digits", validation=200, limit=50)
    np.testing.assert_array_equal(part.train.images, whole.train.images[:50])
    np.testing.assert_array_equal(part.validation.images, whole.validation.images)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"validation": -1}, "from 0 to 1496.* validation = -1"),
        ({"validation": 0.1}, "validation must be a whole number, got .* = 0.1"),
        ({"limit": 10.5}, "limit must be a whole number, got limit = 10.5"),
        ({"validation": 1_497}, "from 0 to 1496.* validation = 1497"),
        ({"validation": 497, "limit": 1_001}, "from 1 to the 1000.* limit = 1001"),
        ({"limit": 0}, "from 1 to the 1497.* limit = 0"),
        ({"like": "mnist"}, "options of the data set 'digits'.*'like'"),
    ],
)
def test_what_cannot_be_cut_so_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        in_memory.load("digits", **options)


def test_an_unknown_set_is_refused_with_the_choices_and_the_nearest():
    with pytest.raises(ValueError, match="digits, .* did you mean 'cifar10'"):
        in_memory.load("cifar-10")
    with pytest.raises(ValueError, match="like must be .* did you mean 'cifar10'"):
        in_memory.load("synthetic", like="cifar-10")


def test_imagenet_is_refused_where_it_is_not_streamed():
    with pytest.raises(ValueError, match="fit into memory.*data.stream = True"):
        in_memory.load("imagenet")


def test_a_prepared_set_is_read_as_it_was_written_without_tensorflow(fashion):
    data_dir, splits = fashion
    source = in_memory.load("fashion_mnist", data_dir=data_dir, validation=3)
    both = [
        np.concatenate(x) for x in zip(source.validation, source.train, strict=True)
    ]
    for (images, labels), split in ((both, "train"), (source.test, "test")):
        wrote = splits[split][0][labels]  # example i had label i; TFDS shuffled them
        np.testing.assert_array_equal(np.sort(labels), splits[split][1])
        np.testing.assert_array_equal(images[..., 0], wrote)
    assert [len(split.labels) for split in source[:3]] == [7, 3, 4]
    assert source.mean == facts_lib.FACTS["fashion_mnist"].mean
    assert "tensorflow" not in sys.modules


def test_without_its_reader_a_prepared_set_is_refused_in_a_sentence(
    fashion, monkeypatch
):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    files.opened.cache_clear()
    with pytest.raises(ValueError, match="must be read with tensorflow-datasets, wh"):
        in_memory.load("fashion_mnist", data_dir=fashion[0])


def test_the_environment_says_where_prepared_sets_lie(fashion, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(fashion[0]))
    assert len(in_memory.load("fashion_mnist").train.labels) == 10


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100"])
def test_an_unprepared_set_is_refused_at_once_with_the_command(name, tmp_path):
    start = time.perf_counter()
    with pytest.raises(ValueError) as error:
        in_memory.load(name, data_dir=tmp_path / "nowhere")
    assert time.perf_counter() - start < 1
    for part in (name, "nowhere", "does not exist", ".[prepare]", "array_record"):
        assert part in str(error.value)


def test_a_file_is_no_folder_of_sets(tmp_path):
    (tmp_path / "sets").write_text("x")
    with pytest.raises(ValueError, match="sets', a file; prepare it once"):
        in_memory.load("mnist", data_dir=tmp_path / "sets")


@pytest.mark.parametrize("inner", ["mnist", "mnist/3.0.1", "cifar10"])
def test_a_folder_within_that_of_the_set_names_its_parent(tmp_path, inner):
    (tmp_path / inner).mkdir(parents=True)
    (tmp_path / "mnist" / "3.0.1").mkdir(parents=True, exist_ok=True)
    (tmp_path / "mnist" / "3.0.1" / "dataset_info.json").write_text("{}")
    expected = f"got data_dir = '{tmp_path / inner}'; give its parent, '{tmp_path}'"
    with pytest.raises(ValueError, match=expected):
        in_memory.load("mnist", data_dir=tmp_path / inner)


def test_the_command_for_an_unprepared_set_is_python(tmp_path):
    with pytest.raises(ValueError) as error:
        in_memory.load("mnist", data_dir=tmp_path)
    code = str(error.value).split('python -c "')[1].removesuffix('"')
    compile(code, "command", "exec")
    assert repr(str(tmp_path)) in code


def test_a_set_prepared_in_another_format_is_refused(fashion, tmp_path):
    copy = tmp_path / "tfds"
    shutil.copytree(fashion[0], copy)
    (info,) = copy.glob("fashion_mnist/*/dataset_info.json")
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(ValueError, match="has it as tfrecord.* another data_dir"):
        in_memory.load("fashion_mnist", data_dir=copy)


@pytest.mark.parametrize("key", ["pythonClassName", "python_class_name", "type"])
def test_a_prepared_set_imports_no_class_but_those_of_tfds(fashion, tmp_path, key):
    copy = shutil.copytree(fashion[0], tmp_path / "copy")
    (described,) = copy.glob("fashion_mnist/*/features.json")
    features = json.loads(described.read_text())
    features["featuresDict"]["features"]["image"] = {key: "trap.Image"}
    described.write_text(json.dumps(features))
    with pytest.raises(ValueError, match="TFDS's own, got 'trap.Image'"):
        in_memory.load("fashion_mnist", data_dir=copy)


@pytest.mark.parametrize("seed", [-1, 1.5, True])
def test_made_up_data_have_a_seed_that_numpy_takes_as_it_is(seed):
    with pytest.raises(ValueError, match=f"from 0, got seed = {seed}"):
        in_memory.load("synthetic", seed=seed)


def test_tiny_imagenet_is_read_from_its_folder_or_the_one_above(tiny):
    for data_dir in (tiny, tiny.parent):
        source = in_memory.load("tiny_imagenet", data_dir=data_dir, validation=3)
        assert source.num_classes == len(on_disk.CLASSES)
        assert source.test.images.shape == (2, 64, 64, 3)
        assert sorted(source.test.labels) == [0, 2]
        assert sorted(source.validation.labels) == [0, 1, 2]
        assert len(source.train.labels) == 10
        # Each image was saved with 100 times its label in every pixel.
        pixels = source.train.images.mean((1, 2, 3))
        np.testing.assert_allclose(pixels, 100 * source.train.labels, atol=2)


def test_the_facts_of_tiny_imagenet_are_counted_where_it_lies(tiny, tmp_path):
    facts = in_memory.facts("tiny_imagenet", data_dir=tiny)
    assert (facts.num_classes, facts.train, facts.test) == (3, 13, 2)
    elsewhere = in_memory.facts("tiny_imagenet", data_dir=tmp_path / "nowhere")
    assert elsewhere is facts_lib.FACTS["tiny_imagenet"]


@pytest.mark.parametrize(
    "broken, message",
    [
        ("", "must hold the folder tiny-imagenet-200.*unpack"),
        ("val/val_annotations.txt", "val must hold its labels"),
        ("val/images/val_0.JPEG", "must be readable.*val_0"),
        ("train/n02/images", r"hold images in images/\*.*, got .*n02 "),
        ("train/n10", r"classes in train, got the classes \['n10'\]"),
    ],
)
def test_an_incomplete_tiny_imagenet_is_refused(tiny, broken, message):
    path = tiny / broken
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(ValueError, match=message):
        in_memory.load("tiny_imagenet", data_dir=tiny.parent)


def test_a_damaged_or_misshapen_image_is_refused_with_its_file(tiny):
    path = tiny / "train" / "n02" / "images" / "n02_1.JPEG"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="whole PNG or JPEG.*n02_1"):
        in_memory.load("tiny_imagenet", data_dir=tiny)
    Image.new("RGB", (32, 64)).save(path)
    with pytest.raises(ValueError, match=r"64 x 64 pixels, got \(32, 64\).*n02_1"):
        in_memory.load("tiny_imagenet", data_dir=tiny)


def test_a_users_function_is_a_source_and_its_facts_are_measured():
    source = in_memory.load(f"{__name__}:mine", validation=2, size=8)
    assert [len(split.labels) for split in source[:3]] == [6, 2, 2]
    assert source.train.labels.dtype == np.int32
    # One channel is half 0 and half 255; the other is constant, and stays finite.
    np.testing.assert_allclose(source.mean, (0.5, 51 / 255), rtol=1e-6)
    np.testing.assert_allclose(source.std, (0.5, 1.0), rtol=1e-6)
    facts = in_memory.facts(f"{__name__}:mine", size=8)
    scale = source.mean, source.std
    assert facts == facts_lib.Facts((2, 2, 2), 3, 8, 2, *scale, majority=0.5)


def test_a_users_own_validation_split_is_kept():
    for validation in (0, 2):
        name = f"{__name__}:mine_with_validation"
        source = in_memory.load(name, validation=validation)
        assert [len(split.labels) for split in source[:3]] == [6, 2, 2]
    with pytest.raises(ValueError, match="must be 0 or 2.*give data.validation=0"):
        in_memory.load(f"{__name__}:mine_with_validation", validation=1)


@pytest.mark.parametrize(
    "name, message",
    [
        ("mine_as_floats", "uint8.* got images = float64"),
        ("mine_by_mistake", "must return .* got str"),
        ("nothing", "must be importable"),
    ],
)
def test_what_is_no_source_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        in_memory.load(f"{__name__}:{name}")


def test_a_set_is_normalised_by_other_numbers_where_they_are_given():
    source = in_memory.load("digits")
    assert splits.normalised(source) == source
    other = splits.normalised(source, mean=(0.0,), std=(1.0,))
    assert (other.mean, other.std) == ((0.0,), (1.0,))
    assert splits.normalised(source, std=(2.0,)).mean == source.mean
    for given in ({"mean": (1.0, 2.0)}, {"std": (0.0,)}, {"mean": (np.nan,)}):
        with pytest.raises(ValueError, match="1 finite numbers, one a channel"):
            splits.normalised(source, **given)


def test_hidden_files_of_tiny_imagenet_are_none_and_other_kinds_are_taken(tiny, caplog):
    folder = tiny / "train" / "n02" / "images"
    (folder / "._n02_0.JPEG").write_bytes(b"no image")
    on_disk.save(folder / "n02_9.png", 1)
    source = in_memory.load("tiny_imagenet", data_dir=tiny)
    np.testing.assert_array_equal(np.bincount(source.train.labels), [4, 6, 4])
    assert "left out of" in caplog.text and "._n02_0.JPEG" in caplog.text


def test_a_line_of_the_annotations_without_a_class_is_refused(tiny):
    path = tiny / "val" / "val_annotations.txt"
    path.write_text(path.read_text() + "val_2.JPEG\n")
    with pytest.raises(ValueError, match="must list images of the 3 classes"):
        in_memory.load("tiny_imagenet", data_dir=tiny)
