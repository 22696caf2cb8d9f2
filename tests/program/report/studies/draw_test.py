"""Figures of studies: axes with units, what they are of, and the numbers in them."""

import numpy as np
import pytest

from lthjax.program.report import axes as axes_lib
from lthjax.program.report.studies import (
    barrier,
    correlation,
    densities,
    flops,
    learning_rate,
    overlap,
    signs,
)

KEPT = {0: 1.0, 1: 0.5, 2: 0.25}
LAYERS = ("first/kernel", "head/kernel")


def row(level, seed, other="", **values):
    return {"level": level, "seed": seed, "other": other, "kept": KEPT[level], **values}


def singles(seeds=(0, 1), **values):
    return [row(level, seed, **values) for level in KEPT for seed in seeds]


def pairs(seeds=(0, 1), **values):
    """Rows of all pairs: two seeds, and consecutive levels."""
    both = [row(n, 0, "seed 1", **values) for n in KEPT] if len(seeds) > 1 else []
    steps = [(n, s) for n in KEPT if n for s in seeds]
    return both + [row(n, s, f"level {n - 1}", **values) for n, s in steps]


OVERLAP = {"overlap": 0.4, "chance": 0.2, "most": 0.5, "hamming": 0.1}
BARRIER = {
    "barrier": 0.25,
    "errors": [0.1, 0.4, 0.2],
    "images": 1000,
    "statistics": "none",
}
COSTS = {"flops": 30, "dense_flops": 60, "parameters": 2, "dense_parameters": 8}
DENSITIES = {"layers": {LAYERS[0]: 0.5, LAYERS[1]: 1.0}}
POINTS = {"overlap": {"0.1": 0.7}, "overlap_all": {"0.1": 0.8}, "distance": 0.3}
CORRELATION = dict.fromkeys(correlation.PAIRS, POINTS)
SIGNS = {"agreement": 0.9, "layers": dict.fromkeys(LAYERS, 0.8)}


def rates(seeds=(0, 1)):
    """Rows of three learning rates, of which the highest diverged."""
    head = {"level": 0, "kept": 1.0, "label": "test accuracy, %"}
    return [
        head | {"seed": s, "other": f"rate {r}", "rate": r, "test_accuracy": a}
        for r, a in ((0.1, 0.8), (0.3, 0.9), (0.9, None))
        for s in seeds
    ]


DRAWN = {
    "overlap": lambda seeds=(0, 1): overlap.draw(pairs(seeds, **OVERLAP)),
    "barrier": lambda seeds=(0, 1): barrier.draw(pairs(seeds, **BARRIER)),
    "flops": lambda seeds=(0, 1): flops.draw(
        singles(seeds, **COSTS, test_accuracy=0.9)
    ),
    "densities": lambda seeds=(0, 1): densities.draw(singles(seeds, **DENSITIES)),
    "correlation": lambda seeds=(0, 1): correlation.draw(singles(seeds, **CORRELATION)),
    "learning_rate": lambda seeds=(0, 1): learning_rate.draw(rates(seeds)),
    "signs": lambda seeds=(0, 1): signs.draw(singles(seeds, **SIGNS)),
}


def lines(axes):
    return {line.get_label(): line.get_data() for line in axes.lines}


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_every_axis_says_what_it_shows_and_every_title_of_how_many(name, seeds):
    figure = DRAWN[name](seeds)
    figure.draw_without_rendering()
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert panels
    for axes in panels:
        assert axes.get_xlabel() and axes.get_ylabel()
        assert "%" in axes.get_ylabel() or "points of error" in axes.get_ylabel()
    titles = " ".join(axes.get_title() for axes in panels)
    pairs = name in ("overlap", "barrier")
    number = "1 pair" if pairs and len(seeds) == 1 else f"{len(seeds)} "
    assert f"n = {number}" in titles


def test_overlaps_are_drawn_against_what_is_kept_beside_chance():
    between, within = overlap.draw(pairs(**OVERLAP)).axes
    drawn = lines(between)
    x, y = drawn["measured"]
    np.testing.assert_allclose(x, [100, 50, 25])
    np.testing.assert_allclose(y, 40)
    np.testing.assert_allclose(drawn["chance, given each layer's density"][1], 20)
    np.testing.assert_allclose(lines(within)["measured"][0], [50, 25])
    assert between.get_xlim()[0] > between.get_xlim()[1]
    assert len(overlap.draw(pairs((0,), **OVERLAP)).axes) == 1


def test_densities_have_a_line_a_level_and_no_point_at_zero():
    rows = singles(**DENSITIES)
    axes = densities.draw(rows).axes[0]
    assert len(axes.lines) == len(KEPT)
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [50, 100])
    assert [label.get_text() for label in axes.get_xticklabels()] == list(LAYERS)
    assert "0 %" not in axes.get_title()
    empty = [r | {"layers": dict.fromkeys(LAYERS, 0)} for r in singles()]
    axes = densities.draw([*rows[:-2], *empty[-2:]]).axes[0]
    assert np.isnan(axes.lines[-1].get_ydata()).all()
    assert "no point: 0 %" in axes.get_title()


def test_costs_are_shares_of_the_dense_network_beside_accuracy():
    rows = [r | {"test_accuracy": 0.9 + 0.02 * r["seed"]} for r in singles(**COSTS)]
    left, right = flops.draw(rows).axes
    drawn = lines(left)
    np.testing.assert_allclose(drawn["FLOPs (dense: 60)"][1], 50)
    np.testing.assert_allclose(drawn["parameters (dense: 8)"][1], 25)
    np.testing.assert_allclose(drawn["FLOPs (dense: 60)"][0], list(KEPT))
    x, y = lines(right)["ticket"]
    np.testing.assert_allclose(x, 50)
    np.testing.assert_allclose(y, 91)  # the mean of 90 and 92 %
    assert left.get_yscale() == right.get_xscale() == "log"


def test_signs_are_drawn_for_all_and_for_layers_that_keep_some():
    rows = singles(**SIGNS)
    rows[-2:] = [r | {"layers": {LAYERS[1]: 0.7}} for r in rows[-2:]]
    drawn = lines(signs.draw(rows).axes[0])
    np.testing.assert_allclose(drawn["all layers"][1], 90)
    np.testing.assert_allclose(drawn[LAYERS[0]][0], [100, 50])
    np.testing.assert_allclose(drawn[LAYERS[1]][1], [80, 80, 70])
    np.testing.assert_allclose(drawn["chance"][1], 50)


def test_many_layers_share_a_colour_and_a_label():
    names = [f"layer{i}/kernel" for i in range(axes_lib.MANY + 1)]
    rows = [r | {"layers": dict.fromkeys(names, 0.8)} for r in singles(agreement=0.9)]
    axes = signs.draw(rows).axes[0]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["all layers", "each layer", "chance"]


def test_barriers_have_a_line_a_level_and_their_heights():
    figure = barrier.draw(pairs(**BARRIER))
    between, within, heights = (axes for axes in figure.axes if axes.get_title())
    assert (len(between.lines), len(within.lines)) == (3, 2)
    x, y = within.lines[0].get_data()
    np.testing.assert_allclose(x, [0, 0.5, 1])
    np.testing.assert_allclose(y, [10, 40, 20])
    np.testing.assert_allclose(lines(heights)["between two seeds, n = 1 pair"][1], 25)
    drawn = lines(heights)["from a level to the next one, n = 2 pairs"]
    np.testing.assert_allclose(drawn, [[50, 25], [25, 25]])
    assert "1,000 test images" in between.get_ylabel()
    alone = barrier.draw(pairs((0,), **BARRIER))
    assert len([axes for axes in alone.axes if axes.get_title()]) == 2


def test_correlations_have_a_line_a_pair_where_there_is_one():
    rows = singles(**CORRELATION)
    for row in (r for r in rows if not r["level"]):
        del row["dense_trained"]
    rows[-1] = rows[-1] | {"initial_trained": POINTS | {"overlap_all": {}}}
    kept, whole, far = correlation.draw(rows).axes
    label = correlation.PAIRS["dense_trained"]
    for axes, height in ((kept, 70), (whole, 80), (far, 30)):
        x, y = lines(axes)[label]
        np.testing.assert_allclose(x, [50, 25])
        np.testing.assert_allclose(y, height)
    np.testing.assert_allclose(lines(kept)["independent"][1], 10)
    first = lines(whole)[correlation.PAIRS["initial_trained"]]
    np.testing.assert_allclose(first, [[100, 50, 25], [80, 80, 80]])


def test_learning_rates_have_a_point_each_where_none_diverged():
    axes = learning_rate.draw(rates()).axes[0]
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [[0.1, 80], [0.3, 90]])
    assert "diverged" in axes.get_title()
    assert "diverged" not in learning_rate.draw(rates()[:4]).axes[0].get_title()
