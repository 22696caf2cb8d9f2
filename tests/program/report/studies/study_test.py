"""Studies of a run: what they measure of what it left."""

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from studied import ALL, LEVELS, SEEDS, SHAPE, apply_fn, members, prepare, rows, split

from lthjax import models, tickets
from lthjax.analysis import barriers, comparison, correlation, costs
from lthjax.data import in_memory
from lthjax.program.report.studies import barrier, study
from lthjax.program.workdir import layout, results
from lthjax.pruning import masks
from lthjax.saving import tickets as saving_tickets


def test_every_study_leaves_its_rows_a_table_and_a_figure(run):
    for name in ALL:
        stem = run / study.FOLDER / name
        found = sorted(rows(run, name).items())
        table = stem.with_suffix(".csv").read_text()
        assert table == results.to_csv([row for _, row in found])
        with Image.open(stem.with_suffix(".png")) as image:
            assert image.format == "PNG"
            assert np.ptp(np.asarray(image.convert("L"))) > 0
    pairs = {(n, 0, "seed 1") for n in LEVELS}
    pairs |= {(n, seed, f"level {n - 1}") for n in LEVELS[1:] for seed in SEEDS}
    singles = {(level, seed, "") for level in LEVELS for seed in SEEDS}
    for name in ALL:
        expected = pairs if name in ("overlap", "barrier") else singles
        if name == "learning_rate":
            expected = {(0, s, f"rate {r}") for r in (0.1, 0.3, 0.9) for s in SEEDS}
        assert set(rows(run, name)) == expected


def test_overlaps_are_those_of_the_masks(run):
    found = rows(run, "overlap")
    # At level 2 seed 0 keeps the multiples of four, seed 1 those plus one.
    assert found[2, 0, "seed 1"]["overlap"] == 0
    inside = found[2, 0, "level 1"]
    assert inside["overlap"] == inside["most"] > inside["chance"]
    a, b = (members(seed, 1)[0].masks for seed in SEEDS)
    assert found[1, 0, "seed 1"]["hamming"] == comparison.hamming(a, b) == 1


def test_densities_and_signs_are_by_layer_in_the_order_of_depth(run):
    ticket, trained = members(1, 2)
    trees = ticket.params, trained.params, trained.masks
    for name, expected in (
        ("densities", comparison.densities(ticket.masks)),
        ("signs", comparison.by_layer(comparison.sign_agreement, *trees)),
    ):
        layers = rows(run, name)[2, 1, ""]["layers"]
        assert list(layers) == ["Conv_0/kernel", "Dense_0/kernel"]
        np.testing.assert_allclose(
            list(layers.values()), list(expected.values()), atol=1e-6
        )
    # Of the multiples of four plus one no sign is turned, of all of them a half is.
    assert rows(run, "signs")[2, 1, ""]["agreement"] == 1
    assert rows(run, "signs")[0, 0, ""]["agreement"] == 0.5


def test_correlations_are_of_starts_and_ends(run):
    first = rows(run, "correlation")[0, 0, ""]["initial_trained"]
    # What `members` turns is the sign: the same weights are large, half have their
    # signs, and the others went twice their own length.
    assert first["ranks"] == 1 and first["overlap"] == {"0.1": 1, "0.2": 1}
    assert first["signs"] == 0.5
    row = rows(run, "correlation")[2, 1, ""]
    assert row["lowest"] == 0.25
    ticket, trained = members(1, 2)
    trees = ticket.params, trained.params, trained.masks
    found = row["rewound_trained"]
    assert found["distance"] == round(float(correlation.distance(*trees)), 6)
    assert found["overlap"]["0.1"] == 1
    _, dense = members(1, 0)
    full = masks.full(dense.params)
    sparse = masks.apply(trained.params, trained.masks)
    for part in (0.1, 0.2):
        ratio = correlation.overlap_ratio(dense.params, sparse, full, part)
        assert row["dense_trained"]["overlap_all"][f"{part:g}"] == round(
            float(ratio), 6
        )
    assert row["initial_rewound"]["distance"] == 0  # nothing is rewound to later
    assert "dense_trained" not in rows(run, "correlation")[0, 1, ""]


def test_neighbouring_rates_stand_beside_the_run_s_own(run):
    found = rows(run, "learning_rate")
    for seed in SEEDS:
        low, own, high = (found[0, seed, f"rate {r}"] for r in (0.1, 0.3, 0.9))
        np.testing.assert_allclose(low["test_accuracy"], 0.1 + seed / 10)
        np.testing.assert_allclose(low["validation_accuracy"], 0.05 + seed / 20)
        assert own["test_accuracy"] == 0.9 and own["rate"] == 0.3  # the run's record
        assert own["validation_accuracy"] == 0.8
        assert high["test_accuracy"] is high["validation_accuracy"] is None
        assert high["diverged"]


def test_costs_stand_beside_the_accuracy(run, network):
    row = rows(run, "flops")[1, 0, ""]
    kept = members(0, 1)[0].masks
    # 4 x 4 pixels for the convolution, one use of each weight of the head; half kept.
    assert row["dense_flops"] == 2 * (9 * 4 * 16 + 4 * 3)
    assert row["flops"] == row["dense_flops"] / 2
    assert row["parameters"] == costs.parameters(network.params, kept)
    assert row["test_accuracy"] == 0.8


def test_barriers_are_of_recomputed_statistics(run, network):
    row = rows(run, "barrier")[1, 1, "level 0"]
    assert network.images == row["images"] == 8
    assert row["statistics"] == "recomputed"
    assert network.training.shape == (1, 6, *SHAPE)  # of 8 images one batch of 6
    errors = np.array(row["errors"])
    assert len(errors) == barrier.POINTS
    assert set(np.round(8 * errors, 4) % 1) == {0}  # of 8 images
    expected = errors.max() - (errors[0] + errors[-1]) / 2
    np.testing.assert_allclose(row["barrier"], expected, atol=2e-6)
    _, end = members(1, 1)
    state = barriers.recomputed(apply_fn, network.training)(end.params, end.model_state)
    _, accuracy = network.evaluate(end.params, state, network.examples)
    np.testing.assert_allclose(errors[-1], 1 - accuracy, atol=1e-6)


def test_a_network_without_norms_needs_no_statistics(tmp_path):
    model = models.build("mlp", 3, options={"hidden": (4,)})

    def forward(params, model_state, images, train):
        return models.apply(model, params, model_state, images, train=train)

    def init(key):
        return models.initialise(model, key, jnp.zeros((1, *SHAPE)))

    source = in_memory.Source(split(20), split(4), split(10), 3, (0.0,), (1.0,))
    shapes = jax.eval_shape(init, jax.random.key(0))
    network = study.network(forward, prepare, shapes, source)
    assert network.training is None
    assert network.images == 10
    params, state = init(jax.random.key(0))
    kept = masks.full(params)
    for level in (0, 1):
        path = layout.trained_path(tmp_path, "ticket", 0, level)
        saving_tickets.save_trained(path, tickets.Trained(params, state, kept))
    study.write(tmp_path, ["barrier"], network)
    row = rows(tmp_path, "barrier")[1, 0, "level 0"]
    assert row["barrier"] == 0  # twice the same network
    assert row["statistics"] == "none"
