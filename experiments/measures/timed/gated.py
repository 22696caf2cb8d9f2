"""Training with gates: its step beside the masked one, and searches all at once."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from lthjax.devices import measure
from lthjax.program.build import assemble, gate_rounds
from lthjax.tickets import Ticket
from lthjax.training import members as members_lib
from measures.timed.rows import Row, row
from measures.timed.steps import END, going_on, network, setting

MOST = {"resnet20": 1.15}  # a gated step in masked ones
LOGITS = 8
FRACTION = 0.25  # of the time of as many searches in sequence, on an accelerator


def trainer(name: str, options, *, gated: bool, members: int = 1) -> Callable:
    """Returns steps -> seconds of a round, or of a dense ticket by the same optimizer.

    Args:
      name: Of the network.
      options: Of the command.
      gated: Whether gates are trained with the weights.
      members: With first logits evenly from -0.1 to 0.1.
    """
    config, source = setting(network(name, options), options, augment=False)
    config.search.method = "continuous" if gated else "iterative"
    parts = assemble.build(config, source)
    params, model_state = parts.init_fn(jax.random.key(0))
    masks = parts.masks_fn(params)
    state, ticket = parts.search.init(jax.random.key(0), params, model_state, masks)
    if gated:
        logits = jnp.linspace(-0.1, 0.1, members).tolist()
        rounds = [gate_rounds.varied(state, logit).round for logit in logits]
        found = [Ticket(1, 0, END, *each, searching=1) for each in rounds]
    else:
        found = [ticket] * members
    states = members_lib.stack([parts.begin(each) for each in found])
    fixed = members_lib.stack([each.masks for each in found])
    fixed = fixed, jnp.stack([jax.random.key(0)] * members)
    return going_on(parts, states, [fixed])


def step(options) -> list[Row]:
    """Measures the gated step in masked ones, one network after the other."""
    rows = []
    for name in ("lenet",) if options.smoke else ("lenet", "resnet20"):
        runs = {
            which: trainer(name, options, gated=which == "gated")
            for which in ("masked", "gated")
        }
        taken = measure.in_turns(runs, options.rounds, options.seconds)
        rows += [row(f"{name}, gated", "steps/s", 1 / taken["gated"])]
        ratio = taken["gated"] / taken["masked"]
        what = f"{name}, seconds gated by masked"
        rows += [row(what, "times", ratio, most=MOST.get(name))]
    return rows


def parallel(options) -> list[Row]:
    """Measures a search of several first logits at once by as many in sequence."""
    runs = {
        "all": trainer("lenet", options, gated=True, members=LOGITS),
        "one": trainer("lenet", options, gated=True),
    }
    taken = measure.in_turns(runs, options.rounds, options.seconds)
    most = None if jax.default_backend() == "cpu" else FRACTION
    what = f"lenet, {LOGITS} searches at once by {LOGITS} in sequence"
    return [row(what, "times", taken["all"] / (LOGITS * taken["one"]), most=most)]


PARTS = {"gated": step, "parallel": parallel}
