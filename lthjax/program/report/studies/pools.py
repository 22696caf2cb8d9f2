"""The study of pools: tickets averaged with their neighbours, and what that gains."""

import functools
import logging
import pathlib
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from lthjax.program.report import axes as axes_lib
from lthjax.program.report.palette import COLOURS
from lthjax.program.report.studies import barrier, ticket_rows
from lthjax.program.workdir import origin
from lthjax.retraining import pools
from lthjax.retraining.pools import Network

log = logging.getLogger(__name__)

RESTART = "weights"  # the restart that rewinds all tickets to one step's weights


def jobs(root: pathlib.Path, network: Any) -> ticket_rows.Jobs:
    """Yields what the pool of every ticket is worth, on the whole test set.

    The neighbours are all other tickets of its seed, the dense network among them; they
    are chosen on the validation split, by what the run is judged by, and the test set
    is seen once, by what was chosen. Batch statistics are those of the average itself.

    Args:
      root: The workdir, which keeps the ends of the trainings.
      network: What the run trains.
    """
    found, search = ticket_rows.kept_trained(root), _search(root)
    if search["pattern"] != "weights":
        log.warning(
            "tickets of search.pattern = %r are not averaged: an average keeps the "
            "weights that are largest, one by one",
            search["pattern"],
        )
        return
    if search["restart"] != RESTART:
        log.warning(
            "averages need tickets that were rewound to the same weights: with "
            "search.restart = %r they are known to fail",
            search["restart"],
        )
    scope = "global" if search["scope"] == "global" else "layer"
    pool = functools.partial(_pool, root, network, scope, found)
    for identity, job in ticket_rows.of_tickets(root, pool):
        own = found.get(identity["seed"], [])
        if identity["level"] and identity["level"] in own:
            yield identity, job


def _search(root):
    found = (origin.config(root) or {}).get("search", {})
    return {"pattern": "weights", "restart": RESTART, "scope": "global"} | found


def _pool(root, network, scope, found, record):
    """Returns the row of a ticket."""
    seed, level, measures = record["seed"], record["level"], network.measures
    levels = found[seed]
    trained = {n: Network(*ticket_rows.trained(root, seed, n)[:3]) for n in levels}
    known = ticket_rows.finished(root)
    sparsities = [1 - ticket_rows.kept(known[n, seed]) for n in levels]
    order = pools.nearest(sparsities, levels.index(level))
    at = measures.columns.index(f"validation_{measures.shown}")
    place = at - measures.columns.index("validation_loss")
    sign = 1 if measures.shown in measures.higher else -1
    held_out, test = network.chunks("validation"), network.chunks("test")

    def measured(one, examples):
        return network.evaluate(one.params, one.model_state, examples)[place]

    pool = pools.pooled(
        trained[level],
        [trained[levels[i]] for i in order],
        lambda one: sign * measured(one, held_out),
        scope=scope,
        settle=_settling(network),
    )
    last = jax.jit(measured)
    return {
        "kept": ticket_rows.kept(record),
        measures.value: ticket_rows.number(last(pool.network, test)),
        "alone": ticket_rows.number(last(trained[level], test)),
        "validation": ticket_rows.number(sign * pool.score),
        "validation_alone": ticket_rows.number(last(trained[level], held_out)),
        "taken": [[levels[order[one.place]], one.alpha] for one in pool.taken],
        "label": measures.label,
    }


def _settling(network):
    """Returns network -> the same with batch statistics of its own weights."""
    if network.training is None:
        return lambda one: one
    recompute = barrier.recomputed(network.apply, network.training)

    def settled(one):
        return one._replace(model_state=recompute(one.params, one.model_state))

    return settled


def draw(rows: list[dict]) -> Figure:
    """Draws tickets and their pools, and what each pool gains.

    Args:
      rows: Of the study "pools".
    """
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    value = next(name for name in rows[0] if name.startswith("test_"))
    label = rows[0]["label"]
    scale = 100 if label.endswith("%") else 1
    rows = [
        row | {"share": row["kept"], "gain": row[value] - row["alone"]} for row in rows
    ]
    for name, column, marker in (("ticket", "alone", "o"), ("pool", value, "s")):
        style = {"label": name, "marker": marker, "color": _COLOURS[name]}
        axes_lib.line(left, rows, column, by="share", scale=scale, **style)
    left.set_ylabel(axes_lib.plain(label))
    left.legend(fontsize=8)
    style = {"marker": "s", "color": _COLOURS["pool"]}
    axes_lib.line(right, rows, "gain", by="share", scale=scale, **style)
    right.axhline(0, color="0.5", ls="--", lw=1)
    points = "points of " if scale == 100 else ""
    title = label.removesuffix(", %")
    right.set_ylabel(axes_lib.plain(f"gain of the pool, {points}{title}"))
    members = np.mean([len(row["taken"]) for row in rows])
    size = axes_lib.size(rows, "seeds")
    left.set_title(f"mean and deviation, {size}", fontsize=10)
    right.set_title(f"{members:.1f} neighbours on the mean, {size}", fontsize=10)
    for axes in (left, right):
        axes_lib.kept_axis(axes)
        axes.grid(alpha=0.3)
    return figure


_COLOURS = {"ticket": COLOURS["ticket"], "pool": "#9467bd"}
