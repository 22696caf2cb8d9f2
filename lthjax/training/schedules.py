"""Which counts of an optimizer's state are steps of its schedules, and moving them.

A count is known by the type that holds it. One that a schedule alone goes by moves; the
count of moments, of a phase or of failures stays with what it counts; what counts for
both, and what is of no known type, is refused where it would matter.
"""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lthjax import values

# Fields of optax's states that a schedule alone counts by.
CLOCKS = {
    "AddNoiseState": ("count",),
    "ConditionallyMaskState": ("step",),
    "ConditionallyTransformState": ("step",),
    "InjectHyperparamsState": ("count",),
    "InjectStatefulHyperparamsState": ("count",),
    "MultiStepsState": ("mini_step", "gradient_step"),
    "SAMState": ("steps_since_sync",),
    "ScaleByScheduleState": ("count",),
    "WeightDecaySchedule": ("count",),
    "WrappedScheduleState": ("count",),
}
# Those whose counts belong to moments, memories, a phase of their own, or failures.
OWN = (
    "ApplyEvery",
    "ApplyIfFiniteState",
    "BacktrackingLinesearchInfo",
    "EmaState",
    "FactoredState",
    "GaLoreState",
    "LookaheadState",
    "MechanicState",
    "MuonState",
    "ScaleByAdamState",
    "ScaleByAdanState",
    "ScaleByAmsgradState",
    "ScaleByBeliefState",
    "ScaleByLBFGSState",
    "ScaleByLionState",
    "ScaleByNovogradState",
    "ScaleByRStdDevWithCountState",
    "ScaleByRmsWithCountState",
    "SophiaState",
    "ZoomLinesearchInfo",
)
# Those that count moments and a schedule of these arguments at once.
MIXED = {
    "DAdaptAdamWState": ("learning_rate",),
    "MadgradState": ("learning_rate",),
    "MomoAdamState": ("learning_rate",),
    "MomoState": ("learning_rate",),
    "ProdigyState": ("learning_rate",),
    "ScaleByAdemamixState": ("b3", "alpha"),
    "ScaleBySimplifiedAdEMAMixState": ("alpha",),
    "ScheduleFreeState": ("learning_rate",),
}
# Those whose inner optimizer does not take every step, and their phase.
PACED = {
    "ConditionallyMaskState": None,
    "ConditionallyTransformState": None,
    "MultiStepsState": "mini_step",
    "SAMState": "steps_since_sync",
}


def at_step(
    opt_state: Any,
    step: int | jax.Array,
    *,
    tx: optax.GradientTransformation | None = None,
    params: Any = None,
) -> Any:
    """Moves the schedules inside an optimizer state to a step, and nothing else.

    Rewinding restarts momentum from zero but the learning rate from where it was:
    `at_step(tx.init(params), rewind_to)`. Adam's own count belongs to its moments and
    stays at zero.

    Inside `optax.MultiSteps` and the like an update is not a step. How many there were
    is then what `tx` counts in as many steps of zero gradients, on one weight a leaf.

    A state of your own says which of its fields schedules count by, as an attribute of
    its class: `schedule_counts = ("count",)`, or `()`.

    Args:
      opt_state: The state of any optax optimizer.
      step: The optimizer step that comes next; may be traced.
      tx: The optimizer, which may be wrapped; for `optax.MultiSteps` and the like.
      params: Its parameters, or their shapes; with `tx`.

    Raises:
      ValueError: A count is that of moments and of a schedule at once (prodigy,
        schedule-free), or of an unknown type, and `step` is not 0; updates are counted
        otherwise than steps, and `tx` is not given, or an update is half done; or
        `step` is no whole number of at least 0.
    """
    step = values.whole("step", step, 0) if _concrete(step) else step
    marks, doubts, paced = marked(opt_state)
    zero = _concrete(step) and step == 0
    for text, count, first in doubts:
        if not (zero and _fresh(count, first)):
            raise ValueError(f"{text}, got step = {_shown(step)}; {_APART}")
    if not paced or zero:
        return jax.tree.map(
            lambda mark, x: _filled(x, step) if mark is True else x,
            marks,
            opt_state,
        )
    found = _counted(opt_state, step, tx, params, paced)
    return jax.tree.map(lambda mark, x, at: at if mark else x, marks, opt_state, found)


_APART = (
    "give what is scheduled from outside, as "
    "optax.inject_hyperparams(factory)(learning_rate=schedule), or, in a state of your "
    "own, the class attribute schedule_counts: the fields that schedules count by"
)


def marked(opt_state: Any) -> tuple[Any, list[tuple], list[str]]:
    """Returns what each leaf of an optimizer state is.

    Args:
      opt_state: The state, its counts not batched.

    Returns:
      (marks, doubts, paced): a tree of the state's structure that is True where a
      schedule counts steps, "phase" where updates are counted within one, False
      elsewhere; a (sentence, count, its first value) for each count that is not known
      to be either; the names of the states that do not step at every step.
    """
    doubts: list[tuple] = []
    paced: list[str] = []
    return _marked(opt_state, "", frozenset(), doubts, paced), doubts, paced


def unambiguous(opt_state: Any, what: str) -> Any:
    """Returns the marks of a state, all of whose counts are known to go step by step.

    Args:
      opt_state: The state.
      what: Who needs that, for the message.

    Raises:
      ValueError: One of them is not.
    """
    marks, doubts, paced = marked(opt_state)
    for text, _, _ in doubts:
        raise ValueError(f"{text}, got it inside of {what}; {_APART}")
    if paced:
        raise ValueError(
            f"every step must be an update of the optimizer inside of {what}, got "
            f"{paced[0]}; leave it out"
        )
    return marks


def _marked(node, owner, injected, doubts, paced):
    children, treedef = jax.tree.flatten(node, is_leaf=lambda n: n is not node)
    if len(children) == 1 and children[0] is node:
        if _is_count(node):
            doubts.append((_doubt(owner or "a bare count", ""), node, 0))
        return False
    name = type(node).__name__
    if name.startswith("Inject") and hasattr(node, "hyperparams"):
        injected |= set(node.hyperparams)
    if name in PACED and _optax(node):
        paced.append(name.removesuffix("State"))
    fields = getattr(node, "_fields", [f"[{i}]" for i in range(len(children))])
    found = [
        _of_field(node, field, child, injected, doubts)
        if _is_count(child) or _are_counts(node, field, child)
        else _marked(child, name, injected, doubts, paced)
        for field, child in zip(fields, children, strict=True)
    ]
    return jax.tree.unflatten(treedef, found)


def _of_field(node, field, count, injected, doubts):
    """Returns the mark of a count that is a field of a node."""
    name = type(node).__name__
    declared = getattr(type(node), "schedule_counts", None)
    if declared is not None:
        return field in declared
    if _optax(node) and name in CLOCKS:
        phase = field == PACED.get(name)
        return "phase" if phase else field in CLOCKS[name]
    if _optax(node) and name in OWN:
        return False
    if not (_optax(node) and name in MIXED and injected >= set(MIXED[name])):
        doubts.append((_doubt(name, field), count, field == "step_count"))
    return False


def _doubt(name, field):
    why = "are known to be of no schedule"
    if name in MIXED:
        why = (
            f"are of its moments alone, not of a schedule of {' or '.join(MIXED[name])}"
        )
    return (
        f"a schedule can be moved where the counts of {name} {why}"
        + f" (its field {field!r})" * bool(field)
    )


def _optax(node):
    return type(node).__module__.split(".")[0] == "optax"


def _is_count(leaf):
    if isinstance(leaf, bool) or not hasattr(leaf, "dtype"):
        return isinstance(leaf, int) and not isinstance(leaf, bool)
    return leaf.ndim == 0 and jnp.issubdtype(leaf.dtype, jnp.integer)


def _are_counts(node, field, leaf):
    """Says whether a leaf is the counts of a population, stacked in a known field."""
    if not hasattr(leaf, "dtype") or not jnp.issubdtype(leaf.dtype, jnp.integer):
        return False
    declared, name = getattr(type(node), "schedule_counts", None), type(node).__name__
    if declared is None and _optax(node) and name in MIXED:
        return True
    known = CLOCKS.get(name, ()) if _optax(node) else ()
    return field in (known if declared is None else declared)


def _fresh(count, first):
    """Says whether a count is at its beginning, as far as is known."""
    return not _concrete(count) or bool(np.all(np.asarray(count) == first))


def _concrete(x):
    return not isinstance(x, jax.core.Tracer | jax.ShapeDtypeStruct)


def _filled(count, step):
    """Returns a step in the shape and of the type of a count, which may be Python's."""
    return jnp.full(jnp.shape(count), step, jnp.result_type(count))


def _shown(step):
    return step if _concrete(step) else "a traced number"


def _counted(opt_state, step, tx, params, paced):
    """Returns the state of as many steps of zero gradients, on one weight a leaf."""
    if tx is None or params is None:
        raise ValueError(
            "at_step must know how many updates there are in as many steps, got a "
            f"state of {paced[0]} without its optimizer; call at_step(opt_state, step, "
            "tx=tx, params=params)"
        )
    ones = jax.tree.map(lambda w: jnp.ones((1,) * len(w.shape), w.dtype), params)
    masks = jax.tree.map(lambda w: jnp.ones(w.shape, bool), ones)
    zeros = jax.tree.map(jnp.zeros_like, ones)
    wants = inspect.signature(tx.update).parameters

    def one(at, state):
        extra = {
            name: x for name, x in (("masks", masks), ("step", at)) if name in wants
        }
        return tx.update(zeros, state, ones, **extra)[1]

    found = jax.jit(lambda n: jax.lax.fori_loop(0, n, one, tx.init(ones)))(step)
    if jax.tree.structure(found) != jax.tree.structure(opt_state):
        raise ValueError(
            "at_step must be given the optimizer of the state and its parameters, got "
            "a state of another structure"
        )
    _check_phase(found, step)
    return found


def _check_phase(state, step):
    """Refuses a step within an update, whose other gradients would be missing."""
    marks, _, paced = marked(state)
    pairs = zip(jax.tree.leaves(marks), jax.tree.leaves(state), strict=True)
    begun = [int(x) for mark, x in pairs if mark == "phase" and _concrete(x) and x != 0]
    if begun:
        raise ValueError(
            f"a training must begin between two updates of {paced[0]}, whose gradients "
            f"would be incomplete, got step = {step}, which is {begun[0]} after one"
        )
