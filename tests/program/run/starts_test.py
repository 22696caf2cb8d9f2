"""Controls that start from the seed's first weights, or the trained dense network's."""

import itertools

import jax
import numpy as np
import pytest
import tiny
from trees import same

from lthjax.program.build import assemble, basis_turns, plan
from lthjax.program.build import source as source_lib
from lthjax.program.run import experiment, outcome, population, starts
from lthjax.program.workdir import claim, layout, results
from lthjax.program.workdir.member import Member
from lthjax.saving.tickets import load_trained
from lthjax.tickets import controls

pytestmark = pytest.mark.usefixtures("compiled_once")

CONTROLS = ("init", "reinit", "trained")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with late rewinding: its config, workdir and populations."""
    root, begun = tmp_path_factory.mktemp("starts"), []
    config = tiny.config({"search.rewind_to": 1, "controls": CONTROLS})
    start = population.start

    def noted(parts, jobs):
        begun.append(start(parts, jobs))
        return begun[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assemble, "build", tiny.build)
        patch.setattr(population, "start", noted)
        experiment.run(config, root)
    return config, root, begun


@pytest.mark.parametrize("level", [1, 2])
def test_all_starts_share_masks_steps_and_the_order_of_the_data(run, level):
    config, _, begun = run
    (found,) = (p for p in begun if p.ticket.level == level)
    assert {job.arm for job in found.jobs} == {"ticket", *CONTROLS}
    assert len(found.jobs) == len(config.seeds) * (1 + len(CONTROLS))
    keys = jax.random.key_data(found.keys)
    first = {job.seed: i for i, job in reversed([*enumerate(found.jobs)])}
    for key, job in zip(keys, found.jobs, strict=True):
        i = first[job.seed]
        assert same(job.ticket.masks, found.jobs[i].ticket.masks)
        assert job.ticket[:3] == (level, 1, 4)
        assert np.array_equal(key, keys[i])


def test_starts_are_the_first_weights_and_the_last_of_the_dense_network(run):
    _, root, begun = run
    for job in (job for found in begun[2:] for job in found.jobs):
        dense = load_trained(layout.trained_path(root, "ticket", job.seed, 0))
        first = layout.load_ticket(root, job.seed, 0)
        own = layout.load_ticket(root, job.seed, job.ticket.level)
        points = {"init": first, "trained": dense, "ticket": own}
        for arm, point in points.items():
            assert same(job.ticket.params, point.params) == (job.arm == arm)
    final = [p for p in begun if not p.ticket.level][-1]
    assert not same(dense.params, final.jobs[-1].ticket.params)  # it went on from there


def test_without_rewinding_the_first_weights_are_the_tickets_bit_for_bit(tmp_path):
    experiment.run(tiny.config({"controls": ("init",)}), tmp_path)
    for name in (tiny.records(tmp_path), tiny.curves(tmp_path)):
        own = {k: r for k, r in name.items() if k[2] == "init"}
        assert len(own) == 4  # two levels, two seeds
        for (level, seed, _, *rest), row in own.items():
            assert {**row, "arm": "ticket"} == name[level, seed, "ticket", *rest]


ROWS = {
    "search.basis": (("dense1", "svd_rows"), ("head", "random_orthogonal_both")),
    "search.pattern": "channels",
    "search.score": "energy",
    "search.rate": 0.4,
}
WINDOWS = {**tiny.CONV, "search.basis": (("Conv", "pca_spatial"),)}


@pytest.mark.parametrize("basis", [ROWS, WINDOWS], ids=["svd_rows", "pca_spatial"])
def test_in_a_learnt_basis_the_first_weights_are_the_tickets_bit_for_bit(
    basis, tmp_path
):
    changes = {**basis, "seeds": (0,), "controls": ("init", "trained")}
    experiment.run(tiny.config(changes), tmp_path)
    found = tiny.records(tmp_path)
    for level in (1, 2):
        assert {**found[level, 0, "init"], "arm": "ticket"} == found[level, 0, "ticket"]
        costs = [k for k in found[level, 0, "ticket"] if k.startswith(("flops", "bas"))]
        assert len(costs) > 2
        for name in costs:  # of the same masks in the same basis
            assert found[level, 0, "trained"][name] == found[level, 0, "ticket"][name]


def test_starts_are_the_same_weights_in_a_basis_that_each_level_learns(tmp_path):
    changes = {**ROWS, "search.basis_each_level": True, "controls": ("trained",)}
    config = tiny.config({**changes, "seeds": (0,)})
    experiment.run(config, tmp_path)
    source = source_lib.load(config)
    found, parts = plan.of(config, source).bases, tiny.build(config, source)
    points = {arm: starts.of(tmp_path, arm, Member(0)) for arm in controls.STARTS}

    def weights(network):
        return basis_turns.weights(network.params, network.model_state, found)

    for level, (arm, point) in itertools.product((1, 2), points.items()):
        ticket = layout.load_ticket(tmp_path, 0, level)
        begun = parts.started(ticket, point)
        assert same(begun.model_state["basis"], ticket.model_state["basis"])
        pair = weights(begun), weights(point)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *pair)
        assert arm == "trained" or level == 2 or same(begun.params, ticket.params)


def test_a_dense_network_that_was_not_kept_is_missed_before_anything_is_trained(
    tmp_path,
):
    experiment.run(tiny.config(), tmp_path)
    before = tiny.records(tmp_path), claim.said(tmp_path)
    with pytest.raises(ValueError, match="take another workdir, or leave it out"):
        experiment.run(tiny.config({"controls": ("trained",)}), tmp_path)
    assert (tiny.records(tmp_path), claim.said(tmp_path)) == before


def test_a_dense_network_that_is_not_trained_to_its_end_is_no_start(tmp_path):
    changes = {"search.method": "early_bird", "controls": ("trained",)}
    changes |= {"search.sparsities": (0.5,), "early_bird.watch": "weights"}
    changes |= {"train.steps": 8}
    with pytest.raises(ValueError, match="dense network that is trained to its end"):
        experiment.run(tiny.config(changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_arms_that_learn_from_a_dense_network_that_was_not_kept_are_refused_first(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(assemble, "build", tiny.build)
    config = tiny.config({"search.levels": 1})
    experiment.run(config, tmp_path)
    arms = {"retraining.arms": ("vanilla", "distillation")}
    before = (tmp_path / results.RESULTS).read_bytes()
    with pytest.raises(ValueError, match="distillation without a teacher .* before"):
        experiment.run(tiny.changed(config, arms), tmp_path)
    assert (tmp_path / results.RESULTS).read_bytes() == before
    assert not (tmp_path / "deployed").exists()


def test_the_network_at_the_rewind_step_is_not_kept_for_the_trained_one(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(assemble, "build", tiny.build)
    config = tiny.config({"search.rewind_to": 2, "controls": ("trained",)})
    record, seen = outcome.record, []

    def noted(this, parts, population):
        seen.append((population.ticket.until, (tmp_path / "deployed").exists()))
        return record(this, parts, population)

    monkeypatch.setattr(outcome, "record", noted)
    experiment.run(config, tmp_path)
    assert seen[:2] == [(2, False), (4, True)]
