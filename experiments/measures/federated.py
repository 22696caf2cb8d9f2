"""The tables, the figure and the costs of Seo et al., 2021, of the cells that were run.

A cell is (method, participation, samples, seed); its run, (records, end of the last).
"""

import functools
import itertools
import pathlib

from matplotlib.figure import Figure

from lthjax.program.config import files
from lthjax.program.federated import ownership, report
from lthjax.program.run import check
from lthjax.program.workdir import results
from measures import claims, records, tables, work

METHODS = ("fedavg", "lottery_fl", "cell")
NAMES = {"fedavg": "FedAvg", "lottery_fl": "LotteryFL", "cell": "CELL"}
NAMES |= {"standalone": "Standalone"}
KINDS = ("global", "masked", "local")
COMPARED = {"fedavg": "global", "lottery_fl": "local", "cell": "local"}
COMPARED |= {"standalone": "local"}
ALONE = "standalone"
OFFSET = 21.15  # MiB of FedAvg's printed traffic above the paper's own rule
TABLES = ("table_1", "table_2")
# Table I, accuracy in %, and Table II, MiB: {method: {C: {samples: ...}}}, all texts.
PUBLISHED = claims.published("seo2021")


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
    shown = functools.partial(records.shown, form=".1f")
    ends = [shown(100 * end[f"{kind}_accuracy"] for _, end in own) for kind in KINDS]
    ways = ("printed", "up", "down", "masks")
    sent = [
        shown(report.megabytes(rows, (way,))[-1] for rows, _ in own) for way in ways
    ]
    sparsity = shown((rows[-1]["sparsity"] for rows, _ in own), form=".3f")
    name = NAMES[method]
    compared = {"local": "last local"}.get(COMPARED[method], COMPARED[method])
    cells = [name, f"{share:g}", samples, published, compared, *ends, printed, *sent]
    return [*cells, sparsity, len(own)]


def claimed(found: dict) -> list:
    """Returns [(claim, ours by seed)] of both tables, of {Cell: (records, end)}."""
    cells = [
        (method, *pair)
        for method, row in PUBLISHED["table_1"].items()
        for pair in itertools.product(row, row["0"])
    ]
    return [
        claim(cell, _own(found, cell))
        for claim in (_accuracy, _traffic)
        for cell in cells
    ]


def _own(found, cell):
    """Returns what was found of a cell, a value a seed."""
    return [
        value
        for c, value in found.items()
        if (c.method, f"{c.participation:g}", str(c.samples)) == cell
    ]


def _what(method, share, samples):
    return f"{NAMES[method]}, C = {share}, {samples} samples"


def _accuracy(cell, own):
    value, kind = _published("table_1", *cell), f"{COMPARED[cell[0]]}_accuracy"
    claim = claims.Claim(f"{_what(*cell)}, accuracy", value, band=3.0)
    return claim, [100 * end[kind] for _, end in own]


def _traffic(cell, own):
    less = OFFSET if cell[0] == "fedavg" else 0.0
    what = f"{_what(*cell)}, traffic" + f" less {less:g}" * bool(less)
    value = round(_published("table_2", *cell) - less, 2)
    claim = claims.Claim(what, value, "MiB", round(0.05 * value, 2))
    return claim, [report.megabytes(rows, ("printed",))[-1] for rows, _ in own]


def visits(config, root: pathlib.Path) -> work.Work:
    """Returns the work of a federated run: all visits of its clients, dense.

    Args:
      config: Its config.
      root: Its workdir.
    """
    like = files.default()
    like.data.update(name=config.data.name, validation=100)
    like.model.update(name=config.model.name, width=config.model.width)
    like.model.options = config.model.options.to_dict()
    like.train.update(steps=100, batch_size=config.local.batch_size)
    clients, local = config.clients, config.local
    users = max(1, round(config.participation * clients.count))
    images = config.rounds * users * clients.each * clients.samples * local.epochs
    ground = check.check(like)[2]
    rows = results.read(root / ownership.ROUNDS)
    seconds = sum(row.get("seconds") or 0.0 for row in rows)
    flops = work.BACKWARD * images * work.forward(ground)
    return work.Work(images, flops, min(1.0, len(rows) / config.rounds), seconds, like)


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
