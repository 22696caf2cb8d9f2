"""A round: some clients are asked, each works on its own, and the server averages."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from lthjax.devices import meshes
from lthjax.federated import aggregation
from lthjax.federated.policies import Policy
from lthjax.federated.states import Clients, Record, Server, chosen
from lthjax.federated.visits import VisitFn
from lthjax.pruning import masks as masks_lib
from lthjax.training import members

RoundFn = Callable[..., tuple[Server, Clients, Record]]


def asked(participation: float, clients: int) -> int:
    """Returns how many clients a round asks: `max(C K, 1)`, rounded.

    Args:
      participation: C, their share.
      clients: K, how many there are.

    Raises:
      ValueError: The share is not in [0, 1].

    Example:
      >>> lth.federated.rounds.asked(0.0, 40), lth.federated.rounds.asked(0.1, 40)
      (1, 4)
    """
    if not 0 <= participation <= 1:
        raise ValueError(
            f"participation must be a share in [0, 1], got participation = "
            f"{participation}"
        )
    return max(round(participation * clients), 1)


def round_of(
    policy: Policy,
    visit_fn: VisitFn,
    count: int,
    *,
    drop: float = 0.0,
    together: int | None = None,
    mesh: Mesh | None = None,
) -> RoundFn:
    """Returns (key, server, clients, examples) -> (server, clients, Record).

        w = aggregate(w, {w_k, m_k, n_k / n}),  k among those that are there

    Who is asked, who is lost and what each draws are functions of the key and of the
    client's number alone. A client that is lost, or whose weights are not finite, is as
    it was before the round, and the others count as if it had not been asked.

    Args:
      policy: What all follow.
      visit_fn: As of `visits.visitor`.
      count: How many clients are asked in a round.
      drop: The probability that one of them is lost.
      together: How many are computed at once, as for `members.population`.
      mesh: Over whose axis `ticket` clients are spread.

    Raises:
      ValueError: `drop` is no probability; in the function that is returned: there
        are fewer clients than are asked, or not examples of each.
    """
    if not 0 <= drop <= 1:
        raise ValueError(f"drop must be a probability in [0, 1], got drop = {drop}")
    aggregate = aggregation.by_name(policy.aggregation)
    visits = _mapped(visit_fn, together, mesh)

    def one(key, server, clients, examples):
        _check_clients(count, len(clients.stage), len(examples.size))
        who_key, drop_key, own_key = jax.random.split(key, 3)
        who = jax.random.permutation(who_key, len(clients.stage))[:count]
        own = jax.vmap(lambda k: jax.random.fold_in(own_key, k))(who)
        before = jax.tree.map(lambda leaf: leaf[who], (clients, examples))
        states, seen = visits(own, *before, server)
        lost = jax.vmap(lambda k: _lost(drop_key, k, drop))(who)
        sound = _finite(states.params)
        there = ~lost & sound
        share = aggregation.shares(before[1].size, there)
        params = aggregate(server.params, states.params, states.masks, share)
        kept = jax.vmap(lambda masks: masks_lib.count(masks)[0])(states.masks)
        silent = lost | (policy.downlink == "none")
        sent = jnp.where(silent, 0, kept)  # what is not finite is seen when it is there
        states = chosen(there, states, before[0])
        seen = seen._replace(passed=seen.passed & there)
        record = Record(who, lost, sound, *seen[:3], states.stage, seen.received, sent)
        clients = jax.tree.map(lambda x, new: x.at[who].set(new), clients, states)
        return Server(params, server.initial, server.round + 1), clients, record

    return one


def _check_clients(count, clients, dealt):
    """Refuses clients of whom not so many can be asked, or that have no examples."""
    if not 1 <= count <= clients:
        raise ValueError(
            f"a round must ask from 1 to all {clients} clients, got count = {count}"
        )
    if dealt != clients:
        raise ValueError(
            f"there must be examples of each of the {clients} clients, got those of "
            f"{dealt}"
        )


def _lost(key, client, drop):
    return jax.random.bernoulli(jax.random.fold_in(key, client), drop)


def _finite(params) -> jax.Array:
    """Returns whether all weights of each client are numbers, bool [m]."""

    def one(leaf):
        return jnp.isfinite(leaf).reshape(len(leaf), -1).all(1)

    return jnp.stack([one(leaf) for leaf in jax.tree.leaves(params)]).all(0)


def _mapped(visit_fn, together, mesh) -> Callable[..., Any]:
    """Returns (keys, clients, examples, server) -> states and visits of all asked."""

    def of(member, server):
        (client, *rest), key = member
        return visit_fn(key, server, client, *rest)

    def all_of(states, fixed, server):
        fn = members.population(of, together=together)
        return fn((states, fixed), server)

    if mesh is None or meshes.trivial(mesh):
        return lambda keys, clients, examples, server: all_of(
            (clients, examples), keys, server
        )
    spread = meshes.over(mesh, all_of)

    def padded(keys, clients, examples, server):
        count = len(keys)
        rows = jnp.minimum(
            jnp.arange(count + -count % mesh.shape[meshes.TICKET]), count - 1
        )
        whole = jax.tree.map(lambda leaf: leaf[rows], ((clients, examples), keys))
        return jax.tree.map(lambda leaf: leaf[:count], spread(*whole, server))

    return padded
