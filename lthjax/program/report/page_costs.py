"""The figure of a page on what tickets cost, and on what that buys."""

import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
from matplotlib.figure import Figure

from lthjax.program.report import run_report
from lthjax.program.report.studies import flops, ticket_rows
from lthjax.program.workdir import member, notes
from lthjax.program.workdir.measures import Measures
from lthjax.program.workdir.member import TICKET
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.masks import Params


def noted(uses: Mapping[str, float], params: Params) -> dict[str, Any]:
    """Returns what `costs.json` holds: {leaf: [parameters, uses of each]}.

    Leaves are in the order of `uses`, which is that of their use.

    Args:
      uses: How often a pass uses each weight of a leaf, by name: `costs.uses`.
      params: The parameters, or their shapes.
    """
    leaves = zip(masks_lib.names(params), jax.tree.leaves(params), strict=True)
    sizes = {name: math.prod(leaf.shape) for name, leaf in leaves}
    return {name: [sizes[name], number] for name, number in uses.items()}


def of(
    root: pathlib.Path, rows: list[dict], measures: Measures
) -> Iterator[tuple[str, Figure]]:
    """Yields (title, figure) where the run has noted what its network costs.

    Args:
      root: The workdir.
      rows: Its records; what a layer keeps is there to six decimals.
      measures: What they are of.
    """
    own = [row for row in rows if row["arm"] == TICKET and row["sparsity"] < 1]
    if found := rows_of(root, own, measures):
        yield "operations and parameters", flops.draw(found)


def _noted(root):
    """Returns {leaf: (parameters, uses)}, {} where there is no whole file."""
    found = notes.read(root / run_report.COSTS)
    try:
        return {name: (int(size), float(uses)) for name, (size, uses) in found.items()}
    except (ValueError, TypeError):
        return {}


def rows_of(
    root: pathlib.Path, records: list[dict], measures: Measures
) -> list[dict[str, Any]]:
    """Returns rows as the study of FLOPs has them, by what layers keep.

    Args:
      root: The workdir; without a whole `costs.json` of its layers there is no row.
      records: Its records.
      measures: What they are of.
    """
    leaves = _noted(root)
    records = [one for one in records if one["layers"].keys() <= leaves.keys()]
    dense = _cost(leaves, {})

    def row(record):
        own = _cost(leaves, record["layers"])
        return {
            "level": record["level"],
            **member.identity_of(record),
            "kept": ticket_rows.kept(record),
            **own,
            **{f"dense_{name}": value for name, value in dense.items()},
            measures.value: record[measures.value],
            "label": measures.label,
        }

    return [row(record) for record in records if leaves]


def _cost(leaves, shares):
    """Returns operations and parameters of leaves, of layers by their shares."""
    kept = {name: round(n * shares.get(name, 1.0)) for name, (n, _) in leaves.items()}
    operations = 2 * sum(kept[name] * uses for name, (_, uses) in leaves.items())
    return {"flops": operations, "parameters": sum(kept.values())}
