"""What a page shows of tickets: their filters, what seeds have in common, weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax.program.report import page_tickets, run_report
from lthjax.program.workdir import layout, notes, results
from lthjax.pruning import bases
from lthjax.pruning import masks as masks_lib
from lthjax.saving import tickets
from lthjax.tickets import Ticket, Trained

ORDER = ("conv1/kernel", "head/kernel", "head/bias")


def ticket(seed, level, shape=(3, 3, 2, 5)):
    """A ticket of a convolution and a head; its masks keep what a seed draws."""
    keys = jax.random.split(jax.random.key(seed), 3)
    params = {
        "conv1": {"kernel": jax.random.normal(keys[0], shape)},
        "head": {"kernel": jax.random.normal(keys[1], (8, 4)), "bias": jnp.ones(4)},
    }
    masks = jax.tree.map(
        lambda mask: jax.random.bernoulli(keys[2], 0.5**level, mask.shape),
        masks_lib.full(params),
    )
    return Ticket(level, 0, 10, params, {}, masks)


def run(root, seeds=(0, 1), levels=(1, 2)):
    """Writes the tickets of a run and returns its records."""
    rows = []
    for seed in seeds:
        for level in levels:
            layout.save_ticket(root, seed, ticket(seed, level))
            row = {"level": level, "seed": seed, "arm": "ticket", "kept": 2**-level}
            rows.append(row | {"prunable": 1, "sparsity": 1 - 2**-level})
    results.append(root / results.RESULTS, rows)
    notes.write(root / run_report.COSTS, {name: [1, 1.0] for name in ORDER})
    return rows


def test_two_seeds_have_filters_an_overlap_and_weights(tmp_path):
    shown = dict(page_tickets.of(tmp_path, run(tmp_path)))
    assert list(shown) == [
        "filters of the first layer, level 2",
        "overlap of the masks of two seeds",
        "weights, level 2",
    ]
    one, other = shown["filters of the first layer, level 2"].axes
    assert (one.get_title(), other.get_title()) == (
        "seed 0, at its start",
        "seed 1, at its start",
    )
    legend = shown["weights, level 2"].axes[0].get_legend().get_texts()
    masks = ticket(0, 2).masks
    kept, total = map(int, masks_lib.count(masks))
    assert [text.get_text() for text in legend] == [
        f"before, kept, {kept}",
        f"before, pruned, {total - kept}",
    ]


def test_the_first_layer_is_the_one_that_is_used_first():
    params = {
        name: {"kernel": jnp.ones((3, 3, 1, n))} for name, n in (("a", 2), ("z", 5))
    }
    own = Ticket(1, 0, 10, params, {}, masks_lib.full(params))
    (axes,) = page_tickets.filters({0: own}, ("z/kernel", "a/kernel")).axes
    canvas = np.asarray(axes.images[0].get_array().filled(np.nan))
    assert canvas.shape == (7, 11)  # five units, three beside each other
    assert page_tickets.filters({0: own}, ()) is None


def test_coefficients_are_no_filters_and_are_called_what_they_are(tmp_path):
    rows = run(tmp_path, seeds=(0,), levels=(1,))
    state = {bases.COLLECTION: {"of_coefficients": jnp.ones((), bool)}}
    layout.save_ticket(tmp_path, 1, ticket(1, 1)._replace(model_state=state))
    shown = dict(page_tickets.of(tmp_path, [rows[0] | {"seed": 1}]))
    assert list(shown) == ["coefficients, level 1"]
    assert shown["coefficients, level 1"].axes[0].get_xlabel() == "coefficient"


def test_one_seed_has_no_overlap_and_a_trained_network_is_shown_after(tmp_path):
    rows = run(tmp_path, seeds=(3,), levels=(1,))
    own = ticket(3, 1)
    trained = Trained(own.params, {}, own.masks)
    tickets.save_trained(
        layout.trained_path(tmp_path, "ticket", 3, 1), trained, seed=3, level=1
    )
    shown = dict(page_tickets.of(tmp_path, rows))
    assert [name.split(",")[0] for name in shown] == [
        "filters of the first layer",
        "weights",
    ]
    labels = shown["weights, level 1"].axes[0].get_legend().get_texts()
    assert labels[-1].get_text().startswith("after, kept")


def test_a_pruned_weight_is_no_grey_one_and_units_keep_their_order(tmp_path):
    own = ticket(0, 1)
    mask = np.zeros((3, 3, 2, 5), bool)
    mask[0, 0, :, 2] = mask[:, :, :, 4] = True
    masks = {**own.masks, "conv1": {"kernel": jnp.asarray(mask)}}
    (axes,) = page_tickets.filters({0: own._replace(masks=masks)}, ORDER).axes
    canvas = np.asarray(axes.images[0].get_array().filled(np.nan))
    tiles = [canvas[i : i + 3, j : j + 3] for i in (0, 4) for j in (0, 4, 8)]
    drawn = [int(np.isfinite(tile).sum()) for tile in tiles]
    assert drawn == [0, 0, 1, 0, 9, 9]  # the last tile is none: white


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ((3, 3, 2, 5), (5, 3, 3)),
        ((784, 7), (7, 28, 28)),
        ((3072, 7), (7, 32, 32)),
        ((10, 7), None),
        ((5,), None),
    ],
)
def test_units_of_layers_that_read_images_are_images(shape, found):
    images = page_tickets.images(np.zeros(shape))
    assert (None if images is None else images.shape) == found


def test_large_tickets_are_not_read(tmp_path, monkeypatch):
    rows = run(tmp_path)
    monkeypatch.setattr(page_tickets, "MOST", 10)
    assert not list(page_tickets.of(tmp_path, rows))
