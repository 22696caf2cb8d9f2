"""The data of a run as its programs read them: on the device, or streamed."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from lthjax import dynamic
from lthjax.callables import EvaluationFn, FetchFn, PrepareFn, TrainFn
from lthjax.data import batches
from lthjax.data import splits as splits_lib
from lthjax.devices import backend, compilers, meshes
from lthjax.program.build import moved_images
from lthjax.training import evaluate as evaluate_lib
from lthjax.training import extras, members, steps, streamed
from lthjax.training.objective import CLASSIFICATION, HELD_OUT, Objective, columns

AS_GIVEN = 500  # images


class Lying(NamedTuple):
    """What a training reads: the steps it spans, and the splits on the device."""

    span: tuple[int, int]
    train: tuple = ()
    validation: tuple = ()
    test: tuple = ()


class RunData(NamedTuple):
    """The data of a run: resident or streamed, one interface.

    Attributes:
      mesh: The devices that populations are trained on.
      axis: The axis of it that batches are split over; `None` where they are not.
      prepare: uint8 images -> normalised images.
      fetch: (key, lying, indices) -> (images, labels): training examples, augmented
        and normalised.
      lying: What lies on the device, for `fetch`: nothing of what is streamed.
      trainer: (step, apply_fn, every, shapes, rule) -> the compiled training of a
        population, (states, (masks, keys), span, start, stop) -> states, which gives
        `states` away; `step` as `training.runner` takes it, `apply_fn` what is
        evaluated, every so many steps, `shapes` those of one network's parameters, and
        `rule` when a member stops, or `None`.
      stepper: (step, shapes) -> one step of a population, compiled where it is used:
        ((states, (masks, keys, indices), lying, at) -> states, or with a batch in the
        place of `lying`, of what is streamed, and the kind of key in that of indices.
      evaluation: (apply_fn, objective, sets) -> ((params, model_state) -> {measure:
        value} of the held-out sets, compiled), of the run's objective unless another is
        given; of the first `sets` of them, both or validation alone.
    """

    mesh: jax.sharding.Mesh
    axis: str | None
    prepare: PrepareFn
    fetch: FetchFn
    lying: Lying
    trainer: Callable[..., TrainFn]
    stepper: Callable[..., Any]
    evaluation: Callable[..., EvaluationFn]


def run_data(config, source, objective: Objective = CLASSIFICATION) -> RunData:
    """Returns the data of a run, the resident ones put on the device.

    Args:
      config: A validated config.
      source: The data set.
      objective: What is measured of it.

    Raises:
      ValueError: As `mesh`.
    """
    stored = isinstance(source.train, splits_lib.Stored)
    return (_streamed if stored else _resident)(config, source, objective)


def mesh(config) -> jax.sharding.Mesh:
    """Returns the mesh that a config's populations are trained on.

    Args:
      config: A validated config.

    Raises:
      ValueError: The devices are not there, or do not divide a batch.
    """
    found = meshes.mesh(config.mesh.ticket, config.mesh.data)
    parts = found.shape[meshes.DATA]
    for name, size in (
        ("train.batch_size", config.train.batch_size),
        ("eval_batch", config.eval_batch),
    ):
        if size % parts:
            raise ValueError(
                f"mesh.data must divide {name}, got mesh.data = {parts}, {name} = "
                f"{size}"
            )
    return found


def axis(config) -> str | None:
    """Returns the mesh axis that batches are split over, `None` where they are not."""
    return meshes.DATA if mesh(config).shape[meshes.DATA] > 1 else None


def chunk(config, source) -> int:
    """Returns how many images are evaluated at once: `eval_batch`, or all there are.

    That is the larger of the held-out splits, rounded up to what the devices divide:
    more were padding, which takes memory by itself. `AS_GIVEN` and fewer stay what they
    are, as another padding sums losses in another order.

    Args:
      config: A validated config.
      source: The data set.
    """
    if config.eval_batch <= AS_GIVEN:
        return config.eval_batch
    largest = max(splits_lib.size(x) for x in (source.validation, source.test))
    parts = mesh(config).shape[meshes.DATA]
    return min(config.eval_batch, -(-largest // parts) * parts)


def forward(state: steps.State) -> Any:
    """Returns the weights of the forward pass, whatever method trains them."""
    return dynamic.forward(state.params, extras.inner(state.opt_state))


class Resident(NamedTuple):
    """Data that lie on the device, and what is made of them.

    Attributes:
      config: A validated config.
      source: The data set.
      objective: What is measured of it.
      splits: The splits on the device, those held out in chunks of one size.
      axis: The mesh axis that batches are split over.
      prepare: uint8 images -> normalised images.
    """

    config: Any
    source: splits_lib.Source
    objective: Objective
    splits: list
    axis: str | None
    prepare: PrepareFn


def _resident(config, source, objective):
    """Returns the data as device arrays, those held out in chunks of one size."""
    taken = chunk(config, source)
    held_out = [
        batches.chunks(split, taken) for split in (source.validation, source.test)
    ]
    splits = jax.device_put([_rows(source.train), *held_out])
    prepare = moved_images.preparation(source)
    lies = Resident(config, source, objective, splits, axis(config), prepare)
    return RunData(
        mesh(config),
        lies.axis,
        prepare,
        _fetching(lies, None),
        Lying((0, 0), *splits),
        _training(lies),
        _stepping(lies),
        _evaluating(lies),
    )


def _rows(split):
    """Returns (inputs [n, numbers of one], labels) of a split, as it lies on a device.

    A TPU takes rows out of such a matrix as it is. Images it would first lay out anew,
    all of them, with four times their bytes.
    """
    return split.images.reshape(len(split.images), -1), split.labels


def _fetching(lies, axis_name):
    """Returns what takes a batch, as `RunData.fetch`, or its rows of this device."""
    given, shape = (lies.config, lies.source), lies.source.train.images.shape[1:]
    augmented = moved_images.augmentation(*given, axis_name=axis_name)
    follow = moved_images.following(*given, axis_name=axis_name)
    mix = moved_images.mixing(*given, axis_name=axis_name)

    def fetch(key, data, indices):
        rows = meshes.share(indices, axis_name)
        images, labels = batches.take(data.train, rows)
        images = augmented(key, images.reshape(-1, *shape))
        return mix(key, (images, follow(key, labels)))

    return fetch


def _training(lies):
    """Returns `RunData.trainer`."""
    config, size = lies.config, splits_lib.size(lies.source.train)
    measured = {"objective": lies.objective, "axis_name": lies.axis}

    def trainer(step, apply_fn, every, shapes, rule=None):
        evaluate = evaluate_lib.evaluator(apply_fn, lies.prepare, **measured)
        when = {"every": every, "forward_fn": forward, "rule": rule}
        measure = steps.validation(evaluate, **when)
        batch = config.train.batch_size
        sizes = {"size": size, "batch_size": batch, "every": every}
        one = steps.runner(step, _fetching(lies, lies.axis), measure, **sizes)
        compiled = _mapped(config, shapes, one)
        here = backend.absent()
        placed = lies.splits if here else meshes.copied(mesh(config), lies.splits)

        def run(states, fixed, span, start, stop):
            return compiled(states, fixed, Lying(span, *placed), start, stop)

        return run

    return trainer


def _stepping(lies):
    """Returns `RunData.stepper`."""

    def stepper(step, shapes):
        fetch = _fetching(lies, lies.axis)

        def one(member, data, at):
            state, masks, key, indices = member
            own = jax.random.fold_in(jax.random.split(key)[1], at)
            return step(state, masks, *fetch(own, data, indices), at)

        return _mapped(lies.config, shapes, one)

    return stepper


def _evaluating(lies):
    """Returns `RunData.evaluation`."""

    def evaluation(apply_fn, objective=lies.objective, sets=2):
        evaluate = evaluate_lib.evaluator(apply_fn, lies.prepare, objective=objective)

        @jax.jit
        def measure(params, model_state, held_out):
            rows = [evaluate(params, model_state, examples) for examples in held_out]
            values = [value for row in rows for value in row]
            names = columns(objective)[1:]
            wanted = names[: len(names) // len(HELD_OUT) * sets]
            return dict(zip(wanted, values, strict=True))

        held_out = lies.splits[1 : 1 + sets]
        return lambda params, model_state: measure(params, model_state, held_out)

    return evaluation


def _streamed(config, source, objective):
    """Returns the feed that brings batches of what stays on the disk."""
    sizes = config.train.batch_size, chunk(config, source)
    shared = {"axis_name": axis(config)}
    feed = streamed.feed(source, sizes, mesh(config), workers=config.data.workers)
    prepare = moved_images.preparation(source)
    augmented = moved_images.augmentation(config, source)
    follow = moved_images.following(config, source)
    mix = moved_images.mixing(config, source)

    def fetch(key, data, indices):
        del data
        images, labels = _called(source.train, indices)
        return mix(key, (augmented(key, images), follow(key, labels)))

    def trainer(step, apply_fn, every, shapes, rule=None):
        count = evaluate_lib.counter(apply_fn, prepare, objective)
        given = step, count, moved_images.augmentation(config, source, **shared)
        options = {"every": every, "forward_fn": forward, "objective": objective}
        options |= {"rule": rule}
        options |= {"follow_fn": moved_images.following(config, source, **shared)}
        options |= {"mix_fn": moved_images.mixing(config, source, **shared)}
        compile_fn = functools.partial(_mapped, config, shapes)
        return streamed.trainer(given, feed, compile_fn, **options, **shared)

    def stepper(step, shapes):
        moved = moved_images
        done = moved.augmentation, moved.following, moved.mixing
        one = streamed.stepped(step, *(f(config, source, **shared) for f in done))
        return _mapped(config, shapes, one, fed=True)

    def evaluation(apply_fn, objective=objective, sets=2):
        count = evaluate_lib.counter(apply_fn, prepare, objective)
        return streamed.evaluation(count, feed, objective, sets=sets)

    return RunData(
        mesh(config),
        axis(config),
        prepare,
        fetch,
        Lying((0, 0)),
        trainer,
        stepper,
        evaluation,
    )


def _called(split, indices):
    """Reads the examples at traced `indices` of a split that stays on the disk."""
    shapes = splits_lib.Split(
        jax.ShapeDtypeStruct((*indices.shape, *split.image_shape), split.dtype),
        jax.ShapeDtypeStruct((*indices.shape, *split.label_shape), split.label_dtype),
    )
    return jax.pure_callback(
        lambda taken: splits_lib.take(split, np.asarray(taken)), shapes, indices
    )


def _mapped(config, shapes, run_member, *, fed=False):
    """Maps a member's run over a population and the mesh, compiled for this backend."""
    how = {"dtype": config.model.dtype, "deterministic": config.deterministic}
    options = compilers.options(shapes, **how)
    run_all = members.population(run_member, together=members.together(shapes))
    return jax.jit(
        meshes.over(
            mesh(config),
            lambda states, fixed, *shared: run_all((states, *fixed), *shared),
            fed=fed,
        ),
        donate_argnums=0,
        compiler_options=options or None,
    )
