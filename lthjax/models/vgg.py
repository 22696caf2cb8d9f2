"""VGG with batch norm and one linear classifier, as it is used on CIFAR."""

import jax
from flax import linen as nn

from lthjax.models import layers


class VGG(layers.Branched):
    """Stages of 3x3 convolutions `conv<stage>_<i>` with a 2x2 max pool between them.

    The convolutions carry biases although a norm follows: only so has VGG-16 the
    published 14,728,266 parameters (14,710,464 convolution weights, 4,224 biases,
    8,448 in norms, 5,130 in the classifier).

    References:
      Simonyan and Zisserman, 2014, arXiv:1409.1556. Departures: batch norm and a single
      classifier, as all pruning papers have it on CIFAR; the last stage is followed by
      the mean over what is left of the image (2x2 of 32x32) in place of a fifth max
      pool, so that images down to 16x16 pass; Kaiming normal initialisation.

    Attributes:
      depths: Number of convolutions of each stage.
      channels: Channels of each stage.
      biases: Whether the convolutions have them; the released code of early-bird
        tickets has none.
    """

    depths: tuple[int, ...] = (2, 2, 3, 3, 3)
    channels: tuple[int, ...] = (64, 128, 256, 512, 512)
    biases: bool = True

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Returns the logits; in training, by the statistics of the batch."""
        return self.classify(layers.global_mean(self.maps(images, train)))

    def maps(self, images: jax.Array, train: bool) -> jax.Array:
        """Returns what the last stage makes of images [batch, height, width, c]."""
        layer, x = self.layer(train), images
        for stage, depth in enumerate(self.depths, start=1):
            x = x if stage == 1 else layers.max_pool(layers.kept(x))
            channels = self.scaled(self.channels[stage - 1])
            for i in range(1, depth + 1):
                x = self.activation(
                    layer(x, f"conv{stage}_{i}", channels, use_bias=self.biases)
                )
        return x

    def stride(self) -> int:
        """Returns how many pixels of an image are one of the last stage, a side."""
        return 2 ** max(len(self.depths) - 1, 0)


class Trunk(VGG):
    """The convolutions of a VGG without its head, named alike."""

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Returns the maps of the last stage [batch, height, width, channels]."""
        return self.maps(images, train)
