"""What goes wrong is named with what would be right, and leaves nothing half done."""

import contextlib
import re
import shutil
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from cases import rest_slow
from faulty_disk import files_of_at_most, flip
from flax import linen as nn

from lthjax.program import progress
from lthjax.program.build import assemble, source
from lthjax.program.build.parts import key as key_of
from lthjax.program.run import experiment, population
from lthjax.program.workdir import layout, results
from lthjax.program.workdir.member import Member
from lthjax.saving import checkpoints
from lthjax.training import objective

pytestmark = pytest.mark.usefixtures("compiled_once")


BAD = [
    ({"model.name": "mpl"}, "one of conv2, .* got model = 'mpl', did you mean 'mlp'"),
    ({"data.name": "mnits"}, "one of characters, .* 'mnits', did you mean 'mnist'"),
    (
        {"search.method": "itertive"},
        "iterative, .*one_shot, .* did you mean 'iterative'",
    ),
    ({"search.score": "magnitud"}, "magnitude, random, .* did you mean 'magnitude'"),
    ({"search.restart": "rewind"}, "one of weights, .* got restart = 'rewind'"),
    ({"controls": ("shufle",)}, "reinit, shuffle, random, .* did you mean 'shuffle'"),
    ({"controls": ("random",) * 2}, "all be different, got controls ="),
    ({"optimizer.name": "adm"}, "adam, .* adamw, .* sgd, .* did you mean"),
    ({"schedule.name": "cos"}, "constant, .* cosine, .* got schedule = 'cos'"),
    ({"search.sparsities": (0.5, 1.0)}, r"in \[0, 1\), got search.sparsities ="),
    ({"search.sparsities": (0.5, 0.4)}, "must not fall from level to level"),
    ({"search.rate": 1.0}, r"must be in \(0, 1\), got search.rate = 1.0"),
    ({"search.levels": -1}, r"in \[0, 10000\], got search.levels = -1"),
    ({"search.rewind_to": 4}, r"in \[0, 4\), .* got rewind_to = 4"),
    (
        {"search.exclude": ("hed",)},
        "'hed'; the prunable leaves are dense1/kernel",
    ),
    ({"search.layer_rates": (("hed", 0.1),)}, "'hed'; the layers are dense1/kernel"),
    ({"train.batch_size": 33}, "training set of 32 images, got train.batch_size = 33"),
    ({"data.validation": 0}, "validation split .* got 0 .*; give data.validation"),
    ({"data.options": {"train": 48, "test": 0}}, "test split must have at least one"),
    ({"data.validation": 48}, "validation must be below the 48 training images"),
    ({"data.limit": 99}, "limit must be from 1 to the 32 training images"),
    ({"data.options": {"like": "digit"}}, "did you mean 'digits'"),
    ({"data.options": {"sise": 1}}, "the options of the data set 'synthetic' must be"),
    ({"model.options": {"hiden": (3,)}}, "got option = 'hiden', did you mean 'hidden'"),
    ({"model.name": "nowhere:Net"}, "must be importable from here, .* 'nowhere:Net'"),
    ({"model.dtype": "float16"}, "float32, bfloat16, got dtype = 'float16'"),
    ({"search.scope": "erk"}, "one of global, layer, .* got search.scope = 'erk'"),
    ({"search.pattern": "2x"}, "blocks such as '4x4' .* got '2x'"),
    ({"search.pattern": "3:5"}, "divisible by 5, got dense1/kernel .* with 64"),
    (
        {"search.pattern": "2:4"},
        r"keeps 2 of every 4 .* give search.sparsities = \(0.5",
    ),
    ({"search.minimum": 500}, "minimum"),
    ({"search.corrupt": "label"}, "got corruption = 'label', did you mean 'labels'"),
    ({"search.corrupt": "labels"}, "reads data, .* with search.score = 'magnitude'"),
    (
        {"search.score": "synflow", "search.scope": "layer"},
        "give 'weights' and 'global'",
    ),
    (
        {"search.score": "snip", "search.batches": 9},
        "at most the 32 of the training set",
    ),
    ({"search.method": "rgl"}, "at_init, continued, .* did you mean 'rigl'"),
    (
        {"search.method": "rigl", "search.rewind_to": 1},
        "search.rewind_to is not read by search.method = .rigl.",
    ),
    ({"search.method": "set", "controls": ("reinit",)}, "tickets whose masks stay"),
    ({"search.method": "at_init", "search.restart": "continue"}, "give 'weights'"),
    ({"dynamic.begin": 0.8}, "0 <= begin < end <= 1, got dynamic = begin = 0.8"),
    ({"studies": ("overlp",)}, "got study = 'overlp', did you mean 'overlap'"),
    ({"search.rte": 0.1}, "got config.search.rte, did you mean 'search.rate'"),
    ({"seeds": (0, 0)}, "different ones, got seeds ="),
    (
        {"data.name": "cifar10", "data.options": {}, "data_dir": "nothing/here"},
        "here', which does not exist; prepare it once(.|\n)*file_format='array_record'",
    ),
]


@pytest.mark.parametrize("changes, message", BAD, ids=[next(iter(c)) for c, _ in BAD])
def test_a_bad_config_is_refused_with_what_is_right_and_makes_no_workdir(
    tmp_path, monkeypatch, changes, message
):
    monkeypatch.setattr(assemble, "build", tiny.build_anew)
    with pytest.raises(ValueError, match=message):
        experiment.run(tiny.config(changes), tmp_path / "workdir")
    assert not list(tmp_path.iterdir())


class Fragile(nn.Module):
    """Has a fuse in some seeds, which blows once a weight is pruned."""

    num_classes: int

    @nn.compact
    def __call__(self, images):
        """Returns the logits, NaN when the fuse has blown."""
        fuse = self.param("fuse", nn.initializers.uniform(1.0), ())
        x = images.reshape(len(images), -1)
        shape = (x.shape[1], self.num_classes)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        blown = jnp.any(kernel == 0) & (fuse > 1 / 2)
        return jnp.where(blown, jnp.nan, x @ kernel)


def test_nan_names_its_seed_and_the_others_go_on(tmp_path):
    changes = {"model.name": f"{__name__}:Fragile", "model.options": {}}
    config = tiny.config({**changes, "search.levels": 1})
    parts = tiny.build(config, source.load(config))
    fuses = [parts.init_fn(key_of(seed, "init"))[0]["fuse"] for seed in range(9)]
    whole, broken = (np.flatnonzero(np.array(fuses) <= 1 / 2).tolist() for _ in "ab")
    broken = [seed for seed in range(9) if seed not in whole][:1]
    seeds = (*broken, *whole[:2])
    expected = rf"for seed {broken[0]} \(ticket\) at level 1 between steps 0 and 1; .*"
    expected += f"--config.seeds={whole[0]},{whole[1]}$"
    with pytest.raises(FloatingPointError, match=expected):
        experiment.run(tiny.changed(config, {"seeds": seeds}), tmp_path)
    dense = {(0, seed, "ticket") for seed in seeds}
    assert tiny.records(tmp_path).keys() == dense
    experiment.run(tiny.changed(config, {"seeds": tuple(whole[:2])}), tmp_path)
    finished = dense | {(1, seed, "ticket") for seed in whole[:2]}
    assert tiny.records(tmp_path).keys() == finished


@pytest.mark.parametrize(
    "name, value, ends",
    [
        ("validation_loss", np.inf, True),
        ("test_loss", np.nan, True),
        ("validation_perplexity", np.inf, False),
        ("validation_perplexity", np.nan, True),
    ],
)
def test_a_perplexity_may_be_infinite_a_loss_may_not(name, value, ends):
    member = Member(7)
    job = population.Job("ticket", member, SimpleNamespace(level=1, masks=None))
    one = population.Population([job], None, None, None, 0, 0.0)
    columns = objective.columns(objective.NEXT_TOKEN)
    curve = np.ones((1, 2, len(columns)))
    curve[0, 1, columns.index(name)] = value
    expected = pytest.raises(FloatingPointError, match="loss must stay finite")
    with expected if ends else contextlib.nullcontext():
        population._check_finite(one, 5, np.ones(1), curve, columns)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    config, root = tiny.config(), tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assemble, "build", tiny.build)
        experiment.run(config, root)
    return config, root


def stopped(config, root, monkeypatch, at):
    """Runs until the checkpoint number `at`, and as if SIGTERM came then."""
    number = 0
    save = layout.save_training

    def interrupting(*args):
        nonlocal number
        save(*args)
        number += 1
        if number == at:
            raise progress.Interrupted

    with monkeypatch.context() as patch, pytest.raises(progress.Interrupted):
        patch.setattr(layout, "save_training", interrupting)
        experiment.run(config, root)


def test_no_room_is_said_before_training(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**6))
    expected = r"must have \d+ MB free, got 1 MB at .*; make room or take another"
    with pytest.raises(ValueError, match=expected):
        experiment.run(tiny.config(), tmp_path)
    assert not (tmp_path / results.RESULTS).exists()


@pytest.mark.parametrize("failing", rest_slow(range(1, 22, 4), 9))
def test_a_full_disk_leaves_what_was_saved_and_the_run_goes_on(
    whole, tmp_path, monkeypatch, failing
):
    config, root = whole
    save, number = checkpoints.save, 0

    def refused(*args):
        nonlocal number
        number += 1
        with files_of_at_most(100 if number == failing else 10**6):
            save(*args)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save", refused)
        expected = f"must stay writable, got workdir = {tmp_path} .* saved before is"
        with pytest.raises(OSError, match=expected):
            experiment.run(config, tmp_path)
    experiment.run(config, tmp_path)
    assert tiny.outcome(tmp_path) == tiny.outcome(root)


def damage(folder):
    """Flips a bit in every array of the newest checkpoint of a folder."""
    numbers = [int(path.name) for path in folder.iterdir()]
    for path in (folder / str(max(numbers)) / "tree").rglob("d/*"):
        flip(path)


@pytest.mark.parametrize(
    "what",
    rest_slow(
        ["training/level_01", "search/seed_0", "search/seed_1"],
        "training/level_01",
    ),
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    whole, tmp_path, monkeypatch, caplog, what
):
    config, root = whole
    # By then level 1 is at its third dispatch, and two of the searches' steps are done.
    stopped(config, tmp_path, monkeypatch, at=6)
    damage(tmp_path / what)
    experiment.run(config, tmp_path)
    folder = re.escape(str(tmp_path / what))
    assert re.search(rf"{folder}/\d+ .*; falling back to what was saved", caplog.text)
    assert tiny.outcome(tmp_path) == tiny.outcome(root)


def test_a_damaged_ticket_is_written_again(whole, tmp_path, monkeypatch, caplog):
    config, root = whole
    stopped(config, tmp_path, monkeypatch, at=6)
    path = layout.ticket_path(tmp_path, 0, 1)
    for file in (path / "tree").rglob("d/*"):
        flip(file)
    experiment.run(config, tmp_path)
    assert f"{path} cannot be read" in caplog.text
    assert "it is written again" in caplog.text
    assert tiny.outcome(tmp_path) == tiny.outcome(root)


@pytest.mark.slow
def test_a_damaged_ticket_that_a_control_needs_names_its_cure(whole, tmp_path):
    config, root = whole
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    for file in (layout.ticket_path(tmp_path, 1, 1) / "tree").rglob("d/*"):
        flip(file)
    more = tiny.changed(config, {"controls": ("random",)})
    folder = tmp_path / "search" / "seed_1"
    with pytest.raises(checkpoints.DamagedError, match=f"again, remove {folder} and"):
        experiment.run(more, tmp_path)
    shutil.rmtree(folder)
    experiment.run(more, tmp_path)
    assert tiny.saved_tickets(tmp_path) == tiny.saved_tickets(root)
    assert (2, 1, "random") in tiny.records(tmp_path)
    earlier = tiny.records(root)
    assert earlier.items() <= tiny.records(tmp_path).items()


def test_a_torn_last_record_is_made_again(whole, tmp_path, monkeypatch):
    config, root = whole
    stopped(config, tmp_path, monkeypatch, at=6)
    for name in (results.RESULTS, results.CURVES):
        text = (root / name).read_text()
        torn = (tmp_path / name).read_text()
        (tmp_path / name).write_text(text[: len(torn) + 40])
    experiment.run(config, tmp_path)
    assert tiny.outcome(tmp_path) == tiny.outcome(root)
