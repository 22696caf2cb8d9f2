"""Residual networks, of the CIFAR family (6n+2) and of the ImageNet one."""

from collections.abc import Callable

import jax
from flax import linen as nn

from lthjax import registry
from lthjax.callables import Activation
from lthjax.models import layers


class Block(nn.Module):
    """y = activation(F(x) + shortcut(x)), with F of two or three convolutions.

    F is `conv1` and `conv2` (3x3), or with `bottleneck` `conv1` (1x1), `conv2` (3x3)
    and `conv3` (1x1, four times the channels); the stride lies in the first 3x3. The
    shortcut is the identity where shapes agree, else a 1x1 convolution `shortcut`.

    Attributes:
      layer: `layers.conv_norm` with the network's options.
      activation: The non-linearity.
      channels: Of the 3x3 convolutions.
      stride: Of the block.
      bottleneck: Whether F has three convolutions.
      shortcut_norm: Whether a norm follows the shortcut's convolution.
    """

    layer: Callable[..., jax.Array]
    activation: Activation
    channels: int
    stride: int
    bottleneck: bool = False
    shortcut_norm: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns y for `x` [batch, height, width, channels]."""
        y = self._bottleneck(x) if self.bottleneck else self._basic(x)
        return self.activation(y + self._shortcut(x, y.shape))

    def _basic(self, x):
        x = self.activation(self.layer(x, "conv1", self.channels, stride=self.stride))
        return self.layer(x, "conv2", self.channels)

    def _bottleneck(self, x):
        x = self.activation(self.layer(x, "conv1", self.channels, 1))
        x = self.activation(self.layer(x, "conv2", self.channels, stride=self.stride))
        return self.layer(x, "conv3", 4 * self.channels, 1)

    def _shortcut(self, x, shape):
        if self.stride == 1 and x.shape == shape:
            return x
        options = {} if self.shortcut_norm else {"norm": None}
        return self.layer(x, "shortcut", shape[-1], 1, self.stride, **options)


class ResNet(layers.Branched):
    """A stem, stages `stage1_block0`, ... of blocks, the mean over pixels, `head`.

    Every stage after the first halves the image.

    References:
      He et al., 2015, arXiv:1512.03385. Departures: where shapes change, the shortcut
      is a 1x1 convolution and a norm in the CIFAR networks too, as in open_lth:
      ResNet-20 has 272,474 parameters then, 270,896 of them weights; a bottleneck has
      its stride in the 3x3 convolution. Kaiming normal initialisation by fan-in; norm
      scales start at 1 (open_lth: uniform on [0, 1], `norm_scale="uniform"`).
      Savarese et al., 2020, arXiv:1912.04427: `shortcut_norm=False` and
      `initialiser="glorot_normal"` make its released ResNet-20, 272,282 parameters.

    Attributes:
      blocks: Number of blocks of each stage.
      channels: Channels of each stage; a bottleneck's result has four times these.
      bottleneck: Whether blocks have three convolutions instead of two.
      variant: Of the stem: "cifar", a 3x3 convolution, or "imagenet", a 7x7 one with
        stride 2 and a max pool.
      shortcut_norm: Whether a norm follows the 1x1 convolutions in shortcuts.
    """

    blocks: tuple[int, ...] = (3, 3, 3)
    channels: tuple[int, ...] = (16, 32, 64)
    bottleneck: bool = False
    variant: str = "cifar"
    shortcut_norm: bool = True

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Returns the logits; in training, by the statistics of the batch."""
        return self.classify(layers.global_mean(self.maps(images, train)))

    def maps(self, images: jax.Array, train: bool) -> jax.Array:
        """Returns what the last stage gives [batch, height, width, channels]."""
        layer = self.layer(train)
        stem = registry.resolve(self.variant, STEMS, "variant")
        x = stem(images, layer, self.scaled(self.channels[0]), self.activation)
        for stage, number in enumerate(self.blocks):
            for i in range(number):
                x = layers.kept(x)
                x = Block(
                    layer,
                    self.activation,
                    self.scaled(self.channels[stage]),
                    stride=2 if stage > 0 and i == 0 else 1,
                    bottleneck=self.bottleneck,
                    shortcut_norm=self.shortcut_norm,
                    name=f"stage{stage + 1}_block{i}",
                )(x)
        return x

    def stride(self) -> int:
        """Returns how many pixels of an image are one of the last stage, a side."""
        stem = 4 if self.variant == "imagenet" else 1
        return stem * 2 ** max(len(self.blocks) - 1, 0)


class Trunk(ResNet):
    """A residual network without its head: `stem`, then the stages, named alike."""

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Returns the maps of the last stage [batch, height, width, channels]."""
        return self.maps(images, train)


def cifar_stem(x, layer, channels, activation) -> jax.Array:
    """Returns `x` through a 3x3 convolution `stem`."""
    return activation(layer(x, "stem", channels))


def imagenet_stem(x, layer, channels, activation) -> jax.Array:
    """Returns `x`, a quarter as high and wide, through a 7x7 `stem` and a max pool.

    A relu comes after the pool, which it commutes with, its derivative too: a fourth of
    the pixels are left for it then.
    """
    x = layer(x, "stem", channels, 7, 2)
    first = activation not in RISING
    x = activation(x) if first else x
    x = nn.max_pool(x, (3, 3), (2, 2), padding=[(1, 1), (1, 1)])
    return x if first else activation(x)


RISING = (nn.relu, jax.nn.relu)
STEMS = {"cifar": cifar_stem, "imagenet": imagenet_stem}
