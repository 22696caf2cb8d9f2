"""MobileNet V1 and V2: depthwise convolutions between pointwise ones."""

from collections.abc import Callable

import jax
from flax import linen as nn

from lthjax import registry
from lthjax.callables import Activation
from lthjax.models import layers

# Stride of the stem and of the stages after it. The CIFAR variants stride less early:
# V1 in the stem; V2 in the stem and in its second stage.
V1_STRIDES = {"cifar": (1, 1, 2, 2, 2, 2), "imagenet": (2, 1, 2, 2, 2, 2)}
V2_STRIDES = {
    "cifar": (1, 1, 1, 2, 2, 1, 2, 1),
    "imagenet": (2, 1, 2, 2, 2, 1, 2, 1),
}
V1_STAGES = ((64, 1), (128, 2), (256, 2), (512, 6), (1024, 2))
V2_STAGES = ((16, 1), (24, 2), (32, 3), (64, 4), (96, 3), (160, 3), (320, 1))


class Separable(nn.Module):
    """A 3x3 convolution `depthwise` of each channel, then a 1x1 `pointwise` over them.

    Attributes:
      layer: `layers.conv_norm` with the network's options.
      activation: The non-linearity, after each.
      channels: Of the result.
      stride: Of the depthwise convolution.
    """

    layer: Callable[..., jax.Array]
    activation: Activation
    channels: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the block of `x` [batch, height, width, channels]."""
        x = self.activation(depthwise(x, self.layer, self.stride))
        return self.activation(self.layer(x, "pointwise", self.channels, 1))


class InvertedResidual(nn.Module):
    """x + project(depthwise(expand(x))), the sum only where shapes agree.

    Attributes:
      layer: `layers.conv_norm` with the network's options.
      activation: The non-linearity, after `expand` and `depthwise` only.
      channels: Of the result.
      stride: Of the depthwise convolution.
      expansion: Times the channels of `x` between `expand` and `project`; with 1 there
        is no `expand`.
    """

    layer: Callable[..., jax.Array]
    activation: Activation
    channels: int
    stride: int
    expansion: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the block of `x` [batch, height, width, channels]."""
        y = x
        if self.expansion > 1:
            y = self.layer(x, "expand", self.expansion * x.shape[-1], 1)
            y = self.activation(y)
        y = self.activation(depthwise(y, self.layer, self.stride))
        y = self.layer(y, "project", self.channels, 1)
        return x + y if self.stride == 1 and x.shape == y.shape else y


class MobileNetV1(layers.Branched):
    """A stem of 32 channels, 13 separable blocks `stage1_block0`, ..., and `head`.

    References:
      Howard et al., 2017, arXiv:1704.04861; 4,231,976 parameters for 1,000 classes.
      Departures: the last block has stride 1 (its table says 2 for an image that does
      not shrink, a misprint); with `variant="cifar"` the stem has stride 1; Kaiming
      normal initialisation.

    Attributes:
      variant: "cifar" or "imagenet": how early the image shrinks.
    """

    variant: str = "cifar"

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Returns the logits; in training, by the statistics of the batch."""
        layer, options = self.layer(train), (self.layer(train), self.activation)
        first, *strides = registry.resolve(self.variant, V1_STRIDES, "variant")
        x = self.activation(layer(images, "stem", self.scaled(32), stride=first))
        for name, channels, stride in _blocks(V1_STAGES, strides):
            block = Separable(*options, self.scaled(channels), stride, name=name)
            x = block(layers.kept(x))
        return self.classify(layers.global_mean(x))


class MobileNetV2(layers.Branched):
    """A stem, 17 inverted residuals `stage1_block0`, ..., a 1x1 `last`, and `head`.

    Channels are multiples of 8 whatever the width, and `last` never has fewer than the
    published 1,280.

    References:
      Sandler et al., 2018, arXiv:1801.04381; 3,504,872 parameters for 1,000 classes.
      Departures: no dropout before the classifier; with `variant="cifar"` the stem and
      the second stage have stride 1, and shortcuts are identities there too (some CIFAR
      versions put convolutions where only the channels change); Kaiming normal
      initialisation.

    Attributes:
      variant: "cifar" or "imagenet": how early the image shrinks.
    """

    activation: Activation = nn.relu6
    variant: str = "cifar"

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Returns the logits; in training, by the statistics of the batch."""
        layer, options = self.layer(train), (self.layer(train), self.activation)
        first, *strides = registry.resolve(self.variant, V2_STRIDES, "variant")
        x = self.activation(layer(images, "stem", self.scaled(32), stride=first))
        for name, channels, stride in _blocks(V2_STAGES, strides):
            expansion = 1 if name == "stage1_block0" else 6
            block = InvertedResidual(
                *options, self.scaled(channels), stride, expansion, name=name
            )
            x = block(layers.kept(x))
        last = max(self.scaled(1280), 1280)
        return self.classify(
            layers.global_mean(self.activation(layer(x, "last", last, 1)))
        )

    def scaled(self, channels: int) -> int:
        """Returns the multiple of 8 nearest to channels * width, not 10 % below it.

        Raises:
          ValueError: As in other networks: one channel is the least that is asked for.
        """
        layers.check_width(channels, self.width)
        wanted = channels * self.width
        nearest = max(8, 8 * int(wanted / 8 + 0.5))
        return nearest if nearest >= 0.9 * wanted else nearest + 8


def depthwise(x: jax.Array, layer: Callable[..., jax.Array], stride: int) -> jax.Array:
    """Returns every channel of `x` through its own 3x3 kernel, and normed."""
    channels = x.shape[-1]
    return layer(x, "depthwise", channels, stride=stride, feature_group_count=channels)


def _blocks(stages, strides):
    """Yields (name, channels, stride) of every block; later ones have stride 1."""
    for s, ((channels, number), stride) in enumerate(zip(stages, strides, strict=True)):
        for i in range(number):
            yield f"stage{s + 1}_block{i}", channels, stride if i == 0 else 1
