"""The arm "pools" of a run: once its tickets are trained, averages of each seed's."""

import logging
import time
from typing import Any

from lthjax.devices import processes
from lthjax.program import progress
from lthjax.program.build import pools as pools_lib
from lthjax.program.build import spans
from lthjax.program.run import missing, outcome, recording, search_progress
from lthjax.program.run.population import Job, Population
from lthjax.program.workdir import layout, results
from lthjax.program.workdir.member import Member
from lthjax.retraining.arms import POOLS
from lthjax.retraining.pools import Pool
from lthjax.saving.tickets import save_trained
from lthjax.tickets import Trained

log = logging.getLogger(__name__)


def check(this: Any) -> None:
    """Checks that the networks were kept that averages are of.

    Args:
      this: An `experiment.Run` whose chains have begun.

    Raises:
      ValueError: One was not; nothing has been trained since.
    """
    for level, one in _ended(this):
        if not layout.trained_path(this.root, "ticket", one, level).exists():
            raise ValueError(
                "pools are of the trained networks of all levels, which a run keeps "
                f"from where the arm is asked for, got retraining.arms with {POOLS!r} "
                f"and a training of level {level}, {one.text}, that ended before; take "
                "another workdir, or leave it out"
            )


def absent(this: Any) -> list[tuple[int, Member]]:
    """Returns (level, member) of the averages to be made of chains that have ended.

    Args:
      this: An `experiment.Run`.
    """
    pooled, chains = this.parts.options.pooled, this.chains.items()
    if not pooled:
        return []
    ended = [one for one, (_, ticket) in chains if ticket is None]
    known = {one: _levels(this, one) for one in ended if one not in this.behind}
    rows = [(level, one) for one in known for level in pooled if level in known[one]]
    there = missing.recorded(this.root).whole
    return [row for row in rows if _identity(*row) not in there]


def fill(this: Any, asked: Any) -> None:
    """Makes the averages that are absent, saves and records them, one after the other.

    Args:
      this: An `experiment.Run`.
      asked: An event; once it is set, what is not recorded is left for the next time.

    Raises:
      Interrupted: `asked` was set.
    """
    networks: dict[int, Trained] = {}
    last = None
    for level, one in sorted(absent(this), key=lambda row: list(row[1])):
        if one != last:
            networks = {n: _network(this, one, n) for n in _levels(this, one)}
        last, began = one, time.monotonic()
        found = this.parts.pools.pool(networks, level, _validation(this, asked))
        _record(this, (level, one), (list(networks), found), time.monotonic() - began)


def _ended(this):
    """Yields (level, member) of what was trained to its end before this sitting."""
    chains = this.chains if this.parts.options.pooled else ()
    for one in (one for one in chains if one not in this.behind):
        own = [row for row in this.done[one] if not row.searching]
        whole = {row.level for row in own if row.until >= this.parts.plan.steps}
        yield from ((level, one) for level in sorted(whole & {*_levels(this, one)}))


def _levels(this, one):
    """Returns the levels of a chain whose networks go into its averages."""
    plan, records = this.parts.plan, results.read(this.root / results.RESULTS)
    last = search_progress.last(records, one, len(plan.targets))
    return pools_lib.levels(plan, last)


def _identity(level, one):
    return results.identity({"level": level, "arm": POOLS, **one.identity})


def _network(this, one, level):
    return layout.load_trained(this.root, "ticket", one, level)


def _validation(this, asked):
    """Returns (params, model_state) -> what chooses an average; it stops when asked."""
    column = f"validation_{this.parts.options.measures.best_by}"

    def evaluate(params, model_state):
        (wish,) = processes.largest(asked.is_set())
        if wish:
            raise progress.Interrupted(
                "stopped while tickets were averaged; the same command goes on from "
                "there"
            )
        return this.parts.pools.validate(params, model_state)[column]

    return evaluate


def _record(this, row, made, seconds):
    """Saves an average, appends its record and its one point, and says of what."""
    (level, one), (levels, found) = row, made
    root, parts, measures = this.root, this.parts, this.parts.options.measures
    ticket = layout.load_ticket(root, one, level)._replace(masks=found.trained.masks)
    end = spans.span(parts.plan, level)[1]  # of a dense ticket its beginning is saved
    job = Job(POOLS, one, ticket._replace(step=end, until=end))
    path = layout.trained_path(root, POOLS, one, level)
    save_trained(path, found.trained, level=level, arm=POOLS, **one.identity)
    curve = _point(parts, job, found, seconds)
    results.append(
        root / results.CURVES, [curve], (*results.IDENTITY, "start"), this.run
    )
    taken = [[levels[i], alpha] for i, alpha in found.taken]
    more = parts.pools.describe(job, ticket.masks) | {"pooled": taken}
    more |= outcome.of_sets(parts, found.trained)
    given = _alone(job), [ticket.masks], [curve], measures, [more]
    rows = recording.rows(*given, views=parts.plan.views)
    results.append(root / results.RESULTS, rows, run=this.run)
    for writer in this.writers:
        values = {name: rows[0][name] for name in measures.columns[1:]}
        writer.points(recording.where(job), end, values)
        writer.finished(recording.where(job), rows[0])
    log.info("%s", _text(level, one, found, (levels, measures)))


def _point(parts, job, found: Pool, seconds):
    """Returns the learning curve of an average: one point, without a training loss."""
    measured = parts.pools.evaluate(found.trained.params, found.trained.model_state)
    values = {name: round(float(x), 6) for name, x in measured.items()}
    end, loss = job.ticket.until, parts.options.measures.columns[0]
    head = {"level": job.ticket.level, "arm": job.arm, **job.member.identity}
    curve = head | {"start": end, "seconds": round(seconds, 3), "step": [end]}
    return curve | {loss: [None]} | {name: [value] for name, value in values.items()}


def _alone(job):
    return Population([job], None, None, None, job.ticket.until, 0.0)


def _text(level, one, found, known):
    levels, measures = known
    own = ", ".join(f"{levels[i]} ({1 - alpha:.2f})" for i, alpha in found.taken)
    name = f"validation {measures.best_by.replace('_', ' ')}"
    values = f"{found.before:.4g} to {found.value:.4g}"
    head = f"level {level}, {one.text}: averaged with levels {own or 'none'}"
    return f"{head}, {name} {values}"
