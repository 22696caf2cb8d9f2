"""Laws of training steps, by the compiler of a TPU: no device, but `jax[tpu]`."""

import importlib.util

import jax
import jax.numpy as jnp
import optax
import pytest
import tiny
from recipes import CONV, METHODS, TWEAKS

from lthjax.devices import targets
from lthjax.program.build import assemble
from lthjax.program.run import check, target_step
from lthjax.program.run.population import Job
from lthjax.tickets import Ticket

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="jax[tpu] is not installed"
)

FOUR = targets.named("v5e:2x2")


def step(changes, target, **kind):
    """Returns the step of a run of seconds, on a target."""
    config = tiny.config({"seeds": (0,), **changes})
    facts, held_out, ground = check.check(config)
    with targets.aimed(target):
        return target_step.of(config, facts, held_out, ground.plan, **kind)


def reading(changes, target="v5e", **kind):
    target = targets.named(target) if isinstance(target, str) else target
    found = step(changes, target, **kind)
    return targets.compile(target, found.program, found.shapes).read


def of_members(loop):
    """Says whether a loop is that of members one after the other: `lax.map`."""
    return loop.origin.endswith(")/while")


LOOPED = {**METHODS, "cropped": CONV, "two": {**CONV, "seeds": (0, 1)}}


@pytest.mark.parametrize("recipe", sorted(LOOPED))
def test_no_serial_loop_is_inside_a_step(recipe):
    loops = reading(LOOPED[recipe]).loops
    assert [loop for loop in loops if not of_members(loop)] == []


ROUNDS = ("continuous", "l0", "soft_threshold", "stochastic")


@pytest.mark.parametrize("method", ROUNDS)
def test_no_serial_loop_is_inside_a_step_of_a_round(method):
    loops = reading(METHODS[method], searching=True).loops
    assert [loop for loop in loops if not of_members(loop)] == []


def test_no_serial_loop_is_inside_a_step_of_retraining():
    target, config = targets.named("v5e"), tiny.config(CONV | TWEAKS | {"seeds": (0,)})
    facts, held_out, _ = check.check(config)
    with targets.aimed(target) as devices:
        source = target_step._blank(config, facts, held_out)
        parts = assemble.build(config, source)
        arm, key = parts.arms["tost_paper", 1], jax.random.key(0)
        params, model_state = parts.init_fn(key)
        ticket = Ticket(1, 0, 4, params, model_state, parts.masks_fn(params))
        ticket = arm.control("tost_paper", key, ticket)
        job = Job("tost_paper", parts.options.members[0], ticket)
        indices = jnp.zeros(config.train.batch_size, jnp.int32)
        member = arm.begin(ticket), arm.handed(job), key, indices
    place = jax.sharding.SingleDeviceSharding(devices[0])

    def shape(x, *leading):
        x = jnp.asarray(x)
        return jax.ShapeDtypeStruct((*leading, *x.shape), x.dtype, sharding=place)

    state, *fixed = jax.tree.map(lambda x: shape(x, 1), member)
    lying = jax.tree.map(shape, arm.data.lying)
    shapes = state, tuple(fixed), lying, shape(jnp.int32(0))
    found = targets.compile(target, arm.step, shapes).read
    assert found.loops == ()


@pytest.mark.parametrize("network", [{}, CONV], ids=["mlp", "resnet8"])
def test_members_of_a_population_never_talk(network):
    changes = {**network, "seeds": (0, 1, 2, 3), "mesh.ticket": 4}
    assert reading(changes, FOUR).collectives == ()


BATCH = {"mesh.data": 4, "train.batch_size": 16, "eval_batch": 16}


def test_the_gradient_of_a_step_is_one_all_reduce():
    (found,) = reading(BATCH, FOUR).collectives
    assert found[:2] == ("all-reduce", 1)


def test_norms_of_a_device_s_own_rows_add_one_all_reduce_at_the_most():
    (found,) = reading(BATCH | CONV | {"model.norms": "device"}, FOUR).collectives
    assert found.kind == "all-reduce"
    assert found.count <= 2


def test_norms_of_the_whole_batch_add_one_each_way():
    (found,) = reading(BATCH | CONV, FOUR).collectives
    norms = 1 + 3 * 2 + 2  # the stem, three blocks of two, two shortcuts
    assert found.kind == "all-reduce"
    assert found.count <= 2 + 2 * norms


@pytest.mark.parametrize(
    "network",
    [{"model.options": {"hidden": (300, 100)}}, CONV | {"model.width": 0.5}],
    ids=["mlp", "resnet8"],
)
def test_masks_cost_three_percent_of_the_cycles_at_the_most(network, monkeypatch):
    changes = {**network, "train.batch_size": 64}
    changes["data.options"] = {"train": 96, "test": 16}
    masked = reading(changes).cycles
    monkeypatch.setattr(
        assemble.optimizer_lib,
        "optimizer",
        lambda ground: optax.with_extra_args_support(optax.sgd(0.1, momentum=0.9)),
    )
    plain = reading(changes).cycles
    assert masked <= 1.03 * plain


def test_a_step_of_the_next_level_is_the_same_program():
    target = targets.named("v5e")
    texts = set()
    for levels in (1, 3):
        found = step({"search.levels": levels}, target)
        texts.add(found.program.lower(*found.shapes).as_text())
    assert len(texts) == 1
    assert not jax.tree.leaves(found.shapes[1])[0].weak_type  # masks are an argument
