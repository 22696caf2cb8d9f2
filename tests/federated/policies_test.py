import jax.numpy as jnp
import numpy as np
import pytest

from lthjax.federated import policies
from lthjax.pruning import masks as masks_lib


def test_the_sparsities_of_the_papers():
    # 0.2 a ticket up to 0.8; a fifth of what is left until 0.3 is: 0.8^5 = 0.328
    assert policies.cell().sparsities == (0.0, 0.2, 0.4, 0.6, 0.8)
    found = policies.lottery_fl(limit=0.7).sparsities
    assert found == pytest.approx((0, 0.2, 0.36, 0.488, 0.5904, 0.67232, 0.7))
    assert policies.lottery_fl(limit=0.36).sparsities == pytest.approx((0, 0.2, 0.36))
    assert policies.fedavg().sparsities == (0.0,)


def test_a_target_is_met_exactly_in_each_layer_or_in_all():
    params = {"kernel": jnp.arange(10.0), "head": {"kernel": jnp.arange(100.0)}}
    masks = masks_lib.full(params)
    for scope, own in (("layer", (2, 20)), ("global", (0, 22))):
        policy = policies.cell(scope=scope)
        counts = policies.kept(policy, masks)
        found = policies.drawn(policy, counts, masks, params, jnp.int32(4))
        kept = {name: k for name, (k, _) in masks_lib.layers(found).items()}
        assert (kept["kernel"], kept["head/kernel"]) == own


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"threshold": 1.2}, r"threshold of a policy must be in \[0, 1\]"),
        ({"decay": -0.5}, r"decay of a policy must be in \[0, 1\]"),
        ({"masks": "new"}, "masks of a policy must be one of fresh, nested"),
        ({"downlink": "multicast"}, "downlink of a policy must be one of"),
        ({"scope": "leaf"}, "scope of a policy must be one of"),
        ({"aggregation": "median"}, "aggregation"),
        ({"sparsities": (0.0, 0.5, 0.4)}, "must begin with 0 and rise"),
        ({"sparsities": (0.0, 1.0)}, "must begin with 0 and rise"),
        ({"sparsities": np.array([0.5, 0.8])}, "must begin with 0 and rise"),
        ({"sparsities": ()}, "must begin with 0 and rise"),
    ],
)
def test_a_policy_that_cannot_be_followed_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        policies.check(policies.Policy()._replace(**changes))


def test_sparsities_may_be_an_array():
    policies.check(policies.Policy(np.linspace(0, 0.8, 5)))


@pytest.mark.parametrize("rate, limit", [(0.0, 0.5), (1.0, 0.5), (0.2, 1.0)])
def test_rates_and_targets_outside_their_range_are_refused(rate, limit):
    for make in (policies.cell, policies.lottery_fl):
        with pytest.raises(ValueError, match=r"\(0, 1\)|\[0, 1\)"):
            make(rate=rate, limit=limit)


@pytest.mark.parametrize("rate", [1e-9, 1e-300])
def test_a_rate_that_never_ends_is_refused(rate):
    for make in (policies.cell, policies.lottery_fl):
        with pytest.raises(ValueError, match="in 10,000 tickets at most, got rate"):
            make(rate=rate)


@pytest.mark.parametrize("name", ["cell", "lottery_fl"])
def test_no_layer_is_emptied(name):
    policy = policies.POLICIES[name](rate=0.2, limit=0.8, scope="layer")
    counts = policies.kept(policy, {"one": jnp.ones(1, bool), "two": jnp.ones(2, bool)})
    assert counts["one"].tolist() == [1] * len(policy.sparsities)
    assert min(counts["two"].tolist()) == 1


@pytest.mark.parametrize("scope", policies.SCOPES)
def test_a_layer_without_weights_is_pruned_of_none(scope):
    policy = policies.cell(scope=scope)
    params = {"none": jnp.ones((0, 3)), "some": jnp.arange(5.0)}
    masks = {name: jnp.ones(w.shape, bool) for name, w in params.items()}
    counts = policies.kept(policy, masks)
    found = policies.drawn(policy, counts, masks, params, jnp.int32(2))
    assert found["none"].shape == (0, 3) and int(found["some"].sum()) == 3


@pytest.mark.parametrize("changes", [{"aggregation": "none"}, {"downlink": "none"}])
@pytest.mark.parametrize("name", sorted(policies.POLICIES))
def test_what_is_sent_is_averaged(name, changes):
    policy = policies.POLICIES[name]()
    both = policy._replace(downlink="none", aggregation="none")
    policies.check(both)
    if policy.downlink != "none":
        with pytest.raises(ValueError, match="both be 'none', or neither"):
            policies.check(policy._replace(**changes))
