"""Networks without norms: perceptrons, LeNet and the small convolutional ones."""

import jax
from flax import linen as nn

from lthjax.models import layers


class MLP(layers.Network):
    """Dense layers `dense1`, `dense2`, ... and `head`, on the flattened image.

    References:
      Frankle and Carbin, 2019, arXiv:1803.03635, Figure 2: LeNet-300-100 has hidden
      layers of 300 and 100 and Gaussian Glorot initialisation; 266,610 parameters for
      28x28 pixels and 10 classes, 266,200 of them weights.

    Attributes:
      hidden: Features of every hidden layer.
    """

    hidden: tuple[int, ...] = (300, 100)
    initialiser: str = "glorot_normal"

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Returns the logits; `train` changes nothing."""
        x = layers.flatten(images)
        for i, features in enumerate(self.hidden, start=1):
            x = self.dense(x, f"dense{i}", self.scaled(features))
        return self.classify(x)


def _pooled(network, images, channels):
    """Returns images through two 5x5 convolutions, each pooled, as a LeNet has them."""
    layers.check_images(images)
    if min(images.shape[1:3]) < 16:
        raise ValueError(
            "LeNet-5 and the tutorial's LeNet need images of at least 16x16, got shape "
            f"= {images.shape}"
        )
    x = images
    for name, count in zip(("conv1", "conv2"), channels, strict=True):
        x = network.conv(x, name, network.scaled(count), size=5, padding=0)
        x = layers.max_pool(x)
    return layers.flatten(x)


class LeNet5(layers.Network):
    """Two 5x5 convolutions without padding, each pooled, and a hidden layer of 500.

    References:
      LeCun et al., 1998. This is the variant with 20 and 50 channels, max pooling and
      relu that came with Caffe and that the pruning literature calls LeNet-5 (Han et
      al., 2015, arXiv:1506.02626): 431,080 parameters for 28x28 pixels and 10 classes.
      Departure: Gaussian Glorot initialisation, as for the other LeNet here.
    """

    initialiser: str = "glorot_normal"

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Returns the logits; `train` changes nothing.

        Raises:
          ValueError: The images are smaller than 16x16.
        """
        x = _pooled(self, images, (20, 50))
        return self.classify(self.dense(x, "dense1", self.scaled(500)))


class TutorialLeNet(layers.Network):
    """Two 5x5 convolutions of 6 and 16 channels, each pooled, then 120 and 84 features.

    References:
      LeCun et al., 1998, in the form of PyTorch's tutorial for CIFAR-10, which
      federated learning calls its CNN: 62,006 parameters for 32x32 colour images and 10
      classes, 61,770 of them weights (Seo et al., 2021, arXiv:2104.12501, counts them).
      Departure: hidden biases start at zero.
    """

    initialiser: str = "pytorch"
    head_init: str = "pytorch"

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Returns the logits; `train` changes nothing.

        Raises:
          ValueError: The images are smaller than 16x16.
        """
        x = _pooled(self, images, (6, 16))
        for name, features in (("dense1", 120), ("dense2", 84)):
            x = self.dense(x, name, self.scaled(features))
        return self.classify(x)


class ConvNet(layers.Network):
    """Conv-2, Conv-4, Conv-6: pairs of 3x3 convolutions, each pair pooled, then dense.

    References:
      Frankle and Carbin, 2019, arXiv:1803.03635, Figure 2. With zero padding and 2x2
      pools these have 4,301,642, 2,425,930 and 2,262,602 parameters for 32x32 colour
      images and 10 classes; that paper's table has other counts for its dense layers.

    Attributes:
      channels: Channels of each pair.
      hidden: Features of the hidden dense layers.
    """

    channels: tuple[int, ...] = (64, 128)
    hidden: tuple[int, ...] = (256, 256)
    initialiser: str = "glorot_normal"

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Returns the logits; `train` changes nothing."""
        x = images
        for i, channels in enumerate(self.channels):
            x = self.conv(x, f"conv{2 * i + 1}", self.scaled(channels))
            x = self.conv(x, f"conv{2 * i + 2}", self.scaled(channels))
            x = layers.max_pool(x)
        x = layers.flatten(x)
        for i, features in enumerate(self.hidden, start=1):
            x = self.dense(x, f"dense{i}", self.scaled(features))
        return self.classify(x)
