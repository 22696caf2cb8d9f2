"""Which weight each number of an optimizer's state is of: by its path, or by growth."""

from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp

from lthjax.pruning.masks import Params

# States that hold their moments in other coordinates than the parameters'.
ROTATED = ("GaLoreState",)


def mirrors(
    inner: Any, state: Any, params: Params, *, apart: tuple[str, ...] = ()
) -> list[int | None]:
    """Returns which parameter each leaf of an optimizer state mirrors, by position.

    A leaf mirrors the parameter whose path its own ends with, if its last axes are the
    parameter's; else, as in a list of averages, the one with which these axes grow. It
    is -1 if it is all of them in one vector (`optax.flatten`), `None` if it mirrors
    none.

    Args:
      inner: The optimizer.
      state: Its state.
      params: The parameters, or their shapes.
      apart: Names of types of states that are taken to mirror nothing.

    Raises:
      ValueError: Leaves have the shapes of all parameters, and neither their paths nor
        the state of larger parameters says whether they mirror them.
    """
    apart = (*apart, *ROTATED)

    def hidden(node):
        return type(node).__name__ in apart

    rows = jax.tree_util.tree_leaves_with_path(params)
    index = {tuple(path): i for i, (path, _) in enumerate(rows)}
    shapes = [jnp.shape(w) for _, w in rows]
    total = sum(w.size for _, w in rows)
    found: list[int | None] = []
    doubtful, lost = False, {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state, is_leaf=hidden):
        if hidden(leaf):
            found += [None] * len(jax.tree.leaves(leaf))
            continue
        at = _mirrored(path, leaf, index, shapes)
        if at is None and jnp.shape(leaf) == (total,):
            at = -1
        elif at is None and _may_mirror(leaf, shapes):
            lost[len(found)] = jax.tree_util.keystr(path), jnp.shape(leaf)
        doubtful |= at is not None and (at == -1 or not rows[at][0])
        found.append(at)
    if doubtful:
        grows = _growing(inner, params, len(found))
        sure = [at is None or (at >= 0 and rows[at][0]) for at in found]
        found = [
            at if known or bigger else None
            for at, known, bigger in zip(found, sure, grows, strict=True)
        ]
    if lost:
        alike = _grown_alike(inner, params, len(found), lost)
        found = [alike.get(i, at) for i, at in enumerate(found)]
    return found


def _mirrored(path, leaf, index, shapes):
    """Returns the position of the parameter with the longest path that fits, if any."""
    if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
        return None
    for start in range(len(path) + 1):
        at = index.get(tuple(path[start:]))
        if at is not None:
            shape, own = shapes[at], jnp.shape(leaf)
            scalar = not shape and not path[start:]
            return at if own[len(own) - len(shape) :] == shape and not scalar else None
    return None


def _may_mirror(leaf, shapes):
    """Returns whether the last axes of a leaf of numbers are those of a parameter."""
    own = jnp.shape(leaf)
    alike = any(shape and own[len(own) - len(shape) :] == shape for shape in shapes)
    return alike and jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


def _growing(inner, params, count):
    """Says of every leaf of a state whether it grows with the parameters."""
    own = [tuple(w.shape) for w in jax.tree.leaves(params)]
    larger = [tuple(n + 1 for n in shape) for shape in own]
    pair = [_state_shapes(inner, params, shapes) for shapes in (own, larger)]
    if {len(shapes) for shapes in pair} != {count}:
        return [True] * count
    return [a != b for a, b in zip(*pair, strict=True)]


def _grown_alike(inner, params, count, lost):
    """Returns {place: the parameter with which the last axes of a leaf grow, or none}.

    Of the axes of one size each grows by another number, so that two parameters of one
    shape, and the two axes of a square, are told apart. Where the state of larger
    parameters is not to be had, leaves that cannot be a copy of all parameters are of
    none.

    Args:
      inner: The optimizer.
      params: The parameters.
      count: How many leaves the state has.
      lost: {place: (path, shape)} of the leaves that are asked for.
    """
    own = [tuple(w.shape) for w in jax.tree.leaves(params)]
    seen: Counter[int] = Counter()
    larger = [tuple(_more(n, seen) for n in shape) for shape in own]
    try:
        pair = [_state_shapes(inner, params, shapes) for shapes in (own, larger)]
        reason = None
    except Exception as error:  # a user's own, which may ask more of its parameters
        pair, reason = [], error
    if {len(shapes) for shapes in pair} != {count}:
        if _are_all([shape for _, shape in lost.values()], own):
            raise ValueError(_unknown(lost)) from reason
        return {}
    places = list(zip(own, larger, strict=True))

    def alike(before, after):
        for at, (shape, bigger) in enumerate(places):
            lead = before[: len(before) - len(shape)]
            if shape and (before, after) == (lead + shape, lead + bigger):
                return at
        return None

    return {place: alike(*(shapes[place] for shapes in pair)) for place in lost}


def _are_all(found, shapes):
    """Returns whether leaves of such shapes can be a copy of all parameters."""
    wanted = Counter(shape for shape in shapes if shape)
    return all(
        sum(own[len(own) - len(shape) :] == shape for own in found) >= number
        for shape, number in wanted.items()
    )


def _more(size, seen):
    seen[size] += 1
    return size + seen[size]


def _unknown(lost):
    places = ", state".join(path for path, _ in lost.values())
    return (
        "it must be known which leaves of an optimizer's state mirror a parameter, got "
        f"state{places} of the shape of one and without its path, and an init that "
        "does not take larger parameters alike; hold what is of a weight in a tree "
        "like the parameters, jax.tree.map(fn, params), and what is of none in "
        "another shape"
    )


def _state_shapes(inner, params, shapes):
    """Returns the shapes of the state's leaves for parameters of such shapes."""
    leaves, treedef = jax.tree.flatten(params)
    rows = zip(leaves, shapes, strict=True)
    given = [jax.ShapeDtypeStruct(shape, w.dtype) for w, shape in rows]
    state = jax.eval_shape(inner.init, jax.tree.unflatten(treedef, given))
    return [leaf.shape for leaf in jax.tree.leaves(state)]
