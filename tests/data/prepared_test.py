"""Sets that TFDS prepared, of which something is lost."""

import shutil

import faulty_disk
import numpy as np
import on_disk
import pytest

from lthjax.data import files, in_memory, splits
from lthjax.data import on_disk as on_disk_lib


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    top, images = tmp_path_factory.mktemp("tfds"), np.zeros((10, 28, 28), np.uint8)
    parts = dict.fromkeys(("train", "test"), (images, np.arange(10)))
    on_disk.prepare("fashion_mnist", top, parts)
    return top


@pytest.mark.parametrize("module", [in_memory, on_disk_lib])
@pytest.mark.parametrize(
    "name, lost",
    [("*train*", True)]
    + [(n, False) for n in ("*train*", "dataset_info.json", "features.json")],
)
def test_a_damaged_prepared_set_is_refused_in_a_sentence(
    prepared, tmp_path, module, name, lost
):
    shutil.copytree(prepared, tmp_path / "sets")
    (path,) = (tmp_path / "sets" / "fashion_mnist").glob(f"*/{name}")
    path.unlink() if lost else faulty_disk.halve(path)
    files.opened.cache_clear()
    with pytest.raises(ValueError, match="must be whole, got 'fashion_mnist' in .*set"):
        source = module.load("fashion_mnist", data_dir=tmp_path / "sets")
        splits.take(source.train, range(3))
