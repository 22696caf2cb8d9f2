"""Studies of a run: rows measured once, tables and figures of what it left."""

import json
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from matplotlib.figure import Figure
from PIL import Image

from lthjax import models, tickets
from lthjax.analysis import barriers, comparison, correlation, costs
from lthjax.data import in_memory
from lthjax.program import progress
from lthjax.program.report.studies import barrier, study
from lthjax.program.workdir import layout, results
from lthjax.pruning import masks
from lthjax.saving import checkpoints
from lthjax.saving import tickets as saving_tickets

ALL = tuple(study.STUDIES)
MODEL, SHAPE, SEEDS, LEVELS = tiny.ConvNet(3), (4, 4, 1), (0, 1), (0, 1, 2)


def apply_fn(params, model_state, images, train):
    return models.apply(MODEL, params, model_state, images, train=train)


def prepare(images):
    return images.astype(jnp.float32) / 255


def split(size):
    images = np.random.default_rng(size).integers(0, 256, (size, *SHAPE), np.uint8)
    return in_memory.Split(images, np.arange(size, dtype=np.int32) % 3)


@pytest.fixture(scope="module")
def network():
    source = in_memory.Source(split(20), split(4), split(10), 3, (0.0,), (1.0,))
    init = jax.eval_shape(
        lambda key: models.initialise(MODEL, key, jnp.zeros((1, *SHAPE))),
        jax.random.key(0),
    )
    found = study.network(apply_fn, prepare, init, source, chunk=6, images=8)
    return found._replace(rate=0.3, dense_at=dense_at)


def dense_at(rate):
    """Returns what the dense network is trained to at a rate; too high, it diverges."""
    if rate > 0.3:
        raise FloatingPointError
    return [{"level": 0, "seed": s, "test_accuracy": rate + s / 10} for s in SEEDS]


def initialised(seed):
    return models.initialise(MODEL, jax.random.key(seed), jnp.zeros((1, *SHAPE)))


def members(seed, level):
    """Returns a ticket and its end: every second sign turned, masks that are nested."""
    params, state = initialised(seed)
    kept = jax.tree.map(
        lambda m: (jnp.arange(m.size) % 2**level == seed % 2**level).reshape(m.shape),
        masks.full(params),
    )
    end = jax.tree.map(
        lambda w: w * jnp.where(jnp.arange(w.size) % 4 < 2, 1, -1).reshape(w.shape),
        masks.apply(params, kept),
    )
    ticket = tickets.Ticket(level, 0, 10, params, state, kept)
    return ticket, tickets.Trained(end, state, kept, opt_state={"momentum": end})


def fill(root, seeds=SEEDS, levels=LEVELS, wanted=ALL):
    """Leaves in a folder what a run of these seeds and levels would have left."""
    for seed in seeds:
        for level in levels:
            ticket, trained = members(seed, level)
            layout.save_ticket(root, seed, ticket)
            study.keep(root, wanted, seed, ticket, trained)
            kept, prunable = masks.count(ticket.masks)
            row = {"level": level, "seed": seed, "arm": "ticket", "kept": int(kept)}
            row |= {"prunable": prunable, "test_accuracy": 0.9 - 0.1 * level}
            rows = [row, row | {"arm": "random"}]
            results.append(root / results.RESULTS, rows)


@pytest.fixture(scope="module")
def run(tmp_path_factory, network):
    root = tmp_path_factory.mktemp("run")
    fill(root)
    study.write(root, ALL, network)
    return root


def rows(root, name):
    found = results.read(root / study.FOLDER / f"{name}.jsonl")
    return {results.identity(row, study.IDENTITY): row for row in found}


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


def test_own_studies_of_one_module_have_tables_of_their_own(tmp_path):
    rows = [{"level": 0, "x": 1.0}], [{"level": 0, "x": 2.0}]
    for name, own in zip(("mine.one", "mine.two"), rows, strict=True):
        study._show(tmp_path / name, lambda rows: Figure(), own)
    for name, own in zip(("mine.one", "mine.two"), rows, strict=True):
        assert (tmp_path / f"{name}.csv").read_text() == results.to_csv(own)
        assert (tmp_path / f"{name}.png").exists()


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
        assert own["test_accuracy"] == 0.9 and own["rate"] == 0.3  # the run's record
        assert high["test_accuracy"] is None and high["diverged"]


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


def test_what_is_measured_and_drawn_is_not_touched_again(run, network):
    before = tiny.contents(run)
    study.write(run, ALL, network)
    assert tiny.contents(run) == before


def test_a_new_level_adds_its_rows_and_draws_again(tmp_path, network):
    fill(tmp_path, levels=(0, 1), wanted=())
    study.write(tmp_path, ["densities"], network)
    stem = tmp_path / study.FOLDER / "densities"
    before = {p.suffix: p.read_bytes() for p in stem.parent.iterdir()}
    fill(tmp_path, levels=(2,), wanted=())
    study.write(tmp_path, ["densities"], network)
    assert len(rows(tmp_path, "densities")) == 3 * len(SEEDS)
    after = {p.suffix: p.read_bytes() for p in stem.parent.iterdir()}
    assert after.keys() == before.keys() == {".jsonl", ".csv", ".png"}
    assert after[".jsonl"].startswith(before[".jsonl"])
    assert all(after[suffix] != before[suffix] for suffix in after)


def test_a_study_that_was_stopped_goes_on(tmp_path, network, run, monkeypatch):
    fill(tmp_path)
    asked, measured = threading.Event(), []

    def measure(*args):
        measured.append(args)
        if len(measured) == 2:
            asked.set()
        return overlap(*args)

    overlap = comparison.overlap
    monkeypatch.setattr(comparison, "overlap", measure)
    with pytest.raises(progress.Interrupted, match="study overlap; the same command"):
        study.write(tmp_path, ["overlap"], network, asked=asked)
    assert len(rows(tmp_path, "overlap")) == len(measured) == 2
    study.write(tmp_path, ["overlap"], network)
    assert len(measured) == len(rows(tmp_path, "overlap"))
    assert rows(tmp_path, "overlap") == rows(run, "overlap")


def test_only_what_is_trained_to_its_end_is_studied(tmp_path, network):
    fill(tmp_path, seeds=(0,), levels=(0, 1), wanted=())
    layout.save_ticket(tmp_path, 0, members(0, 2)[0])
    study.write(tmp_path, ["overlap", "flops"], network)
    assert set(rows(tmp_path, "overlap")) == {(1, 0, "level 0")}
    assert set(rows(tmp_path, "flops")) == {(0, 0, ""), (1, 0, "")}


def test_the_end_of_a_training_is_kept_where_a_study_reads_it(tmp_path):
    ticket, trained = members(1, 2)
    path = layout.trained_path(tmp_path, "ticket", 1, 2)
    for wanted in ((), ("overlap", "densities", "flops")):
        study.keep(tmp_path, wanted, 1, ticket, trained)
        assert not path.exists()
    study.keep(tmp_path, ("overlap", "signs"), 1, ticket, trained)
    assert path == tmp_path / "deployed" / "ticket" / "seed_1" / "level_02"
    found = saving_tickets.load_trained(path)
    expected = trained._replace(opt_state=None)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def test_where_training_changes_the_masks_those_of_its_end_are_studied(
    tmp_path, network
):
    fill(tmp_path, seeds=(0,), levels=(0, 1), wanted=())
    ticket, trained = members(0, 1)
    moved = jax.tree.map(jnp.logical_not, trained.masks)
    study.keep(tmp_path, ("overlap",), 0, ticket, trained._replace(masks=moved))
    fill(tmp_path, seeds=(1,), levels=(1,), wanted=())
    study.write(tmp_path, ["overlap"], network)
    # Seed 0 kept what is even and seed 1 what is odd, before seed 0 changed sides.
    assert rows(tmp_path, "overlap")[1, 0, "seed 1"]["overlap"] == 1


def test_a_damaged_end_is_named(tmp_path, network):
    fill(tmp_path)
    path = layout.trained_path(tmp_path, "ticket", 0, 0) / "metadata" / "metadata"
    found = json.loads(path.read_text())
    found["metadata"]["level"] += 1
    path.write_text(json.dumps(found))
    with pytest.raises(checkpoints.DamagedError, match="seed_0/level_00"):
        study.write(tmp_path, ["signs"], network)


def test_what_the_version_before_kept_is_studied_where_it_is(tmp_path, network):
    fill(tmp_path, seeds=(0,), levels=(0, 1))
    (tmp_path / "trained").mkdir()
    place = tmp_path / "deployed" / "ticket" / "seed_0"
    place.rename(tmp_path / "trained" / "seed_0")
    assert layout.trained_path(tmp_path, "ticket", 0, 1).parts[-3] == "trained"
    assert layout.trained_path(tmp_path, "ticket", 0, 2).parts[-4] == "deployed"
    fill(tmp_path, seeds=(0,), levels=(2,))
    assert layout.trained_members(tmp_path, "ticket") == {(0, 0), (0, 1), (0, 2)}
    study.write(tmp_path, ["signs"], network)
    assert set(rows(tmp_path, "signs")) == {(0, 0, ""), (1, 0, ""), (2, 0, "")}


@pytest.mark.parametrize("name", ALL)
def test_where_there_is_nothing_to_show_that_is_said(tmp_path, network, name, caplog):
    study.write(tmp_path, [name], network)
    assert not list(tmp_path.iterdir())
    (line,) = [r.getMessage() for r in caplog.records if name in r.getMessage()]
    assert "nothing to show" in line
    assert ("end of training" in line) == study.STUDIES[name].needs_trained
