"""Elastic tickets: a tree of one depth, carried to another depth of its family.

Units are what block maps number: residual blocks, convolutions with their norms, dense
layers. What is in no stage, stem and head, stays as it is.

References:
  Chen et al., 2021, arXiv:2103.16547.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from lthjax.draws import DRAWS
from lthjax.pruning import choose
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.masks import Masks, Params
from lthjax.tickets import block_maps, transplant
from lthjax.tickets.block_maps import BlockMap, Stages
from lthjax.tickets.ticket import Ticket

NORM = "_norm"  # what follows the name of a unit in that of its norm
FAR = 2  # times as many blocks: from there on the gain falls


def depths(stages: Stages) -> tuple[int, ...]:
    """Returns the number of units of each stage."""
    return tuple(len(units) for units in stages)


def remap(
    tree: Any,
    source: Stages,
    target: Stages,
    block_map: BlockMap,
    *,
    partial: bool = False,
) -> Any:
    """Returns a tree of the target, each unit a copy of the source's that the map says.

    Params, batch statistics (of one collection), masks and coefficients alike, so that
    masks and weights commute with it.

    Args:
      tree: Nested dicts of leaves, `None` among them; keys are texts or whole numbers.
      source: Paths of the units of each stage, "stage1_block0".
      target: The same of the target.
      block_map: target -> source, as `block_maps.check` has it.
      partial: Whether units may be missing, as in statistics, which only norms have.

    Raises:
      ValueError: As `block_maps.check`; or a unit of the source is not in the tree, or
        the tree is of anything but dicts.
    """
    block_maps.check(block_map, depths(source), depths(target))
    flat = _flat(tree, keep_empty_nodes=True)
    units: dict[str, dict] = {unit: {} for unit in itertools.chain(*source)}
    unit_of = _finder(units)
    found: dict[tuple, Any] = {}
    for path, leaf in flat.items():
        unit = unit_of(_name(path))
        inside = found if unit is None else units[unit]
        inside[path] = leaf
    if not partial:
        _check_there(units, flat)
    for row, own, other in zip(block_map, source, target, strict=True):
        for new, i in zip(other, row, strict=True):
            leaves = units[own[i]].items()
            found |= {_renamed(path, own[i], new): leaf for path, leaf in leaves}
    return traverse_util.unflatten_dict(found)


def _flat(tree, **options):
    """Returns {path, a tuple of keys: leaf} of nested dicts."""
    try:
        found = traverse_util.flatten_dict(tree, **options)
    except AssertionError:
        found = {(): tree}
    for path, leaf in found.items():
        nested = isinstance(leaf, (list, tuple, Mapping)) or not path
        if leaf is not traverse_util.empty_node and nested:
            raise ValueError(
                "a tree must be of nested dicts, got "
                f"{type(leaf).__name__} at {_name(path) or 'its root'}; give "
                "nnx.to_pure_dict(state), or its leaves by their names"
            )
    return found


def _name(path):
    return "/".join(map(str, path))


def _renamed(path, old, new):
    """Returns a path inside a unit as that of another one.

    What names the unit changes, numbers staying numbers; keys below it do not, nor do
    points of a key become levels.
    """
    depth = next(i for i in range(len(path) + 1) if len(_name(path[:i])) >= len(old))
    own, inside = path[:depth], path[depth:]
    parts = (new + _name(own)[len(old) :]).split("/")
    widths = [str(key).count("/") + 1 for key in own]
    if sum(widths) != len(parts):
        return (*parts, *inside)
    rest, keys = iter(parts), []
    for key, width in zip(own, widths, strict=True):
        text = "/".join(itertools.islice(rest, width))
        keys.append(int(text) if isinstance(key, int) else text)
    return (*keys, *inside)


def stretch(tree: Any, source: Stages, target: Stages, block_map: BlockMap) -> Any:
    """Returns `remap` to a target that is nowhere shallower.

    Raises:
      ValueError: As `remap`; or the target is shallower.
    """
    block_maps.check_depth(depths(source), depths(target), deeper=True)
    return remap(tree, source, target, block_map)


def squeeze(tree: Any, source: Stages, target: Stages, block_map: BlockMap) -> Any:
    """Returns `remap` to a target that is nowhere deeper.

    Raises:
      ValueError: As `remap`; or the target is deeper.
    """
    block_maps.check_depth(depths(source), depths(target), deeper=False)
    return remap(tree, source, target, block_map)


def remap_ticket(
    found: Ticket, source: Stages, target: Stages, block_map: BlockMap
) -> Ticket:
    """Returns a ticket of the target: weights, statistics and masks by one map.

    Its optimizer's state is dropped, as that of no training that the target had; what
    dropout draws from is no unit's, and stays.

    Args:
      found: The source's ticket.
      source: As for `remap`.
      target: Likewise.
      block_map: Likewise.

    Raises:
      ValueError: As `remap`.
    """

    def mapped(tree, **options):
        return remap(tree, source, target, block_map, **options)

    return found._replace(
        params=mapped(found.params),
        model_state={
            name: own if name == DRAWS else mapped(own, partial=True)
            for name, own in found.model_state.items()
        },
        masks=mapped(found.masks),
        opt_state=None,
    )


def permuted_copies(
    key: jax.Array, masks: Masks, source: Stages, target: Stages, block_map: BlockMap
) -> Masks:
    """Returns masks of which only those of added copies are permuted, layer by layer.

    A control: every layer keeps as many weights, the first copy of each unit the very
    ones.

    Args:
      key: A JAX PRNG key.
      masks: Of the target, as `remap` made them.
      source: As for `remap`.
      target: Likewise.
      block_map: Likewise.
    """
    unit_of = _finder(added(source, target, block_map))
    flat = {_name(path): mask for path, mask in _flat(masks).items()}
    keys = jax.random.split(key, len(flat))
    found = {
        path: jax.random.permutation(one, mask.reshape(-1)).reshape(mask.shape)
        for one, (path, mask) in zip(keys, flat.items(), strict=True)
        if mask is not None and unit_of(path) is not None
    }
    return transplant.replaced(masks, found)


def match_density(masks: Masks, scores: Params, kept: int) -> Masks:
    """Returns masks that keep exactly so many, trimmed or refilled by scores.

    Too many: those of highest score among what is kept. Too few: what is kept, and
    those of highest score among what is not.

    Args:
      masks: Of the target.
      scores: Of the same structure, higher = keep.
      kept: How many weights, of all prunable ones.

    Raises:
      ValueError: There are not so many, or none is asked for.
    """
    now, prunable = (int(n) for n in masks_lib.count(masks))
    if not 0 < kept <= prunable:
        raise ValueError(
            f"kept must be from 1 to the {prunable} prunable weights, got kept = {kept}"
        )
    if kept <= now:
        return choose.prune(masks, scores, kept=kept)
    pool = jax.tree.map(jnp.logical_not, masks)
    more = choose.prune(pool, scores, kept=kept - now)
    return jax.tree.map(jnp.logical_or, masks, more)


def added(source: Stages, target: Stages, block_map: BlockMap) -> tuple[str, ...]:
    """Returns the units of the target that are copies beside the first of their source.

    Args:
      source: As for `remap`.
      target: Likewise.
      block_map: Likewise.
    """
    block_maps.check(block_map, depths(source), depths(target))
    found = []
    for row, units in zip(block_map, target, strict=True):
        found += [unit for j, unit in enumerate(units) if row.index(row[j]) != j]
    return tuple(found)


def predicted_density(
    masks: Any, source: Stages, block_map: BlockMap
) -> tuple[int, int]:
    """Returns (kept, prunable) of the target, from the source's masks alone.

        sum_b c_b kept_b + kept_fixed,  c_b copies of unit b

    Args:
      masks: Of the source.
      source: Its stages.
      block_map: target -> source.
    """
    copies: dict[str, int] = {}
    for row, units in zip(block_map, source, strict=True):
        copies |= {unit: row.count(i) for i, unit in enumerate(units)}
    kept, prunable, unit_of = 0, 0, _finder(copies)
    for path, mask in _flat(masks).items():
        unit = unit_of(_name(path))
        times = 1 if unit is None else copies[unit]
        if mask is not None:
            kept += times * int(np.sum(np.asarray(mask)))
            prunable += times * int(np.size(mask))
    return kept, prunable


def far(source: Stages, target: Stages) -> str:
    """Returns a sentence where depths differ by more than the paper's tickets bear."""
    for stage, (a, b) in enumerate(zip(source, target, strict=False), start=1):
        few, many = sorted((len(a), len(b)))
        if many > FAR * few:
            return (
                f"stage {stage} goes from {len(a)} to {len(b)} blocks, more than "
                "twofold: the published tickets lose with the distance, and from "
                "ResNet-14 to ResNet-44 (2 to 7 blocks) were no better than pruning at "
                "initialisation"
            )
    return ""


def _finder(units: Iterable[str]) -> Callable[[str], str | None]:
    """Returns path -> the unit that it is in, a norm with what it follows, or none."""
    names = "|".join(map(re.escape, units))
    expression = re.compile(f"({names})(?=(?:{NORM})?(?:/|$))")

    def unit(path):
        match = expression.match(path)
        return match[1] if match else None

    return unit


def _check_there(units, flat):
    absent = [unit for unit, leaves in units.items() if not leaves]
    if absent and flat:
        known = ", ".join(sorted({str(path[0]) for path in flat}))
        raise ValueError(
            f"a tree must have all units of its network, got none of {absent[0]} among "
            f"{known}; give params, masks or one collection of statistics by itself, "
            "and partial=True where units may be missing"
        )
