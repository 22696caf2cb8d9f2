"""What retraining with tweaks gains: paired differences, their table and figure."""

import math
from typing import NamedTuple

import numpy as np
import rich.table
from matplotlib.figure import Figure
from scipy import special

from lthjax.program.report import axes as axes_lib
from lthjax.program.report.palette import colours
from lthjax.program.workdir import member, results, spreads
from lthjax.program.workdir.measures import ACCURACY, Measures
from lthjax.retraining import arms as arms_lib

VANILLA = "ticket"


class Gain(NamedTuple):
    """The mean of paired differences in points, and half the width of its interval.

    `half` is NaN for a single pair: one difference tells nothing of its spread.
    """

    mean: float
    half: float
    n: int


def interval(differences: list[float], confidence: float = 0.95) -> Gain:
    """Returns the mean of differences and Student's interval around it.

        mean +- t(n - 1, (1 + confidence) / 2) std / sqrt(n)

    Args:
      differences: One for each pair.
      confidence: Of the interval.

    Raises:
      ValueError: There are none.
    """
    spread = spreads.spread(differences)
    if spread.n < 2:
        return Gain(spread.mean, math.nan, spread.n)
    t = special.stdtrit(spread.n - 1, (1 + confidence) / 2)
    return Gain(spread.mean, float(t) * spread.std / math.sqrt(spread.n), spread.n)


def gains(
    rows: list[dict], measures: Measures = ACCURACY
) -> dict[tuple[str, int], Gain]:
    """Returns {(arm, level): gain over the same tickets retrained plainly}.

    Of several first logits each is an arm of its own, see `member.label`; arms of the
    dense network, which they share, count once a seed.

    That is the difference of the measure on the test set, in points where it is shown
    in percent; of a measure of which less is better, a gain is negative.

    A pair is of one seed, first logit and level: the same masks, weights and data order
    (averages of tickets have as many weights, at other places too); an arm that
    retrains a control, "random+sign_in", is paired with that control. Arms are those
    that say what they deploy; a control has other masks, and is none.

    Args:
      rows: Records.
      measures: What they are of.
    """
    value, scale = measures.value, measures.scale
    rows = [row for row in member.once(rows) if row[value] is not None]
    plain = {(*member.chain(row), row["level"], row["arm"]): row[value] for row in rows}
    pairs = {}
    for row in rows:
        over = arms_lib.control(row["arm"]) or VANILLA
        at = *member.chain(row), row["level"], over
        if row.get("retrained") and at in plain:
            difference = scale * (row[value] - plain[at])
            pairs.setdefault((member.label(row), row["level"]), []).append(difference)
    return {group: interval(found) for group, found in sorted(pairs.items())}


def table(rows: list[dict], measures: Measures = ACCURACY) -> rich.table.Table:
    """Returns a table of the gains, with what was deployed and what ghosts cost.

    Args:
      rows: Records.
      measures: What they are of.
    """
    percent = measures.scale == 100
    gain = "gain, points" if percent else f"gain, {measures.title}"
    names = ("level", "% kept", "arm", gain, "n", "deployed parameters")
    shown = rich.table.Table(
        *names,
        "deployed MFLOPs",
        "ghost MFLOPs, steps",
        title="gain over the ticket (or control)",
    )
    shown.columns[names.index("arm")].overflow = "fold"
    found, form = gains(rows, measures), f"+{measures.form}"
    for arm, level in sorted(found, key=lambda group: (group[1], group[0])):
        group = [r for r in rows if (member.label(r), r["level"]) == (arm, level)]
        shown.add_row(*_cells(found[arm, level], group, form))
    return shown


def _cells(gain, group, form):
    row = group[0]
    names = ("deployed_parameters", "deployed_flops", "ghost_flops", "ghost_steps")
    mean = {name: np.mean([row[name] for row in group]) for name in names}
    ghosts = f"{mean['ghost_flops'] / 1e6:,.2f}, {mean['ghost_steps']:,.0f}"
    return (
        str(row["level"]),
        f"{100 * member.kept(group):.2f}",
        member.label(row),
        text(gain, form),
        str(gain.n),
        f"{mean['deployed_parameters']:,.0f}",
        f"{mean['deployed_flops'] / 1e6:,.2f}",
        ghosts if mean["ghost_steps"] else "none",
    )


def _retrained(rows, level):
    """Returns the records of a level of which there is a gain."""
    return [row for row in rows if row["level"] == level and row.get("retrained")]


def text(gain: Gain, form: str = "+.2f") -> str:
    """Returns "+1.20 ± 0.30", without an interval where there is none."""
    return spreads.shown(spreads.Spread(*gain), form)


def figure(rows: list[dict], measures: Measures = ACCURACY) -> Figure:
    """Draws the gain of each arm against the weights kept, with its 95 % interval.

    Args:
      rows: Records.
      measures: What they are of.
    """
    shown = Figure(figsize=(7, 4.5), layout="constrained")
    axes = shown.subplots()
    found = gains(rows, measures)
    levels = sorted({level for _, level in found})
    kept = {level: 100 * member.kept(_retrained(rows, level)) for level in levels}
    arms = list(dict.fromkeys(arm for arm, _ in found))
    shade = colours(map(member.label, rows))
    for i, arm in enumerate(arms):
        own = [level for level in levels if (arm, level) in found]
        x = np.array([levels.index(level) for level in own])
        x = x + 0.5 * (i + 0.5) / len(arms) - 0.25
        mean = [found[arm, level].mean for level in own]
        half = np.nan_to_num([found[arm, level].half for level in own])
        style = {"marker": "o", "ls": "", "capsize": 3, "color": shade[arm]}
        axes.errorbar(x, mean, half, label=axes_lib.plain(arm), **style)
    axes.axhline(0, color="0.3", lw=1)
    if any(row.get(results.VARIANT) is not None for row in rows):
        axes.set_xticks(range(len(levels)), levels)  # each keeps a share of its own
        axes.set_xlabel("level")
    else:
        axes.set_xticks(range(len(levels)), [f"{kept[level]:.3g}" for level in levels])
        axes.set_xlabel(axes_lib.KEPT)
    points = ", points" * (measures.scale == 100)
    axes.set_ylabel(axes_lib.plain(f"gain in {measures.title} over vanilla{points}"))
    sizes = sorted({gain.n for gain in found.values()})
    number = " to ".join(str(n) for n in dict.fromkeys((sizes[0], sizes[-1])))
    axes.set_title(
        f"paired by seed and level, 95 % interval, n = {number}", fontsize=10
    )
    axes.grid(alpha=0.3, axis="y")
    axes.legend()
    return shown
