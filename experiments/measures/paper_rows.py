"""The rows of three papers' tables, ours beside each: weights, recognisers, clients."""

import itertools
from collections.abc import Mapping, Sequence

from lthjax.program.config import files
from lthjax.program.federated import ownership, report
from lthjax.program.run import check
from lthjax.program.workdir import results
from measures import claims, work

Pairs = list[tuple[claims.Claim, Sequence[float]]]


def correlation(published: Mapping, rows: list[dict], same: bool = True) -> Pairs:
    """Returns [(claim, ours by seed)] of the accuracies that Liu et al. print.

    Args:
      published: `published/liu2021.json`.
      rows: Records, each with its run, "iterative_<rate>".
      same: Whether they are of the published network, a whole ResNet-20.
    """
    relation = claims.relation(same)
    wanted = [(rate, "0.00", value) for rate, value in published["dense"].items()]
    for rate, row in published["ticket"].items():
        wanted += [(rate, share, value) for share, value in row.items()]
    return [
        (
            claims.Claim(
                f"rate {rate}, {100 * float(share):g} % sparse",
                value,
                relation=relation,
            ),
            [100 * r["test_accuracy"] for r in rows if _at(r, rate, share)],
        )
        for rate, share, value in wanted
    ]


def _at(row, rate, share):
    own = row["run"], f"{row['sparsity']:.2f}", row["arm"]
    return own == (f"iterative_{rate}", share, "ticket")


def recognisers(published: Mapping, shares: Sequence[int], groups: Mapping) -> Pairs:
    """Returns [(claim, ours by seed)]; ours is of scenes, and tells an order alone.

    Args:
      published: {task: ((%, sparsity of the whole network), ...)}, a pair a share.
      shares: % of the backbone that is removed.
      groups: {(run, level): what the task is judged by, in %, a value a seed}.
    """
    found = []
    for task, row in published.items():
        for level, (value, _) in enumerate(row):
            run = f"{task}_ticket" if level else f"{task}_direct"
            what = f"{task}, {shares[level]} % of the backbone removed"
            claim = claims.Claim(what, value, relation=claims.relation(same=False))
            found.append((claim, groups.get((run, level), ())))
    return found


def federated(published: Mapping, named: Mapping, offset: float, found: Mapping):
    """Returns [(claim, ours by seed)] of accuracy and traffic, cell by cell.

    Args:
      published: `published/seo2021.json`.
      named: {method: (its name, which accuracy is compared)}.
      offset: What FedAvg's traffic is printed above the paper's own rule.
      found: {cell: (records, end)}.
    """
    table = published["table_1"]
    cells = [
        (method, *pair)
        for method, row in table.items()
        for pair in itertools.product(row, row["0"])
    ]
    return [
        *(_accuracy(published, named, cell, _own(found, cell)) for cell in cells),
        *(
            _traffic(published, named, cell, _own(found, cell), offset)
            for cell in cells
        ),
    ]


def _own(found, cell):
    """Returns what was found of a cell, a value a seed."""
    return [
        value
        for c, value in found.items()
        if (c.method, f"{c.participation:g}", str(c.samples)) == cell
    ]


def _what(named, cell):
    method, share, samples = cell
    return f"{named[method][0]}, C = {share}, {samples} samples"


def _accuracy(published, named, cell, own):
    method, share, samples = cell
    value = published["table_1"][method][share][samples]
    kind = f"{named[method][1]}_accuracy"
    claim = claims.Claim(f"{_what(named, cell)}, accuracy", value, band=3.0)
    return claim, [100 * end[kind] for _, end in own]


def _traffic(published, named, cell, own, offset):
    method, share, samples = cell
    value = published["table_2"][method][share][samples]
    less = offset if method == "fedavg" else 0.0
    what = f"{_what(named, cell)}, traffic" + f" less {less:g}" * bool(less)
    value = round(value - less, 2)
    claim = claims.Claim(what, value, "MiB", round(0.05 * value, 2))
    return claim, [report.megabytes(rows, ("printed",))[-1] for rows, _ in own]


def visits(config, root) -> work.Work:
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
