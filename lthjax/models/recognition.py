"""Networks that find objects, their points, or the class of each pixel."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from lthjax.models import layers, resnet, vgg

Trunk = resnet.Trunk | vgg.Trunk

RARE = -2.19  # the bias of a heat map, whose first values are sigmoid(-2.19) = 0.1


class Recogniser(nn.Module):
    """A backbone, a neck of transposed convolutions, and heads side by side.

    Every transposed convolution of the neck (4x4, stride 2, norm, relu) doubles the
    maps, until a pixel of theirs is `stride` pixels of the image; where the backbone's
    are that already the neck is one 1x1 convolution. A head is a 3x3 convolution with
    relu and a 1x1 one. What is returned is one array, the heads' channels in order:

        detector    heat maps of the classes, 2 sizes, 2 offsets
        keypoints   the same, 2 displacements a point, heat maps of points, 2 offsets
        segmenter   logits of the classes, brought to the image's size, bilinear

    Heat maps are logits; sizes, offsets and displacements count pixels of the maps.

    References:
      Zhou et al., 2019, arXiv:1904.07850. Departures: backbones in `MODELS`, no
      deformable convolutions, one neck width.

    Attributes:
      heads: A name in `HEADS`.
      backbone: The network whose maps are read.
      num_classes: Of objects, or of pixels.
      features: Channels of the neck and of a head's first convolution.
      stride: Pixels of the image that are one of the maps, a side.
      points: Of an object, for "keypoints".
      dtype: What is computed in; results are float32.
      axis_name: Mesh axis over which batch norm averages in training, or None.
      remat: As for `layers.Network`.
    """

    heads: str
    backbone: Trunk
    num_classes: int = 10
    features: int = 64
    stride: int = 4
    points: int = 5
    dtype: Any = jnp.float32
    axis_name: Any = None
    remat: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Returns the outputs [batch, height, width, channels], float32."""
        doublings = check_stride(self.backbone.stride(), self.stride)
        layers.check_images(images)
        _check_sides(images.shape[1:3], self.backbone.stride())
        options = {"dtype": self.dtype, "axis_name": self.axis_name}
        x = self.backbone(images, train)
        x = Neck(self.features, doublings, **options, name="neck")(x, train)
        sizes = HEADS[self.heads](self.num_classes, self.points)
        x = Heads(sizes, self.features, dtype=self.dtype, name="heads")(x)
        if self.heads == "segmenter":
            shape = (*images.shape[:3], x.shape[-1])
            x = jax.image.resize(x, shape, "bilinear")
        return x.astype(jnp.float32)


def _check_sides(sides, stride):
    """Refuses images of which a map's pixels would cover more than there is."""
    if any(side % stride for side in sides):
        raise ValueError(
            f"the sides of images must be multiples of the backbone's stride {stride}, "
            f"got images of {sides[0]} x {sides[1]}; give data.size one"
        )


class Neck(nn.Module):
    """Doubles maps by transposed convolutions `up1`, ..., or mixes channels by `mix`.

    Attributes:
      features: Channels of the result.
      doublings: How many times height and width are doubled.
      dtype: What is computed in.
      axis_name: Mesh axis over which batch norm averages in training, or None.
    """

    features: int
    doublings: int
    dtype: Any = jnp.float32
    axis_name: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Returns maps [batch, height, width, features] of `x`."""
        given = {"use_bias": False, "dtype": self.dtype, "kernel_init": KAIMING}
        names = [f"up{i + 1}" for i in range(self.doublings)] or ["mix"]
        for name in names:
            if self.doublings:
                double = nn.ConvTranspose(
                    self.features, (4, 4), (2, 2), name=name, **given
                )
                x = double(x)
            else:
                x = nn.Conv(self.features, (1, 1), name=name, **given)(x)
            norm = {"dtype": self.dtype, "axis_name": self.axis_name}
            x = nn.relu(layers.BatchNorm(train, **norm, name=f"{name}_norm")(x))
        return x


class Heads(nn.Module):
    """One head after the other: 3x3, relu, 1x1; heat maps begin as rare.

    Attributes:
      sizes: (name, channels, whether they are heat maps) of each.
      features: Channels of the 3x3 convolutions.
      dtype: What is computed in.
    """

    sizes: Any
    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the heads' maps side by side [batch, height, width, channels]."""
        given = {"dtype": self.dtype, "kernel_init": KAIMING}
        found = []
        for name, channels, rare in self.sizes:
            y = nn.Conv(self.features, (3, 3), name=f"{name}_conv", **given)(x)
            bias = nn.initializers.constant(RARE if rare else 0.0)
            last = nn.Conv(channels, (1, 1), bias_init=bias, name=name, **given)
            found.append(last(nn.relu(y)))
        return jnp.concatenate(found, axis=-1)


def trunk(network: resnet.ResNet | vgg.VGG) -> Trunk:
    """Returns a residual network, or a VGG, without its head."""
    names = [f.name for f in dataclasses.fields(network) if f.init]
    own = {n: getattr(network, n) for n in names if n not in ("parent", "name")}
    family = vgg.Trunk if isinstance(network, vgg.VGG) else resnet.Trunk
    return family(**own)


def check_stride(there: int, wanted: int) -> int:
    """Returns how often maps of a stride are doubled to be of another one.

    Args:
      there: Of the backbone.
      wanted: Of the result.

    Raises:
      ValueError: Doubling does not lead there.
    """
    found = (there // wanted).bit_length() - 1 if wanted > 0 else -1
    if found < 0 or wanted * 2**found != there:
        raise ValueError(
            f"stride must be the backbone's, {there}, or what halving it gives, got "
            f"stride = {wanted}"
        )
    return found


def _detector(classes, points):
    del points
    return ("centres", classes, True), ("sizes", 2, False), ("offsets", 2, False)


def _keypoints(classes, points):
    more = ("displacements", 2 * points, False), ("points", points, True)
    more += (("point_offsets", 2, False),)
    return *_detector(classes, points), *more


def _segmenter(classes, points):
    del points
    return (("classes", classes, False),)


KAIMING = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
HEADS = {
    "detector": _detector,
    "keypoints": _keypoints,
    "segmenter": _segmenter,
}
