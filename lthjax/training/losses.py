"""Per-example losses and accuracy, from logits and integer labels."""

import jax
import jax.numpy as jnp
import optax

CONVENTIONS = ("others", "uniform")


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns `-log softmax(logits)[label]` of each example, in nats.

    Against a distribution q it is `-sum_c q[c] log softmax(logits)[c]`.

    Args:
      logits: float32 [batch, classes].
      labels: int32 [batch]; or distributions, floats [batch, classes], as mixup gives.
        Of a number that is no class the loss is NaN.

    Raises:
      ValueError: Labels are neither one integer for each row of logits nor floats of
        the logits' shape.
    """
    if jnp.issubdtype(labels.dtype, jnp.floating):
        if labels.shape != logits.shape:
            raise ValueError(
                "labels must be integers, or distributions as large as the logits "
                f"{list(logits.shape)}, got {labels.dtype} {list(labels.shape)}"
            )
        # A class of no weight adds nothing, be its logit -inf.
        nats = jnp.where(labels == 0, 0, jax.nn.log_softmax(logits))
        return -jnp.sum(labels * nats, axis=-1)
    _check_labels(logits, labels)
    found = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    # Those below zero would count from the end.
    return jnp.where(labels < 0, jnp.nan, found)


def correct(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns 1.0 for each example whose highest logit is its label's, else 0.0.

    Args:
      logits: float32 [batch, classes]; where one is NaN the example is not right.
      labels: int32 [batch].

    Raises:
      ValueError: Labels are not one integer for each row of logits.
    """
    return (answers(logits, labels) == labels).astype(jnp.float32)


def answers(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns the class of the highest logit, the first of equal ones.

    Logits among which one is NaN answer nothing: they count as the class after the
    label's, a wrong one, where `argmax` alone would take the first that is NaN.

    Args:
      logits: float32 [..., classes].
      labels: Integers [...].

    Raises:
      ValueError: Labels are not one integer for each row of logits.
    """
    _check_labels(logits, labels)
    highest = jnp.argmax(logits, axis=-1)
    wrong = (labels.astype(highest.dtype) + 1) % logits.shape[-1]
    return jnp.where(jnp.isnan(jnp.max(logits, axis=-1)), wrong, highest)


def _check_labels(logits, labels):
    """Refuses labels that would be spread over rows, or are no classes."""
    whole = jnp.issubdtype(labels.dtype, jnp.integer)
    if whole and labels.shape == logits.shape[:-1]:
        return
    one_hot = labels.shape == logits.shape
    remedy = "; give their argmax" if one_hot else ""
    raise ValueError(
        "labels must be integers, one for each row of logits "
        f"{list(logits.shape)}, got {labels.dtype} {list(labels.shape)}{remedy}"
    )


def squared(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Returns `(outputs - targets)^2 / 2`, element by element."""
    return jnp.square(outputs - targets) / 2


def binary_cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Returns `log(1 + exp(logit)) - target * logit`, for targets in [0, 1], nats."""
    return jax.nn.softplus(logits) - targets * logits


def smoothed(
    logits: jax.Array,
    labels: jax.Array,
    smoothing: float | jax.Array,
    *,
    convention: str = "uniform",
) -> jax.Array:
    """Returns the cross-entropy against smoothed labels of each example, in nats.

        (1 - e) * cross_entropy(logits, labels) + e * mean_c(-log softmax(logits)[c])

    with e = `uniform(smoothing, classes, convention)`. Without smoothing it is
    `cross_entropy`, bit for bit. What it cannot get below is the labels' entropy.

    Args:
      logits: float32 [batch, classes].
      labels: As for `cross_entropy`.
      smoothing: What the true class gives away, in [0, 1); it may be traced.
      convention: To whom: see `uniform`.

    Raises:
      ValueError: As `uniform` and `cross_entropy`.
    """
    share = uniform(smoothing, logits.shape[-1], convention)
    # Without a share nothing is spread: a logit of -inf would be 0 times infinity.
    spread = jnp.where(jnp.asarray(share > 0)[..., None], logits, 0)
    spread = jax.nn.logsumexp(spread, axis=-1) - jnp.mean(spread, axis=-1)
    return (1 - share) * cross_entropy(logits, labels) + share * spread


def smoothed_labels(
    labels: jax.Array,
    num_classes: int,
    smoothing: float | jax.Array,
    *,
    convention: str = "uniform",
) -> jax.Array:
    """Returns the distribution [batch, num_classes] that each label is smoothed to.

    Args:
      labels: int32 [batch].
      num_classes: C.
      smoothing: What the true class gives away, in [0, 1).
      convention: To whom: see `uniform`.

    Raises:
      ValueError: As `uniform`, or labels are no integers.
    """
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(
            f"labels must be integers, got {labels.dtype} {list(labels.shape)}; "
            "distributions are smoothed by `smoothed`"
        )
    share = uniform(smoothing, num_classes, convention)
    return (1 - share) * jax.nn.one_hot(labels, num_classes) + share / num_classes


def uniform(
    smoothing: float | jax.Array, num_classes: int, convention: str
) -> float | jax.Array:
    """Returns the smoothing of the "uniform" convention that is the same as another's.

    "uniform" spreads `smoothing` over all C classes (C times smoothing / C each, the
    true one among them); "others" over the C - 1 other ones, so that the true class has
    exactly 1 - smoothing. The latter is the former at smoothing C / (C - 1).

    Args:
      smoothing: In [0, 1); it may be traced, and is not checked then.
      num_classes: C.
      convention: "others" or "uniform".

    Raises:
      ValueError: The smoothing is outside [0, 1), there is no such convention, or no
        other class.

    References:
      Szegedy et al., 2015, arXiv:1512.00567 ("uniform"); the code released with Jaiswal
      et al., 2022, arXiv:2206.12755 ("others").
    """
    if convention not in CONVENTIONS:
        raise ValueError(
            f"convention must be one of {', '.join(CONVENTIONS)}, got convention = "
            f"{convention!r}"
        )
    if not isinstance(smoothing, jax.Array) and not 0 <= smoothing < 1:
        raise ValueError(
            f"smoothing must be in [0, 1), got smoothing = {smoothing}; 0 is none"
        )
    if convention == "uniform":
        return smoothing
    if num_classes < 2:
        raise ValueError(
            'smoothing by convention "others" needs other classes, got num_classes = '
            f"{num_classes}"
        )
    return smoothing * num_classes / (num_classes - 1)


def distillation(
    logits: jax.Array,
    teacher_logits: jax.Array,
    temperature: float | jax.Array = 1.0,
    *,
    mean_over_classes: bool = False,
) -> jax.Array:
    """Returns how far each example's logits are from the teacher's, in nats times T^2.

        T^2 KL(softmax(teacher_logits / T) || softmax(logits / T)),  T = temperature

    The factor keeps the gradient's size: for a large T it goes to the difference of the
    centred logits, by the number of classes. Nothing flows back into the teacher.

    Args:
      logits: float32 [batch, classes].
      teacher_logits: Of the same shape.
      temperature: T, positive; it may be traced.
      mean_over_classes: Divide by the number of classes, as "mean" reductions of a sum
        over classes do.

    Raises:
      ValueError: The teacher has other classes.

    References:
      Hinton et al., 2015, arXiv:1503.02531; Ma et al., 2021, arXiv:2101.03255v2, whose
      CIFAR code takes the mean over classes and whose ImageNet code does not.
    """
    if logits.shape != teacher_logits.shape:
        raise ValueError(
            "a teacher must have the classes of its student, got teacher_logits = "
            f"{teacher_logits.shape} for logits = {logits.shape}"
        )
    target = jax.nn.log_softmax(jax.lax.stop_gradient(teacher_logits) / temperature)
    own = jax.nn.log_softmax(logits / temperature)
    # A class that the teacher never gives adds nothing, whatever its student says.
    apart = jnp.where(target > -jnp.inf, target - own, 0)
    distance = jnp.square(temperature) * jnp.sum(jnp.exp(target) * apart, -1)
    return distance / logits.shape[-1] if mean_over_classes else distance


def distillation_weights(
    step: jax.Array, coefficient: float, hard: float, until: int | jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns what `distillation` and the labels' loss are weighted by at a step.

    (coefficient, hard) before step `until`, and then (0, 1): the early stop.

    Args:
      step: The optimizer step [], traced or not.
      coefficient: Of the distance to the teacher.
      hard: Of the labels' loss while there is a teacher.
      until: The step from which there is none.

    References:
      The early stop is that of the ImageNet code of Ma et al., 2021,
      arXiv:2101.03255v2, whose launches stop at epoch 60 of 90; its weights are w and
      1 - w, w = 0.9, with T = 4. Its CIFAR code has T = 5 and no stop.
    """
    taught = jnp.asarray(step) < until
    return jnp.where(taught, coefficient, 0.0), jnp.where(taught, hard, 1.0)
