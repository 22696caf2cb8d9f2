"""What a vision transformer and a decoder of texts see, and how large they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax import models

SMALL = {"features": 12, "depth": 1, "heads": 3}
IMAGES = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
TOKENS = np.random.default_rng(0).integers(0, 7, (2, 6))


def shapes(name, given, classes, **options):
    model = models.build(name, classes, **options)
    found = jax.eval_shape(
        lambda key: models.initialise(model, key, jnp.zeros(*given)), jax.random.key(0)
    )
    return found[0]


def count(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.fixture(scope="module")
def decoder():
    return network("gpt_tiny", TOKENS)


@pytest.fixture(scope="module")
def vision():
    return network("vit_tiny", IMAGES)


def network(name, given, **options):
    """Returns (params, (params, inputs) -> logits), weights as large as in training."""
    model = models.build(name, 7, options=SMALL | options)
    params, _ = jax.jit(lambda k: models.initialise(model, k, given))(jax.random.key(1))
    params = jax.tree.map(lambda w: 10 * np.asarray(w) + np.float32(0.1), params)

    @jax.jit
    def logits(params, given):
        return models.apply(model, params, {}, given, train=True)[0]

    return params, logits


def test_a_tiny_vision_transformer_has_the_published_number_of_parameters():
    given = ((1, 224, 224, 3),)
    params = shapes("vit_tiny", given, 1000, options={"patch": 16})
    assert count(params) == 5_717_416  # Touvron et al., 2021: 5.7 million


def test_the_parameters_of_a_decoder_are_those_of_its_layers():
    d, classes, length = 128, 40, 64
    # Four kernels of an attention, two of 4 d, their biases, and two norms.
    block = 12 * d**2 + (4 + 4 + 1) * d + 4 * d
    rest = (classes + length) * d + 2 * d
    given = (1, length), "int32"
    assert count(shapes("gpt_tiny", given, classes)) == (
        4 * block + rest + classes * d + classes
    )
    tied = shapes("gpt_tiny", given, classes, options={"tied": True})
    assert count(tied) == 4 * block + rest and "head" not in tied


def test_the_width_is_that_of_a_head_and_heads_are_an_axis():
    params = shapes("vit_tiny", ((1, 32, 32, 3),), 10, width=0.25)
    kernels = params["block12"]["attention"]
    found = {name: leaf["kernel"].shape for name, leaf in kernels.items()}
    assert found.pop("out") == (3, 16, 48)
    assert set(found.values()) == {(48, 3, 16)}


def test_a_place_sees_no_token_that_comes_after_it(decoder):
    params, logits = decoder
    before = logits(params, TOKENS)
    for at in range(TOKENS.shape[1]):
        other = TOKENS.copy()
        other[:, at] = (other[:, at] + 1) % 7
        moved = np.abs(logits(params, other) - before).max((0, 2)) > 0
        np.testing.assert_array_equal(moved, np.arange(len(moved)) >= at)


def test_patches_are_told_apart_by_their_positions_alone(vision):
    params, logits = vision
    turned = IMAGES.reshape(2, 2, 4, 8, 3)[:, ::-1].reshape(IMAGES.shape)
    before = logits(params, IMAGES)
    # Sums in another order: float32 by the size of the logits.
    close = {"rtol": 1e-4, "atol": 1e-5 * float(jnp.abs(before).max())}
    assert not np.allclose(logits(params, turned), before, **close)
    tables = {
        "positions": {"embedding": np.zeros_like(params["positions"]["embedding"])}
    }
    same = [logits(params | tables, x) for x in (turned, IMAGES)]
    np.testing.assert_allclose(*same, **close)


def test_the_mean_over_patches_needs_no_token_of_a_class(vision):
    params, _ = vision
    model = models.build("vit_tiny", 7, options=SMALL | {"pool": "mean"})
    found = jax.eval_shape(
        lambda key: models.initialise(model, key, IMAGES)[0], jax.random.key(0)
    )
    rows = found.pop("positions")["embedding"].shape[0]
    assert rows + 1 == len(params["positions"]["embedding"])
    assert params.keys() - found.keys() == {"class_token", "positions"}
    table = {"positions": {"embedding": params["positions"]["embedding"][1:]}}
    logits = jax.eval_shape(
        lambda params: models.apply(model, params, {}, IMAGES, train=False)[0],
        {name: params[name] for name in found} | table,
    )
    assert logits.shape == (2, 7)


def test_what_a_block_begins_with_is_kept_for_the_derivative():
    model = models.build("gpt_tiny", 7, remat=True, options=SMALL | {"depth": 3})

    def forward(params):
        return models.apply(model, params, {}, TOKENS, train=True)[0]

    own = jax.eval_shape(
        lambda key: models.initialise(model, key, TOKENS)[0], jax.random.key(0)
    )
    program = str(jax.make_jaxpr(forward)(own))
    assert program.count("name=block") == 3


@pytest.mark.parametrize(
    "name, options, given, message",
    [
        ("vit_tiny", {"patch": 3}, IMAGES, r"got shape = \(2, 8, 8, 3\), patch = 3"),
        ("vit_tiny", {"pool": "max"}, IMAGES, "token, mean, got pool = 'max'"),
        ("vit_tiny", {"heads": 5}, IMAGES, "multiple of heads, got .* = 12, 1, 5, 4"),
        ("vit_tiny", {}, TOKENS, "needs images"),
        ("gpt_tiny", {}, IMAGES, r"float32 \[2, 8, 8, 3\]; for images .*vit_tiny"),
    ],
)
def test_what_a_transformer_cannot_read_is_refused(name, options, given, message):
    model = models.build(name, 7, options=SMALL | options)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda x: models.initialise(model, jax.random.key(0), x), given)
