"""How much: a schedule over levels becomes integer counts of kept weights."""

import re
from collections.abc import Mapping, Sequence

from lthjax.pruning import kept_count

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
    """
    if levels < 0:
        raise ValueError(f"levels must be at least 0, got levels = {levels}")
    rates = _rates(sizes, rate, layer_rates or {})
    if scope == "global" and not layer_rates:
        total = sum(sizes.values())
        return [round(total * (1 - rate) ** level) for level in range(1, levels + 1)]
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
    """
    for before, after in zip([0.0, *sparsities], sparsities, strict=False):
        if after < before:
            raise ValueError(
                "sparsities must not fall from level to level, got "
                f"sparsities = {tuple(sparsities)}"
            )
    if scope == "global":
        return [kept_count(sum(sizes.values()), s) for s in sparsities]
    return [[kept_count(n, s) for n in sizes.values()] for s in sparsities]


def _rates(sizes, rate, layer_rates):
    """Returns {name: rate} with the exceptions put in."""
    for name, value in {"rate": rate, **layer_rates}.items():
        if not 0 < value < 1:
            raise ValueError(f"rate must be in (0, 1), got {name} = {value}")
    for pattern in layer_rates:
        if not any(re.search(pattern, n) for n in sizes):
            raise ValueError(
                "every pattern of layer_rates must match a prunable layer, got "
                f"{pattern!r}; the layers are {', '.join(sizes)}"
            )
    rates = dict.fromkeys(sizes, rate)
    for pattern, other in layer_rates.items():
        rates |= {n: other for n in sizes if re.search(pattern, n)}
    return rates
