"""Every optimizer of optax, found by introspection: its schedule moves, zero is zero.

The leaves have three weights, and control flow runs in Python: only counting updates
compiles.
"""

import inspect

import jax
import jax.numpy as jnp
import optax
import optax.contrib
import pytest
from trees import assert_same

from lthjax.training import optimizers, schedules, zeros

# As many weights in all as Mechanic has rates, which are none of them.
PARAMS = {"bias": jnp.array([0.4, -0.6, 0.2]), "kernel": jnp.array([0.5, -1.0, 2.0])}
GRADS = {"bias": jnp.array([0.2, 0.3, -0.1]), "kernel": jnp.array([-0.3, 0.2, 0.1])}
MASKS = {"bias": None, "kernel": jnp.array([True, False, True])}
AT = 10


def falling(step, seen=None):
    """A schedule that may write down the steps it was asked for."""
    if seen is not None and not isinstance(step, jax.core.Tracer):
        seen.append(int(step))
    return 0.1 / (1.0 + step)


def offers(seen):
    """Yields what a factory may be made of: a rate, an optimizer, nothing."""

    def rate(step):
        return falling(step, seen)

    inner = optax.sgd(rate, momentum=0.9)
    yield from ((rate,), (inner,), (inner, 2), (inner, rate), (inner, inner), ())
    yield from ((0.5,), (2,))


def called(factory, args):
    """Returns the optimizer that a factory makes, if it is one and it does."""
    try:
        found = factory(*args)
    except Exception:  # not made of that
        return None
    kinds = optax.GradientTransformation | optax.MultiSteps
    return found if isinstance(found, kinds) else None


def made(factory, seen):
    """Returns (what a factory makes of the first offer that it takes, does it run)."""
    found = []
    for args in offers(seen):
        one = called(factory, args)
        try:
            state = jax.eval_shape(one.init, PARAMS)
            found.append(one)
            jax.eval_shape(lambda state, one=one: updated(one, state), state)
        except Exception:  # not made of that
            continue
        return one, True
    return found[0], False


def factories():
    """Returns {name: factory} of all that optax can make of an offer."""
    members = [*inspect.getmembers(optax), *inspect.getmembers(optax.contrib)]
    rows = {
        name: one
        for name, one in members
        if inspect.isfunction(one) or name in OTHERS
        if not name.startswith("_") and name not in FUNCTIONS
    }
    given = list(offers([]))
    return {n: f for n, f in rows.items() if any(called(f, args) for args in given)}


# These are no functions.
OTHERS = ("MultiSteps", "nadam", "nadamw")
# These make an optimizer of any function, and of ours one that does not work.
FUNCTIONS = ("measure_with_ema", "snapshot", "stateless", "stateless_with_tree_map")
FUNCTIONS += ("hutchinson_estimator_diag_hessian",)
EXTRA = {
    "accumulated": lambda rate: optax.MultiSteps(optax.sgd(rate), 2),
    "applied_if_finite": lambda rate: optax.apply_if_finite(optax.adam(rate), 3),
    "chained": lambda rate: optax.chain(optax.clip(1.0), optax.adamw(rate)),
    "decayed": lambda rate: optax.chain(optax.add_decayed_weights(rate), optax.sgd(1)),
    "flattened": lambda rate: optax.flatten(optax.sgd(rate, momentum=0.9)),
    "free": lambda rate: optax.contrib.schedule_free(optax.sgd(0.1), 0.1),
    "injected": optax.inject_hyperparams(optax.contrib.prodigy),
    "masked": lambda rate: optax.masked(optax.adam(rate), {"bias": False, "kernel": 1}),
    "partitioned": lambda rate: optax.partition(
        {"a": optax.adam(rate), "b": optax.sgd(rate)}, {"bias": "a", "kernel": "b"}
    ),
    "pruned": lambda rate: optimizers.build("sgd", rate),
    "turned": lambda rate: optax.conditionally_transform(
        optax.sgd(rate), lambda step: step % 2 == 0
    ),
    "averaged": lambda rate: optax.chain(optax.adam(rate), optax.ema(0.9)),
}
FACTORIES = factories() | EXTRA
# Of these the rate of a step is not known from the step, or counts moments too.
REFUSED = {
    "ademamix": "ScaleByAdemamixState",
    "dadapt_adamw": "DAdaptAdamWState",
    "free": "ScheduleFreeState",
    "madgrad": "MadgradState",
    "momo": "MomoState",
    "momo_adam": "MomoAdamState",
    "prodigy": "ProdigyState",
    "reduce_on_plateau": "ReduceLROnPlateauState",
    "scale_by_ademamix": "ScaleByAdemamixState",
    "scale_by_madgrad": "MadgradState",
    "scale_by_simplified_ademamix": "ScaleBySimplifiedAdEMAMixState",
    "schedule_free": "ScheduleFreeState",
    "schedule_free_adamw": "ScheduleFreeState",
    "schedule_free_sgd": "ScheduleFreeState",
    "simplified_ademamix": "ScaleBySimplifiedAdEMAMixState",
}
# Of these an update is taken at every second step.
HALVED = {"MultiSteps", "accumulated", "sam", "turned"}
# The second moment of these is at least an epsilon; the first one is zero.
FLOORED = {"adamax", "adamaxw", "scale_by_adamax", "scale_by_yogi", "yogi"}
# These begin with what is not zero, a step or an accumulator: so does what comes back.
BEGUN = {"adagrad", "cocob", "rprop"}
BEGUN |= {"scale_by_cocob", "scale_by_rprop", "scale_by_rss"}
# These ask `update` for more than gradients: a loss, a function.
ASKING = {
    "lbfgs",
    "momo",
    "momo_adam",
    "polyak_sgd",
    "reduce_on_plateau",
    "scale_by_backtracking_linesearch",
    "scale_by_muon",
    "scale_by_polyak",
    "scale_by_zoom_linesearch",
    "sophia",
}


def updated(tx, state):
    """Returns (params, state) after an update."""
    wants = "masks" in inspect.signature(tx.update).parameters
    extra = {"masks": MASKS} if wants else {}
    updates, state = tx.update(GRADS, state, PARAMS, **extra)
    return optax.apply_updates(PARAMS, updates), state


@pytest.mark.parametrize("name", FACTORIES)
def test_a_schedule_moves_and_zero_is_zero_or_there_is_a_sentence(name):
    seen = []
    tx, runs = made(FACTORIES[name], seen)
    assert runs == (name not in ASKING)
    state, moved = tx.init(PARAMS), {"tx": tx, "params": PARAMS}
    same = schedules.at_step(state, 0, **moved)
    if jax.tree.leaves(state):  # an optimizer may keep nothing
        assert_same(raw(same), raw(state))
    if name in REFUSED:
        with pytest.raises(ValueError, match=f"{REFUSED[name]}.*got step = {AT}"):
            schedules.at_step(state, AT, **moved)
    else:
        state = schedules.at_step(state, AT, **moved)
    if not runs or name == "scale_by_lbfgs":  # its loops are slow in Python
        return
    seen.clear()
    with jax.disable_jit():
        params, state = updated(tx if name == "pruned" else zeros.keep(tx), state)
    expected = AT // 2 if name in HALVED else AT
    assert name in REFUSED or seen[-1:] in ([], [expected])
    assert params["kernel"][1] == 0.0
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if "kernel" in jax.tree_util.keystr(path) and jnp.shape(leaf) == (3,):
            assert leaf[1] == 0 or name in FLOORED | BEGUN
            assert name not in FLOORED or 0 <= leaf[1] < 1e-5


def raw(tree):
    def one(leaf):
        key = jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)
        return jax.random.key_data(leaf) if key else leaf

    return jax.tree.map(one, tree)
