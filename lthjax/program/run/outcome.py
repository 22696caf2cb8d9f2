"""What a trained population leaves in the workdir: networks, curves, records."""

import logging
from typing import Any

from lthjax.program.build import retraining as arms
from lthjax.program.build import spans
from lthjax.program.build.parts import Parts, key
from lthjax.program.report import run_report
from lthjax.program.run import missing, recording
from lthjax.program.run import population as population_lib
from lthjax.program.run.population import Population
from lthjax.program.workdir import layout, results
from lthjax.saving.tickets import save_trained
from lthjax.training import members
from lthjax.training import steps as training_steps

log = logging.getLogger(__name__)

REPORT_SECONDS = 30  # a level that takes longer is worth new figures at once


def keep(this: Any, population: Population) -> None:
    """Saves what arms, and the tickets beside them, are deployed as.

    And the dense network, where a control starts from what it is trained to.

    Args:
      this: The `experiment.Run`.
      population: What is trained.
    """
    level, plan = population.ticket.level, this.parts.plan
    if not level and population.ticket.until < spans.dense(plan):
        return  # to where tickets are rewound to
    own = this.parts.arms
    wanted = {*own} | {("ticket", n) for _, n in own}
    asked = this.parts.options
    if asked.pooled:
        wanted |= {("ticket", n) for n in range(len(plan.targets) + 1)}
    if own or "trained" in asked.controls:
        wanted |= {("ticket", 0)}
    for i, job in enumerate(population.jobs):
        if (job.arm, level) in wanted:
            path = layout.trained_path(this.root, job.arm, job.member, level)
            state = members.member(population.states, i)
            found = arms.stripped(state, job)
            own = {"level": level, "arm": job.arm, **job.member.identity}
            save_trained(path, found, **own)


def record(this: Any, parts: Parts, population: Population) -> None:
    """Appends the learning curves, and the records of what is trained to its end.

    Args:
      this: The `experiment.Run`.
      parts: The functions that the population was trained by.
      population: What is trained.
    """
    span = population.ticket.step, population.ticket.until
    steps = training_steps.points(*span, this.parts.plan.eval_every)
    keys = (*results.IDENTITY, "start")
    points = recording.curves(population, steps, this.parts.options.measures)
    results.append(this.root / results.CURVES, points, keys, this.run)
    if population.ticket.until >= this.parts.plan.steps:
        _record_ends(this, parts, population)
        if population.seconds > REPORT_SECONDS:
            run_report.write(this.root)


def of_sets(parts: Parts, trained: Any) -> dict:
    """Returns what a record says of whole sets: measures that are no means, and tables.

    Args:
      parts: The functions of the run, or of an arm.
      trained: What is deployed.
    """
    found = {} if parts.objective.of_set is None else parts.of_sets(trained)
    return found | (parts.tables(trained) if parts.objective.tables else {})


def _record_ends(this, parts, population):
    measures, drawn = this.parts.options.measures, this.root / results.CURVES
    count = range(len(population.jobs))
    masks = [population_lib.ended(population, i) for i in count]
    more = [
        {} if job.ticket.searching else _described(this, parts, job, kept)
        for job, kept in zip(population.jobs, masks, strict=True)
    ]
    if parts.objective.of_set is not None or parts.objective.tables:
        ends = (population_lib.deployed(population, i) for i in count)
        more = [row | of_sets(parts, end) for row, end in zip(more, ends, strict=True)]
    rows = recording.rows(
        population,
        masks,
        results.read(drawn),
        measures,
        more,
        views=this.parts.plan.views,
    )
    rows = [_examined(this, population, i, row) for i, row in enumerate(rows)]
    missing.say_changes(this.root, rows, measures)
    results.append(this.root / results.RESULTS, rows, run=this.run)
    for job, row in zip(population.jobs, rows, strict=True):
        for writer in this.writers:
            writer.finished(recording.where(job), row)


def _described(this, parts, job, kept):
    """Returns what the search, of its own tickets, and an arm add to a record."""
    own = job.arm == job.ticket.arm
    found = this.chains[job.member][0], job.ticket
    return parts.describe(job, kept) | (parts.search.describe(*found) if own else {})


def _examined(this, population, index, row):
    """Returns a record, of a round with what its masks are like."""
    job = population.jobs[index]
    if not job.ticket.searching:
        return row
    trained = population_lib.trained(population, index)
    given = key(job.seed, "search"), trained, job.ticket.level, row
    columns, doubts = this.parts.examine(*given)
    for text in doubts:
        log.warning("level %d, %s: %s", job.ticket.level, job.member.text, text)
    return row | columns
