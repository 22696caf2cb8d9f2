"""What a search method is: one record, all that the program knows of it."""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from lthjax.callables import ApplyFn, ControlFn, MasksFn, PriceFn, Schedule
from lthjax.program.build.parts import Ground, Training
from lthjax.pruning import masks as masks_lib
from lthjax.tickets import Search
from lthjax.tickets import controls as controls_lib
from lthjax.tickets.controls import StartedFn
from lthjax.training import optimizers

# The sections of a config of which a method reads what it names, and nothing else.
SECTIONS = ("search", "early_bird", "forward", "dynamic", "elastic", "transplant")


def _nothing(*given: Any, **more: Any) -> None:
    """Has nothing to say."""
    del given, more


def kept_weights(ground: Ground) -> MasksFn:
    """Returns params -> full masks, single weights, but of layers never pruned."""
    exclude = tuple(ground.options.search.exclude)
    return lambda params: masks_lib.full(params, exclude, include=include(ground))


def include(ground: Ground) -> str:
    """Returns the regular expression of what is prunable, by default the kernels."""
    return ground.options.search.include or masks_lib.KERNELS


def optimizer_options(ground: Ground) -> tuple[str, dict[str, Any]]:
    """Returns the name of the config's optimizer, and its options but for the rate."""
    options = ground.options.optimizer.to_dict()
    del options["learning_rate"]
    return options.pop("name"), options


def held_at_zero(ground: Ground, schedule: Schedule, exclude: tuple[str, ...]) -> Any:
    """Returns the config's optimizer, which holds pruned weights at zero."""
    del exclude
    name, options = optimizer_options(ground)
    return optimizers.build(name, schedule, **options)


def one_variant(ground: Ground) -> dict:
    """Returns the one variant of most methods: the search as it begins."""
    del ground
    return {None: lambda state: state}


class Method(NamedTuple):
    """All that the program knows of one search method, each field a function.

    `ground` is what it is built on, `parts.Ground`. A field that a method has nothing
    to say in keeps its default.

    Attributes:
      keys: The config keys of `SECTIONS` that it may read, or their beginnings; any
        other of them that is set is refused by name.
      targets: ground -> [Target], one a level; `LEARNT`: as many as are learnt.
      search: (ground, optimizer, prune) -> `tickets.Search`.
      spans: ground -> [Training]: the dense training, then the rounds and tickets of
        every level.
      check: ground -> None, which refuses what does not go together.
      masks: ground -> (params -> full masks).
      prune: ground -> what its search draws masks by, which is handed to `search`,
        `rehearse` and `columns`: (key, trained, target) -> masks of most, or `None`.
      rehearse: (ground, masks, prune) -> None, which tries a user's own functions on
        shapes, once the data are there.
      network: (ground, apply_fn) -> apply_fn, of what a round trains.
      penalty: ground -> ((params, model_state) -> what is added to the mean loss, or
        `None` for nothing), or `None`.
      schedule: (ground, step -> learning rate) -> step -> learning rate.
      optimizer: (ground, schedule, exclude) -> an optax transformation that takes
        masks; `exclude` are layers never pruned beside those of the config.
      carried: (ground, optimizer, ticket, key) -> the optimizer's state that a ticket
        begins with, or `None` for a fresh one; given where masks move in training.
      held: Trees of weights that the state of a round holds beside the optimizer's.
      members: ground -> {label: first state of a search -> that of the variant}, what
        is trained as one population; the label is a first logit, or `None`.
      columns: (ground, optimizer, prune) -> ((evaluate, key, trained, level, record) ->
        (more columns of a round's record, sentences on what makes it doubtful)), where
        evaluate is (params, model_state) -> {measure: value}; or `None`.
      controls: ground -> {name: (key, ticket, init_fn) -> ticket}, of controls beside
        those of `tickets.controls`.
      started: ground -> ((ticket, start) -> ticket), of the controls that start from
        weights of their own seed, as `tickets.controls.started`.
      shrink: config -> None, which makes its own keys small, for tests and `--smoke`.
      ground: ground -> ground, whose functions are of other parameters than weights.
      counts: ground -> ((job, masks) -> more columns of the record of a ticket).
      taken: ground -> {what it is: the folder of another run's network}, of all that
        the search takes from there; a workdir goes on with the same ones only.
    """

    keys: tuple[str, ...]
    targets: Callable[[Ground], list]
    search: Callable[[Ground, Any, Any], Search]
    spans: Callable[[Ground], list[Training]]
    check: Callable[[Ground], None] = _nothing
    masks: Callable[[Ground], MasksFn] = kept_weights
    prune: Callable[[Ground], Any] = _nothing
    rehearse: Callable[[Ground, MasksFn, Any], None] = _nothing
    network: Callable[[Ground, ApplyFn], ApplyFn] = lambda ground, apply_fn: apply_fn
    penalty: Callable[[Ground], PriceFn | None] = _nothing
    schedule: Callable[[Ground, Schedule], Schedule] = lambda ground, schedule: schedule
    optimizer: Callable[[Ground, Schedule, tuple[str, ...]], Any] = held_at_zero
    carried: Callable[[Ground, Any, Any, jax.Array], Any] | None = None
    held: int = 0
    members: Callable[[Ground], dict] = one_variant
    columns: Callable[[Ground, Any, Any], Any] = _nothing
    shrink: Callable[[Any], None] = _nothing
    controls: Callable[[Ground], dict[str, ControlFn]] = lambda ground: {}
    started: Callable[[Ground], StartedFn] = lambda ground: controls_lib.started
    ground: Callable[[Ground], Ground] = lambda ground: ground
    counts: Callable[[Ground], Any] = lambda ground: lambda job, masks: {}
    taken: Callable[[Ground], dict[str, pathlib.Path]] = lambda ground: {}
