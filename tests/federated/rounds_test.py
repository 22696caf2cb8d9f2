import federation
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lthjax.devices import meshes
from lthjax.federated import (
    local_training,
    policies,
    rounds,
    states,
)
from lthjax.training import members


def same(a, b, **tolerance):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(x.dtype, jnp.floating):
            np.testing.assert_allclose(x, y, **tolerance or {"rtol": 0, "atol": 0})
        else:
            np.testing.assert_array_equal(x, y)


def run(policy, count, key=0, times=1, **options):
    server, clients, examples, visit = federation.start(policy)
    one = jax.jit(rounds.round_of(policy, visit, count, **options))
    for at in range(times):
        own = jax.random.fold_in(jax.random.key(key), at)
        server, clients, record = one(own, server, clients, examples)
    return server, clients, record


@pytest.mark.parametrize("drop", [0.0, 0.5])
def test_where_each_trains_alone_nothing_is_sent_or_received(drop):
    *_, record = run(policies.standalone(), 4, drop=drop)
    assert record.received.tolist() == record.sent.tolist() == [0] * 4
    *_, record = run(policies.fedavg(), 4, drop=drop)
    assert record.received.tolist() == [78] * 4
    assert record.sent.tolist() == [0 if lost else 78 for lost in record.dropped]


def test_one_client_that_never_prunes_trains_as_plain_sgd_does():
    policy = policies.cell(rate=0.5, limit=0.0)
    server, clients, examples, visit = federation.start(policy, 1)
    key = jax.random.key(3)
    client = members.member(clients, 0)
    own = members.member(examples, 0)
    state, _ = visit(key, server, client, own)
    tx = optax.sgd(0.1, 0.5)
    params, opt_state = server.params, tx.init(server.params)

    def loss(params, rows):
        images = federation.prepare(own.images[rows])
        logits, _ = federation.apply(params, {}, images, True)
        found = optax.softmax_cross_entropy_with_integer_labels(
            logits, own.labels[rows]
        )
        return found.mean()

    for epoch in range(2):
        order = local_training.orders(jax.random.fold_in(key, epoch), 48, own.size)
        for rows in order.reshape(-1, 4):
            grads = jax.grad(loss)(params, rows)
            updates, opt_state = tx.update(grads, opt_state)
            params = optax.apply_updates(params, updates)
    same(state.params, params, rtol=1e-4, atol=1e-6)
    one = rounds.round_of(policy, visit, 1)
    after, stacked, _ = one(jax.random.key(0), server, clients, examples)
    same(after.params, members.member(stacked.params, 0))


def test_the_last_batch_is_as_small_as_it_is():
    calls = []

    def step(rows, weights, carry):
        calls.append(None)
        return carry.at[rows].add(weights)

    order = local_training.orders(jax.random.key(1), 12, jnp.int32(10))
    seen = local_training._in_batches(order, jnp.int32(10), 4, step, jnp.zeros(12))
    assert calls == [None]  # traced once, for batches of 4, 4 and 2
    np.testing.assert_array_equal(seen, [1.0] * 10 + [0.0] * 2)


def test_equal_clients_with_equal_keys_average_to_any_of_them():
    policy = policies.fedavg()
    server, clients, examples, visit = federation.start(policy)
    own = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x.shape), examples)
    key = jax.random.key(2)
    alike = rounds.round_of(policy, lambda _, *given: visit(key, *given), 4)
    after, stacked, _ = jax.jit(alike)(key, server, clients, own)
    for client in range(4):
        same(after.params, members.member(stacked.params, client), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", federation.POLICIES)
def test_clients_at_once_equal_clients_one_by_one(name):
    policy = federation.POLICIES[name]
    all_at_once = run(policy, 3, times=2)
    one_by_one = run(policy, 3, times=2, together=1)
    same(all_at_once, one_by_one, rtol=1e-4, atol=1e-6)
    server, clients, examples, visit = federation.start(policy)
    key = jax.random.fold_in(jax.random.key(0), 0)
    who = jax.random.permutation(jax.random.split(key, 3)[0], 4)[:3]
    first, stacked, record = run(policy, 3)
    np.testing.assert_array_equal(record.client, who)
    for k in who:
        own = members.member((clients, examples), k)
        mine = jax.random.fold_in(jax.random.split(key, 3)[2], k)
        state, _ = jax.jit(visit)(mine, server, *own)
        same(members.member(stacked, k), state, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["lottery_fl", "cell"])
def test_a_mesh_gives_the_numbers_of_one_device(name):
    policy = federation.POLICIES[name]
    mesh = meshes.mesh(2)
    alone, spread = run(policy, 3), run(policy, 3, mesh=mesh)
    same(alone, spread, rtol=1e-5, atol=1e-6)


def test_who_is_asked_trains_and_nobody_else_changes():
    policy = federation.POLICIES["cell"]
    _, before, _, _ = federation.start(policy)
    _, clients, record = run(policy, 2)
    others = sorted({0, 1, 2, 3} - set(record.client.tolist()))
    for k in others:
        same(members.member(before, k), members.member(clients, k))
    for k in record.client:
        moved = members.member((before.params, clients.params), k)
        assert not np.array_equal(*(pair["head"]["kernel"] for pair in moved))


def test_a_client_whose_weights_are_nan_is_left_out_and_stays_as_it_was():
    policy = policies.fedavg()
    server, clients, examples, visit = federation.start(policy)
    damaged = 2

    def broken(key, server, client, examples):
        state, seen = visit(key, server, client, examples)
        bad = examples.images[0, 0, 0, 0] == mark
        params = states.chosen(
            bad, jax.tree.map(lambda w: w * jnp.nan, state.params), state.params
        )
        return state._replace(params=params), seen

    mark = jnp.uint8(255)
    images = examples.images.at[damaged, 0, 0, 0, 0].set(mark)
    examples = examples._replace(images=images)
    key = jax.random.key(1)
    server_2, clients_2, record = rounds.round_of(policy, broken, 4)(
        key, server, clients, examples
    )
    assert record.client[~record.finite].tolist() == [damaged]
    same(members.member(clients, damaged), members.member(clients_2, damaged))
    prunable = sum(mask[0].size for mask in jax.tree.leaves(clients.masks))
    assert record.sent.tolist() == [prunable] * 4  # it has to arrive to be judged
    there = [k for k in range(4) if k != damaged]
    mean = jax.tree.map(lambda w: w[jnp.array(there)].mean(0), clients_2.params)
    same(server_2.params, mean, rtol=1e-5, atol=1e-6)


def test_padding_is_never_trained_on_whatever_the_width_of_numbers():
    for wide in (False, True):
        with jax.enable_x64(wide):
            order = local_training.orders(jax.random.key(0), 8, jnp.int32(5))
        assert sorted(order[:5].tolist()) == [0, 1, 2, 3, 4]
        assert order[5:].tolist() == [5, 6, 7]


def test_who_is_lost_is_a_function_of_the_key_and_the_others_count_in_full():
    policy = policies.fedavg()
    found = [run(policy, 4, key, drop=0.5) for key in range(6)]
    lost = [record.dropped for _, _, record in found]
    assert 4 < sum(int(row.sum()) for row in lost) < 20  # of 24, about half
    again = run(policy, 4, 0, drop=0.5)
    same(found[0], again)
    for server, clients, record in found:
        there = record.client[~record.dropped]
        if not len(there):
            continue
        mean = jax.tree.map(lambda w, at=there: w[at].mean(0), clients.params)
        same(server.params, mean, rtol=1e-5, atol=1e-6)


def test_where_everybody_is_lost_the_server_stays_as_it_was():
    policy = federation.POLICIES["lottery_fl"]
    before, clients_before, _, _ = federation.start(policy)
    server, clients, record = run(policy, 4, drop=1.0)
    assert int(server.round) == 1 and not record.sent.any()
    same(before.params, server.params)
    same(clients_before, clients)


@pytest.mark.parametrize(
    "refused, words",
    [
        ({"drop": 1.5}, "drop must be a probability"),
        ({"drop": -0.1}, "drop must be a probability"),
    ],
)
def test_a_round_that_cannot_be_is_refused(refused, words):
    policy = policies.fedavg()
    with pytest.raises(ValueError, match=words):
        rounds.round_of(policy, lambda *given: given, 2, **refused)


@pytest.mark.parametrize(
    "count, dealt, words",
    [
        (5, 4, "from 1 to all 4 clients, got count = 5"),
        (0, 4, "from 1 to all 4 clients, got count = 0"),
        (2, 3, "each of the 4 clients, got those of 3"),
    ],
)
def test_clients_that_cannot_be_asked_are_refused(count, dealt, words):
    server, clients, examples, visit = federation.start(policies.fedavg())
    own = jax.tree.map(lambda leaf: leaf[:dealt], examples)
    one = rounds.round_of(policies.fedavg(), visit, count)
    with pytest.raises(ValueError, match=words):
        one(jax.random.key(0), server, clients, own)


def test_a_share_of_clients_is_one_at_least():
    assert [rounds.asked(c, 40) for c in (0, 0.1, 0.2, 0.5, 1)] == [1, 4, 8, 20, 40]
    with pytest.raises(ValueError, match="participation must be a share"):
        rounds.asked(1.1, 40)
