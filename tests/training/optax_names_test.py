"""Optimizers and schedules of optax by name: all are found, moved, and kept at zero."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from trees import assert_same

from lthjax.training import optax_names, optimizers, schedules

PARAMS = {"bias": jnp.array([0.4, -0.6]), "kernel": jnp.array([[0.5, -1.0, 2.0]])}
MASKS = {"bias": None, "kernel": jnp.array([[True, False, True]])}
GRADS = {"bias": jnp.array([0.2, 0.3]), "kernel": jnp.array([[-0.3, 0.2, 0.1]])}
# What these need beside a rate.
NEEDED = {
    "dpsgd": {"l2_norm_clip": 1.0, "noise_multiplier": 0.0, "seed": 0},
    "noisy_sgd": {"key": 0},
}
NAMES = sorted(optax_names.optimizers())


def falling(step):
    return 0.1 / (1.0 + step)


def test_there_are_those_that_are_known_and_none_that_are_parts():
    assert {"lion", "lamb", "adafactor", "prodigy", "sgd", "muon", "nadam"} < set(NAMES)
    assert not any(name.startswith("scale_by") for name in NAMES)


def test_a_wrong_name_is_offered_what_can_train_alone():
    with pytest.raises(ValueError, match=r"must be one of acprop, .*\blion,") as error:
        optimizers.build("adamm", 0.1)
    named = set(str(error.value).partition(" or your own")[0].split(", "))
    assert set(NAMES) > set(optax_names.ASKING) and not named & set(optax_names.ASKING)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # optax's own
@pytest.mark.parametrize("name", NAMES)
def test_an_optimizer_by_its_name_keeps_zeros_and_starts_anywhere(name):
    options, decay = NEEDED.get(name, {}), {"weight_decay": 0.1, "clip": 1.0}
    tx = optimizers.build(name, falling, **decay, options=options)
    if name in optax_names.ASKING:
        with pytest.raises(ValueError, match=r"gradients, its state|at least one dim"):
            optimizers.check(tx, PARAMS, (0, 10))
        return
    optimizers.check(tx, PARAMS, (0, 10))
    with jax.disable_jit():
        params = {**PARAMS, "kernel": jnp.where(MASKS["kernel"], PARAMS["kernel"], 0)}
        state = schedules.at_step(tx.init(params), 10, tx=tx, params=params)
        for _ in range(2):
            updates, state = tx.update(GRADS, state, params, masks=MASKS, step=0)
            params = optax.apply_updates(params, updates)
    assert params["kernel"][0, 1] == 0.0
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


def decayed(name, **given):
    """Returns what an update without a gradient leaves of a weight of 1, rate 1."""
    tx = optimizers.build(name, 1.0, **given)
    w, zero = {"kernel": jnp.ones(1)}, {"kernel": jnp.zeros(1)}
    updates, _ = tx.update(zero, tx.init(w), w, masks={"kernel": jnp.ones(1, bool)})
    return float((w["kernel"] + updates["kernel"])[0])


def test_weight_decay_is_the_optimizers_own_where_it_has_one():
    # Lion takes rate times decay of the weight; without a decay, nothing, not its 1e-3.
    assert decayed("lion", weight_decay=0.25) == 0.75
    assert decayed("lion", options={"weight_decay": 0.5}) == 0.5
    assert decayed("lion") == 1.0
    # Adafactor's is called otherwise, and no learning rate multiplies it.
    assert decayed("adafactor", weight_decay=0.25) == pytest.approx(0.75)
    with pytest.raises(ValueError, match="must be given once"):
        decayed("adafactor", weight_decay=0.25, options={"weight_decay_rate": 0.5})
    # Muon leaves what is no matrix to Adam, whose decay it is too.
    assert decayed("muon", weight_decay=0.25) == pytest.approx(0.75)
    # One that has none of its own sees it as a gradient: sign(0.25) rate = 1.
    assert decayed("sign_sgd", weight_decay=0.25) == 0.0


def test_options_reach_ours_and_those_of_optax():
    for name, fn in (("adam", optax.adam), ("lion", optax.lion)):
        own = {"b1": 0.5, "b2": 0.25}
        tx = optimizers.unwrapped(name, 0.5, options=own)
        updates, _ = tx.update(GRADS, tx.init(PARAMS), PARAMS)
        kwargs = {"weight_decay": 0.0} if name == "lion" else {}
        plain = fn(0.5, **own, **kwargs)
        wanted, _ = plain.update(GRADS, plain.init(PARAMS), PARAMS)
        assert_same(updates, wanted)


@pytest.mark.parametrize(
    "name, given, message",
    [
        ("loin", {}, "must be one of .*did you mean 'lion'"),
        ("lion", {"options": {"b3": 1}}, "of 'lion' must be among b1, .* got b3 = 1"),
        ("adam", {"options": {"b11": 1}}, "'adam' must be among .*did you mean 'b1'"),
        ("sgd", {"options": {"momentum": 1}}, "a key of its own.*optimizer.momentum"),
        ("dpsgd", {}, "must have l2_norm_clip, noise_multiplier, seed"),
        (
            "lion",
            {"weight_decay": 0.5, "options": {"weight_decay": 0.1}},
            "weight decay must be given once",
        ),
        ("lion", {"options": {"learning_rate": 1.0}}, "must be among b1"),
    ],
)
def test_what_an_optimizer_does_not_take_is_refused(name, given, message):
    with pytest.raises(ValueError, match=message):
        optimizers.build(name, 0.1, **given)


# What each is at its start and at its end, of a rate of 0.5 and 8 steps.
SCHEDULES = {
    "constant_schedule": ({}, (0.5, 0.5)),
    "cosine_decay_schedule": ({"alpha": 0.5}, (0.5, 0.25)),
    "cosine_onecycle_schedule": ({"div_factor": 2.0}, (0.25, 0.25 / 1e4)),
    "exponential_decay": ({"decay_rate": 0.25}, (0.5, 0.125)),
    "linear_onecycle_schedule": ({"div_factor": 2.0}, (0.25, 0.25 / 1e4)),
    "linear_schedule": ({"end_value": 0.25}, (0.5, 0.25)),
    "piecewise_constant_schedule": (
        {"boundaries_and_scales": {"4": 0.5}},
        (0.5, 0.25),
    ),
    "piecewise_interpolate_schedule": (
        {"interpolate_type": "linear", "boundaries_and_scales": {"8": 0.5}},
        (0.5, 0.25),
    ),
    "polynomial_schedule": ({"end_value": 0.125, "power": 2}, (0.5, 0.125)),
    "sgdr_schedule": (
        {"cosine_kwargs": ({"init_value": 0.5, "warmup_steps": 0, "decay_steps": 8},)},
        (0.5, 0.0),
    ),
    "warmup_constant_schedule": ({"init_value": 0.25, "warmup_steps": 2}, (0.25, 0.5)),
    "warmup_cosine_decay_schedule": (
        {"init_value": 0.25, "warmup_steps": 2},
        (0.25, 0.0),
    ),
    "warmup_exponential_decay_schedule": (
        {"init_value": 0.25, "warmup_steps": 0, "decay_rate": 0.25},
        (0.5, 0.125),
    ),
}


@pytest.mark.parametrize("name", optax_names.schedules())
def test_a_schedule_by_its_name_is_of_the_rate_and_the_steps(name):
    options, ends = SCHEDULES[name]
    rate = optax_names.schedule(name, 0.5, steps=8, options=options)
    found = [float(rate(step)) for step in (0, 8)]
    np.testing.assert_allclose(found, ends, rtol=1e-5, atol=1e-8)
    twice = optax_names.schedule(name, 1.0, steps=8, options=options)
    assert float(twice(3)) > float(rate(3))


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("exponential_decay", {}, "must have decay_rate for schedule.name"),
        (
            "linear_schedule",
            {"end_valu": 1.0},
            "must be among .*did you mean 'end_value'",
        ),
        ("cosine_decay_schedule", {"init_value": 1.0}, "is optimizer.learning_rate"),
    ],
)
def test_what_a_schedule_does_not_take_is_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        optax_names.schedule(name, 0.1, steps=8, options=options)
