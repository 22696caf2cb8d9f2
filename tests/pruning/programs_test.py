"""What is called outside of `jit` compiles once, and gives what is traced."""

import collections
import dataclasses
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

import lthjax as lth
from lthjax.pruning import programs

PARAMS = {"a": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "bias": jnp.array([0.1, 0.2])}
MASKS = {"a": jnp.array([[True, True], [False, True]]), "bias": None}


def loss(params):
    return jnp.sum((params["a"] @ params["bias"]) ** 2)


def network(params, inputs):
    return jax.nn.relu(inputs @ params["a"])


CALLS = {
    "snip": lambda: lth.scores.snip(loss, PARAMS, MASKS),
    "taylor": lambda: lth.scores.taylor(loss, PARAMS, MASKS),
    "grasp": lambda: lth.scores.grasp(loss, PARAMS, MASKS),
    "synflow": lambda: lth.scores.synflow(network, PARAMS, MASKS, (2,)),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_second_call_compiles_nothing_and_is_that_of_jit(name):
    programs._kept.clear()
    first = CALLS[name]()
    assert len(programs._kept) == 1
    again = CALLS[name]()
    assert len(programs._kept) == 1
    traced = jax.jit(CALLS[name])()
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
    programs._kept.clear()
    for batch in (jnp.array([1.0, 2.0]), jnp.array([10.0, 20.0])):  # noqa: B007
        found.append(snip(loss))
    assert found == [[1.0, 2.0], [10.0, 20.0]]
    assert len(programs._kept) == 1  # batches are handed to it


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
    for gain in range(1, programs.KEPT + 3):
        snip(Loss(float(gain)))
    assert len(programs._kept) == programs.KEPT


@dataclasses.dataclass(slots=True)
class Slots:
    """An object without a dict."""

    gain: float = 1.0


class Settings:
    """A class whose attributes are settings."""

    gain = 1.0

    @property
    def doubled(self):
        return 2 * GAIN

    @staticmethod
    def tripled():
        return 3 * GAIN


class Derived(Settings):
    """One that has its settings from another."""


class Network(nn.Module):
    """A user's network that reads a global."""

    @nn.compact
    def __call__(self, x):
        return GAIN * x


GAIN = 1.0
SLOTS, BUFFER, MODULE = Slots(), np.ones(2, np.float32), types.ModuleType("a_user_s")
DEQUE, RAW = collections.deque([1.0]), bytearray(b"\x01")
READ_ONLY: dict = {"gain": 1.0}
PROXY = types.MappingProxyType(READ_ONLY)
STATE = nnx.Param(jnp.ones(2))
MODULE.gain = 1.0

SEEN = {
    "a slot": (lambda w: SLOTS.gain * w, lambda: setattr(SLOTS, "gain", 3.0)),
    "a class": (lambda w: Settings.gain * w, lambda: setattr(Settings, "gain", 3.0)),
    "a base": (lambda w: Derived().gain * w, lambda: setattr(Settings, "gain", 3.0)),
    "a property": (lambda w: Derived().doubled * w / 2, lambda: setting(GAIN=3.0)),
    "a static method": (lambda w: Derived.tripled() * w / 3, lambda: setting(GAIN=3.0)),
    "a network": (lambda w: Network().apply({}, w), lambda: setting(GAIN=3.0)),
    "a module": (lambda w: MODULE.gain * w, lambda: setattr(MODULE, "gain", 3.0)),
    "a buffer": (lambda w: BUFFER[:, None] * w, lambda: BUFFER.fill(3.0)),
    "a deque": (lambda w: DEQUE[0] * w, lambda: DEQUE.appendleft(3.0)),
    "bytes": (lambda w: RAW[0] * w, lambda: RAW.__setitem__(0, 3)),
    "a view": (lambda w: PROXY["gain"] * w, lambda: READ_ONLY.update(gain=3.0)),
    "a state": (lambda w: STATE[:, None] * w, lambda: STATE.set_value(3 * jnp.ones(2))),
}


def setting(**globals_):
    globals().update(globals_)


@pytest.mark.parametrize("name", SEEN)
def test_whatever_a_loss_sees_is_seen_as_it_is_now(name, monkeypatch):
    monkeypatch.setitem(globals(), "GAIN", 1.0)
    monkeypatch.setattr(Settings, "gain", 1.0)
    scaled, change = SEEN[name]

    def loss(w):
        return jnp.sum(scaled(w["w"]))

    assert snip(loss) == [1.0, 1.0]
    change()
    assert snip(loss) == [3.0, 3.0]


def test_functions_of_python_s_own_are_called_and_not_taken_for_one_another():
    def loss(gain):
        own = lambda: np.float32(gain)  # noqa: E731
        given = jax.ShapeDtypeStruct((), jnp.float32)
        return lambda w: jnp.sum(w["w"]) * jax.pure_callback(own, given)

    assert [snip(loss(1.0)), snip(loss(3.0))] == [[1.0, 1.0], [3.0, 3.0]]


OTHERWISE = "jax_use_simplified_jaxpr_constants"  # of some versions of JAX


@pytest.mark.parametrize(
    "held", [{}, *[{OTHERWISE: True}] * hasattr(jax.config, OTHERWISE)]
)
def test_constants_are_seen_however_jax_holds_them(held):
    before = {name: getattr(jax.config, name) for name in held}
    for name, value in held.items():
        jax.config.update(name, value)
    try:
        for gain in (1.0, 3.0):
            rows = gain * jnp.ones((2, 1))
            assert snip(lambda w: jnp.sum(rows * w["w"])) == [gain, gain]  # noqa: B023
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
