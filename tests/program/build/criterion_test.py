"""What a config's names choose: every score, pattern and control of the data."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from cases import rest_slow
from flax import linen as nn
from trees import same

from lthjax.models import mlp
from lthjax.program.build import criterion, linear, own_parts
from lthjax.program.build import plan as plan_lib
from lthjax.program.build import source as source_lib
from lthjax.program.build.parts import key as key_of
from lthjax.program.run import check, experiment
from lthjax.program.workdir import layout, results
from lthjax.pruning import masks as masks_lib
from lthjax.pruning import scores, targets
from lthjax.saving.tickets import load
from lthjax.tickets import Trained

AT_INIT = {"search.method": "at_init", "search.rounds": 2, "train.steps": 2}
KEPT = 300


@pytest.fixture(scope="module")
def source():
    return source_lib.load(tiny.config())


def chosen(source, changes=None, *, key=0, target=KEPT):
    """Returns the masks that a config chooses for a network before its training."""
    config = tiny.config(changes)
    ground = plan_lib.of(config, source)
    params, model_state = ground.init_fn(key_of(0, "init"))
    trained = Trained(params, model_state, masks_lib.full(params))
    prune_fn = criterion.selector(ground)
    return prune_fn(jax.random.key(key), trained, targets.target(target))


def test_a_score_reads_as_many_examples_as_are_asked_for(source):
    changes = {"search.batches": 2, "search.examples": 5}
    draw = criterion.drawing(tiny.config(changes), source)
    images, labels = draw(jax.random.key(0))
    assert images.shape == (2, 5, 8, 8, 1) and labels.shape == (2, 5)


def test_scores_by_running_statistics_know_no_statistics_of_the_batch(source):
    def network(params, model_state, images, train):
        return params["w"] * (1 + train) * images.mean((1, 2)), model_state

    def snip(norms):
        config = tiny.config({"search.score": "snip", "search.norms": norms})
        scored = criterion.scorer(
            plan_lib.of(config, source)._replace(apply_fn=network)
        )
        params = {"w": jnp.ones(2)}
        trained = Trained(params, {}, {"w": jnp.ones(2, bool)})
        examples = jnp.ones((1, 3, 8, 8, 1)), jnp.zeros((1, 3), int)
        key, masks = jax.random.key(0), trained.masks
        with jax.numpy_rank_promotion("allow"):
            return scored(key, trained, masks, examples)["w"]

    # Two equal logits z w: |w dL/dw| = z / 2, z = 1 in inference, 2 in training.
    np.testing.assert_allclose(snip("running"), [0.5, 0.5], rtol=1e-5)
    np.testing.assert_allclose(snip("batch"), [1.0, 1.0], rtol=1e-5)
    with pytest.raises(ValueError, match=r"batch, running, .* 'runing', did you mean"):
        snip("runing")


@pytest.mark.parametrize("score", criterion.SCORES)
def test_every_score_prunes_to_the_count_and_is_a_function_of_its_key(source, score):
    changes = {"search.score": score, "search.rounds": 2}
    if criterion.SCORES[score].rounds == 1:
        changes["search.rounds"] = 1
    found = chosen(source, changes)
    assert masks_lib.count(found)[0] == KEPT
    assert same(found, chosen(source, changes))


@pytest.mark.parametrize(
    "name", rest_slow(["conv2", "vgg11", "resnet18_imagenet"], "conv2")
)
def test_synflow_by_name_is_the_function_on_one_image(name):
    options = {"like": "cifar10", "train": 48, "test": 16}
    changes = {"model.name": name, "model.options": {}, "model.width": 0.0625}
    config = tiny.config(changes | {"data.options": options, "search.score": "synflow"})
    data = source_lib.load(config)
    ground = plan_lib.of(config, data)
    network = ground.apply_fn
    params, state = ground.init_fn(jax.random.key(0))
    trained = Trained(params, state, masks_lib.full(params))
    score = jax.jit(criterion.scorer(ground))
    found = score(jax.random.key(0), trained, trained.masks, None)

    def logits(params, images):
        return network(params, state, images, False)[0]

    by_hand = jax.jit(lambda *trees: scores.synflow(logits, *trees, (32, 32, 3)))
    expected = by_hand(params, trained.masks)
    for one, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_scores_that_read_data_go_by_the_examples_that_the_key_draws(source):
    changes = {"search.score": "snip"}
    assert not same(chosen(source, changes), chosen(source, changes, key=1))
    magnitude = {"search.score": "magnitude"}
    assert same(chosen(source, magnitude), chosen(source, magnitude, key=1))


def test_every_corruption_changes_what_snip_keeps_and_not_how_much(source):
    clean = chosen(source, {"search.score": "snip"})
    for name in criterion.CORRUPTIONS.keys() - {"none"}:
        found = chosen(source, {"search.score": "snip", "search.corrupt": name})
        assert masks_lib.count(found)[0] == KEPT
        assert not same(found, clean), name


def test_shuffled_pixels_are_the_same_pixels_of_each_image():
    images = jnp.arange(2 * 3 * 4 * 2.0).reshape(2, 3, 4, 2)
    labels = jnp.array([0, 1])
    shuffled, kept = criterion.CORRUPTIONS["pixels"](
        jax.random.key(0), images, labels, 2
    )
    assert np.array_equal(kept, labels) and not np.array_equal(shuffled, images)
    for before, after in zip(images, shuffled, strict=True):
        rows = [sorted(map(tuple, np.reshape(x, (-1, 2)))) for x in (before, after)]
        assert rows[0] == rows[1]


def test_inverted_magnitudes_keep_the_smallest(source):
    largest = chosen(source, target=296)  # half of the 592 weights
    smallest = chosen(source, {"search.invert": True}, target=296)
    for a, b in zip(*map(jax.tree.leaves, (largest, smallest)), strict=True):
        assert np.array_equal(a, ~b)


def test_channels_and_blocks_go_whole_and_n_of_m_is_exact(source):
    half = {"search.pattern": "channels"}
    for mask in jax.tree.leaves(chosen(source, half)):
        columns = np.asarray(mask).sum(axis=0)
        assert set(columns) <= {0, len(mask)}
    for mask in jax.tree.leaves(chosen(source, {"search.pattern": "4x2"})):
        rows, columns = mask.shape
        tiles = np.asarray(mask).reshape(rows // 4, 4, columns // 2, 2).sum((1, 3))
        assert set(tiles.ravel()) <= {0, 8}
    for mask in jax.tree.leaves(chosen(source, {"search.pattern": "2:4"})):
        assert (np.asarray(mask).reshape(-1, 4, mask.shape[1]).sum(1) == 2).all()


@pytest.mark.parametrize("rounds", [1, 3])
def test_a_minimum_keeps_every_layer_alive(source, rounds):
    changes = {"search.minimum": 5, "search.rounds": rounds}
    found = chosen(source, changes, target=12)
    assert all(mask.sum() >= 5 for mask in jax.tree.leaves(found))
    assert masks_lib.count(found)[0] == 12


def blind(view):
    """A user's own score: finite nowhere."""
    return jax.tree.map(lambda mask: jnp.full(mask.shape, jnp.nan), view.masks)


def by_column(view):
    """A user's own score: the last outputs first."""
    return jax.tree.map(lambda m: jnp.cumsum(jnp.ones(m.shape), axis=1), view.masks)


def by_loss(view):
    """A user's own score that reads examples."""
    return scores.snip(lambda p: view.loss_fn(p, 1.0), view.params, view.masks)


def test_a_score_of_ones_own_is_tried_without_an_example(source):
    asked = {"search.score": f"{__name__}:by_loss", "search.batches": 10**9}
    ground = plan_lib.of(tiny.config(asked), source)
    own_parts.score(ground, masks_lib.full, None)  # they would fill no memory there is


def test_a_score_of_ones_own_is_taken_and_one_that_is_not_finite_refused(source):
    found = chosen(source, {"search.score": f"{__name__}:by_column"})
    first = jax.tree.leaves(found)[0]
    assert first[:, -1].all() and not first[:, 0].any()
    with pytest.raises(ValueError, match="dense1/kernel"):
        chosen(source, {"search.score": f"{__name__}:blind"})


def halves(view):
    """A user's own score: the even rows of every layer before the odd ones."""
    return jax.tree.map(lambda m: jnp.zeros(m.shape).at[::2].set(1.0), view.masks)


def of_layers(view):
    """A user's own score: one for all weights."""
    return jax.tree.map(lambda m: jnp.ones(m.shape), view.masks)


def test_ties_at_the_cut_are_said_and_one_score_for_all_is_refused(source, caplog):
    found = chosen(source, {"search.score": f"{__name__}:halves"}, target=270)
    assert masks_lib.count(found)[0] == 270
    said = f"'{__name__}:halves': 296 of 592 scores are equal at the cut, at 1: 270 of"
    assert said in caplog.text
    caplog.clear()
    chosen(source, {"search.score": f"{__name__}:halves"}, target=296)
    assert "equal" not in caplog.text
    with pytest.raises(ValueError, match="would be emptied: head/kernel"):
        chosen(source, {"search.score": f"{__name__}:halves"}, target=200)
    layered = {"search.score": f"{__name__}:halves", "search.scope": "layer"}
    chosen(source, layered, target=[100, 20])
    assert "and so 1 times more" in caplog.text
    with pytest.raises(ValueError, match="got the same one, 1, for all 592 of"):
        chosen(source, {"search.score": f"{__name__}:of_layers"})


def test_ties_of_groups_are_those_of_their_means(source, caplog):
    changes = {"search.score": f"{__name__}:halves", "search.pattern": "2x2"}
    with pytest.raises(ValueError, match="got the same one, 0.5, for all 148 of"):
        chosen(source, changes)
    chosen(source, changes | {"search.pattern": "1x2"})
    assert "148 of 296 scores are equal at the cut, at 0: 2 of these" in caplog.text


class Bounded(mlp.MLP):
    """A network of ours but for its activation."""

    activation: Callable = nn.relu6


def flows(source, name):
    """Returns the sums of SynFlow's scores by layer, of the network of a config."""
    config = tiny.config({"search.score": "synflow", "model.name": name})
    ground = plan_lib.of(config, source)
    params, state = ground.init_fn(jax.random.key(0))
    trained = Trained(params, state, masks_lib.full(params))
    scored = jax.jit(criterion.scorer(ground))
    found = scored(jax.random.key(0), trained, trained.masks, None)
    return [float(leaf.sum()) for leaf in jax.tree.leaves(found)]


def test_a_bounded_activation_of_ours_is_linear_where_synflow_scores(source):
    np.testing.assert_allclose(flows(source, f"{__name__}:Bounded"), 1, rtol=1e-5)


def test_mobilenet_v2_is_scored_with_relu_and_what_has_relu_as_it_is(source):
    config = tiny.config({"model.name": "mobilenet_v2", "model.options": {}})
    ground = plan_lib.of(config, source)
    assert linear.linear(ground) is not ground.apply_fn
    ground = plan_lib.of(tiny.config(), source)
    assert linear.linear(ground) is ground.apply_fn


@pytest.mark.parametrize("pattern", ["0x0", "0x2", "2x0", "0:4", "4:4", "5:4"])
def test_patterns_of_nothing_are_refused(pattern):
    with pytest.raises(ValueError, match=f"got search.pattern = '{pattern}'"):
        criterion.resolve(tiny.config({"search.pattern": pattern}))


@pytest.mark.parametrize(
    "method", rest_slow(["gradual", "set", "rigl", "straight_through"], "rigl")
)
def test_a_run_of_moving_masks_records_what_it_ends_with(method, tmp_path):
    scope = "erdos_renyi" if method in ("set", "rigl") else "global"
    changes = {"search.method": method, "search.scope": scope, "dynamic.every": 1}
    changes |= {"search.sparsities": (0.5,), "dynamic.end": 0.5}
    experiment.run(tiny.config({**changes, "studies": ("overlap",)}), tmp_path)
    rows = results.read(tmp_path / results.RESULTS)
    assert {(row["level"], row["kept"]) for row in rows} == {(0, 592), (1, 296)}
    start = load(tmp_path / "tickets" / "seed_0" / "level_01")
    grown = method in ("set", "rigl")
    assert masks_lib.count(start.masks)[0] == (296 if grown else 592)
    assert layout.trained_path(tmp_path, "ticket", 0, 1).exists() or method == "set"
    assert (tmp_path / "studies" / "overlap.png").exists()


def test_layers_share_by_their_shapes_where_asked(source):
    config = tiny.config({"search.scope": "erdos_renyi", "search.sparsities": (0.9,)})
    plan = plan_lib.of(config, source).plan
    shapes = [np.array(shape) for shape in plan.shapes.values()]
    ratios = [shape.sum() / shape.prod() for shape in shapes]
    (target,) = plan.targets
    assert target.kept == 59  # round(592 / 10)
    densities = [n / s.prod() for n, s in zip(target.layers, shapes, strict=True)]
    # Where no layer is dense the densities are as the ratios, but for whole weights.
    slack = sum(1 / s.prod() for s in shapes) / min(densities)
    assert abs(densities[0] / densities[1] / (ratios[0] / ratios[1]) - 1) < slack


def test_half_of_too_few_examples_is_refused_before_anything_is_trained():
    changes = {"search.score": "snip", "search.corrupt": "half", "search.batches": 4}
    config = tiny.config({**changes, "search.examples": 1})
    with pytest.raises(ValueError, match="'half' with search.batches = 4 of 1; give"):
        check.check(config)
