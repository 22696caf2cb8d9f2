"""What a run refuses before it reads data: counts of levels, steps, names, arms."""

import sys

import numpy as np
import pytest
import tiny

from lthjax.program.build import plan
from lthjax.program.config import files, validate
from lthjax.program.run import check, recording
from lthjax.program.run.population import Job, Population
from lthjax.program.workdir.measures import ACCURACY
from lthjax.program.workdir.member import Member
from lthjax.tickets import Ticket
from lthjax.training.steps import COLUMNS

NET = {"model.options": {}, "data.options": {"train": 48, "test": 16}}
RES = {**NET, "model.name": "resnet20"}
EARLY = {"model.options": {"blocks": (1,), "channels": (4,)}, "train.steps": 9}
EARLY = {**RES, **EARLY, "search.method": "early_bird"}
STEPPED = {"schedule.name": "piecewise"}  # of four steps, an epoch has three
GRADUAL = {"search.method": "gradual", "dynamic.every": 1, "dynamic.end": 1.0}
DRAWN = {**EARLY, "search.method": "forward", "search.levels": 1}
DRAWN |= {"retraining.arms": ("distillation",)}


def infinite(rate, **options):
    return lambda step: np.inf + 0.0 * step


def nothing(rate, **options):
    return None


def rows(rate, **options):
    return lambda step: rate * np.ones(3)


def branching(rate, **options):
    return lambda step: rate if step < 3 else 0.0


BAD = [
    (
        {"search.sparsities": (0.99999,)},
        r"level 1, which keeps none, .* = \(0.99999,\)",
    ),
    ({"search.sparsities": (0.0, 0.5)}, "level 1, which keeps 592 weights after 592"),
    ({"search.sparsities": (0.5, 0.50001)}, "level 2, which keeps 296 weights after"),
    ({"search.levels": 1000}, "level 24, which keeps 3 weights after 3, .*rate = 0.2"),
    ({"search.rate": 1e-5}, "level 1, which keeps 592 weights after 592"),
    ({"search.pattern": "channels", "search.rate": 0.01}, "keeps 18 after 18"),
    ({"search.pattern": "channels", "search.sparsities": (0.99,)}, "keeps 0 after 18"),
    (
        {"search.pattern": "999x1"},
        r"must fit .* '999x1' for dense1/kernel \[64, 8\], h",
    ),
    ({"schedule.name": f"{__name__}:infinite"}, "rate below infinity, got rate = inf"),
    ({"schedule.name": f"{__name__}:nothing"}, "one learning rate for a step, got sch"),
    ({"schedule.name": f"{__name__}:rows"}, "one learning rate for a step, got sched"),
    ({"schedule.name": f"{__name__}:branching"}, f"'{__name__}:branching', which rais"),
    ({**GRADUAL, "search.score": "snip"}, "search.score is not read by .*'gradual'"),
    ({**GRADUAL, "search.pattern": "channels"}, "search.pattern is not read by"),
    ({"data.validation": 0}, "validation split must have at least one image, got 0"),
    ({"data.options": {"train": 48, "test": 0}}, "test split must have at least one"),
    ({"optimizer.norm_l1": 1e-4}, "needs scales of batch norm, .* dense1/bias"),
    ({**EARLY, "search.sparsities": (0.1,)}, "must lose one of its 4 channels, got"),
    ({**EARLY, "search.sparsities": (0.9,)}, "1 layers must keep a channel"),
    ({"data.crop": 8}, "below the 8 pixels of an image, got data.crop = 8"),
    ({"data.size": 10}, "goes with data.stream = True, got data.size = 10"),
    ({"data.mean": (0.5,) * 3}, "data.mean must be 1 finite numbers, one a channel"),
    ({"data.mean": (127.0,)}, r"data.mean must be in \[0, 1\], got data.mean ="),
    ({**STEPPED, "schedule.drops": (1.3334,)}, "from 1 to 3, .* which are the steps 4"),
    ({**STEPPED, "schedule.drops": (0.1,)}, "which are the steps 0"),
    ({**STEPPED, "schedule.drops": (0.3, 0.4)}, "which are the steps 1, 1"),
    ({"schedule.warmup": 2}, "within the 4 steps .* got schedule.warmup = 2"),
    ({"train.steps": 2**31 - 1}, "must have fewer than 2,147,483,648 steps"),
    ({"train.steps": 2**30 - 1, "eval_every": 1}, "at most 1,000,000 validations"),
    ({"model.width": 1e-9}, r"a layer of 8 channels from 1 .* got width = 1e-09"),
    ({"model.width": 1e6}, r"a layer of 8 channels from 1 .* got width = 1000000.0"),
    *(
        ({"model.options": {"hidden": hidden}}, "hidden")
        for hidden in [(0,), (-3,), (8.5,), "a", ("a",), 8, None, (True,), (2**40,)]
    ),
    (
        {**DRAWN, "forward.draw_at": 8},
        r"arms = \('distillation',\) with .* 'forward', whose dense .* ends before; n",
    ),
    ({"model.options": {"initialiser": 3}}, "initialiser like 'glorot_normal', got"),
    ({"model.options": {"activation": "relu"}}, "activation like a function of arrays"),
    (
        {"model.name": "resnet8", "model.options": {"beside": 1}},
        "beside like None, got beside = 1",
    ),
    ({**RES, "model.options": {"blocks": (1, 1, 1, 1)}}, "channels for each, got blo"),
    ({"model.name": "vgg16", "model.options": {"depths": ()}}, "a stage at least"),
    ({**RES, "model.options": {"blocks": (), "channels": ()}}, "channels for each"),
    ({**RES, "model.options": {"blocks": (1, 0)}}, "from 1 to 1,000, got blocks"),
    ({**RES, "model.options": {"channels": (16,)}}, r"got blocks = \(3, 3, 3\)"),
    ({**RES, "model.options": {"channels": (4, 6, 8, 9)}}, r"channels = \(4, 6,"),
    ({**RES, "model.options": {"bottleneck": 1}}, "bottleneck like False, got"),
]


@pytest.mark.parametrize("changes, message", BAD)
def test_what_trains_the_wrong_thing_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        check.check(tiny.config(changes))


ARMS = [
    (
        ("neurons+smoothing", "smoothing+neurons"),
        r"is the same as 'neurons\+smoothing'",
    ),
    (("tost_paper", "all_tweaks"), "'all_tweaks' is the same as 'tost_paper'"),
    (("vanilla+skips", "skips"), r"'skips' is the same as 'vanilla\+skips'"),
    (("neurons+neurons",), "has 'neurons' twice"),
    (("neurons+all_tweaks",), "has 'neurons' twice"),
    (("vanilla+vanilla",), "has 'vanilla' twice"),
    (("nurons",), "did you mean 'neurons'"),
    (("",), "an arm must be one of"),
    (("smoothing=0.10", "smoothing"), "'smoothing' is the same as 'smoothing=0.10'"),
    (("smoothing=0.2+smoothing=0.3",), "which sets smoothing twice"),
    (("neurons.end=2",), "of the arm 'neurons.end=2': retraining.neurons.end must be"),
    (("neurons.kind=mesh",), "one of swish, .* did you mean 'mish'"),
    (("rescaling.iterations=1.5",), "of type int, got .* = 1.5"),
    (("smoothing=",), "of type float, got .* = ''"),
    (("neurons.ned=0.5",), "a key of retraining, got neurons.ned .* 'neurons.end'"),
    (("nurons.end=0.5",), "must be of neurons, .* did you mean 'neurons'"),
    (("distillation.teacher=a",), "a key of retraining, got distillation.teacher"),
    (("pools.examples=9",), "must be of neurons, .* got 'pools.examples=9'"),
    (("neurons=mish",), "section; it has neurons.end, neurons.hold, neurons.kind$"),
    (("law=cosine",), r"the tweak that reads it, .*; write law=cosine\+neurons"),
    (("convention=uniform",), r"; write convention=uniform\+smoothing"),
    (("random+law=cosine",), "must have at most one control, and a tweak"),
    (("rescaling.rate=1e+1+smothing",), "did you mean 'smoothing'"),
    (("neurons.hold=0.6",), "^of the arm 'neurons.hold=0.6': the neurons's fade must"),
    (("smoothing+law=cosine",), "must set what it reads, got law"),
    (("smoothing+law=linear",), "must set what it reads, got law"),
    (("tost_code+neurons.end=0.2",), "must set what it reads, got neurons.end"),
    (("tost_code+neurons.end=0.5",), "must set what it reads, got neurons.end"),
    (("frozen_skips+skips.start=constant",), "what it reads, got skips.start"),
]


@pytest.mark.parametrize("arms, message", ARMS)
def test_an_arm_has_each_tweak_once_and_sets_what_it_reads(arms, message):
    with pytest.raises(ValueError, match=message):
        check.check(tiny.config({"retraining.arms": arms}))


def test_arms_that_differ_are_allowed_and_their_times_are_checked():
    arms = ("neurons", "smoothing", "neurons+smoothing", "vanilla", "tost_code")
    network = {"model.name": "resnet8", "model.width": 0.25, "model.options": {}}
    check.check(tiny.config({"retraining.arms": arms, **network}))
    late = {"retraining.arms": ("neurons",), "retraining.neurons.hold": 0.9}
    with pytest.raises(ValueError, match="must begin before it ends at step 2"):
        check.check(tiny.config(late))


TEXTS = {name for name, v in validate.flat(files.default()).items() if type(v) is str}
# Checked where they are used, and always used; or free.
ELSEWHERE = {
    "best_by",
    "data.augment",
    "data.cut",
    "data.name",
    "data_dir",
    "model.dtype",
    "model.name",
    "objective",
}
ELSEWHERE |= {"optimizer.name", "retraining.distillation.teacher", "schedule.name"}
ELSEWHERE |= {f"search.{n}" for n in ("corrupt", "method", "pattern", "restart")}
ELSEWHERE |= {"search.scope", "search.score"}
ELSEWHERE |= {f"elastic.{n}" for n in ("map", "source", "unit")}
ELSEWHERE |= {"transplant.source", "logging.writer", "search.include"}
ELSEWHERE |= {"train.stop.by", "model.weights", "search.gates.optimizer"}


def test_every_text_of_a_config_is_checked_somewhere():
    assert {*check.CHOICES, *check.OPEN_CHOICES} == TEXTS - ELSEWHERE


@pytest.mark.parametrize("name", [*check.CHOICES, *check.OPEN_CHOICES])
def test_a_misspelt_name_is_refused_where_nothing_reads_it(name):
    default = validate.flat(files.default())[name]
    expected = f"{name} must be one of .* got {name} = '{default}x'"
    with pytest.raises(ValueError, match=expected):
        check.check(tiny.config({name: f"{default}x"}))


def test_one_seed_that_may_be_meant_as_a_number_of_them_is_said():
    def said(*seeds):
        return plan.lone_seed(tiny.config({"seeds": seeds}))

    assert said(5) == "one seed, called 5; 5 of them are --config.seeds=0,1,2,3,4"
    assert said(1000).endswith("--config.seeds=0,1,2,3,4,5,6,7,8,...")
    assert said(0) == said(1) == said(0, 5) == ""


@pytest.mark.parametrize(
    "level, arms, text",
    [
        (0, ("ticket", "ticket"), "dense 20.00 %"),
        (0, ("ticket", "skips"), "dense 10.00 %, skips 30.00 %"),
        (1, ("ticket", "reinit"), "ticket 10.00 %, reinit 30.00 %"),
        (2, ("search", "search"), "search 20.00 %"),
    ],
)
def test_the_log_says_whose_validation_accuracy_it_shows(level, arms, text):
    ticket = Ticket(level, 0, 4, {}, {}, {})
    jobs = [Job(arm, Member(seed), ticket) for seed, arm in enumerate(arms)]
    curve = np.zeros((2, 1, len(COLUMNS)))
    curve[:, 0, COLUMNS.index("validation_accuracy")] = 0.1, 0.3
    population = Population(jobs, None, None, None, 4, 0.0)
    told = [], population, curve
    assert recording.tell(*told, {0: 4}, ACCURACY) == f"validation accuracy: {text}"
    assert recording.tell(*told, {}, ACCURACY) == ""


def test_events_without_their_writer_are_refused(monkeypatch):
    config = tiny.config({"logging.tensorboard": True})
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ValueError, match="logging.tensorboard must be False where"):
        check.check(config)


def test_wirings_keep_a_share_of_each_layer():
    given = {"search.method": "wirings", "search.sparsities": (0.5,)}
    with pytest.raises(ValueError, match="keeps a share of each layer, got .*'global'"):
        check.check(tiny.config(given))
    for scope in ("layer", "erdos_renyi"):
        check.check(tiny.config({**given, "search.scope": scope}))


@pytest.mark.parametrize(
    "key, kind", [("data.name", "a data set"), ("data.augment", "an augmentation")]
)
def test_a_name_that_leads_to_no_function_is_refused(key, kind):
    with pytest.raises(ValueError, match=f"{kind} of your own must be a function, got"):
        check.check(tiny.config({key: "math:pi", "data.options": {}}))


@pytest.mark.parametrize("fraction, told", [(0.0, True), (1e-6, True), (0.3, False)])
@pytest.mark.parametrize("method", ["set", "rigl"])
def test_masks_of_which_no_weight_moves_are_said(method, fraction, told, caplog):
    changes = {"search.method": method, "dynamic.fraction": fraction, "controls": ()}
    check.check(tiny.config({**changes, "dynamic.every": 1, "train.steps": 8}))
    assert ("level 1 moves no weight" in caplog.text) == told


def test_an_arm_learns_from_a_dense_network_that_is_trained_or_a_teacher_it_names():
    check.check(tiny.config(DRAWN))
    taught = {"forward.draw_at": 8, "retraining.distillation.teacher": "/nowhere"}
    with pytest.raises(ValueError, match="must be a folder, got .* '/nowhere'"):
        check.check(tiny.config({**DRAWN, **taught}))
