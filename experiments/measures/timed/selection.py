"""Greedy selection of neurons and of channels, beside one forward pass each."""

import resource

import jax
import jax.numpy as jnp
import numpy as np

import lthjax
from lthjax import models
from lthjax.channels import by_channel, layers_of
from lthjax.devices import cpu_convolutions, measure
from lthjax.forward_selection import channels as channels_lib
from lthjax.forward_selection import layer_growth, two_layer
from lthjax.forward_selection import neurons as neurons_lib
from measures.timed.rows import Row, row

PICKS = 200


def neurons(options) -> list[Row]:
    """Measures selecting 200 of 10,000 neurons on 50,000 examples, from pixels on.

    The direct method forwards the picks so far with a candidate, from pixels; it is
    timed with 1, 100 and 200 of them, and scaled to all candidates of all steps.
    """
    small = options.smoke
    width, examples, inputs, picks = (
        (60, 90, 20, 10) if small else (10_000, 50_000, 784, PICKS)
    )
    draw = np.random.default_rng(0)
    pixels = draw.random((examples, inputs), np.float32)
    pixels = jax.device_put(pixels * (pixels < 0.2))
    target = jax.device_put(draw.choice([-1.0, 1.0], examples).astype(np.float32))
    params = two_layer.initialise(jax.random.key(0), width, inputs)
    features = jax.jit(two_layer.answers)
    select = jax.jit(lambda f, y: neurons_lib.select(f, y, picks, block=16))

    def whole():
        return select(features(params, pixels), target)

    whole()
    taken = [measure.stopwatch(whole)[0] for _ in range(min(3, options.rounds))]
    direct = _direct_neurons(params, pixels, target, picks)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    most = 30 if jax.default_backend() == "cpu" else 1
    what = f"selecting {picks} of {width:,} neurons on {examples:,} examples"
    return [
        row(what, "s", taken, most=most),
        row(f"{what}, memory of the process", "GB", [peak], most=8),
        row(
            f"{what}, one forward pass a candidate by ours",
            "times",
            direct * width * picks / np.array(taken),
            least=None if small else 100,
        ),
    ]


def _direct_neurons(params, pixels, target, picks):
    """Returns the seconds of a candidate, the mean over sizes of the selection."""

    @jax.jit
    def score(params, chosen):
        part = two_layer.Params(params.hidden[chosen], params.output[chosen])
        return jnp.mean(jnp.square(two_layer.logits(part, pixels) - target))

    taken = []
    for size in (1, picks // 2, picks):
        chosen = jnp.arange(size)
        jax.block_until_ready(score(params, chosen))
        taken += [measure.stopwatch(score, params, chosen)[0] for _ in range(3)]
    return float(np.mean(taken))


def convolutional(options) -> list[Row]:
    """Measures a step of selection in ResNet-34's last and first blocks.

    In the last all candidates are scored, exactly; in the first the 16 with the best
    gradient. Candidate by candidate, the whole network is forwarded for each.
    """
    name = {"blocks": (1, 1), "channels": (4, 6)} if options.smoke else {}
    model = models.build("resnet34", 10, options=name)
    batch, shape = (4, (8, 8, 3)) if options.smoke else (128, (32, 32, 3))
    images = jax.random.normal(jax.random.key(0), (batch, *shape))
    labels = jax.random.randint(jax.random.key(1), (batch,), 0, 10)
    trees = jax.jit(lambda k: models.initialise(model, k, images))(jax.random.key(2))
    network = channels_lib.Network(model, *trees)
    groups = layers_of.groups(model, network.params)
    one = _direct_channel(network, groups[-1], images, labels)
    rows = []
    for group, kind, number in (
        (groups[-1], "all", groups[-1].size),
        (groups[0], "gradient", 16),
    ):
        step = channels_lib.stepper(
            network, group, shape, candidates=kind, number=number
        )
        counts = jnp.zeros(group.size).at[0].set(1)
        given = network.params, jax.random.key(3), counts, (images, labels)
        jax.block_until_ready(step(*given))
        taken = np.array(
            [measure.stopwatch(step, *given)[0] for _ in range(min(3, options.rounds))]
        )
        what = f"a channel of {group.name}, {group.size} candidates, {kind}"
        bound = {} if options.smoke or kind != "all" else {"least": 20}
        rows += [
            row(what, "s", taken),
            row(
                f"{what}, candidate by candidate by ours",
                "times",
                one * group.size / taken,
                **bound,
            ),
        ]
    return rows


def _direct_channel(network, group, images, labels):
    """Returns the seconds of one candidate, the whole network forwarded."""

    def score(params, counts):
        weights = {group.name: layer_growth.weights(counts)}
        folded = by_channel.fold(params, weights, (group,))
        logits, _ = models.apply(
            network.model, folded, network.model_state, images, train=False
        )
        return jnp.mean(lthjax.losses.cross_entropy(logits, labels))

    options = cpu_convolutions.compiler_options(network.params) or None
    compiled = jax.jit(score, compiler_options=options)
    given = network.params, jnp.zeros(group.size).at[0].set(1)
    jax.block_until_ready(compiled(*given))
    return float(np.median([measure.stopwatch(compiled, *given)[0] for _ in range(5)]))


PARTS = {"select_neurons": neurons, "select_channels": convolutional}
