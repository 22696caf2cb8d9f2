"""Seo et al., 2021 (arXiv:2104.12501): CELL, LotteryFL and FedAvg on CIFAR-10 shards.

    python experiments/seo2021.py --workdir=runs/seo2021 --data_dir=DIR

Tables I (accuracy) and II (traffic) and Figure 2: 40 users of 3 shards of 3 labels,
20, 50 and 100 samples a shard, participation C of 0 (one user) to 1, 40 rounds of 10
local epochs of batch 32, the tutorial's LeNet; `--participation`, `--samples`,
`--methods`, `--seeds` choose cells, and cells that are finished are not run again;
`--finished` tells of these alone. A seed draws partition and first weights. Three
accuracies, each the mean over users on all test images of their labels, after the last
round: of the global network, of the global network with the user's mask, and of the
network that each user trained last (of who was never asked: the first weights). They
lie far apart; Table I seems to be the first for FedAvg and the third for the others,
and is compared so.

Assumed, as the paper does not print them: 40 users (the only number for which its
traffic is linear in C), SGD at 0.01 with momentum 0.9 (`--learning_rate`,
`--momentum`; `--tune` compares three settings by the standalone baseline on held-out
examples), alpha = 0.5, and for LotteryFL a target of 0.3 left (`--left`). What a user
validates on is `--validation`: a tenth of its examples, those that it trains on, or
test images, as LotteryFL's code has it, which leaks. Traffic by the paper's rule: 8
bytes a surviving weight, biases free, 2^20 bytes; its FedAvg cells are 21.15 above that
rule, unexplained. Ours: 4 bytes a value, and a bit a weight for masks.
"""

import argparse
import functools
import itertools
import json
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

from measures import claims, federated, sizes, tables, work
from measures.federated import METHODS
from ml_collections import ConfigDict

from lthjax.program import command_line
from lthjax.program.federated import assembly, experiment, ownership, settings
from lthjax.program.report import axes as axes_lib
from lthjax.program.workdir import spreads, text_files

TUNED = ((0.1, 0.0), (0.01, 0.5), (0.01, 0.9))


class Cell(NamedTuple):
    """One run of the tables."""

    method: str
    participation: float
    samples: int
    seed: int

    @property
    def folder(self) -> str:
        """Its folder below the workdir."""
        return f"{self.method}_C{self.participation:g}_n{self.samples}_seed{self.seed}"


def cells(options) -> Iterator[Cell]:
    """Yields the cells that are asked for, those with fewest users a round first.

    The standalone users, who train alone, are asked in every round.
    """
    seeds, own = range(options.seeds), [m for m in options.methods if m in METHODS]
    grid = itertools.product(seeds, options.participation, options.samples, own)
    yield from (Cell(method, share, n, seed) for seed, share, n, method in grid)
    if "standalone" in options.methods:
        pairs = itertools.product(seeds, options.samples)
        yield from (Cell("standalone", 1.0, n, seed) for seed, n in pairs)


def config(options, cell: Cell):
    """Returns the config of a cell."""
    found = settings.default(cell.method)
    found.seed, found.participation = cell.seed, float(cell.participation)
    found.rounds, found.validation = options.rounds, options.validation
    found.data.dir, found.clients.samples = options.data_dir, cell.samples
    found.clients.count = options.users
    found.local.update(learning_rate=options.learning_rate, momentum=options.momentum)
    found.mesh.ticket = options.devices
    found.eval_every = 5 if cell.seed == 0 else found.rounds  # the figure is of one
    if cell.method == "lottery_fl":
        found.policy.limit = round(1 - options.left, 6)
    return smoked(found) if options.smoke else found


def smoked(config):
    """Returns a config made small, of a network that is compiled in a second."""
    small = settings.shrunk(config)
    with small.unlocked():
        small.model.update(name="mlp", options=ConfigDict({"hidden": (16,)}))
    return small


@functools.lru_cache(1)
def data(name: str, folder: str):
    """Returns the data set of all cells."""
    found = settings.default()
    found.data.update(name=name, dir=folder)
    return assembly.load(found)


def run(options, cell: Cell) -> tuple[list[dict], dict]:
    """Returns the records of a cell and its end, from its folder if it is finished."""
    root, own = options.workdir / cell.folder, config(options, cell)
    final = end(root)
    if final.get("round") != own.rounds:
        source = None if options.smoke else data(own.data.name, own.data.dir)
        return experiment.run(own, root, source)
    with ownership.claimed(root, own) as mark:
        return ownership.records(root, mark), final


def end(root: pathlib.Path) -> dict:
    """Returns what the last round of a cell left in its folder, {} before that."""
    path = root / experiment.FINAL
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def asked(options) -> list[Cell]:
    """Returns the cells that are asked for, with `--finished` those that have ended."""
    found = list(cells(options))
    if not options.finished:
        return found
    ends = {c: end(options.workdir / c.folder).get("round") for c in found}
    ended = [cell for cell, number in ends.items() if number == options.rounds]
    if not ended:
        raise ValueError(
            "a table of what is finished needs a cell that has ended, got none of "
            f"{len(found)} in {options.workdir}; leave --finished out to run them"
        )
    return ended


def tuned(options) -> str:
    """Returns the standalone baseline by rate and momentum, on held-out examples."""
    rows = []
    for rate, momentum in TUNED:
        changes = {
            "learning_rate": rate,
            "momentum": momentum,
            "validation": "held_out",
        }
        own = argparse.Namespace(**{**vars(options), **changes})
        own.workdir = options.workdir / f"tuned_{rate:g}_{momentum:g}"
        shown = []
        for seed in range(options.seeds):
            found, _ = run(own, Cell("standalone", 1.0, options.samples[0], seed))
            shown.append(100 * found[-1]["validation_accuracy"])
        spread = spreads.spread(shown)
        accuracy = f"{spreads.shown(spread)}, n = {spread.n}"
        rows.append((f"{rate:g}", f"{momentum:g}", accuracy))
    titles = ["rate", "momentum", "accuracy on held-out examples, %"]
    return tables.markdown(titles, rows) + "\n"


def _several(read, name, *known, **more):
    """Returns text -> the values of a flag, as argparse takes it."""

    def values(text):
        try:
            return tuple(read(name, text, *known, **more))
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return values


def arguments() -> argparse.ArgumentParser:
    """Returns the parser of the command."""
    parser = command_line.arguments(__doc__)
    every = (0.0, 0.1, 0.2, 0.5, 1.0)
    shares = _several(command_line.reals, "participation", most=1, zero=True)
    parser.add_argument("--participation", type=shares, default=every)
    samples = _several(command_line.counts, "samples")
    parser.add_argument("--samples", type=samples, default=(20, 50, 100))
    names = (*METHODS, "standalone")
    methods = _several(command_line.words, "methods", names)
    parser.add_argument("--methods", type=methods, default=names)
    numbers = {"seeds": 3, "rounds": 40, "users": 40, "devices": 1}
    command_line.numbers(parser, numbers)
    for name, default in {"learning_rate": 0.01, "momentum": 0.9, "left": 0.3}.items():
        parser.add_argument(f"--{name}", type=float, default=default)
    parser.add_argument("--validation", default="held_out")
    parser.add_argument("--tune", action="store_true", help="the rate, and end")
    parser.add_argument("--finished", action="store_true", help="run none, and tell")
    return parser


def setting(options, found: dict) -> str:
    """Returns what all cells share."""
    own = config(options, next(iter(found)))
    local = own.local
    return (
        f"{own.model.name} on {own.data.name}, {own.clients.count} users, {own.rounds} "
        f"rounds of {local.epochs} epochs of batch {local.batch_size}, SGD at "
        f"{local.learning_rate:g}, momentum {local.momentum:g}, validation "
        f"{own.validation}, {len(found)} runs"
    )


def write(options, found: dict) -> str:
    """Writes the tables and the figure of what there is, and returns the tables."""
    text = (
        f"Command: `{command_line.typed()}` ({setting(options, found)}); mean accuracy "
        "over users in %, last round, mean ± standard deviation over seeds; traffic in "
        f"MiB. FedAvg's published traffic is {federated.OFFSET} above the paper's own "
        "rule.\n\n"
    )
    own = config(options, next(iter(found)))
    same = (own.data.name, own.clients.count, own.rounds) == ("cifar10", 40, 40)
    text += federated.table(found, same)
    text_files.write(options.workdir / "seo2021.md", sizes.titled(options, text))
    claims.write(options, "seo2021", federated.claimed(found if same else {}))
    axes_lib.save(
        federated.figure(found), pathlib.Path(options.workdir) / "seo2021.png"
    )
    return text


def main() -> None:
    """Runs what is missing, and writes `seo2021.md` and `seo2021.png` after each."""
    options = sizes.parse(arguments(), "seo2021")
    command_line.prepare()
    if options.smoke:
        options.participation, options.samples, options.seeds = (0.5,), (20,), 1
    with command_line.plain_errors():
        for cell in cells(options):
            settings.check(config(options, cell))
        if options.cost:
            runs = {
                c.folder: federated.visits(
                    config(options, c), options.workdir / c.folder
                )
                for c in cells(options)
            }
            work.show(options, runs, {"seo2021": federated.claimed({})})
            return
        options.workdir.mkdir(parents=True, exist_ok=True)
        if options.tune:
            text = tuned(options)
            text_files.write(options.workdir / "tuned.md", text)
            print(text)
            return
        found = {}
        for cell in asked(options):
            found[cell] = run(options, cell)
            text = write(options, found)
        print(text, f"figure: {options.workdir / 'seo2021.png'}", sep="\n")


if __name__ == "__main__":
    main()
