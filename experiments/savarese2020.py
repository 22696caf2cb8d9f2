"""Savarese et al., 2020 (arXiv:1912.04427): searches for tickets, compared by effort.

    python experiments/savarese2020.py --network=lenet --workdir=runs/savarese2020 \\
        --data_dir=DIR

Two tables. *Tickets*: Continuous Sparsification (all first logits as one population),
IMP with rewinding, IMP continued (never rewound while it searches) and stochastic
sparsification, on one network, data set and prunable set. *Pruning*: train, prune,
fine-tune without rewinding: Continuous Sparsification against one-shot and iterative
magnitude, gradual magnitude, l0 by hard concrete gates and, where there are norms in
one chain (VGG), network slimming.

A ticket costs the trainings of its search up to it, and its own. *Matching* is a mean
accuracy at least that of the dense network, less a tolerance. `--network` is lenet,
conv6, resnet20 or vgg16; `--steps`, `--levels` (of IMP) and `--seeds` shorten it, and
`--tables=tickets` leaves the second out. The paper's own tables were not at hand, so
that nothing published stands beside ours.
"""

import json
import pathlib

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from lthjax import commands, experiment, report, results
from lthjax import config as config_lib

CONFIGS = pathlib.Path(__file__).parent.parent / "configs"
NETWORKS = {
    "lenet": ("mnist_continuous.py", None),
    "conv6": ("cifar10_continuous.py", "conv6"),
    "resnet20": ("cifar10_continuous.py", "resnet20"),
    "vgg16": ("cifar10_continuous.py", "vgg16"),
}
SHARES = (0.5, 0.8, 0.9, 0.95, 0.98)
LOGITS = (-0.3, -0.1, -0.05, 0.03)
CHANNELS = (0.3, 0.5, 0.7)
PENALTIES = (1e-6, 1e-5, 1e-4, 1e-3)
BEFORE = {"one-shot magnitude": 1, "gradual magnitude": 0}  # levels trained before
TOLERANCES = (0.0, 0.002)
COLUMNS = "% left | accuracy | rounds | steps | seconds | n"


def tickets(found, levels):
    """Returns {method: [changes of the config]} of the first table."""
    magnitude = {"search.levels": levels}
    continuous = {"search.gates.initial": LOGITS}
    stochastic = {"search.gates.initial": (0.0, 0.5), "search.method": "stochastic"}
    return {
        "Continuous Sparsification": [{"search.method": "continuous", **continuous}],
        "IMP": [{"search.method": "iterative", **magnitude}],
        "IMP continued": [{"search.method": "continued", **magnitude}],
        "stochastic sparsification": [stochastic],
    }


def pruning(found, levels):
    """Returns {method: [changes of the config]} of the second table."""
    tuned = {"search.restart": "fine_tune", "search.rewind_to": 0}
    once = {**tuned, "search.levels": 1}
    shares = {**tuned, "search.sparsities": SHARES}
    l0 = {**once, "search.method": "l0", "search.gates.initial": (0.0,)}
    slim = {
        **once,
        "search.method": "slimming",
        "search.gates.penalty": 1e-4,
        "model.options": {"norm_scale": "half"},
    }
    methods = {
        "Continuous Sparsification": [
            {**once, "search.method": "continuous", "search.gates.initial": LOGITS}
        ],
        "one-shot magnitude": [{**shares, "search.method": "one_shot"}],
        "iterative magnitude": [{**shares, "search.method": "iterative"}],
        "gradual magnitude": [
            {
                "search.method": "gradual",
                "search.sparsities": SHARES,
                "search.rewind_to": 0,
                "dynamic.every": 20,
            }
        ],
        "l0, hard concrete": [{**l0, "search.gates.penalty": p} for p in PENALTIES],
        "network slimming": [{**slim, "search.sparsities": (s,)} for s in CHANNELS],
    }
    if not found.model.name.startswith("vgg"):
        del methods["network slimming"]
    return methods


TABLES = {"tickets": tickets, "pruning": pruning}


def config(options):
    """Returns the config of the network, as far as the options change it."""
    name, variant = NETWORKS[options.network]
    found = config_lib.load(CONFIGS / name, variant)
    found.data_dir = options.data_dir
    found.seeds = tuple(range(options.seeds or len(found.seeds)))
    found.logging.tensorboard = False
    if options.steps:
        found.train.update(steps=options.steps, epochs=0)
        found.search.rewind_to = min(found.search.rewind_to, options.steps // 40)
    return found


def changed(found, changes, *, smoke):
    """Returns a copy of a config with other values, {dotted key: value}."""
    new = found.copy_and_resolve_references()
    for key, value in changes.items():
        path, _, name = key.rpartition(".")
        part = new
        for step in path.split("."):
            part = part[step]
        part[name] = value
    return config_lib.shrunk(new) if smoke else new


def points(method, rows):
    """Returns what a method found: a point for each first logit and level.

    Args:
      method: Its name.
      rows: Records of one run.

    Returns:
      [{"left", "accuracy", "rounds", "steps", "seconds"}, ...], each a list with one
      value a seed, the accuracy and what is left in per cent.
    """
    groups = {}
    for row in rows:
        if row["arm"] == "ticket" and row["level"]:
            groups.setdefault((row.get("initial"), row["level"]), []).append(row)
    return [_point(method, rows, group) for _, group in sorted(groups.items(), key=str)]


def _point(method, rows, group):
    efforts = [_effort(method, rows, row) for row in group]
    found = {name: [e[name] for e in efforts] for name in efforts[0]}
    found["left"] = [100 * row["kept"] / row["prunable"] for row in group]
    found["accuracy"] = [100 * row["test_accuracy"] for row in group]
    return found


def _effort(method, rows, ticket):
    """Returns what it took to come by a ticket, its own training included.

    Before it came the rounds of its search; without rounds, all levels below it, or as
    few as `BEFORE` says.
    """
    own = [
        row
        for row in rows
        if (row["seed"], row.get("initial")) == (ticket["seed"], ticket.get("initial"))
    ]
    rounds = [r for r in own if r["arm"] == "search" and r["level"] <= ticket["level"]]
    if not any(row["arm"] == "search" for row in own):
        rounds = [r for r in own if r["arm"] == "ticket"]
        first = BEFORE.get(method, ticket["level"])
        rounds = [r for r in rounds if r["level"] < min(first, ticket["level"])]
    spent = [*rounds, ticket]
    totals = {name: sum(row[name] for row in spent) for name in ("steps", "seconds")}
    return {"rounds": len(rounds), **totals}


def run(options, found):
    """Runs what is missing; returns {table: {method: the records of its runs}}."""
    return {
        table: {
            method: _run(
                options, found, options.workdir / table / _folder(method), arms
            )
            for method, arms in TABLES[table](found, options.levels or 12).items()
        }
        for table in options.tables
    }


def _folder(method):
    return method.lower().replace(" ", "_").replace(",", "")


def _run(options, found, root, variants):
    """Returns the records of a method's runs, a list for each variant of it."""
    records = []
    for number, changes in enumerate(variants):
        new = changed(found, changes, smoke=options.smoke)
        rows = experiment.run(new, root / str(number))
        records.append([row for row in rows if row["seed"] in new.seeds])
    return records


def dense(methods):
    """Returns the accuracies of the dense network, one a seed, in per cent."""
    rows = [row for runs in methods.values() for rows in runs for row in rows]
    first = [row for row in reversed(rows) if row["level"] == 0]
    by_seed = {row["seed"]: row for row in first}
    return [100 * row["test_accuracy"] for _, row in sorted(by_seed.items())]


def table(name, methods):
    """Returns a table and the points behind it, as Markdown."""
    spread = results.spread(dense(methods))
    head = f"Dense: {spread.mean:.2f} ± {spread.std:.2f} % (n = {spread.n})."
    lines = [f"## {name.capitalize()}", "", head, ""]
    lines += [f"| method | what | {COLUMNS} |", "|" + "---|" * 8]
    for method, runs in methods.items():
        found = [point for rows in runs for point in points(method, rows)]
        for what, point in best(found, spread.mean).items():
            lines.append(f"| {method} | {what} | {_cells(point)} |")
    lines += ["", f"| method | {COLUMNS} |", "|" + "---|" * 7]
    for method, runs in methods.items():
        found = [point for rows in runs for point in points(method, rows)]
        for point in sorted(found, key=lambda point: -np.mean(point["left"])):
            lines.append(f"| {method} | {_cells(point)} |")
    return "\n".join(lines) + "\n"


def best(found, dense_mean):
    """Returns {what: point} of the sparsest matching tickets and of the best one."""
    chosen = {}
    for tolerance in TOLERANCES:
        least = dense_mean - 100 * tolerance
        good = [point for point in found if np.mean(point["accuracy"]) >= least]
        sparsest = min(good, key=lambda point: np.mean(point["left"]), default=None)
        chosen[f"sparsest matching, within {100 * tolerance:g} points"] = sparsest
    chosen["best"] = max(found, key=lambda point: np.mean(point["accuracy"]))
    return chosen


def _cells(point):
    if point is None:
        return "none |" + " |" * 5
    left, accuracy, seconds = (
        results.spread(point[name]) for name in ("left", "accuracy", "seconds")
    )
    shown = [f"{each.mean:.2f} ± {each.std:.2f}" for each in (left, accuracy)]
    effort = f"{point['rounds'][0]} | {point['steps'][0]:,} | {seconds.mean:.1f}"
    return f"{' | '.join(shown)} | {effort} | {left.n}"


def gates(methods):
    """Returns what became of the gates, as Markdown: the rounds' own records."""
    head = "round | first logit | % left | soft accuracy | hard accuracy | undecided, %"
    lines = [f"| method | {head} | n |", "|" + "---|" * 8]
    for method, runs in methods.items():
        groups = {}
        named = ((i, row) for i, rows in enumerate(runs) for row in rows)
        for run, row in (pair for pair in named if "undecided" in pair[1]):
            key = run, row.get("initial", ""), row["level"]
            groups.setdefault(key, []).append(row)
        for (_, initial, level), group in sorted(groups.items(), key=str):
            cells = [_spread(group, *column) for column in _GATES]
            row = f"| {method} | {level} | {initial} | {' | '.join(cells)}"
            lines.append(f"{row} | {len(group)} |")
    return "\n".join(lines) + "\n"


_GATES = [
    ("sparsity", 100, 100),
    ("test_accuracy", 100, 0),
    ("hard_test_accuracy", 100, 0),
    ("undecided", 100, 0),
]


def _spread(group, name, scale, complement):
    values = [abs(complement - scale * row[name]) for row in group]
    spread = results.spread(values)
    return f"{spread.mean:.2f} ± {spread.std:.2f}"


def figure(everything, title):
    """Draws accuracy against what is left, a panel a table."""
    drawn = Figure(figsize=(7 * len(everything), 4.5), layout="constrained")
    panels = drawn.subplots(1, len(everything), squeeze=False)[0]
    for axes, (name, methods) in zip(panels, everything.items(), strict=True):
        _panel(axes, name, methods)
    drawn.suptitle(title, fontsize=10)
    return drawn


def _panel(axes, name, methods):
    axes.axhline(np.mean(dense(methods)), color="0.5", ls="--", lw=1, label="dense")
    for method, runs in methods.items():
        found = [point for rows in runs for point in points(method, rows)]
        found.sort(key=lambda point: np.mean(point["left"]))
        x = [np.mean(point["left"]) for point in found]
        y = [np.mean(point["accuracy"]) for point in found]
        error = [results.spread(point["accuracy"]).std for point in found]
        axes.errorbar(x, y, error, marker="o", ms=3, lw=1, capsize=2, label=method)
    axes.set_xscale("log")
    axes.invert_xaxis()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("weights left, %")
    axes.set_ylabel("test accuracy, %")
    axes.set_title(name)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def write(options, found, everything):
    """Writes `savarese2020.md` and `savarese2020.png`, and returns the text."""
    command = f"python experiments/savarese2020.py --network={options.network}"
    for name in ("steps", "levels", "seeds"):
        if getattr(options, name):
            command += f" --{name}={getattr(options, name)}"
    if set(options.tables) != set(TABLES):
        command += f" --tables {' '.join(options.tables)}"
    used = {"seeds": found.seeds, **found.train.to_dict(), "model": found.model.name}
    used["gates"] = found.search.gates.to_dict() | {"initial": LOGITS}
    parts = [f"Command: `{command}`; {json.dumps(used, default=list)}.\n"]
    parts += [table(name, methods) for name, methods in everything.items()]
    parts += [f"## Gates ({n})\n\n{gates(m)}" for n, m in everything.items()]
    text = "\n".join(parts)
    results.write(options.workdir / "savarese2020.md", text)
    title = f"{found.model.name} on {found.data.name}, mean and standard deviation"
    length = f"{found.train.steps} steps" * bool(found.train.steps)
    length = length or f"{found.train.epochs} epochs"
    title = f"{title}, n = {len(found.seeds)}, {length} a training"
    report.save(figure(everything, title), options.workdir / "savarese2020.png")
    return text


def main():
    """Runs what is missing, and writes `savarese2020.md` and `savarese2020.png`."""
    parser = commands.arguments(__doc__)
    parser.add_argument("--network", choices=list(NETWORKS), default="lenet")
    parser.add_argument("--tables", nargs="+", choices=list(TABLES), default=TABLES)
    for name in ("steps", "levels", "seeds"):
        parser.add_argument(f"--{name}", type=int, default=0)
    options = parser.parse_args()
    commands.prepare()
    with commands.plain_errors():
        found = config(options)
        everything = run(options, found)
        text = write(options, found, everything)
        print(text, f"figure: {options.workdir / 'savarese2020.png'}", sep="\n")


if __name__ == "__main__":
    main()
