"""A transformer in PyTorch: the function of what is exported, by its own source."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import rest_slow
from flax import linen as nn

from lthjax import models
from lthjax.pruning import views
from lthjax.saving import pytorch, torch_source

SMALL = {"features": 12, "depth": 1, "heads": 3}
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(2, 8, 12, 3)).astype(np.float32)
TOKENS = RNG.integers(0, 7, (2, 6)).astype(np.int32)
CASES = {
    "token": ("vit_tiny", {"pool": "token"}, IMAGES),
    "mean": ("vit_tiny", {"pool": "mean", "ratio": 2}, IMAGES),
    "decoder": ("gpt_tiny", {}, TOKENS),
    "tied": ("gpt_tiny", {"tied": True}, TOKENS),
}


@functools.cache
def exported(case):
    """Returns (the tensors, the source, what the network computes) of a case."""
    name, options, given = CASES[case]
    model = models.build(name, 7, options=SMALL | options)

    @jax.jit
    def everything(key):
        params, _ = models.initialise(model, key, given)
        params = jax.tree.map(lambda w: 10 * w + 0.1, params)  # biases are not zero
        return params, models.apply(model, params, {}, given, train=False)[0]

    params, logits = jax.device_get(everything(jax.random.key(0)))
    axes = views.of(model.init, jax.random.key(0), given)
    form = pytorch.layout(model, params, 3, axes)
    text = torch_source.source(model, params, "ticket.safetensors")
    return pytorch.state_dict(form, params), text, logits


def linear(tensors, name, x):
    return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]


def norm(tensors, name, x):
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)
    return x * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]


def attention(tensors, name, x, causal):
    q, k, v = (
        linear(tensors, f"{name}.{part}", x).reshape(*x.shape[:2], 3, -1)
        for part in ("query", "key", "value")
    )
    scores = np.einsum("bihd,bjhd->bhij", q, k) / np.sqrt(q.shape[-1])
    places = np.arange(x.shape[1])
    scores = np.where(causal & (places > places[:, None]), -np.inf, scores)
    mixed = np.einsum("bhij,bjhd->bihd", np.asarray(nn.softmax(scores)), v)
    return linear(tensors, f"{name}.out", mixed.reshape(x.shape))


def blocks(tensors, x, causal):
    y = norm(tensors, "block1.norm1", x)
    x = x + attention(tensors, "block1.attention", y, causal)
    y = linear(tensors, "block1.up", norm(tensors, "block1.norm2", x))
    x = x + linear(tensors, "block1.down", np.asarray(nn.gelu(y, approximate=False)))
    return norm(tensors, "norm", x)


def vision(tensors, images):
    rows = images.transpose(0, 3, 1, 2).reshape(2, 3, 2, 4, 3, 4)  # patches of 4
    kernel = tensors["patches.weight"]
    x = np.einsum("bcyhxw,ochw->byxo", rows, kernel).reshape(2, 6, -1)
    x = x + tensors["patches.bias"]
    token = tensors.get("class_token")
    if token is not None:
        x = np.concatenate([np.broadcast_to(token, (2, 1, len(token))), x], 1)
    x = blocks(tensors, x + tensors["positions.weight"], causal=False)
    return linear(tensors, "head", x.mean(1) if token is None else x[:, 0])


def decoder(tensors, tokens):
    x = tensors["tokens.weight"][tokens] + tensors["positions.weight"]
    x = blocks(tensors, x, causal=True)
    if "head.weight" in tensors:
        return linear(tensors, "head", x)
    return x @ tensors["tokens.weight"].T


def same(found, logits):
    # Sums in another order: float32 by the size of the logits.
    scale = float(np.abs(logits).max())
    np.testing.assert_allclose(found, logits, rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize("case", rest_slow(CASES, "token", "tied"))
def test_what_is_exported_is_the_same_function_in_the_layout_of_pytorch(case):
    tensors, text, logits = exported(case)
    given = CASES[case][2]
    assert np.ptp(logits, 0).max() > 0.01 * np.abs(logits).max()  # inputs are seen
    same((vision if given is IMAGES else decoder)(tensors, given), logits)
    compile(text, "ticket_network.py", "exec")


@pytest.mark.parametrize("case", rest_slow(CASES, "token", "tied"))
def test_pytorch_loads_it_strictly_and_computes_the_same(case):
    torch = pytest.importorskip("torch")
    tensors, text, logits = exported(case)
    given, names = CASES[case][2], {}
    exec(compile(text, "ticket_network.py", "exec"), names)
    network = names["network"]().eval()
    loaded = {name: torch.tensor(leaf) for name, leaf in tensors.items()}
    network.load_state_dict(loaded, strict=True)
    x = given.transpose(0, 3, 1, 2) if given is IMAGES else given.astype(np.int64)
    with torch.no_grad():
        same(network(torch.tensor(x)).numpy(), logits)


def test_only_transformers_as_they_are_have_a_source():
    mlp = models.build("mlp", 3)
    assert torch_source.source(mlp, {}, "x") is None
    other = models.build("gpt_tiny", 3, options={"activation": jnp.tanh})
    with pytest.raises(ValueError, match="must have its own activation"):
        torch_source.source(other, {}, "x")
