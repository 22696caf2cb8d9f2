"""The published threshold of pre-training, and its bound.

References:
  Wolfe et al., 2021, arXiv:2108.00259, version 2, Theorems 2, 3 and 10. Departures:
  where the paper's proof leaves a gap the rigorous form is the default;
  `lthjax.bound` prints the list.
"""

import math
from typing import NamedTuple

from lthjax import registry, values


class Setting(NamedTuple):
    """The numbers that the theorem is about.

    Attributes:
      examples: m.
      inputs: d.
      width: N, the neurons of the dense network.
      picks: k, the neurons that selection takes.
      activation: A name in `SMOOTH`, or your own as "package.module:name".
    """

    examples: int
    inputs: int
    width: int
    picks: int
    activation: str = "relu"


def broken(setting: Setting) -> list[str]:
    """Returns the theorem's assumptions that do not hold, with by how much.

    Raises:
      ValueError: The activation is unknown.
    """
    m, d, n, _, activation = setting
    own, found = ":" in activation, []  # of one's own nothing is known, nor imported
    smooth = None if own else registry.resolve(activation, SMOOTH, "activation")
    if not n * d > m**2:
        found.append(
            f"N d > m^2: the width must exceed m^2 / d = {m**2 / d:,.0f}, got N = {n:,}"
            f" ({m**2 / (n * d):.3g} times too small)"
        )
    if not m > d:
        found.append(
            f"m > d: there must be more than {d:,} examples, got m = {m:,} "
            f"({d / m:.3g} times too few)"
        )
    if smooth is False:
        found.append(
            f"|activation''| <= delta: {activation} has a kink, where its second "
            "derivative is unbounded (the paper's own experiments use relu all the "
            "same)"
        )
    return found


def assumed(setting: Setting) -> list[str]:
    """Returns the theorem's assumptions that the numbers cannot show to hold."""
    found = ["inputs of unit length", "standard normal weights at the start"]
    own = f"two bounded derivatives of {setting.activation}"
    return found if setting.activation in SMOOTH else [*found, own]


def check_range(setting: Setting) -> None:
    """Checks that the numbers make sense, inside the theorem's assumptions or not.

    Raises:
      ValueError: One is no whole number, or too small for any formula.
    """
    least = {"examples": 1, "inputs": 1, "width": 1, "picks": 2}
    for name, low in least.items():
        number = values.whole(name, getattr(setting, name))
        if number < low:
            why = ", for log k > 0" if name == "picks" else ""
            raise ValueError(
                f"{name} must be at least {low}{why}, got {name} = {number}"
            )


def check(setting: Setting) -> None:
    """Checks the assumptions of the theorem, all but those of `assumed`.

    Raises:
      ValueError: One does not hold, with by how much; or a number makes no sense.
    """
    check_range(setting)
    failing = broken(setting)
    if failing:
        raise ValueError(
            "the bound must be used inside its assumptions, got these broken: "
            + "; ".join(failing)
            + "; with --anyway the numbers are printed, and follow from no theorem"
        )


def contraction(setting: Setting, optimizer: str, constant: float = 1.0) -> float:
    """Returns rho, what a step multiplies the squared residual by, of a constant c.

        gd:  (1 - c d / m)^2        sgd, one example a step:  1 - c d / m^2

    Args:
      setting: m and d.
      optimizer: "gd" or "sgd".
      constant: c.

    Raises:
      ValueError: c d is not below m (m^2): the factor would not be positive.
    """
    return math.exp(_log_contraction(setting, optimizer, constant))


def _log_contraction(setting, optimizer, constant):
    """Returns log(rho), also where rho is as good as one."""
    _check_optimizer(optimizer)
    check_range(setting)
    m, d = setting.examples, setting.inputs
    share = constant * d / (m if optimizer == "gd" else m**2)
    if not 0 < share < 1:
        raise ValueError(
            "c d must be positive and below m for gradient descent, below m^2 for "
            f"stochastic, got c d = {constant * d:g} for m = {m}"
        )
    return (2 if optimizer == "gd" else 1) * math.log1p(-share)


def threshold(
    setting: Setting, optimizer: str = "sgd", *, constant: float = 1.0
) -> float:
    """Returns the published threshold, the O() of Theorem 3 or 10 taken as 1.

        sgd:  t >= log k / -log(1 - c d / m^2)      (about (m^2 / (c d)) log k)
        gd:   t >= log k / (-2 log(1 - c d / m))    (about (m / (2 c d)) log k)

    For gradient descent that is half of what is printed, log k / -log(1 - c d / m): the
    loss is a square, and contracts twice a step (`contraction`).

    Args:
      setting: m, d and k.
      optimizer: "sgd", one example a step, or "gd".
      constant: c, which the paper does not give. The step size is in it.

    Raises:
      ValueError: c d is too large for the formula.

    References:
      Wolfe et al., 2021, arXiv:2108.00259, Theorems 3 and 10. Departure: where c d
      reaches m (m^2) the formula has no value; it could be read as no step at all, and
      is refused instead.
    """
    log_rho = _log_contraction(setting, optimizer, constant)
    return math.log(setting.picks) / -log_rho


def explicit_threshold(
    picks: int,
    rho: float,
    *,
    initial: float,
    first: float,
    diameter: float,
    rigorous: bool = True,
    zeta: float = 1.0,
) -> int:
    """Returns the first step after which the dense term is no larger than the others.

        t = ceil(log((k - 1) zeta L / A) / -log(rho)),  at least 0,
        A = l(u_1) + D^2 (H_k - 1) / 2   (published: l(u_1) + D^2 / 2)

    Args:
      picks: k.
      rho: What a step multiplies the squared residual by.
      initial: L, the mean loss before training, mean residual^2 / 2.
      first: l(u_1), the loss of the best single neuron at the checkpoint.
      diameter: D there.
      rigorous: Whether A is the one that is proved.
      zeta: 1 over the probability of the theorem's event, which the paper leaves open.

    Raises:
      ValueError: rho is not in (0, 1); A is not positive: no step is enough then; L or
        zeta is not positive and finite; or k is no whole number of at least 1.
    """
    _check_rho(rho)
    rest = first + spread(picks, diameter, rigorous=rigorous)
    if not rest > 0:
        raise ValueError(
            "l(u_1) and D must leave something to compare the dense loss with, got "
            f"first = {first}, diameter = {diameter}"
        )
    for name, value in {"initial": initial, "zeta": zeta}.items():
        if not 0 < value < math.inf:
            raise ValueError(
                f"{name} must be positive and finite, got {name} = {value}"
            )
    ratio = (picks - 1) * zeta * initial / rest
    return max(0, math.ceil(math.log(ratio) / -math.log(rho))) if ratio > 0 else 0


def spread(picks: int, diameter: float, *, rigorous: bool = True) -> float:
    """Returns D^2 (H_k - 1) / 2, or D^2 / 2 as published; over k it is in the bound.

    Raises:
      ValueError: There is no pick, or k is no whole number.
    """
    picks = values.whole("picks", picks, 1)
    harmonic = sum(1 / i for i in range(1, picks + 1))
    return diameter**2 / 2 * (harmonic - 1 if rigorous else 1)


def selection_bound(
    picks: int, *, first: float, diameter: float, dense: float, rigorous: bool = True
) -> float:
    """Returns the bound on the loss after k greedy picks, with uniform weights.

        l(u_k) <= L + (l(u_1) - L + D^2 (H_k - 1) / 2) / k

    Args:
      picks: k.
      first: l(u_1), the loss of the first pick alone.
      diameter: D of the hull of the neurons' answers.
      dense: L, the loss of the dense network or of any other point of the hull.
      rigorous: Else the published form, D^2 / 2 without the harmonic number.

    Raises:
      ValueError: There is no pick, or k is no whole number.

    References:
      Wolfe et al., 2021, arXiv:2108.00259, Lemma 1. Departure: its proof of the
      published form loses the harmonic number on the way.
    """
    rest = spread(picks, diameter, rigorous=rigorous)
    return dense + (first - dense + rest) / picks


def implied_constant(setting: Setting, optimizer: str, rho: float) -> float:
    """Returns the c that the theorem's form of rho has: the inverse of `contraction`.

    Raises:
      ValueError: rho is not in (0, 1).
    """
    _check_rho(rho)
    _check_optimizer(optimizer)
    m, d = setting.examples, setting.inputs
    if optimizer == "gd":
        return (1 - math.sqrt(rho)) * m / d
    return (1 - rho) * m**2 / d


def _check_rho(rho):
    if not 0 < rho < 1:
        raise ValueError(f"rho must be in (0, 1), got rho = {rho}")


def _check_optimizer(optimizer):
    if optimizer not in ("sgd", "gd"):
        raise ValueError(
            "optimizer must be 'sgd' (one example a step) or 'gd' (all of them), got "
            f"optimizer = {optimizer!r}"
        )


# Whether an activation has two bounded derivatives, by its name in `jax.nn`.
SMOOTH = {
    "relu": False,
    "relu6": False,
    "leaky_relu": False,
    "selu": False,
    "hard_tanh": False,
    "hard_sigmoid": False,
    "sigmoid": True,
    "tanh": True,
    "softplus": True,
    "gelu": True,
    "silu": True,
    "mish": True,
}
