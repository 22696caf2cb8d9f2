"""Own and packaged data are run with where readers of prepared sets are not there."""

import subprocess
import sys

import numpy as np
import on_disk
import pytest

from lthjax.data import facts, in_memory, packed

HIDDEN = ("tensorflow_datasets", "pyarrow", "grain", "array_record", "datasets")
HIDDEN += ("submitit", "safetensors", "tensorboardX", "tensorflow", "pandas")
HIDDEN += ("fcntl", "resource")  # which Windows has not

RUN = """
import sys
for name in {hidden}:
    sys.modules[name] = None
from lthjax.program.config import files
from lthjax.program.run import experiment

def stripes(size=8):
    import numpy as np
    images = np.arange(64 * 30, dtype=np.uint8).reshape(30, 8, 8, 1)
    return (images, np.arange(30) % 2), (images[:4], np.arange(4) % 2)

sys.modules["own"] = sys.modules["__main__"]
for name, data_dir, size, options in {sets}:
    config = files.default()
    config.data.update(name=name, validation=6, size=size)
    config.data.options.update(options)
    config.data_dir = data_dir
    config.model.options.hidden = (3,)
    config.train.update(steps=2, batch_size=8)
    config.search.levels = 0
    config.logging.tensorboard = False
    print(len(experiment.run(config, {folder!r} + "/" + name.replace(":", "_"))))
"""


def test_what_runs_a_config_is_imported_without_them():
    hidden = "".join(f"sys.modules[{name!r}] = None\n" for name in HIDDEN)
    code = f"import sys\n{hidden}from lthjax.program.run import dry_run, experiment"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_runs_need_no_package_of_prepared_sets_and_nothing_of_one_system(tmp_path):
    whole = in_memory.load("digits")
    packed.write(tmp_path, "digits", whole, facts.FACTS["digits"])
    for label, name in enumerate(("cat", "dog")):
        for i in range(15):
            path = tmp_path / "images" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            on_disk.save(path, label, shape=(9 + i % 3, 10))
    images, labels = whole.train
    np.savez(tmp_path / "own.npz", images=images[:40], labels=labels[:40] % 2)
    rows = [
        ("digits", "", 0, {}),
        ("packed", str(tmp_path), 0, {"set": "digits"}),
        ("folder", str(tmp_path / "images"), 8, {}),
        ("npz", str(tmp_path / "own.npz"), 0, {}),
        ("own:stripes", "", 0, {}),
    ]
    code = RUN.format(hidden=HIDDEN, sets=rows, folder=str(tmp_path / "runs"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["1"] * len(rows), done.stderr
