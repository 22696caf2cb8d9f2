"""A population of tickets, trained together from where it is to its end, resumably."""

import logging
import pathlib
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lthjax import assembly, progress, records, training, workdir
from lthjax.assembly import Parts
from lthjax.tickets import Ticket, Trained

log = logging.getLogger(__name__)

DISPATCH_SECONDS = 2.0


class Job(NamedTuple):
    """One training to be done; `arm` is "ticket" or the name of a control."""

    arm: str
    seed: int
    ticket: Ticket


class Population(NamedTuple):
    """Members on their way from the step of their tickets to the end.

    Attributes:
      jobs: The members; their tickets share level, step and until.
      states: training.State, stacked.
      masks: Stacked.
      keys: Of the data order, stacked.
      at: The step the members are at.
      seconds: The time their training took so far, validation included.
    """

    jobs: list[Job]
    states: training.State
    masks: Any
    keys: jax.Array
    at: int
    seconds: float

    @property
    def ticket(self) -> Ticket:
        """The ticket of the first member, for what all members share."""
        return self.jobs[0].ticket


def start(parts: Parts, jobs: list[Job]) -> Population:
    """Returns the population at the first step of its tickets."""
    states = training.stack([parts.begin(job.ticket) for job in jobs])
    return Population(jobs, states, *_fixed(jobs), jobs[0].ticket.step, 0.0)


def restore(root: pathlib.Path, parts: Parts, jobs: list[Job]) -> Population | None:
    """Returns the population as last saved, `None` if what is saved is another one.

    Members that are no longer wanted are left out.
    """
    saved = workdir.load_training(root, jax.eval_shape(parts.begin, jobs[0].ticket))
    if saved is None:
        return None
    states, numbers = saved
    wanted = {(job.arm, job.seed): job for job in jobs}
    names = [tuple(name) for name in numbers["members"]]
    take = np.array([i for i, name in enumerate(names) if name in wanted], int)
    if numbers["span"] != _span(jobs[0].ticket) or not take.size:
        return None
    jobs = [wanted[names[i]] for i in take]
    states = jax.tree.map(lambda leaf: jnp.asarray(leaf[take]), states)
    at, until = numbers["at"], jobs[0].ticket.until
    log.info("resuming level %d, step %d of %d", jobs[0].ticket.level, at, until)
    return Population(jobs, states, *_fixed(jobs), at, numbers["seconds"])


def save(root: pathlib.Path, population: Population) -> None:
    """Saves where a population is."""
    members = [[job.arm, job.seed] for job in population.jobs]
    numbers = {
        "members": members,
        "span": _span(population.ticket),
        "at": population.at,
        "seconds": population.seconds,
    }
    workdir.save_training(root, population.states, numbers)


def trained(population: Population, index: int) -> Trained:
    """Returns what a member gives back to its search."""
    state = training.member(population.states, index)
    masks = population.jobs[index].ticket.masks
    return Trained(state.params, state.model_state, masks, state.opt_state)


def train(
    root: pathlib.Path,
    parts: Parts,
    population: Population,
    options: Any,
    *,
    asked: Any,
    later: int,
) -> Population:
    """Trains a population to its end, validating, saving and reporting on the way.

    A dispatch lasts about two seconds, so that a wish to stop is noticed.

    Args:
      root: The workdir.
      parts: The functions of the run.
      population: Where it is.
      options: `config.logging`.
      asked: An event; once it is set, the population is saved.
      later: Steps that come after this training, for the time left.

    Raises:
      FloatingPointError: The loss of a member is not finite.
      Interrupted: `asked` was set; where the population is has been saved.
    """
    title = f"level {population.ticket.level}, {len(population.jobs)} members"
    span = population.at, population.ticket.until
    steps = training.points(*_span(population.ticket)[1:], parts.plan.eval_every)
    write = records.scalars(root, steps, wanted=options.tensorboard)
    bar = progress.reporter(title, *span, later=later, every=options.line_seconds)
    guard = _guard(root, options.checkpoint_seconds, asked)
    with write as add, bar as report:
        for population, text in _dispatches(parts, population, add):  # noqa: B020
            report(population.at, text)
            guard(population)
    if population.at > span[0]:
        save(root, population)
    return population


def _guard(root, seconds, asked):
    """Returns guard(population), which saves when it is time, and stops when asked."""
    saved = time.monotonic()

    def guard(population):
        nonlocal saved
        if time.monotonic() - saved > seconds or asked.is_set():
            save(root, population)
            saved = time.monotonic()
        if asked.is_set():
            ticket = population.ticket
            raise progress.Interrupted(
                f"stopped at level {ticket.level}, step {population.at} of "
                f"{ticket.until}; the same command goes on from there"
            )

    return guard


def _dispatches(parts, population, add):
    """Yields (population, text) after each dispatch until the population's end."""
    ticket, chunk = population.ticket, 1
    while population.at < ticket.until:
        began = time.monotonic()
        stop = min(population.at + chunk, ticket.until)
        fixed, span = (population.masks, population.keys), _span(ticket)[1:]
        states = parts.run(population.states, fixed, span, population.at, stop)
        losses, curve = jax.device_get((states.loss, states.curve))
        done = np.searchsorted(
            training.points(*span, parts.plan.eval_every),
            [population.at, stop],
            side="right",
        )
        _check_finite(population, stop, losses, curve[:, : done[1]])
        took = time.monotonic() - began
        chunk = _next_chunk(stop - population.at, took)
        seconds = population.seconds + took
        population = population._replace(states=states, at=stop, seconds=seconds)
        yield population, add(population, curve, range(*done))


def _check_finite(population, stop, losses, curve):
    """Stops where the loss of a member is NaN or infinite, and names its seed."""
    finite = np.isfinite(losses) & np.isfinite(curve).all(axis=(1, 2))
    bad = [job for job, fine in zip(population.jobs, finite, strict=True) if not fine]
    if not bad:
        return
    good = sorted({job.seed for job in population.jobs} - {job.seed for job in bad})
    names = ", ".join(f"seed {job.seed} ({job.arm})" for job in bad)
    remedy = "take a lower learning rate or gradient clipping"
    if good:
        remedy += f", or go on without: --config.seeds={','.join(map(str, good))}"
    raise FloatingPointError(
        f"the loss must stay finite, got NaN or infinity for {names} at level "
        f"{population.ticket.level} between steps {population.at} and {stop}; what was "
        f"finished is saved; {remedy}"
    )


def _next_chunk(chunk: int, seconds: float) -> int:
    """Returns the steps of the next dispatch, towards `DISPATCH_SECONDS`."""
    speed = chunk / max(seconds, 1e-3)
    return int(min(max(1, speed * DISPATCH_SECONDS), 4 * chunk))


def _fixed(jobs):
    """Returns what does not change: the masks, and the keys of the data order."""
    masks = training.stack([job.ticket.masks for job in jobs])
    keys = jnp.stack([assembly.key(job.seed, "data") for job in jobs])
    return masks, keys


def _span(ticket):
    return [ticket.level, ticket.step, ticket.until]
