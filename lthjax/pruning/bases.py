"""What a coefficient is: weights in another basis, leaf by leaf, as pure functions.

    z = T(w),  w = S(z),  S = T^-1

A mask, a score and an optimizer that are handed z know of nothing else; the forward
pass is handed `S(where(mask, z, 0))`. T and S are linear, and z has the shape of w.
Those of `basis_names` are orthonormal: there with all coefficients kept SGD, with
momentum and decay too, is that of the weights; Adam, which goes by coordinates, is not.

References:
  Alabdulmohsin et al., 2021, arXiv:2107.06825: sparsity in any basis of the parameters.
  Only its abstract was at hand; which bases, and of which axes, is our choice.
"""

import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lthjax import values
from lthjax.pruning import masks as masks_lib
from lthjax.pruning import views as views_lib
from lthjax.pruning.masks import Masks, Params
from lthjax.pruning.views import View


class Basis(NamedTuple):
    """What a coefficient of one leaf is.

    Attributes:
      init: (key, leaf, trained leaf or `None`) -> arrays by name, {} of a fixed
        transform. A basis that is learnt changes nothing before there is what it is
        learnt from.
      to_basis: (leaf, arrays) -> coefficients of its shape.
      from_basis: (coefficients, arrays) -> the leaf.
      stored: mask -> numbers that are kept beside the coefficients.
      operations: Multiplications and additions of one `from_basis`.
      thin: Whether its arrays and the coefficients are two thin layers, `factorize`.
      said: What a user should know of it, "" for nothing.
    """

    init: Callable[[jax.Array, Any, Any], dict[str, jax.Array]]
    to_basis: Callable[[Any, Mapping[str, Any]], Any]
    from_basis: Callable[[Any, Mapping[str, Any]], Any]
    stored: Callable[[Any], int] = lambda mask: 0
    operations: int = 0
    thin: bool = False
    said: str = ""


class Leaf(NamedTuple):
    """What a basis is made for.

    Attributes:
      name: Of the leaf.
      shape: Its shape.
      view: Which of its axes are what.
      image_shape: (height, width, channels) of what the network reads.
    """

    name: str
    shape: tuple[int, ...]
    view: View
    image_shape: tuple[int, ...]


class BasisKind(NamedTuple):
    """A named basis.

    Attributes:
      make: Leaf -> Basis, which refuses a leaf that it does not fit.
      learnt: Whether it depends on trained weights.
      units: Whether it is pruned by whole rows or units, not by single coefficients.
    """

    make: Callable[[Leaf], Basis]
    learnt: bool = False
    units: bool = False


Bases = dict[str, Basis]  # by the name of a leaf
COLLECTION = "basis"  # of a model state, for arrays and what says of coefficients
IDENTITY = Basis(lambda key, leaf, trained: {}, lambda w, a: w, lambda z, a: z)


def choose(
    shapes: Params,
    rules: Sequence[tuple[str, BasisKind]],
    *,
    prunable: Sequence[str],
    image_shape: Sequence[int],
    views: views_lib.Views | None = None,
) -> Bases:
    """Returns {name: Basis} of the leaves that a rule finds; the last one counts.

    Args:
      shapes: The parameters, or their shapes.
      rules: (regular expression, BasisKind), of every prunable leaf in whose name it is
        found; a leaf that none finds is pruned weight by weight, and one without a
        weight stays as it is.
      prunable: Names of the leaves that have a mask; no other is transformed.
      image_shape: (height, width, channels) of what the network reads.
      views: Which axes of the leaves are what, as `views.of` says it.

    Raises:
      ValueError: A rule finds no prunable leaf or is no regular expression, or a basis
        does not fit a leaf.
    """
    sizes = masks_lib.by_name(shapes)
    found = {}
    for name, kind in named(rules, prunable).items():
        shape = tuple(sizes[name].shape)
        known = views_lib.one(name, shape, views)
        leaf = Leaf(name, shape, known, tuple(image_shape))
        found[name] = kind.make(leaf) if math.prod(shape) else IDENTITY
    return found


def named(rules: Sequence[tuple[str, Any]], prunable: Sequence[str]) -> dict[str, Any]:
    """Returns {name of a leaf: what its rule says}; the last rule counts.

    Args:
      rules: (regular expression, anything).
      prunable: As for `choose`.

    Raises:
      ValueError: A rule finds no prunable leaf, or is no regular expression.
    """
    found: dict[str, Any] = {}
    for pattern, kind in rules:
        values.check_expression("a rule of a basis", pattern)
        matched = [name for name in prunable if re.search(pattern, name)]
        if not matched:
            raise ValueError(
                f"every rule of a basis must find a prunable leaf, got {pattern!r}; "
                f"the prunable leaves are {', '.join(prunable)}"
            )
        found |= dict.fromkeys(matched, kind)
    return found


def init(key: jax.Array, params: Params, bases: Bases, trained: Any = None) -> dict:
    """Returns the arrays of every basis that has some, a tree by the leaves' names.

    Args:
      key: A JAX PRNG key, for what is drawn.
      params: The weights.
      bases: Of `choose`.
      trained: The weights that a basis is learnt from, or `None`.
    """
    found: dict[str, Any] = {}
    learnt_from = {} if trained is None else masks_lib.by_name(trained)
    for number, (name, leaf) in enumerate(masks_lib.by_name(params).items()):
        basis, own = bases.get(name, IDENTITY), jax.random.fold_in(key, number)
        if arrays := basis.init(own, leaf, learnt_from.get(name)):
            _put(found, name.split("/"), arrays)
    return found


def _put(tree, path, value):
    """Puts a value into a tree of dicts, at a path."""
    *folders, last = path
    place = functools.reduce(lambda at, name: at.setdefault(name, {}), folders, tree)
    place[last] = value


def to_basis(params: Params, bases: Bases, arrays: Mapping[str, Any]) -> Params:
    """Returns the coefficients of weights; other leaves as they are.

    Args:
      params: The weights.
      bases: Of `choose`.
      arrays: Of `init`.
    """
    return _mapped(lambda basis, w, own: basis.to_basis(w, own), params, bases, arrays)


def from_basis(coefficients: Params, bases: Bases, arrays: Mapping[str, Any]) -> Params:
    """Returns the weights of coefficients; other leaves as they are.

    Args:
      coefficients: Of `to_basis`.
      bases: Of `choose`.
      arrays: Of `init`.
    """
    return _mapped(
        lambda basis, z, own: basis.from_basis(z, own), coefficients, bases, arrays
    )


def materialize(
    coefficients: Params, masks: Masks, bases: Bases, arrays: Mapping[str, Any]
) -> Params:
    """Returns plain weights, `S(where(mask, z, 0))`: what the network computes with.

    Args:
      coefficients: The coefficients, pruned or not.
      masks: Their masks.
      bases: Of `choose`.
      arrays: Of `init`.
    """
    return from_basis(masks_lib.apply(coefficients, masks), bases, arrays)


def factorize(
    coefficients: Any, mask: Any, arrays: Mapping[str, Any], view: View
) -> tuple[jax.Array, jax.Array]:
    """Returns two thin kernels of one leaf in `svd_rows`, which compute what it does.

        w = first @ second,  of the r rows that are kept

    Args:
      coefficients: Of the leaf, [..., out].
      mask: Of it, whole rows.
      arrays: Of its basis, {"outputs": [out, out]}.
      view: Which axes of the leaf are what; the outputs must come last.

    Returns:
      The leaf's own kernel with r outputs, [..., r], and a dense one, [r, out].

    Raises:
      ValueError: The outputs are not the one last axis.
    """
    if view.outputs != (len(coefficients.shape) - 1,) or view.copies:
        raise ValueError(
            "two thin layers are made of a leaf whose last axis are its outputs, got "
            f"outputs = {view.outputs} of shape {coefficients.shape}"
        )
    kept = jnp.any(mask, axis=tuple(range(mask.ndim - 1)))
    rows = jnp.flatnonzero(kept)
    first = jnp.where(mask, coefficients, 0)
    return first[..., rows], arrays["outputs"][rows].conj()


def _mapped(fn, params, bases, arrays):
    def one(path, leaf):
        name = masks_lib.path_name(path)
        if name not in bases:
            return leaf
        own: Any = arrays
        for part in name.split("/"):
            own = own.get(part, {})
        return fn(bases[name], leaf, own)

    return jax.tree_util.tree_map_with_path(one, params)
