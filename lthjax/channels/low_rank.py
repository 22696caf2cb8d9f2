"""Layers in the basis of singular vectors as two thin ones, which compute the same."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from lthjax import models
from lthjax.channels import layers_of
from lthjax.devices import measure
from lthjax.interceptors import intercepted
from lthjax.pruning import bases as bases_lib
from lthjax.pruning import masks as masks_lib
from lthjax.pruning import views as views_lib
from lthjax.pruning.bases import Bases
from lthjax.pruning.masks import Masks, Params

FIRST, SECOND = "first", "second"  # of a layer's parameters, in place of "kernel"


def split(
    coefficients: Params,
    masks: Masks,
    bases: Bases,
    arrays: Mapping[str, Any],
    *,
    views: views_lib.Views | None = None,
) -> Params:
    """Returns parameters with two thin kernels in place of one, where that is fewer.

        kernel = first @ second,  [..., out] = [..., r] @ [r, out]

    Args:
      coefficients: The parameters.
      masks: Of them, whole rows of what is in `svd_rows`.
      bases: Of the leaves, by name.
      arrays: Of the bases.
      views: Which axes of the leaves are what.

    Returns:
      {"first", "second"} for a "kernel" that is thin and has fewer numbers so; plain
      weights elsewhere.

    Raises:
      ValueError: As `bases.factorize`.
    """
    found = bases_lib.materialize(coefficients, masks, bases, arrays)
    rows, kept = masks_lib.by_name(coefficients), masks_lib.by_name(masks)
    for name, basis in bases.items():
        place, _, leaf = name.rpartition("/")
        if not basis.thin or leaf != "kernel":
            continue
        own = functools.reduce(lambda tree, part: tree[part], name.split("/"), arrays)
        view = views_lib.one(name, rows[name].shape, views)
        pair = bases_lib.factorize(rows[name], kept[name], own, view)
        if sum(kernel.size for kernel in pair) < rows[name].size:
            found = _replaced(found, place, pair)
    return found


def _replaced(tree, place, pair, path=""):
    """Returns a tree of dicts with the kernel at a place replaced by two."""
    if path == place:
        rest = {name: leaf for name, leaf in tree.items() if name != "kernel"}
        return {**rest, FIRST: pair[0], SECOND: pair[1]}
    return {
        key: _replaced(below, place, pair, f"{path}/{key}" if path else key)
        if isinstance(below, Mapping)
        else below
        for key, below in tree.items()
    }


def apply(
    model: nn.Module, params: Params, model_state: dict, images: jax.Array, **mode: bool
) -> tuple[jax.Array, dict]:
    """Returns what `models.apply` does, of parameters that `split` has made.

    Args:
      model: The network, whose thin layers are flax's `Dense` and `Conv`.
      params: The parameters.
      model_state: The other collections of variables.
      images: [batch, ...].
      **mode: `train`, as for `models.apply`.

    Raises:
      ValueError: A layer of two kernels is of another kind, computes with another
        kernel than its own, or has groups of channels.
    """

    def thin(next_fn, args, kwargs, context):
        module = context.module
        own = _at(params, module.path) if context.method_name == "__call__" else {}
        if not all(hasattr(own.get(name), "shape") for name in (FIRST, SECOND)):
            return next_fn(*args, **kwargs)
        _check_plain(module)
        return _two(module, own, *args)

    with intercepted(thin):
        return models.apply(model, params, model_state, images, **mode)


def speed_up(
    model: nn.Module,
    networks: tuple[Params, Params],
    model_state: dict,
    images: jax.Array,
    *,
    rounds: int = 7,
    seconds: float = 0.5,
) -> np.ndarray:
    """Returns how many times faster thin layers answer a batch [rounds].

    Both are compiled, and run in turns.

    Args:
      model: The network.
      networks: Its plain parameters, and those that `split` has made.
      model_state: The other collections of variables.
      images: A batch.
      rounds: How many ratios.
      seconds: Of a turn, about.
    """

    def repeated(apply_fn, params):
        forward = jax.jit(lambda trees, x: apply_fn(model, *trees, x, train=False)[0])
        return measure.repeated(forward, (params, model_state), images)

    plain, thin = networks
    runs = {"plain": repeated(models.apply, plain), "thin": repeated(apply, thin)}
    taken = measure.in_turns(runs, rounds, seconds)
    return taken["plain"] / taken["thin"]


def _at(params, path):
    """Returns the parameters of a module, {} of one that has none."""
    for part in path:
        params = params.get(part, {})
    return params


def _two(module, own, x):
    """Returns the result of a layer whose kernel is two."""
    rank = own[FIRST].shape[-1]
    if not rank:  # nothing is read: zeros, of the shape of the layer's result
        thin = {FIRST: _one_zero(own[FIRST], -1), SECOND: _one_zero(own[SECOND], 0)}
        own, rank = {**own, **thin}, 1
    first = module.clone(features=rank, use_bias=False, parent=None, name=None)
    inner = first.apply({"params": {"kernel": own[FIRST]}}, x)
    outer = inner @ own[SECOND].astype(inner.dtype)
    if "bias" not in own:
        return outer
    bias = own["bias"].astype(outer.dtype)
    return outer + bias.reshape((1,) * (outer.ndim - 1) + bias.shape)


def _one_zero(kernel, axis):
    """Returns a kernel with one slice of zeros where it has none."""
    shape = list(kernel.shape)
    shape[axis] = 1
    return jnp.zeros(shape, kernel.dtype)


def _check_plain(module):
    """Refuses a layer that is not flax's own product of its input and its kernel."""
    grouped = getattr(module, "feature_group_count", 1) > 1
    masked = getattr(module, "mask", None) is not None
    if grouped or masked or not layers_of.plain(module):
        raise ValueError(
            "two thin layers are made of a flax Dense or Conv without groups of "
            "channels, a mask or methods of one's own, got "
            f"{'/'.join(module.path)} = {type(module).__name__}; give its kernel "
            "another basis"
        )
