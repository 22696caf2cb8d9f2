import federation
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trees import assert_same

from lthjax.federated import policies, rounds, traffic
from lthjax.training import members

TOTAL, REST = 54 + 24, 6 + 4  # weights and biases of the tiny network


@pytest.mark.parametrize("name", ["fedavg", "lottery_fl", "cell"])
def test_bytes_of_a_round_equal_the_closed_form_and_what_is_really_sent(name):
    policy = federation.POLICIES[name]
    server, clients, examples, visit = federation.start(policy)
    full = jax.tree.map(lambda m: m[0], clients.masks)
    one = jax.jit(rounds.round_of(policy, visit, 3))
    for at in range(3):
        before = clients
        key = jax.random.key(at)
        server, clients, record = one(key, server, clients, examples)
        found = traffic.of_round(record, policy, full, server.params)
        sent, down = 0, 0
        for k in record.client:
            own = members.member((clients.params, clients.masks), k)
            sent += sum(part.nbytes for part in traffic.payload(*own))
            held = members.member(before.masks, k)
            down += traffic.payload(server.params, held)[0].nbytes
        whole = traffic.payload(server.params, full)[0].nbytes
        assert whole == 4 * (TOTAL + REST)
        assert found.up + found.masks == sent
        assert found.down == (down if policy.downlink == "unicast" else whole)
    stages = np.asarray(record.stage)
    if name == "fedavg":
        # 3 up and one down; the paper's rule leaves biases out and counts 8 bytes
        assert found == (12 * 88, 4 * 88, 0, 8 * 78 * 4)
    elif name == "lottery_fl":
        kept = [
            sum(round(n * (1 - policy.sparsities[s])) for n in (54, 24)) for s in stages
        ]
        assert found.up == 4 * (sum(kept) + 3 * REST)


def test_a_payload_opens_to_what_was_packed():
    policy = federation.POLICIES["cell"]
    server, clients, _, _ = federation.start(policy)
    full = jax.tree.map(lambda m: m[0], clients.masks)
    masks = jax.tree.map(lambda m: m.at[1:].set(False), full)
    for own in (full, masks):
        sent = traffic.payload(server.params, own)
        params, found = traffic.opened(sent, full, server.params)
        assert_same(found, own)
        again = traffic.payload(params, found)
        assert_same(sent, again)
    with pytest.raises(ValueError, match="a value for each"):
        traffic.opened([sent[0][1:], sent[1]], full, server.params)
    for packed in (sent[1][1:], np.append(sent[1], np.uint8(255))):
        with pytest.raises(ValueError, match="must be 78 bits"):
            traffic.opened([sent[0], packed], full, server.params)


def test_a_parameter_that_is_none_is_not_sent():
    params = {"bias": None, "kernel": jnp.arange(1.0, 4.0), "scale": jnp.ones(1)}
    full = {"bias": None, "kernel": jnp.ones(3, bool), "scale": None}
    masks = full | {"kernel": jnp.array([True, False, True])}
    sent = traffic.payload(params, masks)
    assert sent[0].tolist() == [1, 3, 1]
    found, own = traffic.opened(sent, full, params)
    assert_same(own, masks)
    assert_same(found, params | {"kernel": jnp.array([1.0, 0.0, 3.0])})


def test_the_papers_rule_gives_its_table_of_dense_rounds():
    # 61,770 x 8 bytes x 40 rounds / 2^20 = 18.8507, for each participant and broadcast
    masks = {"kernel": jnp.ones(61_770, bool), "bias": None}
    params = {"kernel": jnp.ones(61_770), "bias": jnp.ones(236)}
    policy = policies.fedavg()
    from lthjax.federated.states import Record

    for count, printed in ((1, 58.9), (4, 115.4), (8, 190.8), (40, 794.0)):
        rows = np.full(count, 61_770)
        record = Record(*[rows] * 7, received=rows, sent=rows)
        found = traffic.of_round(record, policy, masks, params)
        total = 40 * found.printed / traffic.MEBI
        assert total == pytest.approx(printed - 21.15, abs=0.06)
