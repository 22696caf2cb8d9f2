"""Optimizers that carry masks, each around one of anybody's, for their tests."""

import jax
import optax
import toy

from lthjax import dynamic
from lthjax.gates import hard_concrete

DROPS = optax.piecewise_constant_schedule(0.1, {2: 0.5, 4: 0.1})
CLIPPED = optax.clip_by_global_norm(0.5)
DECAYED = optax.add_decayed_weights(0.1)


def kernels(params):
    return jax.tree.map(lambda w: w.shape[0] > 1, params)


INNERS = {
    "nesterov": optax.sgd(0.1, momentum=0.9, nesterov=True),
    "adam": optax.adam(0.1),
    "injected": optax.inject_hyperparams(optax.adamw)(DROPS, weight_decay=0.1),
    "clipped": optax.chain(CLIPPED, DECAYED, optax.sgd(DROPS, momentum=0.9)),
    "masked": optax.chain(optax.masked(optax.trace(0.9), kernels), optax.scale(-0.1)),
    "noisy": optax.chain(optax.add_noise(0.1, 0.5, 0), optax.sgd(0.1, momentum=0.9)),
    "lbfgs": optax.lbfgs(0.1, linesearch=None),
    "factored": optax.adafactor(0.1, min_dim_size_to_factor=8),
}
NEVER = {
    "gradual": {"begin": 50, "end": 100, "every": 10},
    "set": {"every": 50, "until": 100, "key": toy.KEY},
    "rigl": {"every": 50, "until": 100, "key": toy.KEY},
    "straight_through": {"begin": 50, "end": 100, "every": 10},
}
OFTEN = {
    "gradual": {"begin": 1, "end": 5, "every": 2},
    "set": {"every": 2, "until": 100, "key": toy.KEY},
    "rigl": {"every": 2, "until": 100, "key": toy.KEY},
    "straight_through": {"begin": 1, "end": 5, "every": 2},
}


WRAPPED = {
    "gradual": lambda tx: dynamic.gradual(tx, 0.5, begin=0, end=2, every=1),
    "straight_through": lambda tx: dynamic.straight_through(tx, 0.5, every=1),
    "wirings": lambda tx: dynamic.wirings(tx, 0.5),
    "set": lambda tx: dynamic.set(tx, 0.5, every=1, until=4, key=toy.KEY),
    "rigl": lambda tx: dynamic.rigl(tx, 0.5, every=1, until=4, key=toy.KEY),
    "bounded": hard_concrete.bounded,
}


def made(method, inner, sparsity=0.5, *, options=OFTEN, **changes):
    """Returns the optimizer of a method, around one of `INNERS`."""
    factory = dynamic.METHODS[method]
    return factory(INNERS[inner], sparsity, **{**options[method], **changes})
