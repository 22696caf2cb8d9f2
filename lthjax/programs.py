"""The compiled training of a population: a config, a network and the data in one."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from lthjax import cpu, dynamic, models, planning, training
from lthjax.data import augment, batches


def network(config, source) -> Callable:
    """Returns (params, model_state, images, train) -> (logits, model_state)."""
    module = planning.model(config, planning.kind(source))

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


def program(config, source, functions: tuple, every: int, shapes) -> Callable:
    """Returns the compiled training of a population, the data on the device.

    Args:
      config: A validated config.
      source: The data set.
      functions: What `network` returns, and the optimizer.
      every: Steps between two validations.
      shapes: The parameters of one network, or their shapes.

    Returns:
      (states, (masks, keys), span, start, stop) -> states; `states` are given away.
    """
    apply_fn, tx = functions
    prepare = preparation(source)

    def fetch(key, data, indices):
        images, labels = batches.take(data.train, indices)
        images = augment.augment(
            key, images, padding=config.data.crop, flip=config.data.flip
        )
        return prepare(images), labels

    def forward(state):
        return dynamic.forward(state.params, state.opt_state)

    step = training.step(training.supervised(apply_fn), tx, forward_fn=forward)
    measure = training.validation(
        training.evaluator(apply_fn, prepare), every=every, forward_fn=forward
    )
    batch, size = config.train.batch_size, len(source.train.labels)
    sizes = {"size": size, "batch_size": batch, "every": every}
    return _compiled(
        training.runner(step, fetch, measure, **sizes),
        _on_device(source, config.eval_batch),
        shapes,
        deterministic=config.deterministic,
    )


def _on_device(source, chunk):
    """Returns the splits as device arrays, those held out in chunks of that size."""
    held_out = [
        batches.chunks(split, chunk) for split in (source.validation, source.test)
    ]
    return jax.device_put([tuple(source.train), *held_out])


def _compiled(run_member, splits, shapes, *, deterministic):
    """Maps a member's run over a population, and compiles it for this backend."""
    options = cpu.compiler_options(shapes)
    if deterministic and jax.default_backend() == "gpu":
        options = {**options, "xla_gpu_deterministic_ops": True}
    run_all = training.population(run_member, one_by_one=training.one_by_one(shapes))
    compiled = jax.jit(
        lambda states, fixed, *shared: run_all((states, *fixed), *shared),
        donate_argnums=0,
        compiler_options=options or None,
    )

    def run(states, fixed, span, start, stop):
        return compiled(states, fixed, Data(span, *splits), start, stop)

    return run
