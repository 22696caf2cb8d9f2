"""What a user's own functions do when they are called, before anything is trained."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from lthjax import models, registry
from lthjax.data import in_memory
from lthjax.data import splits as splits_lib
from lthjax.program.build import by_score, plan
from lthjax.pruning import cuts
from lthjax.tickets import Trained


def score(config, network: Callable, source: in_memory.Source, parts: tuple) -> None:
    """Scores the network before anything is trained, and refuses what cannot be.

    A score of a user's own is called on shapes; SynFlow prunes the first network in
    earnest, if that is not ours.

    Args:
      config: A validated config.
      network: As for `selector`.
      source: The data set.
      parts: (init_fn, masks_fn, prune_fn, targets): key -> (params, model_state),
        params -> full masks, what `selector` returned, and what each level keeps.

    Raises:
      ValueError: The score raises something, or is no tree of numbers of the shapes of
        the masks; or as `selector` in a call.
    """
    init_fn, masks_fn, prune_fn, targets = parts
    key, criterion = jax.random.key(config.seeds[0]), by_score.resolve(config)
    if config.search.score not in by_score.SCORES:
        batch = config.search.batches, config.train.batch_size
        images = jnp.zeros((*batch, *splits_lib.image_shape(source.train)))
        scored = by_score.scorer(config, network, source)

        def tried(key):
            params, model_state = init_fn(key)
            trained = Trained(params, model_state, masks_fn(params))
            examples = images, jnp.zeros(batch, jnp.int32)
            with registry.calling("score", config.search.score):
                found = scored(key, trained, trained.masks, examples)
            cuts.pairs(trained.masks, found)

        jax.eval_shape(tried, key)
    module = plan.model(config, plan.kind(source))
    if criterion.flows and not models.is_ours(module) and targets:
        params, model_state = init_fn(key)
        prune_fn(key, Trained(params, model_state, masks_fn(params)), targets[0])
