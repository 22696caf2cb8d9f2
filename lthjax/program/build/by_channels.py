"""Methods that draw one ticket of channels: early-bird, greedy forward selection."""

import functools
import logging
from collections.abc import Callable
from typing import Any

import jax

from lthjax import registry
from lthjax.callables import MasksFn
from lthjax.channels import by_channel, slimming
from lthjax.program.build import channel_selection, levels
from lthjax.program.build.method import Method, kept_weights
from lthjax.program.build.parts import Ground, Training
from lthjax.pruning import choose, kept_counts, scores
from lthjax.tickets import Search, Trained
from lthjax.tickets.early_bird import early_bird, saved
from lthjax.tickets.forward_selection import forward
from lthjax.tickets.stability import flatten
from lthjax.training import optimizers

log = logging.getLogger(__name__)

WATCHED = {"channels": True, "weights": False}


def channel_masks(ground: Ground) -> MasksFn:
    """Returns params -> full masks, biases and norms of channels with their kernels.

    Args:
      ground: What the method is built on.

    Raises:
      ValueError: In a call: the network has no known channel groups, a pattern of
        `search.exclude` matches none of them, or all are excluded.
    """
    exclude = tuple(ground.options.search.exclude)

    def masks(params):
        found = channel_selection.groups(ground.module, params, exclude)
        return by_channel.full(params, found)

    return masks


def _one_level(ground, remedy=""):
    if len(ground.plan.targets) != 1:
        raise ValueError(
            f"search.method = {ground.options.search.method!r} draws one ticket, got "
            f"{len(ground.plan.targets)} levels; give search.levels = 1{remedy}"
        )


def _by_channel(ground):
    watched = ground.options.early_bird.watch
    return registry.resolve(watched, WATCHED, "early_bird.watch")


def _share(ground):
    """Returns the sparsity of an early-bird ticket."""
    search = ground.options.search
    return (*search.sparsities, search.rate)[0]


def _early_targets(ground):
    """Returns what the ticket keeps; of channels only itself says how many weights."""
    found = levels.targets(ground)
    return levels.learnt(ground) if _by_channel(ground) else found


def _watched_masks(ground):
    return (channel_masks if _by_channel(ground) else kept_weights)(ground)


def drawing(ground: Ground) -> Callable[[Trained], tuple[Any, Any]]:
    """Returns trained -> (mask to watch, masks), what draws an early-bird ticket.

    Args:
      ground: What the method is built on.
    """
    share = _share(ground)
    if not _by_channel(ground):
        return jax.jit(functools.partial(_drawn_weights, share))
    exclude = tuple(ground.options.search.exclude)
    return jax.jit(functools.partial(_drawn_channels, ground.module, exclude, share))


def _drawn_channels(network, exclude, sparsity, trained):
    found = channel_selection.groups(network, trained.params, exclude)
    kept = slimming.slimmed(slimming.norm_scales(trained.params, found), sparsity)
    return flatten(kept), by_channel.spread(trained.masks, kept, found)


def _drawn_weights(sparsity, trained):
    ranked = scores.magnitude(trained.params, trained.masks)
    masks = choose.prune(trained.masks, ranked, sparsity)
    return flatten(masks), masks


def _check_draw(ground):
    """Checks that the ticket of an early-bird search loses something."""
    found = _early_search(ground, None, drawing(ground))
    masks_fn = _watched_masks(ground)

    def begin(key):
        params, model_state = ground.init_fn(key)
        return found.init(key, params, model_state, masks_fn(params))

    state, _ = jax.eval_shape(begin, jax.random.key(0))
    watched, share = state.watch.ticket.size, _share(ground)
    if kept_counts.kept_count(watched, share) == watched:
        raise ValueError(
            f"an early-bird ticket must lose one of its {watched:,} "
            f"{ground.options.early_bird.watch}, got a sparsity of {share}"
        )


def _early_search(ground, optimizer, draw_fn) -> Search:
    del optimizer
    given, plan = ground.options.early_bird, ground.plan
    return early_bird(
        lambda trained: draw_fn(trained._replace(opt_state=None)),
        steps=plan.steps,
        epoch=plan.steps_per_epoch,
        rule=given.rule,
        threshold=given.threshold,
        queue=given.queue,
        report=functools.partial(_say, (plan.steps, plan.steps_per_epoch)),
    )


def _early_spans(ground):
    _one_level(ground, " or search.sparsities = (p,)")
    plan = ground.plan
    first = Training("ticket", 0, 0, None)
    return [first, Training("ticket", 1, plan.steps_per_epoch, plan.steps)]


def _say(span, state, ticket):
    facts = saved(state, ticket.masks, steps=span[0], epoch=span[1])
    why = "the masks stayed" if facts["fired"] else "the schedule was at its end"
    log.info(
        "early-bird ticket drawn at epoch %d (%s): %d of %d dense steps saved, %.1f %%",
        facts["epoch"],
        why,
        facts["dense_steps_saved"],
        span[0],
        100 * facts["share_of_pretraining_saved"],
    )


def _check_forward(ground):
    if ground.options.objective != "classification":
        raise ValueError(
            "greedy forward selection goes by the accuracy of a classifier, got "
            f"search.method = 'forward' with objective = {ground.options.objective!r}; "
            "give another method"
        )
    channel_selection.check(ground.options.forward)


def _forward_search(ground, optimizer, selection) -> Search:
    del optimizer
    given, steps = ground.options.forward, ground.plan.steps
    return forward(
        selection, steps=steps, draw_at=given.draw_at or steps, tune=given.tune
    )


def _forward_spans(ground):
    _one_level(ground)
    given, steps = ground.options.forward, ground.plan.steps
    drawn = Training("ticket", 0, 0, given.draw_at or steps)
    return [drawn, Training("ticket", 1, steps, steps + given.tune)]


def _forward_schedule(ground, schedule):
    given, steps = ground.options.forward, ground.plan.steps
    return optimizers.tuned(schedule, steps, given.tune_rate, given.tune)


def _shrink_early_bird(config):
    config.train.batch_size = 64  # an epoch is a step


def _shrink_forward(config):
    config.forward.update(number=2, most=2, batch_size=8, check=16)
    config.forward.tune = min(config.forward.tune, config.train.steps)
    config.forward.draw_at = min(config.forward.draw_at, config.train.steps)


COMMON = ("search.levels", "search.exclude")
METHODS = {
    "early_bird": Method(
        keys=(*COMMON, "search.sparsities", "search.rate", "early_bird"),
        targets=_early_targets,
        search=_early_search,
        spans=_early_spans,
        check=_check_draw,
        masks=_watched_masks,
        prune=drawing,
        shrink=_shrink_early_bird,
    ),
    "forward": Method(
        keys=(*COMMON, "forward"),
        targets=levels.learnt,
        search=_forward_search,
        spans=_forward_spans,
        check=_check_forward,
        masks=channel_masks,
        prune=channel_selection.selection,
        schedule=_forward_schedule,
        shrink=_shrink_forward,
    ),
}
