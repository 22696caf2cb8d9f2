"""Retraining tweaks: a step while ghosts live, one after, a teacher, re-scaling."""

from collections.abc import Callable

import jax

import lthjax
from lthjax.devices import measure
from lthjax.program.build import assemble
from lthjax.program.config import files
from lthjax.program.run.population import Job
from lthjax.program.workdir.member import Member
from lthjax.training import members
from measures.timed.rows import Row, row
from measures.timed.steps import END, going_on, noise

EPOCHS, ITERATIONS, STEPS = 4, 180, 352  # the published search, within so many epochs
TIMED = 3  # iterations of it: all cost the same, or less
ARMS = ("vanilla", "tost_paper", "distillation")


def tweaks(options) -> list[Row]:
    """Measures ResNet-18's step with all tweaks by its vanilla step, and more."""
    config, source = _training(options)
    vanilla = assemble.build(config, source)
    found = vanilla.arms
    ticket = _ticket(vanilla)
    live = {arm: _stepper(found[arm, 1], ticket, arm, 0) for arm in ARMS}
    ours = {
        **live,
        "after": _stepper(found["tost_paper", 1], ticket, "tost_paper", END),
    }
    ours["rescaling"] = _searcher(found["tost_paper", 1], ticket)
    with measure.compilations() as compiled:
        for run in ours.values():
            run(1)
        first = len(compiled)
        taken = measure.in_turns(ours, options.rounds, options.seconds)
        again = len(compiled) - first
    name, plain = "resnet18", taken["vanilla"]
    searched = taken.pop("rescaling")
    rows = [row(f"{name}, {which}", "steps/s", 1 / taken[which]) for which in taken]
    ratio = {which: taken[which] / plain for which in taken}
    what, all_on = f"{name}, seconds", ratio["tost_paper"]
    rows.append(row(f"{what} with all tweaks by vanilla", "times", all_on, most=1.35))
    rows.append(row(f"{what} after the ghosts by vanilla", "times", ratio["after"]))
    taught = ratio["distillation"]
    rows.append(row(f"{what} with a teacher by vanilla", "times", taught))
    rows.append(row(f"{name}, compilations after the first steps", "", [again], most=0))
    what = f"{name}, epochs that {ITERATIONS} iterations of re-scaling take"
    epochs = searched / TIMED * ITERATIONS / (STEPS * plain)
    return [*rows, row(what, "", epochs, most=EPOCHS)]


def _searcher(parts, ticket) -> Callable:
    """Returns n -> the seconds of n short searches for the factors."""
    job = _job(parts, ticket, "tost_paper")

    def once():
        return measure.stopwatch(lambda: parts.prepare(job).params)[0]

    return lambda number: sum(once() for _ in range(number))


def _training(options):
    """Returns the config of the comparison, and random pixels for it."""
    config = files.default()
    config.model.name = "resnet18"
    config.train.update(batch_size=8 if options.smoke else 32, steps=END)
    config.eval_every = END
    config.optimizer.weight_decay = 2e-4
    config.search.levels, config.retraining.arms = 1, ARMS
    config.retraining.neurons.end = config.retraining.skips.end = 1.0
    if options.smoke:
        config.model.options = {"blocks": (1,), "channels": (4,)}
    config.retraining.rescaling.update(iterations=TIMED, bound=0.0)
    return config, noise("cifar100", 512)


def _ticket(parts):
    """Returns a ticket of 5 % of the weights, by magnitude."""
    params, model_state = parts.init_fn(jax.random.key(0))
    full = parts.masks_fn(params)
    magnitude = lthjax.scores.magnitude(params, full)
    kept = lthjax.pruning.prune(full, magnitude, 0.95)
    _, ticket = parts.search.init(jax.random.key(0), params, model_state, full)
    return ticket._replace(level=1, until=END, masks=kept)


def _job(parts, ticket, arm):
    dressed = parts.control(arm, jax.random.key(0), ticket)
    teacher = (ticket.params, ticket.model_state) if arm == "distillation" else None
    return Job(arm, Member(0), dressed, teacher)


def _stepper(parts, ticket, arm, at) -> Callable:
    """Returns steps -> seconds of one member from the step `at` on."""
    job = _job(parts, ticket, arm)
    states = members.stack([parts.begin(job.ticket)])
    fixed = members.stack([parts.handed(job)]), jax.random.split(jax.random.key(0), 1)
    return going_on(parts, states, [fixed], at, 2 * END)


PARTS = {"tweaks": tweaks}
