"""A tiny network and clients of it, for the tests of rounds."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lthjax import models
from lthjax.data.splits import Split
from lthjax.federated import local_training, partitions, policies, states, visits
from lthjax.pruning import masks as masks_lib

MODEL = models.build("mlp", 4, options={"hidden": (6,)})


def prepare(images):
    """Returns images as the network takes them."""
    return images.astype(jnp.float32) / 255


def apply(params, state, images, train):
    """Returns logits and the state."""
    return models.apply(MODEL, params, state, images, train=train)


def split(size=48, seed=0):
    """Returns random images of four classes, those of a class alike."""
    rng = np.random.default_rng(seed)
    labels = np.arange(size, dtype=np.int32) % 4
    patterns = np.random.default_rng(9).integers(0, 200, (4, 3, 3, 1))
    images = patterns[labels] + rng.integers(0, 50, (size, 3, 3, 1))
    return Split(images.astype(np.uint8), labels)


def start(policy, count=4, seed=0, **training):
    """Returns (server, clients, examples, visit) of a policy, all compiled anew."""
    params, _ = models.initialise(MODEL, jax.random.key(seed), jnp.zeros((1, 3, 3, 1)))
    full = masks_lib.full(params)
    server, clients = states.begin(params, full, count, threshold=policy.threshold)
    train = split()
    parts = partitions.shards(train.labels, count, 0, each=2, samples=48 // count // 2)
    options = {"epochs": 2, "batch_size": 4} | training
    found = partitions.examples(
        train, split(16, 1), parts, validation="train", batch_size=4
    )
    visit = visits.visitor(
        policy,
        full,
        local_training.trainer(apply, prepare, optax.sgd(0.1, 0.5), **options),
        local_training.counter(apply, prepare, batch_size=8),
    )
    return server, clients, found, visit


POLICIES = {
    "fedavg": policies.fedavg(),
    "lottery_fl": policies.lottery_fl(threshold=0.3, limit=0.5),
    "cell": policies.cell(threshold=0.3, limit=0.5),
    "standalone": policies.standalone(),
}
