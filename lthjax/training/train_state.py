"""flax's `TrainState`, whose `apply_gradients` takes masks."""

import functools
from typing import Any

import optax
from flax.training import train_state

from lthjax.pruning import masks as masks_lib
from lthjax.pruning.masks import Masks
from lthjax.training import zeros


class TrainState(train_state.TrainState):
    """What flax's examples carry from step to step; pruned weights stay zero.

    state = TrainState.create(apply_fn=model.apply, params=params, tx=optax.adam(1e-3))
    state = state.pruned(masks).apply_gradients(grads=grads, masks=masks)

    The masks are an argument and no part of the state: one compilation serves all of
    them. The optimizer is any of optax, wrapped by `keep` where it is not yet; one of
    `dynamic`, which carries its masks, goes into flax's own.
    """

    def apply_gradients(  # type: ignore[override]
        self, *, grads: Any, masks: Masks, **changes: Any
    ):
        """Returns the state after a step of the optimizer, as `keep` takes it.

        Args:
          grads: The gradients, of the shape of `params`.
          masks: Those of the parameters.
          **changes: Other fields that are replaced, as in flax.

        Raises:
          ValueError: The masks do not fit the parameters, or the optimizer carries
            some of its own.
        """
        tx = self.tx if zeros.is_kept(self.tx) else zeros.keep(self.tx)
        update = functools.partial(tx.update, masks=masks)
        held = optax.GradientTransformationExtraArgs(tx.init, update)
        own = self.replace(tx=held)
        found = super(TrainState, own).apply_gradients(grads=grads, **changes)
        return found.replace(tx=self.tx)

    def pruned(self, masks: Masks):
        """Returns the state with pruned weights at zero, in its optimizer too.

        Args:
          masks: Those of the parameters.

        Raises:
          ValueError: The masks do not fit the parameters, or the optimizer carries
            some of its own.
        """
        params = masks_lib.apply(self.params, masks)
        tx = self.tx if zeros.is_kept(self.tx) else zeros.keep(self.tx)
        opt_state = zeros.cleared(tx, self.opt_state, params, masks)
        return self.replace(params=params, opt_state=opt_state)
