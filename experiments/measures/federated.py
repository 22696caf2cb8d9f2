"""The tables and the figure of Seo et al., 2021, of the cells that have been run.

A cell is (method, participation, samples, seed); its run, (records, end of the last).
"""

import itertools
import json
import pathlib

from matplotlib.figure import Figure

from lthjax.program.federated import report
from lthjax.program.workdir import spreads
from measures import paper_rows, tables

METHODS = ("fedavg", "lottery_fl", "cell")
NAMES = {"fedavg": "FedAvg", "lottery_fl": "LotteryFL", "cell": "CELL"}
NAMES |= {"standalone": "Standalone"}
KINDS = ("global", "masked", "local")
COMPARED = {"fedavg": "global", "lottery_fl": "local", "cell": "local"}
COMPARED |= {"standalone": "local"}
ALONE = "standalone"
OFFSET = 21.15  # MiB of FedAvg's printed traffic above the paper's own rule
HERE = pathlib.Path(__file__).parents[1]
TABLES = ("table_1", "table_2")
# Table I, accuracy in %, and Table II, MiB: {method: {C: {samples: ...}}}, all texts.
PUBLISHED = json.loads(
    (HERE / "published" / "seo2021.json").read_text(encoding="utf-8")
)


def table(found: dict, published: bool) -> str:
    """Returns both tables as Markdown, a row a cell, the published numbers beside.

    Args:
      found: {Cell: (records, end)}.
      published: Whether the protocol is the paper's, and its numbers can be compared.
    """
    titles = ["method", "C", "n", "published, %", "compared with", "global", "masked"]
    titles += ["last local", "published, MiB", "by its rule", "ours: up", "down"]
    titles += ["masks", "last sparsity", "seeds"]
    lines = []
    groups = dict.fromkeys(cell[:3] for cell in found)
    for method, share, samples in groups:
        own = [v for c, v in found.items() if c[:3] == (method, share, samples)]
        at = method, f"{share:g}", str(samples)
        beside = [_published(name, *at) if published else "" for name in TABLES]
        lines.append(_line((method, share, samples), beside, own))
    return tables.markdown(titles, lines) + "\n"


def _published(name, method, share, samples):
    """Returns what a cell of the paper says, "" where there is none."""
    return PUBLISHED[name].get(method, {}).get(share, {}).get(samples, "")


def _line(group, beside, own):
    """Returns the row of one cell, over its seeds."""
    (method, share, samples), (published, printed) = group, beside
    ends = [_cell(100 * end[f"{kind}_accuracy"] for _, end in own) for kind in KINDS]
    ways = ("printed", "up", "down", "masks")
    sent = [
        _cell(report.megabytes(rows, (way,))[-1] for rows, _ in own) for way in ways
    ]
    sparsity = _cell((rows[-1]["sparsity"] for rows, _ in own), ".3f")
    name = NAMES[method]
    compared = {"local": "last local"}.get(COMPARED[method], COMPARED[method])
    cells = [name, f"{share:g}", samples, published, compared, *ends, printed, *sent]
    return [*cells, sparsity, len(own)]


def _cell(values, form=".1f"):
    return spreads.shown(spreads.spread(values), form)


def claimed(found: dict) -> list:
    """Returns [(claim, ours by seed)] of both tables, of {Cell: (records, end)}."""
    named = {method: (NAMES[method], COMPARED[method]) for method in METHODS}
    return paper_rows.federated(PUBLISHED, named, OFFSET, found)


def figure(found: dict) -> Figure:
    """Draws accuracy by round and by traffic, of the first seed: Figure 2.

    A row is a C; a pair of panels, the number of samples a shard. Users who train alone
    stand beside the others in every C; they send nothing.

    Args:
      found: {Cell: (records, end)}.
    """
    groups = {cell[1:3] for cell in found if cell.method in METHODS}
    groups = groups or {cell[1:3] for cell in found}
    alone = {c.samples: v for c, v in found.items() if (c.method, c.seed) == (ALONE, 0)}
    shares, numbers = (sorted({group[i] for group in groups}) or [0] for i in (0, 1))
    size = 1 + 7 * len(numbers), 1 + 2.8 * len(shares)
    drawn = Figure(figsize=size, layout="constrained")
    panels = drawn.subplots(len(shares), 2 * len(numbers), squeeze=False)
    places = itertools.product(enumerate(shares), enumerate(numbers))
    for (i, share), (j, samples) in places:
        pair = panels[i, 2 * j : 2 * j + 2]
        own = {c.method: v for c, v in found.items() if c[1:] == (share, samples, 0)}
        if own and samples in alone:
            own[ALONE] = alone[samples]
        for axes in pair:
            axes.set_visible(bool(own))
        if own:
            _draw(pair, (share, samples), own)
    lines = [line for axes in drawn.axes for line in axes.lines]
    named = {line.get_label(): line for line in lines}
    drawn.legend(named.values(), named, loc="outside lower center", ncols=len(named))
    drawn.suptitle("what Table I is compared with, by method: seed 0", fontsize=10)
    return drawn


def _draw(pair, group, own):
    """Draws the runs of one C and n into two panels."""
    for method, (rows, _) in own.items():
        _lines(pair, method, rows)
    pair[0].set_ylabel("accuracy, %")
    pair[0].set_title("C = {:g}, {} samples a shard".format(*group), fontsize=10)
    pair[1].set_title("the same by traffic", fontsize=10)
    for axes, text in zip(pair, ("round", "traffic, 2^20 bytes"), strict=True):
        axes.set_xlabel(text)
        axes.grid(alpha=0.3)


def _lines(pair, method, rows):
    value = f"{COMPARED[method]}_accuracy"
    sent = report.megabytes(rows)
    known = [i for i, row in enumerate(rows) if value in row]
    y = [100 * rows[i][value] for i in known]
    style = {"marker": "o", "ms": 3, "lw": 1, "label": NAMES[method]}
    style["color"] = f"C{[*METHODS, ALONE].index(method)}"
    pair[0].plot([rows[i]["round"] for i in known], y, **style)
    if method != ALONE:
        pair[1].plot([sent[i] for i in known], y, **style)
