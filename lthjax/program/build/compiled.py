"""The compiled training of a population: a config, a network and the data in one."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from lthjax import dynamic, models
from lthjax.data import augment, batches
from lthjax.data import splits as splits_lib
from lthjax.devices import cpu_convolutions, meshes
from lthjax.program.build import plan
from lthjax.training import steps, streamed

AS_GIVEN = 500  # images


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
    parts = config.mesh.data
    return min(config.eval_batch, -(-largest // parts) * parts)


def axis(config) -> str | None:
    """Returns the mesh axis that batches are split over, `None` where they are not."""
    return meshes.DATA if mesh(config).shape[meshes.DATA] > 1 else None


def network(config, source, *, axis_name: str | None = None) -> Callable:
    """Returns (params, model_state, images, train) -> (logits, model_state).

    Args:
      config: A validated config.
      source: The data set.
      axis_name: The mesh axis over which batch norm averages in training.
    """
    module = plan.model(config, plan.kind(source), axis_name=axis_name)

    def apply_fn(params, model_state, images, train):
        return models.apply(module, params, model_state, images, train=train)

    return apply_fn


def preparation(source) -> Callable:
    """Returns uint8 images -> normalised images."""
    return lambda images: augment.normalise(images, source.mean, source.std)


class Data(NamedTuple):
    """What a training reads: the steps it spans, and the splits on the device."""

    span: tuple[int, int]
    train: tuple
    validation: tuple
    test: tuple


def pipeline(
    config, source, *, axis_name: str | None = None
) -> tuple[Callable, Callable]:
    """Returns what becomes of images: (prepare, fetch).

    `prepare` normalises uint8 images; `fetch`, (key, data, indices) -> (images,
    labels), takes training examples, augments and normalises them. What is streamed is
    read by the host meanwhile, photographs in their middle.

    Args:
      config: A validated config.
      source: The data set.
      axis_name: The mesh axis that the batch is split over; `fetch` then takes the
        indices of the whole batch and returns this device's rows.
    """
    augmented = augmentation(config, source, axis_name=axis_name)

    def fetch(key, data, indices):
        rows = meshes.share(indices, axis_name)
        if isinstance(source.train, splits_lib.Stored):
            images, labels = _called(source.train, rows)
        else:
            images, labels = batches.take(data.train, rows)
        return augmented(key, images), labels

    return preparation(source), fetch


def augmentation(config, source, *, axis_name: str | None = None) -> Callable:
    """Returns (key, uint8 images) -> images cropped, flipped and normalised.

    Only normalised, where the host has cropped and flipped what it has read.

    Args:
      config: A validated config.
      source: The data set.
      axis_name: The mesh axis that the batch is split over; the images are then the
        rows of this device.
    """
    flip = config.data.flip and not getattr(source.train, "augmented", False)
    options = {"padding": config.data.crop, "flip": flip, "axis_name": axis_name}
    normalise = preparation(source)
    return lambda key, images: normalise(augment.augment(key, images, **options))


def _called(split, indices):
    """Reads the examples at traced `indices` of a split that stays on the disk."""
    shapes = splits_lib.Split(
        jax.ShapeDtypeStruct((*indices.shape, *split.image_shape), "uint8"),
        jax.ShapeDtypeStruct(indices.shape, "int32"),
    )
    return jax.pure_callback(
        lambda taken: splits_lib.take(split, np.asarray(taken)), shapes, indices
    )


def forward(state: steps.State) -> Any:
    """Returns the weights of the forward pass, whatever method trains them."""
    return dynamic.forward(state.params, state.opt_state)


def program(
    config, source, splits: list, functions: tuple, *, every: int, shapes: Any
) -> Callable:
    """Returns the compiled ordinary training of a population, as `trainer`.

    Args:
      config: A validated config.
      source: The data set.
      splits: It on the device.
      functions: The network, as `network` returns it, the objective of its training,
        and the optimizer.
      every: Steps between two validations.
      shapes: The parameters of one network, or their shapes.
    """
    apply_fn, objective, tx = functions
    step = steps.step(objective, tx, forward_fn=forward, axis_name=axis(config))
    pair = step, apply_fn
    return trainer(config, source, splits, pair, every=every, shapes=shapes)


def trainer(
    config, source, splits: list, functions: tuple, *, every: int, shapes: Any
) -> Callable:
    """Returns the compiled training of a population, over the config's mesh.

    Args:
      config: A validated config.
      source: The data set.
      splits: It on the device.
      functions: (step, network): a step as `training.runner` takes it, which averages
        over `axis(config)`, and the network that is evaluated.
      every: Steps between two validations.
      shapes: The parameters of one network, or their shapes.

    Returns:
      (states, (masks, keys), span, start, stop) -> states; `states` are given away.
    """
    step, apply_fn = functions
    shared = {"axis_name": axis(config)}
    prepare, fetch = pipeline(config, source, **shared)
    if isinstance(splits, streamed.Feed):
        count = steps.counter(apply_fn, prepare)
        given = step, count, augmentation(config, source, **shared)
        options = {"every": every, "forward_fn": forward, **shared}
        compile_fn = functools.partial(_mapped, config, shapes)
        return streamed.trainer(given, splits, compile_fn, **options)
    evaluate = steps.evaluator(apply_fn, prepare, **shared)
    measure = steps.validation(evaluate, every=every, forward_fn=forward)
    batch, size = config.train.batch_size, splits_lib.size(source.train)
    sizes = {"size": size, "batch_size": batch, "every": every}
    compiled = _mapped(config, shapes, steps.runner(step, fetch, measure, **sizes))
    placed = meshes.copied(mesh(config), splits)

    def run(states, fixed, span, start, stop):
        return compiled(states, fixed, Data(span, *placed), start, stop)

    return run


def evaluation(config, source, splits: list, apply_fn: Callable) -> Callable:
    """Returns (params, model_state) -> {metric: value} of the held-out sets, compiled.

    Args:
      config: A validated config.
      source: The data set.
      splits: It on the device.
      apply_fn: The network.
    """
    prepare, _ = pipeline(config, source)
    if isinstance(splits, streamed.Feed):
        return streamed.evaluation(steps.counter(apply_fn, prepare), splits)
    evaluate = steps.evaluator(apply_fn, prepare)

    @jax.jit
    def measure(params, model_state, held_out):
        pairs = [evaluate(params, model_state, examples) for examples in held_out]
        values = [value for pair in pairs for value in pair]
        return dict(zip(steps.METRICS[1:], values, strict=True))

    return lambda params, model_state: measure(params, model_state, splits[1:])


def on_device(config, source) -> Any:
    """Returns the splits as device arrays, those held out in chunks of one size.

    Of a source that stays on the disk, the feed that brings its batches.

    Args:
      config: A validated config.
      source: The data set.
    """
    taken = chunk(config, source)
    if isinstance(source.train, splits_lib.Stored):
        sizes = config.train.batch_size, taken
        return streamed.feed(source, sizes, mesh(config), workers=config.data.workers)
    held_out = [
        batches.chunks(split, taken) for split in (source.validation, source.test)
    ]
    return jax.device_put([tuple(source.train), *held_out])


def resident(splits: Any) -> Data:
    """Returns what lies on the device, for `fetch`: nothing of what is streamed."""
    lying = not isinstance(splits, streamed.Feed)
    return Data((0, 0), *(splits if lying else ((),) * 3))


def _mapped(config, shapes, run_member, *, fed=False):
    """Maps a member's run over a population and the mesh, compiled for this backend."""
    options = cpu_convolutions.compiler_options(shapes)
    if config.deterministic and jax.default_backend() == "gpu":
        options = {**options, "xla_gpu_deterministic_ops": True}
    run_all = steps.population(run_member, together=steps.together(shapes))
    return jax.jit(
        meshes.over(
            mesh(config),
            lambda states, fixed, *shared: run_all((states, *fixed), *shared),
            fed=fed,
        ),
        donate_argnums=0,
        compiler_options=options or None,
    )
