import os

import federation
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trees import assert_same

from lthjax.federated import aggregation, flower, traffic
from lthjax.training import members

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"


@pytest.mark.parametrize("name", ["zero_fill", "mask_mean"])
def test_payloads_average_as_stacked_clients_do(name):
    server, clients, _, _ = federation.start(federation.POLICIES["cell"])
    full = members.member(clients.masks, 0)
    masks = jax.tree.map(
        lambda m: m & (jnp.arange(m.shape[0]) > 0).reshape(-1, *[1] * (m.ndim - 1)),
        clients.masks,
    )
    rows = [members.member((clients.params, masks), k) for k in range(4)]
    sent = [traffic.payload(*row) for row in rows]
    sent[3][0][0] = np.nan
    sizes = [1, 2, 3, 4]
    combine = aggregation.by_name(name)
    found, left = flower.averaged(combine, server.params, full, sent, sizes)
    share = aggregation.shares(jnp.array(sizes), jnp.array([True] * 3 + [False]))
    wanted = combine(server.params, clients.params, masks, share)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-6), found, wanted)
    assert left == [3]
    assert flower.averaged(combine, server.params, full, [], [])[0] is server.params
    cut = [[sent[0][0][:-1], sent[0][1]], [sent[0][0]], *sent[1:]]
    found, left = flower.averaged(combine, server.params, full, cut, [1, 1, 2, 3, 4])
    assert left == [0, 1, 4]
    only = flower.averaged(combine, server.params, full, sent[1:3], [2, 3])[0]
    assert_same(found, only)
    sizes = [-1, 2, 3, 0]  # two weights of the third would be three, less one
    again, left = flower.averaged(combine, server.params, full, sent, sizes)
    assert_same(again, only)
    assert left == [0, 3]
    assert flower.averaged(combine, server.params, full, sent[3:], [4]) == (
        server.params,
        [0],
    )


def test_a_round_of_flower_is_a_round_of_ours():
    common = pytest.importorskip("flwr.common")
    policy = federation.POLICIES["lottery_fl"]
    server, clients, examples, visit = federation.start(policy)
    full = members.member(clients.masks, 0)
    strategy = flower.strategy(policy, server, full)
    parameters = strategy.initialize_parameters(None)
    given = common.parameters_to_ndarrays(parameters)
    results, states = [], []
    for k in range(3):
        own = members.member((clients, examples), k)
        one = flower.client(visit, server, *own, seed=k)
        sent, size, metrics = one.fit(given, {"round": 1})
        key = jax.random.fold_in(jax.random.key(k), 1)
        state, _ = jax.jit(visit)(key, server, *own)
        assert_same(one.state, state)
        assert metrics["stage"] == int(state.stage) and size == int(own[1].size)
        status = common.Status(common.Code.OK, "")
        packed = common.ndarrays_to_parameters(sent)
        results.append((None, common.FitRes(status, packed, size, metrics)))
        states.append(state)
    after, counts = strategy.aggregate_fit(1, results, [ValueError("lost")])
    whole = members.stack(states)
    share = aggregation.shares(examples.size[:3], jnp.ones(3, bool))
    combine = aggregation.by_name(policy.aggregation)
    wanted = combine(server.params, whole.params, whole.masks, share)
    for a, b in zip(
        common.parameters_to_ndarrays(after), jax.tree.leaves(wanted), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert counts == {"failed": 1, "left_out": ""}
    assert strategy.aggregate_fit(2, [], [])[1] == {"failed": 0, "left_out": ""}
