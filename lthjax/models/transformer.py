"""Transformers: of images by patches, and of texts by characters."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from lthjax.callables import Activation
from lthjax.models import layers

EPSILON = 1e-6  # of every norm
START = nn.initializers.normal(0.02)  # of every kernel and table
POOLS = ("token", "mean")
gelu = functools.partial(nn.gelu, approximate=False)


class Block(nn.Module):
    """An attention and two dense layers, each behind a norm and beside a sum.

        x = x + attention(norm1(x));  x = x + down(activation(up(norm2(x))))

    The kernels of `attention/query`, `key` and `value` are [features, heads, size],
    that of `attention/out` is [heads, size, features].

    Attributes:
      heads: Of the attention.
      ratio: Of the features, how many times as many lie between `up` and `down`.
      activation: The non-linearity between these.
      dtype: What is computed in.
    """

    heads: int
    ratio: int
    activation: Activation
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
        """Returns `x` [batch, places, features], changed.

        Args:
          x: The features of each place.
          mask: bool [1, 1, places, places], the places that each one sees; None: all.
        """
        given = {"dtype": self.dtype, "kernel_init": START}
        norm = functools.partial(nn.LayerNorm, epsilon=EPSILON, dtype=self.dtype)
        attend = nn.MultiHeadDotProductAttention(self.heads, name="attention", **given)
        x = x + attend(norm(name="norm1")(x), mask=mask)
        y = norm(name="norm2")(x)
        y = nn.Dense(self.ratio * x.shape[-1], name="up", **given)(y)
        return x + nn.Dense(x.shape[-1], name="down", **given)(self.activation(y))


class Transformer(nn.Module):
    """What the transformers here are given; `__call__` is the subclass's.

    Attributes:
      num_classes: Number of logits.
      width: Every head is this many times as large as `features / heads`.
      dtype: What is computed in; parameters and logits are float32.
      axis_name: Not read: there are no statistics of a batch.
      remat: As for `layers.Network`.
      activation: The non-linearity of every block.
      features: Of each place, at a width of 1.
      depth: Number of blocks `block1`, `block2`, ...
      heads: Of every attention.
      ratio: As for `Block`.
    """

    num_classes: int = 10
    width: float = 1.0
    dtype: Any = jnp.float32
    axis_name: Any = None
    remat: bool = False
    activation: Activation = gelu
    features: int = 192
    depth: int = 12
    heads: int = 3
    ratio: int = 4

    def scaled(self) -> int:
        """Returns how many features a place has: whole heads, scaled by the width.

        Raises:
          ValueError: Features, heads, depth and ratio are not all positive, the heads
            do not divide the features, or the width leaves a head nothing.
        """
        counts = self.features, self.depth, self.heads, self.ratio
        if min(counts) < 1 or self.features % self.heads:
            raise ValueError(
                "features, depth, heads and ratio must be positive, and features a "
                "multiple of heads, got features, depth, heads, ratio = "
                f"{', '.join(map(str, counts))}"
            )
        layers.check_width(self.features // self.heads, self.width)
        return self.heads * round(self.features // self.heads * self.width)

    def table(self, name: str, rows: int) -> nn.Embed:
        """Returns a table of features, whose leaf is `<name>/embedding`."""
        given = {"dtype": self.dtype, "embedding_init": START}
        return nn.Embed(rows, self.scaled(), name=name, **given)

    def blocks(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Returns `x` [batch, places, features] through all blocks and `norm`."""
        for i in range(1, self.depth + 1):
            given = self.heads, self.ratio, self.activation, self.dtype
            x = Block(*given, name=f"block{i}")(layers.kept(x), mask)
        return nn.LayerNorm(EPSILON, self.dtype, name="norm")(x)

    def classify(self, x: jax.Array) -> jax.Array:
        """Returns float32 logits [..., num_classes] of `x` [..., features]."""
        given = {"dtype": self.dtype, "kernel_init": START, "name": "head"}
        return nn.Dense(self.num_classes, **given)(x).astype(jnp.float32)


class ViT(Transformer):
    """A vision transformer: patches become places, all of which see one another.

    Norms come before what they are of. With `pool="token"` a learnt vector,
    `class_token`, is the first place, and the logits are of what becomes of it; with
    "mean" they are of the mean over the patches. Positions are a learnt table.

    References:
      Dosovitskiy et al., 2021, arXiv:2010.11929, at the size "tiny" of Touvron et al.,
      2021, arXiv:2012.12877 (12 blocks, 192 features, 3 heads: 5,717,416 parameters for
      224x224 pixels, patches of 16 and 1,000 classes). Departures: patches of 4, for
      images of 32x32; every kernel starts normal, of deviation 0.02; no dropout.

    Attributes:
      patch: Pixels of a patch, a side.
      pool: What the logits are of, "token" or "mean".
    """

    patch: int = 4
    pool: str = "token"

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Returns the logits [batch, num_classes]; `train` changes nothing.

        Args:
          images: [batch, height, width, channels], of whole patches.
          train: Not read.

        Raises:
          ValueError: They are no such images, or there is no such pool.
        """
        self._check(images)
        features, side = self.scaled(), (self.patch, self.patch)
        given = {"dtype": self.dtype, "kernel_init": START, "padding": "VALID"}
        x = nn.Conv(features, side, side, name="patches", **given)(images)
        x = x.reshape(x.shape[0], -1, features)
        if self.pool == "token":
            first = self.param("class_token", START, (features,), jnp.float32)
            first = jnp.broadcast_to(first.astype(x.dtype), (len(x), 1, features))
            x = jnp.concatenate([first, x], axis=1)
        places = x.shape[1]
        x = x + self.table("positions", places)(jnp.arange(places))[None]
        x = self.blocks(x)
        return self.classify(x[:, 0] if self.pool == "token" else x.mean(1))

    def _check(self, images):
        """Refuses what has no whole patches, or an unknown pool."""
        if self.pool not in POOLS:
            raise ValueError(
                f"pool must be one of {', '.join(POOLS)}, got pool = {self.pool!r}"
            )
        whole = self.patch > 0 and images.ndim == 4
        if not whole or any(side % self.patch for side in images.shape[1:3]):
            raise ValueError(
                "a ViT needs images [batch, height, width, channels] whose sides are "
                f"multiples of patch, got shape = {images.shape}, patch = "
                f"{self.patch}; set model.options.patch, or the size of the images"
            )


class GPT(Transformer):
    """A decoder of texts: each place sees itself and those before it.

    Tokens and positions are learnt tables, whose rows are added; norms come before what
    they are of. With `tied` the logits are products with the rows of `tokens`, and
    there is no `head`.

    References:
      Radford et al., 2019, "Language models are unsupervised multitask learners", in
      small: the layers are those of GPT-2. Departures: no dropout, gelu without
      approximation, residual kernels start as all others do (normal, deviation 0.02),
      heads with a bias unless tied.

    Attributes:
      tied: Whether the table of tokens gives the logits too.
    """

    features: int = 128
    depth: int = 4
    heads: int = 4
    tied: bool = False

    @nn.compact
    def __call__(self, tokens: jax.Array, train: bool = False) -> jax.Array:
        """Returns the logits of each place's next token [batch, length, num_classes].

        Args:
          tokens: Integers below num_classes [batch, length].
          train: Not read.

        Raises:
          ValueError: They are no integers, or of other axes.
        """
        if tokens.ndim != 2 or not jnp.issubdtype(tokens.dtype, jnp.integer):
            raise ValueError(
                "a GPT needs tokens, integers [batch, length], got "
                f"{tokens.dtype} {list(tokens.shape)}; for images give "
                "model.name = 'vit_tiny', for a text data.name = 'characters'"
            )
        length, table = tokens.shape[1], self.table("tokens", self.num_classes)
        places = self.table("positions", length)(jnp.arange(length))
        seen = jnp.tri(length, dtype=bool)[None, None]
        x = self.blocks(table(tokens) + places[None], seen)
        if self.tied:
            return table.attend(x).astype(jnp.float32)
        return self.classify(x)
