"""The heat map of pre-training: its rows, columns and published first steps."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from commands import loaded

pytestmark = pytest.mark.usefixtures("beside")


def picked(size, seed, steps):
    """Rows of a network of 5,000 neurons, whose accuracy is its step's thousands."""
    shown = loaded("wolfe2021").SHOWN
    return [
        {"width": 5000, "size": size, "seed": seed, "step": step, "distinct": 1}
        | {"train": [step / 1000] * len(shown), "test": [1.0] * len(shown)}
        | {"dense_test": 1.0}
        for step in steps
    ]


def test_a_heat_map_is_of_the_seeds_and_steps_asked_for_each_in_its_column():
    experiment = loaded("wolfe2021")
    asked = experiment.two_layers.asked
    rows = picked(1000, 0, range(0, 3000, 500)) + picked(50_000, 0, (0, 1000, 2000))
    rows += picked(1000, 1, (0,))
    options = SimpleNamespace(seeds=1, steps=2000, every=1000, smoke=False)
    found = asked(rows, options)
    assert [(r["size"], r["step"]) for r in found] == [
        *((1000, 0), (1000, 1000), (1000, 2000)),
        *((50_000, 0), (50_000, 1000), (50_000, 2000)),
    ]
    assert {row["seed"] for row in asked(rows, options)} == {0}
    known = experiment.PUBLISHED["heat"]["5000"]["1000"]
    lines = experiment.table(rows[:1] + rows[2:3] + rows[6:8], "").splitlines()
    cells = [line for line in lines if line.startswith("| 1,000 |")][0].split("|")
    # The steps 0 and 1,000 are of both sizes; 1,000 has no other.
    assert cells[2:4] == [f" 0.0 ({known[0]}) ", f" 1.0 ({known[1]}) "]
    short = experiment.table(rows[:3] + rows[6:7], "").splitlines()
    titles = next(line for line in short if line.startswith("| m | 0"))
    assert titles == "| m | 0 | 500 | 1000 | first |"
    (largest,) = (line for line in short if line.startswith("| 50,000 | 0.0 ("))
    assert largest.endswith("|  |  | 0 (7000) |")


def test_the_published_first_step_stands_beside_one_of_all_sizes_alone():
    experiment = loaded("wolfe2021")
    assert experiment._first(5000, 1000, {1000: 1000, 50_000: 1000}) == "1000 (1000)"
    assert experiment._first(5000, 1000, {1000: 1000, 5000: 2000}) == "1000"


@pytest.mark.parametrize("smoke", [True, False])
def test_rows_of_made_up_data_and_of_real_ones_do_not_meet(smoke):
    asked = loaded("wolfe2021").two_layers.asked
    rows = [row | ({} if smoke else {"smoke": True}) for row in picked(1000, 0, (0,))]
    options = SimpleNamespace(seeds=1, steps=2000, every=1000, smoke=smoke)
    with pytest.raises(ValueError, match=f"all be of --smoke.*smoke = {smoke}; take"):
        asked(rows, options)


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


def test_networks_of_other_sizes_have_a_folder_of_their_own(tmp_path, monkeypatch):
    experiment, seen = loaded("wolfe2021"), []
    data = {"train": (np.zeros((3000, 4)), np.zeros(3000))}

    def newest(folder, states):
        seen.append(folder.name)
        raise KeyError

    monkeypatch.setattr(experiment.checkpoints, "newest", newest)
    for sizes, seeds in (([1000, 3000], 1), ([2000, 3000], 1), ([1000], 2)):
        own = SimpleNamespace(sizes=sizes, seeds=seeds, workdir=tmp_path, smoke=False)
        own.every = experiment.EVERY
        with pytest.raises(KeyError):
            experiment.heat(own, 8, data)
    own.every = 500
    with pytest.raises(KeyError):
        experiment.heat(own, 8, data)
    assert len(set(seen)) == 4
    own.sizes = [3001]
    with pytest.raises(ValueError, match="at most 3,000, got --sizes = 3,001"):
        experiment.heat(own, 8, data)


def test_a_run_of_the_bound_is_done_where_it_is_whole_and_of_the_same_options(tmp_path):
    experiment = loaded("wolfe2021_theory")
    words = [f"--workdir={tmp_path}", "--margins=2"]
    options = experiment.parser().parse_args(words)
    assert not experiment.finished(options)
    run = {"asked": experiment.asked(options)}
    (tmp_path / "run.json").write_text(json.dumps(run))
    assert experiment.finished(options)
    options.margins = 3
    assert not experiment.finished(options)
    (tmp_path / "run.json").write_text("{}")  # an earlier version's
    assert not experiment.finished(options)
