"""Networks of a user: of several outputs, of no logits, with dropout; objectives."""

import jax.numpy as jnp
from flax import linen as nn

from lthjax.training import losses
from lthjax.training.objective import Objective


class Forked(nn.Module):
    """Logits, and beside them a guess of the mean of the inputs."""

    num_classes: int

    @nn.compact
    def __call__(self, inputs):
        flat = inputs.reshape(len(inputs), -1)
        hidden = nn.relu(nn.Dense(8)(flat))
        return {
            "logits": nn.Dense(self.num_classes)(hidden),
            "guess": nn.Dense(1)(hidden)[:, 0],
        }


class Embedded(nn.Module):
    """Five numbers, however many classes there are."""

    num_classes: int

    @nn.compact
    def __call__(self, inputs):
        return nn.Dense(5)(inputs.reshape(len(inputs), -1))


class Likely(nn.Module):
    """Probabilities."""

    num_classes: int

    @nn.compact
    def __call__(self, inputs):
        return nn.softmax(nn.Dense(self.num_classes)(inputs.reshape(len(inputs), -1)))


def forked_loss(outputs, labels):
    """Returns the cross-entropy, and a tenth of the guess's square."""
    hard = losses.cross_entropy(outputs["logits"], labels)
    return hard + 0.1 * jnp.square(outputs["guess"])


def forked_correct(outputs, labels):
    """Returns 1 where the likeliest class is the label."""
    return losses.correct(outputs["logits"], labels)


def spread(outputs, labels):
    """Returns the distance of an embedding from its label, by its mean."""
    return jnp.square(outputs.mean(-1) - labels)


def likelihood(outputs, labels):
    """Returns -log of the label's probability."""
    rows = jnp.arange(len(labels))
    return -jnp.log(outputs[rows, labels] + 1e-6)


FORKED = Objective(forked_loss, {"right": forked_correct}, higher=frozenset({"right"}))
SPREAD = Objective(spread)
LIKELIHOOD = Objective(likelihood)


class Dropping(nn.Module):
    """Two layers of a stage with dropout behind them, and a head."""

    num_classes: int

    @nn.compact
    def __call__(self, inputs, train=False):
        x = inputs.reshape(len(inputs), -1)[:, :8]
        for i in range(2):
            x = nn.relu(nn.Dense(8, name=f"dense1_{i}")(x))
            x = nn.Dropout(0.5, deterministic=not train)(x)
        return nn.Dense(self.num_classes, name="head")(x)


class Plain(nn.Module):
    """The same without dropout."""

    num_classes: int

    @nn.compact
    def __call__(self, inputs):
        x = inputs.reshape(len(inputs), -1)[:, :8]
        for i in range(2):
            x = nn.relu(nn.Dense(8, name=f"dense1_{i}")(x))
        return nn.Dense(self.num_classes, name="head")(x)
