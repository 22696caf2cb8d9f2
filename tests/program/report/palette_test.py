"""One colour an arm, whatever else there is."""

from rows import ROWS, record

from lthjax.program.report import gains, palette, run_report
from lthjax.retraining.arms import POOLS, PRESETS
from lthjax.tickets.controls import CONTROLS, STARTS

COMBINED = ["neurons+smoothing", "skips+smoothing", "rescaling+smoothing"]


def test_no_two_arms_are_alike_and_none_is_the_grey_of_the_dense_line():
    arms = ["ticket", "search", *CONTROLS, *STARTS, *PRESETS, POOLS, *COMBINED]
    own = {*PRESETS, *CONTROLS, *STARTS, "copies", "ticket", "search", POOLS}
    assert own == palette.COLOURS.keys()
    found = palette.colours(arms)
    assert list(found) == arms
    assert len({*found.values()}) == len(arms)
    assert len({*palette.COLOURS.values(), *palette.OTHERS}) == 32
    for colour in found.values():
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        assert colour == "#000000" or max(red, green, blue) - min(red, green, blue) > 20


def test_an_arm_has_its_colour_in_the_curve_and_in_the_gain():
    cost = {"deployed_parameters": 1, "deployed_flops": 1, "ghost_flops": 1}
    more = cost | {"retrained": True, "ghost_steps": 0}
    arms = ["skips+smoothing", "neurons", "neurons+smoothing"]
    rows = ROWS + [record(1, seed, arm) | more for arm in arms for seed in (0, 1)]
    lines = {line.get_label(): line for line in run_report.curve(rows).axes[0].lines}
    colours = {name: line.get_color() for name, line in lines.items()}
    assert len({*colours.values()}) == len(colours) == 6
    handles, labels = gains.figure(rows).axes[0].get_legend_handles_labels()
    drawn = [handle[0].get_color() for handle in handles]
    assert dict(zip(labels, drawn, strict=True)) == {arm: colours[arm] for arm in arms}
