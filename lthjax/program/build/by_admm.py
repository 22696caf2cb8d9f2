"""The method whose rounds pull the trained dense network to a sparse copy: ADMM."""

import jax

from lthjax.callables import Schedule
from lthjax.dynamic import multipliers
from lthjax.program.build import levels, round_columns
from lthjax.program.build.method import Method, optimizer_options
from lthjax.program.build.parts import Ground, Training
from lthjax.program.build.spans import chain
from lthjax.pruning import masks as masks_lib
from lthjax.tickets import Search, Trained
from lthjax.tickets.rounds import Rounds, from_dense
from lthjax.tickets.rounds import span as round_span
from lthjax.training import optimizers


def optimizer(ground: Ground, schedule: Schedule, exclude: tuple[str, ...]):
    """Returns the config's optimizer, which in a round pulls weights to their copy.

    Args:
      ground: What the method is built on.
      schedule: step -> learning rate.
      exclude: Not used.

    Raises:
      ValueError: As `dynamic.admm`.
    """
    del exclude
    asked, (name, options) = ground.options.search.admm, optimizer_options(ground)
    return multipliers.admm(
        optimizers.unwrapped(name, schedule, **options),
        steps=ground.plan.steps,
        updates=asked.steps,
        rho=asked.rho,
        last=asked.last,
    )


def rounds(ground: Ground, tx) -> Rounds:
    """Returns the rounds: each from the dense network, to the support of the copy.

    Args:
      ground: What the method is built on.
      tx: The optimizer.
    """
    targets = ground.plan.targets

    @jax.jit
    def begin(params, masks, kept):
        return multipliers.begin(tx.init(params), params, masks, kept)

    def started(trained, level):
        amount = targets[level - 1].amount if targets else 0
        state = begin(trained.params, trained.masks, amount)
        return Trained(*trained[:3], state)

    @jax.jit
    def support(opt_state):
        return multipliers.support(opt_state)

    def harvest(key, trained, level):
        del key, level
        masks = support(trained.opt_state)
        params = masks_lib.apply(trained.params, masks)
        return Trained(params, trained.model_state, masks)

    return Rounds(
        open=lambda key, *network: started(Trained(*network), 1),
        again=lambda key, trained, level: started(trained, level),
        weights=lambda trained: (trained.params, trained.model_state),
        harvest=harvest,
    )


def search(ground: Ground, tx, prune_fn) -> Search:
    """Returns the search of a config.

    Args:
      ground: What the method is built on.
      tx: The optimizer.
      prune_fn: Not used: the rounds give the masks.

    Raises:
      ValueError: As `tickets.rounds.from_dense`.
    """
    del prune_fn
    asked, plan = ground.options.search, ground.plan
    return from_dense(
        rounds(ground, tx),
        levels=len(plan.targets),
        steps=plan.steps,
        rewind_to=asked.rewind_to,
        restart=asked.restart,
    )


def spans(ground: Ground) -> list[Training]:
    """Returns the dense training, and each level's round and ticket.

    Args:
      ground: What the method is built on.

    Raises:
      ValueError: As `tickets.rounds.span`.
    """
    asked, plan = ground.options.search, ground.plan
    own = round_span(plan.steps, asked.rewind_to, asked.restart, "rewind_to")
    return chain(plan, own, rounds=True)


def columns(ground: Ground, tx, prune_fn):
    """Returns what the record of a round has beside, as `round_columns.examiner`.

    `residual` is how far weights ended from their copy, in lengths of theirs.

    Args:
      ground: What the method is built on.
      tx: The optimizer.
      prune_fn: Not used.
    """
    del prune_fn
    apart = jax.jit(multipliers.residual)

    def more(ground, trained, row):
        del ground, row
        return {"residual": round(float(apart(trained.params, trained.opt_state)), 6)}

    return round_columns.examiner(rounds(ground, tx), ground, more)


def _shrink(config):
    config.search.admm.steps = min(config.search.admm.steps, 2)


METHODS = {
    "admm": Method(
        keys=(*levels.KEYS, "search.rewind_to", "search.restart", "search.admm"),
        targets=levels.targets,
        search=search,
        spans=spans,
        optimizer=optimizer,
        held=2,  # the copy and the dual variable
        columns=columns,
        shrink=_shrink,
    )
}
