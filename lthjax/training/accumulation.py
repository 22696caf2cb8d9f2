"""The gradient of a batch in parts, one after the other, for less memory."""

import jax
import jax.numpy as jnp
from jax import lax

from lthjax import values
from lthjax.callables import GradientFn
from lthjax.pruning import precision


def accumulated(value_and_grad: GradientFn, parts: int) -> GradientFn:
    """Returns the value and the gradient of a batch, as the means of those of parts.

    Of three parts one has every third example. So what the devices of a mesh axis have
    of it, each of its own rows, is together the part of the whole batch: batch norm is
    the same on any mesh. Parts are added up in float32 at least. What counts steps in
    the model state, a part of it with a method `held(before)`, is the same for all
    parts of a batch, and moves on once; batch norm moves with each.

    Args:
      value_and_grad: What `jax.value_and_grad` makes of an objective.
      parts: How many, which divide the batch.

    Raises:
      ValueError: They are no whole number of at least 1; in the function that is
        returned, they do not divide the batch.
    """
    parts = values.whole("parts", parts, 1)
    if parts == 1:
        return value_and_grad

    def accumulated(params, model_state, *batch):
        before = model_state
        _check_divided(batch, parts)

        def add(carry, part):
            sums, model_state = carry[0], _held(carry[1], before)
            (loss, model_state), grads = value_and_grad(params, model_state, *part)
            found = precision.widened((loss, grads))
            return (jax.tree.map(jnp.add, sums, found), model_state), None

        rows = jax.tree.map(lambda x: x.reshape(-1, parts, *x.shape[1:]), batch)
        cut = jax.tree.map(lambda x: x.swapaxes(0, 1), rows)
        zeros = jax.tree.map(jnp.zeros_like, params)
        none = jnp.zeros(()), precision.widened(zeros)
        (sums, model_state), _ = lax.scan(add, (none, model_state), cut)
        loss, grads = jax.tree.map(lambda x: x / parts, sums)
        return (loss, model_state), precision.as_of(grads, params)

    return accumulated


def _check_divided(batch, parts):
    sizes = sorted({jnp.shape(x)[:1] for x in jax.tree.leaves(batch)})
    if any(not size or size[0] % parts for size in sizes):
        found = ", ".join(str(*size) or "none" for size in sizes)
        raise ValueError(
            f"parts must divide a batch, got parts = {parts} with {found} examples on "
            "a device; give a divisor, or another batch"
        )


def _held(after, before):
    """Returns a model state, what counts steps in it as it was before."""

    def counts(node):
        return hasattr(node, "held")

    def back(node, was):
        return node.held(was) if counts(node) else node

    return jax.tree.map(back, after, before, is_leaf=counts)
