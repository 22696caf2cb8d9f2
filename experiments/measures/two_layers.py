"""What the studies of two-layer networks cost, and the published heat map of one."""

import pathlib
from collections.abc import Mapping

from lthjax.program.config import files
from lthjax.program.run import check
from lthjax.program.workdir import results, spreads
from measures import claims, work

PICKS, BATCH = 200, 128
DIGITISED = 0.5  # points; the published values are read off a figure, to 0.1 to 0.3


def work_of(images: float, width: int, done: float, more: float = 0.0) -> work.Work:
    """Returns the work of training a network of one hidden layer on digits.

    Args:
      images: That it is trained on, each as often as it is.
      width: Neurons.
      done: The share that there is.
      more: Passes forward, of greedy picks.
    """
    like = files.default()
    like.data.update(name="mnist", validation=100)
    like.model.name, like.model.options = "mlp", {"hidden": (width,)}
    like.train.update(steps=100, batch_size=BATCH)
    flops = work.forward(check.check(like)[2])
    passes = images + more / work.BACKWARD
    return work.Work(passes, work.BACKWARD * passes * flops, done, 0.0, like)


def steps(options) -> list[int]:
    """Returns the steps at which networks are pruned: every so many, and the last."""
    return [*range(0, options.steps, options.every), options.steps]


def asked(rows: list[dict], options) -> list[dict]:
    """Returns the rows of the seeds and steps asked for, of whatever widths and sizes.

    Args:
      rows: Of a workdir.
      options: Of the experiment: seeds, steps, every, smoke.

    Raises:
      ValueError: Some are of made-up data, and others, or what is asked for, are not.
    """
    if any(row.get("smoke", False) != options.smoke for row in rows):
        raise ValueError(
            "the rows of a workdir must all be of --smoke, or none of them, got a "
            f"workdir with others and smoke = {options.smoke}; take another --workdir"
        )
    found = [row for row in rows if row["seed"] in range(options.seeds)]
    return [row for row in found if row["step"] in steps(options)]


def heat_works(options, records: pathlib.Path) -> dict[str, work.Work]:
    """Returns {population: its work}: trainings, and 200 picks at each checkpoint.

    Args:
      options: Of the experiment: widths, sizes, seeds, steps, every.
      records: The file of what is done.
    """
    rows, found = asked(results.read(records), options), {}
    points = len(steps(options))
    for width in options.widths:
        members = len(options.sizes) * options.seeds
        own = [r for r in rows if r["width"] == width and r["size"] in options.sizes]
        done = len(own) / (members * points)
        images = members * options.steps * BATCH
        picked = members * points * PICKS * BATCH
        found[f"width_{width}"] = work_of(images, width, done, picked)
    return found


def heat(published: Mapping, rows: list[dict]) -> list:
    """Returns [(claim, ours by seed)] of every cell of the published heat maps.

    Args:
      published: `published/wolfe2021.json`.
      rows: Records.
    """
    cells = [
        ((int(width), int(size), step), value)
        for width, table in published["heat"].items()
        for size, values in table.items()
        for step, value in zip(published["iterations"], values, strict=True)
    ]
    ours = {}
    for row in rows:
        at = row["width"], row["size"], row["step"]
        ours.setdefault(at, []).append(row["train"][-1])
    what = "N = {:,}, m = {:,}, step {:,}"
    return [
        (claims.Claim(what.format(*at), value, band=DIGITISED), ours.get(at, ()))
        for at, value in cells
    ]


def aligned(found: Mapping) -> tuple[list[int], dict]:
    """Returns the steps of all sizes, and {size: its Spread at each, or `None`}.

    Args:
      found: {size: [(step, Spread)]}.
    """
    every = sorted({step for row in found.values() for step, _ in row})
    rows = {size: dict(row) for size, row in found.items()}
    return every, {size: [row.get(t) for t in every] for size, row in rows.items()}


def gap(found: Mapping, every: Mapping, steps: list[int], since: int = 2000):
    """Returns lines on how far the maps are apart, none where there is one alone.

    Args:
      found: {size: [(step, Spread)]}.
      every: {size as text: published values at `steps`}.
      steps: Of the published map.
      since: The first step that counts.
    """
    gaps = []
    for size, row in found.items():
        known = dict(zip(steps, every.get(str(size), ()), strict=False))
        gaps += [v.mean - known[t] for t, v in row if t >= since and t in known]
    if not gaps:
        return []
    text = f"Ours less published over {len(gaps)} cells from step {since:,}"
    return [f"{text}: {spreads.shown(spreads.spread(gaps))} points.", ""]
