"""What a run consists of: its numbers, what a method is built on, its functions."""

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from lthjax.callables import ApplyFn, BeginFn, InitFn, MasksFn, TrainFn
from lthjax.data import in_memory
from lthjax.data import splits as splits_lib
from lthjax.program.build.data import RunData
from lthjax.program.workdir.measures import Measures
from lthjax.program.workdir.member import Member
from lthjax.pruning.bases import Bases
from lthjax.pruning.targets import Target
from lthjax.pruning.views import View
from lthjax.tickets import Search, Ticket, controls
from lthjax.tickets.controls import StartedFn
from lthjax.training.objective import CLASSIFICATION, Objective

# One number a use, so that adding a use never changes what another one draws.
STREAMS = {"init": 0, "data": 1, "search": 2, "reinit": 3, "shuffle": 4, "random": 5}
STREAMS |= {"ghosts": 6, "rescaling": 7, "shuffle_reinit": 8, "copies": 9}
OWN = 2**31  # in the number of any other name, with its checksum


class DataKind(NamedTuple):
    """What a network must know of a data set, as `data.facts.Facts` has it.

    Attributes:
      image_shape: (h, w, c), or the shape of an input that is no image.
      num_classes: Of the outputs.
      dtype: Of the inputs.
      label_shape: Of the labels of one example.
      label_dtype: Of the labels.
      mean: Of the pixels, by channel; empty where inputs are no images.
    """

    image_shape: tuple[int, ...]
    num_classes: int
    dtype: str = "float32"
    label_shape: tuple[int, ...] = ()
    label_dtype: str = "int32"
    mean: tuple[float, ...] = ()


class Training(NamedTuple):
    """A training of a chain.

    Attributes:
      arm: "search", "ticket", a control, or a way to retrain.
      level: Of its ticket.
      start: The step that it starts from; of a ticket that the data draw, the earliest.
      until: The step before which it stops; `None` where the data decide on it.
    """

    arm: str
    level: int
    start: int
    until: int | None


class Plan(NamedTuple):
    """The numbers of a run, known before any data is read.

    Attributes:
      train: Training examples.
      steps_per_epoch: Optimizer steps in a pass over them.
      steps: Optimizer steps of the dense training.
      eval_every: Steps between two validations.
      params: The number of all parameters.
      sizes: {name: number of weights} of the prunable layers.
      shapes: {name: shape} of them.
      targets: What each level keeps.
      views: {name: which axes are what} of all leaves of which it is known.
      trainings: All of a chain, the dense one first.
      beside: Numbers that bases keep beside the parameters of a network.
    """

    train: int
    steps_per_epoch: int
    steps: int
    eval_every: int
    params: int
    sizes: dict[str, int]
    shapes: dict[str, tuple[int, ...]]
    targets: tuple[Target, ...] = ()
    views: dict[str, View] = {}  # noqa: RUF012
    trainings: tuple[Training, ...] = ()
    beside: int = 0


class Ground(NamedTuple):
    """What a method is built on.

    Attributes:
      options: The validated config.
      method: The record of the method, `method.Method`.
      facts: What is known of the data set: image_shape, num_classes.
      plan: The numbers of the run; `targets` asks for those that are none yet.
      module: The network, a flax module.
      init_fn: key -> (params, model_state) of it.
      apply_fn: (params, model_state, images, train) -> (logits, model_state).
      shapes: Of all parameters.
      source: The data set; `None` where nothing is read, in dry runs and checks.
      objective: What is minimised and measured.
      bases: {name: what its coefficients are} of leaves that are not pruned as weights;
        `init_fn` and `apply_fn` are then of coefficients, `module` of weights.
    """

    options: Any
    method: Any
    facts: Any
    plan: Plan
    module: Any
    init_fn: InitFn
    apply_fn: ApplyFn
    shapes: Any
    source: in_memory.Source | None = None
    objective: Objective = CLASSIFICATION
    bases: Bases = {}  # noqa: RUF012


class Options(NamedTuple):
    """What the loop is asked for, none of which changes what a program computes.

    Attributes:
      members: The chains.
      controls: Tickets to compare with, names.
      studies: Figures beside the curve, names.
      measures: What is recorded, and which measure chooses the best step.
      teacher: A folder with the network to distil from; "": the run's own dense one.
      logging: `config.logging`.
      pooled: The levels whose tickets are averaged with their neighbours.
    """

    members: tuple[Member, ...]
    controls: tuple[str, ...]
    studies: tuple[str, ...]
    measures: Measures
    teacher: str
    logging: Any
    pooled: tuple[int, ...] = ()


class Parts(NamedTuple):
    """The functions and arrays of a run; after it no config is passed on.

    Attributes:
      plan: Its numbers.
      options: What is asked of the loop.
      init_fn: key -> (params, model_state) that the chain of a seed begins with.
      apply_fn: (params, model_state, images, train) -> (logits, model_state).
      masks_fn: params -> full masks.
      prune_fn: What its search draws masks by, as `Method.prune` gives it.
      tx: The optimizer.
      held: What a training's state holds beside the weights, in trees of them.
      begin: ticket -> training.State.
      run: (states, (masks, keys), span, start, stop) -> states, of a population whose
        tickets train over the steps `span`; `states` are given away.
      step: (states, (masks, keys, indices), lying, at) -> states: one step of that, as
        `RunData.stepper` has it, to be looked at by itself.
      search: The search, stepped member by member.
      control: (arm, key, ticket) -> ticket.
      started: (ticket, start) -> ticket, of the controls of `controls.STARTS`.
      data: The data on the devices, or what streams them.
      variants: {label: first state of a search -> that of the variant}.
      moving: Whether masks change while a network is trained.
      prepare: job -> ticket, what is done once before a job's training.
      handed: job -> what its steps are handed: masks.
      describe: (job, masks) -> more columns of its record.
      examine: (key, trained, level, record) -> (what the record of a round of the
        search adds, sentences on what makes it doubtful).
      arms: {(arm, level): the functions of what is retrained with tweaks}.
      objective: What is minimised and measured.
      of_sets: trained -> what is measured of whole sets, columns of its record.
      tables: trained -> the same of arrays, as lists.
      given: What a workdir goes on with that no config says: digests of given weights,
        of other runs' networks, and the devices that norms are over.
      pools: `pools.Pools`, what averages tickets with their neighbours, or `None`.
    """

    plan: Plan
    options: Options
    init_fn: InitFn
    apply_fn: ApplyFn
    masks_fn: MasksFn
    prune_fn: Any
    tx: Any
    held: float
    begin: BeginFn
    run: TrainFn
    step: Any
    search: Search
    control: Callable[[str, jax.Array, Ticket], Ticket]
    data: RunData
    variants: dict[Any, Callable[[Any], Any]]
    started: StartedFn = controls.started
    moving: bool = False
    prepare: Callable[[Any], Ticket] = lambda job: job.ticket
    handed: Callable[[Any], Any] = lambda job: job.ticket.masks
    describe: Callable[[Any, Any], dict] = lambda job, masks: {}
    examine: Callable[..., tuple[dict, list[str]]] | None = None
    arms: dict[tuple[str, int], Any] = {}  # noqa: RUF012
    objective: Objective = CLASSIFICATION
    of_sets: Callable[[Any], dict] = lambda trained: {}
    tables: Callable[[Any], dict] = lambda trained: {}
    given: dict = {}  # noqa: RUF012
    pools: Any = None


def kind(source: in_memory.Source) -> DataKind:
    """Returns the shapes and types, and the number of classes, of a loaded set."""
    return DataKind(
        splits_lib.image_shape(source.train),
        source.num_classes,
        splits_lib.input_dtype(source.train),
        *_of_labels(source.train),
        tuple(source.mean),
    )


def _of_labels(split):
    if isinstance(split, splits_lib.Stored):
        return split.label_shape, split.label_dtype
    return split.labels.shape[1:], str(split.labels.dtype)


def key(seed: int, stream: str) -> jax.Array:
    """Returns the PRNG key of one use of a seed: one of ours, or a user's control."""
    return key_of_use(jax.random.key(seed), stream)


def key_of_use(root: jax.Array, stream: str) -> jax.Array:
    """Returns the same of the key of a seed, from which all its uses are drawn."""
    number = STREAMS.get(stream, zlib.crc32(stream.encode()) | OWN)
    return jax.random.fold_in(root, number)
