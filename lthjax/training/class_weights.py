"""What the examples of a class count in the loss that is minimised."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from lthjax.training.objective import Objective


def weighted(objective: Objective, weights: Sequence[float]) -> Objective:
    """Returns an objective whose loss is times the weight of an example's class.

        loss = weights[label] loss(outputs, label)

    So are smoothed labels; what is measured, and the distance to a teacher, are not. An
    example of mixed classes has the mean of their weights, by its shares of them.

    Args:
      objective: Of classes, its labels int32 [batch], or shares [batch, classes].
      weights: One a class; their size counts, as they are not normalised.

    Raises:
      ValueError: In the loss: there are fewer or more weights than classes, or labels
        that are neither one class an example nor its shares of all.
    """
    own = np.asarray(weights, np.float32)

    def weight(outputs, labels):
        if outputs.shape[-1] != len(own):
            raise ValueError(
                "there must be a weight of each class, got weights = "
                f"{own.tolist()} for {outputs.shape[-1]} classes"
            )
        mixed = jnp.issubdtype(labels.dtype, jnp.floating)
        if labels.ndim != 1 + mixed or outputs.ndim != 2:
            raise ValueError(
                "class weights go with one class an example, labels [batch] or shares "
                f"[batch, classes], got labels {list(labels.shape)} for outputs "
                f"{list(outputs.shape)}; weight the places in a loss of your own"
            )
        return labels @ jnp.asarray(own) if mixed else jnp.asarray(own)[labels]

    def loss(outputs, labels):
        return weight(outputs, labels) * objective.loss(outputs, labels)

    smoothed = objective.smoothed
    if smoothed is not None:
        plain = smoothed

        def smoothed(outputs, labels, smoothing):
            return weight(outputs, labels) * plain(outputs, labels, smoothing)

    return objective._replace(loss=loss, smoothed=smoothed)


def balanced(counts: Sequence[int]) -> tuple[float, ...]:
    """Returns the weights by which every class counts alike: `n / (classes n_class)`.

    Their mean over the examples is 1, so that a learning rate stays what it is.

    Args:
      counts: Examples of each class.

    Raises:
      ValueError: A class has none.
    """
    absent = [i for i, count in enumerate(counts) if not count]
    if absent:
        raise ValueError(
            "balanced class weights need an example of every class in the training "
            f"split, got none of {', '.join(map(str, absent[:5]))}; give the weights "
            "as numbers"
        )
    total = sum(counts)
    return tuple(float(total / (len(counts) * count)) for count in counts)
