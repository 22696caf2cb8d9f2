import numpy as np
import on_disk
import pytest

from lthjax.data import in_memory, packed, splits


def pack(name, folder, data_dir=None, **more):
    source = in_memory.load(name, data_dir=data_dir)
    facts = in_memory.facts(name, data_dir=data_dir)
    return packed.write(folder, name, source, facts, **more)


def same(one, other):
    for name in splits.PARTS:
        for array, expected in zip(
            getattr(one, name), getattr(other, name), strict=True
        ):
            np.testing.assert_array_equal(array, expected)
            assert array.dtype == expected.dtype
    assert one[3:] == other[3:]


@pytest.mark.parametrize("name", ["cifar100", "fashion_mnist"])
def test_a_packed_set_is_the_one_that_was_prepared(name, tmp_path):
    rng = np.random.default_rng(0)
    shape = in_memory.FACTS[name].image_shape
    shape = shape[:2] if shape[-1] == 1 else shape
    arrays = {
        part: (rng.integers(0, 256, (size, *shape), np.uint8), np.arange(size) % 10)
        for part, size in {"train": 30, "test": 7}.items()
    }
    on_disk.prepare(name, tmp_path, arrays)
    pack(name, tmp_path / "packed", tmp_path)
    for cut in ({}, {"validation": 5, "limit": 11}, {"validation": 10, "how": "first"}):
        found = in_memory.load("packed", data_dir=tmp_path / "packed", set=name, **cut)
        same(found, in_memory.load(name, data_dir=tmp_path, **cut))
    known = in_memory.facts("packed", data_dir=tmp_path / "packed", set=name)
    assert known == in_memory.facts(name)


def test_the_names_of_classes_are_packed_too(tmp_path):
    source = in_memory.load("digits")._replace(classes=tuple("abcdefghij"))
    facts = in_memory.facts("digits")
    for name in ("named", "[n]amed"):  # no pattern, whose parts would go
        packed.write(tmp_path, name, source, facts)
    for name in ("named", "[n]amed"):
        found = in_memory.load("packed", data_dir=tmp_path, set=name)
        assert found.classes == source.classes


def test_classes_that_come_in_turn_are_cut_as_before(tmp_path):
    folder = on_disk.tiny_imagenet(tmp_path / "tiny")
    pack("tiny_imagenet", tmp_path / "packed", folder)
    cut = {"validation": 4, "limit": 6}
    given = {"data_dir": tmp_path / "packed", "set": "tiny_imagenet"}
    expected = in_memory.load("tiny_imagenet", data_dir=folder, **cut)
    same(in_memory.load("packed", **given, **cut), expected)


def test_parts_are_of_the_size_asked_for_and_must_all_be_there(tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "SHEET", 100)
    whole = sum(path.stat().st_size for path in pack("digits", tmp_path))
    most = whole // 3 + 10_000
    paths = pack("digits", tmp_path, most=most)
    assert len(paths) > 2
    assert all(path.stat().st_size <= most for path in paths)
    assert sorted(tmp_path.iterdir()) == paths
    same(in_memory.load("packed", data_dir=tmp_path, set="digits"), in_memory.digits())
    paths[1].rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="the parts .* must lie in data_dir, got"):
        packed.packed(set="digits", data_dir=tmp_path)


def test_what_is_damaged_or_of_another_packing_is_refused(tmp_path, monkeypatch):
    (path,) = pack("digits", tmp_path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="part of a packed set must be whole, got"):
        packed.packed(set="digits", data_dir=tmp_path)

    monkeypatch.setattr(packed, "_digest", lambda splits: ["other"])
    pack("digits", tmp_path)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="must hold what was packed"):
        packed.packed(set="digits", data_dir=tmp_path)


def test_no_part_no_room_and_no_colour_are_refused(tmp_path):
    with pytest.raises(ValueError, match="got none in .*pack.py --set=mnist"):
        packed.facts(set="mnist", data_dir=tmp_path)
    with pytest.raises(ValueError, match="must have room for a sheet"):
        pack("digits", tmp_path, most=10_000)
    deep = in_memory.load("synthetic", image_shape=(8, 8, 2))
    with pytest.raises(ValueError, match="must be grey or RGB"):
        packed.write(tmp_path, "deep", deep, in_memory.FACTS["digits"])


@pytest.mark.parametrize(
    "inputs",
    [np.ones((6, 4, 4, 3)), np.ones((6, 4, 4, 1), np.uint16), np.eye(6)[:, :3]],
)
def test_inputs_that_are_no_images_are_refused(tmp_path, inputs):
    split = splits.Split(inputs, np.arange(6) % 3)
    source = splits.Source(split, split, split, 3, (), ())
    with pytest.raises(ValueError, match="must be grey or RGB, .* uint8 .n, h, w, c"):
        packed.write(tmp_path, "own", source, in_memory.FACTS["digits"])
    assert not list(tmp_path.iterdir())


def test_labels_that_are_no_classes_are_refused(tmp_path):
    source = in_memory.load("digits")
    train = source.train._replace(labels=source.train.labels.astype(np.float32))
    given = source._replace(train=train), in_memory.FACTS["digits"]
    with pytest.raises(ValueError, match="a class for each image.* float32, int"):
        packed.write(tmp_path, "digits", *given)
    assert not list(tmp_path.iterdir())
