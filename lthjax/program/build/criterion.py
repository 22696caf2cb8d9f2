"""The names of a config become one choice of weights: (key, network, level) -> masks.

A criterion is a score, how often it is taken while one level is pruned, from what, and
what is selected by it: single weights, channels, blocks, n of every m.
"""

import functools
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lthjax import registry
from lthjax.callables import LogitsFn, PruneFn
from lthjax.program.build import linear
from lthjax.program.build import objective as objective_lib
from lthjax.program.build.examples import CORRUPTIONS, drawing
from lthjax.program.build.parts import Ground
from lthjax.pruning import choose as choose_lib
from lthjax.pruning import cuts, flows, pattern_names, scores, sparsities
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.masks import Masks, Params

NORMS = {"batch": True, "running": False}  # is it as in training?
log = logging.getLogger(__name__)

GRASP_TEMPERATURE = 200.0  # that the logits are divided by


class Evidence(NamedTuple):
    """What a score may look at.

    Attributes:
      key: A PRNG key.
      params: The weights of the network that is pruned.
      masks: The masks so far.
      loss_fn: (params, temperature) -> the mean loss of the objective over the examples
        that are scored with, the outputs divided by the temperature; in training mode,
        or by running statistics where the config says so (`search.norms`).
      logits_fn: (params, images) -> logits, in inference mode, norms that change
        nothing: mean 0, variance 1.
      image_shape: (height, width, channels).
    """

    key: jax.Array
    params: Params
    masks: Masks
    loss_fn: Callable[[Any, Any], jax.Array]
    logits_fn: LogitsFn
    image_shape: tuple[int, ...]


class Criterion(NamedTuple):
    """A named score.

    Attributes:
      score_fn: Evidence -> scores, higher = keep.
      rounds: How often it is taken while a level is pruned, each time on what is left.
      revive: Whether a round may take back what an earlier one of the level pruned.
      reads: Whether it reads examples.
      flows: Whether it needs a network that is linear above zero, as SynFlow does.
      tempered: Whether it divides logits by a temperature.
    """

    score_fn: Callable[[Evidence], Any]
    rounds: int = 1
    revive: bool = False
    reads: bool = False
    flows: bool = False
    tempered: bool = False


def _snip(evidence):
    return scores.snip(
        lambda p: evidence.loss_fn(p, 1.0), evidence.params, evidence.masks
    )


def _grasp(evidence):
    def loss_fn(params):
        return evidence.loss_fn(params, GRASP_TEMPERATURE)

    return scores.grasp(loss_fn, evidence.params, evidence.masks)


def _taylor(evidence):
    return scores.taylor(
        lambda p: evidence.loss_fn(p, 1.0), evidence.params, evidence.masks
    )


def _synflow(evidence):
    given = evidence.logits_fn, evidence.params, evidence.masks, evidence.image_shape
    return flows.synflow(*given)


SCORES = {
    "magnitude": Criterion(
        lambda evidence: scores.magnitude(evidence.params, evidence.masks)
    ),
    "energy": Criterion(
        lambda evidence: scores.energy(evidence.params, evidence.masks)
    ),
    "random": Criterion(
        lambda evidence: scores.random(evidence.key, evidence.params, evidence.masks)
    ),
    "snip": Criterion(_snip, reads=True),
    "iterative_snip": Criterion(_snip, rounds=100, reads=True),
    "force": Criterion(_snip, rounds=100, revive=True, reads=True),
    "grasp": Criterion(_grasp, reads=True, tempered=True),
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
    if not isinstance(found, Criterion):  # a user's own: Evidence -> scores
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


def scorer(ground: Ground) -> Callable[[Any, Any, Any, Any], Any]:
    """Returns (key, trained, masks, examples) -> scores, one round of the config's.

    Args:
      ground: What the method is built on.
    """
    config, network = ground.options, ground.apply_fn
    criterion, shape = resolve(config), ground.facts.image_shape
    train = registry.resolve(config.search.norms, NORMS, "search.norms")

    def forward(params, model_state, images):
        return network(params, model_state, images, train)[0]

    viewed = linear.linear(ground) if criterion.flows else network

    def scored(key, trained, masks, examples):
        def logits_fn(params, images):
            return viewed(params, linear.neutral(trained.model_state), images, False)[0]

        loss_fn = _loss(forward, trained.model_state, examples, ground.objective)
        given = Evidence(key, trained.params, masks, loss_fn, logits_fn, shape)
        found = criterion.score_fn(given)
        return scores.inverted(found) if config.search.invert else found

    return scored


def selector(ground: Ground) -> PruneFn:
    """Returns (key, trained, target) -> masks, which prunes to a level's target.

    Scores that read data take training examples, as they are, without augmentation.

    Args:
      ground: What the method is built on, its source too.

    Raises:
      ValueError: As `resolve`. In a call: scores that are not finite, or do not tell
        weights apart (`cuts.judged`), or a network that the score is not made for.
    """
    search, views = ground.options.search, ground.plan.views
    criterion, draw = resolve(ground.options), drawing(ground.options, ground.source)
    scored, check_linear = scorer(ground), linear.checker(ground)
    first = jax.jit(scored)
    if criterion.rounds == 1:
        choose = _at_once(search, views)
    else:
        choose = _in_rounds(criterion, search, scored, views)

    def prune_fn(key, trained, target):
        trained = trained._replace(opt_state=None)
        if criterion.flows:
            check_linear(trained)
        examples = draw(key) if criterion.reads else None
        found = first(key, trained, trained.masks, examples)
        scores.check(found, trained.masks)
        masks, cut = choose((key, trained, examples), target, found)
        if criterion.flows:
            linear.judge(ground, trained, cut)
        names = pattern_names.layers(search.pattern, masks, views)
        said = cuts.judged(names, cut, by_layer=target.layers is not None)
        if said and pattern_names.parse(search.pattern)[0] != "n_of_m":
            log.warning("search.score = %r: %s", search.score, said)
        return masks

    return prune_fn


def _at_once(search, views):
    """Returns (given, target, scores) -> (masks, cut) of scores that are taken once.

    What is given are the (key, trained, examples) that they were taken with.
    """
    select_fn = pattern_names.chooser(search.pattern, search.minimum, views)

    @functools.partial(jax.jit, static_argnames="by_layer")
    def choose(masks, found, amount, by_layer):
        chosen, how = select_fn(masks, found, amount), {"by_layer": by_layer}
        cut = pattern_names.cut(
            search.pattern, masks, found, chosen, views=views, **how
        )
        return chosen, cut

    def prune(given, target, found):
        masks, by_layer = given[1].masks, target.layers is not None
        groups = pattern_names.target(search.pattern, masks, target, views)
        amount = jax.tree.map(jnp.int32, groups.amount)
        return choose(masks, found, amount, by_layer=by_layer)

    return prune


def _in_rounds(criterion, search, scored, views):
    """Returns the same, of scores that are taken anew of what is left in each round."""

    @jax.jit
    def select(key, trained, counts, examples):
        return choose_lib.rounds(
            lambda masks: scored(key, trained, masks, examples),
            trained.masks,
            counts,
            revive=criterion.revive,
            minimum=search.minimum,
            views=views,
        )

    def prune(given, target, found):
        del found
        key, trained, examples = given
        now = int(masks_lib.count(trained.masks)[0])
        counts = sparsities.exponential(now, target.kept, criterion.rounds)
        return select(key, trained, jnp.asarray(counts, jnp.int32), examples)

    return prune


def check(ground: Ground) -> None:
    """Checks that every level's target can be met, before anything is trained.

    Args:
      ground: What the method is built on, targets and all.

    Raises:
      ValueError: As `resolve`; the score, or what its examples are made of, does not go
        with the data or the objective; a pattern does not divide a layer, or cannot
        have the sparsity asked for; nothing says what the axes are that it goes along;
        the minima of the layers exceed a target.
    """
    _check_task(ground, resolve(ground.options))
    search, plan = ground.options.search, ground.plan
    kind, numbers = pattern_names.parse(search.pattern)
    select = pattern_names.chooser(search.pattern, search.minimum, plan.views)
    leaves = {n: jax.ShapeDtypeStruct(s, bool) for n, s in plan.shapes.items()}
    found = {n: jax.ShapeDtypeStruct(s, jnp.float32) for n, s in plan.shapes.items()}
    for target in plan.targets:
        given = pattern_names.target(search.pattern, leaves, target, plan.views)
        amount = given.amount
        jax.eval_shape(lambda own, by, to=amount: select(own, by, to), leaves, found)
        if kind == "n_of_m":
            _check_shares(search, plan, target, *numbers)


def _check_shares(search, plan, target, kept, of):
    """Refuses what n of every m weights cannot meet, in all or in a layer."""
    sizes = plan.sizes
    rows = {"all layers": (target.kept, sum(sizes.values()))}
    if target.layers is not None:
        rows |= {n: (k, sizes[n]) for n, k in zip(sizes, target.layers, strict=True)}
    for name, (asked, size) in rows.items():
        if asked * of != size * kept:
            raise ValueError(
                f"the pattern {search.pattern!r} keeps {kept} of every {of} weights, "
                f"{size * kept // of:,} of the {size:,} of {name}, got a level that "
                f"keeps {asked:,}; give search.sparsities = ({1 - kept / of},), "
                "without a distribution over layers"
            )


def _check_task(ground, criterion):
    """Refuses what is made for classes, logits or images where there are none."""
    search, facts, goal = ground.options.search, ground.facts, ground.options.objective
    score = f"search.score = {search.score!r}"
    if criterion.tempered and not ground.objective.logits:
        raise ValueError(
            "a score that divides logits by a temperature needs an objective whose "
            f"outputs are logits, got {score} with objective = {goal!r}; give 'snip'"
        )
    if criterion.flows and not jnp.issubdtype(facts.dtype, jnp.floating):
        raise ValueError(
            "a score that feeds the network ones needs inputs that are floats, got "
            f"{score} with inputs of {facts.dtype}; give another score"
        )
    corrupt = f"search.corrupt = {search.corrupt!r}"
    if search.corrupt == "labels" and not objective_lib.is_of_classes(facts):
        raise ValueError(
            "labels are drawn at random where each example has one class, got "
            f"{corrupt} with labels of {facts.label_dtype} {list(facts.label_shape)}; "
            "give 'none' or 'half'"
        )
    if search.corrupt == "pixels" and not objective_lib.are_images(facts):
        raise ValueError(
            f"only images have pixels to be shuffled, got {corrupt} with inputs of "
            f"{facts.dtype} {list(facts.image_shape)}; give 'none' or 'half'"
        )


def _loss(forward, model_state, examples, objective):
    """Returns (params, temperature) -> the mean loss over batches of examples."""

    def loss_fn(params, temperature):
        def one(params, batch):
            images, labels = batch
            outputs = forward(params, model_state, images)
            outputs = jax.tree.map(lambda x: x / temperature, outputs)
            return jnp.mean(objective.loss(outputs, labels))

        return scores.over_batches(one, examples)(params)

    return loss_fn
