"""Tickets of channels drawn after each epoch of one training, and trained four ways."""

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lthjax import channels
from lthjax.program.build.parts import Ground, Parts
from lthjax.program.build.parts import key as key_of
from lthjax.tickets import Ticket, Trained, stability
from lthjax.training import members
from lthjax.training.steps import COLUMNS

KEYS = ("seed", "share", "way", "epoch")  # of a row
SEEN, DRAWN = "seen", "drawn"
EARLY, REINIT = "EB Train", "EB re-init"
LOTTERY, SLIMMED = "LT one-shot", "Network Slimming"
WHOLE = (REINIT, LOTTERY, SLIMMED)  # ways that train for the whole schedule
WAYS = (*WHOLE, EARLY)


class Asked(NamedTuple):
    """What is asked of every seed.

    Attributes:
      shares: Of the channels removed, of the tickets that are trained.
      watched: The same of those whose masks are watched alone.
      epochs: After which a ticket is drawn, whatever the detector says.
    """

    shares: tuple[float, ...]
    watched: tuple[float, ...]
    epochs: tuple[int, ...]


class Study(NamedTuple):
    """What is trained, and what is asked of it."""

    parts: Parts
    ground: Ground
    asked: Asked


def length(parts: Parts) -> int:
    """Returns the epochs of the schedule."""
    return parts.plan.steps // parts.plan.steps_per_epoch


def draw(ground: Ground, share: float, trained: Trained) -> tuple[Any, Any]:
    """Returns the mask of all channels, bool [channels], and the ticket's masks."""
    groups = channels.groups(ground.module, trained.params)
    scales = channels.norm_scales(trained.params, groups)
    kept = channels.slimmed(scales, share)
    masks = channels.spread(trained.masks, kept, groups)
    return stability.flatten(kept), masks


def check(study: Study) -> None:
    """Refuses a share that a network cannot lose, before anything is trained.

    Raises:
      ValueError: It leaves a layer without channels, or the channels have no norms.
    """
    params = study.ground.shapes
    trained = Trained(params, None, jax.eval_shape(study.parts.masks_fn, params))
    for share in (*study.asked.shares, *study.asked.watched):
        jax.eval_shape(functools.partial(draw, study.ground, share), trained)


def fired(seen: np.ndarray, rule: str = "consecutive", **detector: Any) -> int:
    """Returns the epoch after which a detector fires, or -1.

    Args:
      seen: The masks after each epoch, bool [epochs, channels].
      rule: Of `stability.RULES`.
      **detector: `queue` and `threshold`, as for `stability.watch`.
    """
    state = stability.watch(seen.shape[1], rule, **detector)
    update = jax.jit(stability.update)
    for epoch, mask in enumerate(seen, start=1):
        state = update(state, mask, epoch)
    return int(state.fired_at)


def early(seen: np.ndarray, epochs: int) -> int | None:
    """Returns the epoch of an early-bird ticket by the masks seen so far.

    Where the detector does not fire before the last epoch that is the one before it;
    `None` before it is known.
    """
    at = fired(seen[: epochs - 1])
    return at if at > 0 else (epochs - 1 if len(seen) >= epochs - 1 else None)


def seen(rows: Iterable[dict], seed: int, share: float) -> np.ndarray:
    """Returns the masks after each epoch that rows hold, bool [epochs, channels]."""
    mine = [row for row in rows if (row["seed"], row["share"]) == (seed, share)]
    mine = sorted((r for r in mine if r["way"] == SEEN), key=lambda row: row["epoch"])
    found = [_unpacked(row["mask"], row["channels"]) for row in mine]
    return np.array(found, bool) if found else np.zeros((0, 1), bool)


def _unpacked(text, size):
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8), count=size) > 0


def trainings(asked: Asked, at: int, epochs: int) -> list[tuple[str, int]]:
    """Returns [(way, epoch of the draw)] of the tickets of a share.

    Args:
      asked: What is asked.
      at: The epoch of the early-bird ticket.
      epochs: Of the schedule.
    """
    drawn = sorted({at, *(epoch for epoch in asked.epochs if epoch < epochs)})
    found = [(DRAWN, epoch) for epoch in drawn]
    return [*found, (REINIT, at), (LOTTERY, epochs), (SLIMMED, epochs)]


def run(study: Study, seed: int, rows: Sequence[dict]) -> Iterator[dict]:
    """Trains what is missing of a seed, and yields its rows.

    The dense training is done again where anything is missing, and ends with the same
    bits.

    Args:
      study: What is studied.
      seed: The seed.
      rows: Those that there are.
    """
    done = {_identity(row) for row in rows}
    if _complete(study, seed, rows, done):
        return
    begun, held, ends = fresh(study.parts, seed, "init"), {}, {}
    for row in _followed(study, begun, seed, held, ends):
        if _identity(row) not in done:
            yield row
    for one in _asked(study, seed, ends):
        if one in done:
            continue
        _, share, way, epoch = one
        trained, masks = held[share, epoch]
        weights, start = (trained.params, trained.model_state), 0
        if way == DRAWN:
            start = epoch * study.parts.plan.steps_per_epoch
        elif way == REINIT:
            weights = fresh(study.parts, seed, "reinit")
        elif way == LOTTERY:
            weights = begun
        accuracy = retrained(study.parts, weights, masks, start, seed)
        yield _row(one, accuracy=accuracy)


def _asked(study, seed, ends):
    """Returns the identities of all trainings of a seed, by {share: early epoch}."""
    asked, epochs = study.asked, length(study.parts)
    found = ((p, trainings(asked, at, epochs)) for p, at in ends.items())
    return [(seed, share, *one) for share, ways in found for one in ways]


def _complete(study, seed, rows, done):
    """Returns whether there is a row of everything that is asked of a seed."""
    asked, epochs = study.asked, length(study.parts)
    masks = {p: seen(rows, seed, p) for p in (*asked.shares, *asked.watched)}
    if any(len(found) < epochs for found in masks.values()):
        return False
    ends = {share: early(masks[share], epochs) for share in asked.shares}
    return done.issuperset(_asked(study, seed, ends))


def _followed(study, begun, seed, held, ends):
    """Yields the rows of the dense training, and keeps what tickets are drawn from.

    Args:
      study: What is studied.
      begun: (params, model_state) that it begins with.
      seed: The seed.
      held: Becomes {(share, epoch): (trained, masks)} of the tickets to be trained.
      ends: Becomes {share: the epoch of its early-bird ticket}.
    """
    asked, epochs = study.asked, length(study.parts)
    shares = (*asked.shares, *asked.watched)
    drawing = {p: jax.jit(functools.partial(draw, study.ground, p)) for p in shares}
    found = {share: [] for share in shares}
    for epoch, trained, accuracy in dense(study.parts, begun, seed):
        drawn = {share: draw_fn(trained) for share, draw_fn in drawing.items()}
        for share, (bits, _) in drawn.items():
            found[share].append(np.asarray(bits))
            packed = np.packbits(bits).tobytes().hex()
            told = {"accuracy": accuracy, "channels": bits.size, "mask": packed}
            yield _row((seed, share, SEEN, epoch), **told)
        new = {p: early(np.stack(found[p]), epochs) for p in asked.shares}
        ends |= {p: at for p, at in new.items() if at}
        held |= {
            (share, epoch): (trained, drawn[share][1])
            for share in asked.shares
            if epoch in (*asked.epochs, ends.get(share), epochs)
        }


def _row(identity, **columns):
    return dict(zip(KEYS, identity, strict=True)) | columns


def _identity(row):
    return tuple(row[key] for key in KEYS)


def fresh(parts: Parts, seed: int, stream: str) -> tuple[Any, Any]:
    """Returns (params, model_state) that a seed draws."""
    return parts.init_fn(key_of(seed, stream))


def dense(
    parts: Parts, begun: tuple[Any, Any], seed: int
) -> Iterator[tuple[int, Trained, float]]:
    """Trains the whole network, and yields (epoch, trained, test accuracy in %)."""
    steps, epoch = parts.plan.steps, parts.plan.steps_per_epoch
    masks = parts.masks_fn(begun[0])
    states, fixed = _population(parts, Ticket(0, 0, steps, *begun, masks), seed)
    for at in range(0, epoch * length(parts), epoch):
        stop = at + epoch
        states = parts.run(states, fixed, (0, steps), at, stop)
        state = members.member(states, 0)
        trained = Trained(state.params, state.model_state, masks)
        yield stop // epoch, trained, _accuracy(state.curve)


def retrained(
    parts: Parts, weights: tuple[Any, Any], masks: Any, start: int, seed: int
) -> float:
    """Returns the test accuracy of a ticket at the schedule's end, %.

    Args:
      parts: The functions of the run.
      weights: (params, model_state) that it begins with.
      masks: Its masks.
      start: The step of the schedule that it begins at.
      seed: Of the order of its images.
    """
    steps = parts.plan.steps
    ticket = Ticket(1, start, steps, *weights, masks)
    states, fixed = _population(parts, ticket, seed)
    states = parts.run(states, fixed, (start, steps), start, steps)
    return _accuracy(members.member(states, 0).curve)


def _population(parts, ticket, seed):
    keys = jnp.stack([key_of(seed, "data")])
    return members.stack([parts.begin(ticket)]), (members.stack([ticket.masks]), keys)


def _accuracy(curve):
    """Returns the last test accuracy of a learning curve, %."""
    column = np.asarray(curve)[:, COLUMNS.index("test_accuracy")]
    return round(100 * float(column[np.isfinite(column)][-1]), 2)


class Found:
    """What rows hold, looked up.

    Attributes:
      rows: All of them.
      asked: What was asked.
      epochs: Of the schedule.
      seeds: Of the rows.
      shares: Of the channels removed, all that are watched.
      masks: {(seed, share): the masks after each epoch}.
    """

    def __init__(self, rows: Sequence[dict], asked: Asked, epochs: int):
        """Reads the masks of rows."""
        self.rows, self.asked, self.epochs = rows, asked, epochs
        self.seeds = sorted({row["seed"] for row in rows})
        self.shares = (*asked.shares, *asked.watched)
        self.masks = {(s, p): seen(rows, s, p) for s in self.seeds for p in self.shares}

    def fires(self, share: float, rule: str = "consecutive") -> list[int]:
        """Returns the epochs at which a rule fires, of the seeds where it does."""
        found = [fired(self.masks[seed, share], rule) for seed in self.seeds]
        return [epoch for epoch in found if epoch > 0]

    def at(self, share: float) -> list[int]:
        """Returns the epochs of the early-bird tickets, a seed each."""
        return [early(self.masks[seed, share], self.epochs) for seed in self.seeds]

    def dense(self) -> list[float]:
        """Returns the accuracy of the dense network at the end, a seed each."""
        return list(self.drawn(self.asked.shares[0], self.epochs, SEEN).values())

    def drawn(self, share: float, epoch: int, way: str = DRAWN) -> dict[int, float]:
        """Returns {seed: accuracy in %} of tickets that were drawn after an epoch."""
        wanted = way, share, epoch
        mine = (r for r in self.rows if (r["way"], r["share"], r["epoch"]) == wanted)
        return {row["seed"]: row["accuracy"] for row in mine}

    def ends(self, share: float, way: str) -> list[float]:
        """Returns the accuracy of the tickets of a way, of the seeds that have one.

        Args:
          share: Of the channels removed.
          way: One of `WAYS`.
        """
        found = []
        for seed in self.seeds:
            at = early(self.masks[seed, share], self.epochs)
            epoch = at if way in (EARLY, REINIT) else self.epochs
            own = self.drawn(share, epoch, DRAWN if way == EARLY else way)
            found += [own[seed]] if seed in own else []
        return found
