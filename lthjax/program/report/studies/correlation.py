"""The study of correlation: what trained weights still have of where they came from.

References:
  Liu et al., 2021, arXiv:2102.11068.
"""

import functools
import pathlib
from typing import Any

import jax
from matplotlib.figure import Figure

from lthjax.analysis import comparison, correlation
from lthjax.program.report import axes as axes_lib
from lthjax.program.report.studies import ticket_rows
from lthjax.program.workdir import layout
from lthjax.pruning import masks as masks_lib

PARTS = (0.1, 0.2)  # of the weights, that are the largest
DRAWN = PARTS[0]
PAIRS = {
    "initial_trained": "initial and trained",
    "rewound_trained": "the ticket's start and trained",
    "dense_trained": "the trained dense network and trained",
    "initial_rewound": "initial and the ticket's start",
}


def jobs(root: pathlib.Path, network: Any) -> ticket_rows.Jobs:
    """Yields how far the ends of trainings are correlated with where they began.

    A row has, for each of `PAIRS`, `ranks` (Spearman's, of magnitudes), `signs` (the
    part that agrees), `distance` and `overlap`, {p: R_p}, all of what the ticket keeps;
    and `overlap_all`, {p: R_p} among all weights, where p is below the density of every
    layer. The dense network has the first of the pairs only.
    """
    del network
    found = ticket_rows.kept_trained(root)
    load = functools.lru_cache(maxsize=2)(functools.partial(ticket_rows.trained, root))

    def measure(record):
        seed, level = record["seed"], record["level"]
        trained = ticket_rows.trained(root, seed, level)
        points = {
            "initial": layout.load_ticket(root, seed, 0).params,
            "rewound": layout.load_ticket(root, seed, level).params,
            "trained": masks_lib.apply(trained.params, trained.masks),
        }
        if level and 0 in found[seed]:
            points["dense"] = load(seed, 0).params
        names = [name.split("_") for name in PAIRS][: None if level else 1]
        pairs = [pair for pair in names if set(pair) <= points.keys()]
        lowest = float(correlation.lowest_density(trained.masks))
        return {
            "kept": ticket_rows.kept(record),
            "lowest": ticket_rows.number(lowest),
        } | {
            "_".join(pair): _row(*(points[n] for n in pair), trained.masks, lowest)
            for pair in pairs
        }

    for identity, job in ticket_rows.of_tickets(root, measure):
        if identity["level"] in found.get(identity["seed"], []):
            yield identity, job


def _row(a, b, masks, lowest):
    """Returns the numbers of two points, the second that of the masks."""
    found, number = jax.device_get(_measured(a, b, masks)), ticket_rows.number
    row = {name: number(found[name]) for name in ("ranks", "signs", "distance")}
    row["overlap"] = {f"{p:g}": number(x) for p, x in found["overlap"].items()}
    fits = {p: x for p, x in found["overlap_all"].items() if p < lowest}
    return row | {"overlap_all": {f"{p:g}": number(x) for p, x in fits.items()}}


@jax.jit
def _measured(a, b, masks):
    full, ratio = jax.tree.map(lambda m: m | True, masks), correlation.overlap_ratio
    return {
        "ranks": correlation.rank_correlation(a, b, masks),
        "signs": comparison.sign_agreement(a, b, masks),
        "distance": correlation.distance(a, b, masks),
        "overlap": {p: ratio(a, b, masks, p) for p in PARTS},
        "overlap_all": {p: ratio(a, b, full, p) for p in PARTS},
    }


def draw(rows: list[dict]) -> Figure:
    """Draws the overlap among what is kept and among all weights, and the distance.

    Args:
      rows: Of the study "correlation".
    """
    figure = Figure(figsize=(16, 4.5), layout="constrained")
    panels = figure.subplots(1, 3)
    part, seeds = f"{DRAWN:g}", axes_lib.size(rows, "seeds")
    for i, (pair, label) in enumerate(PAIRS.items()):
        style = {"label": label, "color": f"C{i}", "marker": "osD^"[i]}
        own = [row | row[pair] for row in rows if pair in row]
        _lines(panels, own, part, style)
    for axes, of in zip(panels, ("the kept", "all"), strict=False):
        axes.axhline(100 * DRAWN, color="0.4", ls="--", lw=1, label="independent")
        axes.set_ylim(0, 105)
        axes.set_ylabel(f"overlap of the largest {100 * DRAWN:g} % of {of} weights, %")
        axes.set_title(f"mean and standard deviation, {seeds}", fontsize=10)
    panels[2].set_ylabel("distance, % of the length of the first")
    panels[2].set_title(f"how far kept weights went, {seeds}", fontsize=10)
    for axes in panels:
        axes_lib.kept_axis(axes)
        axes.legend(fontsize=8)
    return figure


def _lines(panels, rows, part, style):
    """Draws the three lines of a pair, where it has numbers."""
    for axes, name in zip(panels, ("overlap", "overlap_all"), strict=False):
        there = [r | {name: r[name][part]} for r in rows if part in r[name]]
        if there:
            axes_lib.line(axes, there, name, **style)
    if rows:
        axes_lib.line(panels[2], rows, "distance", **style)
