"""The experiments on tweaks: their configs, and how settings of tweaks are chosen."""

import math
from types import SimpleNamespace

import pytest
from commands import loaded
from matplotlib.figure import Figure

from lthjax.program.build import recipes, unread
from lthjax.program.config import files, validate

pytestmark = pytest.mark.usefixtures("beside")


@pytest.mark.parametrize(
    "cell, epoch, rewound, gone",
    [
        # ceil(45,000 / 128) and ceil(95,000 / 128) steps an epoch.
        ("cifar100-resnet18-magnitude", 352, 3, 90),
        ("cifar10-resnet18-snip", 352, 0, 90),
        ("tiny_imagenet-resnet18-magnitude", 743, 3, 100),
        ("tiny_imagenet-vgg16-grasp", 743, 0, 100),
        ("cifar10-resnet8-one_shot", 79, 0, 3),  # of 5,000 images, 64 a batch
    ],
)
def test_what_a_cell_says_in_epochs_are_those_of_its_own_data(
    cell, epoch, rewound, gone
):
    options = SimpleNamespace(data_dir="", seeds=3, ablation=False, smoke=False)
    found = loaded("jaiswal2021").config(cell, options)
    assert unread.unread(found) == {}
    assert found.search.rewind_to == rewound * epoch
    whole = found.train.epochs * epoch - found.search.rewind_to
    for ghost in (found.retraining.neurons, found.retraining.skips):
        end = found.search.rewind_to + math.ceil(ghost.end * whole)
        assert end == gone * epoch == found.schedule.drops[0] * epoch


def test_each_tweak_alone_is_retrained_in_a_cell_of_its_own():
    experiment = loaded("jaiswal2021_fit")
    options = SimpleNamespace(networks="resnet8", masks="one_shot", images="250")
    vars(options).update(data="cifar10", data_dir="", seeds=3, steps=1500, width=1.0)
    vars(options).update(ablation=True, smoke=False)
    found = experiment.configs(options)
    name = "cifar10-resnet8-one_shot-250"
    assert list(found) == [name, f"{name}-alone"]
    both, alone = found.values()
    for config in (both, alone):
        validate.validate(config)
    assert both.retraining.arms == (experiment.ALL,)
    assert both.search.sparsities[1:2] == alone.search.sparsities == (0.95,)
    assert alone.retraining.arms == experiment.ALONE
    alone.search.sparsities = both.search.sparsities
    alone.retraining.update(arms=both.retraining.arms, levels=both.retraining.levels)
    assert files.digest(alone) == files.digest(both)  # all else is the same


def test_a_surface_is_of_the_networks_of_its_cell(tmp_path, monkeypatch):
    experiment, drawn = loaded("jaiswal2021"), []
    landscapes = experiment.landscapes
    numbers = {"gradient_norm": 1.0, "top_eigenvalue": 1.0, "trace": 1.0, "quiet": 0.5}

    def analyses(cell, settings, root, examples):
        value = float(cell.startswith("cifar100"))
        own = {"cell": cell, "arm": "ticket", "level": 1, "surface": [[value]]}
        return [{**own, "seed": seed, **numbers} for seed in settings.seeds]

    monkeypatch.setattr(experiment.experiment, "run", lambda *_: [])
    monkeypatch.setattr(experiment.gains, "figure", lambda rows: Figure())
    monkeypatch.setattr(landscapes, "analyses", analyses)
    surfaces = landscapes.surfaces
    note = lambda rows: drawn.append(surfaces(rows)) or drawn[-1]  # noqa: E731
    monkeypatch.setattr(landscapes, "surfaces", note)
    options = SimpleNamespace(data_dir="", seeds=3, ablation=False, smoke=False)
    vars(options).update(workdir=tmp_path, analyses=8, size="shortened")
    cells = ["cifar10-resnet18-snip", "cifar100-resnet18-snip"]
    text = experiment._run(cells, options)
    for value, figure in enumerate(drawn):
        panel, _ = figure.axes
        assert panel.get_title() == "ticket, level 1, n = 3"
        assert panel.images[0].get_array() == [[value]]
    assert all(f"| {cell} | 1 | ticket |" in text for cell in cells)


SETTINGS = {"steps": 1500, "seeds": 3, "width": 1.0, "smoke": False, "data_dir": ""}
SETTINGS |= {"data": "cifar10", "questions": "end,after,smoothing"}


def test_settings_are_chosen_on_validation_and_tested_on_fresh_seeds():
    experiment = loaded("jaiswal2021_settings")
    options = SimpleNamespace(**SETTINGS)
    asked = experiment.choices(options)
    trials = experiment.trials(options, asked)
    cell = experiment.Cell(250, 1500)
    arms = trials[cell.name].retraining.arms
    rows = [
        {"run": run, "arm": arm, "level": 1, "seed": seed, "retrained": arm != "ticket"}
        | {"validation_accuracy": 0.5 + gain, "test_accuracy": 0.5 - gain}
        for run in (cell.name, f"{cell.name}-tested")
        for seed in range(3)
        for gain, arm in zip((0, 0.1, 0.3, 0.2), ("ticket", *arms[:3]), strict=True)
    ]
    assert experiment.likely(rows, asked[0]) == asked[0].settings[0]  # one is missing
    end = asked[0]._replace(settings=asked[0].settings[:3])
    assert experiment.likely(rows, end) == experiment.best(rows, end)
    taken = experiment.best(rows, end)
    assert taken == (cell, "skips.end=0.5", 0.5)
    chose = experiment.gained(rows, cell, "skips.end=0.5")
    told = experiment.gained(rows, cell, "skips.end=0.5", tested=True)
    assert (chose.mean, told.mean, told.n) == pytest.approx((30, -30, 3))
    (tested,) = experiment.tests(options, [taken[:2]]).values()
    assert tested.seeds == (3, 4, 5) and tested.retraining.arms == ("skips.end=0.5",)
    assert not set(tested.seeds) & set(trials[cell.name].seeds)


def test_a_setting_that_two_questions_choose_is_one_and_counted_once():
    experiment = loaded("jaiswal2021_settings")
    options = SimpleNamespace(**SETTINGS | {"questions": "end,after"})
    asked = experiment.choices(options)
    configs = experiment.trials(options, asked)
    chosen = "skips.end=0.5"
    rows = [
        {"run": f"{run}{end}", "arm": arm, "level": 1, "seed": seed, "train_loss": 0.1}
        | {"retrained": arm != "ticket", "validation_accuracy": (arm == chosen) / 10}
        | {"test_accuracy": (arm == chosen) / 10}
        for run, config in configs.items()
        for end in ("", "-tested")
        for arm in ("ticket", *config.retraining.arms)
        for seed in range(3)
    ]
    taken = [experiment.best(rows, choice)[:2] for choice in asked]
    assert taken == [(experiment.Cell(250, 1500), chosen)] * 2
    (tested,) = experiment.tests(options, taken).values()
    assert tested.retraining.arms == (chosen,)
    assert "1 of 1 settings that were chosen gain" in experiment.text(
        options, rows, asked
    )


@pytest.mark.parametrize("steps", [1500, 20_000, 64_000])
def test_branches_are_held_as_long_whatever_the_length(steps):
    experiment = loaded("jaiswal2021_settings")
    options = SimpleNamespace(**SETTINGS | {"questions": "after", "steps": steps})
    (choice,) = experiment.choices(options)
    configs = experiment.trials(options, [choice])
    for cell, arm, after in choice.settings:
        found = recipes.recipe(configs[cell.name], (0, cell.steps), 10, arm)
        assert found.skips_fade.end == steps // 2 == cell.steps - after


@pytest.mark.parametrize("steps", [1, 3])
def test_steps_without_a_quarter_are_refused(steps):
    options = SimpleNamespace(**SETTINGS | {"steps": steps})
    with pytest.raises(ValueError, match=f"at least 4.*got steps = {steps}"):
        loaded("jaiswal2021_settings").choices(options)


def test_branches_of_equally_many_steps_are_followed_by_more_and_more():
    experiment = loaded("jaiswal2021_settings")
    (choice,) = experiment.choices(SimpleNamespace(**SETTINGS | {"questions": "after"}))
    for cell, arm, after in choice.settings:
        config = experiment.trials(SimpleNamespace(**SETTINGS), [choice])[cell.name]
        recipe = recipes.recipe(config, (0, cell.steps), 10, arm)
        assert recipe.skips_fade.end == 750 == cell.steps - after
        validate.validate(config)
