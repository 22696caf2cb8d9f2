"""What the experiments compute from numbers alone, beside the published ones."""

import importlib.util
import pathlib
from types import SimpleNamespace

import numpy as np
import pytest

EXPERIMENTS = pathlib.Path(__file__).parent.parent / "experiments"


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, EXPERIMENTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("width", ["5000", "20000"])
def test_the_published_heat_maps_give_the_published_first_steps(width):
    experiment = loaded("wolfe2021")
    published = experiment.PUBLISHED
    cells = {
        int(size): [
            (step, SimpleNamespace(mean=value))
            for step, value in zip(published["iterations"], row, strict=True)
        ]
        for size, row in published["heat"][width].items()
    }
    found = experiment.first(cells)
    wanted = [1000 * first for first in published["first"][width]]
    assert [found[size] for size in experiment.SIZES] == wanted


def test_a_draw_fires_by_the_threshold_of_its_config():
    experiment = loaded("you2020")
    masks = np.arange(20) < np.arange(10, 15)[:, None]  # one bit of 20 an epoch
    fired = {
        threshold: experiment.fired(
            masks,
            SimpleNamespace(early_bird=SimpleNamespace(queue=3, threshold=threshold)),
        )
        for threshold in (0.01, 0.06)
    }
    assert set(fired[0.01].values()) == {-1}
    # Three distances of a twentieth are known at the fourth mask.
    assert fired[0.06]["consecutive"] == 4
