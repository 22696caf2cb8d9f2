"""Whether a network of a user's own can be trained here: it is called before a run."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.errors import InvalidRngError, ModifyScopeVariableError

from lthjax import registry
from lthjax.callables import InitFn
from lthjax.interceptors import intercepted
from lthjax.models.functions import apply, initialise, is_ours
from lthjax.pruning import masks as masks_lib

BATCH = 8
NOISE = 0.1  # added to every weight, so that no layer is zero
SLACK = 1e-2  # of a sum of probabilities, in bfloat16 too
ADVICE = (
    "tell the network its mode by an argument of its __call__, such as train, training "
    "or deterministic"
)

ALONE = "; let it return one array alone"
MORE = (
    ", or give an objective of your own that takes them all: "
    "objective='package.module:OBJECTIVE'"
)


class Wanted(NamedTuple):
    """What the outputs of a network must be for its objective.

    Attributes:
      logits: Whether they are logits, which go with labels that are classes.
      trees: Whether they may be several arrays, which the objective takes.
      own: Whether an objective of one's own may be given, which takes others.
    """

    logits: bool = True
    trees: bool = False
    own: bool = True


LOGITS = Wanted()


def shapes(model: nn.Module, name: str, facts, wanted: Wanted = LOGITS) -> None:
    """Refuses a network that by its shapes cannot be trained; nothing is computed.

    Args:
      model: The network; ours are not looked at.
      name: What the config calls it.
      facts: Of the data set: image_shape, num_classes.
      wanted: What its outputs must be.

    Raises:
      ValueError: It raises something, has parameters that are not floating, does not
        return one floating logit for each class (or other outputs for each example,
        where none are wanted), changes the form of its state, draws in evaluation, or
        has dropout that never draws.
    """
    if is_ours(model):
        return
    images = jax.ShapeDtypeStruct((BATCH, *facts.image_shape), facts.dtype)
    init = functools.partial(initialise, model)
    with registry.calling("model", name):
        # As a run initialises, so that weights by the size of a batch are found out.
        one = jax.ShapeDtypeStruct((1, *facts.image_shape), facts.dtype)
        params, state = jax.eval_shape(init, jax.random.key(0), one)
    _check_floating(params, name)
    for train in (False, True):
        outputs, after = _called(model, name, train, (params, state, images))
        _check_outputs(outputs, name, facts, wanted)
    if jax.tree.map(_form, state) != jax.tree.map(_form, after):
        raise ValueError(
            "a training step must leave the collections of a network as they are, got "
            f"model = {name!r}, which turns {jax.tree.map(_form, state)} into "
            f"{jax.tree.map(_form, after)}"
        )


def values(
    model: nn.Module,
    name: str,
    facts,
    init_fn: InitFn,
    *,
    frozen: bool = False,
    wanted: Wanted = LOGITS,
) -> None:
    """Refuses a network by what it computes of a few random inputs and weights.

    Whole numbers, such as tokens, are zeros and ones.

    Args:
      model: The network; ours are not looked at.
      name: What the config calls it.
      facts: Of the data set: image_shape, num_classes.
      init_fn: key -> (params, model_state).
      frozen: Whether batch statistics may stay in a training step.
      wanted: What its outputs must be.

    Raises:
      ValueError: It returns probabilities in place of logits, or its batch statistics
        do not move.
    """
    if is_ours(model):
        return
    params, state = init_fn(jax.random.key(0))
    generator = np.random.default_rng(0)

    def noise(shape):
        return generator.standard_normal(shape, np.float32)

    noisy = jax.tree.map(lambda w: (w + NOISE * noise(w.shape)).astype(w.dtype), params)
    size = BATCH, *facts.image_shape
    floats = jnp.issubdtype(facts.dtype, jnp.floating)
    images = noise(size) if floats else generator.integers(0, 2, size)
    images = images.astype(facts.dtype)
    compiled = jax.jit(functools.partial(_outcome, model))
    outputs, moved = jax.device_get(compiled(noisy, state, images))
    for logits in outputs if _are_logits(facts, wanted) else ():
        _check_range(np.asarray(logits, np.float32), name)
    still = [norm for norm, moves in moved.items() if not moves]
    if still and not frozen:
        raise ValueError(
            "batch statistics must move in a training step, got model = "
            f"{name!r}, whose {', '.join(still)} stay as they are; {ADVICE}, or set "
            "model.frozen_statistics = True"
        )


def _outcome(model, params, state, images):
    """Returns the logits of both modes, and {norm: whether its statistics move}."""
    tested, _ = apply(model, params, state, images, train=False)
    trained, after = apply(model, params, state, images, train=True)
    moved = {}
    rows = zip(*map(jax.tree.leaves, (state, after)), strict=True)
    for name, (old, new) in zip(masks_lib.names(state), rows, strict=True):
        norm, _, leaf = name.rpartition("/")
        if norm.startswith("batch_stats") or leaf in ("mean", "var"):
            moved[norm] = moved.get(norm, False) | jnp.any(new != old)
    return (tested, trained), moved


def _called(model, name, train, given):
    """Returns the shapes of (logits, model state), having looked for dropout."""
    dropouts = {}

    def watch(next_fn, args, kwargs, context):
        if context.method_name == "__call__" and _rate(context.module) > 0:
            still = _deterministic(context.module, args, kwargs)
            dropouts["/".join(context.module.path)] = still
        return next_fn(*args, **kwargs)

    forward = functools.partial(apply, model, train=train)
    with registry.calling("model", name), intercepted(watch):
        found = jax.eval_shape(forward if train else _at_rest(forward, name), *given)
    if train and dropouts and all(dropouts.values()):
        raise ValueError(
            f"dropout must draw in training, got model = {name!r}, whose "
            f"{', '.join(dropouts)} never does; {ADVICE}, or set its rate to 0"
        )
    return found


def _at_rest(forward, name):
    """Returns an evaluation, which must be one."""

    def evaluated(*args):
        try:
            return forward(*args)
        except (InvalidRngError, ModifyScopeVariableError) as error:
            raise ValueError(
                "a network must neither draw nor move its statistics in evaluation, "
                f"got model = {name!r}; {ADVICE}"
            ) from error

    return evaluated


def _rate(module):
    """Returns the rate of a module that is dropout, or has it, else 0."""
    if isinstance(module, nn.Dropout):
        return module.rate
    attention = isinstance(module, nn.MultiHeadDotProductAttention)
    return module.dropout_rate if attention else 0


def _deterministic(module, args, kwargs):
    given = kwargs.get("deterministic")
    if given is None and isinstance(module, nn.Dropout) and len(args) > 1:
        given = args[1]
    return bool(module.deterministic if given is None else given)


def _check_floating(params, name):
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(
                "every parameter must be floating, to have a derivative, got "
                f"{masks_lib.path_name(path)} = {leaf.dtype} in model = {name!r}; keep "
                "it as a constant or in another collection, by self.variable"
            )


def _are_logits(facts, wanted):
    return wanted.logits and jnp.issubdtype(facts.label_dtype, jnp.integer)


def _check_outputs(outputs, name, facts, wanted):
    shape = BATCH, *facts.label_shape, facts.num_classes
    logits = _are_logits(facts, wanted)
    must = "floating outputs for each example, [batch, ...]"
    if logits:
        places = ", ".join(map(str, ("batch", *shape[1:])))
        must = f"one floating logit for each class, [{places}]"

    def right(x):
        same = x.shape == shape if logits else x.shape[:1] == shape[:1]
        return same and jnp.issubdtype(x.dtype, jnp.floating)

    one, arrays = hasattr(outputs, "shape"), jax.tree.leaves(outputs)
    several = wanted.trees and not logits and bool(arrays)
    if (one or several) and all(map(right, arrays)):
        return
    found = f"{type(outputs).__name__} of {len(arrays)} arrays"
    if one or several:
        found = ", ".join(f"{x.dtype} {list(x.shape)}" for x in arrays)
    remedy = ALONE + MORE * wanted.own
    raise ValueError(
        f"a network must return {must}, got model = {name!r}, which returns {found} "
        f"for {BATCH} images{'' if one or several else remedy}"
    )


def _check_range(logits, name):
    within = logits.min() >= 0 and logits.max() <= 1
    sums = np.abs(logits.sum(-1) - 1).max()
    what = "that sum to 1, as of a softmax" if sums < SLACK else "only"
    if within and (sums < SLACK or logits.min() < logits.max()):
        raise ValueError(
            "a network must return logits, to which the loss applies the softmax, got "
            f"model = {name!r}, which returns numbers between 0 and 1 {what}; leave "
            "out what comes after its last layer"
        )


def _form(leaf):
    return f"{leaf.dtype} {list(leaf.shape)}"
