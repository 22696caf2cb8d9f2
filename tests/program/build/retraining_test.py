"""Arms end to end: paired with their tickets, deployed plain, refused in time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from flax import linen as nn
from paths import ROOT
from trees import assert_same

from lthjax.data import facts
from lthjax.program.build import (
    arm_checks,
    assemble,
    by_score,
    optimizer,
    recipes,
    spans,
)
from lthjax.program.build import plan as plan_lib
from lthjax.program.build import source as source_lib
from lthjax.program.config import files
from lthjax.program.run import check, experiment, recording
from lthjax.program.run import population as population_lib
from lthjax.program.workdir import layout, measures, results
from lthjax.pruning import masks
from lthjax.retraining import ghosts
from lthjax.saving.tickets import load as load_ticket
from lthjax.saving.tickets import load_trained, save_trained
from lthjax.tickets import Ticket, Trained
from lthjax.training import evaluate as evaluate_lib
from lthjax.training.objective import CLASSIFICATION, OfSet

CONFIGS = ROOT / "configs"
NETWORK = {
    "model.name": "resnet20",
    "model.options": {"blocks": (1,), "channels": (4,)},
    "search.levels": 1,
    "eval_every": 2,
    "retraining.rescaling.iterations": 2,
}
ARMS = ("vanilla", "smoothing", "tost_paper", "tost_code", "distillation")
WHOLE = {**NETWORK, "seeds": (0,), "retraining.arms": ARMS, "retraining.levels": (0, 1)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of a dense network and one level, with every kind of arm."""
    config, root = tiny.config(WHOLE), tmp_path_factory.mktemp("whole")
    experiment.run(config, root)
    return config, root, tiny.records(root), tiny.curves(root)


def test_every_arm_is_recorded_at_every_level_asked_for(whole):
    _, root, rows, _ = whole
    assert rows.keys() == {(n, 0, arm) for n in (0, 1) for arm in ("ticket", *ARMS)}
    assert (root / "gain.png").exists()


def test_tweaks_at_the_identity_are_the_vanilla_run_bit_for_bit(whole):
    _, _, rows, curves = whole
    for level in (0, 1):
        pair = [curves[level, 0, arm, 0] for arm in ("ticket", "vanilla")]
        same = ("arm", "seconds")
        assert [{**curve, **dict.fromkeys(same)} for curve in pair][0] == {
            **pair[1],
            **dict.fromkeys(same),
        }
        smooth = curves[level, 0, "smoothing", 0]
        assert smooth["train_loss"] != pair[0]["train_loss"]


def test_what_is_deployed_is_plain_masked_and_as_accurate_as_recorded(whole):
    config, root, rows, _ = whole
    source = source_lib.load(config)
    parts = assemble.build(config, source)
    evaluate = jax.jit(evaluate_lib.evaluator(parts.apply_fn, parts.data.prepare))
    like = jax.eval_shape(parts.init_fn, jax.random.key(0))[0]
    for level in (0, 1):
        ticket = load_ticket(layout.ticket_path(root, 0, level))
        for arm in set(ARMS) - {"tost_code"}:
            found = load_trained(layout.trained_path(root, arm, 0, level))
            assert jax.tree.structure(found.params) == jax.tree.structure(like)
            assert_same(found.masks, ticket.masks)
            masked = masks.apply(found.params, found.masks)
            assert_same(masked, found.params)
            pair = evaluate(found.params, found.model_state, parts.data.lying.test)
            row = rows[level, 0, arm]
            expected = row["test_loss"], row["test_accuracy"]
            # Another program, and six digits in the record.
            np.testing.assert_allclose(pair, expected, rtol=1e-4, atol=1e-6)


def test_costs_are_of_the_plain_network_and_ghosts_are_listed_apart(whole):
    _, root, rows, _ = whole
    for level in (0, 1):
        ticket, paper, code = (
            rows[level, 0, arm] for arm in ("ticket", "tost_paper", "tost_code")
        )
        for name in ("deployed_parameters", "deployed_flops", "kept", "prunable"):
            assert paper[name] == ticket[name]
        assert (ticket["ghost_steps"], paper["ghost_steps"]) == (0, 2)
        # Two branches of 4 x 4 weights and their norms, at 8 x 8 pixels.
        assert paper["ghost_parameters"] == 2 * (16 + 8)
        assert paper["ghost_flops"] == 2 * (2 * 16 * 64)
        found = load_trained(layout.trained_path(root, "tost_code", 0, level))
        assert [name for name in masks.names(found.params) if ghosts.SUFFIX in name]
        more = code["deployed_parameters"] - ticket["deployed_parameters"]
        assert more == code["ghost_parameters"] == paper["ghost_parameters"]


def test_the_best_step_is_none_at_which_ghosts_live(whole):
    _, _, rows, _ = whole
    paper = rows[1, 0, "tost_paper"]
    assert paper["plain_from"] == 2 <= paper["best_step"]
    early_peak = {
        "step": [1, 2, 3, 4],
        "validation_accuracy": [0.9, 0.1, 0.3, 0.2],
        "test_accuracy": [0.8, 0.2, 0.5, 0.6],
    }
    found = recording._at_best(early_peak, measures.ACCURACY, 2)
    assert (found["best_step"], found["best_test_accuracy"]) == (3, 0.5)
    assert recording._at_best(early_peak, measures.ACCURACY, 4)["best_step"] == 4


@pytest.mark.slow
def test_a_finished_run_takes_more_arms_and_retrains_nothing_else(whole, tmp_path):
    config, root, rows, _ = whole
    first = tiny.changed(config, {"retraining.arms": ("smoothing",)})
    experiment.run(first, tmp_path)
    times = {
        tuple(r[k] for k in results.IDENTITY): r["seconds"] for r in lines(tmp_path)
    }
    experiment.run(tiny.changed(config, {"retraining.arms": ARMS[:2]}), tmp_path)
    found = tiny.records(tmp_path)
    assert found == {row: rows[row] for row in rows if row[2] in ("ticket", *ARMS[:2])}
    for row in lines(tmp_path):
        identity = tuple(row[k] for k in results.IDENTITY)
        assert times.get(identity, row["seconds"]) == row["seconds"]


def lines(root):
    return results.read(root / results.RESULTS)


@pytest.mark.slow
def test_tweaks_go_with_masks_that_move_and_ghosts_are_not_pruned(tmp_path):
    changes = {**NETWORK, "seeds": (0,), "retraining.arms": ("skips+smoothing",)}
    more = {"search.method": "rigl", "dynamic.every": 1}
    experiment.run(tiny.config({**changes, **more}), tmp_path)
    rows = tiny.records(tmp_path)
    assert rows[1, 0, "skips+smoothing"]["kept"] == rows[1, 0, "ticket"]["kept"]
    found = load_trained(layout.trained_path(tmp_path, "skips+smoothing", 0, 1))
    names = masks.names(found.params)
    assert not [name for name in names if ghosts.SUFFIX in name]
    kept, _ = masks.count(found.masks)
    assert kept == rows[1, 0, "ticket"]["kept"]


class Killed(BaseException):
    """What no `except Exception` catches."""


def test_a_run_killed_while_ghosts_live_ends_with_the_same_bits(
    whole, tmp_path, monkeypatch
):
    config, root, rows, curves = whole
    changes = {"retraining.arms": ("tost_paper",), "retraining.levels": (1,)}
    config, save = tiny.changed(config, changes), population_lib.save

    def deadly(folder, population):
        save(folder, population)
        if population.jobs[0].arm == "tost_paper" and population.at == 1:
            raise Killed

    monkeypatch.setattr(population_lib, "save", deadly)
    with pytest.raises(Killed):
        experiment.run(config, tmp_path)
    monkeypatch.undo()
    experiment.run(config, tmp_path)
    identity = (1, 0, "tost_paper")
    assert tiny.records(tmp_path)[identity] == rows[identity]
    assert tiny.curves(tmp_path)[*identity, 0] == curves[*identity, 0]
    pair = [
        load_trained(layout.trained_path(r, "tost_paper", 0, 1))
        for r in (root, tmp_path)
    ]
    assert_same(*pair)


def test_the_published_milestones_are_their_steps():
    config = files.load(CONFIGS / "cifar100.py")
    ground = plan_lib.ground(config, facts.FACTS["cifar100"], 50_000 - 5_000)
    rate = optimizer.schedule(ground)
    for step, expected in (
        (31_679, 0.1),
        (31_680, 0.01),
        (47_519, 0.01),
        (47_520, 1e-3),
    ):
        np.testing.assert_allclose(rate(step), expected, rtol=1e-6)
    found = recipes.recipe(config, spans.span(ground.plan, 7), 100, "tost_paper")
    assert found.neurons_fade == found.skips_fade == (3 * 352, 31_680, "linear")


BAD = [
    ({"retraining.arms": ("tost",)}, "tost_paper, .* got 'tost'"),
    ({"retraining.arms": ("skips", "skips")}, "arms must all be different"),
    ({"retraining.neurons.end": 1.5}, r"in \(0, 1\], got .*end = 1.5"),
    ({"retraining.skips.hold": 0.9}, "must begin before it ends at step 2"),
    ({"retraining.law": "quadratic"}, "linear, cosine, switch, .* 'quadratic'"),
    ({"retraining.smoothing": 1.0}, r"in \[0, 1\), got .*smoothing = 1.0"),
    ({"retraining.levels": (2,)}, "from 0, the dense network, to 1, got"),
    ({"retraining.neurons.kind": "swich"}, "mish, .* did you mean 'swish'"),
    ({"retraining.skips.start": "one"}, "constant, zero_norm, he, .* 'one'"),
    (
        {"model.name": "mlp", "model.options": {"hidden": (4,)}},
        "3x3 convolutions with norms .* got MLP, which has none",
    ),
    ({"model.name": "tiny:ConvNet", "model.options": {}}, "attribute 'activation'"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_what_is_wrong_is_refused_before_anything_is_trained(
    changes, message, tmp_path
):
    config = tiny.config({**NETWORK, "retraining.arms": ("tost_paper",), **changes})
    with pytest.raises(ValueError, match=message):
        experiment.run(config, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_teacher_of_other_classes_is_refused(whole, tmp_path):
    _, root, _, _ = whole
    path = str(layout.trained_path(root, "ticket", 0, 0))
    changes = {"data.options": {"train": 48, "test": 16, "num_classes": 7}}
    changes |= {"retraining.arms": ("distillation",)}
    config = tiny.config(
        {**NETWORK, **changes, "retraining.distillation.teacher": path}
    )
    with pytest.raises(ValueError, match="10 classes for students of 7"):
        experiment.run(config, tmp_path)


class Ghostly(nn.Module):
    """A network one of whose layers is called as a branch of retraining is."""

    num_classes: int = 10

    @nn.compact
    def __call__(self, images, train=False):
        """Returns logits."""
        x = nn.relu(nn.Dense(8, name="dense_ghost")(images.reshape(len(images), -1)))
        return nn.Dense(self.num_classes, name="head")(x)


def test_a_layer_called_as_a_branch_is_refused():
    own = {"model.name": f"{__name__}:Ghostly", "model.options": {}}
    with pytest.raises(ValueError, match="must not end in '_ghost', .* dense_ghost"):
        check.check(tiny.config(own))


@pytest.mark.parametrize("include", [r"(^|/)conv2/kernel$", r"(kernel|scale)$"])
@pytest.mark.parametrize("arm", ["skips", "skips+sign_in"])
def test_branches_are_never_pruned_whatever_is_included(include, arm):
    changes = {**NETWORK, "search.include": include, "retraining.arms": (arm,)}
    config = tiny.config({**changes, "seeds": (0,)})
    parts = assemble.build(config, source_lib.load(config))
    own = parts.arms[arm, 1]
    params, state = parts.init_fn(jax.random.key(0))
    ticket = Ticket(1, 0, 4, params, state, parts.masks_fn(params))
    dressed = own.control(arm, jax.random.key(0), ticket)
    names = masks.names(dressed.masks)
    assert names == masks.names(ticket.masks)
    assert not [name for name in names if "_ghost" in name]
    own.begin(dressed)


def test_a_teacher_of_another_form_is_told_by_its_leaf(tmp_path):
    config = tiny.config({"model.options": {"hidden": (16,)}})
    parts = assemble.build(config, source_lib.load(config))
    params, state = parts.init_fn(jax.random.key(0))
    save_trained(tmp_path / "t", Trained(params, state, parts.masks_fn(params)))
    other = tiny.config({"model.options": {"hidden": (32,)}})
    students = assemble.build(other, source_lib.load(other))
    with pytest.raises(ValueError, match=r"dense1/bias \(16,\) for .* \(32,\)"):
        arm_checks.teacher(tmp_path / "t", students)


def test_half_of_two_classes_is_a_smoothing():
    options = {"train": 48, "test": 16, "num_classes": 2}
    given = {"data.options": options, "retraining.smoothing": 0.5}
    check.check(tiny.config({**given, "retraining.arms": ("smoothing",)}))


# Of a whole set: the sum of all outputs.
SUMMED = CLASSIFICATION._replace(
    of_set=OfSet(
        names=("summed",),
        read=lambda outputs, labels: jnp.sum(outputs, axis=-1),
        reduce=lambda found: {"summed": float(np.sum(found))},
    )
)


@pytest.mark.parametrize("arm", ["tost_code", "skips"])
def test_whole_sets_are_measured_by_what_is_deployed(arm):
    changes = {**NETWORK, "retraining.arms": (arm,), "seeds": (0,)}
    config = tiny.config({**changes, "objective": f"{__name__}:SUMMED"})
    parts = assemble.build(config, source_lib.load(config))
    own = parts.arms[arm, 1]
    params, state = parts.init_fn(jax.random.key(0))
    ticket = Ticket(1, 0, 4, params, state, parts.masks_fn(params))
    dressed = own.control(arm, jax.random.key(0), ticket)
    plain = Trained(params, state, ticket.masks)
    whole = Trained(dressed.params, dressed.model_state, dressed.masks)
    found, bare = own.of_sets(whole), parts.of_sets(plain)
    kept = arm == "tost_code"  # its ghosts stay, with what they add
    assert (found["test_summed"] != pytest.approx(bare["test_summed"])) == kept
    if not kept:
        assert found["sparsity_network"] == bare["sparsity_network"]


# A method of one's own, which draws weights to zero and counts the level twice.
OWN = by_score.METHODS["iterative"]._replace(
    penalty=lambda ground: (
        lambda params, state: sum(
            jnp.sum(jnp.square(w)) for w in jax.tree.leaves(params)
        )
    ),
    counts=lambda ground: lambda job, kept: {"twice": 2 * job.ticket.level},
)


def test_arms_have_the_penalty_of_a_method_and_its_tickets_what_it_counts(tmp_path):
    own = {"search.method": f"{__name__}:OWN", "retraining.arms": ("vanilla",)}
    rows = experiment.run(tiny.config({**own, "seeds": (0,)}), tmp_path)
    found = {(row["level"], row["arm"]): row for row in rows}
    for level in (1, 2):
        ticket, arm = found[level, "ticket"], found[level, "vanilla"]
        assert arm["test_loss"] == ticket["test_loss"]
        assert ticket["twice"] == 2 * level and "deployed_flops" in ticket
