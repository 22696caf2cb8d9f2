"""How much: schedules and distributions over layers become counts of kept weights."""

import math
import operator
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction

from lthjax import values
from lthjax.pruning import views as views_lib
from lthjax.pruning.kept_counts import kept_count
from lthjax.pruning.views import Views

Target = int | list[int]


def by_rate(
    sizes: Mapping[str, int],
    rate: float,
    levels: int,
    *,
    scope: str = "global",
    layer_rates: Mapping[str, float] | None = None,
) -> list[Target]:
    """Returns what the levels 1 ... `levels` keep: `round(N (1 - rate)^level)`.

    Each target is computed from N and the level, never from a running count.

    Args:
      sizes: {name: number of weights} of the prunable layers.
      rate: The fraction of what is left that a level removes, in (0, 1).
      levels: How many prunings there are.
      scope: "global": one count for all weights; "layer": one for each layer.
      layer_rates: {regular expression: rate} of the layers that are pruned at another
        rate, searched in the names; implies scope "layer".

    Raises:
      ValueError: A rate is outside (0, 1), `levels` is negative, or a pattern finds no
        layer.

    Example:
      >>> lth.sparsities.by_rate({"first": 100, "second": 50}, 0.2, levels=3)
      [120, 96, 77]
      >>> lth.sparsities.by_rate({"first": 100, "second": 50}, 0.2, 2, scope="layer")
      [[80, 40], [64, 32]]
    """
    _check_scope(scope)
    levels = values.whole("levels", levels, 0)
    sizes = _counted(sizes)
    rates = _rates(sizes, rate, layer_rates or {})
    if scope == "global" and not layer_rates:
        total = sum(sizes.values())
        return [
            round(total * (1 - float(rate)) ** level) for level in range(1, levels + 1)
        ]
    return [
        [round(size * (1 - rates[n]) ** level) for n, size in sizes.items()]
        for level in range(1, levels + 1)
    ]


def by_list(
    sizes: Mapping[str, int], sparsities: Sequence[float], *, scope: str = "global"
) -> list[Target]:
    """Returns what is kept at each of a list of sparsities: `round(N (1 - sparsity))`.

    Raises:
      ValueError: A sparsity is outside [0, 1), or lower than the one before it.

    Example:
      >>> lth.sparsities.by_list({"first": 100, "second": 50}, [0.5, 0.9])
      [75, 15]
    """
    _check_scope(scope)
    for before, after in zip([0.0, *sparsities], sparsities, strict=False):
        if after < before:
            raise ValueError(
                "sparsities must not fall from level to level, got "
                f"sparsities = {tuple(sparsities)}"
            )
    sizes = _counted(sizes)
    if scope == "global":
        return [kept_count(sum(sizes.values()), s) for s in sparsities]
    return [[kept_count(n, s) for n in sizes.values()] for s in sparsities]


def _counted(sizes):
    """Returns sizes as Python's integers, which do not overflow."""
    return {name: operator.index(size) for name, size in sizes.items()}


def _check_scope(scope):
    if scope not in ("global", "layer"):
        raise ValueError(f"scope must be 'global' or 'layer', got scope = {scope!r}")


def exponential(total: int, kept: int, rounds: int) -> list[int]:
    """Returns what is kept after each round, the same fraction going in each.

        counts[e - 1] = round(total (kept / total)^(e / rounds)),  e = 1 ... rounds

    Args:
      total: The number of prunable weights.
      kept: How many of them the last round leaves, exactly.
      rounds: The number of rounds, at least 1.

    Raises:
      ValueError: `kept` is outside [0, total], or there is no round.

    Example:
      >>> lth.sparsities.exponential(1000, 10, rounds=4)
      [316, 100, 32, 10]

    References:
      Tanaka et al., 2020, arXiv:2006.05467, with 100 rounds.
    """
    total, kept, rounds = _check_rounds(total, kept, rounds)
    density = kept / total if total else 1.0
    counts = [round(total * density ** (e / rounds)) for e in range(1, rounds)]
    return [*counts, kept]


def linear(total: int, kept: int, rounds: int) -> list[int]:
    """Returns what is kept after each round, the same number going in each.

        counts[e - 1] = total - round((total - kept) e / rounds),  e = 1 ... rounds

    Halves are rounded to the even number of those that have gone.

    Args:
      total: The number of prunable weights.
      kept: How many of them the last round leaves, exactly.
      rounds: The number of rounds, at least 1.

    Raises:
      ValueError: `kept` is outside [0, total], or there is no round.

    Example:
      >>> lth.sparsities.linear(1000, 10, rounds=3)
      [670, 340, 10]
    """
    total, kept, rounds = _check_rounds(total, kept, rounds)
    gone = total - kept
    return [total - round(Fraction(gone * e, rounds)) for e in range(1, rounds + 1)]


def uniform(sizes: Mapping[str, int], kept: int) -> list[int]:
    """Returns counts by layer of one density for all, `kept` in all.

        counts[l] ~ kept * sizes[l] / sum(sizes)

    rounded down or up, the largest remainders up, the first layer on a tie.

    Args:
      sizes: {name: number of weights} of the prunable layers.
      kept: How many weights stay.

    Raises:
      ValueError: `kept` is outside [0, total].

    Example:
      >>> lth.sparsities.uniform({"first": 100, "second": 50}, 31)
      [21, 10]

    References:
      Evci et al., 2020, arXiv:1911.11134, leave the first layer dense: exclude it from
      the masks for that.
    """
    numbers = list(_counted(sizes).values())
    total = sum(numbers)
    kept = _check_kept(total, kept)
    return _rounded([Fraction(kept * n, total or 1) for n in numbers], kept)


def erdos_renyi(
    shapes: Mapping[str, tuple[int, ...]],
    kept: int,
    *,
    kernel: bool = True,
    views: Views | None = None,
) -> list[int]:
    """Returns counts by layer whose densities follow the layers' shapes.

        density[l] = min(1, eps * sum(sides) / prod(sides))

    of sides (inputs, outputs, height, width): the query of an attention, [64, 4, 16],
    is a matrix of 64 x 64. Kernels that are stacked have the density of each one of
    them. eps is such that `kept` weights stay in all: where the largest density would
    exceed one, all layers that share it are dense, and eps is solved again for the
    rest, in rational numbers. Counts are rounded as in `uniform`, so that their sum is
    exact.

    Args:
      shapes: {name: shape} of the prunable layers.
      kept: How many weights stay.
      kernel: Whether height and width of a convolution are in sum and product (ERK), or
        the inputs and outputs only (ER).
      views: {name: which axes are what}, from `views.of`; of the others with two or
        four axes the last are inputs and outputs.

    Raises:
      ValueError: `kept` is outside [0, total], or nothing says what the axes of a layer
        are.

    Example:
      >>> lth.sparsities.erdos_renyi({"first": (10, 10), "second": (10, 100)}, 310)
      [48, 262]

    References:
      Mocanu et al., 2018, arXiv:1707.04780 (ER); Evci et al., 2020, arXiv:1911.11134
      (ERK). Departure: their code rounds down the zeros of each layer while it solves
      for eps, and keeps up to one weight a layer more than asked.
    """
    sizes = [math.prod(map(operator.index, shape)) for shape in shapes.values()]
    kept = _check_kept(sum(sizes), kept)
    sides = [_sides(*row, views, kernel) for row in shapes.items()]
    ratios = [Fraction(sum(side), math.prod(side) or 1) for side in sides]
    return _rounded(_capped(sizes, ratios, kept), kept)


def _sides(name, shape, views, kernel):
    """Returns (inputs, outputs), and the window's sides where they count."""
    view = views_lib.one(name, shape, views)
    window = [shape[axis] for axis in view.space] if kernel else []
    return [*views_lib.sizes(shape, view)[-2:], *window]


def _capped(sizes, ratios, kept):
    """Returns min(1, eps * ratio) * size of every layer, `kept` in all."""
    open_layers = {i for i, size in enumerate(sizes) if size}
    counts = [Fraction(size) for size in sizes]
    while open_layers:
        room = kept - sum(n for i, n in enumerate(sizes) if i not in open_layers)
        eps = Fraction(room) / sum(ratios[i] * sizes[i] for i in open_layers)
        largest = max(ratios[i] for i in open_layers)
        if eps * largest <= 1:
            return [
                eps * ratios[i] * n if i in open_layers else n
                for i, n in enumerate(counts)
            ]
        open_layers = {i for i in open_layers if ratios[i] < largest}
    return counts


def _rounded(ideal, kept):
    """Rounds fractions to integers of sum `kept`, the largest remainders up."""
    counts = [math.floor(x) for x in ideal]
    order = sorted(range(len(ideal)), key=lambda i: counts[i] - ideal[i])
    for i in order[: kept - sum(counts)]:
        counts[i] += 1
    return counts


def _check_kept(total, kept):
    """Returns `kept` as an int of Python, whose products do not overflow."""
    kept = values.whole("kept", kept)
    if not 0 <= kept <= total:
        raise ValueError(f"kept must be in [0, {total}], got kept = {kept}")
    return kept


def _check_rounds(total, kept, rounds):
    total, rounds = values.whole("total", total), values.whole("rounds", rounds)
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got rounds = {rounds}")
    return total, _check_kept(total, kept), rounds


def _rates(sizes, rate, layer_rates):
    """Returns {name: rate} with the exceptions put in."""
    for name, value in {"rate": rate, **layer_rates}.items():
        if not 0 < value < 1:
            raise ValueError(f"rate must be in (0, 1), got {name} = {value}")
    for pattern in layer_rates:
        values.check_expression("a pattern of layer_rates", pattern)
        if not any(re.search(pattern, n) for n in sizes):
            raise ValueError(
                "every pattern of layer_rates must match a prunable layer, got "
                f"{pattern!r}; the layers are {', '.join(sizes)}"
            )
    rates = dict.fromkeys(sizes, float(rate))
    for pattern, other in layer_rates.items():
        rates |= {n: float(other) for n in sizes if re.search(pattern, n)}
    return rates
