"""What it costs to score: each score beside a training step, SynFlow, RigL."""

import functools
import time

import jax
import jax.numpy as jnp

import lthjax
from lthjax.devices import measure
from lthjax.program.build import criterion, plan
from lthjax.program.config import files
from lthjax.tickets import Trained
from measures.timed.rows import Row, row
from measures.timed.steps import moving, noise, pruned, trainer

NETWORKS = {"resnet18": ("cifar10", {}), "resnet50_imagenet": ("imagenet", {})}
SMALL = {"resnet20": ("cifar10", {"channels": (4,), "blocks": (1,)})}
SCORES = ("magnitude", "snip", "taylor", "grasp", "synflow")
BATCH = {"cpu": 8, "gpu": 128, "tpu": 128}


def scores(options) -> list[Row]:
    """Measures each score once, beside one training step of the same batch."""
    rows = []
    for name, (data, given) in (SMALL if options.smoke else NETWORKS).items():
        config, source = _setting(name, data, given, options)
        ground = plan.of(config, source)
        params, model_state = ground.init_fn(jax.random.key(0))
        trained = Trained(params, model_state, lthjax.masks.full(params))
        draw = criterion.drawing(config, source)
        examples = jax.block_until_ready(draw(jax.random.key(0)))
        contenders = {"step": _step(ground.apply_fn, trained, examples)}
        for score in SCORES:
            config.search.score = score
            scored = jax.jit(criterion.scorer(ground))
            arguments = jax.random.key(0), trained, trained.masks, examples
            contenders[score] = functools.partial(_repeated, scored, arguments)
        taken = measure.in_turns(contenders, min(options.rounds, 5), options.seconds)
        batch = config.train.batch_size
        for score in SCORES:
            ratio = taken[score] / taken["step"]
            what = f"{name}, {score} by a training step, batch {batch}"
            rows += [row(f"{name}, {score}, batch {batch}", "s", taken[score])]
            rows += [row(what, "times", ratio)]
    return rows


def synflow(options) -> list[Row]:
    """Measures a round of SynFlow: its score by forward and backward, its selection."""
    name, data = "resnet20", "cifar10"
    given = SMALL[name][1] if options.smoke else {}
    config, source = _setting(name, data, given, options)
    config.search.score = "synflow"
    ground = plan.of(config, source)
    network = ground.apply_fn
    params, model_state = ground.init_fn(jax.random.key(0))
    trained = Trained(params, model_state, lthjax.masks.full(params))
    total = lthjax.masks.count(trained.masks)[1]
    arguments = jax.random.key(0), trained, trained.masks, None
    scored = jax.jit(criterion.scorer(ground))
    image = jnp.ones((1, *source.train.images.shape[1:]))

    @jax.jit
    def both_ways(params):
        return jax.grad(lambda p: jnp.sum(network(p, model_state, image, False)[0]))(
            params
        )

    contenders = {
        "score": functools.partial(_repeated, scored, arguments),
        "both ways": functools.partial(_repeated, both_ways, (params,)),
        "selection": functools.partial(
            _repeated, pruned, (params, trained.masks, total // 2)
        ),
    }
    taken = measure.in_turns(contenders, options.rounds, options.seconds)
    ratio = taken["score"] / taken["both ways"]
    what = f"synflow, {name}: a round's score by forward and backward, batch 1"
    return [
        row(what, "times", ratio, most=1.2),
        row(f"synflow, {name}: a round's score", "s", taken["score"]),
        row(f"synflow, {name}: a round's selection", "s", taken["selection"]),
    ]


def rigl(options) -> list[Row]:
    """Measures RigL's step between two changes by the masked step."""
    rows = []
    for name in ("lenet",) if options.smoke else ("lenet", "resnet20"):
        ours = {
            "rigl": moving(name, options),
            "masked": trainer(name, options),
        }
        for run in ours.values():
            run(1)
        taken = measure.in_turns(ours, options.rounds, options.seconds)
        ratio = taken["rigl"] / taken["masked"]
        rows.append(row(f"{name}, seconds RigL by masked", "times", ratio, most=1.03))
    return rows


def _setting(name, data, given, options):
    """Returns the config of a network, and random pixels for it."""
    config = files.default()
    config.model.name, config.model.options = name, given
    batch = 4 if options.smoke else BATCH[jax.default_backend()]
    config.train.update(batch_size=batch, steps=1)
    return config, noise(data, batch)


def _step(network, trained, examples):
    """Returns times -> seconds of so many masked steps of SGD."""
    images, labels = (x[0] for x in examples)
    tx = lthjax.training.optimizers.build("sgd", 0.1)

    def apply_fn(params, model_state, images, train):
        return network(params, model_state, images, train)

    step = jax.jit(
        lthjax.training.step(lthjax.training.supervised(apply_fn), tx),
        compiler_options=lthjax.devices.cpu_convolutions.compiler_options(
            trained.params
        )
        or None,
    )
    state = lthjax.training.State(
        trained.params,
        trained.model_state,
        tx.init(trained.params),
        jnp.zeros(()),
        jnp.zeros((0, len(lthjax.training.COLUMNS))),
    )
    return functools.partial(_repeated, step, (state, trained.masks, images, labels))


def _repeated(fn, arguments, times):
    """Returns the seconds of so many calls, one after the other."""
    began = time.perf_counter()
    for _ in range(times):
        jax.block_until_ready(fn(*arguments))
    return time.perf_counter() - began


PARTS = {"scores": scores, "synflow": synflow, "rigl": rigl}
