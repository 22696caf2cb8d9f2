"""What is called outside of `jit` compiles once, and gives what is traced."""

import dataclasses
import functools
import itertools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lthjax as lth
from lthjax.pruning import programs

PARAMS = {"a": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "bias": jnp.array([0.1, 0.2])}
MASKS = {"a": jnp.array([[True, True], [False, True]]), "bias": None}


def counted():
    """Returns a loss, a network, and what counts their traces."""
    traces = itertools.count()

    def loss(params):
        next(traces)
        return jnp.sum((params["a"] @ params["bias"]) ** 2)

    def network(params, inputs):
        next(traces)
        return jax.nn.relu(inputs @ params["a"])

    return loss, network, traces


CALLS = {
    "snip": lambda loss, network: lth.scores.snip(loss, PARAMS, MASKS),
    "taylor": lambda loss, network: lth.scores.taylor(loss, PARAMS, MASKS),
    "grasp": lambda loss, network: lth.scores.grasp(loss, PARAMS, MASKS),
    "synflow": lambda loss, network: lth.scores.synflow(network, PARAMS, MASKS, (2,)),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_second_call_of_a_loss_traces_nothing_and_is_that_of_jit(name):
    loss, network, traces = counted()
    first = CALLS[name](loss, network)
    seen = next(traces)
    again = CALLS[name](loss, network)
    assert next(traces) == seen + 1 > 1
    traced = jax.jit(lambda: CALLS[name](loss, network))()
    for own, other in ((first, again), (first, traced)):
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), own, other
        )


def test_pruning_is_one_program():
    scores = {"a": jnp.array([[1.0, 4.0], [9.0, 2.0]]), "bias": None}
    found = lth.prune(MASKS, scores, kept=2)
    np.testing.assert_array_equal(found["a"], [[False, True], [False, True]])
    jaxpr = jax.make_jaxpr(lambda s: lth.prune(MASKS, s, kept=2))(scores)
    assert [str(eqn.primitive) for eqn in jaxpr.eqns] == ["jit"]


def test_a_loss_that_goes_by_values_is_still_scored():
    def loss(params):
        total = jnp.sum(params["a"] ** 2)
        return total if total > 1 else -total

    found = lth.scores.snip(loss, PARAMS, MASKS)
    np.testing.assert_allclose(found["a"], 2 * np.square(PARAMS["a"]) * MASKS["a"])


def test_a_loss_of_traced_batches_is_no_kept_program():
    programs._kept.clear()

    def score(batch):
        return lth.scores.snip(lambda w: jnp.sum(w["a"] * batch), PARAMS, MASKS)

    found = lth.scores.average(score, jnp.array([1.0, 3.0]))
    np.testing.assert_allclose(found["a"], 2 * np.abs(PARAMS["a"]))
    assert not programs._kept


BATCH = jnp.array([1.0, 2.0])
W, FULL = {"w": jnp.ones((2, 1))}, {"w": jnp.ones((2, 1), bool)}


def snip(loss):
    return lth.scores.snip(loss, W, FULL)["w"].ravel().tolist()


def test_a_loss_that_closes_over_another_batch_is_scored_anew():
    loss = lambda w: jnp.sum(w["w"][:, 0] * batch)  # noqa: E731
    found = []
    for batch in (jnp.array([1.0, 2.0]), jnp.array([10.0, 20.0])):  # noqa: B007
        found.append(snip(loss))
    assert found == [[1.0, 2.0], [10.0, 20.0]]


def test_a_global_that_is_changed_is_seen(monkeypatch):
    def loss(w):
        return jnp.sum(w["w"][:, 0] * BATCH)

    first = snip(loss)
    monkeypatch.setitem(globals(), "BATCH", 3 * BATCH)
    assert (first, snip(loss)) == ([1.0, 2.0], [3.0, 6.0])


def test_what_is_changed_in_place_is_seen():
    held = {"gain": 1.0, "rows": [jnp.ones(2)]}

    def inner(w):
        return w["w"][:, 0] * held["gain"] * held["rows"][0]

    def loss(w, power=1):
        return jnp.sum(inner(w) ** power)

    def scored():
        return snip(loss)

    assert scored() == [1.0, 1.0]
    held["gain"] = 2.0
    assert scored() == [2.0, 2.0]
    held["rows"][0] = jnp.array([1.0, 5.0])
    assert scored() == [2.0, 10.0]
    loss.__defaults__ = (2,)
    assert scored() == [8.0, 200.0]


@dataclasses.dataclass
class Loss:
    """A loss that can be called, and cannot be hashed."""

    gain: float

    def __call__(self, w):
        return self.loss(w)

    def loss(self, w):
        return jnp.sum(self.gain * w["w"])


@pytest.mark.parametrize(
    "taken", [lambda o: o, lambda o: o.loss, lambda o: functools.partial(o.loss)]
)
def test_methods_and_objects_are_scored_by_what_they_hold(taken):
    own = Loss(1.0)
    first = snip(taken(own))
    kept = len(programs._kept)
    assert snip(taken(own)) == first == [1.0, 1.0]
    assert len(programs._kept) == kept
    own.gain = 3.0
    assert snip(taken(own)) == [3.0, 3.0]


def test_no_more_programs_are_kept_than_said():
    for gain in range(1, 9):
        snip(Loss(float(gain)))
    assert len(programs._kept) == programs.KEPT


@dataclasses.dataclass(slots=True)
class Slots:
    """An object without a dict."""

    gain: float = 1.0


class Settings:
    """A class whose attributes are settings."""

    gain = 1.0


def test_slots_classes_modules_and_buffers_are_seen_as_they_are(monkeypatch):
    slots, buffer = Slots(), np.ones(2, np.float32)
    module = types.ModuleType("settings_of_a_user")
    module.gain = 1.0
    monkeypatch.setitem(globals(), "MODULE", module)
    losses = (
        lambda w: slots.gain * jnp.sum(w["w"]),
        lambda w: Settings.gain * jnp.sum(w["w"]),
        lambda w: MODULE.gain * jnp.sum(w["w"]),  # noqa: F821
        lambda w: jnp.sum(buffer * w["w"][:, 0]),
    )
    assert [snip(loss) for loss in losses] == [[1.0, 1.0]] * 4
    slots.gain = module.gain = 3.0
    buffer[:] = 3.0
    monkeypatch.setattr(Settings, "gain", 3.0)
    assert [snip(loss) for loss in losses] == [[3.0, 3.0]] * 4
