"""Every config is imported, shrunk and run two steps."""

import re

import pytest
import tiny
from cases import rest_slow
from paths import ROOT

from lthjax.data import batches, facts, splits
from lthjax.program.build import methods, source, spans, unread
from lthjax.program.build import plan as plan_lib
from lthjax.program.config import files, validate
from lthjax.program.run import experiment
from lthjax.retraining import rescaling

FOLDER = ROOT / "configs"
FILES = sorted(path.name for path in FOLDER.glob("*.py"))
# One stage of one block: what is left out repeats what is there, and takes to compile.
SHORTER = {"blocks": (1,), "channels": (16,)}
TWO_STAGES = {"depths": (1, 1), "channels": (16, 16)}


# One group of channels.
FIRST = ("stage[3-7]", "stage2_block1")


def load(name, variant=None):
    return files.load(FOLDER / name, variant)


def test_the_names_that_users_type_are_there():
    names = ("digits", "mnist", "cifar10", "cifar100", "imagenet")
    assert {f"{name}.py" for name in names} <= set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_config_opens_with_its_command_and_is_valid(name):
    text = (FOLDER / name).read_text()
    assert re.match('"""[^"]*python -m lthjax.main --config=configs/' + name, text)
    validate.validate(load(name))


def variants(name):
    """Returns the variants of a config, by what it says of one that is none."""
    with pytest.raises(ValueError, match="'?other'?") as error:
        load(name, "other")
    asked, _, _ = str(error.value).partition(", got 'other'")
    if asked == str(error.value):  # it takes none
        return (None,)
    return asked.removeprefix("the variant must be one of ").split(", ")


@pytest.mark.parametrize("name", FILES)
def test_a_config_sets_nothing_that_its_run_does_not_read(name):
    for variant in variants(name):
        config = load(name, variant)
        validate.validate(config)
        assert unread.unread(config) == {} == methods.unread(config), variant


@pytest.mark.parametrize("name", rest_slow(FILES, "digits.py"))
def test_a_config_shrunk_takes_two_steps_and_a_level(name, tmp_path):
    config = methods.shrunk(load(name), steps=2)
    changes = {"seeds": (0,), "controls": ()}
    if config.model.name.startswith("resnet"):
        short = r"^head/" in config.search.exclude
        changes["search.exclude"] = ("^head/",) if short else ()
        changes["model.options"] = {**config.model.options, **SHORTER}
    if config.model.name.startswith("vgg"):
        changes["model.options"] = {**config.model.options, **TWO_STAGES}
    if config.model.name in ("vit_tiny", "gpt_tiny"):
        changes["model.options"] = {**config.model.options, "depth": 1}
    rows = experiment.run(tiny.changed(config, changes), tmp_path)
    levels = {1} if config.search.method == "early_bird" else {0, 1}
    own = {(1, arm) for arm in config.retraining.arms}
    found = plan_lib.of(config, source.load(config)).plan
    rounds = {(1, "search")} if spans.rounds(found) else set()
    expected = {(level, "ticket") for level in levels} | own | rounds
    assert {(row["level"], row["arm"]) for row in rows} == expected


@pytest.mark.parametrize(
    "variant, share",
    rest_slow(
        [("gradual", 0.1), ("soft_threshold", 1.0), ("wirings", 0.1)], ("gradual", 0.1)
    ),
)
def test_what_pruning_imagenet_is_compared_with_steps_too(variant, share, tmp_path):
    name = "imagenet_continuous.py"
    config = methods.shrunk(files.load(FOLDER / name, variant))
    # Another network, which takes seconds less to compile: the search is what differs.
    changes = {"model.name": "mlp", "model.options": {"hidden": (8,)}}
    rows = experiment.run(tiny.changed(config, {"seeds": (0,), **changes}), tmp_path)
    (ticket,) = [row for row in rows if (row["level"], row["arm"]) == (1, "ticket")]
    rounding = len(ticket["layers"])
    assert abs(ticket["kept"] - share * ticket["prunable"]) <= rounding


@pytest.mark.slow
def test_a_forward_config_of_mobilenet_takes_two_steps_and_a_level(tmp_path):
    validate.validate(load("imagenet_forward.py", "mobilenet_v2"))
    config = load("cifar10_forward.py", "mobilenet_v2")
    small = methods.shrunk(config, steps=2)
    small = tiny.changed(small, {"seeds": (0,), "search.exclude": FIRST})
    rows = experiment.run(small, tmp_path)
    assert [(row["level"], row["arm"]) for row in rows] == [
        (0, "ticket"),
        (1, "ticket"),
    ]


@pytest.mark.parametrize(
    "name, key, epochs",
    [
        ("cifar100.py", "search.rewind_to", 3),
        ("cifar10_continuous.py", "search.rewind_to", 2),
        ("cifar10_continuous.py:conv6", "search.rewind_to", 2),
        ("imagenet.py", "search.rewind_to", 5),
        ("imagenet_forward.py", "forward.tune", 80),
    ],
)
def test_steps_that_stand_for_epochs_are_whole_ones(name, key, epochs):
    config = load(*name.split(":"))
    images = facts.FACTS[config.data.name].train - config.data.validation
    epoch = batches.steps_per_epoch(images, config.train.batch_size)
    assert validate.flat(config)[key] == epochs * epoch


# The released defaults of arXiv:1912.04427, the command for sparse networks in the
# README of arXiv:2206.12755, the detector of arXiv:1909.11957, the flags of
# arXiv:2003.01794 and the fine-tuning of arXiv:2108.00259.
RELEASED = {
    "search.gates": {
        "initial": (0.0,),
        "penalty": 1e-8,
        "final_temperature": 200.0,
        "momentum": 0.9,
        "nesterov": True,
        "scaled": True,
    },
    "retraining.rescaling": {
        "iterations": 180,
        "rate": 1e-2,
        "step": 0.1,
        "bound": 1.0,
        "normalise": True,
        "floor": 0.01,
        "clip": 1.0,
    },
    "early_bird": {"threshold": 0.1, "queue": 5},
    "forward": {
        "number": 50,
        "tolerance": 0.02,
        "gate": 0.05,
        "batch_size": 128,
        "tune": 2500,
        "tune_rate": 0.01,
        "replace": False,
    },
}
# epochs (or steps), batch, rate, drops, weight decay, Nesterov: of the published codes.
PROTOCOLS = {
    "cifar10.py": (160, 128, 0.1, (80, 120), 1e-4, False),
    "cifar100.py": (182, 128, 0.1, (90, 135), 2e-4, False),
    "cifar10_continuous.py": (85, 128, 0.1, (56, 71), 1e-4, True),
    "cifar10_vgg16_early_bird.py": (160, 256, 0.1, (80, 120), 1e-4, False),
    "cifar10_forward.py": (80_000, 128, 0.1, (), 5e-4, False),
    "imagenet.py": (90, 1024, 0.4, (30, 60, 80), 1e-4, False),
    "imagenet_forward.py": (150, 256, 0.1, (), 5e-4, False),
    "mnist.py": (50_000, 60, 1.2e-3, (), 0.0, False),
}


@pytest.mark.parametrize("section", RELEASED)
def test_defaults_are_those_that_were_released(section):
    found = validate.flat(files.default())
    for key, value in RELEASED[section].items():
        assert found[f"{section}.{key}"] == value, key


def test_the_library_re_scales_as_the_program_does():
    own = files.default().retraining.rescaling.to_dict()
    assert rescaling.Options()._asdict() == own


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_config_trains_by_the_protocol_that_it_claims(name):
    train, tx, schedule = (load(name)[k] for k in ("train", "optimizer", "schedule"))
    length = train.epochs or train.steps
    own = tx.learning_rate, tuple(schedule.drops), tx.weight_decay, tx.nesterov
    assert (length, train.batch_size, *own) == PROTOCOLS[name]
    assert tx.momentum == 0.9 and schedule.factor == 0.1


def test_mnist_has_a_shorter_variant_and_no_others():
    short = files.load(FOLDER / "mnist.py", "short")
    validate.validate(short)
    assert short.train.steps < load("mnist.py").train.steps
    with pytest.raises(ValueError, match="one of paper, short, got 'other'"):
        files.load(FOLDER / "mnist.py", "other")


def test_what_is_streamed_is_streamed_when_shrunk():
    small = methods.shrunk(load("imagenet.py"))
    assert splits.size(source.load(small).train) == 64
    assert isinstance(source.load(small).train, splits.Stored)


def test_shrinking_leaves_the_config_and_takes_its_path():
    config = load("cifar10.py")
    before = files.to_json(config)
    small = methods.shrunk(config)
    assert files.to_json(config) == before
    for key in ("model.name", "search.method", "schedule.name", "data.flip"):
        flat, whole = validate.flat(small), validate.flat(config)
        assert flat[key] == whole[key]
    assert 0 < small.search.rewind_to < small.train.steps
