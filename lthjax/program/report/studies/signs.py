"""The study of signs: how many weights end with the sign they started with."""

import pathlib
from typing import Any

from matplotlib.figure import Figure

from lthjax.analysis import comparison
from lthjax.program.report import axes as axes_lib
from lthjax.program.report.studies import ticket_rows
from lthjax.program.workdir import layout
from lthjax.pruning import masks as masks_lib
from lthjax.saving import tickets


def jobs(root: pathlib.Path, network: Any) -> ticket_rows.Jobs:
    """Yields how many weights of a ticket end with the sign they started with."""
    found = ticket_rows.kept_trained(root)

    def measure(record):
        member = record["seed"], record["level"]
        trained = tickets.load_trained(ticket_rows.trained_path(root, *member))
        start = layout.load_ticket(root, *member).params
        trees = start, trained.params, trained.masks
        layers = comparison.by_layer(comparison.sign_agreement, *trees)
        for empty in masks_lib.collapsed(trained.masks):
            del layers[empty]
        return {
            "kept": ticket_rows.kept(record),
            "agreement": ticket_rows.number(comparison.sign_agreement(*trees)),
            "layers": ticket_rows.by_depth(layers, network),
        }

    for identity, job in ticket_rows.of_tickets(root, measure):
        if identity["level"] in found.get(identity["seed"], []):
            yield identity, job


def draw(rows: list[dict]) -> Figure:
    """Draws how many kept weights end with the sign that they started with.

    Args:
      rows: Of the study "signs".
    """
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    axes_lib.line(
        axes, rows, "agreement", label="all layers", color="C0", marker="o", zorder=3
    )
    names = list(dict.fromkeys(name for row in rows for name in row["layers"]))
    for i, name in enumerate(names):
        own = [r | {"layer": r["layers"][name]} for r in rows if name in r["layers"]]
        label = (
            axes_lib.plain(name)
            if len(names) <= axes_lib.MANY
            else "each layer" * (i == 0)
        )
        style = (
            {"color": f"C{i + 1}"} if len(names) <= axes_lib.MANY else {"color": "0.75"}
        )
        axes_lib.line(
            axes, own, "layer", label=label or None, lw=0.8, band=False, **style
        )
    axes.axhline(50, color="0.4", ls="--", lw=1, label="chance")
    axes_lib.kept_axis(axes)
    axes.set_ylabel("kept weights of the same sign, %")
    title = (
        f"sign at the ticket's start and after training, {axes_lib.size(rows, 'seeds')}"
    )
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8)
    return figure
