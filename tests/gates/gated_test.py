"""Training with gates: trajectories, what moves and what does not, members at once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trees import assert_same

from lthjax.gates import families, gated, sigmoid
from lthjax.gates.gated import Gated
from lthjax.pruning import masks as masks_lib
from lthjax.tickets import Ticket
from lthjax.training import members as members_lib
from lthjax.training import optimizers, schedules
from lthjax.training import steps as steps_lib

KEY = jax.random.key(0)
GOAL = jnp.array([1.0, 0.0])
START = {"k": jnp.array([0.8, 0.6])}
FULL = {"k": jnp.ones(2, bool)}
# Reference trajectories (weights, logits) after 1, 3 and 5 steps, computed in float64
# from the formulas: loss sum (m w - goal)^2 / 2, SGD 0.1 with Nesterov's momentum 0.9,
# decay 1e-4 of the weights, penalty 1e-8, temperature 1 to 200 over five steps.
TRAJECTORIES = {
    (0.0, False): [
        [(0.8569848, 0.5714886), (0.0228, -0.00855)],
        [(1.01541614, 0.49780803), (0.23434125, -0.11955886)],
        [(1.10329919, 0.44931209), (0.36965584, -0.19725414)],
    ],
    (0.0, True): [
        [(0.8379848, 0.4859886), (0.0152, -0.0342)],
        [(0.83996981, 0.27285459), (-0.1573416, -0.19757789)],
        [(0.83016825, 0.13468032), (-0.30909042, -0.29639085)],
    ],
    (-0.05, True): [
        [(0.8379848, 0.4859886), (-0.03442008, -0.08505482)],
        [(0.89182128, 0.29365213), (-0.072428, -0.22631579)],
        [(0.58987908, 0.16716854), (0.3877237, -0.30969851)],
    ],
}


def identity(params, model_state, images, train):
    """A network whose output is its weights."""
    del images, train
    return params["k"], model_state


def quadratic(apply_fn):
    def objective(params, model_state, images, labels):
        output, model_state = apply_fn(params, model_state, images, True)
        return jnp.sum((output - labels) ** 2) / 2, model_state

    return objective


def constant(apply_fn):
    def objective(params, model_state, images, labels):
        output, model_state = apply_fn(params, model_state, images, True)
        return 0 * jnp.sum(output), model_state

    return objective


def at(step, steps=5):
    return sigmoid.temperature(step, final=200.0, steps=steps)


def optimizer(decay=1e-4, rate=0.1):
    sgd = functools.partial(optimizers.unwrapped, "sgd", rate, nesterov=True)
    return gated.optimizer(sgd(weight_decay=decay), sgd())


def stepper(kind, tx, *, scaled=False, weight=1e-8, loss=quadratic, parts=1):
    apply_fn = gated.network(identity, kind, at, scaled=scaled)
    price = gated.penalty(kind, at, weight=weight, scaled=scaled)
    objective = steps_lib.penalised(loss(apply_fn), price)
    return jax.jit(steps_lib.step(objective, tx, parts=parts))


def begun(tx, initial, params=START, masks=FULL):
    pair = gated.begin(KEY, params, {}, masks, initial)
    return steps_lib.begin(tx, Ticket(1, 0, 5, *pair, gated.masked(masks)))


def run(step, state, steps, masks=FULL):
    states = []
    for _ in range(steps):
        state = step(state, gated.masked(masks), None, GOAL)
        states.append(state)
    return states


@pytest.mark.parametrize("initial, scaled", TRAJECTORIES)
def test_the_trajectory_is_that_of_the_formulas(initial, scaled):
    tx = optimizer()
    step = stepper(families.continuous(), tx, scaled=scaled)
    states = run(step, begun(tx, initial), 5)
    for state, (w, s) in zip(states[::2], TRAJECTORIES[initial, scaled], strict=True):
        np.testing.assert_allclose(state.params.weights["k"], w, rtol=2e-5)
        # A logit is a sum of steps of opposite signs, at a temperature of up to 200.
        np.testing.assert_allclose(state.params.gates["k"], s, rtol=2e-5, atol=2e-6)


def test_weight_decay_moves_weights_and_never_gates():
    tx = optimizer(decay=0.1)
    step = stepper(families.continuous(), tx, weight=0.0, loss=constant)
    w, v = START["k"], 0.0
    for state in run(step, begun(tx, 0.05), 4):
        v = 0.9 * v + 0.1 * w
        w = w - 0.1 * (0.1 * w + 0.9 * v)
        np.testing.assert_allclose(state.params.weights["k"], w, rtol=1e-6)
        np.testing.assert_array_equal(state.params.gates["k"], jnp.full(2, 0.05))


def test_a_new_round_resets_gates_and_temperature_and_nothing_else():
    tx, kind = optimizer(), families.continuous()
    end = run(stepper(kind, tx), begun(tx, 0.0), 5)[-1]
    params, state = gated.again(kind, end.params, end.model_state)
    np.testing.assert_array_equal(params.weights["k"], end.params.weights["k"])
    reset = sigmoid.reset(end.params.gates, 0.0, 200.0)
    np.testing.assert_array_equal(params.gates["k"], reset["k"])
    assert (end.model_state.progress.step, state.progress.step) == (5, 0)
    moved = schedules.at_step(end.opt_state, 0)
    assert_same(moved, end.opt_state)  # no schedule


@pytest.mark.parametrize("kind", [families.continuous(), families.stochastic()])
def test_parts_of_a_batch_are_of_one_step(kind):
    def mean(apply_fn):
        def objective(params, model_state, images, labels):
            output, model_state = apply_fn(params, model_state, images, True)
            return jnp.mean((output[None] - labels) ** 2), model_state

        return objective

    tx, states = optimizer(), []
    labels = jnp.tile(GOAL, (4, 1)) + jnp.arange(4.0)[:, None]
    for parts in (1, 4):
        step, state = stepper(kind, tx, loss=mean, parts=parts), begun(tx, 0.02)
        for _ in range(4):
            state = step(state, gated.masked(FULL), labels, labels)
        states.append(state)
    assert [int(s.model_state.progress.step) for s in states] == [4, 4]
    whole, parts = ((s.params, s.loss) for s in states)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, parts, whole)


def test_a_gate_that_the_papers_reset_left_closed_stays_closed():
    # Logits end a round at temperature 200; by 200 s = -20 a gate's gradient is below
    # 3e-9 of its weight's, and the reset leaves it so at temperature 1.
    logits = jnp.array([-0.3, -0.1, 0.0, 0.5])
    weights = {"k": jnp.array([0.8, 0.6, 0.8, 0.6])}
    full = {"k": jnp.ones(4, bool)}

    def next_round(form):
        tx, kind = optimizer(), families.continuous(reset=form)
        pair = gated.begin(KEY, weights, {}, full, 0.0)
        pair = pair[0]._replace(gates={"k": logits}), pair[1]
        pair = gated.again(kind, *pair)
        ticket = Ticket(2, 0, 5, *pair, gated.masked(full))
        state, step = steps_lib.begin(tx, ticket), stepper(kind, tx, scaled=True)
        for _ in range(5):  # every weight is to grow
            state = step(state, gated.masked(full), None, 4 * jnp.ones(4))
        return sigmoid.harden(state.params.gates)["k"].tolist()

    assert next_round("paper")[:2] == [False, False]
    assert next_round("code") == [True, True, True, True]


def test_an_evaluation_is_at_the_temperature_of_the_last_step():
    apply_fn = gated.network(identity, families.continuous(), at, scaled=False)
    params, state = gated.begin(KEY, START, {}, FULL, 0.02)
    for done, temperature in ((0, 1.0), (1, 1.0), (5, 200.0)):
        progress = state.progress._replace(step=jnp.int32(done))
        now = state._replace(progress=progress)
        output, after = apply_fn(params, now, None, False)
        expected = sigmoid.apply(START, params.gates, temperature)["k"]
        np.testing.assert_allclose(output, expected, rtol=1e-6)
        assert after.progress.step == done


def test_ordinary_parameters_train_as_if_there_were_no_gates():
    options = {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}
    plain = optimizers.build("sgd", 0.1, **options)
    pruned = {"k": jnp.array([True, False])}
    ends = []
    for tx, step in (
        (optimizer(), stepper(families.continuous(), optimizer())),
        (plain, steps_lib.step(quadratic(identity), plain)),
    ):
        state = steps_lib.begin(tx, Ticket(1, 0, 5, START, {}, pruned))
        for _ in range(3):
            state = step(state, pruned, None, GOAL)
        ends.append(state.params["k"])
    np.testing.assert_array_equal(*ends)
    assert ends[0][1] == 0


def test_a_weight_that_nothing_depends_on_keeps_its_logit():
    def half(params, model_state, images, train):
        return params["k"] * jnp.array([1.0, 0.0]), model_state

    tx, kind = optimizer(), families.continuous()
    apply_fn = gated.network(half, kind, at, scaled=True)
    step = jax.jit(steps_lib.step(quadratic(apply_fn), tx))
    for initial in (-0.03, 0.0, 0.03):
        end = run(step, begun(tx, initial), 5)[-1].params.gates
        assert end["k"][1] == jnp.float32(initial)
        assert sigmoid.harden(end)["k"][1] == (initial > 0)


def test_gradient_flow_conserves_what_ties_a_logit_to_its_weight():
    # At one temperature b, equal rates, no decay, no penalty: w^2 / 2 - s / b -
    # exp(b s) / b^2 stays, by d/dt of each term; steps of a size move it in proportion.
    b = 3.0

    def drift(rate):
        def loss(pair):
            w, s = pair
            return jnp.sum((sigmoid.apply(w, s, b) - GOAL) ** 2) / 2

        def move(_, pair):
            slope = jax.grad(loss)(pair)
            return jax.tree.map(lambda x, g: x - rate * g, pair, slope)

        def invariant(pair):
            w, s = pair
            return w**2 / 2 - s / b - jnp.exp(b * s) / b**2

        first = START["k"], jnp.zeros(2)
        last = jax.lax.fori_loop(0, round(1 / rate), move, first)
        return jnp.abs(invariant(last) - invariant(first)).max()

    assert drift(0.01) < 0.01
    np.testing.assert_allclose(drift(0.01) / drift(0.005), 2, rtol=0.05)


def test_members_with_different_logits_train_at_once_as_they_do_alone():
    tx, initials = optimizer(), jnp.array([-0.05, 0.0, 0.1])
    step = stepper(families.continuous(), tx, scaled=True)
    fresh = [begun(tx, initial) for initial in initials]
    alone = members_lib.stack([run(step, state, 5)[-1] for state in fresh])
    masks = gated.masked(FULL)
    together = members_lib.stack(fresh)
    traces = []

    def counted(state):
        traces.append(1)
        return step(state, masks, None, GOAL)

    mapped = jax.jit(jax.vmap(counted))
    for _ in range(5):
        together = mapped(together)
    assert len(traces) == 1  # logits and temperatures are data
    np.testing.assert_allclose(
        together.params.gates["k"], alone.params.gates["k"], rtol=1e-4
    )


def test_a_round_gives_the_network_that_its_gates_tend_to():
    kind = families.continuous()
    params, state = gated.begin(KEY, START, {}, FULL, 0.1)
    params = params._replace(gates={"k": jnp.array([0.3, -0.3])})
    apply_fn = gated.network(identity, kind, lambda step: 1e4, scaled=True)
    soft, _ = apply_fn(params, state, None, False)
    pruned, masks = gated.harvest(kind, params, state, scaled=True)
    np.testing.assert_allclose(pruned["k"], soft, rtol=1e-6)
    assert masks["k"].tolist() == [True, False]


@pytest.mark.parametrize("gradient", ["sigmoid", "identity"])
def test_a_stochastic_gate_is_binary_and_has_its_straight_through_gradient(gradient):
    kind, s = families.stochastic(gradient=gradient), {"k": jnp.array([-1.0, 0.0, 2.0])}
    drawn = kind.train(KEY, s, 1.0, 1.0)["k"]
    assert set(drawn.tolist()) <= {0.0, 1.0}
    slope = jax.grad(lambda s: kind.train(KEY, s, 1.0, 1.0)["k"].sum())(s)["k"]
    sigma = jax.nn.sigmoid(s["k"])
    expected = sigma * (1 - sigma) if gradient == "sigmoid" else jnp.ones(3)
    np.testing.assert_allclose(slope, expected, rtol=1e-6)


def test_a_stochastic_gate_is_binary_at_every_logit():
    for gradient in ("sigmoid", "identity"):
        kind, s = families.stochastic(gradient=gradient), jnp.linspace(-9, 9, 2000)
        drawn = jax.jit(lambda s, k=kind: k.train(KEY, {"k": s}, 1.0, 1.0)["k"])(s)
        assert set(drawn.tolist()) == {0.0, 1.0}


def test_stochastic_gates_are_drawn_anew_at_each_step_and_the_same_again():
    kind, many = families.stochastic(), {"k": jnp.ones(64)}
    apply_fn = gated.network(identity, kind, at, scaled=False)
    full = {"k": jnp.ones(64, bool)}
    params, state = gated.begin(KEY, many, {}, full, 0.0)
    first, after = apply_fn(params, state, None, True)
    second, _ = apply_fn(params, after, None, True)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, apply_fn(params, state, None, True)[0])
    _, state = gated.again(kind, params, after)
    assert state.progress.step == 0
    assert not np.array_equal(first, apply_fn(params, state, None, True)[0])
    # Four standard deviations of 64 fair coins are 4 / (2 * 8).
    np.testing.assert_allclose(jnp.mean(first), 0.5, atol=0.25)


def test_hard_concrete_gates_give_weights_times_their_test_gates():
    kind = families.hard_concrete()
    params, state = gated.begin(KEY, START, {}, FULL, 0.0)
    params = params._replace(gates={"k": jnp.array([-3.0, 0.0])})
    pruned, masks = gated.harvest(kind, params, state, scaled=False)
    assert masks["k"].tolist() == [False, True]
    np.testing.assert_allclose(pruned["k"], [0, 0.3], rtol=1e-6)  # z = 1/2 at 0


def test_masks_of_a_gated_network_are_those_of_its_weights():
    tree = gated.masked({"k": jnp.array([True, False]), "bias": None})
    assert isinstance(tree, Gated)
    assert masks_lib.count(tree) == (1, 2)


def test_members_spread_over_the_ticket_axis_of_a_mesh_train_as_on_one_device():
    tx = optimizer()
    step = stepper(families.continuous(), tx, scaled=True)
    fresh = members_lib.stack([begun(tx, s0) for s0 in (-0.1, -0.05, 0.0, 0.1)])
    axes = jax.sharding.AxisType.Auto, jax.sharding.AxisType.Auto
    mesh = jax.make_mesh((4, 1), ("ticket", "data"), axis_types=axes)
    members = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("ticket"))
    mapped = jax.jit(
        jax.vmap(lambda state: step(state, gated.masked(FULL), None, GOAL))
    )
    here, there = fresh, jax.device_put(fresh, members)
    for _ in range(5):
        here, there = mapped(here), mapped(there)
    assert len(there.params.gates["k"].sharding.device_set) == 4
    np.testing.assert_allclose(
        there.params.gates["k"], here.params.gates["k"], rtol=1e-5
    )


def test_a_key_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="a gated network must be of JAX's default"):
        gated.begin(jax.random.key(0, impl="rbg"), START, {}, FULL, 0.0)
