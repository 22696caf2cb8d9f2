"""The loop: train the tickets that are missing, record them, ask for the next ones.

A seed's search is a chain: every ticket follows from the training of the one before.
What is trained together is a population: all that is missing at the lowest level, the
tickets of all seeds and their controls.
"""

import contextlib
import functools
import logging
import math
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from lthjax import moved
from lthjax.callables import Writer
from lthjax.data import fingerprints, in_memory
from lthjax.devices import memory, meshes
from lthjax.program import progress
from lthjax.program.build import arm_checks, assemble, source
from lthjax.program.build import data as data_lib
from lthjax.program.build import plan as plan_lib
from lthjax.program.build.parts import Parts, key
from lthjax.program.config import validate
from lthjax.program.report import page, page_costs, run_report
from lthjax.program.report.studies import study
from lthjax.program.run import (
    check,
    missing,
    neighbours,
    outcome,
    pools,
    starts,
    writers,
)
from lthjax.program.run import population as population_lib
from lthjax.program.run import search_progress as chains
from lthjax.program.run.population import Job
from lthjax.program.workdir import claim, layout, notes, results, sittings
from lthjax.program.workdir.member import Member
from lthjax.retraining import arms
from lthjax.tickets import controls

log = logging.getLogger(__name__)


class Run(NamedTuple):
    """What the loop needs of a run.

    Attributes:
      root: The workdir.
      parts: The functions, and what is asked for.
      chains: {member: (search state, next ticket or None)}; the loop moves them on.
      stay: What saves a search that works between two trainings: see `layout.stay`.
      run: The digest that its records are marked with.
      done: {member: the trainings that its search had done at the start}.
      behind: {member: how far its search is gone through again, for lost records}.
      again: (level, arm, member) of what was trained since the start.
      writers: Who is told of what is measured, while the sitting lasts.
      together: Whether what a member trains to depends, in rounding, on the others.
    """

    root: pathlib.Path
    parts: Parts
    chains: dict
    stay: Callable[[Member, tuple, Any], tuple]
    run: str
    done: dict
    behind: dict
    again: set
    writers: list[Writer]
    together: bool


def run(config, root: str | pathlib.Path) -> list[dict]:
    """Runs what is missing of an experiment and returns all its records.

    Args:
      config: A config, as `lthjax.program.config.files.default()` has it.
      root: The workdir; made if it does not exist, continued if it does.

    Raises:
      ValueError: Something in the config, the data or the workdir is wrong; nothing has
        been trained. `search_progress.CollapsedError`, one of them: all chains have
        lost all their weights; what is finished is saved.
      FloatingPointError: The loss of a member is not finite; what is finished is saved.
      Interrupted: SIGTERM or SIGINT came; the same command goes on.
    """
    validate.validate(config)
    root = claim.folder(root)
    before, config = config.data.cut, claim.with_own_cut(root, config)
    held = claim.said(root)
    if config.data.cut != before:
        log.info("data.cut = %r, as the workdir was begun with it", config.data.cut)
    found = _checked(config)
    if alone := plan_lib.lone_seed(config):
        log.info("%s", alone)
    parts, chunk = assemble.build(config, found), data_lib.chunk(config, found)
    options = parts.options
    text = plan_lib.summary(config.model.name, parts.plan)
    log.info("%s%s", text, meshes.idle(parts.data.mesh))
    counted = source.counted(config.data.name, found)
    marks = fingerprints.fingerprint(found) | parts.given, options.measures
    claimed = claim.claimed(root, config, *marks)
    told = writers.opened(root, options.logging)
    listened = progress.interruption()
    with claimed as run, _reported(root), told as telling, listened as asked:
        notes.write(root / run_report.CLASSES, counted)
        if not config.search.basis:  # else records are of coefficients
            _note_costs(root, parts, found)
        stay = layout.stay(root, options.logging.checkpoint_seconds, asked)
        known = stay, run, {}, {}, set(), telling, missing.together(parts.init_fn)
        this = Run(root, parts, {}, *known)
        with claim.put_back(held):
            _begin(this)
        absent = missing.absent(this)
        layout.drop_stale(root, {level for level, _, _ in absent})
        _sit_down(this, absent)
        while absent := missing.absent(this):
            _train(this, _lowest(this, absent), asked)
        pools.fill(this, asked)
        _check_left(this)
        if options.studies:
            network = _studied(parts, found, chunk)
            network = network._replace(**_neighbours(config, root))
            study.write(root, options.studies, network, asked=asked)
        log.info("%s", memory.text())
    return results.read(root / results.RESULTS)


def _sit_down(this, absent):
    """Notes a sitting where something is absent; else checks that all is whole."""
    parts = this.parts
    if absent or pools.absent(this):
        needed = plan_lib.bytes_to_write(parts.plan, parts.options, parts.held)
        claim.check_space(this.root, needed)
        sittings.note(this.root, this.run)
        return
    _check_left(this)
    layout.check_tickets(this.root, this.chains, len(parts.plan.targets))
    log.info("finished: %s has all that was asked for; nothing to do", this.root)


def _begin(this):
    """Begins each chain where its search stands, or at its start for what is lost.

    What was not kept that controls, arms or averages need is refused.
    """
    root, plan = this.root, this.parts.plan
    stands, anew = {}, set()
    for one in this.parts.options.members:
        stands[one] = saved = chains.saved(root, this.parts, one)
        last = saved and saved[1]
        this.done[one] = missing.trainings(root, plan, one, last)
        lost = missing.lost(root, plan, one, this.done[one])
        missing.say(one, lost)
        ready = functools.partial(missing.from_its_ticket, root, this.parts, one)
        who = None if this.together else one
        anew |= {(who, row) for row in lost if not ready(row)}
    for one in list(stands):
        stand = stands.pop(one)
        own = [r for r in this.done[one] if {(one, r), (None, r)} & anew]
        this.behind.update({one: max(map(missing.place, own))} if own else {})
        stand = None if own else stand
        this.chains[one] = chains.begin(root, this.parts, one, stand, _stay(this, one))
    starts.check(this)
    pools.check(this)


def _stay(this, one):
    """Returns what goes through the work of a search, saving where it is new."""

    def unsaved(one, stand, states):
        state, ticket, trained = stand
        return functools.reduce(lambda _, later: later, states, state), ticket, trained

    return unsaved if one in this.behind else this.stay


def _checked(config):
    """Returns the data set of a config, which is refused before that is read.

    What depends on the size of a user's own set is checked after.
    """
    own = ":" in config.data.name or config.data.name in in_memory.BROUGHT
    if not own:
        check.check(config)
    data_lib.mesh(config)
    found = source.load(config)
    if own:
        check.check(config, found)
    return found


def _check_left(this):
    records = results.read(this.root / results.RESULTS)
    chains.check_left(records, this.chains, len(this.parts.plan.targets))


def _note_costs(root, parts, found):
    """Notes what a pass over one example costs, where the network's program tells."""
    shapes = jax.eval_shape(parts.init_fn, jax.random.key(0))
    try:
        uses = study.uses(parts.apply_fn, shapes, found)
    except ValueError as error:
        log.info("operations are not counted: %s", error)
        return
    notes.write(root / run_report.COSTS, page_costs.noted(uses, shapes[0]))


def _studied(parts, found, chunk):
    """Returns what studies need to know of the network."""
    shapes = jax.eval_shape(parts.init_fn, jax.random.key(0))
    given = parts.apply_fn, parts.data.prepare, shapes, found
    return study.network(*given, chunk=chunk, objective=parts.objective)


def _neighbours(config, root):
    """Returns what studies need to know to train the dense network at other rates."""
    dense_at = functools.partial(neighbours.records, run, config, root)
    rate, seeds = config.optimizer.learning_rate, tuple(config.seeds)
    return {"rate": rate, "dense_at": dense_at, "seeds": seeds}


@contextlib.contextmanager
def _reported(root):
    """Leaves the table and the figures of all records, however the run ends."""
    try:
        yield
    except BaseException:
        _report_what_is_there(root)
        raise
    _report(root)


def _report(root):
    if not run_report.current(root) and run_report.write(root):
        page.write(root)


def _report_what_is_there(root):
    """Does as `_report`; what goes wrong must not hide why the run itself ended."""
    try:
        _report(root)
    except Exception as error:
        log.warning("the report of %s could not be written: %s", root, error)


def _lowest(this: Run, absent: list[tuple[int, str, Member]]) -> list[Job]:
    """Returns the jobs of the lowest level that are trained alike, over one span."""
    lowest = min(level for level, _, _ in absent)
    rows = [row for row in absent if row[0] == lowest]
    functions = [_functions(this, arm, level) for level, arm, _ in rows]
    alike = zip(rows, functions, strict=True)
    jobs = [_job(this, *row) for row, parts in alike if parts is functions[0]]
    spans = [(-j.ticket.searching, j.ticket.step, j.ticket.until) for j in jobs]
    return [job for job, span in zip(jobs, spans, strict=True) if span == min(spans)]


def _functions(this: Run, arm: str, level: int) -> Parts:
    return this.parts.arms.get((arm, level), this.parts)


def _job(this: Run, level: int, arm: str, one: Member) -> Job:
    """Returns a ticket, in memory or saved before, or a control of it."""
    _, ticket = this.chains[one]
    if ticket is not None and ticket.level == level and arm == ticket.arm:
        return Job(arm, one, ticket)
    if ticket is None or ticket.level != level or ticket.searching:
        ticket = layout.load_ticket(this.root, one, level)
    if arm == ticket.arm:
        return Job(arm, one, ticket)
    if arm in controls.STARTS:
        start = starts.of(this.root, arm, one)
        return Job(arm, one, this.parts.started(ticket, start))
    control = _functions(this, arm, level).control
    if (arm, level) not in this.parts.arms:
        return Job(arm, one, control(arm, key(one.seed, arm), ticket))
    dressed = control(arm, jax.random.key(one.seed), ticket)
    return Job(arm, one, dressed, _teacher(this, arm, one))


def _teacher(this, arm, one):
    """Returns the trained dense network, if an arm learns from one."""
    if "distillation" not in arms.tweaks(arm):
        return None
    if given := this.parts.options.teacher:
        return arm_checks.teacher(given, this.parts)
    path = layout.trained_path(this.root, "ticket", one, 0)
    return arm_checks.teacher(path, this.parts, level=0, **one.identity)


def _train(this: Run, jobs: list[Job], asked) -> None:
    """Trains a population to its end, records it, and moves the searches on."""
    root = this.root
    parts = _functions(this, jobs[0].arm, jobs[0].ticket.level)
    population = population_lib.restore(root, parts, jobs) or population_lib.start(
        parts, jobs
    )
    options = this.parts.options.logging
    share = len(this.chains) / len(population.jobs)
    plan, ticket = this.parts.plan, population.ticket
    later = plan_lib.steps_later(plan, ticket, share)
    population = population_lib.train(
        root,
        parts,
        population,
        options,
        asked=asked,
        later=later,
        writers=this.writers,
    )
    outcome.keep(this, population)
    outcome.record(this, parts, population)
    for i, job in enumerate(population.jobs):
        this.again.add((job.ticket.level, job.arm, job.member))
        if job.ticket is this.chains[job.member][1]:
            _keep_for_studies(this, job, population_lib.deployed(population, i))
            _move_on(this, job, population_lib.trained(population, i))
    layout.drop_training(root, population.ticket.level)


def _keep_for_studies(this, job, deployed):
    """Saves what studies need of a ticket's training, once that is over."""
    if job.ticket.until >= this.parts.plan.steps and not job.ticket.searching:
        own = this.parts.options.studies, job.seed, job.ticket
        study.keep(this.root, *own, deployed)


def _move_on(this, job, trained):
    """Saves what a ticket's training gave, and asks its search for the next one."""
    root, (state, ticket) = this.root, this.chains[job.member]
    one, stand = job.member, (state, ticket._replace(opt_state=None), trained)
    if one not in this.behind:
        layout.save_search(root, one, state, ticket, trained)
    following = chains.following(root, this.parts, one, stand, _stay(this, one))
    this.chains[one] = following
    far = missing.place(ticket) >= this.behind.get(one, (math.inf,))
    if one in this.behind and (far or following[1] is None):
        del this.behind[one]
        saved = chains.saved(root, this.parts, one)
        this.chains[one] = chains.begin(root, this.parts, one, saved, this.stay)


moved.answers(__name__)
