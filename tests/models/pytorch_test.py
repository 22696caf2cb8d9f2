"""The same function in PyTorch's layout: NCHW images, OIHW kernels, its names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from lthjax import masks, models
from lthjax.models import pytorch
from lthjax.models.mlp import MLP, ConvNet, LeNet5
from lthjax.models.resnet import ResNet


def conv(tensors, name, x, stride=1, padding=None):
    weight = tensors[f"{name}.weight"]
    padding = weight.shape[-1] // 2 if padding is None else padding
    layout = ("NCHW", "OIHW", "NCHW")
    pads = [(padding, padding)] * 2
    y = lax.conv_general_dilated(x, weight, (stride,) * 2, pads, None, None, layout)
    bias = tensors.get(f"{name}.bias", np.zeros(len(weight), np.float32))
    return y + bias[None, :, None, None]


def norm(tensors, name, x):
    def row(leaf):
        return tensors[f"{name}.{leaf}"][None, :, None, None]

    scaled = (x - row("running_mean")) / np.sqrt(row("running_var") + 1e-5)
    return scaled * row("weight") + row("bias")


def linear(tensors, name, x):
    return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"][None]


def pool(x):
    n, c, h, w = x.shape
    cut = x[:, :, : h // 2 * 2, : w // 2 * 2]
    return cut.reshape(n, c, h // 2, 2, w // 2, 2).max((3, 5))


def perceptron(tensors, x):
    x = nn.relu(linear(tensors, "dense1", x.reshape(len(x), -1)))
    return linear(tensors, "head", x)


def lenet5(tensors, x):
    for name in ("conv1", "conv2"):
        x = pool(nn.relu(conv(tensors, name, x, padding=0)))
    return perceptron(tensors, x)


def conv2(tensors, x):
    for name in ("conv1", "conv2"):
        x = nn.relu(conv(tensors, name, x))
    return perceptron(tensors, pool(x))


def residual(tensors, x):
    x = nn.relu(norm(tensors, "bn1", conv(tensors, "conv1", x)))
    for stage in (1, 2):
        name, stride = f"layer{stage}.0", stage
        y = conv(tensors, f"{name}.conv1", x, stride)
        y = conv(tensors, f"{name}.conv2", nn.relu(norm(tensors, f"{name}.bn1", y)))
        y = norm(tensors, f"{name}.bn2", y)
        if stage == 2:
            x = conv(tensors, f"{name}.downsample.0", x, stride)
            x = norm(tensors, f"{name}.downsample.1", x)
        x = nn.relu(x + y)
    return linear(tensors, "fc", x.mean((2, 3)))


NETWORKS = {
    "mlp": (MLP(hidden=(6,)), perceptron, (2, 5, 4, 3)),
    "lenet5": (LeNet5(width=0.2), lenet5, (2, 20, 24, 3)),
    "conv2": (ConvNet(channels=(4,), hidden=(6,)), conv2, (2, 6, 10, 3)),
    "resnet": (ResNet(blocks=(1, 1), channels=(4, 6)), residual, (2, 8, 6, 3)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_the_same_function_in_the_layout_of_pytorch(name):
    model, forward, shape = NETWORKS[name]
    images = jax.random.normal(jax.random.key(0), shape)
    params, state = models.initialise(model, jax.random.key(1), images)
    params = jax.tree.map(lambda w: w + 0.1, params)  # biases are not zero
    _, state = models.apply(model, params, state, images, train=True)
    logits, _ = models.apply(model, params, state, images, train=False)
    form = pytorch.layout(model, params, shape[-1])
    tensors = pytorch.state_dict(form, params, state)
    found = forward(tensors, images.transpose(0, 3, 1, 2))
    # Sums in another order: float32 by the size of the logits.
    scale = float(jnp.abs(logits).max())
    assert float(jnp.ptp(logits, 0).max()) > 0.01 * scale  # the images are seen
    np.testing.assert_allclose(found, logits, rtol=1e-5, atol=1e-5 * scale)


def test_a_residual_network_has_the_names_and_shapes_of_torchvision():
    model = models.build("resnet50_imagenet", 1000, width=0.25)
    shapes = jax.eval_shape(
        lambda key: models.initialise(model, key, jnp.zeros((1, 64, 64, 3))),
        jax.random.key(0),
    )
    params, state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    found = pytorch.state_dict(pytorch.layout(model, params, 3), params, state)
    blocks = [f"layer{s + 1}.{i}" for s, n in enumerate((3, 4, 6, 3)) for i in range(n)]
    layers = [
        f"{b}.{kind}{i}" for b in blocks for kind in ("conv", "bn") for i in "123"
    ]
    layers += [f"layer{s}.0.downsample.{i}" for s in "1234" for i in "01"]
    layers += ["conv1", "bn1", "fc"]
    assert {name.rpartition(".")[0] for name in found} == set(layers)
    norms = [
        n for n in layers if ".bn" in n or n == "bn1" or n.endswith("downsample.1")
    ]
    statistics = (
        "weight",
        "bias",
        "running_mean",
        "running_var",
        "num_batches_tracked",
    )
    assert {n for n in found if n.rpartition(".")[0] in norms} == {
        f"{norm}.{name}" for norm in norms for name in statistics
    }
    assert found["conv1.weight"].shape == (16, 3, 7, 7)
    assert found["layer1.0.downsample.0.weight"].shape == (64, 16, 1, 1)
    assert found["fc.weight"].shape == (1000, 512)
    assert found["bn1.num_batches_tracked"].dtype == np.int64


def test_a_mask_is_named_and_laid_out_as_its_parameter():
    model, _, shape = NETWORKS["conv2"]
    params, _ = models.initialise(model, jax.random.key(0), jnp.zeros(shape))
    kept = jax.tree.map(lambda w: w > 0, params)
    full = masks.full(params, exclude=["head", "dense1"])
    kept = jax.tree.map(
        lambda m, w: None if m is None else w, full, kept, is_leaf=_none
    )
    form = pytorch.layout(model, params, 3)
    found, tensors = pytorch.masks_dict(form, kept), pytorch.state_dict(form, params)
    assert found.keys() == {"conv1.weight", "conv2.weight"}
    for name, mask in found.items():
        np.testing.assert_array_equal(mask, tensors[name] > 0)


def _none(leaf):
    return leaf is None


class Own(nn.Module):
    """A user's network."""

    @nn.compact
    def __call__(self, images):
        """Returns logits."""
        x = nn.Conv(4, (3, 3))(images)
        return nn.Dense(3)(x.reshape(len(x), -1))


def test_a_network_of_ones_own_says_what_it_flattens():
    model, images = Own(), jax.random.normal(jax.random.key(0), (2, 4, 5, 1))
    params, _ = models.initialise(model, jax.random.key(1), images)
    with pytest.raises(ValueError, match=r"got a network of your own, model = Own"):
        pytorch.layout(model, params, 1)
    tensors = pytorch.state_dict(pytorch.Layout({"Dense_0": 4}), params)
    x = conv(tensors, "Conv_0", images.transpose(0, 3, 1, 2)).reshape(2, -1)
    expected, _ = models.apply(model, params, {}, images, train=False)
    found = linear(tensors, "Dense_0", x)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_kernel_of_channels_by_themselves_is_laid_out_too():
    model = nn.Conv(6, (3, 3), feature_group_count=3)
    images = jax.random.normal(jax.random.key(0), (1, 5, 4, 3))
    params, _ = models.initialise(model, jax.random.key(1), images)
    weight = pytorch.state_dict(pytorch.Layout({}), params)["weight"]
    assert weight.shape == (6, 1, 3, 3)
    found = lax.conv_general_dilated(
        images.transpose(0, 3, 1, 2),
        weight,
        (1, 1),
        "SAME",
        dimension_numbers=("NCHW", "OIHW", "NCHW"),
        feature_group_count=3,
    )
    expected, _ = models.apply(model, params, {}, images, train=False)
    found = found.transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "form, state, message",
    [
        (pytorch.Layout({"Dense_1": 4}), {}, "Dense_1 = 4 channels for no such layer"),
        (pytorch.Layout({"Dense_0": 3}), {}, "Dense_0 = 3 channels for 80"),
        (pytorch.Layout({}, ((".*_0", "x"),)), {}, r"two of \['x.bias', 'x.weight'\]"),
        (pytorch.Layout({}), {"cache": {"x": np.ones(2)}}, "model_state with cache"),
    ],
)
def test_what_does_not_fit_is_refused(form, state, message):
    params, _ = models.initialise(Own(), jax.random.key(0), jnp.zeros((1, 4, 5, 1)))
    with pytest.raises(ValueError, match=message):
        pytorch.state_dict(form, params, state)
