import functools

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from cases import rest_slow
from flax import linen as nn
from trees import assert_same

from lthjax import models
from lthjax.channels import by_channel, layers_of
from lthjax.channels.smaller import compact
from lthjax.forward_selection import channels as channels_lib
from lthjax.forward_selection import cut_network, layer_growth
from lthjax.pruning import masks as masks_lib
from lthjax.training import losses

NETWORKS = {
    "vgg11": {"depths": (1, 1), "channels": (5, 4)},
    "resnet34": {"blocks": (1,), "channels": (5,)},
    "mobilenet_v2": {},
    "lenet5": {},
}
WIDTH = {"mobilenet_v2": 0.1, "lenet5": 0.25}
SHAPE = (16, 16, 3)
IMAGES = jax.random.normal(jax.random.key(5), (6, *SHAPE))
LABELS = jnp.arange(6) % 3
BATCH = IMAGES, LABELS


@functools.cache
def network(name):
    given = NETWORKS[name], WIDTH.get(name, 1.0)
    return channels_lib.Network(*networks.drawn(name, IMAGES, *given))


@functools.cache
def forwarded(name):
    """Returns params -> logits of the batch, compiled."""
    model, _, state = network(name)
    return jax.jit(lambda p: models.apply(model, p, state, IMAGES, train=False)[0])


def logits(name, group, counts):
    """Returns the logits with a layer's weights C n_i / n, folded in by hand."""
    named = {group.name: layer_growth.weights(jnp.asarray(counts, jnp.float32))}
    return forwarded(name)(by_channel.fold(network(name).params, named, (group,)))


def brute(name, group, counts, objective):
    """Returns the loss of every candidate, the whole network forwarded for each."""
    whole = forwarded(name)(network(name).params)
    found = []
    for i in range(group.size):
        answered = logits(name, group, np.asarray(counts) + np.eye(group.size)[i])
        if objective == "imitation":
            found.append(jnp.mean(jnp.square(answered - whole)) / 2)
        else:
            found.append(jnp.mean(losses.cross_entropy(answered, LABELS)))
    return np.array(found)


def group_of(name, index):
    net = network(name)
    return layers_of.groups(net.model, net.params)[index]


@pytest.mark.parametrize(
    "name, index, objective",
    rest_slow(
        [
            ("vgg11", 0, "cross_entropy"),
            ("vgg11", 1, "imitation"),
            ("resnet34", 0, "imitation"),
            ("mobilenet_v2", 3, "cross_entropy"),
            ("lenet5", 1, "cross_entropy"),
        ],
        ("vgg11", 0, "cross_entropy"),
        ("resnet34", 0, "imitation"),
    ),
)
def test_every_pick_is_the_best_of_all_candidates_forwarded(name, index, objective):
    net, group = network(name), group_of(name, index)
    options = {"candidates": "all", "objective": objective, "replace": True}
    step = channels_lib.stepper(net, group, SHAPE, **options)
    counts = jnp.zeros(group.size)
    for _ in range(2):
        found = step(net.params, jax.random.key(0), counts, BATCH)
        values = brute(name, group, counts, objective)
        np.testing.assert_allclose(found.loss, values.min(), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(values[found.pick], values.min(), rtol=1e-4)
        counts = counts.at[found.pick].add(1)


def test_random_candidates_and_the_shortlist_stay_among_the_open_channels():
    net, group = network("vgg11"), group_of("vgg11", 0)
    counts = jnp.array([1.0, 0, 1, 0, 1])
    values = brute("vgg11", group, counts, "cross_entropy")
    for kind in ("random", "gradient"):
        step = channels_lib.stepper(net, group, SHAPE, candidates=kind, number=2)
        found = step(net.params, jax.random.key(1), counts, BATCH)
        # Two are open, two are scored: the best of them is exactly found.
        assert found.scored == 2 and counts[found.pick] == 0
        assert values[found.pick] == min(values[1], values[3])


def test_local_imitation_is_the_two_layer_selection_of_what_the_reader_gets():
    net, group = network("resnet34"), group_of("resnet34", 0)
    found = channels_lib.local(net, group, IMAGES, 4)
    entry = cut_network.before(net.model, group.consumer)(*net[1:], IMAGES)
    kernel = layers_of.named(net.params)[f"{group.consumer}/kernel"]

    def made(x):  # what a plain convolution makes of the map
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), [(1, 1)] * 2, dimension_numbers=numbers
        )

    parts = [
        made(entry.layer * (jnp.arange(5) == i)[None, None, None]) for i in range(5)
    ]
    features, target = 5 * np.stack(parts).reshape(5, -1), np.sum(parts, 0).ravel()
    chosen = []
    for k in range(1, 5):
        sums = [(sum(features[j] for j in chosen) + f) / k - target for f in features]
        values = [np.mean(s**2) / 2 for s in sums]
        chosen.append(int(np.argmin(values)))
        np.testing.assert_allclose(found.losses[k - 1], min(values), rtol=1e-3)
    assert found.picks.tolist() == chosen


def test_the_local_objective_is_the_local_selection_pick_by_pick():
    net, group = network("resnet34"), group_of("resnet34", 0)
    options = {"candidates": "all", "objective": "local", "replace": True}
    step = channels_lib.stepper(net, group, SHAPE, **options)
    wanted = channels_lib.local(net, group, IMAGES, 4)
    counts = jnp.zeros(group.size)
    for pick, loss in zip(wanted.picks, wanted.losses, strict=True):
        found = step(net.params, jax.random.key(0), counts, BATCH)
        assert found.pick == pick
        np.testing.assert_allclose(found.loss, loss, rtol=1e-3)
        counts = counts.at[pick].add(1)
    # The weights of the selection sum to one: a layer has C times as much.
    folded = group.size * wanted.weights
    np.testing.assert_allclose(folded, layer_growth.weights(counts), rtol=1e-5)


def test_a_grown_layer_leaves_as_masks_and_a_smaller_network_of_the_same_function():
    net, group = network("vgg11"), group_of("vgg11", 0)
    step = channels_lib.stepper(net, group, SHAPE, candidates="all")
    params, counts = layer_growth.grow(
        step,
        net.params,
        jax.random.key(0),
        lambda key: BATCH,
        lambda params: 1.0,
        group=group,
        tolerance=0.0,
        gate=0.99,
        most=3,
    )
    found = layers_of.groups(net.model, net.params)
    kept = {group.name: counts > 0}
    tree = by_channel.spread(by_channel.full(net.params, found), kept, found)
    wanted = forwarded("vgg11")(params)
    masked = forwarded("vgg11")(masks_lib.apply(params, tree))
    np.testing.assert_allclose(masked, wanted, rtol=1e-4, atol=1e-5)
    small = compact(net.model, params, tree, net.model_state)
    answered, _ = models.apply(*small, IMAGES, train=False)
    np.testing.assert_allclose(answered, wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits("vgg11", group, counts), wanted, rtol=1e-4)


def test_a_layer_stops_by_its_accuracy_or_is_whole_again(caplog):
    net, group = network("vgg11"), group_of("vgg11", 0)
    step = channels_lib.stepper(net, group, SHAPE, candidates="all")

    def grown(accuracies, **options):
        found = iter([1.0, *accuracies, *[0.0] * 9])
        draw = (jax.random.key(0), lambda key: BATCH, lambda params: next(found))
        return layer_growth.grow(step, net.params, *draw, group=group, **options)

    def picks(*arguments, **options):
        return int(grown(*arguments, **options)[1].sum())

    always = {"gate": 0.999999}  # the batch's accuracy stops nothing
    assert picks([0.5], tolerance=0.5, **always) == 1
    assert picks([np.float32(0.95)], tolerance=0.05, **always) == 1  # 0.94999999
    params, counts = grown([], tolerance=0.0, **always)
    assert counts.tolist() == [1.0] * group.size
    assert_same(params, net.params)
    assert "after 5 picks the tolerance is not met; it stays whole" in caplog.text
    kept = grown([], tolerance=0.0, most=2, **always)[1]
    assert kept.sum() == 2
    assert "after 2 picks the tolerance is not met; it keeps these" in caplog.text
    for options in ({"tolerance": 1.0}, {"gate": -0.1}):
        with pytest.raises(ValueError, match="got"):
            grown([], **options)
    with pytest.raises(ValueError, match="most must be a whole .* got most = 2.5"):
        grown([], most=2.5)
    for most in (0, 99):
        with pytest.raises(ValueError, match=f"from 1 to 5 picks, got most = {most}"):
            grown([], most=most)


def growth(net, group, accuracy=lambda params: 1.0, **options):
    """Returns the counts of a growth with replacement, and whether it was done."""
    step = channels_lib.stepper(net, group, SHAPE, number=2, replace=True)
    given = jax.random.key(0), lambda key: BATCH, accuracy
    grown = layer_growth.growth(step, net.params, *given, group=group, **options)
    return [(counts.tolist(), done) for counts, done in grown]


def test_a_growth_goes_on_from_any_pick_as_if_it_had_never_stopped():
    net, group = network("vgg11"), group_of("vgg11", 0)
    bounds = {"gate": 0.0, "tolerance": 0.0, "most": 4}
    whole = growth(net, group, **bounds)
    assert [sum(counts) for counts, _ in whole] == [1, 2, 3, 4]
    assert [done for _, done in whole] == [False] * 3 + [True]
    for n in range(1, 4):
        begun = jnp.array(whole[n - 1][0])
        assert growth(net, group, counts=begun, **bounds) == whole[n:]


def test_a_layer_that_no_picks_make_accurate_enough_is_whole_whatever_they_were():
    net, group = network("vgg11"), group_of("vgg11", 0)
    found = iter([1.0, *[0.0] * group.size])
    last, done = growth(net, group, lambda params: next(found), gate=0.999999)[-1]
    assert last == [1.0] * group.size and done


def test_a_network_that_knows_nothing_is_refused_without_a_bound_and_a_broken_one_too():
    net, group = network("vgg11"), group_of("vgg11", 0)
    with pytest.raises(ValueError, match="got accuracy = 0.0; train it for longer"):
        growth(net, group, lambda params: 0.0)
    # With a bound there is another end, and nothing is as good as nothing.
    bounded = growth(net, group, lambda params: 0.0, most=2)
    assert [done for _, done in bounded] == [False, True]
    broken = net._replace(params=jax.tree.map(lambda w: w * jnp.nan, net.params))
    with pytest.raises(FloatingPointError, match="got loss = nan in conv1_1 after 0"):
        growth(broken, group)


class Padded(nn.Module):
    """Two convolutions, the second one padded as it is told."""

    padding: int | tuple

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.relu(nn.Conv(3, (3, 3), name="first")(x))
        x = nn.Conv(4, (3, 3), (2, 1), padding=self.padding, name="second")(x)
        return x.mean((1, 2))


@pytest.mark.parametrize("padding", [0, 1, (2, 0), ((1, 2), (0, 3))])
def test_padding_in_pixels_may_be_written_in_any_way(padding):
    model = Padded(padding)
    params, state = models.initialise(model, jax.random.key(0), IMAGES)
    group = layers_of.Group("first", ("first",), "second", 3)
    place = cut_network.place(cut_network.geometry(model, params, state, SHAPE), group)
    given = params, state, IMAGES
    entry = cut_network.before(model, "second")(*given)
    maps = cut_network.maps(params, group, entry.layer, place)
    seen = cut_network.weighted(maps, jnp.ones(3))
    found = cut_network.after(model, "second")(*given, entry, seen)
    wanted, _ = models.apply(model, *given, train=False)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


class Standardised(nn.Dense):
    """A dense layer whose kernel is standardised before it is used."""

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        kernel -= kernel.mean(0, keepdims=True)
        return x @ (kernel / kernel.std(0, keepdims=True))


class Headed(nn.Module):
    """A dense layer and a head of some kind."""

    kind: str

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.relu(nn.Dense(5, name="dense1")(x.reshape(len(x), -1)))
        if self.kind == "standardised":
            return Standardised(3, name="head")(x)
        head = nn.Dense(3, name="head")
        if self.kind == "spectral":
            return nn.SpectralNorm(head, name="norm")(x, update_stats=train)
        return nn.WeightNorm(head, name="norm")(x) if self.kind == "weight" else head(x)


@pytest.mark.parametrize("kind", ["standardised", "weight", "spectral"])
def test_a_reader_that_computes_with_another_kernel_is_refused(kind):
    group = layers_of.Group("dense1", ("dense1",), "head", 5)
    images = IMAGES[:, :2, :2]

    def made(kind):
        model = Headed(kind)
        state = models.initialise(model, jax.random.key(0), images)
        net = channels_lib.Network(model, *state)
        return channels_lib.stepper(net, group, images.shape[1:])

    made("plain")
    with pytest.raises(ValueError, match="WeightNorm .* got head; leave the group out"):
        made(kind)


def test_what_cannot_be_selected_is_refused():
    net, group = network("vgg11"), group_of("vgg11", 0)
    for options in (
        {"candidates": "best"},
        {"objective": "mse"},
        {"number": 0},
        {"number": 1.5},
    ):
        with pytest.raises(ValueError, match="got"):
            channels_lib.stepper(net, group, SHAPE, **options)
    with pytest.raises(ValueError, match="got layer = 'conv9'"):
        cut_network.before(net.model, "conv9")(*net[1:], IMAGES)
