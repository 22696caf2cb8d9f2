"""The layers the networks are made of, and what every network is given."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.nn import initializers

from lthjax import registry
from lthjax.callables import Activation

MOMENTUM = 0.9
EPSILON = 1e-5
BLOCK = "block"  # the name of what goes from block to block


class BatchNorm(nn.Module):
    """Batch normalisation over every axis but the last.

    y = x * a + b,  a = scale / sqrt(var + 1e-5),  b = bias - mean * a

    `mean` and `var` (biased) are those of the batch in training, and then the running
    ones move a tenth of the way to them; else they are the running ones. Parameters
    `scale` and `bias`, statistics `mean` and `var` are named as in flax, whose
    `BatchNorm` computes the same numbers with one array of the size of `x` more.

    References:
      Ioffe and Szegedy, 2015, arXiv:1502.03167. Departure: the running variance is the
      biased one (as in flax; PyTorch keeps the unbiased one).

    Attributes:
      train: Normalise by the batch and move the running statistics.
      dtype: The dtype returned; inside, all is float32.
      axis_name: Mesh axis over which statistics are averaged in training, or None.
      scale_init: Initialiser of `scale`.
    """

    train: bool
    dtype: Any = jnp.float32
    axis_name: Any = None
    scale_init: Callable[..., jax.Array] = initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns `x` [..., channels], normalised."""
        shape = (x.shape[-1],)
        scale = self.param("scale", self.scale_init, shape, jnp.float32)
        bias = self.param("bias", initializers.zeros, shape, jnp.float32)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        x = x.astype(jnp.float32)
        moments = (mean.value, var.value)
        if self.train:
            axis_name = None if self.is_initializing() else self.axis_name
            moments = batch_moments(x, axis_name)
        if self.train and not self.is_initializing():
            mean.value += (1 - MOMENTUM) * (moments[0] - mean.value)
            var.value += (1 - MOMENTUM) * (moments[1] - var.value)
        a = scale * lax.rsqrt(moments[1] + EPSILON)
        b = bias - moments[0] * a
        row = (1,) * (x.ndim - 1) + shape
        return (x * a.reshape(row) + b.reshape(row)).astype(self.dtype)


def batch_moments(x: jax.Array, axis_name=None) -> tuple[jax.Array, jax.Array]:
    """Returns the mean and biased variance of `x` [..., channels] by channel.

    var = max(E[x^2] - E[x]^2, 0), in one pass over `x`; over a mesh axis the two
    expectations are averaged, not the variances.
    """
    axes = tuple(range(x.ndim - 1))
    moments = jnp.stack([x.mean(axes), jnp.square(x).mean(axes)])
    if axis_name is not None:
        moments = lax.pmean(moments, axis_name)
    return moments[0], jnp.maximum(moments[1] - jnp.square(moments[0]), 0)


class Network(nn.Module):
    """What every network here is given; `__call__(images, train)` is the subclass's.

    Images are [batch, height, width, channels], logits float32 [batch, num_classes].
    In every network the weights of a layer are a leaf `kernel`, the classifier is
    called `head`, and the norm after a layer `conv1` is `conv1_norm`.

    Attributes:
      num_classes: Number of logits.
      width: Every hidden layer has this many times the published channels.
      dtype: What is computed in, float32 or bfloat16; parameters, batch statistics and
        logits stay float32.
      axis_name: Mesh axis over which batch norm averages its statistics in training,
        or None.
      activation: The non-linearity, from an array to one of its shape.
      initialiser: A name in `INITIALISERS`, for every kernel; biases start at zero.
      head_init: A name in `HEADS`, how the classifier starts.
      norm_scale: A name in `NORM_SCALES`: how the scales of batch norm start.
      remat: Whether the derivative keeps only what goes from block to block (`kept`)
        and computes the rest of the forward pass again: a third more operations, for
        the memory of a block in place of that of all.
    """

    num_classes: int = 10
    width: float = 1.0
    dtype: Any = jnp.float32
    axis_name: Any = None
    activation: Activation = nn.relu
    initialiser: str = "kaiming_normal"
    head_init: str = "as_others"
    norm_scale: str = "ones"
    remat: bool = False

    def scaled(self, channels: int) -> int:
        """Returns round(channels * width).

        Raises:
          ValueError: The width leaves no channel, or more than 2^20.
        """
        check_width(channels, self.width)
        return round(channels * self.width)

    def conv(self, x: jax.Array, name: str, channels: int, **options) -> jax.Array:
        """Returns `x` through a convolution with bias and no norm, and activated."""
        options = {"kernel_init": self._kernel_init(), "use_bias": True} | options
        y = conv_norm(x, name, channels, norm=None, dtype=self.dtype, **options)
        return self.activation(y)

    def dense(self, x: jax.Array, name: str, features: int) -> jax.Array:
        """Returns `x` [batch, inputs] through a dense layer, activated."""
        return self.activation(self._dense(x, name, features))

    def classify(self, x: jax.Array) -> jax.Array:
        """Returns float32 logits [batch, num_classes] of `x` [batch, features]."""
        options = registry.resolve(self.head_init, HEADS, "head_init")
        logits = self._dense(x, "head", self.num_classes, **options(x.shape[-1]))
        return logits.astype(jnp.float32)

    def _dense(self, x, name, features, **options):
        options = {"kernel_init": self._kernel_init(), "dtype": self.dtype} | options
        return nn.Dense(features, name=name, **options)(x)

    def _kernel_init(self):
        return registry.resolve(self.initialiser, INITIALISERS, "initialiser")


class Branched(Network):
    """A network of convolutions with norms, beside which branches may run.

    Attributes:
      beside: From `layer`'s result to the function used in its place, or None: what
        puts branches beside layers (`ghosts.attach`).
    """

    beside: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None

    def layer(self, train: bool) -> Callable[..., jax.Array]:
        """Returns `conv_norm` with this network's dtype, initialisers and mode."""
        norm = functools.partial(
            BatchNorm,
            train=train,
            dtype=self.dtype,
            axis_name=self.axis_name,
            scale_init=registry.resolve(self.norm_scale, NORM_SCALES, "norm_scale"),
        )
        layer = functools.partial(
            conv_norm, norm=norm, dtype=self.dtype, kernel_init=self._kernel_init()
        )
        return layer if self.beside is None else self.beside(layer)


def check_width(channels: int, width: float) -> None:
    """Checks that a layer of some channels has from 1 to 2^20 of them at a width.

    Raises:
      ValueError: It has not.
    """
    if not 0.5 < channels * width <= 2**20:
        raise ValueError(
            f"width must leave a layer of {channels} channels from 1 to {2**20:,} of "
            f"them, got width = {width}"
        )


def check_images(x: jax.Array) -> None:
    """Checks that there are images, or maps: of other axes flax mixes the examples.

    Raises:
      ValueError: There are none.
    """
    if x.ndim != 4:
        raise ValueError(
            "a network of convolutions needs images [batch, height, width, channels], "
            f"got shape = {x.shape}; give grey ones as images[..., None], or another "
            "network (model.name='mlp' takes inputs of any shape)"
        )


def conv_norm(
    x: jax.Array,
    name: str,
    channels: int,
    size: int = 3,
    stride: int = 1,
    *,
    norm: Callable[..., Any] | None,
    padding: int | None = None,
    **options,
) -> jax.Array:
    """Returns `x` through the convolution `name` and the norm `{name}_norm` after it.

    Args:
      x: [batch, height, width, channels].
      name: The layer's, within the module that calls.
      channels: Of the result.
      size: Height and width of the kernel.
      stride: Of both axes.
      norm: From a name to the norm that follows, or None for none.
      padding: Pixels of zeros on each side; (size - 1) / 2 if None. It is symmetric
        also where the stride is 2, as in PyTorch and unlike "SAME".
      **options: Of `flax.linen.Conv`; there is no bias unless `use_bias` asks for it.

    Raises:
      ValueError: As `check_images`.
    """
    check_images(x)
    padding = (size - 1) // 2 if padding is None else padding
    options = {"use_bias": False, "padding": [(padding, padding)] * 2} | options
    conv = nn.Conv(channels, (size, size), stride, name=name, **options)
    return conv(x) if norm is None else norm(name=f"{name}_norm")(conv(x))


def kept(x: jax.Array) -> jax.Array:
    """Returns `x`, marked as what a network with `remat` keeps for its derivative."""
    return checkpoint_name(x, BLOCK)


def max_pool(x: jax.Array) -> jax.Array:
    """Returns the largest of every 2x2 pixels of `x` [batch, height, width, channels].

    An odd last row or column is dropped. `flax.linen.max_pool` has the same values;
    here equal pixels share the derivative, and a CPU needs a sixth less for Conv-4.

    Raises:
      ValueError: There are no 2x2 pixels left.
    """
    if min(x.shape[1:3]) < 2:
        raise ValueError(
            "a feature map must be at least 2x2 to be pooled, got shape = "
            f"{x.shape}; use larger images (data.size=32, of a folder) or a network "
            "that pools less (model.name)"
        )
    batch, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max((2, 4))


def flatten(x: jax.Array) -> jax.Array:
    """Returns `x` [batch, ...] as [batch, everything else]."""
    return x.reshape(x.shape[0], -1)


def global_mean(x: jax.Array) -> jax.Array:
    """Returns the mean over all pixels of `x` [batch, height, width, channels]."""
    return x.mean((1, 2))


INITIALISERS = {
    # Variances: 2 / fan_in, 2 / fan_out, 2 / (fan_in + fan_out); normal, not truncated.
    "kaiming_normal": initializers.variance_scaling(2.0, "fan_in", "normal"),
    "kaiming_normal_fan_out": initializers.variance_scaling(2.0, "fan_out", "normal"),
    "glorot_normal": initializers.variance_scaling(1.0, "fan_avg", "normal"),
    # Uniform on +-1/sqrt(fan_in), what PyTorch's layers start from.
    "pytorch": initializers.variance_scaling(1 / 3, "fan_in", "uniform"),
}


def _within(bound):
    """Returns an initialiser that draws from +-bound."""
    return lambda key, *given: bound * jax.random.uniform(key, *given, minval=-1)


# From the inputs of the classifier to what of its layer starts in another way.
HEADS = {
    "as_others": lambda inputs: {},
    "small_normal": lambda inputs: {"kernel_init": initializers.normal(0.01)},
    "pytorch": lambda inputs: dict.fromkeys(
        ("kernel_init", "bias_init"), _within(inputs**-0.5)
    ),
}

NORM_SCALES = {
    "ones": initializers.ones,
    "half": initializers.constant(0.5),
    "uniform": initializers.uniform(1.0),
}
