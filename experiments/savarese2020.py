"""Savarese et al., 2020 (arXiv:1912.04427): searches for tickets, compared by effort.

    python experiments/savarese2020.py --network=lenet --workdir=runs/savarese2020 \\
        --data_dir=DIR

Two tables. *Tickets*: Continuous Sparsification (all first logits as one population),
IMP with rewinding, IMP continued (never rewound while it searches) and stochastic
sparsification, on one network, data set and prunable set. *Pruning*: train, prune,
fine-tune without rewinding: Continuous Sparsification against one-shot and iterative
magnitude, gradual magnitude, l0 by hard concrete gates and, where there are norms in
one chain (VGG), network slimming.

A ticket costs the trainings of its search up to it, and its own. The tickets of IMP are
retrained from step k (`search.rewind_to`) to T, those of the other searches from 0 to T
with the weights of step k, as the released code does (`search.gates.start`): k steps
more, which the columns of steps and seconds count. *Matching* is a mean accuracy on the
validation set of at least that of the dense network, less a tolerance; *best* is the
best there. The test set chooses nothing. "Iterative magnitude" prunes to each of the
shares in turn, 50 to 60 % of what is left at a time.

`--network` is lenet, conv6, resnet20 or vgg16. `--steps` (of a training; the schedule's
drops and the gates' periods, 50 a training, shrink with it), `--levels` (of IMP),
`--seeds` and `--logits` (of Continuous Sparsification) shorten it; `--tables` and
`--methods` choose among them; `--set search.gates.learning_rate=10` changes any key of
the config. The paper's own tables were not at hand, so that nothing published stands
beside ours.
"""

import json
import logging
import pathlib
import sys

from measures import efforts, page, records, sizes, work

from lthjax.data import batches, facts
from lthjax.program import command_line
from lthjax.program.build import methods
from lthjax.program.config import files, shrink
from lthjax.program.run import experiment, search_progress
from lthjax.program.workdir import results

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


def tickets(found, levels):
    """Returns {method: [changes of the config]} of the first table."""
    magnitude = {"search.levels": levels}
    continuous = {"search.gates.initial": found.search.gates.initial}
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
    asked = {"search.sparsities": SHARES, "search.levels": len(SHARES)}
    shares = {**tuned, **asked}
    l0 = {**once, "search.method": "l0", "search.gates.initial": (0.0,)}
    slim = {
        **once,
        "search.method": "slimming",
        "search.gates.penalty": 1e-4,
        "model.options": {"norm_scale": "half"},
    }
    methods = {
        "Continuous Sparsification": [
            {
                **once,
                "search.method": "continuous",
                "search.gates.initial": found.search.gates.initial,
            }
        ],
        "one-shot magnitude": [{**shares, "search.method": "one_shot"}],
        "iterative magnitude": [{**shares, "search.method": "iterative"}],
        "gradual magnitude": [
            {
                **asked,
                "search.method": "gradual",
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
METHODS = (
    "Continuous Sparsification",
    "IMP",
    "IMP continued",
    "stochastic sparsification",
    "one-shot magnitude",
    "iterative magnitude",
    "gradual magnitude",
    "l0, hard concrete",
    "network slimming",
)
SMOKED = ("Continuous Sparsification", "IMP", "l0, hard concrete")


def config(options):
    """Returns the config of the network, as far as the options change it."""
    name, variant = NETWORKS[options.network]
    found = files.load(CONFIGS / name, variant)
    found.data_dir = options.data_dir
    found.seeds = tuple(range(options.seeds or len(found.seeds)))
    found.logging.tensorboard = False
    found.search.gates.initial = tuple(options.logits)
    if options.steps:
        shorten(found, options.steps)
    try:
        found.update_from_flattened_dict(dict(options.set))
    except (AttributeError, KeyError, TypeError) as error:
        sys.exit(f"error: --set takes keys of the config and their kind: {error}")
    return found


def shorten(found, steps):
    """Gives a config another length, all in it that is counted in steps in proportion.

    The drops of the schedule, in epochs, become fractions of them.
    """
    images = facts.FACTS[found.data.name].train - found.data.validation
    epoch = batches.steps_per_epoch(images, found.train.batch_size)
    whole = found.train.steps or found.train.epochs * epoch
    found.schedule.drops = tuple(d * steps / whole for d in found.schedule.drops)
    found.search.gates.period = max(1, steps // 50)
    found.search.rewind_to = round(found.search.rewind_to * steps / whole)
    found.train.update(steps=steps, epochs=0)


def assignment(text):
    """Returns (dotted key, value) of "key=value", the value as JSON or as it stands."""
    key, _, value = text.partition("=")
    try:
        value = json.loads(value)
    except json.JSONDecodeError:
        return key, value
    return key, tuple(value) if isinstance(value, list) else value


def changed(found, changes, *, smoke):
    """Returns a copy of a config with other values, {dotted key: value}."""
    new = methods.cleared(shrink.changed(found, changes))
    return methods.shrunk(new) if smoke else new


def chosen(options, found):
    """Returns {table: {method: [changes]}} of the methods asked for, no table empty."""
    levels, asked = options.levels or 12, options.methods
    rows = {name: TABLES[name](found, levels) for name in options.tables}
    tables = {
        name: {method: every[method] for method in every if method in asked}
        for name, every in rows.items()
    }
    if not any(tables.values()):
        sys.exit(
            f"error: a table must have a method, got none of {', '.join(asked)} for "
            f"{found.model.name} in {', '.join(tables)}; give others by --methods"
        )
    return {name: methods for name, methods in tables.items() if methods}


def run(options, found):
    """Runs what is missing; returns {table: {method: the records of its runs}}."""
    return {
        table: {
            method: _run(
                options, found, options.workdir / table / _folder(method), arms
            )
            for method, arms in methods.items()
        }
        for table, methods in chosen(options, found).items()
    }


def works(options, found):
    """Returns {folder: config} of all runs, as `run` has them."""
    return {
        f"{table}/{_folder(method)}/{number}": changed(found, arm, smoke=options.smoke)
        for table, methods in chosen(options, found).items()
        for method, arms in methods.items()
        for number, arm in enumerate(arms[:1] if options.smoke else arms)
    }


def _folder(method):
    return method.lower().replace(" ", "_").replace(",", "")


def _run(options, base, root, variants):
    """Returns the records of a method's runs, a list for each variant of it.

    A smoke run takes the first of them.
    """
    found = []
    for number, changes in enumerate(variants[:1] if options.smoke else variants):
        new = changed(base, changes, smoke=options.smoke)
        found.append(records.asked(_records(new, root / str(number)), new))
    return found


def _records(new, root):
    """Returns the records of a run, of one that prunes everything too."""
    try:
        return experiment.run(new, root)
    except search_progress.CollapsedError as error:
        logging.error("%s: %s", root, error)
        return results.read(root / results.RESULTS)


def write(options, found, everything):
    """Writes `savarese2020.md` and `savarese2020.png`, and prints the text."""
    used = {"seeds": found.seeds, **found.train.to_dict(), "model": found.model.name}
    used["gates"] = found.search.gates.to_dict()
    parts = [f"Command: `{command_line.typed()}`; {json.dumps(used, default=list)}.\n"]
    parts += [efforts.table(name, methods) for name, methods in everything.items()]
    parts += [f"## Gates ({n})\n\n{efforts.gates(m)}" for n, m in everything.items()]
    title = f"{found.model.name} on {found.data.name}, mean and standard deviation"
    length = f"{found.train.steps} steps" * bool(found.train.steps)
    length = length or f"{found.train.epochs} epochs"
    title = f"{title}, n = {len(found.seeds)}, {length} a training"
    drawn = efforts.figure(everything, title)
    page.write(options, "savarese2020", "\n".join(parts), drawn)


def main():
    """Runs what is missing, and writes `savarese2020.md` and `savarese2020.png`."""
    parser = command_line.arguments(__doc__)
    parser.add_argument("--network", choices=list(NETWORKS), default="lenet")
    parser.add_argument("--tables", nargs="+", choices=list(TABLES), default=TABLES)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=())
    parser.add_argument("--logits", nargs="+", type=float, default=LOGITS)
    parser.add_argument("--set", nargs="+", type=assignment, default=())
    command_line.numbers(parser, {"steps": 0, "levels": 0, "seeds": 0})
    options = sizes.parse(parser, "savarese2020")
    options.methods = options.methods or (SMOKED if options.smoke else METHODS)
    command_line.prepare()
    with command_line.plain_errors():
        found = config(options)
        if options.cost:
            work.show(options, works(options, found), {})
            return
        write(options, found, run(options, found))


if __name__ == "__main__":
    main()
