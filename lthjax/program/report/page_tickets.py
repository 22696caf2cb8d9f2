"""The figures of a report's page that read tickets: filters, overlap, weights."""

import itertools
import math
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from lthjax.program.report import run_report
from lthjax.program.report.palette import COLOURS
from lthjax.program.report.studies import overlap, ticket_rows
from lthjax.program.workdir import layout, notes
from lthjax.pruning import bases
from lthjax.pruning import masks as masks_lib

SEEDS = 2  # that are drawn beside each other
UNITS = 16  # of the first layer
SHOWN = 64  # pixels a side of a filter, at most
MOST = 2**28  # bytes of tickets that are read for a page
GONE = "#f6c9c9"  # what is pruned


def of(root: pathlib.Path, rows: list[dict]) -> Iterator[tuple[str, Figure]]:
    """Yields (title, figure) of what the tickets of a run show.

    Only those of the last level that all seeds have are read, and the others' masks
    where all tickets together have no more than `MOST` bytes, and not where a basis of
    its own makes a place in the masks of one seed another one in those of the next.

    Args:
      root: The workdir.
      rows: Its records.
    """
    found = [r for r in rows if r["arm"] == ticket_rows.TICKET and r["level"]]
    last = max((r["level"] for r in found), default=0)
    seeds = sorted({r["seed"] for r in found if r["level"] == last})
    there = [s for s in seeds if layout.ticket_path(root, s, last).exists()]
    if not there or _bytes(root, there[0], last) * min(len(there), SEEDS) > MOST:
        return
    loaded = {seed: layout.load_ticket(root, seed, last) for seed in there[:SEEDS]}
    own = loaded[there[0]].model_state.get(bases.COLLECTION)
    order = notes.read(root / run_report.COSTS)
    drawn = filters(loaded, list(order)) if own is None else None
    if drawn:
        yield f"filters of the first layer, level {last}", drawn
    shared = not (own or {}).get("arrays")
    if shared and len(there) > 1 and _bytes(root, there[0], last) * len(found) <= MOST:
        yield "overlap of the masks of two seeds", between_seeds(root)
    what = "weight" if own is None else "coefficient"  # of a network in a basis
    yield f"{what}s, level {last}", weights(root, there[0], loaded[there[0]], what)


def _bytes(root, seed, level):
    path = layout.ticket_path(root, seed, level)
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def between_seeds(root: pathlib.Path) -> Figure:
    """Draws the overlap of the masks of two seeds, level by level.

    Args:
      root: The workdir.
    """
    jobs = [
        job
        for job in overlap.jobs(root, None)
        if job[0]["other"].startswith(ticket_rows.SEEDS) and job[0]["level"]
    ]
    return overlap.draw([identity | measure() for identity, measure in jobs])


def images(kernel: np.ndarray) -> np.ndarray | None:
    """Returns the units of a layer as images, None where they are none.

    Args:
      kernel: Of a convolution [h, w, inputs, units], or of a dense layer that reads an
        image: [s * s, units], or [3 * s * s, units].

    Returns:
      Each unit's mean over the input channels [units, h, w].
    """
    if kernel.ndim == 4:
        return np.moveaxis(kernel.mean(2), 2, 0)
    if kernel.ndim != 2:
        return None
    for channels in (1, 3):
        side = math.isqrt(kernel.shape[0] // channels)
        if side > 1 and side * side * channels == kernel.shape[0]:
            whole = kernel.T.reshape(-1, side, side, channels)
            return whole.mean(3)
    return None


def filters(found: dict[int, Any], order: Sequence[str]) -> Figure | None:
    """Draws units of the first layer, pruned weights in a colour of theirs.

    They are those that keep the most weights, the first ones of equals. Where a filter
    has several input channels its mean over them is shown, and as pruned what is pruned
    in all.

    Args:
      found: {seed: ticket}.
      order: The names of leaves in the order of their use.

    Returns:
      None where the first layer reads no image, or is not known.
    """
    parts, names = {}, masks_lib.names(next(iter(found.values())).masks)
    first = next((name for name in order if name in names), None)
    if first is None:
        return None
    for seed, ticket in found.items():
        mask, kernel = _leaf(ticket, first)
        kept, values = images(mask.astype(float)), images(np.where(mask, kernel, 0))
        if kept is None or values is None or values.shape[1] > SHOWN:
            return None
        if values.shape[1] == 1:  # a kernel of one pixel shows nothing
            return None
        most = np.argsort(-(kept > 0).sum((1, 2)), kind="stable")[:UNITS]
        parts[seed] = np.where(kept > 0, values, np.nan)[np.sort(most)]
    figure = Figure(figsize=(4.2 * len(parts), 4.4), layout="constrained")
    for axes, (seed, own) in zip(
        figure.subplots(1, len(parts), squeeze=False)[0], parts.items(), strict=True
    ):
        _draw_tiles(axes, own)
        axes.set_title(f"seed {seed}, at its start", fontsize=10)
    figure.supxlabel("pink: pruned; grey: the weight, black is negative", fontsize=9)
    return figure


def _leaf(ticket, name):
    """Returns (mask, weights) of a layer as arrays."""
    mask, kernel = (
        masks_lib.by_name(tree)[name] for tree in (ticket.masks, ticket.params)
    )
    return np.asarray(mask, bool), np.asarray(kernel, np.float32)


def _draw_tiles(axes, own):
    """Draws images [n, h, w] as a grid, each scaled by its largest weight."""
    across = math.ceil(math.sqrt(len(own)))
    height, width = own.shape[1] + 1, own.shape[2] + 1
    rows = math.ceil(len(own) / across)
    canvas = np.full((rows * height - 1, across * width - 1), 2.0)  # the gaps
    for image, (i, j) in zip(
        own, itertools.product(range(rows), range(across)), strict=False
    ):
        top = np.nanmax(np.abs(image)) if np.isfinite(image).any() else 1.0
        place = np.s_[i * height : i * height + height - 1, j * width :][:2]
        canvas[place][:, : width - 1] = image / (top or 1.0)
    greys = ListedColormap([str(x) for x in np.linspace(0, 0.92, 128)])
    grey = greys.with_extremes(bad=GONE, over="white")
    axes.imshow(canvas, cmap=grey, vmin=-1, vmax=1, interpolation="nearest")
    axes.set_axis_off()


def weights(root: pathlib.Path, seed: int, ticket: Any, what: str = "weight") -> Figure:
    """Draws how weights are distributed before their training and, if kept, after.

    Args:
      root: The workdir, where a study may have kept the trained network.
      seed: Of the ticket.
      ticket: The ticket.
      what: What its parameters are called.
    """
    place = ticket_rows.TICKET, seed, ticket.level
    parts = {
        "before, kept": (ticket.params, True),
        "before, pruned": (ticket.params, False),
    }
    if layout.trained_path(root, *place).exists():
        parts["after, kept"] = (layout.load_trained(root, *place).params, True)
    values = {name: _chosen(*part, ticket.masks) for name, part in parts.items()}
    values = {name: own for name, own in values.items() if own.size}
    top = max(float(np.quantile(np.abs(own), 0.999)) for own in values.values())
    bins = np.linspace(-top, top, 61)
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    shades = {"before, kept": COLOURS["ticket"], "before, pruned": "0.6"}
    for name, own in values.items():
        label = f"{name}, {own.size:,}"
        style = {"histtype": "step", "lw": 1.5, "ls": "--" if "pruned" in name else "-"}
        axes.hist(own, bins, label=label, color=shades.get(name, "#d62728"), **style)
    axes.set_yscale("log")
    axes.set_xlabel(what)
    axes.set_ylabel(f"{what}s in a bin")
    axes.set_title(f"before: at step {ticket.step}; seed {seed}", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def _chosen(params, kept, masks):
    """Returns the weights that are kept, or pruned, of all layers as one vector."""
    leaves, pairs = masks_lib.by_name(params), masks_lib.by_name(masks).items()
    return np.concatenate(
        [np.asarray(leaves[n])[np.asarray(m, bool) == kept] for n, m in pairs]
    )
