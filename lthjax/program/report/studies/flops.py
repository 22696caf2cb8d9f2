"""The study of FLOPs: what a ticket costs in a forward pass, and is worth."""

import pathlib
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lthjax.analysis import costs
from lthjax.program.report import axes as axes_lib
from lthjax.program.report.palette import COLOURS
from lthjax.program.report.studies import ticket_rows
from lthjax.program.workdir import member

COSTS = {"flops": "FLOPs", "parameters": "parameters"}
LABEL = "test accuracy, %"  # of what the rows are of that do not say it


def jobs(root: pathlib.Path, network: Any) -> ticket_rows.Jobs:
    """Yields the FLOPs and the parameters of every ticket, with what it is worth."""
    measures = network.measures

    def measure(record):
        masks = ticket_rows.masks(root, record["seed"], record["level"])
        shapes, uses = network.params, network.uses
        return {
            "kept": ticket_rows.kept(record),
            "flops": costs.flops(shapes, masks, uses),
            "dense_flops": costs.flops(shapes, None, uses),
            "parameters": costs.parameters(shapes, masks),
            "dense_parameters": costs.parameters(shapes),
            measures.value: record[measures.value],
        } | ({} if measures.label == LABEL else {"label": measures.label})

    return ticket_rows.of_tickets(root, measure)


def draw(rows: list[dict]) -> Figure:
    """Draws operations and parameters by level, and accuracy against operations.

    Of another objective than classification it is what that is judged by.

    Args:
      rows: Of the study "flops".
    """
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    rows = [
        row | {f"{name}_share": row[name] / row[f"dense_{name}"] for name in COSTS}
        for row in rows
    ]
    for (name, label), marker in zip(COSTS.items(), "os", strict=True):
        dense = rows[0][f"dense_{name}"]
        for text, own in member.by_logit(rows):
            style = {"label": f"{label}{text} (dense: {dense:,.0f})", "marker": marker}
            axes_lib.line(left, own, f"{name}_share", by="level", **style)
    left.set_yscale("log")
    axes_lib.plain_ticks(left.yaxis)
    left.xaxis.get_major_locator().set_params(integer=True)
    left.set_xlabel("level")
    left.set_ylabel("kept, % of the dense network's")
    left.set_title(
        f"cost of a forward pass, {axes_lib.size(rows, 'seeds')}", fontsize=10
    )
    left.legend(fontsize=8)
    left.grid(alpha=0.3)
    style = {"label": "ticket", "color": COLOURS["ticket"], "marker": "o"}
    label, value = rows[0].get("label", LABEL), _measured(rows[0])
    scale = 100 if label.endswith("%") else 1
    known = [row for row in rows if row[value] is not None]
    for text, own in member.by_logit(known):
        style["label"] = f"ticket{text}"
        axes_lib.line(right, own, value, by="flops_share", scale=scale, **style)
    dense = [scale * row[value] for row in known if row["level"] == 0]
    if dense:
        right.axhline(np.mean(dense), color="0.5", ls="--", lw=1, label="dense")
    axes_lib.kept_axis(right)
    right.set_xlabel("FLOPs of a forward pass, % of the dense network's")
    right.set_ylabel(axes_lib.plain(label))
    right.set_title(
        f"mean and standard deviation, {axes_lib.size(rows, 'seeds')}", fontsize=10
    )
    right.legend(fontsize=8)
    return figure


def _measured(row):
    """Returns the column of what a ticket is worth."""
    return next(name for name in row if name.startswith("test_"))
