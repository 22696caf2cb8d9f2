"""Jaiswal et al., 2022 (arXiv:2206.12755): a tweak's setting, chosen and tested once.

    python experiments/jaiswal2021_settings.py --workdir=runs/settings --data_dir=DIR

Tweaks that gain nothing as they are given may be given wrongly. Three hypotheses, each
of one setting, in the place of `jaiswal2021_fit.py` where a ticket fits its training
set (ResNet-8 of full width, one-shot masks of 95 %, few images of CIFAR-10):

* end: from when on the branches beside the convolutions are gone, between a quarter of
  the training and its end; the rate first falls at a half;
* after: how long the plain network is trained after branches of equally many steps;
* smoothing: how much labels are smoothed, of few images and of sixteen times as many.

Every setting is an arm on the same tickets, paired with the ticket that is retrained
plainly. One of each is chosen by its mean gain on the validation set (the test set is
not looked at), and is then trained on as many fresh seeds: what it gains there on the
test set is told, once. `--questions` chooses hypotheses. Each cell is a run of its own
below the workdir, and goes on where it stopped.

Departures: those of `jaiswal2021_fit.py`; accuracies are validated at each fifth of the
steps, the training loss is the mean since the last but one.
"""

from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from measures import fits, page, records, sizes, tables, work

from lthjax.program import command_line
from lthjax.program.report import gains
from lthjax.program.sweep import grid
from lthjax.program.workdir import spreads

FEW, MANY = 250, 4000  # images: a ticket of 95 % knows the first by heart
BRANCHES = 750  # steps, of 1,500: what "after" holds
ENDS = (0.25, 0.5, 0.75, 1.0)  # of the training
LENGTHS = (1.0, 4 / 3, 2.0, 4.0)  # of the training, by those steps
AMOUNTS = (0.05, 0.1, 0.3)
TICKET, TESTED = "ticket", "tested"
AXES = {
    "end": "end of the branches, part of the training",
    "after": "steps after the branches",
    "smoothing": "of the labels smoothed",
}
EXPECTED = """Expected, written before any result:
1. end: the best end, on validation, is where the rate first falls, at 0.5.
2. after: the gain rises with the steps that are trained after the branches are gone.
3. smoothing: of few images, which the ticket fits, more is best than of many; of many,
   where it underfits, no amount gains.
4. Each setting that is chosen gains on the test set, by more than its interval."""


class Cell(NamedTuple):
    """What is trained together: arms on the tickets of one network.

    Attributes:
      images: Of training.
      steps: Of each training.
    """

    images: int
    steps: int

    @property
    def name(self) -> str:
        """Of its run."""
        return f"{self.images}-images-{self.steps}-steps"


class Choice(NamedTuple):
    """Settings of which one is chosen.

    Attributes:
      question: "end", "after" or "smoothing".
      settings: [(cell, arm, value)], as many as are tried.
    """

    question: str
    settings: list[tuple[Cell, str, float]]


def choices(options) -> list[Choice]:
    """Returns what is chosen, of the questions that are asked.

    Raises:
      ValueError: A question is none of those that there are, or the steps are too few.
    """
    steps = options.steps
    if steps < 4:
        raise ValueError(
            f"steps must be at least 4, a quarter of them one, got steps = {steps}"
        )
    few, many = Cell(FEW, steps), Cell(MANY, steps)
    held = steps * BRANCHES // 1500
    lengths = [round(held * length) for length in LENGTHS]
    after = [(Cell(FEW, n), f"skips.end={_part(held, n):g}", n - held) for n in lengths]
    found = [
        Choice("end", [(few, f"skips.end={end:g}", end) for end in ENDS]),
        Choice("after", after),
        *(
            Choice("smoothing", [(cell, f"smoothing={a:g}", a) for a in AMOUNTS])
            for cell in (few, many)
        ),
    ]
    if options.smoke:
        found = [one._replace(settings=one.settings[1:3]) for one in found[::2]]
    names = dict.fromkeys(one.question for one in found)
    asked = command_line.words("questions", options.questions, names)
    return [one for one in found if one.question in asked]


def _part(held, steps):
    """Returns a part of the steps, of six digits, which ends at those held."""
    return held * 10**6 // steps / 10**6


def config(options, cell: Cell, arms, seeds):
    """Returns the config of a cell: arms on the tickets of some seeds."""
    own = SimpleNamespace(**vars(options) | {"steps": cell.steps})
    found = fits.config(own, "resnet8", "one_shot", cell.images)
    found.search.sparsities = (fits.AT,)
    found.eval_every = -(-cell.steps // 5)
    found = fits.shrunk(found) if options.smoke else found
    found.seeds = tuple(seeds)
    found.retraining.update(arms=tuple(dict.fromkeys(arms)), levels=(1,))
    return found


def trials(options, asked: list[Choice]) -> dict:
    """Returns {name: config} of what is chosen among."""
    pairs = [one[:2] for choice in asked for one in choice.settings]
    return _runs(options, pairs, range(options.seeds))


def tests(options, chosen: list[tuple[Cell, str]]) -> dict:
    """Returns {name: config} of what is tested, on seeds that chose nothing."""
    fresh = range(options.seeds, 2 * options.seeds)
    return _runs(options, chosen, fresh, f"-{TESTED}")


def _runs(options, pairs, seeds, ending=""):
    """Returns {name: config} of arms, those of a cell in one run."""
    arms: dict[Cell, list[str]] = {}
    for cell, arm in pairs:
        arms.setdefault(cell, []).append(arm)
    return {
        f"{cell.name}{ending}": config(options, cell, own, seeds)
        for cell, own in arms.items()
    }


def gained(rows: list[dict], cell: Cell, arm: str, *, tested: bool = False):
    """Returns the gain of an arm: on the test set where it is tested, else validation.

    Args:
      rows: Records with the name of their run.
      cell: Where.
      arm: Which.
      tested: Whether it is of the fresh seeds.

    Returns:
      The gain in points; `None` of what has not been run.
    """
    run = f"{cell.name}-{TESTED}" if tested else cell.name
    found = records.of(rows, run=run, level=1)
    if not tested:
        found = [row | {"test_accuracy": row["validation_accuracy"]} for row in found]
    return gains.gains(found).get((arm, 1))


def best(rows: list[dict], choice: Choice) -> tuple[Cell, str, float]:
    """Returns the setting whose mean gain on validation is the highest."""
    return max(choice.settings, key=lambda one: gained(rows, *one[:2]).mean)


def likely(rows: list[dict], choice: Choice) -> tuple[Cell, str, float]:
    """Returns the best setting, the first while there is one that has not been run."""
    tried = all(gained(rows, *one[:2]) for one in choice.settings)
    return best(rows, choice) if tried else choice.settings[0]


def loss(rows: list[dict], cell: Cell) -> spreads.Spread:
    """Returns the training loss that the plain ticket ends with, in a cell."""
    plain = records.of(rows, run=cell.name, level=1, arm=TICKET)
    return spreads.spread(row["train_loss"] for row in plain)


def table(rows: list[dict], asked: list[Choice]) -> str:
    """Returns every setting as Markdown, what was chosen with its test."""
    titles = ["question", "images", "steps", "setting", "training loss, plain"]
    titles += ["gain on validation, points", "n", "chosen", "gain on test, points", "n"]
    lines = []
    for choice in asked:
        taken = best(rows, choice)
        for setting in choice.settings:
            cell, arm, _ = setting
            found = gained(rows, cell, arm)
            line = [choice.question, f"{cell.images:,}", f"{cell.steps:,}", arm]
            line += [spreads.shown(loss(rows, cell), ".3f"), gains.text(found), found.n]
            test = gained(rows, cell, arm, tested=True) if setting == taken else None
            ends = ["chosen", gains.text(test), test.n] if test else ["", "", ""]
            lines.append((*line, *ends))
    return tables.markdown(titles, lines) + "\n"


def figure(rows: list[dict], asked: list[Choice]) -> Figure:
    """Draws the gain by the setting, a panel a question; tests are hollow."""
    names = list(dict.fromkeys(choice.question for choice in asked))
    drawn = Figure(figsize=(max(5.0, 4.2 * len(names)), 4), layout="constrained")
    row = drawn.subplots(1, len(names), squeeze=False)[0]
    panels = dict(zip(names, row, strict=True))
    for choice in asked:
        _line(panels[choice.question], rows, choice)
    for name, axes in panels.items():
        axes.axhline(0, color="0.5", ls="--", lw=1)
        axes.set_xlabel(AXES[name])
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    row[0].set_ylabel("gain, points of accuracy")
    n = max(gained(rows, *one[:2]).n for choice in asked for one in choice.settings)
    said = "95 % interval" if n > 1 else "no interval"
    title = f"on validation, {said}, n = {n}\ndiamonds: the chosen one, tested once"
    drawn.suptitle(title, fontsize=10)
    return drawn


def _line(axes, rows, choice):
    """Draws the gains of a choice, and beside the best what it gains in the test."""
    cells = [one[0] for one in choice.settings]
    values = np.array([one[2] for one in choice.settings])
    found = [gained(rows, *one[:2]) for one in choice.settings]
    label = f"{cells[0].images:,} images"
    if len(set(cells)) == 1:
        label += f", {cells[0].steps:,} steps"
    style = {"capsize": 2, "lw": 1}
    means, halves = [one.mean for one in found], [one.half for one in found]
    halves = np.nan_to_num(halves)
    (line, *_) = axes.errorbar(values, means, halves, fmt="o-", label=label, **style)
    cell, arm, value = best(rows, choice)
    if test := gained(rows, cell, arm, tested=True):
        style |= {"fmt": "D", "mfc": "white", "color": line.get_color()}
        beside = value + 0.03 * (np.ptp(values) or 1)
        axes.errorbar(beside, test.mean, np.nan_to_num(test.half), **style)


def text(options, rows: list[dict], asked: list[Choice]) -> str:
    """Returns the page: what was expected, then what came out."""
    setting = (
        f"{options.steps:,} steps of 64 a training, {options.seeds} seeds to choose"
    )
    command = f"Command: `{command_line.typed()}` ({setting}, as many fresh to test)."
    taken = dict.fromkeys(best(rows, choice)[:2] for choice in asked)
    tested = [gained(rows, *one, tested=True) for one in taken]
    better = sum(one.mean - one.half > 0 for one in tested)
    said = (
        f"{better} of {len(taken)} settings that were chosen gain on the test set by "
        "more than their interval."
        if options.seeds > 1
        else "One seed gives no interval."
    )
    return "\n\n".join((command, EXPECTED, said, table(rows, asked)))


def main() -> None:
    """Runs what is missing, and writes `jaiswal2021_settings.md` and its figure."""
    parser = command_line.arguments(__doc__)
    parser.add_argument("--questions", default="end,after,smoothing")
    command_line.numbers(parser, {"steps": 1500, "seeds": 3, "width": 1.0})
    options = sizes.parse(parser, "jaiswal2021_settings")
    options.data = "cifar10"
    if options.smoke:
        options.seeds, options.steps, options.questions = 1, 100, "end,smoothing"
    command_line.prepare()
    with command_line.plain_errors():
        asked = choices(options)
        if options.cost:
            found = trials(options, asked)
            rows = records.there(found, options.workdir)
            found |= tests(options, [likely(rows, one)[:2] for one in asked])
            work.show(options, found, {})
            return
        print(EXPECTED)
        rows = grid.run(trials(options, asked), options.workdir)
        chosen = [best(rows, one)[:2] for one in asked]
        rows += grid.run(tests(options, chosen), options.workdir)
        drawn = figure(rows, asked)
        page.write(options, "jaiswal2021_settings", text(options, rows, asked), drawn)


if __name__ == "__main__":
    main()
