"""Searches by learnt masks through the whole program: tickets, records, refusals."""

import itertools
import logging
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
from cases import rest_slow
from paths import ROOT
from trees import assert_same

from lthjax.gates import hard_concrete, sigmoid
from lthjax.program.build import gate_rounds, parts, plan, round_columns, source
from lthjax.program.build import network as network_lib
from lthjax.program.config import files
from lthjax.program.run import experiment
from lthjax.program.workdir import layout, results
from lthjax.program.workdir.member import Member
from lthjax.pruning import masks, targets
from lthjax.saving import checkpoints
from lthjax.saving.tickets import load as load_ticket

pytestmark = pytest.mark.usefixtures("compiled_once")

GATED = {
    "search.method": "continuous",
    "search.rewind_to": 2,  # at step 1 all are the dense network: c sigmoid(s0) = 1
    "search.gates.learning_rate": 1.0,
    "search.gates.initial": (0.05, 0.1),
}
CONFIGS = ROOT / "configs"
TOTAL = 64 * 8 + 8 * 10


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    """Two seeds, two first logits, two rounds: one population."""
    return tiny.uninterrupted(tmp_path_factory, GATED)


def test_one_run_gives_a_ticket_for_each_seed_logit_and_round(front):
    settings, root = front
    ground = plan.of(settings, source.load(settings))
    chains = plan.options(ground).members
    assert list(chains) == [Member(s, i) for s in (0, 1) for i in (0.05, 0.1)]
    expected = {(0, one.seed, "ticket", one.initial) for one in chains}
    expected |= {
        (level, one.seed, arm, one.initial)
        for one in chains
        for level in (1, 2)
        for arm in ("search", "ticket")
    }
    assert tiny.records(root).keys() == expected


def test_a_round_and_its_ticket_tell_of_the_same_masks(front):
    _, root = front
    rows = tiny.records(root)
    names = ("kept", "prunable", "sparsity", "layers", "collapsed", "steps")
    rounds = {key: row for key, row in rows.items() if key[2] == "search"}
    for (level, seed, _, initial), row in rounds.items():
        ticket = rows[level, seed, "ticket", initial]
        assert [row[name] for name in names] == [ticket[name] for name in names]
        assert (row["prunable"], row["steps"]) == (TOTAL, 4)
        assert 0 <= row["undecided"] <= 1
        assert 0 <= row["hard_test_accuracy"] <= 1


def test_more_gates_are_open_where_they_began_higher(front):
    _, root = front
    rows = tiny.records(root)
    for level, seed in ((1, 0), (1, 1), (2, 0), (2, 1)):
        low, high = (rows[level, seed, "search", i]["kept"] for i in (0.05, 0.1))
        assert low < high


def test_tickets_start_from_the_early_weights_of_their_own_first_round(front):
    _, root = front
    first, second, other = (
        load_ticket(layout.ticket_path(root, Member(0, initial), level))
        for initial, level in ((0.05, 1), (0.05, 2), (0.1, 1))
    )
    assert (first.step, first.until) == (0, 4)
    assert_same(first.params, second.params)
    same = jax.tree.map(np.array_equal, first.params, other.params)
    assert not all(jax.tree.leaves(same))


@pytest.mark.slow
def test_members_of_a_population_find_what_they_find_alone(front, tmp_path):
    settings, root = front
    alone = tiny.changed(settings, {"seeds": (1,), "search.gates.initial": (0.1,)})
    experiment.run(alone, tmp_path)
    together = tiny.records(root)
    for (level, seed, arm), row in tiny.records(tmp_path).items():
        other = together[level, seed, arm, 0.1]
        assert row["kept"] == other["kept"]
        np.testing.assert_allclose(row["train_loss"], other["train_loss"], rtol=1e-4)


def test_a_round_that_is_saved_and_read_again_has_the_densities_of_its_ticket(front):
    settings, root = front
    members = plan.options(plan.of(settings, source.load(settings))).members
    for one, level in itertools.product(members, (1, 2)):
        row = tiny.records(root)[level, one.seed, "search", one.initial]
        kept = load_ticket(layout.ticket_path(root, one, level)).masks
        found = {name: k / size for name, (k, size) in masks.layers(kept).items()}
        assert row["layers"] == found
        if level < 2:
            continue
        saved, _ = checkpoints.newest(root / "search" / one.folder, None)
        logits = saved["state"]["round"]["params"]["gates"]
        soft = jax.tree.map(lambda m: m > 1 / 2, sigmoid.soft(logits, 200.0))
        for tree in (soft, sigmoid.harden(logits)):
            assert_same(tree, kept)


@pytest.mark.slow
def test_a_search_that_prunes_nothing_gives_the_dense_network_again(tmp_path):
    changes = {**GATED, "seeds": (0,), "search.rewind_to": 0, "search.levels": 1}
    open_ = {"search.gates.initial": (0.3,), "search.gates.penalty": 0.0}
    slow = {"search.gates.learning_rate": 0.1}
    experiment.run(tiny.config({**changes, **open_, **slow}), tmp_path)
    rows = tiny.records(tmp_path)
    assert rows[1, 0, "search"]["kept"] == TOTAL
    again = {**rows[1, 0, "ticket"], "level": 0}
    assert again == rows[0, 0, "ticket"]


@pytest.mark.slow
def test_controls_are_of_the_tickets_and_not_of_the_rounds(front, tmp_path):
    settings, _ = front
    changes = {"controls": ("shuffle",), "search.levels": 1}
    experiment.run(tiny.changed(settings, changes), tmp_path)
    arms = [row["arm"] for row in results.read(tmp_path / results.RESULTS)]
    assert sorted(arms) == sorted(4 * ["ticket", "search", "ticket", "shuffle"])


METHODS = [
    {"search.method": "stochastic", "search.gates.initial": (0.1,)},
    {"search.method": "l0", "search.restart": "fine_tune"},
    {"search.method": "soft_threshold", "search.gates.initial": (-5.0,)},
    {"search.method": "continued"},
    {"search.method": "continuous", "search.gates.optimizer": "lion"},
]


@pytest.mark.parametrize(
    "changes",
    rest_slow(METHODS, METHODS[3]),
    ids=lambda c: "-".join(map(str, c.values())),
)
def test_every_method_in_rounds_runs_through_the_same_loop(changes, tmp_path):
    settings = tiny.config({"seeds": (0,), "search.levels": 1, **changes})
    experiment.run(settings, tmp_path)
    rows = tiny.records(tmp_path)
    assert {(level, arm) for level, _, arm in rows} == {
        (0, "ticket"),
        (1, "search"),
        (1, "ticket"),
    }
    assert rows[1, 0, "ticket"]["kept"] <= TOTAL


@pytest.mark.slow
def test_a_sparsity_asked_for_is_met_by_the_highest_gates(tmp_path, caplog):
    changes = {**GATED, "seeds": (0,), "search.gates.initial": (0.05,)}
    settings = tiny.config({**changes, "search.sparsities": (0.5, 0.9)})
    experiment.run(settings, tmp_path)
    rows = tiny.records(tmp_path)
    asked = [round(TOTAL * 0.5), round(TOTAL * (1 - 0.9))]
    assert [rows[n, 0, "ticket"]["kept"] for n in (1, 2)] == asked
    assert all(rows[n, 0, "search"]["trimmed"] for n in (1, 2))
    few = {"search.gates.initial": (-0.3,), "search.minimum": 70}
    few["search.sparsities"] = (0.5,)
    experiment.run(tiny.changed(settings, few), tmp_path / "few")
    row = tiny.records(tmp_path / "few")[1, 0, "search"]
    assert row["open"] < row["kept"] == asked[0]
    assert f"where {row['open']} gates are open" in caplog.text
    assert TOTAL - 512 >= row["layers"]["head/kernel"] * (TOTAL - 512) >= 70


def test_trimming_leaves_the_values_that_hard_gates_have():
    logits = {"k": jnp.array([3.0, 0.0, 1.0, -3.0])}
    params = {"k": jnp.array([1.0, 2.0, 3.0, 4.0])}
    settings = tiny.config({"search.method": "l0", "search.sparsities": (0.5,)})
    numbers = types.SimpleNamespace(targets=[targets.target(2)], views={})
    ground = types.SimpleNamespace(options=settings, plan=numbers)
    rounds = gate_rounds.gated_rounds("l0", ground, optax.sgd(0.1), None)
    full = {"k": jnp.ones(4, bool)}
    first = rounds.open(jax.random.key(0), params, {}, full)
    trained = first._replace(params=first.params._replace(gates=logits))
    found = rounds.harvest(None, trained, 1)
    assert found.masks["k"].tolist() == [True, False, True, False]
    test_gates = hard_concrete.mean(logits)["k"]
    expected = jnp.where(found.masks["k"], test_gates * params["k"], 0)
    np.testing.assert_allclose(found.params["k"], expected, rtol=1e-6)
    assert test_gates[2] < 1


@pytest.mark.slow
def test_slimming_takes_channels_once(tmp_path):
    changes = {
        **VGG,
        "search.sparsities": (0.2,),
        "search.restart": "fine_tune",
        "search.gates.penalty": 1e-2,
        "seeds": (0,),
        "train.steps": 2,
    }
    experiment.run(tiny.config(changes), tmp_path)
    ticket = tiny.records(tmp_path)[1, 0, "ticket"]
    assert 0 < ticket["kept"] < ticket["prunable"]
    tree = load_ticket(layout.ticket_path(tmp_path, 0, 1)).masks
    for name in ("conv1_1", "conv2_1"):
        mask = np.asarray(tree[name]["kernel"])
        by_channel = mask.reshape(-1, mask.shape[-1])
        live = by_channel[by_channel.any(1)]  # inputs that are left
        assert ((live.all(0)) | ~live.any(0)).all()


VGG = {
    "model.name": "vgg11",
    "model.options": {"depths": (1, 1), "channels": (4, 6), "norm_scale": "half"},
    "data.options": {"train": 48, "test": 16, "image_shape": (16, 16, 1)},
    "search.method": "slimming",
}
RESNET = {"model.name": "resnet20", "model.width": 0.05}
RESNET |= {"model.options": {"shortcut_norm": False}}

BAD = [
    (
        {"search.gates.final_temperature": 1.0},
        r"in \(1, inf\), got .*final_temperature = 1",
    ),
    ({"search.gates.initial": (20.0,)}, "between 0 and 1 in float32, got initial = 20"),
    ({"search.gates.initial": ()}, "one logit or different ones, .* got search.gates"),
    (
        {"search.gates.initial": (0.1, 0.1)},
        "one logit or different ones, .* got",
    ),
    ({"search.gates.reset": "none"}, "paper, code, got search.gates.reset = 'none'"),
    ({"search.gates.start": "k"}, "zero, rewind_to, got search.gates.start = 'k'"),
    ({"search.gates.penalty": -1.0}, "got search.gates.penalty = -1"),
    ({"search.restart": "continue"}, "fine_tune, got restart = 'continue'"),
    ({"search.method": "contnuous"}, "did you mean 'continuous'"),
    (VGG, r"one share .* got search.sparsities = \(\)"),
    ({"search.method": "slimming"}, "scales of batch norm, got a network without any"),
    (
        {**VGG, **RESNET},
        "one chain, .* got stage2_block0/shortcut, .* outside of it",
    ),
    ({"train.steps": 3}, r"two periods .*period = 0 \(an epoch, 3\) in 3 steps"),
    (
        {"search.gates.period": 4},
        "two periods .*period = 4 in 4 steps; give",
    ),
    (
        {"search.gates.final_temperature": float("inf")},
        "final_temperature must be in .* = inf",
    ),
    ({"search.gates.initial": ("a",)}, r"tuple of numbers, got .* = \('a',\)"),
    (
        {"search.gates.initial": ((0.1,),)},
        "tuple of numbers, got config.search.gates.initial",
    ),
    (
        {"search.pattern": "channels"},
        "search.pattern is not read by .*, got .* = 'channels'",
    ),
    ({"search.scope": "layer"}, "scope without search.sparsities, got .* = 'layer'"),
    ({"search.minimum": 2}, "minimum without search.sparsities, got .* = 2; leave"),
    (
        {"search.minimum": 200, "search.sparsities": (0.9,)},
        "which is 280 for all 2 layers, with kept = 59",
    ),
    ({"search.gates.optimizer": "lio"}, "optimizer = 'lio', did you mean 'lion'"),
    (
        {"search.score": "random", "search.sparsities": (0.5,)},
        "search.score is not read by search.method = 'continuous'",
    ),
]


@pytest.mark.parametrize("changes, message", BAD, ids=lambda c: str(c)[:40])
def test_what_cannot_be_learnt_is_refused_before_anything_runs(
    changes, message, tmp_path
):
    settings = tiny.config({"search.method": "continuous", **changes})
    with pytest.raises(ValueError, match=message):
        experiment.run(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_doubtful_rounds_are_said_to_be(caplog, tmp_path):
    settings = tiny.config({"search.method": "continuous", "search.levels": 1})
    settings = tiny.changed(settings, {"search.gates.initial": (0.001,), "seeds": (0,)})
    with caplog.at_level(logging.WARNING):
        experiment.run(settings, tmp_path)
    assert "% of the gates are undecided at the end: raise the gates'" in caplog.text
    row = {
        "validation_accuracy": 0.9,
        "hard_validation_accuracy": 0.5,
        "undecided": 0.0,
    }
    row |= {"test_accuracy": 0.9, "hard_test_accuracy": 0.9}
    row |= {"sparsity": 0.9991, "kept": 1, "prunable": 1200}
    texts = round_columns.warnings(row)
    assert len(texts) == 2 and "40.0 points" in texts[0] and "1 of 1200" in texts[1]
    whole = {"sparsity": 0.0, "kept": 1200, "prunable": 1200}
    assert round_columns.warnings(whole) == []  # that many were asked for
    (text,) = round_columns.warnings(whole, learnt=True)
    assert "none of the 1200 weights is pruned: raise search.gates.penalty" in text


def test_a_round_that_learns_to_prune_nothing_says_so(caplog, tmp_path):
    changes = {"search.method": "soft_threshold", "search.gates.initial": (-3200.0,)}
    settings = tiny.config({**changes, "search.levels": 1, "seeds": (0,)})
    with caplog.at_level(logging.WARNING):
        experiment.run(settings, tmp_path)
    assert f"none of the {TOTAL} weights is pruned" in caplog.text


def test_the_released_network_has_its_published_numbers_of_gates():
    settings = files.load(CONFIGS / "cifar10_continuous.py")
    network = network_lib.model(settings, parts.DataKind((32, 32, 3), 10))
    images = jnp.zeros((1, 32, 32, 3))
    params = jax.eval_shape(network.init, jax.random.key(0), images)["params"]
    tree = jax.eval_shape(
        lambda params: masks.full(params, settings.search.exclude), params
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 272_282
    leaves = jax.tree.leaves(tree)
    assert (len(leaves), sum(leaf.size for leaf in leaves)) == (19, 267_696)
    assert len(jax.tree.leaves(jax.eval_shape(sigmoid.init, tree, 0.0))) == 19
