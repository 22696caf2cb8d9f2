r"""How much pre-training the bound of greedy forward selection asks for.

    python -m lthjax.bound --examples=1000 --inputs=784 --width=5000 --picks=200 \
        [--optimizer=gd] [--constant=C | --rate=RHO | --run=run.json]

Prints the published threshold and what its formula really says, its errata, and, for a
run that `experiments/wolfe2021.py` recorded, what was measured beside it. Outside its
assumptions it refuses, and says which fails and by how much; `--anyway` prints the
numbers all the same, as what they are then: no consequence of the theorem.

References:
  Wolfe et al., 2021, arXiv:2108.00259, version 2, Theorems 2, 3 and 10.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Sequence

from lthjax import thresholds
from lthjax.thresholds import Setting

ERRATA = (
    "the threshold grows with the data: as m^2 log k for stochastic gradient descent, "
    "as m log k for gradient descent. It is not logarithmic in m, as the paper says.",
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
    steps = thresholds.threshold(setting, optimizer, constant=constant)
    epochs = steps / m if optimizer == "sgd" else steps
    doubled = thresholds.threshold(
        setting._replace(examples=2 * m), optimizer, constant=constant
    )
    lines = [
        f"m = {m:,} examples, d = {d:,} inputs, N = {n:,} neurons, k = {k:,} picks",
        f"c = {constant:.4g} ({origin}), optimizer {optimizer}",
        f"published threshold: {steps:,.4g} steps, {epochs:,.4g} epochs",
        f"twice the examples: {doubled / steps:.3f} times the steps; the width is not "
        "in the formula but through N d > m^2, the step size only through c",
        *(f"broken: {failure}" for failure in thresholds.broken(setting)),
        "what the formula does not say:",
        *(f"{number}. {text}" for number, text in enumerate(ERRATA, start=1)),
    ]
    return "\n".join(lines)


def measured(setting: Setting, run: dict) -> str:
    """Returns what a run measured beside the bound, checkpoint by checkpoint.

    Args:
      setting: The numbers of the run.
      run: {"steps", "dense", "first", "greedy", "diameter", "hull"}, a list each, the
        losses and D at every checkpoint, the first before training.

    Raises:
      ValueError: A list is missing, or the dense loss does not fall.
    """
    names = ("steps", "dense", "first", "greedy", "diameter", "hull")
    absent = [name for name in names if name not in run]
    if absent:
        raise ValueError(f"a run must have all of {names}, got none of {absent}")
    rate = thresholds.fitted(run["steps"], run["dense"])
    head = ("steps", "dense loss", "l(u_1)", "greedy loss", "bound", "hull", "D")
    lines = [
        f"rate fitted from {rate.points} checkpoints: the loss times {rate.rho:.6f} a "
        f"step, R^2 = {rate.fit:.3f}",
        " | ".join(f"{name:>11}" for name in head),
    ]
    for t, dense, first, greedy, width, hull in zip(
        *(run[name] for name in names), strict=True
    ):
        bound = thresholds.selection_bound(
            setting.picks, first=first, diameter=width, dense=dense
        )
        row = (t, dense, first, greedy, bound, hull, width)
        lines.append(" | ".join(f"{value:>11.4g}" for value in row))
    steps = thresholds.explicit_threshold(
        setting.picks,
        rate.rho,
        initial=run["dense"][0],
        first=run["first"][-1],
        diameter=run["diameter"][-1],
    )
    lines.append(f"threshold with these constants: {steps:,} steps")
    return "\n".join(lines)


def _parser():
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    for name in ("examples", "inputs", "width", "picks"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--activation", default="relu")
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
    names = ("examples", "inputs", "width", "picks", "activation")
    setting = Setting(*(getattr(options, name) for name in names))
    try:
        if not options.anyway:
            thresholds.check(setting)
        constant, origin = _constant(setting, options)
        print(report(setting, options.optimizer, constant, origin))
        if options.learning_rate:
            unit = constant / options.learning_rate
            print(f"c by the learning rate {options.learning_rate:g}: {unit:.4g}")
        if options.run:
            print(measured(setting, json.loads(options.run.read_text())))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


def _constant(setting, options):
    """Returns (c, where it is from)."""
    if options.rate is not None and options.constant is not None:
        raise ValueError("one of --constant and --rate must be given, got both")
    if options.rate is not None:
        found = thresholds.implied_constant(setting, options.optimizer, options.rate)
        return found, f"from rho = {options.rate}"
    if options.constant is not None:
        return options.constant, "given"
    return 1.0, "assumed: the paper gives none"


if __name__ == "__main__":
    main()
