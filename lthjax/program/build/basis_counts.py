"""What tickets of coefficients keep, and what a pass of their networks takes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lthjax.analysis import costs
from lthjax.program.build import basis_rules, network
from lthjax.program.build.parts import Ground
from lthjax.pruning import bases as bases_lib
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.bases import Bases


def counts(ground: Ground) -> Callable[[Any, Any], dict]:
    """Returns (job, masks) -> what bases keep and cost, for the record of a ticket.

    "kept" is the number of coefficients. `basis_numbers` are kept beside them.
    Operations are of a forward pass over one image: `flops_materialised` of the weights
    that are not zero once they are computed, `flops_unmaterialised` with what computes
    them for that image, `flops_factorised` of two thin layers where there are any.

    Args:
      ground: Of coefficients.
    """
    if not ground.bases:
        return lambda job, masks: {}
    counted = of_networks(ground)
    return lambda job, masks: counted(job.ticket.level, job.ticket.model_state, masks)


def of_networks(ground: Ground) -> Callable[[int, Any, Any], dict]:
    """Returns (level, model_state, masks) -> the same of a network, or {} of weights.

    Args:
      ground: What the method is built on.
    """
    if not ground.bases:
        return lambda level, model_state, masks: {}
    used, of_trained = uses(ground), basis_rules.learnt(ground)

    def counted(level, model_state, masks):
        found = ground.bases
        if not level:  # nothing is learnt yet
            found = {n: basis for n, basis in found.items() if n not in of_trained}
        arrays = model_state[bases_lib.COLLECTION].get("arrays", {})
        return numbers(ground.shapes, masks, found, arrays, used)

    return counted


def uses(ground: Ground) -> dict[str, float]:
    """Returns how often a pass over one image uses each weight, by name.

    Args:
      ground: Of coefficients.
    """
    init = network.initialiser(ground.options, ground.facts)
    _, state = jax.eval_shape(init, jax.random.key(0))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), state)
    apply_fn, facts = network.applied(ground.module), ground.facts
    return costs.uses(
        lambda w, x: apply_fn(w, zeros, x, False)[0],
        ground.shapes,
        facts.image_shape,
        dtype=facts.dtype,
    )


def numbers(
    shapes: Any, masks: Any, found: Bases, arrays: Any, used: dict[str, float]
) -> dict:
    """Returns what is kept beside coefficients, and the operations of a pass.

    Args:
      shapes: Of all parameters.
      masks: Of the coefficients.
      found: The bases of their leaves.
      arrays: What they have drawn or learnt.
      used: How often a pass over one image uses each weight, by name.
    """
    kept, there = masks_lib.layers(masks), masks_lib.by_name(masks)
    weights = masks_lib.layers(_alive(masks, found, arrays))
    stored = {n: basis.stored(there[n]) for n, basis in found.items()}
    rest = [n for n in used if n not in weights]
    sizes = masks_lib.by_name(shapes)
    fixed = sum(used[n] * sizes[n].size for n in rest)
    materialised = 2 * (
        fixed + sum(used[n] * count for n, (count, _) in weights.items())
    )
    turning = sum(basis.operations for basis in found.values())
    row = {
        "basis_numbers": sum(stored.values()),
        "flops_materialised": materialised,
        "flops_unmaterialised": materialised + turning,
    }
    thin = [n for n, basis in found.items() if basis.thin]
    more = [used[n] * (kept[n][0] + stored[n] - weights[n][0]) for n in thin]
    more = [min(0, number) for number in more]  # one layer where two take more
    return row | ({"flops_factorised": materialised + 2 * sum(more)} if thin else {})


def _alive(masks, found, arrays):
    """Returns which weights are not zero, whatever the kept coefficients are."""
    rng = np.random.default_rng(0)
    drawn = jax.tree.map(
        lambda mask: jnp.where(mask, rng.standard_normal(mask.shape, np.float32), 0),
        masks,
    )
    weights = bases_lib.from_basis(drawn, found, arrays)
    return jax.tree.map(lambda w: w != 0, weights)
