r"""How much pre-training the bound of greedy forward selection asks for.

    python -m lthjax.bound --examples=1000 --inputs=784 --width=5000 --picks=200 \
        --activation=sigmoid [--optimizer=gd] [--constant=C | --rate=RHO]
    python -m lthjax.bound --run=run.json

Prints the published threshold and what its formula really says, its errata, and, for a
run that `experiments/wolfe2021_theory.py` recorded, what was measured beside it: the
setting is then the run's, and c, unless it is given, is what the run's rate implies.
Outside its assumptions it refuses, and says which fails and by how much; `--anyway`
prints the numbers all the same, as what they are then: no consequence of the theorem.

References:
  Wolfe et al., 2021, arXiv:2108.00259, version 2, Theorems 2, 3 and 10.
"""

import argparse
import json
import math
import pathlib
import sys
from collections.abc import Sequence

import numpy as np

from lthjax import values
from lthjax.forward_selection import pretraining_bound, rates
from lthjax.forward_selection.pretraining_bound import Setting
from lthjax.forward_selection.rates import Rate
from lthjax.program import command_line

FIELDS = Setting._fields
LISTS = ("steps", "dense", "first", "greedy", "diameter", "hull")
COLUMNS = {
    "steps": "steps",
    "dense": "dense loss",
    "first": "l(u_1)",
    "greedy": "greedy loss",
    "bound": "bound",
    "published": "published",
    "hull": "hull",
    "diameter": "D",
}
ASSUMED = "assumed: the paper gives none"
ERRATA = (
    "the threshold grows with the data: as m^2 log k for stochastic gradient descent, "
    "as m log k for gradient descent. It is not logarithmic in m, though the paper "
    "says so.",
    "the proof of the 1/k bound on the selection loses a logarithm; the rigorous bound "
    "has D^2 (H_k - 1) / 2 in place of D^2 / 2, H_k = 1 + 1/2 + ... + 1/k. (No "
    "violation of the published one was found in 8,000 random cases.)",
    "L0 is the sum of squared residuals |f(X) - Y|^2 in the proof, not the mean loss: "
    "L0 / (2 m) is the initial loss.",
    "for gradient descent the residual's square contracts twice a step; the published "
    "form drops that factor 2 into its O().",
    "the constant c is never given: without a measured rate only ratios of thresholds, "
    "across m or k, mean anything.",
    "it is a bound from above: below the threshold selection may do as well. It tends "
    "to the best point of the hull, which can lie far below the dense loss.",
    "for stochastic gradient descent it is a mean over the runs of an event, whose "
    "probability the paper leaves open; here it is taken as 1 (zeta = 1).",
    "a step of the theorem sees one example (stochastic) or all of them (gradient "
    "descent); steps with mini-batches and momentum are neither.",
)


def report(setting: Setting, optimizer: str, constant: float, origin: str) -> str:
    """Returns what the published formula says, with its caveats, as text.

    Args:
      setting: The numbers.
      optimizer: "sgd" or "gd".
      constant: c.
      origin: Where c is from.
    """
    m, d, n, k, _ = setting
    steps = pretraining_bound.threshold(setting, optimizer, constant=constant)
    epochs = steps / m if optimizer == "sgd" else steps
    doubled = pretraining_bound.threshold(
        setting._replace(examples=2 * m), optimizer, constant=constant
    )
    lines = [
        f"m = {m:,} examples, d = {d:,} inputs, N = {n:,} neurons, k = {k:,} picks",
        f"c = {constant:.4g} ({origin}), optimizer {optimizer}",
        f"published threshold: {steps:,.4g} steps, {epochs:,.4g} epochs"
        + f" (as printed {2 * steps:,.4g}: a square contracts twice a step)"
        * (optimizer == "gd"),
        f"twice the examples: {doubled / steps:.3f} times the steps; the width is not "
        "in the formula but through N d > m^2, the step size only through c",
        f"assumed, not checked: {', '.join(pretraining_bound.assumed(setting))}",
        *(f"broken: {failure}" for failure in pretraining_bound.broken(setting)),
        "what the formula does not say:",
        *(f"{number}. {text}" for number, text in enumerate(ERRATA, start=1)),
    ]
    return "\n".join(lines)


def measured(setting: Setting, run: dict) -> str:
    """Returns what a run measured beside the bound, checkpoint by checkpoint.

    Args:
      setting: The numbers of the run.
      run: {"steps", "dense", "first", "greedy", "diameter", "hull"}, a list each, the
        losses and D at every checkpoint, the first before training; "zero", the loss of
        answering zero; "setting", the fields of `Setting`.

    Raises:
      ValueError: Something is missing, the lists differ in length, the run is of
        another setting, or the dense loss does not fall.
    """
    rows, rate = _columns(run), _fitted(run)
    if run["setting"] != setting._asdict():
        raise ValueError(
            f"a run must be of the setting asked for, got {run['setting']} for "
            f"{setting._asdict()}"
        )
    rows |= _bounds(setting.picks, rows)
    columns = [rows[name] for name in COLUMNS]
    lines = [
        f"rate fitted to {rate.points} of {len(rows['steps'])} checkpoints, the tail: "
        f"the loss times {rate.rho:.6f} a step, R^2 = {rate.fit:.3f}",
        " | ".join(f"{title:>11}" for title in COLUMNS.values()),
        *(
            " | ".join(f"{value:>11.4g}" for value in row)
            for row in zip(*columns, strict=True)
        ),
        _needed(setting.picks, rows, rate),
    ]
    proved, stated = rows["bound"][-1], rows["published"][-1]
    if proved >= run["zero"]:
        lines.append(
            f"at the last checkpoint the bound is vacuous, {proved:.4g} (published "
            f"form {stated:.4g}): answering zero has the loss {run['zero']:.4g}"
        )
    return "\n".join(lines)


def _bounds(picks, rows):
    """Returns the bound at each checkpoint, rigorous and as published."""
    known = {name: rows[name] for name in ("first", "diameter", "dense")}
    return {
        "bound": pretraining_bound.selection_bound(picks, **known),
        "published": pretraining_bound.selection_bound(picks, **known, rigorous=False),
    }


def _needed(picks, rows, rate):
    """Returns the threshold with the constants of the last checkpoint, as text."""
    known = {"initial": rows["dense"][0], "first": rows["first"][-1]}
    known["diameter"] = rows["diameter"][-1]
    proved, stated = (
        pretraining_bound.explicit_threshold(
            picks, rate.rho, **known, rigorous=rigorous
        )
        for rigorous in (True, False)
    )
    return (
        f"threshold with these constants: {proved:,} steps; of the published form: "
        f"{stated:,}"
    )


def _read(path):
    """Returns the JSON of a run."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(
            f"--run must be a file that can be read, got run = {path}, {error.strerror}"
        ) from error
    except ValueError as error:
        raise ValueError(f"--run must be JSON, got run = {path} ({error})") from error


def _columns(run):
    """Returns the lists of a run as arrays of finite numbers, all of one length."""
    if not isinstance(run, dict):
        raise ValueError(f"a run must be a dict, got run = {run!r}")
    wanted = (*LISTS, "zero", "setting")
    absent = [name for name in wanted if name not in run]
    if absent:
        raise ValueError(f"a run must have all of {wanted}, got none of {absent}")
    setting = run["setting"] if isinstance(run["setting"], dict) else {}
    like = [values.like(setting.get(n), "" if n == "activation" else 1) for n in FIELDS]
    if {*setting} != {*FIELDS} or not all(like):
        raise ValueError(
            f"a run's setting must have {FIELDS}, whole numbers and the name of an "
            f"activation, got {run['setting']}"
        )
    for name in (*LISTS, "zero"):
        if not values.like(run[name], 1.0 if name == "zero" else (1.0,)):
            raise ValueError(f"{name} of a run must be of numbers, got {run[name]!r}")
    rows = {name: np.asarray(run[name], float) for name in LISTS}
    if not (np.diff(rows["steps"]) > 0).all():
        raise ValueError(f"the steps of a run must rise, got steps = {run['steps']}")
    for name, row in rows.items():
        if row.shape != rows["steps"].shape or not np.isfinite(row).all():
            raise ValueError(
                f"a run must have a finite number for each of its {rows['steps'].size} "
                f"steps, got {name} = {run[name]}"
            )
    _check_fit(run, rows)
    return rows


def _check_fit(run, rows):
    """Refuses a run of which no rate can be fitted, or no bound judged."""
    if not math.isfinite(run["zero"]):
        raise ValueError(f"zero of a run must be finite, got zero = {run['zero']}")
    if len(rows["steps"]) < 3:
        raise ValueError(
            "a run must have three checkpoints at least, for a rate to be fitted, got "
            f"steps = {run['steps']}"
        )
    if rows["steps"][0] != 0:
        raise ValueError(
            "a run must begin before training, whose loss the bound starts from, got "
            f"steps = {run['steps']}"
        )
    if not rows["dense"][0] > 0:
        raise ValueError(
            "a run must begin with a loss above 0, got dense = "
            f"{rows['dense'][0]:g} before training"
        )


def _fitted(run) -> Rate:
    """Returns the rate of a run's tail."""
    rows = _columns(run)
    last = rates.tail(rows["dense"])
    return rates.fitted(rows["steps"][last], rows["dense"][last])


def _parser():
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=form, allow_abbrev=False
    )
    for name in Setting._fields:
        kind = str if name == "activation" else int
        parser.add_argument(f"--{name}", type=kind, help="by default the run's")
    parser.add_argument("--optimizer", choices=("sgd", "gd"), default="sgd")
    parser.add_argument("--constant", type=float, help="c; by default 1")
    parser.add_argument("--rate", type=float, help="rho, in place of c")
    parser.add_argument("--learning_rate", type=float, help="c is proportional to it")
    parser.add_argument("--run", type=pathlib.Path, help="the JSON of a run")
    parser.add_argument("--anyway", action="store_true")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the bound of the flags; what is wrong ends it with one sentence."""
    options = _parser().parse_args(arguments)
    try:
        command_line.check_once(sys.argv[1:] if arguments is None else arguments)
        print("\n".join(_parts(options)))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


def _parts(options):
    """Returns the texts to print."""
    run = _read(options.run) if options.run else None
    if run is not None:
        _columns(run)
    setting = _setting(options, run["setting"] if run else {})
    (pretraining_bound.check_range if options.anyway else pretraining_bound.check)(
        setting
    )
    constant, origin = _constant(setting, options, run)
    parts = [report(setting, options.optimizer, constant, origin)]
    rate = options.learning_rate
    if rate is not None and not 0 < rate < math.inf:
        raise ValueError(
            f"learning_rate must be positive, and finite, got learning_rate = {rate}"
        )
    if rate is not None and origin is ASSUMED:
        parts.append(
            f"the learning rate {rate:g} is not read: it divides a c that is known, by "
            "--constant, --rate or --run"
        )
    elif rate is not None:
        parts.append(f"c by the learning rate {rate:g}: {constant / rate:.4g}")
    return [*parts, measured(setting, run)] if run else parts


def _setting(options, known):
    """Returns the setting of the flags, and what is known where they are not given."""
    found = {"activation": "relu"} | known
    given = {name: getattr(options, name) for name in Setting._fields}
    found |= {name: value for name, value in given.items() if value is not None}
    absent = [f"--{name}" for name in Setting._fields if name not in found]
    if absent:
        raise ValueError(
            f"the setting must be given, by flags or a --run, got no {' '.join(absent)}"
        )
    return Setting(**found)


def _constant(setting, options, run):
    """Returns (c, where it is from)."""
    if options.rate is not None and options.constant is not None:
        raise ValueError("one of --constant and --rate must be given, got both")
    if options.constant is not None:
        return options.constant, "given"
    rho, origin = options.rate, f"from rho = {options.rate}"
    if rho is None and run is None:
        return 1.0, ASSUMED
    if rho is None:
        rho = _fitted(run).rho
        origin = f"implied by the run's rho = {rho:.6f}"
    return pretraining_bound.implied_constant(setting, options.optimizer, rho), origin


if __name__ == "__main__":
    main()
