"""Of which leaves each element of a traced value is computed."""

import functools
import itertools
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

# Leaves that an element is computed from, with the shares of the cases: one, of share
# 1, but where an index that the program does not tell has picked the element.
Kind = frozenset[tuple[frozenset, float]]

CONSTANT: Kind = frozenset({(frozenset(), 1.0)})
MANY = 32  # sets of leaves that a loop may carry, before they are made one


class Origin(NamedTuple):
    """Where the elements of a value come from.

    Attributes:
      ids: Which of the kinds an element is, of the value's shape.
      kinds: The kinds.
    """

    ids: np.ndarray
    kinds: tuple[Kind, ...]


def uniform(kind: Kind, shape: Sequence[int]) -> Origin:
    """Returns the origin of a value all of whose elements are of one kind."""
    return Origin(np.broadcast_to(np.int32(0), tuple(shape)), (kind,))


def leaf(name: Hashable, shape: Sequence[int]) -> Origin:
    """Returns the origin of a leaf: itself."""
    return uniform(frozenset({(frozenset({name}), 1.0)}), shape)


def cases(origin: Origin) -> list[tuple[frozenset, float]]:
    """Returns (leaves that it is computed from, share) of the elements of a value."""
    if len(origin.kinds) == 1:
        return sorted(origin.kinds[0], key=repr)
    numbers = np.bincount(origin.ids.ravel(), minlength=len(origin.kinds))
    rows = zip(origin.kinds, numbers / origin.ids.size, strict=True)
    return [
        (leaves, share * part)
        for kind, part in rows
        for leaves, share in sorted(kind, key=repr)
    ]


def followed(equation: Any, given: Sequence[Origin]) -> list[Origin]:
    """Returns the origins of an equation's results from those of its operands.

    Exact for what moves elements about, for reductions and for what is done element by
    element; elsewhere every element is taken to come from all.
    """
    kind, params = equation.primitive.name, equation.params
    shapes = [variable.aval.shape for variable in equation.outvars]
    kinds = {kind for origin in given for kind in origin.kinds}
    if len(kinds) <= 1:
        (one,) = kinds or {CONSTANT}
        return [uniform(one, shape) for shape in shapes]
    if kind in MOVES:
        ids, known = _aligned(given)
        moved = MOVES[kind](ids, params, shapes)
        return [_compact(found, known.__getitem__) for found in moved]
    if kind.startswith("reduce_") and "axes" in params:
        return [_over(_join(given), params["axes"], union)] * len(shapes)
    if kind in PUTS and (kind == "scatter-add") <= (given[0].kinds == (CONSTANT,)):
        return [_put(given[0], given[PUTS[kind]])]
    if kind in PICKS:
        picked = _over(given[0], range(given[0].ids.ndim), average)
        return [uniform(picked.kinds[0], shape) for shape in shapes]
    if kind not in MIXES and all(_fits(origin, shapes[0]) for origin in given):
        found = _join(given)
        return [found._replace(ids=np.broadcast_to(found.ids, s)) for s in shapes]
    return [uniform(union(sorted(kinds, key=repr)), shape) for shape in shapes]


def either(given: Sequence[Origin]) -> Origin:
    """Returns the origin of what may be any of several values of one shape."""
    if all(_same(given[0], other) for other in given[1:]):
        return given[0]
    found = (kind for origin in given for kind in origin.kinds)
    leaves = frozenset().union(*(leaves for kind in found for leaves, _ in kind))
    return uniform(frozenset({(leaves, 1.0)}), given[0].ids.shape)


def carried(carry: Origin, found: Origin) -> Origin:
    """Returns the origin of what is one value in a loop's first turn, another later.

    The leaves of the later turns in their shares, and of the first one's what they
    lack; what is computed from fewer of the same leaves is left out.

    Args:
      carry: The origin at a turn's beginning.
      found: That at its end.

    Returns:
      `carry` itself, where that is all that it can be; else one whose sets of leaves
      hold all that those of both do, and more than those of `carry`, so that a loop
      comes to an end with it.
    """
    if _same(carry, found):
        return carry
    first, later = _summed(cases(carry)), _summed(cases(found))
    largest = _largest({**first, **later})
    if len(carry.kinds) == 1 and largest == first.keys():
        return carry
    shares = {leaves: later.get(leaves, first.get(leaves)) for leaves in largest}
    if len(shares) > MANY:
        shares = {frozenset().union(*shares): 1.0}
    whole = sum(shares.values())
    kind = frozenset((leaves, share / whole) for leaves, share in shares.items())
    return uniform(kind, carry.ids.shape)


def _largest(sets):
    """Returns those sets that are inside no other one."""
    return {one for one in sets if not any(one < other for other in sets)}


def turn(origin: Origin) -> Origin:
    """Returns the origin of a slice of the first axis, any one of them."""
    return _over(origin, (0,), average)


def stacked(origin: Origin, length: int) -> Origin:
    """Returns the origin of `length` values of one origin on a new first axis."""
    return origin._replace(ids=np.broadcast_to(origin.ids, (length, *origin.ids.shape)))


def union(kinds: Sequence[Kind]) -> Kind:
    """Returns the kind of what is computed from one element of each kind."""
    total: dict[frozenset, float] = {frozenset(): 1.0}
    for kind in dict.fromkeys(kinds):
        cases = itertools.product(total.items(), kind)
        total = _summed((a | b, p * q) for (a, p), (b, q) in cases)
    return frozenset(total.items())


def average(kinds: Sequence[Kind]) -> Kind:
    """Returns the kind of what is one element, of any of these kinds."""
    cases = ((leaves, p / len(kinds)) for kind in kinds for leaves, p in kind)
    return frozenset(_summed(cases).items())


def _summed(cases):
    total = {}
    for leaves, share in cases:
        total[leaves] = total.get(leaves, 0.0) + share
    return {leaves: share for leaves, share in total.items() if share}


def _same(a, b):
    return a.kinds == b.kinds and np.array_equal(a.ids, b.ids)


def _fits(origin, shape):
    """Returns whether an operand goes element by element into a result."""
    own = origin.ids.shape
    sides = zip(own, shape, strict=False)
    return not own or (len(own) == len(shape) and all(a in (1, b) for a, b in sides))


def _aligned(given):
    """Returns the ids of several origins in one numbering, and its kinds."""
    known = tuple(dict.fromkeys(kind for origin in given for kind in origin.kinds))
    return [_renumbered(origin, known) for origin in given], known


def _renumbered(origin, known):
    numbers = np.int32([known.index(kind) for kind in origin.kinds])
    if len(numbers) == 1:
        return np.broadcast_to(numbers[0], origin.ids.shape)
    return numbers[origin.ids]


def _compact(ids, kind_of):
    """Returns the origin of ids, with the kinds only that an element is of."""
    used = np.flatnonzero(np.bincount(ids.ravel())) if ids.size else np.zeros(1, int)
    kinds = tuple(kind_of(int(i)) for i in used)
    if len(set(kinds)) == 1:
        return uniform(kinds[0], ids.shape)
    return Origin(np.searchsorted(used, ids).astype(np.int32), kinds)


def _put(into, update):
    """Returns the origin of a value in whose place, not known where, another is put.

    It is put where constants are, as far as there are any: matrices are filled so.
    """
    part = update.ids.size / into.ids.size
    before = _summed(cases(into))
    room = before.pop(frozenset(), 0.0)
    left = max(0.0, 1 - max(part, room)) / (1 - room) if room < 1 else 0.0
    rows = [(leaves, share * left) for leaves, share in before.items()]
    rows.append((frozenset(), max(0.0, room - part)))
    rows += [(leaves, share * part) for leaves, share in cases(update)]
    return uniform(frozenset(_summed(rows).items()), into.ids.shape)


def _join(given):
    """Returns the origin of what is computed element by element."""
    total = given[0]
    for other in given[1:]:
        shape = np.broadcast_shapes(total.ids.shape, other.ids.shape)
        if len(total.kinds) == len(other.kinds) == 1:
            total = uniform(union((*total.kinds, *other.kinds)), shape)
        else:
            ids = total.ids * len(other.kinds) + other.ids
            total = _compact(ids, functools.partial(_pair, total.kinds, other.kinds))
    return total


def _pair(kinds, others, i):
    """Returns the union of the two kinds that a number of a pair stands for."""
    return union((kinds[i // len(others)], others[i % len(others)]))


def _over(origin, axes, combine: Callable):
    """Returns an origin without some axes, the kinds along them made one."""
    axes = tuple(axes)
    rest = [axis for axis in range(origin.ids.ndim) if axis not in axes]
    shape = [origin.ids.shape[axis] for axis in rest]
    if len(origin.kinds) == 1:
        return uniform(origin.kinds[0], shape)
    rows = origin.ids.transpose(*rest, *axes).reshape(np.prod(shape, dtype=int), -1)
    columns, places = np.unique(rows, axis=0, return_inverse=True)
    kinds = [combine([origin.kinds[i] for i in column]) for column in columns]
    return _compact(places.reshape(shape), kinds.__getitem__)


def _slice(ids, params, shapes):
    del shapes
    rows = params["start_indices"], params["limit_indices"]
    steps = params["strides"] or (1,) * ids[0].ndim
    return [ids[0][tuple(map(slice, *rows, steps))]]


def _split(ids, params, shapes):
    del shapes
    ends = np.cumsum(params["sizes"])[:-1]
    return np.split(ids[0], ends, params["axis"])


def _pad(ids, params, shapes):
    """Pads by the kind of the value; a negative number of entries cuts."""
    found = np.full([_wide(n, row) for n, row in _sides(ids, params)], ids[1])
    places = tuple(
        slice(max(low, 0), max(low, 0) + (n - 1) * (inner + 1) + 1, inner + 1)
        for n, (low, _, inner) in _sides(ids, params)
    )
    found[places] = ids[0]
    cuts = [max(-low, 0) for _, (low, _, _) in _sides(ids, params)]
    return [found[tuple(slice(c, c + n) for c, n in zip(cuts, shapes[0], strict=True))]]


def _sides(ids, params):
    return zip(ids[0].shape, params["padding_config"], strict=True)


def _wide(n, row):
    low, high, inner = row
    return max(low, 0) + (n - 1) * (inner + 1) + 1 + max(high, 0)


def _broadcast(ids, params, shapes):
    shape = [1] * len(shapes[0])
    for axis, place in enumerate(params["broadcast_dimensions"]):
        shape[place] = ids[0].shape[axis]
    return [np.broadcast_to(ids[0].reshape(shape), shapes[0])]


# What only moves elements: (ids of the operands, parameters, shapes of the results).
MOVES: dict[str, Callable[[list, dict, list], list]] = {
    "reshape": lambda ids, params, shapes: [ids[0].reshape(shapes[0])],
    "squeeze": lambda ids, params, shapes: [ids[0].reshape(shapes[0])],
    "transpose": lambda ids, params, shapes: [ids[0].transpose(params["permutation"])],
    "rev": lambda ids, params, shapes: [np.flip(ids[0], params["dimensions"])],
    "concatenate": lambda ids, params, shapes: [
        np.concatenate(ids, params["dimension"])
    ],
    "stack": lambda ids, params, shapes: [np.stack(ids, params["axis"])],
    "unstack": lambda ids, params, shapes: list(np.moveaxis(ids[0], params["axis"], 0)),
    "tile": lambda ids, params, shapes: [np.tile(ids[0], params["reps"])],
    "slice": _slice,
    "split": _split,
    "pad": _pad,
    "broadcast_in_dim": _broadcast,
}
# What picks elements of its first operand by an index that the program does not tell.
PICKS = ("dynamic_slice", "gather")
# What puts an operand, that of the place, into its first one.
PUTS = {"dynamic_update_slice": 1, "scatter": 2, "scatter-add": 2}
# What has results of the operand's shape, whose elements come from many.
MIXES: tuple[str, ...] = ("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")
MIXES += ("sort", "fft")
MIXES += ("triangular_solve", "cholesky", "dot_general", "conv_general_dilated")
