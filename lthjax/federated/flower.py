"""Our visits and averages as a client and a strategy of Flower, which carries them.

Needs `pip install 'lthjax[flower]'`; this module can be imported without it.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lthjax.federated import aggregation, traffic
from lthjax.federated.policies import Policy
from lthjax.federated.states import Clients, Examples, Server
from lthjax.federated.visits import VisitFn
from lthjax.pruning.masks import Masks

ROUND = "round"  # in the config of a fit


def client(
    visit_fn: VisitFn, server: Server, state: Clients, examples: Examples, *, seed: int
) -> Any:
    """Returns a `flwr.client.NumPyClient` that does visits, and keeps its own state.

    `fit(parameters, config)` is given the global weights, a list of arrays in the order
    of the leaves, and `config["round"]`; it returns a payload (`traffic.payload`), the
    number of examples, and what it measured. Its masks, stage and threshold stay with
    it, as `client.state`; after a round whose weights are not finite, those of before.

    Args:
      visit_fn: As of `visits.visitor`.
      server: Of the first round: its `initial` are the weights that tickets go back to.
      state: The client's first state, of one client.
      examples: Its own.
      seed: Of what it draws, with the round.
    """
    from flwr.client import NumPyClient

    compiled = jax.jit(visit_fn)

    class Client(NumPyClient):
        def get_parameters(self, config):
            del config
            return [np.asarray(leaf) for leaf in jax.tree.leaves(self.state.params)]

        def fit(self, parameters, config):
            at = int(config[ROUND])
            key = jax.random.fold_in(jax.random.key(seed), at)
            params = _tree(server.initial, parameters)
            given = Server(params, server.initial, jnp.int32(at))
            state, seen = compiled(key, given, self.state, examples)
            sent = traffic.payload(state.params, state.masks)
            sound = bool(np.isfinite(sent[0]).all())
            self.state = state if sound else self.state
            found = {"passed": bool(seen.passed) and sound, "loss": float(seen.loss)}
            found |= {"accuracy": float(seen.accuracy), "stage": int(self.state.stage)}
            return sent, int(examples.size), found

    made = Client()
    made.state = state
    return made


def strategy(
    policy: Policy,
    server: Server,
    full: Masks,
    *,
    configure: Callable[..., list] | None = None,
) -> Any:
    """Returns a `flwr.server.strategy.Strategy` that averages as the policy says.

    `aggregate_fit` opens payloads, leaves out clients that failed, whose weights are
    not finite, whose payload cannot be opened or is of less than one example, and
    counts the others by `n_k / n`. It
    returns how many failed, and the ids of those whose payload it left out.

    Args:
      policy: Whose aggregation it is; masks are unicast by Flower only as whole arrays.
      server: Of the first round.
      full: The full masks.
      configure: (round, parameters, client manager) -> pairs of a client and its
        `FitIns`; by default all clients there are.
    """
    from flwr.common import FitIns, ndarrays_to_parameters, parameters_to_ndarrays
    from flwr.server.strategy import Strategy

    combine = aggregation.by_name(policy.aggregation)

    def packed(params):
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(params)]
        return ndarrays_to_parameters(leaves)

    class Rounds(Strategy):
        def initialize_parameters(self, client_manager):
            del client_manager
            return packed(self.params)

        def configure_fit(self, server_round, parameters, client_manager):
            if configure is not None:
                return configure(server_round, parameters, client_manager)
            given = FitIns(parameters, {ROUND: server_round})
            return [(one, given) for one in client_manager.all().values()]

        def aggregate_fit(self, server_round, results, failures):
            del server_round
            payloads = [parameters_to_ndarrays(r.parameters) for _, r in results]
            sizes = [r.num_examples for _, r in results]
            self.params, left = averaged(combine, self.params, full, payloads, sizes)
            names = [str(getattr(results[k][0], "cid", k)) for k in left]
            told = {"failed": len(failures), "left_out": ", ".join(names)}
            return packed(self.params), told

        def configure_evaluate(self, server_round, parameters, client_manager):
            del server_round, parameters, client_manager
            return []

        def aggregate_evaluate(self, server_round, results, failures):
            del server_round, results, failures
            return None, {}

        def evaluate(self, server_round, parameters):
            del server_round, parameters

    made = Rounds()
    made.params = server.params
    return made


def averaged(
    combine: Callable[..., Any], old: Any, full: Masks, payloads: list, sizes: list
) -> tuple[Any, list[int]]:
    """Returns the global weights after some payloads, and which were left out.

    That is those that cannot be opened, whose weights are not finite, or that are of no
    example: a negative share would count the others more than once.

    Args:
      combine: One of `aggregation.AGGREGATIONS`.
      old: The global weights before.
      full: The full masks.
      payloads: What `traffic.payload` packed, of each client.
      sizes: The examples of each.
    """
    found = {k: _opened(sent, full, old) for k, sent in enumerate(payloads)}
    found = {k: row if sizes[k] >= 1 else None for k, row in found.items()}
    rows = {k: row for k, row in found.items() if row is not None}
    left = [k for k in found if k not in rows]
    if not rows:
        return old, left
    params, masks = jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows.values())
    counted = jnp.asarray([sizes[k] for k in rows])
    share = aggregation.shares(counted, jnp.ones(len(rows), bool))
    return combine(old, params, masks, share), left


def _opened(sent, full, old):
    """Returns the (params, masks) of a payload, None where they are not sound."""
    try:
        found = traffic.opened(sent, full, old)
    except (ValueError, TypeError):
        return None
    return found if np.isfinite(sent[0]).all() else None


def _tree(like, leaves):
    return jax.tree.unflatten(jax.tree.structure(like), list(map(jnp.asarray, leaves)))
