import federation
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax.federated import policies, states, visits
from lthjax.pruning import masks as masks_lib
from lthjax.training import members


def visited(policy, accuracies, epochs=0):
    """Returns the states of a client whose validation gives these accuracies."""
    server, clients, examples, _ = federation.start(policy)
    full = jax.tree.map(lambda m: m[0], clients.masks)
    found = iter(accuracies)

    def train(params, masks, examples, key):
        moved = jax.tree.map(lambda w: w + epochs, params)
        return masks_lib.apply(moved, masks), jnp.zeros(())

    visit = visits.visitor(policy, full, train, lambda *given: jnp.float32(next(found)))
    client, own = members.member((clients, examples), 0)
    rows = []
    for _ in accuracies:
        client, seen = visit(jax.random.key(0), server, client, own)
        rows.append((client, seen))
    return server, rows


def test_the_threshold_falls_with_each_failure_and_comes_back_with_a_ticket():
    policy = policies.cell(decay=0.5)
    _, rows = visited(policy, [0.1, 0.1, 0.2])
    # 0.5, then 0.25, then 0.125: 0.2 exceeds that
    thresholds = [float(client.threshold) for client, _ in rows]
    assert thresholds == [0.25, 0.125, 0.5]
    assert [bool(seen.passed) for _, seen in rows] == [False, False, True]


def test_a_fixed_threshold_stays():
    _, rows = visited(policies.lottery_fl(), [0.1, 0.6, 0.1])
    assert [float(client.threshold) for client, _ in rows] == [0.5] * 3


@pytest.mark.parametrize("make", [policies.cell, policies.lottery_fl])
def test_the_sparsity_rises_with_tickets_alone_and_never_beyond_the_target(make):
    policy = make(limit=0.5)
    _, rows = visited(policy, [0.9, 0.1, 0.9, 0.9, 0.9, 0.9, 0.9])
    stages = [int(client.stage) for client, _ in rows]
    last = len(policy.sparsities) - 1
    assert stages == [1, 1, 2, 3, min(4, last), min(5, last), min(6, last)][:7]
    # of 9 x 6 and 6 x 4 weights; cell: 0.2, 0.2 (dense), 0.4, 0.5, and so on
    for client, _ in rows[2:]:
        kept, total = masks_lib.count(client.masks)
        assert total - int(kept) == sum(
            n - round(n * (1 - policy.sparsities[int(client.stage)])) for n in (54, 24)
        )


def test_a_failure_trains_all_weights_for_cell_and_its_own_masks_for_lottery_fl():
    _, rows = visited(policies.cell(), [0.9, 0.1])
    assert int(masks_lib.count(rows[1][0].masks)[0]) == 54 + 24
    _, rows = visited(policies.lottery_fl(), [0.9, 0.1])
    np.testing.assert_array_equal(
        *(client.masks["dense1"]["kernel"] for client, _ in rows)
    )
    assert int(masks_lib.count(rows[1][0].masks)[0]) == 43 + 19  # 0.8 of 54 and 24


@pytest.mark.parametrize("make", [policies.cell, policies.lottery_fl])
def test_a_ticket_begins_with_the_first_weights(make):
    server, clients, examples, _ = federation.start(make())
    moved = jax.tree.map(lambda w: w * 1.5 + 0.1, server.params)
    server = server._replace(params=moved)
    full = jax.tree.map(lambda m: m[0], clients.masks)
    given = []

    def train(params, masks, examples, key):
        given.append((params, masks))
        return params, jnp.zeros(())

    client, own = members.member((clients, examples), 0)
    for accuracy in (0.9, 0.0):
        visit = visits.visitor(
            make(), full, train, lambda *_, own=accuracy: jnp.float32(own)
        )
        visit(jax.random.key(0), server, client, own)
    (ticket, masks), (dense, _) = given
    for name in ("dense1", "head"):
        mask = masks[name]["kernel"]
        first = np.where(mask, server.initial[name]["kernel"], 0)
        np.testing.assert_array_equal(ticket[name]["kernel"], first)
        np.testing.assert_array_equal(dense[name]["kernel"], moved[name]["kernel"])


def test_fresh_masks_are_of_the_largest_global_weights_and_nested_ones_inside():
    for make in (policies.cell, policies.lottery_fl):
        server, clients, examples, _ = federation.start(make())
        full = jax.tree.map(lambda m: m[0], clients.masks)
        half = jax.tree.map(lambda m: m.at[0].set(False), full)
        client, own = members.member((clients, examples), 0)
        client = client._replace(masks=half, stage=jnp.int32(1))
        visit = visits.visitor(
            make(),
            full,
            lambda params, *_: (params, jnp.zeros(())),
            lambda *_: jnp.float32(0.9),
        )
        found, _ = visit(jax.random.key(0), server, client, own)
        mask, w = found.masks["dense1"]["kernel"], server.params["dense1"]["kernel"]
        if make is policies.lottery_fl:
            assert not (mask & ~half["dense1"]["kernel"]).any()
        else:
            assert abs(w)[mask].min() >= abs(w)[~mask].max()
            assert int(mask.sum()) == round(54 * 0.6)


def test_thresholds_and_counts_of_clients_are_checked():
    params = {"kernel": jnp.ones(3)}
    masks = masks_lib.full(params)
    for threshold in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"accuracy in \[0, 1\]"):
            states.begin(params, masks, 2, threshold=threshold)
    with pytest.raises(ValueError, match="a client at least"):
        states.begin(params, masks, 0, threshold=0.5)
