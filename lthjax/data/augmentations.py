"""What is done to a batch as a whole: images and labels mixed, squares cut out.

An augmentation takes a key and a batch, (inputs, labels), as the network would be given
it, and returns the batch that it is given: inputs of the same shape and type, labels
that the loss takes.
"""

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from lthjax import registry, values
from lthjax.devices import meshes

Batch = tuple[jax.Array, jax.Array]
AugmentFn = Callable[[jax.Array, Any], Any]  # (key, batch) -> batch
FIRST = 2  # of the keys that are split off a step's; crop and flip have those before


def mixup(
    key: jax.Array, batch: Batch, *, num_classes: int = 0, alpha: float = 1.0
) -> Batch:
    """Returns each example mixed with the one before it in the batch.

        x_i = l x_i + (1 - l) x_{i-1},  y_i likewise,  l ~ Beta(alpha, alpha)

    Classes become distributions over classes. One l is drawn for a batch.

    Args:
      key: A PRNG key.
      batch: Inputs, floats [n, ...], and labels: classes [n], or floats [n, ...].
      num_classes: How many classes there are, where labels are classes.
      alpha: Positive, finite; the smaller, the less is mixed.

    Returns:
      Inputs [n, ...], and labels float32 [n, num_classes], or of their shape. Where a
      number is that of no class they are NaN, as is the loss of it unmixed.

    Raises:
      ValueError: Inputs are no floats, labels neither classes nor floats, classes
        without their number, or alpha is no finite number above 0.

    References:
      Zhang et al., 2017, arXiv:1710.09412. There the other example is drawn by a
      permutation of the batch; here the batch, which is in random order, is moved on by
      one.
    """
    inputs, labels = batch
    classes = labels.ndim == 1 and jnp.issubdtype(labels.dtype, jnp.integer)
    mixed = classes or jnp.issubdtype(labels.dtype, jnp.floating)
    if not mixed or not jnp.issubdtype(inputs.dtype, jnp.floating):
        raise ValueError(
            "what is mixed must be floats, with one class for each example or floats "
            f"for labels, got inputs {inputs.dtype} {list(inputs.shape)}, labels "
            f"{labels.dtype} {list(labels.shape)} with data.augment = 'mixup'"
        )
    if classes and num_classes < 1:
        raise ValueError(
            "num_classes must be given where labels are classes, got num_classes = "
            f"{num_classes}"
        )
    if not values.like(alpha, 1.0) or not 0 < values.in_float32(alpha) < math.inf:
        raise ValueError(
            f"alpha of mixup must be a finite number above 0, got alpha = {alpha!r}"
        )
    targets = _distributions(labels, num_classes) if classes else labels
    share = jax.random.uniform(key)
    if alpha != 1:
        share = jax.random.beta(key, alpha, alpha)

    def mix(x):
        own = share.astype(x.dtype)
        return own * x + (1 - own) * jnp.roll(x, 1, axis=0)

    return mix(inputs), mix(targets)


def _distributions(labels, num_classes):
    """Returns classes as float32 [n, num_classes], NaN where a number is of none."""
    found = jax.nn.one_hot(labels, num_classes, dtype=jnp.float32)
    return jnp.where(found.any(axis=-1, keepdims=True), found, jnp.nan)


def cutout(key: jax.Array, batch: Batch, *, side: int = 0) -> Batch:
    """Returns each image with a square of it at zero, which is the mean of all pixels.

    The centre of a square is any pixel, all equally likely: what of it lies outside is
    lost.

    Args:
      key: A PRNG key.
      batch: Normalised images [n, h, w, c], and labels, which stay.
      side: Of a square, in pixels; 0: half of the shorter side.

    Raises:
      ValueError: The inputs are no images; side is no whole number from 0, or larger
        than they are.

    References:
      DeVries and Taylor, 2017, arXiv:1708.04552: 16 pixels on CIFAR-10, 8 on CIFAR-100.
    """
    images, labels = batch
    side = values.whole("side of cutout", side, 0)
    if images.ndim != 4:
        raise ValueError(
            "what squares are cut out of must be images [n, h, w, c], got "
            f"{list(images.shape)} with data.augment = 'cutout'"
        )
    n, h, w, _ = images.shape
    if side > min(h, w):
        raise ValueError(
            f"side of cutout must be at most the {min(h, w)} pixels of an image, so "
            f"that some of it is left, got side = {side}"
        )
    side = side or max(1, min(h, w) // 2)
    inside = []
    for own, length in zip(jax.random.split(key), (h, w), strict=True):
        first = jax.random.randint(own, (n, 1), 0, length) - side // 2
        at = jnp.arange(length)[None]
        inside.append((at >= first) & (at < first + side))
    square = inside[0][:, :, None, None] & inside[1][:, None, :, None]
    return jnp.where(square, 0, images), labels


AUGMENTATIONS: dict[str, Callable[..., Batch]] = {"mixup": mixup, "cutout": cutout}


def chain(
    text: str, options: Mapping[str, Any], num_classes: int
) -> tuple[AugmentFn, ...]:
    """Returns the augmentations of a config in their order, each (key, batch) -> batch.

    Args:
      text: "", or names of `AUGMENTATIONS` and "package.module:function", joined by
        "+".
      options: By name, those of all of them; each is given what it takes, and
        num_classes, if it takes that.
      num_classes: Of the set.

    Raises:
      ValueError: A name is unknown, or comes twice, or no function takes an option.
    """
    names = text.split("+") if text else []
    found = [registry.resolve(n, AUGMENTATIONS, "augmentation") for n in names]
    for name, function in zip(names, found, strict=True):
        if not callable(function):
            raise ValueError(
                "an augmentation of your own must be a function, got data.augment = "
                f"{name!r}, which is {type(function).__name__}"
            )
    if len(set(names)) < len(names):
        raise ValueError(
            f"augmentations must be different ones, got data.augment = {text!r}"
        )
    own = [_own(fn, {**options, "num_classes": num_classes}) for fn in found]
    taken = {name for given in own for name in given}
    left = sorted(set(options) - taken)
    if left:
        known = sorted({name for fn in found for name in _names(fn)} - {"num_classes"})
        raise ValueError(
            "options must be those that an augmentation takes, "
            f"{', '.join(known) or 'none'}, got data.augment_options with "
            f"{', '.join(left)}, data.augment = {text!r}"
        )
    pairs = zip(names, found, own, strict=True)
    return tuple(_called(name, fn, given) for name, fn, given in pairs)


def applied(
    functions: tuple[AugmentFn, ...], *, axis_name: str | None = None
) -> AugmentFn:
    """Returns (key, batch) -> batch: one after the other, each with a key of its own.

    Args:
      functions: What `chain` returned.
      axis_name: The mesh axis that the batch is split over, if a device is given its
        rows of one: they are brought together for it, so that what happens to an
        example does not depend on where it lies.
    """
    if not functions:
        return lambda key, batch: batch

    def augment(key, batch):
        whole = meshes.joined(batch, axis_name)
        for i, function in enumerate(functions, start=FIRST):
            whole = function(jax.random.fold_in(key, i), whole)
        return meshes.share(whole, axis_name)

    return augment


def _names(function):
    """Returns the names of the options that a function takes."""
    known = inspect.signature(function).parameters.values()
    return [p.name for p in list(known)[2:] if p.kind is not p.VAR_KEYWORD]


def _own(function, options):
    """Returns those of the options that a function takes."""
    known = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in known):
        return dict(options)
    return {name: options[name] for name in _names(function) if name in options}


def _called(name, function, given):
    """Returns a function with its options; what a user's own raises is one sentence."""
    if name in AUGMENTATIONS:
        return functools.partial(function, **given)

    def call(key, batch):
        with registry.calling("augmentation", name, "take (key, (inputs, labels))"):
            return function(key, batch, **given)

    return call
