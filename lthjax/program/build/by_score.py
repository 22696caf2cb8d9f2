"""The names of a config become one choice of weights: (key, network, level) -> masks.

A criterion is a score, how often it is taken while one level is pruned, from what, and
what is selected by it: single weights, channels, blocks, n of every m.
"""

import functools
import logging
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lthjax import registry
from lthjax.data import in_memory
from lthjax.data import splits as splits_lib
from lthjax.program.build import linear
from lthjax.program.build.examples import CORRUPTIONS, drawing
from lthjax.pruning import choose as choose_lib
from lthjax.pruning import cuts, pattern_names, scores, sparsities
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.masks import Masks, Params
from lthjax.pruning.views import Views
from lthjax.training import losses

NORMS = {"batch": True, "running": False}  # is it as in training?
log = logging.getLogger(__name__)

GRASP_TEMPERATURE = 200.0  # that the logits are divided by


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
    found = registry.resolve(search.score, SCORES, "score")
    if not isinstance(found, Criterion):  # a user's own: View -> scores
        found = Criterion(found, reads=True)
    found = found._replace(rounds=search.rounds or found.rounds)
    registry.resolve(search.corrupt, CORRUPTIONS, "corruption")
    registry.resolve(search.norms, NORMS, "search.norms")
    if search.corrupt != "none" and not found.reads:
        raise ValueError(
            "corrupted data goes with a score that reads data, got search.corrupt = "
            f"{search.corrupt!r} with search.score = {search.score!r}"
        )
    pattern_names.parse(search.pattern)
    if found.rounds > 1 and (search.pattern != "weights" or search.scope != "global"):
        raise ValueError(
            f"a score that is taken {found.rounds} times prunes single weights over "
            f"all layers, got search.pattern = {search.pattern!r}, search.scope = "
            f"{search.scope!r}; give 'weights' and 'global', or search.rounds = 1"
        )
    return found


def scorer(config, network: Callable, source: in_memory.Source) -> Callable:
    """Returns (key, trained, masks, examples) -> scores, one round of the config's.

    Args:
      config: A validated config.
      network: (params, model_state, images, train) -> (logits, model_state).
      source: The data set, for the shape of its images.
    """
    criterion, shape = resolve(config), splits_lib.image_shape(source.train)
    train = registry.resolve(config.search.norms, NORMS, "search.norms")

    def forward(params, model_state, images):
        return network(params, model_state, images, train)[0]

    viewed = linear.linear(config, network, source) if criterion.flows else network

    def scored(key, trained, masks, examples):
        def logits_fn(params, images):
            return viewed(params, linear.neutral(trained.model_state), images, False)[0]

        loss_fn = _loss(forward, trained.model_state, examples)
        view = View(key, trained.params, masks, loss_fn, logits_fn, shape)
        found = criterion.score_fn(view)
        return scores.inverted(found) if config.search.invert else found

    return scored


def selector(
    config,
    network: Callable,
    source: in_memory.Source,
    *,
    views: Views | None = None,
) -> Callable:
    """Returns (key, trained, target) -> masks, which prunes to a level's target.

    A target is what is kept, in all or by layer.

    Args:
      config: A validated config.
      network: (params, model_state, images, train) -> (logits, model_state).
      source: The data set; scores that read data take training examples of it, as they
        are, without augmentation.
      views: Which axes of a leaf are what, for the patterns.

    Raises:
      ValueError: As `resolve`. In a call: scores that are not finite, or do not tell
        weights apart (`cuts.judged`), or a network that the score is not made for.
    """
    criterion, search = resolve(config), config.search
    draw = drawing(config, source)
    scored = scorer(config, network, source)

    @jax.jit
    def select(key, trained, counts, examples):
        return choose_lib.rounds(
            lambda masks: scored(key, trained, masks, examples),
            trained.masks,
            counts,
            revive=criterion.revive,
        )

    first = jax.jit(scored)
    select_fn = pattern_names.chooser(search.pattern, search.minimum, views)

    @jax.jit
    def choose(masks, found, target):
        chosen, by_layer = select_fn(masks, found, target), isinstance(target, list)
        how = {"by_layer": by_layer, "views": views}
        return chosen, pattern_names.cut(search.pattern, masks, found, chosen, **how)

    check_linear = linear.checker(config, network, source)

    def prune_fn(key, trained, target):
        trained = trained._replace(opt_state=None)
        if criterion.flows:
            check_linear(trained)
        examples = draw(key) if criterion.reads else None
        found = first(key, trained, trained.masks, examples)
        scores.check(found, trained.masks)
        by_layer = isinstance(target, list)
        if criterion.rounds == 1:
            target = pattern_names.target(search.pattern, trained.masks, target, views)
            target = jax.tree.map(jnp.int32, target)
            masks, cut = choose(trained.masks, found, target)
        else:
            now = int(masks_lib.count(trained.masks)[0])
            counts = sparsities.exponential(now, target, criterion.rounds)
            counts = jnp.asarray(counts, jnp.int32)
            masks, cut = select(key, trained, counts, examples)
        if criterion.flows:
            linear.judge(config, trained, cut, source)
        said = cuts.judged(masks_lib.names(masks), cut, by_layer=by_layer)
        if said and pattern_names.parse(search.pattern)[0] != "n_of_m":
            log.warning("search.score = %r: %s", search.score, said)
        return masks

    return prune_fn


def check(
    config,
    shapes: dict[str, tuple[int, ...]],
    targets: list,
    views: Views | None = None,
) -> None:
    """Checks that every level's target can be met, before anything is trained.

    Args:
      config: A validated config.
      shapes: {name: shape} of the prunable layers.
      targets: What each level keeps, in all or by layer.
      views: Which axes of a layer are what.

    Raises:
      ValueError: As `resolve`; a pattern does not divide a layer, or cannot have the
        sparsity asked for; nothing says what the axes are that it goes along; the
        minima of the layers exceed a target.
    """
    resolve(config)
    search = config.search
    kind, numbers = pattern_names.parse(search.pattern)
    select = pattern_names.chooser(search.pattern, search.minimum, views)
    leaves = {n: jax.ShapeDtypeStruct(s, bool) for n, s in shapes.items()}
    found = {n: jax.ShapeDtypeStruct(s, jnp.float32) for n, s in shapes.items()}
    total = sum(math.prod(shape) for shape in shapes.values())
    for target in targets:
        given = pattern_names.target(search.pattern, leaves, target, views)
        choose = functools.partial(select, target=given)
        jax.eval_shape(choose, leaves, found)
        kept = sum(target) if isinstance(target, list) else target
        if kind == "n_of_m" and kept * numbers[1] != total * numbers[0]:
            raise ValueError(
                f"the pattern {search.pattern!r} keeps {numbers[0]} of every "
                f"{numbers[1]} weights, {total * numbers[0] // numbers[1]:,} of "
                f"{total:,}, got a level that keeps {kept:,}; give search.sparsities = "
                f"({1 - numbers[0] / numbers[1]},)"
            )


def _loss(forward, model_state, examples):
    """Returns (params, temperature) -> the mean loss over batches of examples."""

    def loss_fn(params, temperature):
        def one(params, batch):
            images, labels = batch
            logits = forward(params, model_state, images)
            return jnp.mean(losses.cross_entropy(logits / temperature, labels))

        return scores.over_batches(one, examples)(params)

    return loss_fn
