"""Dynamic sparse training: optax wrappers that carry their masks and change them.

They take the place of `training.keep`, outermost, around anybody's optimizer:

    tx = dynamic.rigl(optax.sgd(0.1), 0.9, key=key, every=100, until=7500)
    state = tx.init(params)
    params = masks.apply(params, dynamic.masks(state))
    for batch in batches:
        updates, state = tx.update(jax.grad(loss)(params, batch), state, params)
        params = optax.apply_updates(params, updates)

`update` asks for the gradient of the loss by all effective weights, pruned ones too.
After every update a pruned weight is exactly 0.0 (in `straight_through` and `wirings`,
what `forward` returns is), so that the gradient at the parameters is just that. It
takes an optional `step`, a scalar to count by in place of the state's own count: hand
in one for a whole population under `vmap`, and "is a change due" stays a branch that is
not paid for at every step.
"""

from lthjax import moved
from lthjax.dynamic.carrying import CarryingState as CarryingState
from lthjax.dynamic.carrying import StraightThroughState as StraightThroughState
from lthjax.dynamic.carrying import forward as forward
from lthjax.dynamic.carrying import masks as masks
from lthjax.dynamic.carrying import start as start
from lthjax.dynamic.dense_to_sparse import cubic as cubic
from lthjax.dynamic.dense_to_sparse import gradual as gradual
from lthjax.dynamic.dense_to_sparse import straight_through as straight_through
from lthjax.dynamic.dense_to_sparse import wirings as wirings
from lthjax.dynamic.multipliers import admm as admm
from lthjax.dynamic.sparse_to_sparse import drop_fraction as drop_fraction
from lthjax.dynamic.sparse_to_sparse import rigl as rigl
from lthjax.dynamic.sparse_to_sparse import set_ as set

METHODS = {
    "gradual": gradual,
    "set": set,
    "rigl": rigl,
    "straight_through": straight_through,
    "wirings": wirings,
}


def __getattr__(name: str):
    """Answers for what moved away, with a warning."""
    return moved.answer(__name__, name)
