"""A population of tickets, trained together from where it is to its end, resumably."""

import logging
import pathlib
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lthjax import dynamic
from lthjax.callables import Writer
from lthjax.devices import meshes, processes
from lthjax.program import progress
from lthjax.program.build.data import forward
from lthjax.program.build.own_training import stopped
from lthjax.program.build.parts import Parts, key
from lthjax.program.run import recording
from lthjax.program.workdir import layout
from lthjax.program.workdir.member import Member
from lthjax.tickets import Ticket, Trained
from lthjax.training import extras
from lthjax.training import members as members_lib
from lthjax.training import objective as objective_lib
from lthjax.training import steps as steps_lib

log = logging.getLogger(__name__)

DISPATCH_SECONDS = 2.0


class Job(NamedTuple):
    """One training to be done.

    Attributes:
      arm: That of its ticket, a control, or a way to retrain it.
      member: The chain it belongs to.
      ticket: The ticket.
      teacher: (params, model_state) of a trained network that it learns from.
    """

    arm: str
    member: Member
    ticket: Ticket
    teacher: Any = None

    @property
    def seed(self) -> int:
        """The seed of its member."""
        return self.member.seed


class Population(NamedTuple):
    """Members on their way from the step of their tickets to the end.

    Attributes:
      jobs: The members; their tickets share level, step and until.
      states: training.State, stacked.
      masks: Stacked.
      keys: Of the data order, stacked.
      at: The step the members are at.
      seconds: The time their training took so far, preparation and validation included.
    """

    jobs: list[Job]
    states: steps_lib.State
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
    began = time.monotonic()
    tickets = jax.block_until_ready([parts.prepare(job) for job in jobs])
    seconds = time.monotonic() - began
    states = members_lib.stack([parts.begin(ticket) for ticket in tickets])
    return Population(jobs, states, *_fixed(parts, jobs), jobs[0].ticket.step, seconds)


def restore(root: pathlib.Path, parts: Parts, jobs: list[Job]) -> Population | None:
    """Returns the population as last saved, `None` if what is saved is another one.

    Members that are no longer wanted are left out.
    """
    ticket = jobs[0].ticket
    wanted = {(job.arm, *job.member): job for job in jobs}

    def begin(rest):
        return parts.begin(rest._replace(step=0))

    def like(numbers):
        found = _found(numbers, ticket, wanted)
        return jax.eval_shape(begin, ticket) if found else None

    saved = layout.load_training(root, ticket.level, like)
    if saved is None or not _found(saved[1], ticket, wanted):
        return None
    states, numbers = saved
    names = _found(numbers, ticket, wanted)
    take = np.array(list(names))
    jobs = [wanted[name] for name in names.values()]
    states = jax.tree.map(lambda leaf: jnp.asarray(leaf[take]), states)
    at = numbers["at"]
    log.info("resuming level %d, step %d of %d", ticket.level, at, ticket.until)
    return Population(jobs, states, *_fixed(parts, jobs), at, numbers["seconds"])


def _found(numbers, ticket, wanted):
    """Returns {place: name} of the wanted members of a saved population."""
    names = enumerate(map(tuple, numbers["members"]))
    alike = numbers["span"] == _span(ticket)
    return {i: name for i, name in names if alike and name in wanted}


def save(root: pathlib.Path, population: Population) -> None:
    """Saves where a population is."""
    members = [[job.arm, *job.member] for job in population.jobs]
    numbers = {
        "members": members,
        "span": _span(population.ticket),
        "at": population.at,
        "seconds": population.seconds,
    }
    layout.save_training(root, population.ticket.level, population.states, numbers)


def trained(population: Population, index: int) -> Trained:
    """Returns what a member gives back to its search."""
    state = members_lib.member(population.states, index)
    masks = ended(population, index)
    return Trained(forward(state), state.model_state, masks, state.opt_state)


def deployed(population: Population, index: int) -> Trained:
    """Returns what is measured and kept of a member: its average where it has one."""
    state = members_lib.member(population.states, index)
    return Trained(*extras.weights(state, forward), ended(population, index))


def ended(population: Population, index: int) -> Any:
    """Returns the masks of a member at the end: its optimizer's, or its ticket's."""
    own = members_lib.member(population.states, index).opt_state
    carried = dynamic.masks(extras.inner(own))
    return population.jobs[index].ticket.masks if carried is None else carried


def train(
    root: pathlib.Path,
    parts: Parts,
    population: Population,
    options: Any,
    *,
    asked: Any,
    later: int,
    writers: Sequence[Writer] = (),
) -> Population:
    """Trains a population to its end, validating, saving and reporting on the way.

    A dispatch lasts about two seconds, so that a wish to stop is noticed. One that
    validates cannot be cut: where that takes longer (a convolutional network on a CPU),
    the population is saved just before it.

    Args:
      root: The workdir.
      parts: The functions of the run.
      population: Where it is.
      options: `config.logging`.
      asked: An event; once it is set, the population is saved.
      later: Steps that come after this training, for the time left.
      writers: Who is told of every point.

    Raises:
      FloatingPointError: The loss of a member is not finite.
      Interrupted: `asked` was set; where the population is has been saved.
    """
    count = len(population.jobs)
    title = f"level {population.ticket.level}, {count} members"
    span = population.at, population.ticket.until
    steps = steps_lib.points(*_span(population.ticket)[1:3], parts.plan.eval_every)
    measures = parts.options.measures
    bar = progress.reporter(title, *span, later=later, every=options.line_seconds)
    guard = _guard(root, options.checkpoint_seconds, asked)
    reached = population
    with bar as report:
        for reached, curve, new, ahead in _dispatches(parts, population):
            told = {index: steps[index] for index in new}
            text = recording.tell(writers, reached, curve, told, measures)
            report(reached.at, text)
            guard(reached, ahead)
    if reached.at > population.at:
        save(root, reached)
    return reached._replace(states=meshes.collected(reached.states, count))


def _guard(root, seconds, asked):
    """Returns guard(population, ahead), which saves in time, and stops when asked.

    `ahead` is how long the next dispatch will take. All processes do the same.
    """
    saved = time.monotonic()

    def guard(population, ahead):
        nonlocal saved
        since, wish = processes.largest(time.monotonic() - saved, asked.is_set())
        if since + ahead > seconds or wish:
            save(root, population)
            saved = time.monotonic()
        if wish:
            ticket = population.ticket
            raise progress.Interrupted(
                f"stopped at level {ticket.level}, step {population.at} of "
                f"{ticket.until}; the same command goes on from there"
            )

    return guard


def _dispatches(parts, population):
    """Yields (population, curve, new points, seconds of the next dispatch) to the end.

    Its states are then over the mesh, with padding for members.
    """
    ticket, chunk, slow, count = population.ticket, 1, 0.0, len(population.jobs)
    fixed, span = (population.masks, population.keys), _span(ticket)[1:3]
    fixed, states = meshes.spread(parts.data.mesh, (fixed, population.states))
    population = population._replace(states=states)
    steps = steps_lib.points(*span, parts.plan.eval_every)
    while population.at < ticket.until:
        began = time.monotonic()
        stop = _stop(population.at, chunk, steps, alone=slow > DISPATCH_SECONDS)
        states = parts.run(population.states, fixed, span, population.at, stop)
        wanted = states.loss, states.curve, stopped(states)
        losses, curve, ends = jax.device_get(meshes.collected(wanted, count))
        done = np.searchsorted(steps, [population.at, stop], side="right")
        whole = curve if ends is None else _ended(curve, steps, ends)
        columns = objective_lib.columns(parts.objective)
        _check_finite(population, stop, losses, whole[:, : done[1]], columns)
        if ends is not None and (ends >= 0).all():
            stop = ticket.until
        (took,) = processes.largest(time.monotonic() - began)
        slow = took if done[1] > done[0] else slow
        chunk = _next_chunk(stop - population.at, took)
        seconds = population.seconds + took
        population = population._replace(states=states, at=stop, seconds=seconds)
        yield population, curve, range(*done), slow


def _ended(curve, steps, ends):
    """Returns learning curves, those of members that stopped at their last point."""
    found = np.array(curve)
    for own, end in zip(found, ends, strict=True):
        last = np.searchsorted(steps, end)
        own[last + 1 :] = own[last] if end >= 0 else own[last + 1 :]
    return found


def _stop(at, chunk, steps, *, alone):
    """Returns where a dispatch ends; `alone`, before a validation or one step after."""
    point = next(step for step in steps if step > at)
    stop = min(at + chunk, steps[-1])
    if not alone or stop < point:
        return stop
    return point if at == point - 1 else point - 1


def _check_finite(population, stop, losses, curve, columns):
    """Stops where the loss of a member is NaN or infinite, and names its seed.

    Of a curve [members, points, columns] the losses must be finite too; of the other
    columns, such as a perplexity, none may be NaN.
    """
    of_loss = [name.endswith(f"_{objective_lib.LOSS}") for name in columns]
    finite = np.isfinite(losses) & ~np.isnan(curve).any(axis=(1, 2))
    finite &= np.isfinite(curve[..., of_loss]).all(axis=(1, 2))
    bad = [job for job, fine in zip(population.jobs, finite, strict=True) if not fine]
    if not bad:
        return
    good = sorted({job.seed for job in population.jobs} - {job.seed for job in bad})
    names = ", ".join(f"{job.member.text} ({job.arm})" for job in bad)
    remedy = "take another workdir with a lower learning rate or gradient clipping"
    if good:
        remedy += f", or go on without: --config.seeds={','.join(map(str, good))}"
    if all(job.arm != "ticket" for job in bad):
        remedy += ", or without this control"
    raise FloatingPointError(
        f"the loss must stay finite, got NaN or infinity for {names} at level "
        f"{population.ticket.level} between steps {population.at} and {stop}; what was "
        f"finished is saved; {remedy}"
    )


def _next_chunk(chunk: int, seconds: float) -> int:
    """Returns the steps of the next dispatch, towards `DISPATCH_SECONDS`."""
    speed = chunk / max(seconds, 1e-3)
    return int(min(max(1, speed * DISPATCH_SECONDS), 4 * chunk))


def _fixed(parts, jobs):
    """Returns what does not change: the masks, and the keys of the data order."""
    masks = members_lib.stack([parts.handed(job) for job in jobs])
    keys = jnp.stack([key(job.seed, "data") for job in jobs])
    return masks, keys


def _span(ticket):
    return [ticket.level, ticket.step, ticket.until, int(ticket.searching)]
