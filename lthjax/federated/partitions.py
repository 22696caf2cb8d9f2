"""Which examples each client has: shards by label, classes a client, Dirichlet."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from lthjax import values
from lthjax.data.splits import Split, are_classes
from lthjax.federated.states import Examples

VALIDATIONS = ("held_out", "train", "test")
HELD_OUT = 10  # one of so many examples
MOST_TEST = 80  # test images that LotteryFL's released code validates on
_TRIES = 100

Parts = list[np.ndarray]


def shards(
    labels: np.ndarray, clients: int, seed: int, *, each: int = 3, samples: int = 0
) -> Parts:
    """Returns the examples of clients that each get some shards of about one label.

    The examples, in a random order, are sorted by label and cut into shards; a client
    gets shards of different labels as long as there are some. Where the examples of a
    label are no multiple of a shard's, a shard at its border has the next label too,
    and counts as one of its first.

    Args:
      labels: Classes [n].
      clients: How many there are.
      seed: Of the order, and of who gets what.
      each: Shards a client.
      samples: Examples a shard; 0: all examples are dealt.

    Raises:
      ValueError: There are too few shards, or all examples cannot be dealt evenly; or
        labels are not one class an example.

    References:
      McMahan et al., 2017, arXiv:1602.05629; Seo et al., 2021, arXiv:2104.12501, IV-A.
    """
    labels = _classes(labels)
    clients, each = _whole(clients=clients, each=each)
    samples = values.whole("samples", samples, 0)
    wanted = clients * each
    if not samples and len(labels) % wanted:
        raise ValueError(
            f"clients x shards = {clients} x {each} = {wanted} must divide the "
            f"{len(labels)} train examples, got {len(labels) % wanted} left over; give "
            "the samples of a shard, or another number of clients"
        )
    samples = samples or len(labels) // wanted
    if samples < 1 or wanted * samples > len(labels):
        raise ValueError(
            f"{clients} clients x {each} shards x {samples} samples must be at most "
            f"the {len(labels)} train examples there are, got {wanted * samples}"
        )
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    rows = order[: len(order) // samples * samples].reshape(-1, samples)
    return _dealt(rng, rows, labels[rows[:, 0]], clients, each)


def _dealt(rng, rows, kinds, clients, each):
    """Returns what clients get of shards, of different kinds where there are some."""
    left, found = np.ones(len(rows), bool), []
    for _ in range(clients):
        own: list[int] = []
        for _ in range(each):
            other = left & ~np.isin(kinds, kinds[own])
            own.append(int(rng.choice(np.flatnonzero(other if other.any() else left))))
            left[own[-1]] = False
        found.append(rng.permutation(rows[own].ravel()))
    return found


def classes(
    labels: np.ndarray,
    clients: int,
    seed: int,
    *,
    each: int = 2,
    samples: int = 20,
    balance: float = 1.0,
) -> Parts:
    """Returns the examples of clients that each draw some classes, and some of each.

    No example goes to two clients.

    Args:
      labels: Classes [n].
      clients: How many there are.
      seed: Of all that is drawn.
      each: Classes a client.
      samples: Examples of the first class of a client.
      balance: The others have `floor(balance samples)` each, in (0, 1].

    Raises:
      ValueError: There are too few classes, or too few examples of one; the others
        would have none; or labels are not one class an example.

    References:
      Li et al., 2020, arXiv:2008.03371, 5.1. Departure: a client's classes differ; the
      released code draws shards, two of which may be of one class.
    """
    labels = _classes(labels)
    clients, each, samples = _whole(clients=clients, each=each, samples=samples)
    less = math.floor(round(balance * samples, 9))  # 0.29 * 100 is 28.999...
    if not (0 < balance <= 1 and less):
        raise ValueError(
            "balance must be in (0, 1] and leave an example of each class, got balance "
            f"= {balance} of samples = {samples}"
        )
    rng, kinds = np.random.default_rng(seed), np.unique(labels)
    if each > len(kinds):
        raise ValueError(
            f"a client can have at most the {len(kinds)} classes there are, got each = "
            f"{each}"
        )
    left = {kind: rng.permutation(np.flatnonzero(labels == kind)) for kind in kinds}
    found = []
    for client in range(clients):
        rich = [kind for kind in kinds if len(left[kind]) >= samples]
        if len(rich) < each:
            raise ValueError(
                f"there must be {samples} examples of {each} classes for every client, "
                f"got none for client {client} of {clients}; ask for fewer"
            )
        own = rng.choice(rich, each, replace=False)
        sizes = dict.fromkeys(own, less) | {own[0]: samples}
        taken = [left[kind][:size] for kind, size in sizes.items()]
        found.append(rng.permutation(np.concatenate(taken)))
        left |= {kind: left[kind][size:] for kind, size in sizes.items()}
    return found


def dirichlet(
    labels: np.ndarray, clients: int, seed: int, *, alpha: float = 0.5, least: int = 1
) -> Parts:
    """Returns the examples of clients that share each class by a Dirichlet draw.

    It is drawn again, a hundred times at most, until every client has enough.

    Args:
      labels: Classes [n].
      clients: How many there are.
      seed: Of all that is drawn.
      alpha: The concentration: small for clients of few classes, large for equal ones.
      least: Examples that each client must get.

    Raises:
      ValueError: A client gets too few each time, alpha is not positive, or labels are
        not one class an example.

    References:
      Yurochkin et al., 2019, arXiv:1905.12022, as Flower cites it. Hsu et al., 2019,
      arXiv:1909.06335, draw the classes of each client, and clients of one size.
    """
    labels = _classes(labels)
    clients, _ = _whole(clients=clients, examples=len(labels))
    if not 0 < alpha < np.inf:
        raise ValueError(f"alpha must be positive, and finite, got alpha = {alpha}")
    rng = np.random.default_rng(seed)
    smallest = 0
    for _ in range(_TRIES):
        found = _shared(rng, labels, clients, alpha)
        smallest = min(len(part) for part in found)
        if smallest >= least:
            return found
    raise ValueError(
        f"every client must get {least} examples, got alpha = {alpha} for {clients} "
        f"clients, which left one with {smallest} in the last of {_TRIES} draws; "
        "give a larger alpha, or fewer clients"
    )


def _shared(rng, labels, clients, alpha):
    parts: list[list] = [[] for _ in range(clients)]
    for kind in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == kind))
        shares = rng.dirichlet(np.full(clients, alpha))
        cuts = np.round(np.cumsum(shares)[:-1] * len(rows)).astype(int)
        for part, own in zip(parts, np.split(rows, cuts), strict=True):
            part.append(own)
    return [rng.permutation(np.concatenate(part)) for part in parts]


def _classes(labels):
    """Returns labels as an array; refuses what is not one class an example."""
    labels = np.asarray(labels)
    if not are_classes(labels) or (labels < 0).any():
        least = f" with {labels.min()} among them" if are_classes(labels) else ""
        raise ValueError(
            "labels must be one class for each example, whole numbers [n] of at least "
            f"0, got labels {labels.dtype} {list(labels.shape)}{least}; give the "
            "number of each example's class"
        )
    return labels


def _whole(**counts):
    """Returns numbers as ints; refuses parts, and less than one."""
    return [values.whole(name, value, 1) for name, value in counts.items()]


def own_labels(labels: np.ndarray, parts: Parts, num_classes: int) -> np.ndarray:
    """Returns which classes each client has examples of, bool [clients, classes]."""
    counts = [np.bincount(labels[part], minlength=num_classes) for part in parts]
    return np.stack(counts) > 0


def of_labels(labels: np.ndarray, owned: np.ndarray) -> Parts:
    """Returns the examples of each client's classes, all that there are.

    Args:
      labels: Classes of a test split [n].
      owned: What `own_labels` returns.
    """
    return [np.flatnonzero(row[labels]) for row in owned]


def examples(
    train: Split, test: Split, parts: Parts, *, validation: str, batch_size: int
) -> Examples:
    """Returns what clients train and validate on, stacked and padded.

    Args:
      train: The train split, arrays.
      test: The test split, for `validation` "test".
      parts: The rows of each client.
      validation: "held_out": a tenth of its examples, which it does not train on;
        "train": those that it trains on; "test": up to 80 test images of its classes,
        as LotteryFL's code has it, which leaks.
      batch_size: That each client must be able to fill.

    Raises:
      ValueError: A client has fewer examples than a batch, or for "test" no test image
        of its classes; the validation is none.
    """
    if validation not in VALIDATIONS:
        raise ValueError(
            f"validation must be one of {', '.join(VALIDATIONS)}, got validation = "
            f"{validation!r}"
        )
    own, held = parts, parts
    if validation == "held_out":
        cuts = [max(1, len(part) // HELD_OUT) for part in parts]
        held = [part[:cut] for part, cut in zip(parts, cuts, strict=True)]
        own = [part[cut:] for part, cut in zip(parts, cuts, strict=True)]
    check_sizes(own, batch_size)
    if validation != "test":
        return Examples(*stacked(train, own), *stacked(train, held))
    kinds = 1 + max(int(split.labels.max()) for split in (train, test))
    owned = own_labels(train.labels, parts, kinds)
    check_tested(test.labels, owned)
    rows = [part[:MOST_TEST] for part in _mixed(of_labels(test.labels, owned))]
    return Examples(*stacked(train, own), *stacked(test, rows))


def check_tested(labels: np.ndarray, owned: np.ndarray) -> None:
    """Refuses clients of whose classes there is no test example.

    Args:
      labels: Classes of the test split [n].
      owned: What `own_labels` returns.

    Raises:
      ValueError: There is one.
    """
    there = np.bincount(labels, minlength=owned.shape[1]) > 0
    alone = np.flatnonzero(~(owned & there[: owned.shape[1]]).any(1))
    if len(alone):
        kinds = ", ".join(map(str, np.flatnonzero(owned[alone[0]])))
        raise ValueError(
            "there must be a test example of some class of every client, got none of "
            f"the classes {kinds} of client {alone[0]} (and {len(alone) - 1} more such "
            "clients); give a test split that has them, or partition otherwise"
        )


def _mixed(parts):
    return [np.random.default_rng(k).permutation(p) for k, p in enumerate(parts)]


def check_sizes(parts: Sequence[np.ndarray], batch_size: int) -> None:
    """Refuses clients that cannot fill a batch.

    Raises:
      ValueError: There is one.
    """
    small = [k for k, part in enumerate(parts) if len(part) < batch_size]
    if small:
        k = min(small, key=lambda k: len(parts[k]))
        raise ValueError(
            "every client must have a batch of examples to train on, got batch_size = "
            f"{batch_size} with {len(parts[k])} examples at client {k} (and "
            f"{len(small) - 1} more such clients); lower batch_size, or give clients "
            "more"
        )


def stacked(split: Split, parts: Sequence[np.ndarray]) -> tuple[Any, Any, Any]:
    """Returns (images [K, n, ...], labels [K, n, ...], sizes [K]) of some rows each.

    What pads a client's rows is its own first one, so that no other client's example,
    which need not be finite, is ever computed for it.
    """
    sizes = [len(part) for part in parts]
    rows = np.zeros((len(parts), max(sizes)), int)
    for row, part in zip(rows, parts, strict=True):
        row[: len(part)] = part
        row[len(part) :] = part[:1] if len(part) else 0
    arrays = (jnp.asarray(array[rows]) for array in (split.images, split.labels))
    return *arrays, jnp.asarray(sizes, jnp.int32)


PARTITIONS: dict[str, Callable[..., Parts]] = {
    "shards": shards,
    "classes": classes,
    "dirichlet": dirichlet,
}
