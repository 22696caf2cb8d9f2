"""The gain of retraining: paired, with the interval that its spread gives."""

import io
import math

import numpy as np
import pytest
import rich.console

from lthjax.program.report import gains
from lthjax.program.report.gains import Gain

MORE = {"sparsity": 0.9, "deployed_parameters": 10, "deployed_flops": 2e6}
MORE |= {"ghost_flops": 1e6, "ghost_steps": 5, "retrained": True}


def row(arm, seed, accuracy, level=1, **more):
    head = {"arm": arm, "seed": seed, "level": level, "test_accuracy": accuracy}
    return head | MORE | more


ROWS = [row("ticket", s, 0.1 * s, retrained=False) for s in range(3)]
ROWS += [row("tost_paper", s, 0.1 * s + d) for s, d in enumerate((0.01, 0.02, 0.03))]
ROWS += [row("reinit", 0, 0.9, retrained=False), row("tost_paper", 7, 0.5)]


def test_differences_are_taken_within_pairs():
    found = gains.gains(ROWS)
    assert found.keys() == {("tost_paper", 1)}
    gain = found["tost_paper", 1]
    assert gain.n == 3
    np.testing.assert_allclose(gain.mean, 2.0)
    # Student's t of two degrees of freedom at 97.5 % is 4.3027; the spread is 1.
    np.testing.assert_allclose(gain.half, 4.3027 / math.sqrt(3), rtol=1e-4)


def test_a_single_pair_has_no_interval():
    gain = gains.interval([1.5])
    assert (gain.mean, gain.n) == (1.5, 1) and math.isnan(gain.half)
    assert gains.text(gain) == "+1.50"
    assert gains.text(Gain(-0.25, 0.5, 3)) == "-0.25 ± 0.50"


def test_an_interval_holds_the_mean_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(size=(2000, 4))
    held = [abs(g.mean) <= g.half for g in map(gains.interval, draws.tolist())]
    # A share of 2,000 has a standard error of sqrt(0.95 * 0.05 / 2000) = 0.5 %.
    assert np.mean(held) == pytest.approx(0.95, abs=0.02)


def test_the_table_and_the_figure_show_every_arm_and_level():
    rows = ROWS + [row("ticket", 0, 0.5, 2, retrained=False), row("neurons", 0, 0.6, 2)]
    assert gains.table(rows).row_count == 2
    axes = gains.figure(rows).axes[0]
    labels = {text.get_text() for text in axes.get_legend().get_texts()}
    assert labels == {"tost_paper", "neurons"}


def test_pairs_are_of_one_first_logit():
    rows = []
    for initial, plain in ((-0.1, 0.80), (-0.3, 0.60)):
        rows.append(row("ticket", 0, plain, retrained=False, initial=initial))
        rows.append(row("sign_in", 0, plain + 0.01, initial=initial))
    found = gains.gains(rows)
    arms = {("sign_in, first logit -0.1", 1), ("sign_in, first logit -0.3", 1)}
    assert set(found) == arms
    for gain in found.values():
        assert gain.n == 1
        np.testing.assert_allclose(gain.mean, 1.0)
    assert gains.table(rows).row_count == 2
    assert gains.figure(rows).axes[0].get_xlabel() == "level"


def test_an_arm_of_the_dense_network_counts_once_a_seed():
    rows = [
        row(arm, 0, value, 0, initial=initial, retrained=arm != "ticket")
        for initial in (-0.1, -0.3)
        for arm, value in (("ticket", 0.5), ("smoothing", 0.6))
    ]
    (gain,) = gains.gains(rows).values()
    assert gain.n == 1 and math.isnan(gain.half)


def test_what_is_kept_is_the_mean_of_the_seeds():
    rows = []
    for seed, sparsity in enumerate((0.9, 0.5)):
        own = {"sparsity": sparsity}
        rows.append({**row("ticket", seed, 0.8, retrained=False), **own})
        rows.append({**row("sign_in", seed, 0.9), **own})
    shown = gains.table(rows)
    assert list(shown.columns[1].cells) == ["30.00"]
    (label,) = gains.figure(rows).axes[0].get_xticklabels()
    assert label.get_text() == "30"


def test_a_narrow_table_tells_the_whole_name_of_an_arm():
    rows = [row("ticket", 0, 0.8, retrained=False)]
    rows += [row(f"skips.end={end}+smoothing=0.25", 0, 0.9) for end in (0.5, 0.75)]
    console = rich.console.Console(width=80, record=True, file=io.StringIO())
    console.print(gains.table(rows))
    lines = [line for line in console.export_text().splitlines() if "│" in line]
    folded = "".join(line.split("│")[3].strip() for line in lines)
    assert "skips.end=0.5+smoothing=0.25" in folded
    assert "skips.end=0.75+smoothing=0.25" in folded
