"""What an experiment costs, what of it is done, and how long the rest takes here."""

import copy
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from lthjax.analysis import costs
from lthjax.program.build import basis_counts, methods, spans
from lthjax.program.build import plan as plan_lib
from lthjax.program.run import check, dry_run
from lthjax.program.workdir import results, text_files
from measures import claims

BACKWARD = 3  # a training pass is a forward one, and two of its size back
CARRIED = ("elastic", "transplant")  # methods that take another run's tickets


class Work(NamedTuple):
    """Something that is run.

    Attributes:
      images: That pass through the network forward and back, in all trainings.
      flops: Of all of them, by a dense network: masks save nothing here.
      done: The share that the workdir holds.
      seconds: That this share took, 0 where it does not say.
      like: A config of a network that is as fast, by which the rest is timed.
    """

    images: float
    flops: float
    done: float
    seconds: float
    like: Any


def forward(ground) -> float:
    """Returns the operations of a forward pass over one image, dense."""
    return costs.flops(ground.shapes, None, basis_counts.uses(ground))


def of(config, root: pathlib.Path) -> Work:
    """Returns the work of a run of the program.

    Args:
      config: Its config.
      root: Its workdir, which there need not be.
    """
    ground, times = planned(config)
    chains = len(plan_lib.options(ground).members)
    lengths = spans.steps(ground.plan)
    again = times - 1  # controls beside each ticket, and none beside the dense network
    images = sum(lengths) * times - lengths[0] * again
    images *= chains * config.train.batch_size
    asked = {(one.level, one.arm) for one in ground.plan.trainings}
    if again:
        asked |= {
            (level, arm) for level, _ in asked if level for arm in config.controls
        }
    rows = [
        row
        for row in results.read(root / results.RESULTS)
        if row["seed"] in config.seeds and (row["level"], row["arm"]) in asked
    ]
    done = len(rows) / (chains * len(asked))
    seconds = sum(row.get("seconds") or 0.0 for row in rows)
    like = ground.options
    return Work(images, BACKWARD * images * forward(ground), done, seconds, like)


def planned(config) -> tuple[Any, int]:
    """Returns what a config is built on, and how often its trainings are to be counted.

    A run that takes over tickets which are not found yet counts as one that finds as
    many itself, each with its controls.
    """
    method = config.search.method
    if method not in CARRIED:
        return check.check(config)[2], 1
    levels = config.elastic.levels if method == "elastic" else config.transplant.levels
    own = copy.deepcopy(config)
    own.search.update(method="one_shot", score="magnitude")
    own.search.sparsities = tuple(
        i / (len(levels) + 1) for i in range(1, len(levels) + 1)
    )
    own.controls, own.studies = (), ()
    return check.check(methods.cleared(own))[2], 1 + len(config.controls)


def show(options, works: Mapping[str, Any], known: Mapping[str, Sequence]) -> None:
    """Prints what an experiment costs, as one line of JSON.

    Args:
      options: Of the experiment; `cost` is the file that keeps what was timed.
      works: {folder below the workdir: config or `Work`}.
      known: {name of a table: [(claim, nothing)]}.
    """
    found = [
        one if isinstance(one, Work) else of(one, options.workdir / name)
        for name, one in works.items()
    ]
    rows = {
        name: [claims.row(claim, [])._asdict() for claim, _ in own]
        for name, own in known.items()
    }
    # A smoke run is over before its network is timed.
    left = 0.0 if options.smoke else seconds(found, pathlib.Path(options.cost))
    flops = sum(work.flops for work in found)
    done = sum(work.flops * work.done for work in found) / flops
    line = {"flops": flops, "seconds": left, "done": done, "rows": rows}
    print(json.dumps(line), flush=True)


def seconds(works: Iterable[Work], path: pathlib.Path) -> float:
    """Returns the seconds that is left of works, by what was measured.

    By the time that the done part of each took; of others that are like it the same;
    else by a few steps on blank images, which are timed once for each network.

    Args:
      works: Of one experiment.
      path: The file that keeps the seconds of an image, by network.
    """
    works, total = list(works), 0.0
    paces = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    own = {_name(w.like): w.seconds / (w.images * w.done) for w in works if w.seconds}
    for work in (w for w in works if w.done < 1):
        name = _name(work.like)
        if name not in own and name not in paces:
            paces[name] = dry_run.pace(work.like)
            text_files.write(path, json.dumps(paces, indent=1) + "\n")
        total += own.get(name, paces.get(name)) * work.images * (1 - work.done)
    return total


def _name(config):
    """Returns what the time of an image depends on, as text."""
    model = config.model.to_dict()
    seen = config.data.name, config.train.batch_size, len(config.seeds)
    return json.dumps([model, *seen], sort_keys=True, default=list)
