"""What one client does in a round: receive, validate, draw a ticket, train, send."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lthjax.federated import policies
from lthjax.federated.local_training import AccuracyFn, TrainFn
from lthjax.federated.policies import Policy
from lthjax.federated.states import Clients, Examples, Server, chosen
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.masks import Masks

VisitFn = Callable[..., tuple[Clients, "Visit"]]


class Visit(NamedTuple):
    """What a client did in a round, beside its state.

    Attributes:
      passed: Whether it drew a sparser ticket, bool [].
      accuracy: Of what it received, on what it validates on, float32 [].
      loss: The mean loss of its training, float32 [].
      received: How many prunable weights it was sent, int32 [].
    """

    passed: jax.Array
    accuracy: jax.Array
    loss: jax.Array
    received: jax.Array


def visitor(
    policy: Policy, full: Masks, train_fn: TrainFn, accuracy_fn: AccuracyFn
) -> VisitFn:
    """Returns (key, server, client, examples) -> (client, Visit), of one client.

    The client receives w = the global weights (of its mask alone, where they are
    unicast). Where their accuracy exceeds its threshold and a sparser stage is left, it
    draws that ticket, and the weights it keeps go back to the first ones; else

        fresh:   it trains w without masks, or of the last stage masked by that
        nested:  it trains w in the masks that it has

    What it sends is what it keeps: `params` and `masks` of the client. Where each
    trains alone nothing is received or sent.

    Args:
      policy: What all follow.
      full: The full masks.
      train_fn: As of `local_training.trainer`.
      accuracy_fn: As of `local_training.counter`.

    Raises:
      ValueError: The policy cannot be followed.
    """
    policies.check(policy)
    counts, last = policies.kept(policy, full), len(policy.sparsities) - 1

    def visit(key, server: Server, client: Clients, examples: Examples):
        received = client.masks if policy.downlink == "unicast" else full
        alone = policy.downlink == "none"
        params = client.params if alone else masks_lib.apply(server.params, received)
        accuracy = accuracy_fn(params, examples[3:])
        done = client.stage >= last
        passed = ~done & (accuracy > client.threshold)
        stage = client.stage + passed
        masks = _masks(policy, counts, full, client, (params, stage, passed | done))
        start = chosen(passed, server.initial, params)
        trained, loss = train_fn(
            masks_lib.apply(start, masks), masks, examples[:3], key
        )
        threshold = after(policy, client.threshold, passed, done)
        state = Clients(masks, stage, threshold, trained)
        count = jnp.int32(0) if alone else masks_lib.count(received)[0]
        return state, Visit(passed, accuracy, loss, count)

    return visit


def after(
    policy: Policy, threshold: jax.Array, passed: jax.Array, done: jax.Array
) -> jax.Array:
    """Returns a client's threshold after its test.

    The policy's own where it passed, `decay` times what it was where it failed, and
    what it was where there was nothing to test for.

    Args:
      policy: Whose.
      threshold: Before [].
      passed: Whether it passed [].
      done: Whether it has its last ticket [].
    """
    failed = jnp.where(done, threshold, policy.decay * threshold)
    return jnp.where(passed, jnp.float32(policy.threshold), failed)


def _masks(policy, counts, full, client, found):
    """Returns the masks that a client trains in."""
    params, stage, drawing = found
    if policy.masks == "nested":  # of the same stage, these are its own
        return policies.drawn(policy, counts, client.masks, params, stage)
    if len(policy.sparsities) == 1:
        return full
    fresh = policies.drawn(policy, counts, full, params, stage)
    return chosen(drawing, fresh, full)
