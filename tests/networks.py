"""Networks drawn and applied by one compiled program each, not one an operation."""

import jax

from lthjax import models

initialise = jax.jit(models.initialise, static_argnums=0)
apply = jax.jit(models.apply, static_argnums=0, static_argnames="train")
