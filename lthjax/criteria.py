"""The names of a config become one choice of weights: (key, network, level) -> masks.

A criterion is a score, how often it is taken while one level is pruned, from what, and
what is selected by it: single weights, channels, blocks, n of every m.
"""

import functools
import logging
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lthjax import (
    cuts,
    flowing,
    losses,
    names,
    patterns,
    pruning,
    scores,
    sparsities,
)
from lthjax import masks as masks_lib
from lthjax.data import sources
from lthjax.data import splits as splits_lib
from lthjax.examples import CORRUPTIONS, drawing
from lthjax.masks import Masks, Params

NORMS = {"batch": True, "running": False}  # is it as in training?
log = logging.getLogger(__name__)

GRASP_TEMPERATURE = 200.0  # that the logits are divided by
FORMS = {"blocks": r"(\d+)x(\d+)", "n_of_m": r"(\d+):(\d+)"}


class View(NamedTuple):
    """What a score may look at.

    Attributes:
      key: A PRNG key.
      params: The weights of the network that is pruned.
      masks: The masks so far.
      loss_fn: (params, temperature) -> the mean cross-entropy over the examples that
        are scored with, the logits divided by the temperature; in training mode, or
        by running statistics where the config says so (`search.norms`).
      logits_fn: (params, images) -> logits, in inference mode, norms that change
        nothing: mean 0, variance 1.
      image_shape: (height, width, channels).
    """

    key: jax.Array
    params: Params
    masks: Masks
    loss_fn: Callable
    logits_fn: Callable
    image_shape: tuple[int, ...]


class Criterion(NamedTuple):
    """A named score.

    Attributes:
      score_fn: View -> scores, higher = keep.
      rounds: How often it is taken while a level is pruned, each time on what is left.
      revive: Whether a round may take back what an earlier one of the level pruned.
      reads: Whether it reads examples.
      flows: Whether it needs a network that is linear above zero, as SynFlow does.
    """

    score_fn: Callable[[View], Any]
    rounds: int = 1
    revive: bool = False
    reads: bool = False
    flows: bool = False


def _snip(view):
    return scores.snip(lambda p: view.loss_fn(p, 1.0), view.params, view.masks)


def _grasp(view):
    def loss_fn(params):
        return view.loss_fn(params, GRASP_TEMPERATURE)

    return scores.grasp(loss_fn, view.params, view.masks)


def _taylor(view):
    return scores.taylor(lambda p: view.loss_fn(p, 1.0), view.params, view.masks)


def _synflow(view):
    given = view.logits_fn, view.params, view.masks, view.image_shape
    return scores.synflow(*given)


SCORES = {
    "magnitude": Criterion(lambda view: scores.magnitude(view.params, view.masks)),
    "random": Criterion(lambda view: scores.random(view.key, view.params, view.masks)),
    "snip": Criterion(_snip, reads=True),
    "iterative_snip": Criterion(_snip, rounds=100, reads=True),
    "force": Criterion(_snip, rounds=100, revive=True, reads=True),
    "grasp": Criterion(_grasp, reads=True),
    "taylor": Criterion(_taylor, reads=True),
    "synflow": Criterion(_synflow, rounds=100, flows=True),
}


def resolve(config) -> Criterion:
    """Returns the criterion of a config.

    Raises:
      ValueError: The score, the pattern or the corruption is unknown, or they do not go
        together.
    """
    search = config.search
    found = names.resolve(search.score, SCORES, "score")
    if not isinstance(found, Criterion):  # a user's own: View -> scores
        found = Criterion(found, reads=True)
    found = found._replace(rounds=search.rounds or found.rounds)
    names.resolve(search.corrupt, CORRUPTIONS, "corruption")
    names.resolve(search.norms, NORMS, "search.norms")
    if search.corrupt != "none" and not found.reads:
        raise ValueError(
            "corrupted data goes with a score that reads data, got search.corrupt = "
            f"{search.corrupt!r} with search.score = {search.score!r}"
        )
    _pattern(search.pattern)
    if found.rounds > 1 and (search.pattern != "weights" or search.scope != "global"):
        raise ValueError(
            f"a score that is taken {found.rounds} times prunes single weights over "
            f"all layers, got search.pattern = {search.pattern!r}, search.scope = "
            f"{search.scope!r}; give 'weights' and 'global', or search.rounds = 1"
        )
    return found


def scorer(config, network: Callable, source: sources.Source) -> Callable:
    """Returns (key, trained, masks, examples) -> scores, one round of the config's.

    Args:
      config: A validated config.
      network: (params, model_state, images, train) -> (logits, model_state).
      source: The data set, for the shape of its images.
    """
    criterion, shape = resolve(config), splits_lib.image_shape(source.train)
    train = names.resolve(config.search.norms, NORMS, "search.norms")

    def forward(params, model_state, images):
        return network(params, model_state, images, train)[0]

    viewed = flowing.linear(config, network, source) if criterion.flows else network

    def scored(key, trained, masks, examples):
        def logits_fn(params, images):
            return viewed(params, flowing.neutral(trained.model_state), images, False)[
                0
            ]

        loss_fn = _loss(forward, trained.model_state, examples)
        view = View(key, trained.params, masks, loss_fn, logits_fn, shape)
        found = criterion.score_fn(view)
        return scores.inverted(found) if config.search.invert else found

    return scored


def selector(config, network: Callable, source: sources.Source) -> Callable:
    """Returns (key, trained, target) -> masks, which prunes to a level's target.

    A target is what is kept, in all or by layer.

    Args:
      config: A validated config.
      network: (params, model_state, images, train) -> (logits, model_state).
      source: The data set; scores that read data take training examples of it, as they
        are, without augmentation.

    Raises:
      ValueError: As `resolve`. In a call: scores that are not finite, or do not tell
        weights apart (`cuts.judged`), or a network that the score is not made for.
    """
    criterion, search = resolve(config), config.search
    draw = drawing(config, source)
    scored = scorer(config, network, source)

    @jax.jit
    def select(key, trained, counts, examples):
        return pruning.rounds(
            lambda masks: scored(key, trained, masks, examples),
            trained.masks,
            counts,
            revive=criterion.revive,
        )

    first = jax.jit(scored)
    choose = jax.jit(functools.partial(_chosen, search))
    check_linear = flowing.checker(config, network, source)

    def prune_fn(key, trained, target):
        trained = trained._replace(opt_state=None)
        if criterion.flows:
            check_linear(trained)
        examples = draw(key) if criterion.reads else None
        found = first(key, trained, trained.masks, examples)
        scores.check(found, trained.masks)
        by_layer = isinstance(target, list)
        if criterion.rounds == 1:
            target = grouped(search.pattern, trained.masks, target)
            target = jax.tree.map(jnp.int32, target)
            masks, cut = choose(trained.masks, found, target)
        else:
            now = int(masks_lib.count(trained.masks)[0])
            counts = sparsities.exponential(now, target, criterion.rounds)
            counts = jnp.asarray(counts, jnp.int32)
            masks, cut = select(key, trained, counts, examples)
        if criterion.flows:
            flowing.judge(config, trained, cut, source)
        said = cuts.judged(masks_lib.names(masks), cut, by_layer=by_layer)
        if said and _pattern(search.pattern)[0] != "n_of_m":
            log.warning("search.score = %r: %s", search.score, said)
        return masks

    return prune_fn


def check(config, shapes: dict[str, tuple[int, ...]], targets: list) -> None:
    """Checks that every level's target can be met, before anything is trained.

    Args:
      config: A validated config.
      shapes: {name: shape} of the prunable layers.
      targets: What each level keeps, in all or by layer.

    Raises:
      ValueError: As `resolve`; a pattern does not divide a layer, or cannot have the
        sparsity asked for; the minima of the layers exceed a target.
    """
    resolve(config)
    kind, numbers = _pattern(config.search.pattern)
    leaves = {n: jax.ShapeDtypeStruct(s, bool) for n, s in shapes.items()}
    found = {n: jax.ShapeDtypeStruct(s, jnp.float32) for n, s in shapes.items()}
    total = sum(math.prod(shape) for shape in shapes.values())
    for target in targets:
        given = grouped(config.search.pattern, leaves, target)
        choose = functools.partial(_chooser(config.search), target=given)
        jax.eval_shape(choose, leaves, found)
        kept = sum(target) if isinstance(target, list) else target
        if kind == "n_of_m" and kept * numbers[1] != total * numbers[0]:
            raise ValueError(
                f"the pattern {config.search.pattern!r} keeps {numbers[0]} of every "
                f"{numbers[1]} weights, {total * numbers[0] // numbers[1]:,} of "
                f"{total:,}, got a level that keeps {kept:,}; give search.sparsities = "
                f"({1 - numbers[0] / numbers[1]},)"
            )


def _pattern(name):
    """Returns (kind, numbers) of a pattern's name: ("blocks", (4, 4)) of "4x4".

    Raises:
      ValueError: It is none.
    """
    if name in ("weights", "channels"):
        return name, ()
    for kind, form in FORMS.items():
        if match := re.fullmatch(form, name):
            numbers = tuple(int(number) for number in match.groups())
            _check_numbers(name, kind, *numbers)
            return kind, numbers
    raise ValueError(
        "search.pattern must be 'weights', 'channels', blocks such as '4x4' (inputs "
        f"and outputs), or n of every m inputs such as '2:4', got {name!r}"
    )


def _check_numbers(name, kind, one, other):
    """Refuses blocks of nothing, and n of m that keeps nothing or all."""
    fine = 0 < one < other if kind == "n_of_m" else one > 0 and other > 0
    if not fine:
        form = "'n:m' with 0 < n < m" if kind == "n_of_m" else "'axb' of at least '1x1'"
        raise ValueError(f"a pattern must be {form}, got search.pattern = {name!r}")


def grouped(pattern, masks, target):
    """Returns a target in groups of weights, in the same proportion."""
    kind, numbers = _pattern(pattern)
    leaves = jax.tree.leaves(masks)
    if kind == "channels":
        groups = [leaf.shape[-1] for leaf in leaves]
    elif kind == "blocks":
        groups = [leaf.size // math.prod(numbers) for leaf in leaves]
    else:
        return target
    if isinstance(target, list):
        sizes = [leaf.size for leaf in leaves]
        rows = zip(groups, target, sizes, strict=True)
        return [round(g * kept / size) for g, kept, size in rows]
    return round(sum(groups) * target / sum(leaf.size for leaf in leaves))


def _chooser(search):
    """Returns (masks, scores, target) -> masks, by the config's pattern."""
    kind, numbers = _pattern(search.pattern)
    if kind == "n_of_m":
        return lambda masks, found, target: patterns.n_of_m(masks, found, *numbers)
    select = {
        "weights": pruning.prune,
        "channels": patterns.channels,
        "blocks": lambda *given, **how: patterns.blocks(*given, numbers, **how),
    }[kind]
    return lambda masks, found, target: select(
        masks, found, kept=target, minimum=search.minimum
    )


def _chosen(search, masks, found, target):
    """Returns the masks of a choice, and where it cut, through weights or groups."""
    kind, numbers = _pattern(search.pattern)
    chosen = _chooser(search)(masks, found, target)
    by_layer = isinstance(target, list)
    if kind in ("weights", "n_of_m"):
        layered = by_layer or kind == "n_of_m"
        return chosen, cuts.cut(masks, found, chosen, by_layer=layered)
    total = {
        "channels": patterns.channel_total,
        "blocks": functools.partial(patterns.block_total, shape=numbers),
    }[kind]
    return chosen, patterns.cut(masks, found, chosen, total, by_layer=by_layer)


def _loss(forward, model_state, examples):
    """Returns (params, temperature) -> the mean loss over batches of examples."""

    def loss_fn(params, temperature):
        def one(params, batch):
            images, labels = batch
            logits = forward(params, model_state, images)
            return jnp.mean(losses.cross_entropy(logits / temperature, labels))

        return scores.over_batches(one, examples)(params)

    return loss_fn
