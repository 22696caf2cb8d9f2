"""Which parts of a network may be repeated or left out: its units, stage by stage."""

import itertools
import re
from collections.abc import Iterable

from flax import linen as nn

from lthjax import values
from lthjax.models.mlp import MLP
from lthjax.models.resnet import ResNet
from lthjax.models.vgg import VGG

Stages = tuple[tuple[str, ...], ...]


def units(model: nn.Module) -> Stages:
    """Returns the paths of the units of a network of ours, a row for each stage.

    The first unit of a stage changes shapes and stands for itself; those behind it are
    of one shape, and may be copied and dropped. A unit is a residual block; of a VGG, a
    convolution with its norm; of a perceptron, a dense layer, a stage being what has as
    many features. Stem and head are in no stage.

    Args:
      model: A `ResNet`, a `VGG` or an `MLP`.

    Raises:
      ValueError: It is none of them.
    """
    for family, rule in RULES.items():
        if isinstance(model, family):
            return rule(model)
    raise ValueError(
        "a network whose depth is changed must be one of "
        f"{', '.join(family.__name__ for family in RULES)}, or have a rule of its own "
        f"for its units, got {type(model).__name__}; give a regular expression with "
        "the groups stage and unit"
    )


def named(expression: str, names: Iterable[str]) -> Stages:
    """Returns the units that a regular expression finds, for a user's own network.

    Args:
      expression: With two groups, the numbers of the stage and of the unit in it, as
        `stage(\\d+)_block(\\d+)`; it is matched at the beginning of a name.
      names: Of the leaves, "stage1_block0/conv1/kernel".

    Raises:
      ValueError: It is no regular expression, has not two groups of whole numbers,
        gives two units the same, or finds nothing.
    """
    values.check_expression("the expression of units", expression)
    found = {}
    for match in filter(None, (re.match(expression, name) for name in names)):
        numbers = match.groups()
        if len(numbers) != 2 or not all(map(str.isdigit, numbers)):
            raise ValueError(
                "the expression of units must have two groups that are whole numbers, "
                f"stage and unit, got {expression!r}, which finds {numbers}"
            )
        place = tuple(map(int, numbers))
        if found.setdefault(place, match[0]) != match[0]:
            raise ValueError(
                "the expression of units must give each numbers of its own, got "
                f"{expression!r}, which gives {place} to {found[place]} and {match[0]}"
            )
    if not found:
        raise ValueError(
            f"the expression of units must find some, got {expression!r}, which none "
            f"of {', '.join(sorted(set(n.partition('/')[0] for n in names)))} matches"
        )
    rows = itertools.groupby(sorted(found), key=lambda numbers: numbers[0])
    return tuple(tuple(found[numbers] for numbers in row) for _, row in rows)


def family(model: nn.Module) -> str:
    """Returns what a network must share with another one to hand it tickets."""
    return type(model).__name__


def _blocks(model):
    return tuple(
        tuple(f"stage{stage}_block{i}" for i in range(number))
        for stage, number in enumerate(model.blocks, start=1)
    )


def _convolutions(model):
    return tuple(
        tuple(f"conv{stage}_{i}" for i in range(1, depth + 1))
        for stage, depth in enumerate(model.depths, start=1)
    )


def _dense(model):
    layers = itertools.groupby(
        enumerate(model.hidden, start=1), key=lambda layer: layer[1]
    )
    return tuple(tuple(f"dense{i}" for i, _ in row) for _, row in layers)


RULES = {ResNet: _blocks, VGG: _convolutions, MLP: _dense}
