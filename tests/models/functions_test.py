"""A network is told its mode, and draws by its key and step."""

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from lthjax import draws, models

IMAGES = jnp.arange(24.0).reshape(4, 3, 2, 1) / 24


class Normed(nn.Module):
    """A norm and dropout; what follows differs in how it is told its mode."""

    @nn.compact
    def __call__(self, images, still=True):
        x = images.reshape(images.shape[0], -1)
        x = nn.BatchNorm(use_running_average=still)(x)
        return nn.Dropout(0.5, deterministic=still)(x)


class Train(Normed):
    @nn.compact
    def __call__(self, images, train=False):
        return Normed()(images, not train)


class Training(Normed):
    @nn.compact
    def __call__(self, images, *, training=False):
        return Normed()(images, not training)


class Deterministic(Normed):
    @nn.compact
    def __call__(self, images, deterministic: bool | None = None):
        return Normed()(images, nn.merge_param("deterministic", None, deterministic))


class Inference(Normed):
    @nn.compact
    def __call__(self, images, inference):
        return Normed()(images, inference)


class Attribute(Normed):
    is_training: bool = False

    @nn.compact
    def __call__(self, images):
        return Normed()(images, not self.is_training)


class Kept(Train):
    remat: bool = True


def step(model, params, state):
    return models.apply(model, params, state, IMAGES, train=True)


@pytest.fixture(scope="module")
def begun():
    return models.initialise(Train(), jax.random.key(0), IMAGES)


@pytest.mark.parametrize(
    "form", [Train, Training, Deterministic, Inference, Attribute, Kept]
)
def test_a_network_is_told_its_mode_by_the_name_it_knows(form, begun):
    params, state = begun
    logits, after = step(form(), params, state)
    assert jnp.any(logits == 0) and logits.dtype == jnp.float32
    moved = jax.tree.map(lambda a, b: jnp.any(a != b), state, after)
    assert all(map(bool, jax.tree.leaves(moved["batch_stats"])))
    assert after["draws"]["step"] == 1
    tested, same = models.apply(form(), params, state, IMAGES, train=False)
    assert same is state and tested.shape == (4, 6)
    np.testing.assert_allclose(tested, IMAGES.reshape(4, 6), rtol=1e-4)


def test_a_mode_of_the_constructor_is_set_there_and_not_passed_too():
    always = nn.Dropout(0.5, deterministic=True)
    _, state = models.initialise(always, jax.random.key(0), IMAGES)
    assert jnp.sum(step(always, {}, state)[0] == 0) > 1
    tested, _ = models.apply(always, {}, state, IMAGES, train=False)
    np.testing.assert_array_equal(tested, IMAGES)


def test_what_is_no_bool_is_no_mode():
    class Other(nn.Module):
        test: int = 3

        @nn.compact
        def __call__(self, images, train="yes"):
            assert (self.test, train) == (3, "yes")
            return images

    assert models.apply(Other(), {}, {}, IMAGES, train=True)[1] == {}


def test_draws_are_of_the_key_and_the_step_alone(begun):
    params, state = begun
    one, after = step(Train(), params, state)
    two, _ = step(Train(), params, after)
    again, _ = step(Train(), params, {**after, "draws": state["draws"]})
    np.testing.assert_array_equal(one == 0, again == 0)
    assert np.any((one == 0) != (two == 0))
    _, other = models.initialise(Train(), jax.random.key(1), IMAGES)
    assert np.any((one == 0) != (step(Train(), params, other)[0] == 0))
    old = models.initialise(Train(), jax.random.PRNGKey(0), IMAGES)[1]
    np.testing.assert_array_equal(old["draws"]["key"], state["draws"]["key"])


@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg"])
def test_a_key_of_another_implementation_gives_draws_of_its_own(impl):
    keys = [jax.random.key(seed, impl=impl) for seed in (0, 1)]
    trees = [models.initialise(Train(), key, IMAGES) for key in (*keys, keys[0])]
    one, two, again = (step(Train(), *tree)[0] == 0 for tree in trees)
    assert np.any(one != two)
    np.testing.assert_array_equal(one, again)


def test_another_implementation_that_is_the_default_is_kept_as_it_is():
    with jax.default_prng_impl("rbg"):
        key = jax.random.key(0)
        params, state = models.initialise(Train(), key, IMAGES)
        assert jnp.any(step(Train(), params, state)[0] == 0)
        own = models.initialise(Train(), jax.random.key(0, impl="threefry2x32"), IMAGES)
        assert jnp.any(step(Train(), *own)[0] == 0)
    assert state["draws"]["key"].shape == jax.random.key_data(key).shape


def test_members_of_a_population_draw_for_themselves(begun):
    params, state = begun
    states = jax.tree.map(lambda *x: jnp.stack(x), state, state)
    states["draws"]["step"] = jnp.arange(2)
    logits, _ = jax.vmap(lambda s: step(Train(), params, s))(states)
    assert np.any((logits[0] == 0) != (logits[1] == 0))


def test_shards_of_a_batch_draw_for_themselves():
    class Shard(nn.Module):
        axis_name: str | None = "data"

        @nn.compact
        def __call__(self, images, train):
            return nn.Dropout(0.5, deterministic=not train)(images)

    _, state = models.initialise(Shard(None), jax.random.key(0), IMAGES)
    shards = jnp.ones((2, 64))

    def forward(images):
        return models.apply(Shard(), {}, state, images, train=True)

    logits, after = jax.vmap(forward, axis_name="data")(shards)
    assert np.any((logits[0] == 0) != (logits[1] == 0))
    assert after["draws"]["step"].tolist() == [1, 1]


def test_a_network_that_draws_nothing_has_no_key():
    none = nn.Dropout(0.0, deterministic=False)
    assert models.initialise(none, jax.random.key(0), IMAGES)[1] == {}


@pytest.mark.parametrize("whole", [True, False])
def test_the_state_after_a_step_is_held_as_it_came(begun, whole):
    params, state = begun
    held = flax.core.freeze(state) if whole else {**state}
    if not whole:
        held["batch_stats"] = flax.core.freeze(state["batch_stats"])

    def move(at, state):
        return step(Train(), params, state)[1]

    found, expected = (jax.lax.fori_loop(0, 2, move, tree) for tree in (held, state))
    assert jax.tree.structure(found) == jax.tree.structure(held)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_state_of_more_leaves_than_came_is_returned_as_it_is():
    class Sown(nn.Module):
        @nn.compact
        def __call__(self, images, train):
            self.sow("seen", "images", images)
            return images

    after = models.apply(Sown(), {}, {"seen": {}}, IMAGES, train=True)[1]
    np.testing.assert_array_equal(after["seen"]["images"][0], IMAGES)


def test_statistics_are_the_state_without_its_draws(begun):
    assert set(models.statistics(begun[1])) == {"batch_stats"}
    assert draws.DRAWS in begun[1]
