"""The training examples that a score reads, and what may be made of them."""

import jax
import jax.numpy as jnp
import numpy as np

from lthjax import registry
from lthjax.data import augment, batches
from lthjax.data import splits as splits_lib


def check(config, size: int) -> None:
    """Checks how many training examples a score is to read.

    Args:
      config: A validated config.
      size: Of the training set.

    Raises:
      ValueError: There are fewer than asked for, or none is left of them.
    """
    count = config.search.batches
    batch = config.search.examples or config.train.batch_size
    if count * batch > size:
        raise ValueError(
            f"the examples that a score reads must be at most the {size} of the "
            f"training set, got search.batches = {count} of {batch}"
        )
    if config.search.corrupt == "half" and batch < 2:
        raise ValueError(
            "half of what a score reads must be an example a batch or more, got "
            f"search.corrupt = 'half' with search.batches = {count} of {batch}; give "
            "search.examples = 2 or more"
        )


def drawing(config, source):
    """Returns key -> (images [n, batch, ...], labels [n, batch]) to score with.

    Training examples, normalised, not augmented, corrupted where the config says so.

    Raises:
      ValueError: As `check`, or the corruption is unknown.
    """
    count = config.search.batches
    batch = config.search.examples or config.train.batch_size
    size = splits_lib.size(source.train)
    check(config, size)
    corrupt = registry.resolve(config.search.corrupt, CORRUPTIONS, "corruption")

    def draw(key):
        order = np.asarray(batches.permutation(key, 0, size))[: count * batch]
        images, labels = splits_lib.take(source.train, order)
        images = augment.normalise(jnp.asarray(images), source.mean, source.std)
        drawn = corrupt(key, images, jnp.asarray(labels), source.num_classes)
        left = len(drawn[1]) // count * count
        return jax.tree.map(lambda x: x[:left].reshape(count, -1, *x.shape[1:]), drawn)

    return draw


def _random_labels(key, images, labels, num_classes):
    return images, jax.random.randint(key, labels.shape, 0, num_classes)


def _shuffled_pixels(key, images, labels, num_classes):
    """Permutes the pixels of every image, each in its own way."""
    del num_classes
    pixels = images.reshape(len(images), -1, images.shape[-1])
    keys = jax.random.split(key, len(images))
    shuffled = jax.vmap(jax.random.permutation)(keys, pixels)
    return shuffled.reshape(images.shape), labels


def _half(key, images, labels, num_classes):
    del key, num_classes
    half = len(images) // 2
    return images[:half], labels[:half]


# What a score may be made to read in place of the data, arXiv:2009.11094.
CORRUPTIONS = {
    "none": lambda key, images, labels, num_classes: (images, labels),
    "labels": _random_labels,
    "pixels": _shuffled_pixels,
    "half": _half,
}
