"""Bases through the whole program: tickets of coefficients, records, refusals."""

import jax
import numpy as np
import pytest
import tiny
from cases import rest_slow
from safetensors.numpy import load_file
from trees import assert_same

from lthjax import export
from lthjax.program.build import arm_checks, basis_turns, plan
from lthjax.program.build import source as source_lib
from lthjax.program.run import check, experiment
from lthjax.program.workdir import layout
from lthjax.pruning import bases
from lthjax.pruning import masks as masks_lib
from lthjax.saving import safetensors
from lthjax.saving.tickets import save_trained
from lthjax.tickets import Trained

pytestmark = pytest.mark.usefixtures("compiled_once")

LEARNT = {
    "seeds": (0,),
    "search.basis": (("dense1", "svd_rows"), ("head", "random_orthogonal_both")),
    "search.pattern": "channels",
    "search.score": "energy",
    "search.rewind_to": 1,
    "search.rate": 0.4,
    "controls": ("reinit",),
}
FIXED = {**LEARNT, "search.rewind_to": 0}
TURNED = {
    "search.basis": (("dense1", "dct_pixels"), ("head", "hadamard")),
    "search.method": "at_init",
}


def built(changes):
    """Returns the ground and the functions of a run."""
    config = tiny.config(changes)
    source = source_lib.load(config)
    return plan.of(config, source), tiny.build(config, source)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    return tiny.uninterrupted(tmp_path_factory, LEARNT)


def test_a_ticket_is_of_coefficients_and_its_network_of_weights(learnt):
    _, root = learnt
    ground, _ = built(LEARNT)
    ticket = layout.load_ticket(root, 0, 1)
    params = masks_lib.apply(ticket.params, ticket.masks)
    images = jax.random.uniform(jax.random.key(0), (3, *ground.facts.image_shape))
    logits, _ = ground.apply_fn(params, ticket.model_state, images, False)
    found = basis_turns.weights(params, ticket.model_state, ground.bases)
    plain = ground.module.apply({"params": found}, images)
    np.testing.assert_allclose(logits, plain, rtol=1e-5, atol=1e-6)
    assert (found["dense1"]["kernel"] != 0).all()
    assert not ticket.masks["dense1"]["kernel"].all()


def test_the_first_network_is_that_of_weights_and_a_seed_has_a_rotation_of_its_own():
    ground, parts = built(LEARNT)
    _, plain = built({})
    states = []
    for seed in range(2):
        params, state = parts.init_fn(jax.random.key(seed))
        expected, _ = plain.init_fn(jax.random.key(seed))
        found = basis_turns.weights(params, state, ground.bases)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected
        )
        states.append(state["basis"]["arrays"]["head"]["kernel"]["inputs"])
    assert np.abs(states[0] - states[1]).max() > 0.1


def test_a_control_draws_other_weights_in_the_basis_of_its_ticket(learnt):
    _, root = learnt
    ground, parts = built(LEARNT)
    ticket = layout.load_ticket(root, 0, 1)
    drawn = parts.control("reinit", jax.random.key(5), ticket)
    own = jax.tree.leaves(ticket.model_state)
    for one, other in zip(jax.tree.leaves(drawn.model_state), own, strict=True):
        np.testing.assert_array_equal(one, other)
    again = basis_turns.weights(drawn.params, ticket.model_state, ground.bases)
    _, plain = built({})
    key = jax.random.fold_in(jax.random.key(5), ticket.level)
    expected, _ = plain.init_fn(key)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), again, expected
    )


def test_a_longer_search_goes_on_from_a_shorter_one_with_the_same_bits(
    learnt, tmp_path
):
    config, root = learnt
    experiment.run(tiny.changed(config, {"search.levels": 1}), tmp_path)
    experiment.run(config, tmp_path)
    assert tiny.outcome(tmp_path) == tiny.outcome(root)


@pytest.mark.slow
def test_the_dense_training_is_that_of_the_weights(learnt, tmp_path):
    _, root = learnt
    experiment.run(tiny.config({"seeds": (0,), "search.levels": 0}), tmp_path)
    (plain,), found = tiny.records(tmp_path).values(), tiny.records(root)
    for name in ("train_loss", "test_loss"):
        assert found[0, 0, "ticket"][name] == pytest.approx(plain[name], rel=1e-4)


@pytest.mark.parametrize("name", ["identity", "groups"])
def test_what_turns_nothing_leaves_the_functions_of_weights(name):
    pattern = "channels" if name == "groups" else "weights"
    changes = {"search.pattern": pattern, "search.basis": ((".", name),)}
    config = tiny.config(changes)
    ground = check.check(config)[2]
    assert ground.bases == {}
    params, state = ground.init_fn(jax.random.key(0))
    expected = check.check(tiny.config())[2].init_fn(jax.random.key(0))
    assert_same((params, state), expected)
    assert ground.method.counts(ground)(None, None) == {}


def stepped(changes, levels):
    """Returns the ground, the weights that were trained to, and tickets of a search."""
    ground, parts = built(changes)
    params, state = parts.init_fn(jax.random.key(0))
    masks, key = parts.masks_fn(params), jax.random.key(1)
    search, ticket = parts.search.init(key, params, state, masks)
    tickets, trained = [ticket], []
    for number in range(levels):
        own = jax.random.split(jax.random.key(2 + number), len(jax.tree.leaves(params)))
        noise = jax.tree.unflatten(jax.tree.structure(params), list(own))
        ended = jax.tree.map(
            lambda w, k: w + jax.random.normal(k, w.shape), ticket.params, noise
        )
        ended = masks_lib.apply(ended, ticket.masks)
        trained.append(basis_turns.weights(ended, ticket.model_state, ground.bases))
        given = Trained(ended, ticket.model_state, ticket.masks)
        search, ticket = parts.search.step(key, search, ticket, given)
        tickets.append(ticket)
    return ground, trained, tickets


def rows(ticket):
    """Returns how many rows a ticket keeps, round(18 * 0.6**n) of 18."""
    return sum(int(mask.any(0).sum()) for mask in jax.tree.leaves(ticket.masks))


def vectors(ticket):
    return ticket.model_state["basis"]["arrays"]["dense1"]["kernel"]["outputs"]


def test_what_is_learnt_is_learnt_once_and_rewound_weights_are_expressed_in_it():
    ground, trained, (first, *later) = stepped(FIXED, 2)
    np.testing.assert_array_equal(vectors(first), np.eye(8))
    matrix = trained[0]["dense1"]["kernel"]
    left, values, _ = np.linalg.svd(matrix.T, full_matrices=False)
    found = np.abs(vectors(later[0]) @ left)
    np.testing.assert_allclose(found, np.eye(8), atol=1e-4)
    np.testing.assert_array_equal(vectors(later[0]), vectors(later[1]))
    begun = basis_turns.weights(first.params, first.model_state, ground.bases)
    for ticket in later:
        again = basis_turns.weights(ticket.params, ticket.model_state, ground.bases)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), again, begun
        )
    kept = np.asarray(later[0].masks["dense1"]["kernel"].any(0))
    assert kept[: kept.sum()].all() and kept.sum() < 8  # the largest singular values
    assert (np.diff(values) < 0).all()


def test_a_basis_that_is_learnt_each_level_starts_from_full_masks():
    changes = {**FIXED, "search.basis_each_level": True}
    ground, trained, tickets = stepped(changes, 2)
    assert np.abs(vectors(tickets[1]) - vectors(tickets[2])).max() > 0.1
    _, _, fixed = stepped(FIXED, 2)
    assert [rows(t) for t in tickets] == [rows(t) for t in fixed] == [18, 11, 6]
    rank = int(tickets[1].masks["dense1"]["kernel"].any(0).sum())
    assert np.linalg.matrix_rank(trained[1]["dense1"]["kernel"]) == rank
    left = np.linalg.svd(trained[1]["dense1"]["kernel"].T, full_matrices=False)[0]
    found = np.abs(vectors(tickets[2]) @ left)[:rank, :rank]
    np.testing.assert_allclose(found, np.eye(rank), atol=1e-3)


def test_gates_are_of_the_coefficients_of_a_basis_that_is_learnt():
    changes = {
        **tiny.CONV,
        "search.method": "continuous",
        "search.basis": (("Conv", "pca_spatial"),),
    }
    ground, _, (first, opened) = stepped(changes, 1)
    states = first.model_state, opened.model_state.network
    turns = [s["basis"]["arrays"]["Conv_0"]["kernel"]["space"] for s in states]
    np.testing.assert_array_equal(turns[0], np.eye(9))
    assert np.abs(turns[1] - turns[0]).max() > 0.1
    params = first.params, opened.params.weights
    pair = [
        basis_turns.weights(*one, ground.bases)
        for one in zip(params, states, strict=True)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *pair)


def test_a_copy_of_the_weights_that_an_optimizer_holds_is_of_the_learnt_basis():
    changes = {
        **tiny.CONV,
        "search.method": "continuous",
        "search.basis": (("Conv", "pca_spatial"),),
        "optimizer.name": "schedule_free_sgd",
    }
    _, _, (_, opened) = stepped(changes, 1)
    held = jax.tree_util.tree_leaves_with_path(opened.opt_state)
    copies = [leaf for path, leaf in held if ".z.weights" in jax.tree_util.keystr(path)]
    assert_same(copies, jax.tree.leaves(opened.params.weights))


def test_a_round_of_gates_records_what_its_basis_keeps_and_costs(tmp_path):
    changes = {
        **tiny.CONV,
        "seeds": (0,),
        "search.method": "continuous",
        "search.levels": 1,
        "search.basis": (("Conv", "pca_spatial"),),
    }
    experiment.run(tiny.config(changes), tmp_path)
    found = tiny.records(tmp_path)
    pair = found[1, 0, "search"], found[1, 0, "ticket"]
    for name in ("kept", "basis_numbers", "flops_materialised", "flops_unmaterialised"):
        assert pair[0][name] == pair[1][name], name


def test_what_is_exported_is_the_weights_that_its_network_computes_with(
    learnt, tmp_path
):
    _, root = learnt
    ground, _ = built(LEARNT)
    to = tmp_path / "ticket.safetensors"
    flags = [str(root), "--seed=0", "--level=1", f"--to={to}"]
    export.main(flags)
    found, _ = safetensors.read(to)
    ticket = layout.load_ticket(root, 0, 1)
    kept = masks_lib.apply(ticket.params, ticket.masks)
    expected = basis_turns.weights(kept, ticket.model_state, ground.bases)
    assert_same(found.params, expected)
    assert found.model_state == {} and masks_lib.sparsity(found.masks) == 0
    export.main([*flags, "--layout=torch"])
    plain = load_file(to)["head.weight"]
    np.testing.assert_array_equal(plain, np.transpose(expected["head"]["kernel"]))
    with pytest.raises(SystemExit, match="layout is of weights, got --coefficients"):
        export.main([*flags, "--layout=torch", "--coefficients"])
    export.main([*flags, "--coefficients"])
    found, _ = safetensors.read(to)
    assert_same(found.params, ticket.params)


def test_a_ticket_of_coefficients_is_no_elastic_ticket_and_no_teacher(learnt, tmp_path):
    _, root = learnt
    with pytest.raises(ValueError, match="taken over must be of weights, got trans"):
        changes = {"search.method": "transplant", "transplant.source": str(root)}
        check.check(tiny.config(changes))
    with pytest.raises(ValueError, match="taken over must be of weights, got elas"):
        changes = {"search.method": "elastic", "elastic.source": str(root)}
        check.check(tiny.config(changes))
    ticket = layout.load_ticket(root, 0, 1)
    save_trained(tmp_path / "trained", Trained(*ticket[3:6]))
    with pytest.raises(ValueError, match="teacher must be a network of weights"):
        arm_checks.teacher(tmp_path / "trained", built({})[1])


def test_records_count_what_a_basis_stores_and_its_operations(learnt):
    _, root = learnt
    rows = tiny.records(root)
    dense, row = rows[0, 0, "ticket"], rows[1, 0, "ticket"]
    assert dense["basis_numbers"] == 8**2 + 10**2  # nothing is learnt yet
    assert dense["flops_materialised"] == 2 * 592
    assert dense["flops_unmaterialised"] == 2 * 592 + 2 * (8 + 10) * 80
    rank = round(row["layers"]["dense1/kernel"] * 8)
    assert 0 < rank < 8
    assert row["basis_numbers"] == rank * 8 + 8**2 + 10**2
    assert row["flops_materialised"] == 2 * 592
    assert row["flops_factorised"] == 2 * (rank * (64 + 8) + 80)
    turning = 2 * 8 * 512 + 2 * (8 + 10) * 80
    assert row["flops_unmaterialised"] == 2 * 592 + turning
    assert rows[1, 0, "reinit"]["basis_numbers"] == row["basis_numbers"]


@pytest.mark.parametrize(
    "score", rest_slow(["snip", "grasp", "taylor", "iterative_snip", "force"], "snip")
)
def test_scores_are_of_coefficients(score):
    changes = {**TURNED, "search.score": score, "search.norms": "running"}
    changes |= {"search.method": "at_init", "search.rounds": 0}
    ground, parts = built(changes)
    params, state = parts.init_fn(jax.random.key(0))
    masks = parts.masks_fn(params)
    found = parts.prune_fn(
        jax.random.key(0), Trained(params, state, masks), ground.plan.targets[0]
    )
    assert int(masks_lib.count(found)[0]) == 474


HALVES = bases.BasisKind(
    lambda leaf: bases.IDENTITY._replace(to_basis=lambda w, arrays: w / 2)
)


def test_a_basis_of_ones_own_that_does_not_give_back_is_refused():
    with pytest.raises(
        ValueError, match="come back 0.5 of their length .* head/kernel"
    ):
        built({"search.basis": (("head", f"{__name__}:HALVES"),)})
