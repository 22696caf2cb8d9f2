"""What a user's own functions do when they are called, before anything is trained."""

import jax

from lthjax import registry
from lthjax.callables import MasksFn, PruneFn
from lthjax.program.build import criterion, linear, network
from lthjax.program.build.parts import Ground
from lthjax.pruning import cuts
from lthjax.tickets import Trained


def score(ground: Ground, masks_fn: MasksFn, prune_fn: PruneFn) -> None:
    """Scores the network before anything is trained, and refuses what cannot be.

    A score of a user's own is called on shapes; SynFlow prunes the first network in
    earnest, if that is not ours.

    Args:
      ground: What the method is built on.
      masks_fn: params -> full masks.
      prune_fn: What `criterion.selector` returned.

    Raises:
      ValueError: The score raises something, or is no tree of numbers of the shapes of
        the masks; or as `selector` in a call.
    """
    config, targets = ground.options, ground.plan.targets
    key, known = jax.random.key(config.seeds[0]), criterion.resolve(config)

    def begin(key):
        params, model_state = ground.init_fn(key)
        return Trained(params, model_state, masks_fn(params))

    if config.search.score not in criterion.SCORES:
        facts, asked = ground.facts, config.search
        batch = asked.batches, asked.examples or config.train.batch_size
        labels = (*batch, *facts.label_shape), facts.label_dtype
        examples = network.inputs(facts, *batch), jax.ShapeDtypeStruct(*labels)
        scored = criterion.scorer(ground)

        def tried(key, examples):
            trained = begin(key)
            with registry.calling("score", config.search.score):
                found = scored(key, trained, trained.masks, examples)
            cuts.pairs(trained.masks, found)

        jax.eval_shape(tried, key, examples)
    if known.flows and not linear.is_known(ground.module) and targets:
        prune_fn(key, begin(key), targets[0])
